"""Bounds on connections: how many, how long one may wait for its request, how slowly it may read.

uvicorn takes as many connections as come, and waits for a request for ever. Here, when
``Connections.most`` are open, the one that has waited longest for its request (or for the rest of
one) makes room for the newcomer, so that somebody who opens thousands and sends nothing shuts
nobody out. Connections whose request has come whole are never closed to make room.
"""

from __future__ import annotations

import asyncio
import logging
import re
import resource
import socket
import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from pawl.errors import PawlError
from pawl.settings import Settings
from serve.api.errors import error_response

if TYPE_CHECKING:
    from starlette.responses import JSONResponse

    from serve.api.metrics import Metrics

BACKLOG = 2048  # connections that the kernel keeps until they are accepted
ACCEPTED_AT_ONCE = 64  # in one round of the event loop, so that room can be made between them
MOST_FILES = 65_536  # more are not asked for
# Files of the process beside its clients' connections: the store, logs, libraries, connections of
# the page to its own server, those accepted in one round; two for each place in the engine.
N_OWN_FILES = 128 + 2 * ACCEPTED_AT_ONCE
REPORT_SECONDS = 60.0
MOST_HEAD_BYTES = 65_536  # of a request, beside its body; the parser takes any number
MOST_HEADERS = 256  # of them: 160 bytes of memory each, whatever they hold
MOST_AHEAD = 64  # requests that wait for the one before them: 2 kB each
FRAMING = 16  # bytes around one of a body, which may come in chunks of one
# So Java's client offers HTTP/2. Nothing is upgraded to here, and the parser would take such a
# request's body for the other protocol's.
_UPGRADE = re.compile(rb"\n(upgrade:)", re.IGNORECASE)
_FULL = PawlError(
    "the server has as many connections as it takes",
    "each has a request under way",
    "Ask again later",
    retryable=True,
    retry_after_seconds=5,
    code="overloaded",
)
_TOO_LARGE_HEAD = PawlError(
    f"the request's head has more than {MOST_HEAD_BYTES:,} bytes or {MOST_HEADERS} headers",
    do="Send fewer or shorter headers",
    code="headers_too_large",
)
_log = logging.getLogger("pawl.connections")


class Connection(Protocol):
    """One of uvicorn's HTTP protocols, with what ``bounded`` adds."""

    transport: Any
    flow: Any
    cycle: Any
    since: float  # it waits for a request, or for the next part of one
    began: bool  # parts of a request's head have come
    unread_since: float | None  # the client does not read what was sent


class Connections:
    """All connections of one server. Used from the event loop only."""

    def __init__(self, settings: Settings, metrics: Metrics, n_files: int) -> None:
        """``n_files``: that the process may have open."""
        room = n_files - N_OWN_FILES - 2 * settings.engine.n_places
        self.most = max(16, min(settings.limits.max_connections, room))
        self._limits = settings.limits
        self._metrics = metrics
        # Those that have sent a whole request before, and the others; the oldest first.
        self._known: dict[Connection, None] = {}
        self._strangers: dict[Connection, None] = {}
        self._n_cut: Counter[str] = Counter()
        self._reported_at = time.monotonic()
        self._told_full_at = -REPORT_SECONDS

    def __len__(self) -> int:
        return len(self._known) + len(self._strangers)

    def opened(self, connection: Connection) -> None:
        connection.since, connection.began, connection.unread_since = time.monotonic(), False, None
        if len(self) >= self.most and not self._make_room():
            self._count("refused")
            connection.transport.write(_as_bytes(error_response(_FULL)))
            connection.transport.close()
        self._strangers[connection] = None
        self._metrics.connections.set(len(self))

    def received(self, connection: Connection) -> None:
        """Bytes came, and were parsed."""
        cycle = connection.cycle
        if cycle is None or cycle.response_complete:
            if not connection.began:
                connection.began, connection.since = True, time.monotonic()
        else:
            connection.began, connection.since = False, time.monotonic()

    def answered(self, connection: Connection) -> None:
        connection.began, connection.since = False, time.monotonic()
        self.closed(connection)
        self._known[connection] = None

    def closed(self, connection: Connection) -> None:
        self._strangers.pop(connection, None)
        self._known.pop(connection, None)
        self._metrics.connections.set(len(self))

    def sweep(self) -> None:
        """Close those that have let us wait too long. To be called about once a second."""
        now, limits = time.monotonic(), self._limits
        for connection in [*self._strangers, *self._known]:
            cycle, waited = connection.cycle, now - connection.since
            unread_since = connection.unread_since
            if unread_since is not None and now - unread_since > limits.unread_seconds:
                self.cut(connection, "unread")
            elif cycle is None or cycle.response_complete:
                is_idle = cycle is not None and not connection.began
                if waited > (limits.idle_seconds if is_idle else limits.request_seconds):
                    self.cut(connection, "idle" if is_idle else "no request")
            elif (
                cycle.more_body
                and not connection.flow.read_paused
                and waited > limits.request_seconds
            ):
                self.cut(connection, "no request")
        if self._n_cut and now > self._reported_at + REPORT_SECONDS:
            told = ", ".join(f"{n} {reason}" for reason, n in self._n_cut.items())
            _log.warning("connections cut: %s; %d of %d are open", told, len(self), self.most)
            self._n_cut.clear()
            self._reported_at = now

    def refuse_head(self, connection: Connection) -> None:
        """A head that is too large, or what follows a body in chunks."""
        self._count("head too large")
        cycle = connection.cycle
        if cycle is None or cycle.response_complete:
            connection.transport.write(_as_bytes(error_response(_TOO_LARGE_HEAD)))
        connection.transport.close()

    def _make_room(self) -> bool:
        groups = [self._known, self._strangers]
        if len(self._strangers) * 2 > self.most:
            groups.reverse()
        for group in groups:
            for connection in group:
                if connection.cycle is None or (
                    connection.cycle.response_complete or connection.cycle.more_body
                ):
                    self.cut(connection, "too many")
                    return True
        return False

    def cut(self, connection: Connection, reason: str) -> None:
        if reason != "idle":
            self._count(reason)
        self.closed(connection)
        connection.transport.abort()

    def _count(self, reason: str) -> None:
        self._n_cut[reason] += 1
        self._metrics.connections_cut.labels(reason).inc()

    def report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception handler for the event loop: that no file is free for a connection is one
        line, instead of a traceback for each that waits."""
        if "out of system resource" not in context.get("message", ""):
            loop.default_exception_handler(context)
        elif time.monotonic() > self._told_full_at + REPORT_SECONDS:
            self._told_full_at = time.monotonic()
            _log.warning("connections wait: %s", context.get("exception"))


def _as_bytes(response: JSONResponse) -> bytes:
    head = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    phrase = HTTPStatus(response.status_code).phrase.encode()
    status = b"HTTP/1.1 %d %b\r\nconnection: close\r\n" % (response.status_code, phrase)
    return status + head + b"\r\n" + bytes(response.body)


def bounded(connections: Connections) -> type[asyncio.Protocol]:
    """uvicorn's HTTP protocol, whose connections ``connections`` counts and closes."""
    uvicorns: Any = AutoHTTPProtocol
    counts = hasattr(uvicorns, "on_body")  # httptools'; h11 bounds all of it itself

    class Bounded(uvicorns):
        unread_since: float | None
        n_head_bytes = 0  # of the request that comes now: what is none of its body
        is_in_head = counts

        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            connections.opened(self)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            connections.closed(self)

        def data_received(self, data: bytes) -> None:
            self.n_head_bytes += len(data) * counts
            if self.is_in_head and _UPGRADE.search(data):
                head, end, rest = data.partition(b"\r\n\r\n")
                data = _UPGRADE.sub(rb"\nx-\1", head) + end + rest
            super().data_received(data)
            is_large = self.n_head_bytes > MOST_HEAD_BYTES or len(self.headers or ()) > MOST_HEADERS
            if is_large and not self.transport.is_closing():
                connections.refuse_head(self)
            if counts and len(self.pipeline) > MOST_AHEAD:
                connections.cut(self, "requests ahead")
            connections.received(self)

        def on_body(self, body: bytes) -> None:
            # What a body allows for its own framing is not left over for headers after it.
            self.n_head_bytes = max(0, self.n_head_bytes - FRAMING * len(body))
            super().on_body(body)

        def on_headers_complete(self) -> None:
            self.is_in_head = False
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            self.n_head_bytes, self.is_in_head = 0, counts
            super().on_message_complete()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            if not self.transport.is_closing():
                connections.answered(self)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.unread_since = time.monotonic()

        def resume_writing(self) -> None:
            super().resume_writing()
            self.unread_since = None

    return Bounded


def raise_file_limit() -> int:
    """Let this process open as many files as it may; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST_FILES if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def prepare(listener: socket.socket) -> None:
    """What accepted sockets inherit from the listening one: the kernel closes them within a minute
    or so when the other end is gone without a word, and sends small pieces at once. (asyncio asks
    for the latter only where the socket's protocol number was given when it was made; without it
    one answer in sixty waited 44 ms for an acknowledgement.)"""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
