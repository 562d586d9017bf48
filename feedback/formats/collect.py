"""What a file's records came to: lessons that pass the checks of every row, the others counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

from feedback.formats.records import number_of
from feedback.rows import Key, Lesson, problem_of
from pawl.errors import PawlError

_PLACES_EACH = 3  # of each reason are named
_MOST_REASONS = 50  # are named one by one
_THUMBS: tuple[set[float], ...] = ({0, 1}, {-1, 1})
_SURROGATES = "half a surrogate pair in the text"
_DUPLICATE = "an exact duplicate in the file"
_EARLIER = "an earlier state of a record that the file has again"


class Collector:
    """Lessons that pass the checks of every row; the others by reason.

    Args:
        name: the file's.
    """

    def __init__(self, name: str) -> None:
        self.skipped: Counter[str] = Counter()
        self.problems: list[str] = []
        self._name = name
        # By the records that say the same, the first of them first; "": those without an id.
        self._lessons: dict[Key, dict[str, Lesson]] = {}
        self._of_record: dict[str, tuple[str, list[Key]]] = {}  # its last place, and its lessons
        self._silent: dict[str, Lesson] = {}  # records that say nothing
        self._numbers: dict[float, str] = {}  # of labels, and where each came first

    @property
    def lessons(self) -> list[Lesson]:
        return [next(iter(same.values())) for same in self._lessons.values()]

    @property
    def silent(self) -> list[Lesson]:
        """Of each record whose last state says nothing: its ``silence``."""
        return list(self._silent.values())

    def add(self, place: str, record_format: str, found: Lesson | str) -> None:
        """Keep what was read at a place, or count why not. Of a record that stands in the file
        more than once the last counts."""
        if isinstance(found, Lesson) and not found.is_silent:
            found = _problem(found) or found
        if isinstance(found, Lesson):
            origin = {"source": f"import:{record_format}", "file": self._name, "place": place}
            found = replace(found, origin={**origin, **found.origin})
            record = found.record or ""
            if record and self._of_record.setdefault(record, (place, []))[0] != place:
                self._let_go(record)
                self._of_record[record] = place, []
            if found.is_silent:
                if record:
                    self._silent[record] = found
                return
            self._silent.pop(record, None)
            same = self._lessons.setdefault(found.key, {})
            is_new = not same
            if record and record not in same:
                self._of_record[record][1].append(found.key)
            same.setdefault(record, found)
            if is_new:
                return
            found = _DUPLICATE
        reason = found.partition(" (")[0]
        self.skipped[reason] += 1
        if self.skipped[reason] <= _PLACES_EACH and len(self.skipped) <= _MOST_REASONS:
            self.problems.append(f"{place}: {found}".encode("utf-8", "replace").decode())

    def _let_go(self, record: str) -> None:
        """Take back what an earlier state of a record said. What other records say too stays, as
        theirs: one of them is a duplicate no longer."""
        for key in self._of_record[record][1]:
            self.skipped[_EARLIER] += 1
            same = self._lessons[key]
            del same[record]
            if same:
                self.skipped[_DUPLICATE] -= 1
            else:
                del self._lessons[key]
        if _DUPLICATE in self.skipped and not self.skipped[_DUPLICATE]:
            del self.skipped[_DUPLICATE]
            self.problems = [one for one in self.problems if not one.endswith(f": {_DUPLICATE}")]

    def check_label(self, place: str, column: str, value: object) -> None:
        """Raise PawlError where the numbers of a label's column are no thumbs: on a scale from 1 to
        5 the worst would be taken for a thumb up, and beside 1 and -1 a 0 may be down or neither.
        """
        number = number_of(value)
        if number is None or number in self._numbers:
            return
        self._numbers[number] = place
        if not any(self._numbers.keys() <= thumbs for thumbs in _THUMBS):
            held = " and ".join(f"{one:g} ({at})" for one, at in self._numbers.items())
            raise PawlError(
                f"the column {column!r} of {self._name} is on a scale",
                f"it holds {held}; thumbs are 1 and 0, or 1 and -1, and nothing else",
                "Write true and false into it, and leave out rows that say neither; where all "
                "answers are good, leave out the column",
                code="not_a_thumb",
                param="path",
            )


def _problem(lesson: Lesson) -> str | None:
    problem = problem_of(lesson)
    if problem is None:
        try:
            texts = (lesson.prompt, lesson.completion, lesson.chosen, lesson.rejected)
            named = (lesson.group_id, lesson.tools, lesson.categories, lesson.origin)
            json.dumps((texts, named), ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return _SURROGATES
    return problem
