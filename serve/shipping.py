"""A gateway's own journal, and its way to the server that has the store.

An answer is acknowledged once it is in the journal here (``feedback.journal``; a file for each life
of the process), as on the server it is once it is in the server's. Frames are sent in order, again
and again until the server has said that they are on its disk; then the file begins anew. What a
killed gateway left is sent by the next one that starts on the same folder.

Each frame names the store that it was recorded for, as that store's server told it at the first
contact; a server that has another store refuses it. Frames of earlier versions name the gateway
instead, and go to whichever server is asked.

Over 400 lines: the journal, and what is sent of it, are one order of steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedback.journal import Damaged, Journal, find_frames, journal_path
from feedback.journal import Frame as JournalFrame
from feedback.tables import Row, row_of
from pawl import __version__
from pawl.errors import PawlError
from pawl.files import hold_lock, is_locked, make_private
from pawl.schemas import AnswerEnd, Completion, Shipped
from serve.api.gateways import COLUMNS, network_here

if TYPE_CHECKING:
    import aiohttp

BEAT_SECONDS = 1.0  # between two signs of life
ASK_SECONDS = 5.0  # for the answer to one; the server takes a gateway for gone after 10
RETRY_SECONDS = 0.5
GATHER_SECONDS = 0.01  # for answers that end at nearly the same time: one shipment for them
BYTES_PER_SECOND = 1_000_000  # that a shipment is sent with at least
MOST_AT_ONCE_BYTES = 1_000_000  # of frames in one shipment; a single one may be larger
MOST_FRAME_BYTES = 1_000_000  # of rows that are acknowledged together, beyond the first
WIPE_SECONDS = 1.0  # at most so often: older frames stand in the file until then
LOOK_SECONDS = 30.0  # between two looks for journals that others left
FLUSH_SECONDS = 10.0  # that a request waits for what was acknowledged before it
_JOURNAL_COLUMNS = {"completions": ["seq", *COLUMNS]}
_log = logging.getLogger("pawl.gateway")


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows that were acknowledged together; ``last`` is the number of the newest."""

    last: int
    rows: list[Row]
    n_bytes: int


class Outbox:
    """The journal of one life of a gateway: rows go in from any thread, and out in order.

    Args:
        folder: where journals lie; each is locked while its gateway lives.
    """

    def __init__(self, folder: Path) -> None:
        make_private(folder)
        self.gateway_id = uuid.uuid4().hex
        self._path = folder / self.gateway_id
        self._lock_path = self._path.with_suffix(".lock")
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(hold_lock(self._lock_path, "it is another gateway's", ""))
        self._journal = Journal(self._path, self.gateway_id, 0)
        self._queue: queue.SimpleQueue[tuple[Row, Future[None]] | float | None] = (
            queue.SimpleQueue()
        )
        self._guard = threading.Lock()
        self._waiting: deque[Frame] = deque()
        self.last = self.last_sent = 0
        self.store = ""  # that this life records for; empty: not known yet
        self._is_wiped, self._wiped_at = True, 0.0
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    # What ``serve.api.recording.commit`` asks of a store.
    def append_completion(self, completion: Completion) -> Future[None]:
        """Record one answer; resolves once it is on disk here. Raises through the future:
        PawlError."""
        future: Future[None] = Future()
        future.set_running_or_notify_cancel()
        self._queue.put((row_of(completion), future))
        return future

    def record_for(self, store: str) -> None:
        """All that this life records is for this store; to be told before anything is."""
        self.store = store
        self._journal.record_for(store)

    def next_frames(self) -> list[Frame]:
        """The oldest that were not sent yet, in order; about ``MOST_AT_ONCE_BYTES`` of them."""
        frames: list[Frame] = []
        n_bytes = 0
        with self._guard:
            for frame in self._waiting:
                n_bytes += frame.n_bytes
                if frames and n_bytes > MOST_AT_ONCE_BYTES:
                    break
                frames.append(frame)
        return frames

    def sent(self, last: int) -> None:
        """The server has all up to this row on its disk."""
        with self._guard:
            while self._waiting and self._waiting[0].last <= last:
                self._waiting.popleft()
            self.last_sent = last
            is_empty = not self._waiting
        if is_empty:
            self._queue.put(time.monotonic())

    @property
    def n_waiting(self) -> int:
        with self._guard:
            return sum(len(frame.rows) for frame in self._waiting)

    def close(self) -> None:
        """Stop; the file goes where all of it was sent."""
        self._queue.put(None)
        self._thread.join()
        with contextlib.suppress(OSError):
            self._journal.close()
        self._lock.close()
        if not journal_path(self._path).exists():
            self._lock_path.unlink(missing_ok=True)

    def _run(self) -> None:
        left: tuple[Row, Future[None]] | float | None = None
        while True:
            item = left if left is not None else self._queue.get()
            left = None
            if item is None:
                return
            if isinstance(item, float):
                self._empty()
                continue
            batch, n_bytes = [item], 0
            with contextlib.suppress(queue.Empty):
                while n_bytes < MOST_FRAME_BYTES:
                    more = self._queue.get_nowait()
                    if not isinstance(more, tuple):
                        if more is None:
                            self._queue.put(None)
                        left = None if more is None else more
                        break
                    batch.append(more)
                    n_bytes += _size(more[0])
            self._append(batch)

    def _append(self, batch: Sequence[tuple[Row, Future[None]]]) -> None:
        rows = [(seq, *row) for seq, (row, _) in enumerate(batch, self.last + 1)]
        self._is_wiped = False
        try:
            if not self._journal.is_there():
                raise OSError(f"{journal_path(self._path)} was taken away")
            n_bytes = self._journal.append(_JOURNAL_COLUMNS, {"completions": rows})
        except UnicodeEncodeError as error:  # one row that can't be written fails alone
            if len(batch) > 1:
                for one in batch:
                    self._append([one])
                return
            _fail(batch, error)
        except Exception as error:
            _log.exception("the journal can't take %d answers", len(batch))
            _fail(batch, error)
        else:
            with self._guard:
                self._waiting.append(Frame(rows[-1][0], [row for row, _ in batch], n_bytes))
                self.last = rows[-1][0]
            for _, future in batch:
                future.set_result(None)

    def _empty(self) -> None:
        """Begin the file anew where all of it was sent. Nothing of people's texts stays in it for
        long: it is wiped, though not at each time."""
        if self._waiting or self._is_wiped:
            return
        self._is_wiped = time.monotonic() - self._wiped_at >= WIPE_SECONDS
        try:
            self._journal.empty(wipe=self._is_wiped)
        except OSError as error:  # the server knows what is in it, if it is sent again
            _log.warning("the journal could not be emptied: %s", error)
        if self._is_wiped:
            self._wiped_at = time.monotonic()


def _size(row: Row) -> int:
    """About how many bytes it takes."""
    return sum(len(value) for value in row if isinstance(value, str))


def _fail(batch: Sequence[tuple[Row, Future[None]]], error: Exception) -> None:
    for _, future in batch:
        future.set_exception(
            PawlError("the gateway's journal can't take it", str(error), code="not_recorded")
        )


class Shipper:
    """Brings what is in an outbox to the server, and tells it that the gateway is there.

    Args:
        owner_url: of the server that has the store.
        key: with the role gateway there, or an administrator's.
        outbox: this gateway's.
        session: to ask with.
        url: where this gateway listens, for people.
    """

    def __init__(
        self, owner_url: str, key: str, outbox: Outbox, session: aiohttp.ClientSession, url: str
    ) -> None:
        self._owner_url, self._key, self.outbox = owner_url, key, outbox
        self._session, self._url = session, url
        self.ticket: str | None = None  # None: the server was not reached lately
        self.problem = "the server was not asked yet"
        self.down = asyncio.Event()  # while it is not reached
        self.down.set()
        self.is_open = False
        self._ended: list[AnswerEnd] = []
        self._wake, self._progress = asyncio.Event(), asyncio.Event()
        self._looked_at = -LOOK_SECONDS
        self.of_other_stores: set[Path] = set()  # journals that were left, and not taken

    def ended(self, end: AnswerEnd) -> None:
        """Tell the server how an answer ended, with what was recorded of it."""
        self._ended.append(end)
        self._wake.set()

    async def flushed(self) -> None:
        """Wait until all that was recorded before is in the store.

        Raises:
            PawlError: it is not within ``FLUSH_SECONDS``; it stays in the journal.
        """
        last = self.outbox.last
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                while self.outbox.last_sent < last:
                    self._wake.set()
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            raise owner_unreachable() from None

    async def first_contact(self) -> None:
        """Raises PawlError: the server does not take this gateway. Unreachable is no error."""
        with contextlib.suppress(Unreachable):
            await self._send(self.outbox.gateway_id, [], [])

    async def run(self) -> None:
        """Send, until cancelled."""
        adopting = asyncio.create_task(asyncio.sleep(0))  # may take long: beats go on beside it
        while True:
            frames, ended = self.outbox.next_frames(), self._ended
            self._ended = []
            self._wake.clear()
            try:
                await self._send(self.outbox.gateway_id, frames, ended)
            except (Unreachable, PawlError) as error:
                if str(error) != self.problem:  # also at the first try
                    _log.warning("the server with the store: %s", error)
                self.ticket, self.problem = None, str(error)
                self.down.set()
                self._ended = ended + self._ended
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except asyncio.CancelledError:  # what ended is said by ``leave``
                self._ended = ended + self._ended
                raise
            except Exception:  # a fault of ours must show, and what is recorded be sent
                _log.exception("what is recorded could not be sent")
                self.ticket, self._ended = None, ended + self._ended
                self.down.set()
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if frames:
                self.outbox.sent(frames[-1].last)
                self._progress.set()
                continue
            self.outbox.sent(self.outbox.last_sent)  # wipes it, after the last answer of many
            if adopting.done() and time.monotonic() - self._looked_at > LOOK_SECONDS:
                self._looked_at = time.monotonic()
                adopting = asyncio.create_task(self._send_what_others_left())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), BEAT_SECONDS)
                await asyncio.sleep(GATHER_SECONDS)

    async def leave(self) -> None:
        """Send what is left and say that nothing more will come. What can't be sent stays in the
        journal, for the next start."""
        with contextlib.suppress(Unreachable, PawlError):
            while frames := self.outbox.next_frames():
                await self._send(self.outbox.gateway_id, frames, self._ended)
                self.outbox.sent(frames[-1].last)
            await self._send(self.outbox.gateway_id, [], self._ended, is_over=True)

    async def _send_what_others_left(self) -> None:
        folder = self.outbox._path.parent
        there = set(folder.glob("*.journal"))
        self.of_other_stores &= there
        for path in sorted(there - self.of_other_stores):
            if is_locked(path.with_suffix(".lock")):
                continue  # a living gateway's, this one's too
            try:
                with hold_lock(path.with_suffix(".lock"), "it is a living gateway's", ""):
                    await self._send_file(path)
                    path.unlink()
                    path.with_suffix(".lock").unlink(missing_ok=True)
            except Damaged as error:
                aside = path.rename(path.with_suffix(".damaged"))
                path.with_suffix(".lock").unlink(missing_ok=True)
                _log.error("not all of %s was sent, and it is kept: %s", aside, error)
            except (Unreachable, PawlError, OSError) as error:
                code = error.code if isinstance(error, PawlError) else ""
                if code == "other_store":
                    self.of_other_stores.add(path)
                is_living = code == "locked"
                is_gone = isinstance(error, FileNotFoundError)  # it has just ended
                _log.log(logging.DEBUG if is_living or is_gone else logging.WARNING,
                         "%s is left as it is: %s", path, error)  # fmt: skip

    async def _send_file(self, path: Path) -> None:
        """Send all frames of a journal whose gateway has ended.

        Its first frame may be one that a kill cut short, before older ones that were sent: what is
        whole and newer than what the server has is sent.

        Raises:
            Damaged: rows are missing; the others were sent.
            Unreachable, PawlError: of ``_send``.
        """
        found = sorted(find_frames(await asyncio.to_thread(path.read_bytes)), key=lambda f: f.last)
        store = next((frame.store for frame in found if frame.store != path.stem), "")
        known = (await self._send(path.stem, [], [], store=store)).last or 0
        frames: list[Frame] = []
        missing: list[str] = []
        n_rows = n_bytes = 0
        for frame in found:
            if frame.last <= known:
                continue
            if frame.after > known:
                missing.append(f"rows {known + 1:,} to {frame.after:,} can't be read")
            rows, known = _rows_of(frame), frame.last
            size = sum(map(_size, rows))
            if frames and n_bytes + size > MOST_AT_ONCE_BYTES:
                await self._send(path.stem, frames, [], store=store)
                n_bytes, frames = 0, []
            frames.append(Frame(frame.last, rows, size))
            n_rows, n_bytes = n_rows + len(rows), n_bytes + size
        await self._send(path.stem, frames, [], is_over=True, store=store)
        _log.info("sent %d answers that gateway %s had left", n_rows, path.stem)
        if missing:
            raise Damaged("; ".join(missing))

    async def _send(
        self, gateway_id: str, frames: Sequence[Frame], ended: Sequence[AnswerEnd],
        *, is_over: bool = False, store: str = "",
    ) -> Shipped:  # fmt: skip
        """``store``: that the frames of another gateway are for, where that is known.

        Raises Unreachable; PawlError: the server refused it."""
        import aiohttp

        is_own = gateway_id == self.outbox.gateway_id
        value: dict[str, Any] = {
            "version": __version__,
            "url": self._url if is_own else "",
            "network": network_here(),
            "store": self.outbox.store if is_own else store,
            "columns": COLUMNS,
            "frames": [{"last": frame.last, "rows": frame.rows} for frame in frames],
            "ended": [end.model_dump() for end in ended],
            "is_over": is_over,
        }
        data = json.dumps(value, ensure_ascii=False).encode()
        try:
            async with self._session.post(
                f"{self._owner_url}/admin/gateways/{gateway_id}",
                data=data,
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=aiohttp.ClientTimeout(total=ASK_SECONDS + len(data) / BYTES_PER_SECOND),
            ) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{type(error).__name__} {error}".strip()) from None
        if answer.status != 200:
            raise _refused(self._owner_url, answer.status, raw)
        shipped = Shipped.model_validate_json(raw)
        if is_own:
            if not self.outbox.store and shipped.store:
                self.outbox.record_for(shipped.store)
            self.ticket, self.is_open, self.problem = shipped.ticket, shipped.is_open, ""
            self.down.clear()
        return shipped


def _rows_of(frame: JournalFrame) -> list[Row]:
    """A frame's answers, with the columns of now: an earlier version may have written it. Raises
    PawlError: a later one has."""
    table = frame.tables["completions"]
    places = {name: place for place, name in enumerate(table["columns"]) if name != "seq"}
    if unknown := places.keys() - set(COLUMNS):
        raise PawlError(
            "a later version of Pawl wrote this journal",
            f"it has {', '.join(sorted(unknown))}",
            "Start a gateway of that version on its folder",
            code="other_version",
        )
    return [
        tuple(row[places[name]] if name in places else None for name in COLUMNS)
        for row in table["rows"]
    ]


class Unreachable(Exception):
    """The server was not reached, or its answer did not come."""


def owner_unreachable() -> PawlError:
    """What a client is told: not the server's address, which may be in the reason."""
    return PawlError(
        "the server that has the store can't be reached",
        "it does not answer this gateway, or refuses it; the gateway's log says why",
        "Ask again in a few seconds; answers that were acknowledged are kept, and are sent to it",
        retryable=True,
        code="owner_unreachable",
    )


def _refused(url: str, status: int, raw: bytes) -> PawlError:
    try:
        error = json.loads(raw)["error"]
        why, code, retryable = str(error["message"]), str(error["code"]), bool(error["retryable"])
    except (ValueError, KeyError, TypeError):
        why, code, retryable = raw[:300].decode(errors="replace"), "owner_refused", True
    do = "Give the gateway a key of that server with the role gateway, by PAWL_API_KEY or api_key"
    return PawlError(
        f"the server at {url} does not take this gateway (HTTP {status})",
        why,
        "" if code in ("other_store", "other_version") else do,
        code=code,
        retryable=retryable,
    )
