"""The journal beside the database: what was acknowledged and DuckDB does not hold yet.

A commit of DuckDB takes several times as long as appending to a file, so answers and feedback are
acknowledged once they are here, and DuckDB gets them in batches (``feedback.writer``). After each
batch that DuckDB has committed, and synced to its WAL, the file is begun anew. One frame is one
append, of the rows that were acknowledged together:

    "PWJ1"  length of the payload (u32)  CRC-32 of length and payload (u32)  payload

    {"store": "0b5c...", "after": 811, "last": 813, "tables":
      {"completions": {"columns": ["seq", ...], "rows": [[812, ...], [813, ...]]}}}

``store`` is the store's own id, ``last`` the number of the frame's newest row, ``after`` that of
the frame before it. The table ``journal`` holds the last frame that DuckDB has; it changes in the
transaction that brings the rows, so that a row is brought once, wherever a kill falls.

The file keeps its size, and new frames are written over those that DuckDB has: a sync that need
not say where a file ends takes a third of the time. Zeros stand, or older frames, behind the newest
one; numbers only grow, so that an older one is known.

A start reads the frames after that one. A frame at the end that was never finished is what a kill
leaves. One that is broken before others, one that is missing, and an end before what was
acknowledged (``feedback.mark``) are damage: the store is refused, and ``pawl salvage`` keeps what
can be read.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedback.tables import Row, to_json
from pawl.files import sync_dir

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MAGIC = b"PWJ1"
_SIZES = struct.Struct("<II")  # length of the payload, CRC-32
_HEAD_BYTES = len(_MAGIC) + _SIZES.size
_MOST_FRAME_BYTES = 2**30
_GROWS_BYTES = 2**18  # at a time: what 170 answers take
_ROOM_BYTES = 1_000_000  # of disk, beside what DuckDB needs for the rows that it lacks
_REPLAY_ROWS = 8192  # of one transaction: 100,000 rows take 4 s on one busy core


class Damaged(Exception):
    """The journal lacks what was acknowledged, or is another store's; says what is wrong."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What was acknowledged together."""

    store: str
    after: int
    last: int
    tables: dict[str, dict[str, Any]]


def journal_path(database: Path) -> Path:
    return database.with_name(database.name + ".journal")


class Journal:
    """The journal of one open store; one thread appends to it. Every method raises OSError."""

    def __init__(self, database: Path, store: str, last: int) -> None:
        """Make an empty journal; what is in it must be in the database (``replay``).

        Args:
            store: the store's id.
            last: the newest row that the database has from the journal.
        """
        self._path, self._store = journal_path(database), store
        self._last = last
        self._file = -1
        self._end = 0  # of what is acknowledged
        self._size = 0  # of the file
        self._is_dirty = True  # there may be bytes beyond the end that are no older frames
        self._open()

    def record_for(self, store: str) -> None:
        """What is appended from now on is this store's."""
        self._store = store

    def append(self, columns: Mapping[str, list[str]], rows: Mapping[str, list[Row]]) -> int:
        """Write rows and wait until they are on disk; the bytes written. Nothing of them is kept
        where this fails.

        Args:
            columns: each table's, ``seq`` first.
            rows: by table, each with its ``seq``; the newest has the highest ever.

        Raises:
            UnicodeEncodeError: a text can't be written as UTF-8.
        """
        last = max(table[-1][0] for table in rows.values())
        frame = _packed({
            "store": self._store, "after": self._last, "last": last,
            "tables": {name: {"columns": columns[name], "rows": rows[name]} for name in rows},
        })  # fmt: skip
        if len(frame) > _MOST_FRAME_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        self._mend()
        disk = os.statvfs(self._path.parent)
        room = _GROWS_BYTES + _ROOM_BYTES
        if disk.f_bavail * disk.f_frsize < 2 * (self._end + len(frame)) + room:
            # DuckDB could not take the rows out of it.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._is_dirty = True
        try:
            n_lacking = self._end + len(frame) - self._size
            if n_lacking > 0:
                n_more = -(-n_lacking // _GROWS_BYTES) * _GROWS_BYTES
                self._write(bytes(n_more), self._size)
                self._size += n_more
            self._write(frame, self._end)
            os.fdatasync(self._file)
        except OSError:
            with suppress(OSError):
                self._mend()
            raise
        self._is_dirty = False
        self._end += len(frame)
        self._last = last
        return len(frame)

    def _write(self, data: bytes, place: int) -> None:
        written = 0
        while written < len(data):
            written += os.pwrite(self._file, data[written:], place + written)

    def is_there(self) -> bool:
        """Whether a start would find it: False when somebody took it away while it was open."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file)
        return (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev)

    def empty(self, *, wipe: bool = False) -> None:
        """Begin anew: the database has committed all of it. Makes the file anew where it is gone.

        Args:
            wipe: leave no byte of it.
        """
        is_gone = not self.is_there()
        self._end = 0
        self._is_dirty |= wipe or is_gone
        if is_gone:
            self._let_go()
            self._open()
        self._mend()

    def close(self) -> None:
        """Close the file; it goes where there is nothing in it."""
        if self._end == 0 and self.is_there():
            self._path.unlink()
            sync_dir(self._path.parent)
        self._let_go()

    def _let_go(self) -> None:
        file, self._file = self._file, -1  # whose number may soon be another file's
        if file != -1:
            os.close(file)

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._file = os.open(self._path, flags, 0o600)
        sync_dir(self._path.parent)
        self._mend()

    def _mend(self) -> None:
        """Cut off what stands beyond the end: an append that failed has left it."""
        if self._is_dirty:
            os.ftruncate(self._file, self._end)
            self._size = self._end
            self._is_dirty = False


def read_frames(raw: bytes, applied: int = 0) -> Iterator[Frame]:
    """The frames of a journal up to its end: zeros, a frame that was never finished, or older ones.

    Args:
        applied: the newest row that the database has from the journal.

    Raises:
        Damaged: a broken frame, or anything else, stands before newer ones.
    """
    place = newest = 0
    while place < len(raw):
        frame, end = _frame_at(raw, place)
        if frame is None or frame.last <= newest:
            known = max(newest, applied)
            if any(later.last > known for later in find_frames(raw, place + 1)):
                raise Damaged(f"its .journal file was changed at byte {place:,}")
            return
        yield frame
        place, newest = end, frame.last


def find_frames(raw: bytes, place: int = 0) -> Iterator[Frame]:
    """Every whole frame from ``place`` on, whatever stands between them."""
    while (place := raw.find(_MAGIC, place)) != -1:
        frame, place = _frame_at(raw, place)
        if frame is not None:
            yield frame


def replay(connection: DuckDBPyConnection, database: Path, acknowledged: int) -> int:
    """Bring what the journal has and the database lacks into it; how many rows.

    Args:
        database: its path; nobody else has it open.
        acknowledged: the newest row that was acknowledged from the journal, 0: none.

    Raises:
        Damaged: not all that was acknowledged is there.
        duckdb.Error, OSError: the disk refused; the next start goes on.
    """
    path = journal_path(database)
    raw = path.read_bytes() if path.exists() else b""
    state = read_state(connection)
    if state is None:
        if raw or acknowledged:
            raise Damaged("its .journal file belongs to another store")
        return 0
    store, applied = state
    missing, last = [], applied
    for frame in read_frames(raw, applied):
        if frame.store != store:
            raise Damaged("its .journal file belongs to another store")
        if frame.last <= last:
            continue  # the database had committed it before the kill
        if frame.after > last:
            raise Damaged(f"rows {last + 1:,} to {frame.after:,} are not in its .journal file")
        missing.append(frame)
        last = frame.last
    if last < acknowledged:
        raise Damaged(f"row {acknowledged:,} was acknowledged, its .journal ends with {last:,}")
    n_rows = apply_frames(connection, missing)
    if raw:
        os.truncate(path, 0)
    return n_rows


def replay_whole(connection: DuckDBPyConnection, database: Path) -> None:
    """Bring in every frame that is whole, whatever is broken or missing between them
    (``feedback.salvage``): older ones too, where the database has lost them again. Raises OSError,
    duckdb.Error."""
    path = journal_path(database)
    state = read_state(connection)
    if state is None or not path.exists():
        return
    store, applied = state
    found = (frame for frame in find_frames(path.read_bytes()) if frame.store == store)
    missing = [frame for frame in found if frame.last > applied]  # the newest stand first
    apply_frames(connection, sorted(missing, key=lambda frame: frame.last))


def read_state(connection: DuckDBPyConnection) -> tuple[str, int] | None:
    """The store's id and the last frame that it has; None in one that never had a journal."""
    tables = "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'journal'"
    if connection.execute(tables).fetchall() == [(0,)]:
        return None
    [(store, applied)] = connection.execute("SELECT store_id, applied FROM journal").fetchall()
    return str(store), int(applied)


def apply_frames(connection: DuckDBPyConnection, frames: Iterable[Frame]) -> int:
    """Insert the rows of frames, in their order and in as few transactions as memory allows, each
    with the number of its last frame."""
    tables: dict[tuple[str, ...], list[Row]] = {}
    last = n_rows = n_waiting = 0
    for frame in frames:
        for name, table in frame.tables.items():
            tables.setdefault((name, *table["columns"]), []).extend(table["rows"])
            n_waiting += len(table["rows"])
        last = frame.last
        if n_waiting >= _REPLAY_ROWS:
            _insert(connection, tables, last)
            n_rows, n_waiting = n_rows + n_waiting, 0
            tables.clear()
    if n_waiting:
        _insert(connection, tables, last)
    return n_rows + n_waiting


def _insert(
    connection: DuckDBPyConnection, tables: Mapping[tuple[str, ...], list[Row]], last: int
) -> None:
    connection.execute("BEGIN TRANSACTION")
    for (name, *columns), rows in tables.items():
        types = dict(connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ?"
            " AND database_name = current_database()", [name],
        ).fetchall())  # fmt: skip
        values = ", ".join(f"unnest(?::{types[column]}[])" for column in columns)
        connection.execute(
            f"INSERT INTO {name} ({', '.join(columns)}) SELECT {values}",
            [list(column) for column in zip(*rows, strict=True)],
        )
    connection.execute("UPDATE journal SET applied = ?", [last])
    connection.execute("COMMIT")


def _packed(value: dict[str, Any]) -> bytes:
    payload = to_json(value).encode()
    length = struct.pack("<I", len(payload))
    return b"".join((_MAGIC, length, struct.pack("<I", _check(length, payload)), payload))


def _frame_at(raw: bytes, place: int) -> tuple[Frame | None, int]:
    """The frame that begins here, and where to go on; None where none does that is whole."""
    start = place + _HEAD_BYTES
    if raw[place : place + len(_MAGIC)] == _MAGIC and start <= len(raw):
        length, check = _SIZES.unpack_from(raw, place + len(_MAGIC))
        payload = raw[start : start + length]
        if len(payload) == length and _check(raw[place + 4 : place + 8], payload) == check:
            return Frame(**json.loads(payload)), start + length
    return None, place + 1


def _check(length: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(length))
