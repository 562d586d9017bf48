"""Tables and records with other names: ``--map prompt=question,chosen=best,rejected=worst``.

A mapped record is read as the fields say, whatever other columns it has. A column may be a path
into nested objects (``data.question``). The label may be a word (up, bad, true), or a number:
1 and 0, or 1 and -1. A column with any other is on a scale, and refused (``collect``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from feedback.formats.records import (
    Record,
    Unusable,
    answer_of,
    categories_of,
    messages_of,
    opinion,
    pair,
    sft,
    thumb_of,
    unpaired,
    with_system,
)
from feedback.rows import Lesson
from pawl.errors import PawlError, short

FIELDS = (
    "prompt", "system", "completion", "chosen", "rejected", "label", "rater", "comment",
    "categories", "task",
)  # fmt: skip
_MOST_COLUMN_CHARACTERS = 200
_ANSWERS = ({"prompt", "completion"}, {"prompt", "chosen", "rejected"})


def check_mapping(mapping: Mapping[str, str], file_format: str) -> None:
    """Raise PawlError for a mapping that names no row; or, for ``langfuse``, no score."""
    wrong = [name for name in mapping if name not in FIELDS]
    why = do = ""
    if wrong:
        why, do = f"there is no field {short(wrong[0])}", "The fields are " + ", ".join(FIELDS)
    elif not all(0 < len(column) <= _MOST_COLUMN_CHARACTERS for column in mapping.values()):
        why, do = "a column's name is empty or too long", "Write FIELD=COLUMN"
    elif file_format == "langfuse" and set(mapping) != {"label"}:
        why, do = "of Langfuse's scores only the label can be named", "Write label=SCORE"
    elif file_format not in ("auto", "langfuse"):
        why, do = f"{file_format} has names of its own", "Leave out one of --format and --map"
    elif file_format == "auto" and not any(needed <= mapping.keys() for needed in _ANSWERS):
        why = "a row needs a prompt, and a completion or chosen and rejected"
        do = "Name the columns: prompt=COLUMN,completion=COLUMN"
    elif file_format == "auto" and {"completion", "chosen"} <= mapping.keys():
        why, do = "a row has a completion or a pair", "Name one of them"
    if why:
        raise PawlError("the mapping can't be used", why, do, param="map")


def read_mapped(record: Record, mapping: Mapping[str, str]) -> Iterator[Lesson | str]:
    """The row of a record. Raises Unusable."""
    values = {field: column_of(record, column) for field, column in mapping.items()}
    for field in ("prompt", "completion", "chosen", "rejected"):
        if field in mapping and values[field] is None:
            raise Unusable(f"no {field} in its column")
    prompt = with_system(messages_of(_chat(values["prompt"]), "prompt"), values.get("system"))
    if "chosen" in mapping:
        lesson = pair(
            prompt,
            answer_of(_chat(values["chosen"]), "chosen"),
            answer_of(_chat(values["rejected"]), "rejected"),
        )
    else:
        answer = answer_of(_chat(values["completion"]), "completion")
        if "label" not in mapping:
            lesson = sft(prompt, answer)
        elif (label := thumb_of(values["label"], signs=True)) is None:
            raise Unusable("its label is neither up nor down")
        else:
            lesson = unpaired(prompt, answer, label)
    yield replace(
        lesson,
        categories=categories_of(values.get("categories")),
        origin=opinion(
            "map", values.get("rater"), comment=values.get("comment"), task=values.get("task")
        ),
    )


def column_of(record: Record, column: str) -> Any:
    """The value of a column; of a path where no column has that name. Empty counts as absent."""
    value: Any = record.get(column)
    if value is None and "." in column:
        value = record
        for name in column.split("."):
            value = value.get(name) if isinstance(value, dict) else None
    return None if value == "" else value


def is_json_chat(value: Any) -> bool:
    """Whether a text is meant to be messages, as tables hold them."""
    return isinstance(value, str) and value.lstrip()[:1] in ("[", "{") and (
        '"role"' in value or "'role'" in value or '"from"' in value or "'from'" in value
    )  # fmt: skip


def _chat(value: Any) -> Any:
    """Messages that stand in a table as JSON. Raises Unusable: they are not JSON."""
    if not is_json_chat(value):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Unusable("a column looks like messages, but is not JSON") from None


def table_record(row: dict[str, str]) -> Record:
    """A row of a table as a record: empty cells are absent, messages are read. Raises Unusable."""
    return {name: _chat(cell) for name, cell in row.items() if cell}
