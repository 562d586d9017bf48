"""One thread that writes: everything queued meanwhile goes into one transaction.

A commit costs an fsync however many rows it holds, so under load rows share one: 32 clients that
wait got 8 times as many rows/s as with a commit for each. A future is resolved after COMMIT, never
before.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from feedback.database import Database, store_failed
from feedback.tables import FEEDBACK_COLUMNS, Row, record_from
from pawl.errors import PawlError
from pawl.schemas import Feedback

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_MOST_WRITES = 1024  # of one transaction; bounds how long the first of them waits
_GATHER_SECONDS = 0.001
_log = logging.getLogger("pawl.store")


@dataclass(slots=True)
class Write:
    """Rows by table (without ``seq``), and what the future resolves to once they are committed.

    ``key`` marks a write that must happen once. One that repeats an earlier write has
    ``repeats`` set and resolves to ``earlier``; its rows are left out.
    ``after`` runs in the writer's thread after COMMIT and before the future is resolved.
    """

    rows: dict[str, list[Row]]
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
        self._next_seq = next_seq
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
        write.future.set_exception(
            PawlError(
                "the store is closed",
                "the server is stopping",
                "Send it again when it is up",
                retryable=True,
                code="store_closed",
            )
        )
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
        return True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing is written until the block ends; what is queued waits."""
        with self._writing:
            self._drop_connection()
            yield

    def _run(self) -> None:
        n_before, stopping = 1, False
        while not stopping:
            batch, stopping = self._gather(n_before)
            if not batch:
                continue
            n_before = len(batch)
            try:
                with self._writing:
                    self._write(batch)
            except BaseException as err:  # the thread outlives whatever happened
                _log.exception("the store's writer met an error it does not know")
                _fail(
                    batch,
                    store_failed(err if isinstance(err, Exception) else RuntimeError(str(err))),
                )

    def _gather(self, n_before: int) -> tuple[list[Write], bool]:
        """What is queued, and whether to stop after it.

        Clients that were acknowledged together come back together: after a batch of several, a
        moment's wait for as many again saves a commit. A lone client is never made to wait.
        """
        batch: list[Write] = []
        until = 0.0
        while len(batch) < _MOST_WRITES:
            try:
                if not batch:
                    one = self._queue.get()
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
        import duckdb

        last: tuple[str, int] | None = None
        try:
            connection = self._connection or self._database.writing()
            self._connection = connection
            connection.execute("BEGIN TRANSACTION")
            _settle_repeats(connection, batch)
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
                    self._write([write])
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
        """Insert the batch, one statement a table; answer one (table, seq) to recognise it by."""
        columns: dict[str, list[list[Any]]] = {}
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
            with self._database.reading() as cursor:
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
            with self._database.reading() as cursor:
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


def _settle_repeats(connection: DuckDBPyConnection, batch: Sequence[Write]) -> None:
    """Find those feedback writes whose key was stored before, or comes twice in the batch."""
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
    first: dict[Any, Feedback] = {}
    for row in rows:
        one = record_from(Feedback, row)
        first[(one.rater_id, one.idempotency_key)] = one  # the oldest comes last and stays
    for write in keyed:
        write.repeats = write.key in first
        write.earlier = first.setdefault(write.key, write.result)
