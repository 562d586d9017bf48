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
        self._lessons: dict[Key, Lesson] = {}
        self._of_record: dict[str, list[Key]] = {}
        self._numbers: dict[float, str] = {}  # of labels, and where each came first

    @property
    def lessons(self) -> list[Lesson]:
        return list(self._lessons.values())

    def add(self, place: str, record_format: str, found: Lesson | str) -> None:
        """Keep what was read at a place, or count why not. Of a record that stands in the file
        more than once the last counts."""
        if isinstance(found, Lesson):
            found = _problem(found) or found
        if isinstance(found, Lesson):
            origin = {"source": f"import:{record_format}", "file": self._name, "place": place}
            found = replace(found, origin={**origin, **found.origin})
            keys = self._of_record.setdefault(found.record, []) if found.record else []
            if keys and self._lessons[keys[0]].origin["place"] != place:
                self.skipped[_EARLIER] += len(keys)
                for earlier in keys:
                    del self._lessons[earlier]
                keys.clear()
            if (key := found.key) not in self._lessons:
                self._lessons[key] = found
                keys.append(key)
                return
            found = "an exact duplicate in the file"
        reason = found.partition(" (")[0]
        self.skipped[reason] += 1
        if self.skipped[reason] <= _PLACES_EACH and len(self.skipped) <= _MOST_REASONS:
            self.problems.append(f"{place}: {found}".encode("utf-8", "replace").decode())

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
