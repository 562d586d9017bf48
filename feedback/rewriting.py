"""The store's file written anew without some rows: what DuckDB deletes stays in its free blocks.

    pawl.duckdb.new    the new file, until it is whole
    pawl.duckdb.swap   {"seq": 812}: it is whole, and takes the old one's place

Rows are appended and never edited, so most are copied while people write; only those that came
meanwhile are copied while writers and readers wait. A kill before ``.swap`` is written leaves the
old file as it was, a kill after it the new one, which the next opening puts in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedback.database import Database, newest_row, store_failed
from feedback.mark import new_path
from feedback.tables import Row, column_types, newest_seq, table_columns
from pawl.files import sync_dir

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from feedback.writer import GroupWriter

_NEW = "rewritten"  # the new file's name within DuckDB
_ROWS_AT_ONCE = 10_000


@dataclass(slots=True)
class TableChanges:
    """Of one table: the rows that go, and those that become others, by ``seq``. One that is both
    goes."""

    dropped: set[int] = field(default_factory=set)
    replaced: dict[int, Row] = field(default_factory=dict)


Changes = dict[str, TableChanges]
# (a cursor, first, last) to the changes among rows whose ``seq`` is above first and not above last
ChangesOf = Callable[["DuckDBPyConnection", int, int], Changes]


class Rewriter:
    """Writes the file of one store anew."""

    def __init__(self, database: Database, writer: GroupWriter) -> None:
        self.database, self._writer = database, writer
        self.n_rewrites = 0  # whoever keeps what was read begins anew when it grows

    def rewrite(self, changes_of: ChangesOf) -> dict[str, dict[str, int]]:
        """Write a file with these changes and put it in the old one's place.

        Returns:
            of each table that changed ``n_before``, ``n_after``, ``n_replaced``.

        Raises:
            PawlError: DuckDB or the disk refused; the store is as it was.
        """
        import duckdb

        _remove_new(self.database.path)
        counts: dict[str, dict[str, int]] = {}
        try:
            with self.database.reading() as cursor:
                [(own,)] = cursor.execute("SELECT current_database()").fetchall()
                place = str(new_path(self.database.path)).replace("'", "''")
                cursor.execute(f"ATTACH '{place}' AS {_NEW}")
                cursor.execute(f'COPY FROM DATABASE "{own}" TO {_NEW} (SCHEMA)')
                last = newest_row(cursor)
                _copy(cursor, changes_of(cursor, 0, last), 0, last, counts)
            with self._writer.paused():
                self.database.replace_file(lambda cursor: _finish(cursor, changes_of, last, counts))
        except BaseException as err:
            with self._writer.paused(caught_up=False):
                self.database.reopen()  # without the new file
            _remove_new(self.database.path)
            if isinstance(err, duckdb.Error):
                raise store_failed(err, "the store could not be written anew") from err
            raise
        finally:  # of one that failed it may be the old file or the new one
            self.n_rewrites += 1
        return {
            table: count
            for table, count in counts.items()
            if count["n_replaced"] or count["n_before"] != count["n_after"]
        }


def _finish(
    cursor: DuckDBPyConnection,
    changes_of: ChangesOf,
    last: int,
    counts: dict[str, dict[str, int]],
) -> int:
    """Copy what came since, while nobody writes; the newest row's number in the new file."""
    newest = newest_row(cursor)
    _copy(cursor, changes_of(cursor, last, newest), last, newest, counts)
    columns = table_columns(cursor)
    for table in sorted(columns):
        if "seq" not in columns[table]:
            cursor.execute(f"INSERT INTO {_NEW}.main.{table} SELECT * FROM main.{table}")
    kept = newest_seq(cursor, (f"{_NEW}.main.{t}" for t in columns if "seq" in columns[t]))
    cursor.execute(f"CHECKPOINT {_NEW}")
    cursor.execute(f"DETACH {_NEW}")
    return kept


def _copy(
    cursor: DuckDBPyConnection,
    changes: Changes,
    first: int,
    last: int,
    counts: dict[str, dict[str, int]],
) -> None:
    types = column_types(cursor)
    for table, columns in table_columns(cursor).items():
        if "seq" not in columns:
            continue
        found = changes.get(table, TableChanges())
        replaced = {seq: found.replaced[seq] for seq in found.replaced.keys() - found.dropped}
        between, bounds = "seq > ? AND seq <= ?", [first, last]
        skipped = sorted(found.dropped | replaced.keys())
        clause = " AND seq NOT IN (SELECT unnest(?::BIGINT[]))" if skipped else ""
        cursor.execute(
            f"INSERT INTO {_NEW}.main.{table} SELECT * FROM main.{table} WHERE {between}{clause}",
            [*bounds, skipped] if skipped else bounds,
        )
        values = ", ".join(f"unnest(?::{kind}[])" for kind in types[table])
        for rows in _batches(replaced[seq] for seq in sorted(replaced)):
            cursor.execute(
                f"INSERT INTO {_NEW}.main.{table} SELECT {values}",
                [list(column) for column in zip(*rows, strict=True)],
            )
        [(n,)] = cursor.execute(
            f"SELECT count(*) FROM main.{table} WHERE {between}", bounds
        ).fetchall()
        count = counts.setdefault(table, {"n_before": 0, "n_after": 0, "n_replaced": 0})
        count["n_before"] += n
        count["n_after"] += n - len(found.dropped)
        count["n_replaced"] += len(replaced)


def _batches(rows: Iterable[Row]) -> Iterable[list[Row]]:
    batch: list[Any] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _remove_new(path: Path) -> None:
    """Remove a new file that never became whole."""
    for name in (new_path(path), new_path(path).with_name(new_path(path).name + ".wal")):
        name.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_dir(path.parent)
