"""The DuckDB file itself: opened by one owner, checked, read by cursors, opened again when broken.

DuckDB 1.5 and not 2.0: 1.5 is maintained until March 2027, 2.0 is weeks old and its own guide
tells users with data to lose to wait for its first patch release.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from feedback.journal import Damaged, replay
from feedback.mark import (
    Marker,
    begin_swap,
    finish_swap,
    problem_of_files,
    read_journal_mark,
    read_mark,
    wal_path,
)
from feedback.migrations import MIGRATIONS, Migration, migrate
from feedback.tables import newest_seq, numbered_tables
from pawl.errors import PawlError
from pawl.files import PRIVATE, hold_lock

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_HEADER_BYTES = 3 * 4096  # DuckDB's main header and two database headers; blocks follow
_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 2,  # the engine and the trainer need the other cores
    "memory_limit": "1GB",  # and the memory; DuckDB's own default is 80 % of all there is
    "autoinstall_known_extensions": "false",  # never from the network
    "autoload_known_extensions": "false",
}
_log = logging.getLogger("pawl.store")


def store_failed(err: Exception, what: str = "the store could not save this") -> PawlError:
    """The error that a caller sees when DuckDB, or the disk under it, refused."""
    text = str(err).splitlines()[0] if str(err) else type(err).__name__
    full = "space left" in str(err)
    return PawlError(
        what,
        "the disk is full" if full else text,
        "Nothing of it was kept; make room and send it again"
        if full
        else "Nothing of it was kept; send it again, and look at the server's log if it stays",
        retryable=True,
        code="store_full" if full else "store_failed",
    )


class Database:
    """One open DuckDB file. Reads run on cursors of their own, from any thread."""

    def __init__(
        self, path: Path, migrations: Sequence[Migration] = MIGRATIONS, wait_seconds: float = 0.0
    ) -> None:
        """Open, check and migrate ``path`` (made when it isn't there).

        ``wait_seconds``: how long to wait for another process that owns it.

        Raises:
            PawlError: another process owns it, it is cut short or damaged, it or its WAL lacks
                what was acknowledged, or a migration failed. The files are left as they are.
        """
        self.path = path.absolute()
        self._changed = threading.Condition()
        self._n_readers = 0
        self._stopping_reads = False  # new ones wait, so that those under way come to an end
        self._owned = ExitStack()
        self._root: DuckDBPyConnection | None = None
        self._marker: Marker | None = None
        # Waits until what is acknowledged can be read (``feedback.writer``).
        self.catch_up: Callable[[], None] = lambda: None
        try:
            self.path.parent.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            self._owned.enter_context(store_lock(self.path, wait_seconds))
        except OSError as err:
            raise _unwritable(self.path, err) from err
        try:
            self._open()
            assert self._root is not None
            self._replay(self._root)
            _migrate(self._root, migrations, self.path)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self, *, caught_up: bool = True) -> Iterator[DuckDBPyConnection]:
        """A cursor that sees all acknowledged rows. Raises PawlError when the store can't be read.

        Not to be asked for inside another one: it may wait for that one's end.

        Args:
            caught_up: False for the writer, which can't wait for itself: committed rows alone.
        """
        import duckdb

        if caught_up:
            self.catch_up()
        with self._changed:
            self._changed.wait_for(lambda: not self._stopping_reads)
            if self._root is None:
                raise _closed()
            cursor = self._root.cursor()
            self._n_readers += 1
        try:
            yield cursor
        except duckdb.Error as err:
            raise PawlError(
                "the store could not be read",
                str(err).splitlines()[0],
                "Try again; look at the server's log if it stays",
                retryable=True,
                code="store_failed",
            ) from err
        finally:
            cursor.close()
            with self._changed:
                self._n_readers -= 1
                self._changed.notify_all()

    def writing(self) -> DuckDBPyConnection:
        """A cursor for the one writer, after opening the file again if it was lost."""
        with self._changed:
            if self._root is None:
                self._open()
            assert self._root is not None
            return self._root.cursor()

    def acknowledge(self, seq: int) -> None:
        """Write down that rows up to ``seq`` are committed, before anybody is told.

        Raises:
            PawlError: the WAL was taken away while it was open, and what is in it could not be
                folded into the file.
        """
        if self._marker is not None and not self._marker.note(seq):
            _log.error("the WAL of %s was taken away; folding it into the file", self.path)
            self.checkpoint()
            self._marker.note(seq)

    def acknowledge_journal(self, seq: int) -> None:
        """Write down that rows up to ``seq`` are in the journal, before anybody is told."""
        if self._marker is not None:
            self._marker.note_journal(seq)

    def reopen(self) -> None:
        """Drop a connection that DuckDB has given up and open the file anew (replays the WAL).

        Reads under way end first; new ones wait. When opening fails, reads answer with an error
        and the next ``writing()`` tries again.
        """
        with self._without_readers():
            self._let_go()
            self._open()

    def replace_file(self, prepare: Callable[[DuckDBPyConnection], int]) -> None:
        """Put another file in this one's place, while nobody reads or writes.

        Args:
            prepare: finishes the file at ``feedback.mark.new_path``; its newest row's number.
        """
        with self._without_readers():
            if self._root is None:
                self._open()
            assert self._root is not None
            with self._root.cursor() as cursor:
                seq = prepare(cursor)
            begin_swap(self.path, seq)
            self._let_go()
            self._open()

    def checkpoint(self) -> None:
        """Fold the WAL into the main file."""
        with self.reading(caught_up=False) as cursor:
            cursor.execute("CHECKPOINT")
            if self._marker is not None:
                self._marker.note(newest_row(cursor))

    def close(self) -> None:
        """Close the file and let another process have it. Reads under way end first.

        Does not checkpoint: a file that is found to be damaged keeps its WAL beside it.
        """
        with self._without_readers():
            self._let_go()
        self._owned.close()

    def _open(self) -> None:
        """Open the file, or the new one that is to take its place, if it holds what was
        acknowledged."""
        try:
            finish_swap(self.path)
        except OSError as err:
            raise _unwritable(self.path, err) from err
        if problem := problem_of_files(self.path):
            raise _damaged(self.path, problem)
        has_wal = wal_path(self.path).exists()
        self._root = connect(self.path)
        try:
            newest = _check_rows(self._root, self.path, has_wal)
            self._marker = Marker(self.path)
            self._marker.note(newest)
        except OSError as err:
            self._let_go()
            raise _unwritable(self.path, err) from err
        except BaseException:
            self._let_go()
            raise

    def _replay(self, root: DuckDBPyConnection) -> None:
        """Bring in what was acknowledged and not committed when the last owner was killed."""
        import duckdb

        try:
            n_rows = replay(root, self.path, read_journal_mark(self.path))
        except Damaged as err:
            raise _damaged(self.path, str(err)) from err
        except (duckdb.IOException, duckdb.OperationalError) as err:
            raise store_failed(err, "the store's journal can't be brought in") from err
        except duckdb.Error as err:
            raise _damaged(self.path, str(err).splitlines()[0]) from err
        except OSError as err:
            raise _unwritable(self.path, err) from err
        if n_rows:
            _log.info("%s: brought %s rows from the journal", self.path, f"{n_rows:,}")
            if self._marker is not None:
                self._marker.note(newest_row(root))

    def _let_go(self) -> None:
        root, self._root = self._root, None
        _close(root)
        marker, self._marker = self._marker, None
        if marker is not None:
            marker.close()

    @contextmanager
    def _without_readers(self) -> Iterator[None]:
        """Waits for the end of the reads under way; new ones wait until this is over."""
        with self._changed:
            self._stopping_reads = True
            try:
                self._changed.wait_for(lambda: self._n_readers == 0)
                yield
            finally:
                self._stopping_reads = False
                self._changed.notify_all()


def _unwritable(path: Path, err: OSError) -> PawlError:
    return PawlError(
        f"the store's folder {path.parent} can't be written",
        str(err),
        "Choose another state_dir or mend its permissions",
        code="store_unwritable",
    )


def store_lock(path: Path, wait_seconds: float = 0.0) -> AbstractContextManager[None]:
    """Own a database file. Entering it raises PawlError (``locked``): another process does."""
    return hold_lock(
        path.with_name(path.name + ".lock"),
        "the store is in use",
        "Stop the other one, or speak to it over HTTP",
        wait_seconds=wait_seconds,
    )


def newest_row(connection: DuckDBPyConnection) -> int:
    """The newest row's number; 0 for an empty store."""
    return newest_seq(connection, numbered_tables(connection))


def count_repeats(connection: DuckDBPyConnection) -> int:
    """How many rows are there more than once: those of a WAL that had been folded in before."""
    n = 0
    for table in numbered_tables(connection):
        sql = f"SELECT count(seq) - count(DISTINCT seq) FROM {table}"
        [(repeated,)] = connection.execute(sql).fetchall()
        n += int(repeated)
    return n


def _check_rows(connection: DuckDBPyConnection, path: Path, has_wal: bool) -> int:
    """The newest row's number. Raises PawlError: fewer rows than were acknowledged, or some twice
    (the WAL of another time was put beside the file)."""
    import duckdb

    try:
        newest = newest_row(connection)
        n_repeats = count_repeats(connection) if has_wal else 0
    except duckdb.Error as err:
        raise _damaged(path, str(err).splitlines()[0]) from err
    if n_repeats:
        raise _damaged(path, f"its .wal file repeats {n_repeats:,} rows of it")
    mark = read_mark(path)
    if mark is not None and newest < mark.seq:
        raise _damaged(path, f"row {mark.seq:,} was acknowledged, it ends with {newest:,}")
    return newest


def _closed() -> PawlError:
    return PawlError(
        "the store is closed",
        "the server is stopping or its disk failed",
        "Try again when it is up",
        retryable=True,
        code="store_closed",
    )


def _close(connection: DuckDBPyConnection | None) -> None:
    import duckdb

    if connection is not None:
        try:
            connection.close()
        except duckdb.Error:
            return  # already given up by DuckDB; what was committed is in the file and its WAL


def connect(path: Path) -> DuckDBPyConnection:
    """Open a file with its WAL. Raises PawlError: in use, damaged, cut short."""
    import duckdb

    try:
        connection = duckdb.connect(str(path), config=_CONFIG)
    except duckdb.Error as err:
        text = str(err)
        if "lock" in text and "onflict" in text:
            raise PawlError(
                "the store is in use",
                text.splitlines()[0],
                "Stop the process that has it open, or speak to it over HTTP",
                retryable=True,
                code="locked",
            ) from err
        if "space left" in text:
            raise store_failed(err, "the store can't be opened") from err
        raise _damaged(path, text.splitlines()[0]) from err
    try:
        # Without this, merely closing a file that turns out to be cut short would fold its WAL
        # into the wreck. close() of the store checkpoints by itself.
        connection.execute("PRAGMA disable_checkpoint_on_shutdown")
        # Of the blocks in use, not of all: DuckDB cuts free blocks off the end of the file after
        # it has written their number into its header, so that a whole file may have fewer.
        [(used,)] = connection.execute(
            "SELECT block_size * used_blocks FROM pragma_database_size()"
        ).fetchall()
        needed = int(used or 0) + _HEADER_BYTES
        if used and path.stat().st_size < needed:
            raise _damaged(path, f"it has {path.stat().st_size:,} bytes of {needed:,}")
    except duckdb.Error as err:
        _close(connection)
        raise _damaged(path, str(err).splitlines()[0]) from err
    except PawlError:
        _close(connection)
        raise
    return connection


def _migrate(connection: DuckDBPyConnection, migrations: Sequence[Migration], path: Path) -> None:
    import duckdb

    try:
        migrate(connection, migrations)
    except duckdb.Error as err:
        raise _damaged(path, str(err).splitlines()[0]) from err


def _damaged(path: Path, why: str) -> PawlError:
    return PawlError(
        f"the store {path} is damaged or cut short",
        why,
        "It was left as it is; put back a copy of all its files (pawl.duckdb and those whose names "
        "begin so), or keep what can be read of it with 'pawl salvage'",
        code="store_damaged",
    )
