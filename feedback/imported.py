"""The imported rows of a store, and which of them count.

Of a record with an id of its own (``Lesson.record``) those rows count that the newest file with the
record brought: a rating that somebody changed between two exports is one. A record that says
nothing any more has the row of a ``silence`` there. Files are told apart by their hash.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from feedback.rows import SILENT, Key, Lesson, State, said_of
from feedback.tables import Row, to_json
from pawl.schemas import Message

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ROWS_AT_ONCE = 256  # are read; a row may be as long as a conversation
# A row's JSON from its categories on: with the messages before them, which a row of a long
# conversation has many of, DuckDB's memory ended where it looked into some thousand rows at once.
# No text holds the name: its quotes would be escaped.
_END = """('{' || substr(row_json, strpos(row_json, '"categories":')))"""
RATER = f"json_extract_string({_END}, '$.origin.rater_id')"  # of an imported row
_RECORD = (
    f"json_extract_string({_END}, '$.origin.source') || ' ' ||"
    f" json_extract_string({_END}, '$.origin.record_id')"
)
# Imported rows, with the newest file that has the record of each.
_IMPORTED = (
    "SELECT *, arg_max(file, seq) OVER (PARTITION BY record) AS newest_file FROM (SELECT seq,"
    f" row_id, {RATER} AS rater_id, {_RECORD} AS record, file_sha256 AS file,"
    f" json_extract({_END}, '$.categories') AS categories,"
    f" json_extract({_END}, '$.origin') AS origin FROM imported)"
)
_IS_NEWEST = "record IS NOT NULL AND file = newest_file"
# Of the rows of one content and rater: one is of its record's newest file, or none has a record.
_COUNTS = f"(bool_and(record IS NULL) OR bool_or({_IS_NEWEST}))"


@dataclass(frozen=True, slots=True)
class ImportedRows:
    """The values of lessons for the table, made anew at each reading: all of them at once would be
    several times as large as the file."""

    lessons: Sequence[Lesson]
    more: Row  # format, hash of the file and time

    def __len__(self) -> int:
        return len(self.lessons)

    def __iter__(self) -> Iterator[Row]:
        return ((lesson.row_id, *self.more, to_json(lesson.as_json())) for lesson in self.lessons)


def all_imported(cursor: DuckDBPyConnection) -> list[tuple[Lesson, bool]]:
    """Each content of each rater once, in the order they came, and whether it counts. Its origin
    and its categories are those of the newest row that counts."""
    # Their numbers first: DuckDB would hold all texts that it sorts in memory at once.
    chosen = cursor.execute(
        f"SELECT coalesce(max(seq) FILTER ({_IS_NEWEST}), min(seq)), {_COUNTS} FROM ({_IMPORTED})"
        f" WHERE row_id <> '{SILENT}' GROUP BY row_id, rater_id ORDER BY min(seq)"
    ).fetchall()
    wanted = sorted(seq for seq, _ in chosen)
    lessons: dict[int, Lesson] = {}
    before: list[Message] = []
    for start in range(0, len(wanted), _ROWS_AT_ONCE):
        seqs = wanted[start : start + _ROWS_AT_ONCE]
        rows = cursor.execute(
            "SELECT seq, row_json FROM imported WHERE seq BETWEEN ? AND ?"
            " AND seq IN (SELECT unnest(?::BIGINT[]))",
            [seqs[0], seqs[-1], seqs],
        ).fetchall()
        for seq, text in sorted(rows):
            lesson = Lesson(**json.loads(text))
            lessons[seq] = replace(lesson, prompt=_sharing(lesson.prompt, before))
            before = lessons[seq].prompt
    return [(lessons[seq], counts) for seq, counts in chosen]


def _sharing(prompt: list[Message], before: list[Message]) -> list[Message]:
    """The prompt, made of the messages of the row before as far as they are the same: each answer
    of a conversation is a row, with all that was said until then."""
    shared = [old if new == old else new for new, old in zip(prompt, before, strict=False)]
    return [*shared, *prompt[len(shared) :]]


def keys_of(cursor: DuckDBPyConnection) -> set[Key]:
    """The keys (``Lesson.key``) of all rows."""
    return set(cursor.execute(f"SELECT DISTINCT row_id, {RATER} FROM imported").fetchall())


def states_of(cursor: DuckDBPyConnection) -> dict[str, State]:
    """What each record says in the newest file that has it."""
    cursor.execute(
        f"SELECT row_id, record, categories, origin FROM ({_IMPORTED}) WHERE {_IS_NEWEST}"
    )
    states: dict[str, State] = {}
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        for row_id, record, categories, origin in rows:
            words = json.loads(origin)
            _, said = states.setdefault(record, (words.get("said_at"), set()))
            if row_id != SILENT:
                said.add(said_of(row_id, json.loads(categories), words))
    return states
