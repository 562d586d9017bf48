"""The mark beside the database: what was acknowledged last, so that a start notices what is gone.

DuckDB 1.5 opens a file whose WAL was deleted, emptied, cut or beheaded as if nothing had ever been
in it, and replays another database's WAL without a word (found by trying, 1.5.6). So after each
COMMIT and before anybody is told, one small file is written in place:

    {"seq": 812, "iteration": 7, "wal_bytes": 9120, "wal_head": "...", "wal_tail": "..."}

``seq`` is the newest row's number, ``iteration`` counts DuckDB's checkpoints, the other three
recognise the WAL by its size and by two of its pieces. It is written without a flush of its own: a
kill of the process loses none of it, and after a power cut it says less than was acknowledged at
most, never more. A second sector has the newest row that was acknowledged from the journal.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pawl.files import read_json, sync_dir, write_atomic, write_json

WAL_VERSION = bytes.fromhex("640062650002ffff")  # what each WAL of DuckDB 1.5 begins with
_BYTES = 256  # of the mark; one sector, so that it is written whole
_JOURNAL_BYTES = 29  # CRC-32, a space, 20 digits
_PIECE_BYTES = 1024  # enough for what no other transaction or database has
_HEADERS = (4096, 8192)  # DuckDB's two database headers: checksum (8 bytes), iteration (8 bytes)
_log = logging.getLogger("pawl.store")


@dataclass(frozen=True, slots=True)
class Mark:
    """What was acknowledged last, and what the files were like."""

    seq: int
    iteration: int
    wal_bytes: int
    wal_head: str
    wal_tail: str


def mark_path(database: Path) -> Path:
    return database.with_name(database.name + ".mark")


def wal_path(database: Path) -> Path:
    return database.with_name(database.name + ".wal")


def new_path(database: Path) -> Path:
    """A file that is to take the database's place (``feedback.rewriting``)."""
    return database.with_name(database.name + ".new")


def swap_path(database: Path) -> Path:
    """``{"seq": ...}`` while the new file, which is whole and ends with that row, takes it."""
    return database.with_name(database.name + ".swap")


def begin_swap(database: Path, seq: int) -> None:
    """Decide that the new file takes the old one's place, whatever happens from here on."""
    with _opened(new_path(database)) as descriptor:
        os.fsync(descriptor)
    write_json(swap_path(database), {"seq": seq})


def finish_swap(database: Path) -> None:
    """Put a new file that is whole in the old one's place, with a mark of its own; remove one that
    never became whole. To be called while nobody has the database open, as often as one likes."""
    if not swap_path(database).exists():
        new_path(database).unlink(missing_ok=True)
        wal_path(new_path(database)).unlink(missing_ok=True)
        return
    seq = int(read_json(swap_path(database))["seq"])
    if new_path(database).exists():
        wal_path(database).unlink(missing_ok=True)  # what was in it is in the new file
        sync_dir(database.parent)
        new_path(database).replace(database)
        sync_dir(database.parent)
    with _opened(database) as descriptor:
        mark = Mark(seq, _iteration(descriptor), 0, "", "")
    write_atomic(mark_path(database), _packed(mark), mode=0o600)
    swap_path(database).unlink()
    sync_dir(database.parent)


class Marker:
    """Writes the mark of one open database.

    It holds descriptors of its own for as long as DuckDB holds the file: closing one would give up
    DuckDB's lock on it (``fcntl`` locks go with any descriptor of the process).
    """

    def __init__(self, database: Path) -> None:
        """Raises OSError: the mark can't be written."""
        self._wal = wal_path(database)
        self._database = os.open(database, os.O_RDONLY | os.O_CLOEXEC)
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._file = os.open(mark_path(database), flags, 0o600)
        except OSError:
            os.close(self._database)
            raise
        self._last = _read(self._file)

    def note(self, seq: int) -> bool:
        """Write down that everything up to ``seq`` is acknowledged. Does not raise: the older mark
        that stays where this fails is true still.

        Returns:
            whether what was committed is where a start would find it: False when somebody took the
            WAL away while it was open.
        """
        try:
            iteration, last = _iteration(self._database), self._last
            size, head, tail = _pieces(self._wal)
            to_wal = last is not None and last.iteration == iteration and seq > last.seq
            if to_wal and last is not None and size < max(last.wal_bytes, 1):
                return False
            self._last = Mark(seq, iteration, size, head, tail)
            os.pwrite(self._file, _packed(self._last), 0)
        except OSError as err:
            _log.warning("the mark of the store could not be written: %s", err)
        return True

    def note_journal(self, seq: int) -> None:
        """Write down that everything up to ``seq`` is in the journal, or was. Does not raise."""
        text = f"{seq:020d}"
        try:
            os.pwrite(self._file, f"{zlib.crc32(text.encode()):08x} {text}".encode(), _BYTES)
        except OSError as err:
            _log.warning("the mark of the store could not be written: %s", err)

    def close(self) -> None:
        os.close(self._file)
        os.close(self._database)


def problem_of_files(database: Path) -> str:
    """What of the files is not as the mark says, before DuckDB opens them; empty when all is."""
    mark = read_mark(database)
    if mark is None:
        return ""
    if not database.exists():
        return f"its file is gone, with {mark.seq:,} rows"
    with _opened(database) as descriptor:
        iteration = _iteration(descriptor)
    if iteration < mark.iteration:
        return "the file is older than what was acknowledged"
    if iteration > mark.iteration or mark.wal_bytes == 0:
        return ""
    size, head, tail = _pieces(wal_path(database), mark.wal_bytes)
    if size == 0:
        return "its .wal file is gone or empty"
    if head != mark.wal_head:
        return "its .wal file is another one or lacks its beginning"
    if size < mark.wal_bytes:
        return f"its .wal file has {size:,} bytes of {mark.wal_bytes:,}"
    return "" if tail == mark.wal_tail else "its .wal file was changed"


def is_own_wal(database: Path) -> bool:
    """Whether what lies there as the WAL can be this file's, wherever it was cut or changed: not
    where it begins as a WAL does and neither beginning nor end is that which was acknowledged."""
    mark = read_mark(database)
    if mark is None or mark.wal_bytes == 0:
        return True
    with _opened(database) as descriptor:
        if _iteration(descriptor) != mark.iteration:
            return True
    size, head, tail = _pieces(wal_path(database), mark.wal_bytes)
    if size < _PIECE_BYTES or head == mark.wal_head or tail == mark.wal_tail:
        return True
    with _opened(wal_path(database)) as descriptor:
        return os.pread(descriptor, len(WAL_VERSION), 0) != WAL_VERSION


def read_mark(database: Path) -> Mark | None:
    """The mark; None where there is none, or none that is whole."""
    with suppress(FileNotFoundError), _opened(mark_path(database)) as descriptor:
        return _read(descriptor)
    return None


def read_journal_mark(database: Path) -> int:
    """The newest row that was acknowledged from the journal; 0 where none is known."""
    raw = b""
    with suppress(FileNotFoundError), _opened(mark_path(database)) as descriptor:
        raw = os.pread(descriptor, _JOURNAL_BYTES, _BYTES)
    check, _, seq = raw.partition(b" ")
    if check.decode(errors="replace") == f"{zlib.crc32(seq):08x}":
        return int(seq)
    if raw:
        _log.warning("the mark of the journal can't be read; its end is not checked against it")
    return 0


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> Mark | None:
    raw = os.pread(descriptor, _BYTES, 0)
    try:
        check, text = raw.decode().split(" ", 1)
        if int(check, 16) == zlib.crc32(text.encode()):
            return Mark(**json.loads(text))
    except (ValueError, TypeError):
        if raw:
            _log.warning("the mark of the store can't be read; its WAL is not checked against it")
    return None


def _packed(mark: Mark) -> bytes:
    text = json.dumps(asdict(mark)).ljust(_BYTES - 9)
    return f"{zlib.crc32(text.encode()):08x} {text}".encode()


def _iteration(descriptor: int) -> int:
    """How many checkpoints DuckDB has written into the file; -1 where it has no headers."""
    found = [-1]
    for place in _HEADERS:
        raw = os.pread(descriptor, 8, place + 8)
        if len(raw) == 8:
            found.append(int(struct.unpack("<q", raw)[0]))
    return max(found)


def _pieces(wal: Path, n_bytes: int | None = None) -> tuple[int, str, str]:
    """Size of a WAL, and the hashes of the first and the last piece of its first ``n_bytes``."""
    try:
        with _opened(wal) as descriptor:
            size = os.fstat(descriptor).st_size
            end = size if n_bytes is None else n_bytes
            head = os.pread(descriptor, min(_PIECE_BYTES, end), 0)
            tail = os.pread(descriptor, min(_PIECE_BYTES, end), max(0, end - _PIECE_BYTES))
    except FileNotFoundError:
        return 0, "", ""
    return size, f"{zlib.crc32(head):08x}", f"{zlib.crc32(tail):08x}"
