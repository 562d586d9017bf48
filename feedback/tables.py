"""Records to rows of the store and back. Column order is the record's field order."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, TypeVar

from feedback.writer import Row
from pawl.records import Category, Completion, Feedback, ItemScore, Promotion, TrainingRow

R = TypeVar("R")
_JSON_FIELDS = {"messages", "sampling", "categories", "probe", "detail", "prompt", "origin"}


def columns_of(record: type[Any]) -> list[str]:
    """Column names of a record's table, ``seq`` left out."""
    return [f"{one.name}_json" if one.name in _JSON_FIELDS else one.name
            for one in fields(record)]


COMPLETION_COLUMNS = ", ".join(columns_of(Completion))
FEEDBACK_COLUMNS = ", ".join(columns_of(Feedback))
PROMOTION_COLUMNS = ", ".join(columns_of(Promotion))
CATEGORY_COLUMNS = ", ".join(columns_of(Category))
SCORE_COLUMNS = ", ".join(columns_of(ItemScore))


def to_json(value: Any) -> str:
    """JSON text as the store keeps it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def row_of(record: Completion | Feedback | Promotion | Category | ItemScore) -> Row:
    """A record's values in column order."""
    return tuple(
        to_json(getattr(record, one.name)) if one.name in _JSON_FIELDS
        else getattr(record, one.name)
        for one in fields(record)
    )


def record_from(record: type[R], row: Row) -> R:
    """The record that ``row_of`` made this row from."""
    values = {
        one.name: json.loads(value) if one.name in _JSON_FIELDS else value
        for one, value in zip(fields(record), row, strict=True)  # type: ignore[arg-type]
    }
    return record(**values)


def curated_row(snapshot_id: str, row: TrainingRow) -> Row:
    """A training row as the ``curated`` table keeps it."""
    return (snapshot_id, row.row_id, row.kind, row.group_id, row.split,
            to_json(row.as_json()), to_json(row.origin))
