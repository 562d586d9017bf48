"""One thread that writes: everything queued meanwhile is made durable together.

Answers and feedback are acknowledged from the journal (``feedback.journal``) and go to DuckDB
within half a second, before anybody reads, and before whatever else is written. All the rest goes
into one transaction of DuckDB, and so does what the journal can't take. A future is resolved after
the rows are synced to the journal or committed, never before.

Over 400 lines because the order of what one thread writes is read in one place.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from feedback.database import Database, store_failed
from feedback.journal import Journal, read_state
from feedback.tables import FEEDBACK_COLUMNS, Row, nullable_columns, record_from, table_columns
from pawl.errors import PawlError
from pawl.schemas import Feedback

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MOST_WRITES = 1024  # of one transaction; bounds how long the first of them waits
_GATHER_SECONDS = 0.001
_JOURNALED = frozenset({"completions", "feedback", "gateway_frames"})
_APPLY_SECONDS = 0.5  # that rows wait in the journal
_RETRY_SECONDS = 5.0  # where DuckDB could not take them
_MOST_BYTES = 8_000_000  # that wait in the journal; then DuckDB must take them first
_MOST_CHARACTERS = 8_000_000  # of one statement: DuckDB copies what it gets
_log = logging.getLogger("pawl.store")


class Rows(Protocol):
    """A list of rows, or what makes them at each reading."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Row]: ...


# Of DuckDB's types, which values of Python they hold for certain.
_HOLDS: dict[str, Callable[[Any], bool]] = {
    "VARCHAR": lambda value: isinstance(value, str),
    "BIGINT": lambda value: type(value) is int and -(2**63) <= value < 2**63,
    "DOUBLE": lambda value: type(value) is float or (type(value) is int and abs(value) < 2**53),
    "BOOLEAN": lambda value: type(value) is bool,
}


@dataclass(slots=True)
class Write:
    """Rows by table (without ``seq``), and what the future resolves to once they are committed.

    ``key`` marks a write that must happen once. One that repeats an earlier write has
    ``repeats`` set and resolves to ``earlier``; its rows are left out.
    ``after`` runs in the writer's thread after COMMIT and before the future is resolved.
    """

    rows: Mapping[str, Rows]
    result: Any = None
    key: Any = None
    repeats: bool = False
    earlier: Any = None
    after: Callable[[], None] | None = None
    future: Future[Any] = field(default_factory=Future)


class GroupWriter:
    """Owns the write side of a database.

    Args:
        database: where to write.
        column_types: DuckDB type names of each table's columns, ``seq`` first.
        next_seq: the first free sequence number.
    """

    def __init__(
        self, database: Database, column_types: dict[str, list[str]], next_seq: int
    ) -> None:
        self._database = database
        self._inserts = {
            table: f"INSERT INTO {table} SELECT " + ", ".join(f"unnest(?::{t}[])" for t in types)
            for table, types in column_types.items()
        }
        with database.reading() as cursor:
            nullable, self._columns = nullable_columns(cursor), table_columns(cursor)
            state = read_state(cursor)
        assert state is not None  # migration 14
        self._kinds = {
            table: list(zip(column_types[table], nullable[table], strict=True))[1:]
            for table in _JOURNALED
        }
        self._journal = Journal(database.path, *state)
        self._waiting: dict[str, list[Row]] = {}  # in the journal, not yet in DuckDB; with ``seq``
        self._waiting_keys: dict[Any, Any] = {}  # of these, what a repeat resolves to
        self._n_bytes, self._apply_at = 0, 0.0
        self._next_seq = max(next_seq, state[1] + 1)  # the newest rows may have been erased
        database.catch_up = self._catch_up
        self._queue: queue.SimpleQueue[Write | None] = queue.SimpleQueue()
        self._gate = threading.Lock()
        self._closed = False
        self._connection: DuckDBPyConnection | None = None
        self._writing = threading.Lock()  # held while a batch is written
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Write) -> Future[Any]:
        """Queue a write. The future fails with PawlError; it can't be cancelled."""
        write.future.set_running_or_notify_cancel()  # a client that hung up cancels nothing
        with self._gate:
            if not self._closed:
                self._queue.put(write)
                return write.future
        write.future.set_exception(_closed())
        return write.future

    def close(self) -> bool:
        """Write what is queued, then stop. False when it had been closed before."""
        with self._gate:
            if self._closed:
                return False
            self._closed = True
            self._queue.put(None)
        self._thread.join()
        self._drop_connection()
        try:
            self._journal.close()
        except OSError as err:
            _log.warning("the journal could not be closed: %s", err)
        return True

    @contextmanager
    def paused(self, *, caught_up: bool = True) -> Iterator[None]:
        """Nothing is written until the block ends; what is queued waits. The journal is empty, down
        to its last byte.

        Args:
            caught_up: False: whatever is in the journal stays there.

        Raises:
            PawlError: the database can't take what is in the journal, or it was closed.
        """
        with self._writing:
            if caught_up and self._closed:
                raise _closed()
            if caught_up:
                if failure := self._apply():
                    raise failure
                try:
                    self._journal.empty(wipe=True)
                except OSError as err:
                    raise store_failed(err, "the store's journal can't be emptied") from err
            self._drop_connection()
            yield

    def _catch_up(self) -> None:
        if self._waiting:
            self.submit(Write({})).result()

    def _run(self) -> None:
        n_before, stopping = 1, False
        while not stopping:
            batch, stopping = self._gather(n_before)
            n_before = max(1, len(batch))
            try:
                with self._writing:
                    if batch:
                        self._write(batch)
                    if self._waiting and (stopping or time.monotonic() >= self._apply_at):
                        self._apply()
            except BaseException as err:  # the thread outlives whatever happened
                _log.exception("the store's writer met an error it does not know")
                _fail(
                    batch,
                    store_failed(err if isinstance(err, Exception) else RuntimeError(str(err))),
                )

    def _gather(self, n_before: int) -> tuple[list[Write], bool]:
        """What is queued, and whether to stop after it. Nothing when it is time to apply.

        Clients that were acknowledged together come back together: after a batch of several, a
        moment's wait for as many again saves a commit. A lone client is never made to wait.
        """
        batch: list[Write] = []
        until = 0.0
        while len(batch) < _MOST_WRITES:
            try:
                if not batch:
                    left = max(0.0, self._apply_at - time.monotonic()) if self._waiting else None
                    one = self._queue.get(timeout=left)
                    until = time.monotonic() + _GATHER_SECONDS
                elif len(batch) < n_before and (left := until - time.monotonic()) > 0:
                    one = self._queue.get(timeout=left)
                else:
                    one = self._queue.get_nowait()
            except queue.Empty:
                break
            if one is None:
                return batch, True
            batch.append(one)
        return batch, False

    def _write(self, batch: list[Write]) -> None:
        if self._append(batch):
            return
        if failure := self._apply():
            _fail(batch, failure)
        elif any(write.rows for write in batch):
            self._commit(batch)
        else:
            self._tell(batch, None)

    # ---- by the journal ----

    def _append(self, batch: list[Write]) -> bool:
        """Acknowledge a batch from the journal. False: nothing was done, DuckDB must take it, and
        tell what of it can't be stored."""
        import duckdb

        if not all(self._fits(write) for write in batch):
            return False
        try:
            if not self._journal.is_there():
                _log.error("the journal of %s was taken away", self._database.path)
                if self._apply():
                    return False
                self._journal.empty()  # made anew
            if self._n_bytes > _MOST_BYTES and self._apply():
                return False
            if any(write.key is not None for write in batch):
                self._connection = self._connection or self._database.writing()
                _settle_repeats(self._connection, batch, self._waiting_keys)
            rows: dict[str, list[Row]] = {}
            for write in batch:
                for table, added in ({} if write.repeats else write.rows).items():
                    numbered = enumerate(added, self._next_seq)
                    rows.setdefault(table, []).extend((seq, *row) for seq, row in numbered)
                    self._next_seq += len(added)
            if rows:
                self._n_bytes += self._journal.append(self._columns, rows)
        except (OSError, PawlError, UnicodeEncodeError, duckdb.Error) as err:
            _log.warning("the journal can't take %s writes: %s", len(batch), err)
            self._roll_back()
            return False
        if rows:
            if not self._waiting:
                self._apply_at = time.monotonic() + _APPLY_SECONDS
            for table, added in rows.items():
                self._waiting.setdefault(table, []).extend(added)
            self._waiting_keys |= {
                write.key: write.result for write in batch if write.key and not write.repeats
            }
            self._database.acknowledge_journal(self._next_seq - 1)
        for write in batch:
            write.future.set_result(write.earlier if write.repeats else write.result)
        return True

    def _fits(self, write: Write) -> bool:
        """Whether a write goes to the journal, and its values are such as DuckDB can't refuse."""
        if not write.rows or write.after is not None or not _JOURNALED.issuperset(write.rows):
            return False
        return all(
            nullable if value is None else _HOLDS[kind](value)
            for table, rows in write.rows.items()
            for row in rows
            for value, (kind, nullable) in zip(row, self._kinds[table], strict=True)
        )

    def _apply(self) -> PawlError | None:
        """Bring what waits in the journal into DuckDB and empty the journal; what went wrong. Then
        the rows stay where they are, and wait for the next try."""
        import duckdb

        if not self._waiting:
            return None
        last = max((rows[-1][0], table) for table, rows in self._waiting.items())
        try:
            connection = self._connection or self._database.writing()
            self._connection = connection
            connection.execute("BEGIN TRANSACTION")
            # A try that seemed to fail may have been committed.
            [(applied,)] = connection.execute("SELECT applied FROM journal").fetchall()
            for table, rows in self._waiting.items():
                columns = list(zip(*(row for row in rows if row[0] > applied), strict=True))
                if columns:
                    connection.execute(self._inserts[table], [list(one) for one in columns])
            connection.execute("UPDATE journal SET applied = ?", [last[0]])
            connection.execute("COMMIT")
        except (duckdb.Error, PawlError) as err:
            _log.error("the store could not take %s rows of the journal: %s", self._n_waiting, err)
            if isinstance(err, PawlError) or not self._committed_after_all((last[1], last[0])):
                self._drop_connection()
                return self._postponed(err)
        try:
            self._database.acknowledge(last[0])
            self._journal.empty()
        except PawlError as err:
            return self._postponed(err)
        except OSError as err:  # what is in it will be passed over, for DuckDB has it
            _log.warning("the journal could not be emptied: %s", err)
        self._waiting, self._waiting_keys, self._n_bytes = {}, {}, 0
        return None

    @property
    def _n_waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def _postponed(self, err: Exception) -> PawlError:
        self._apply_at = time.monotonic() + _RETRY_SECONDS
        return err if isinstance(err, PawlError) else store_failed(err)

    # ---- by DuckDB itself ----

    def _commit(self, batch: list[Write]) -> None:
        import duckdb

        last: tuple[str, int] | None = None
        try:
            connection = self._connection or self._database.writing()
            self._connection = connection
            connection.execute("BEGIN TRANSACTION")
            _settle_repeats(connection, batch, {})
            last = self._insert(connection, batch)
            connection.execute("COMMIT")
        except PawlError as err:  # the file could not be opened again
            self._drop_connection()
            _fail(batch, err)
            return
        except (
            duckdb.IOException,
            duckdb.FatalException,
            duckdb.InternalException,
            duckdb.OperationalError,
        ) as err:
            _log.error("the store failed: %s", err)
            committed = self._committed_after_all(last)
            if not committed:
                _fail(batch, store_failed(err) if committed is False else _unknown(err))
                return
        except Exception as err:  # one write that DuckDB can't take must not fail the others
            self._roll_back()
            if len(batch) > 1:
                for write in batch:
                    self._commit([write])
                return
            _fail(
                batch,
                PawlError(
                    "the store can't hold this",
                    str(err).splitlines()[0],
                    "Send it without the value named",
                    code="not_storable",
                ),
            )
            return
        self._tell(batch, last)

    def _tell(self, batch: Sequence[Write], last: tuple[str, int] | None) -> None:
        """Acknowledge a batch that is committed: whatever fails from here on, it is saved."""
        try:
            if last is not None:
                self._database.acknowledge(last[1])
        except PawlError as err:
            _fail(batch, _unknown(err))
            return
        for write in batch:
            try:
                if write.after is not None and not write.repeats:
                    write.after()
            except Exception as err:
                _log.exception("what follows a write failed")
                write.future.set_exception(
                    PawlError(
                        "this was saved, but what follows from it failed",
                        str(err),
                        "Don't send it again; look at the server's log, and restart the server",
                        code="internal_error",
                    )
                )
                continue
            write.future.set_result(write.earlier if write.repeats else write.result)

    def _insert(
        self, connection: DuckDBPyConnection, batch: Sequence[Write]
    ) -> tuple[str, int] | None:
        """Insert the batch, one statement a table or several; answer one (table, seq) to recognise
        it by."""
        columns: dict[str, list[list[Any]]] = {}
        n_characters: Counter[str] = Counter()
        last: tuple[str, int] | None = None
        for write in batch:
            for table, rows in ({} if write.repeats else write.rows).items():
                for row in rows:
                    last = (table, self._next_seq)
                    if table not in columns:
                        columns[table] = [[] for _ in range(len(row) + 1)]
                    for column, value in zip(columns[table], (self._next_seq, *row), strict=True):
                        column.append(value)
                    self._next_seq += 1
                    n_characters[table] += sum(len(one) for one in row if isinstance(one, str))
                    if n_characters[table] > _MOST_CHARACTERS:
                        connection.execute(self._inserts[table], columns.pop(table))
                        n_characters[table] = 0
        for table, values in columns.items():
            connection.execute(self._inserts[table], values)
        return last

    def _committed_after_all(self, last: tuple[str, int] | None) -> bool | None:
        """Bring the connection back, and see whether the batch got to disk; None: can't be seen.

        COMMIT can fail after the WAL holds the rows: in the checkpoint that follows it.
        """
        import duckdb

        self._roll_back()
        try:
            with self._database.reading(caught_up=False) as cursor:
                cursor.execute("SELECT count(*) FROM schema_migrations").fetchall()
        except PawlError:
            self._drop_connection()
            try:
                self._database.reopen()
            except PawlError as err:
                _log.error("the store can't be opened again yet: %s", err)
                return None
        if last is None:
            return False
        try:
            with self._database.reading(caught_up=False) as cursor:
                found = cursor.execute(
                    f"SELECT count(*) FROM {last[0]} WHERE seq = ?", [last[1]]
                ).fetchone()
        except (PawlError, duckdb.Error):
            return None
        return bool(found and found[0])

    def _roll_back(self) -> None:
        import duckdb

        try:
            if self._connection is not None:
                self._connection.execute("ROLLBACK")
        except duckdb.Error:
            self._drop_connection()  # it had no transaction left, or is broken: take a new one

    def _drop_connection(self) -> None:
        import duckdb

        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except duckdb.Error:
                return


def _closed() -> PawlError:
    return PawlError(
        "the store is closed",
        "the server is stopping",
        "Send it again when it is up",
        retryable=True,
        code="store_closed",
    )


def _fail(batch: Sequence[Write], err: PawlError) -> None:
    for write in batch:
        if not write.future.done():
            write.future.set_exception(err)


def _unknown(err: Exception) -> PawlError:
    """Of a batch that may be in the store or not."""
    return PawlError(
        "it is not known whether this was saved",
        str(err).splitlines()[0] if str(err) else type(err).__name__,
        "Look whether it is there before you send it again",
        retryable=True,
        code="store_failed",
    )


def _settle_repeats(
    connection: DuckDBPyConnection, batch: Sequence[Write], waiting: Mapping[Any, Any]
) -> None:
    """Find those feedback writes whose key was stored before, or comes twice in the batch.

    Args:
        waiting: what has not been stored yet, by its key.
    """
    keyed = [write for write in batch if write.key is not None]
    if not keyed:
        return
    raters, keys = zip(*(write.key for write in keyed), strict=True)
    rows = connection.execute(
        f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE idempotency_key IN"
        " (SELECT unnest(?::VARCHAR[])) AND rater_id IN (SELECT unnest(?::VARCHAR[]))"
        " ORDER BY seq DESC",
        [list(keys), list(raters)],
    ).fetchall()
    first: dict[Any, Any] = dict(waiting)
    for row in rows:
        one = record_from(Feedback, row)
        first[(one.rater_id, one.idempotency_key)] = one  # the oldest comes last and stays
    for write in keyed:
        write.repeats = write.key in first
        write.earlier = first.setdefault(write.key, write.result)
