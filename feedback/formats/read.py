"""Files of other projects to lessons. What can't be used is counted with a reason and a place."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from feedback.formats.records import FORMATS, Unusable, format_of
from feedback.rows import Lesson, problem_of
from pawl.errors import PawlError

_MOST_PROBLEMS = 20  # named one by one; the rest is counted only


@dataclass(slots=True)
class Parsed:
    """What a file holds. ``skipped`` counts by reason, ``problems`` names the first places.

    ``file_format``: of its records; several are joined with ``+``.
    """

    file_format: str
    n_records: int = 0
    lessons: list[Lesson] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def parse(raw: bytes, name: str, file_format: str = "auto") -> Parsed:
    """Read and check every record of a file.

    Args:
        raw: its bytes.
        name: for the rows' origin and for messages.
        file_format: one of ``FORMATS``; ``auto`` tells it from each record's keys.

    Raises:
        PawlError: the file as a whole is of no use.
    """
    if file_format not in ("auto", *FORMATS):
        raise PawlError(
            f"format {file_format!r} is not known",
            f"there are auto, {', '.join(FORMATS)}",
            "Use one of them",
            param="format",
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = raw[: err.start].count(b"\n") + 1
        raise PawlError(
            f"{name} is not UTF-8",
            f"line {line} has a byte that is none",
            "Save it as UTF-8",
            param="path",
        ) from None
    records = list(_records(text, name))
    good = [value for _, value, _ in records if isinstance(value, dict)]
    if not good:
        raise PawlError(
            f"{name} holds no records",
            "not one JSON object could be read" + (f" ({records[0][2]})" if records else ""),
            "One JSON object a line, or one array of them",
            param="path",
        )
    formats = (
        [file_format]
        if file_format != "auto"
        else sorted({found for record in good if (found := format_of(record))})
    )
    if not formats:
        raise PawlError(
            f"the format of {name} can't be told",
            f"its first record has the keys {', '.join(sorted(map(str, good[0]))) or 'none'}",
            f"Give the format: {', '.join(FORMATS)}",
            param="format",
        )
    parsed = Parsed("+".join(formats))
    skipped: Counter[str] = Counter()
    seen: set[str] = set()
    for place, value, broken in records:
        parsed.n_records += 1
        record_format = file_format
        try:
            if broken is not None:
                raise Unusable(broken)
            if not isinstance(value, dict):
                raise Unusable("not an object")
            if file_format == "auto":
                record_format = _told(value)
            lessons = list(_checked(FORMATS[record_format], value))
        except Unusable as err:
            lessons = [str(err)]
        for lesson in lessons:
            if isinstance(lesson, Lesson) and lesson.row_id in seen:
                lesson = "an exact duplicate in the file"
            if isinstance(lesson, str):
                skipped[lesson.partition(" (")[0]] += 1
                if len(parsed.problems) < _MOST_PROBLEMS:
                    parsed.problems.append(f"{place}: {lesson}")
                continue
            seen.add(lesson.row_id)
            origin = {"source": f"import:{record_format}", "file": name, "place": place}
            parsed.lessons.append(replace(lesson, origin=origin))
    parsed.skipped = dict(sorted(skipped.items()))
    return parsed


def _told(record: dict[str, Any]) -> str:
    found = format_of(record)
    if found is None:
        keys = ", ".join(sorted(map(str, record))[:10]) or "none"
        raise Unusable(f"of no known format (its keys are {keys})")
    return found


def _records(text: str, name: str) -> Iterator[tuple[str, Any, str | None]]:
    """(place, value, what is wrong) of each record of an array or of JSON Lines."""
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except json.JSONDecodeError as err:
            raise PawlError(
                f"{name} is not JSON",
                f"line {err.lineno}, column {err.colno}: {err.msg}",
                "Mend it there",
                param="path",
            ) from None
        except (ValueError, RecursionError) as err:  # a number of thousands of digits; nesting
            raise PawlError(
                f"{name} can't be read as JSON",
                str(err),
                "Give one JSON object a line",
                param="path",
            ) from None
        for number, value in enumerate(values, start=1):
            yield f"record {number}", value, None
        return
    for number, line in enumerate(text.split("\n"), start=1):  # not splitlines(): see U+2028
        if line.strip():
            try:
                yield f"line {number}", json.loads(line), None
            except (ValueError, RecursionError) as err:
                yield f"line {number}", None, f"not JSON ({err})"


def _checked(
    read: Callable[[dict[str, Any]], Iterator[Lesson | str]], value: dict[str, Any]
) -> Iterator[Lesson | str]:
    for lesson in read(value):
        if isinstance(lesson, Lesson):
            yield _invalid_unicode(lesson) or problem_of(lesson) or lesson
        else:
            yield lesson


def _invalid_unicode(lesson: Lesson) -> str | None:
    try:
        json.dumps(lesson.as_json(), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "half a surrogate pair in the text"
    return None
