"""Records to rows of the store and back: columns are the records' fields, in their order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from pawl.schemas import (
    Account,
    AuditEntry,
    Category,
    Completion,
    ConversationNote,
    Feedback,
    ItemScore,
    Key,
    Look,
    Preset,
    Promotion,
    Review,
    Session,
    TrainingRow,
    VersionSettings,
)

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

R = TypeVar("R")
Row = tuple[Any, ...]
_JSON_FIELDS = {
    "messages", "sampling", "categories", "cleared", "probe", "detail", "prompt", "origin",
    "tool_calls", "prompts", "settings", "dismissed",
}  # fmt: skip


def columns_of(record: type[Any]) -> list[str]:
    """Column names of a record's table, ``seq`` left out."""
    return [f"{one.name}_json" if one.name in _JSON_FIELDS else one.name for one in fields(record)]


COMPLETION_COLUMNS = ", ".join(columns_of(Completion))
FEEDBACK_COLUMNS = ", ".join(columns_of(Feedback))
PROMOTION_COLUMNS = ", ".join(columns_of(Promotion))
CATEGORY_COLUMNS = ", ".join(columns_of(Category))
LOOK_COLUMNS = ", ".join(columns_of(Look))
SCORE_COLUMNS = ", ".join(columns_of(ItemScore))
KEY_COLUMNS = ", ".join(columns_of(Key))
ACCOUNT_COLUMNS = ", ".join(columns_of(Account))
REVIEW_COLUMNS = ", ".join(columns_of(Review))
SESSION_COLUMNS = ", ".join(columns_of(Session))
PRESET_COLUMNS = ", ".join(columns_of(Preset))
VERSION_SETTINGS_COLUMNS = ", ".join(columns_of(VersionSettings))
NOTE_COLUMNS = ", ".join(columns_of(ConversationNote))
Recorded = (
    Completion | Feedback | Promotion | Category | ItemScore | Key | AuditEntry | Account | Session
    | Look | Review | ConversationNote | Preset | VersionSettings
)  # fmt: skip


def to_json(value: Any) -> str:
    """JSON text as the store keeps it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def row_of(record: Recorded) -> Row:
    """A record's values in column order."""
    return tuple(
        to_json(getattr(record, one.name))
        if one.name in _JSON_FIELDS
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
    return (
        snapshot_id,
        row.row_id,
        row.kind,
        row.group_id,
        row.split,
        to_json(row.as_json()),
        to_json(row.origin),
    )


def where(**conditions: Any) -> tuple[str, list[Any]]:
    """A WHERE clause of those conditions that were given; a list means any of it."""
    given = {name: value for name, value in conditions.items() if value is not None}
    if not given:
        return "", []
    parts = [
        f"{name} IN (SELECT unnest(?::VARCHAR[]))" if not isinstance(value, str) else f"{name} = ?"
        for name, value in given.items()
    ]
    return " WHERE " + " AND ".join(parts), [
        list(value) if not isinstance(value, str) else value for value in given.values()
    ]


# Windows and aggregates hold what they are given, much of it in memory that DuckDB can't spill. So
# these choose rows by their numbers; the rows themselves are read after that.


def latest(table: str, keys: str, clause: str = "") -> str:
    """A SELECT of the newest row for each value of ``keys`` (columns), among the rows that
    ``clause`` (a WHERE) leaves."""
    numbers = f"SELECT max(seq) FROM {table}{clause} GROUP BY {keys}"
    return f"SELECT * FROM {table} WHERE seq IN ({numbers})"


def newest(rows: str, n_bytes: int, *columns: str) -> str:
    """A SELECT of the ``seq`` of the newest of ``rows`` (a SELECT), the last one in any case: as
    many as have ``n_bytes`` together (each with 1,000 more than its ``columns`` of text)."""
    size = "1000 + " + " + ".join(f"strlen({name})" for name in columns)
    return (
        f"SELECT seq FROM (SELECT seq, {size} AS n_bytes FROM ({rows}))"
        f" QUALIFY sum(n_bytes) OVER (ORDER BY seq DESC) - n_bytes < {n_bytes}"
    )


def column_types(cursor: DuckDBPyConnection) -> dict[str, list[str]]:
    """DuckDB type names of the columns of each table whose rows are numbered, in order."""
    types = _of_columns(cursor, "data_type")
    return {table: types[table] for table in numbered_tables(cursor)}


def nullable_columns(cursor: DuckDBPyConnection) -> dict[str, list[bool]]:
    """Whether each column of every table may be NULL, in order."""
    return _of_columns(cursor, "is_nullable")


def table_columns(cursor: DuckDBPyConnection) -> dict[str, list[str]]:
    """Names of the columns of every table, in order."""
    return _of_columns(cursor, "column_name")


def numbered_tables(cursor: DuckDBPyConnection) -> list[str]:
    """The tables whose rows have a sequence number."""
    return [table for table, columns in table_columns(cursor).items() if "seq" in columns]


def _of_columns(cursor: DuckDBPyConnection, what: str) -> dict[str, list[Any]]:
    """``what`` ``duckdb_columns()`` says of each table's columns, in their order."""
    found: dict[str, list[Any]] = {}
    for table, value in cursor.execute(
        f"SELECT table_name, {what} FROM duckdb_columns() WHERE NOT internal"
        " AND database_name = current_database() AND schema_name = 'main'"
        " ORDER BY table_name, column_index"
    ).fetchall():
        found.setdefault(table, []).append(value)
    return found


def newest_seq(cursor: DuckDBPyConnection, tables: Iterable[str]) -> int:
    """The highest sequence number in any of the tables; 0 when all are empty."""
    each = " UNION ALL ".join(f"SELECT max(seq) AS seq FROM {table}" for table in tables)
    if not each:
        return 0
    # All of it is fetched: a result that is not read to its end keeps its transaction open.
    [(newest,)] = cursor.execute(f"SELECT coalesce(max(seq), 0) FROM ({each})").fetchall()
    return int(newest)


def content_hashes(cursor: DuckDBPyConnection) -> dict[str, dict[str, int]]:
    """Of each table ``n_rows`` and a ``hash`` of its content, whatever the order of the rows; reads
    every value."""
    found: dict[str, dict[str, int]] = {}
    for table in table_columns(cursor):
        sql = f"SELECT count(*), coalesce(bit_xor(hash(t)), 0) FROM main.{table} t"
        [(n_rows, digest)] = cursor.execute(sql).fetchall()
        found[table] = {"n_rows": int(n_rows), "hash": int(digest)}
    return found
