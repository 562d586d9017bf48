"""``pawl salvage``: what can still be read of a store that is refused as damaged.

The files are moved into a folder of their own and stay there as they were. Of the WAL every
transaction that is whole is kept, and of the journal every frame, whatever is broken between them;
a WAL of another database or another time is left out. A damaged main file can't be salvaged: it
needs a copy.

DuckDB 1.5's WAL, as found by trying: 8 bytes of version, then entries of a size (8 bytes, little
endian), a checksum (8 bytes) and as many bytes as the size says, which begin with ``64 00`` and
the entry's type; type 100 ends a transaction.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from feedback.database import connect, count_repeats, newest_row, store_lock
from feedback.journal import journal_path, replay_whole
from feedback.mark import (
    WAL_VERSION,
    is_own_wal,
    mark_path,
    read_journal_mark,
    read_mark,
    wal_path,
)
from feedback.store import Store
from feedback.tables import numbered_tables
from pawl.errors import PawlError
from pawl.files import PRIVATE, sync_dir

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_ENTRY = b"\x64\x00"
_END_OF_TRANSACTION = 100
_TYPES = (*range(1, 32), 50, 51, 52, 98, 99, _END_OF_TRANSACTION)
_AT_BYTE = re.compile(r"entry at byte position (\d+)")


@dataclass(frozen=True, slots=True)
class Salvaged:
    """``kept`` is the folder with the files as they were, None when the store was whole; of the
    acknowledged rows ``n_lost`` at most are gone, None where no mark says what was acknowledged;
    ``wal_left_out``: it is another database's, or another time's."""

    kept: Path | None
    n_lost: int | None = 0
    wal_left_out: bool = False


def salvage(database: Path) -> Salvaged:
    """Make a store that opens of what can be read. Nothing is done to one that is whole.

    Raises:
        PawlError: the store is in use, isn't there, or its main file is damaged; everything is as
            it was then.
    """
    try:
        with Store.open(database) as store:
            store.verify()
        return Salvaged(None)
    except PawlError as err:
        if err.code != "store_damaged" and "could not be read" not in err.what:
            raise
    with store_lock(database):
        return _salvage(database)


def _salvage(database: Path) -> Salvaged:
    if not database.exists():
        raise PawlError(
            f"the store {database} is gone",
            "there is nothing to read",
            f"Put back a copy, or delete {mark_path(database).name} to begin with an empty store",
            code="store_damaged",
        )
    at = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
    folder = database.with_name(f"salvage-{at}")
    folder.mkdir(mode=PRIVATE)
    try:
        result = _work_copy(database, folder)
    except BaseException:
        shutil.rmtree(folder)
        raise
    # From here on a stop leaves the files in the folder, and the mark says that they are missing.
    for path in (wal_path(database), journal_path(database), database):
        if path.exists():
            path.rename(folder / path.name)
    (folder / "salvaged").rename(database)
    if mark_path(database).exists():
        mark_path(database).rename(folder / mark_path(database).name)
    sync_dir(folder)
    sync_dir(database.parent)
    return result


def _work_copy(database: Path, folder: Path) -> Salvaged:
    """A store in ``folder`` that holds what can be read, checkpointed."""
    work = folder / "salvaged"
    wal = wal_path(database)
    raw = wal.read_bytes() if wal.exists() else b""
    whole_wal = is_own_wal(database)
    transactions = list(_transactions(raw)) if whole_wal else []
    shutil.copyfile(database, work)
    connection = connect(work)
    in_file = newest_row(connection)
    connection.close()
    while True:
        wal_path(work).unlink(missing_ok=True)
        shutil.copyfile(database, work)
        if transactions:
            wal_path(work).write_bytes(WAL_VERSION + b"".join(transactions))
        try:
            connection = connect(work)
        except PawlError as err:
            broken = _transaction_at(transactions, err)
            if broken is None:
                raise
            del transactions[broken]
            continue
        repeats = count_repeats(connection)
        if not repeats or not transactions:
            break
        connection.close()
        transactions, whole_wal = [], False
    replay_whole(connection, database)
    mark, n_lost = read_mark(database), None
    if mark is not None:
        acknowledged = max(mark.seq, read_journal_mark(database))
        n_there = _count_rows(connection, in_file + 1, acknowledged)
        n_lost = max(0, acknowledged - in_file) - n_there
    connection.execute("CHECKPOINT")
    connection.close()
    with Store.open(work) as store:  # as a start will
        store.verify()
    mark_path(work).unlink()
    work.with_name(work.name + ".lock").unlink()
    return Salvaged(folder, n_lost, bool(raw) and not whole_wal)


def _count_rows(connection: DuckDBPyConnection, first: int, last: int) -> int:
    n = 0
    for table in numbered_tables(connection):
        sql = f"SELECT count(*) FROM {table} WHERE seq BETWEEN ? AND ?"
        row = connection.execute(sql, [first, last]).fetchone()
        n += int(row[0]) if row else 0
    return n


def _transaction_at(transactions: list[bytes], err: PawlError) -> int | None:
    """Which transaction DuckDB could not replay; the last where it does not say."""
    if not transactions:
        return None
    found = _AT_BYTE.search(err.why)
    place = int(found[1]) if found else None
    end = len(WAL_VERSION)
    for number, transaction in enumerate(transactions):
        end += len(transaction)
        if place is not None and place < end:
            return number
    return len(transactions) - 1


def _transactions(raw: bytes) -> Iterator[bytes]:
    """The transactions whose entries are all there. After a piece that is no entry, the rest of
    the transaction that it was in is left out."""
    place = len(WAL_VERSION) if raw.startswith(WAL_VERSION) else None
    begun: int | None = place
    while True:
        end = _end_of_entry(raw, place) if place is not None else None
        if place is None or end is None:
            place, begun = _next_entry(raw, 0 if place is None else place + 1), None
            if place is None:
                return
            continue
        if raw[place + 18] == _END_OF_TRANSACTION:
            if begun is not None:
                yield raw[begun:end]
            begun = end
        place = end


def _end_of_entry(raw: bytes, place: int) -> int | None:
    """Where the entry at ``place`` ends; None when there is none."""
    size = int.from_bytes(raw[place : place + 8], "little")
    end = place + 16 + size
    data = raw[place + 16 : place + 19]
    fits = size >= 3 and end <= len(raw)
    return end if fits and data[:2] == _ENTRY and data[2] in _TYPES else None


def _next_entry(raw: bytes, place: int) -> int | None:
    """The next place that two entries in a row begin at, or the last one of the file."""
    found = raw.find(_ENTRY, place + 16)
    while found != -1:
        end = _end_of_entry(raw, found - 16)
        if end is not None and (end == len(raw) or _end_of_entry(raw, end) is not None):
            return found - 16
        found = raw.find(_ENTRY, found + 1)
    return None
