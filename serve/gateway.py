"""``pawl gateway``: another gateway before a running server's store, with a journal of its own.

Every request is passed on to the server that owns the store: it decides who may ask, quotas, the
queue and the version. A chat or a completion it grants instead of answering it, where this process
can reach the engine: then the engine is asked from here, its answer goes from here to the client,
and it is recorded here (``serve.shipping``) before the client is told that it is whole. That is
most of a gateway's work. What decides is one process still, so a promotion, a revoked key and a
quota hold for all gateways at once, without leases.

Without that server nothing new is begun (503, ``owner_unreachable``): its engines end with it, too.
Answers under way go on where the engine does, and are recorded.

Over 400 lines: the whole way of a request through this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from pawl import __version__
from pawl.errors import PawlError
from pawl.logs import log_in_state_dir
from pawl.models import BaseModel
from pawl.schemas import AnswerEnd, Message
from pawl.settings import Settings
from pawl.sse import EventParser
from serve.api.auth import is_loopback
from serve.api.completions import Gateway
from serve.api.errors import error_response
from serve.api.gateways import CARRIED, TICKET
from serve.api.in_flight import InFlight
from serve.api.metrics import Metrics
from serve.api.recording import Exchange, as_utf8
from serve.api.requests import ChatRequest, TextRequest
from serve.engine.watchdog import Activity
from serve.granted import Granted, GrantedEngine, GrantedRequest, Recorded, With
from serve.shipping import Outbox, Shipper, owner_unreachable
from serve.up import Server, listen, stop_on_signals

if TYPE_CHECKING:
    import aiohttp
    from starlette.types import Receive, Scope, Send

    from serve.engine.replicas import AnyEngine

CARRIED_PATHS = (ChatRequest.path, TextRequest.path)
# What is said back about recorded answers; those of this gateway have to be there first.
ABOUT_ANSWERS = ("/v1/feedback", "/v1/conversations", "/v1/erasures", "/admin")
CONNECT_SECONDS = 5.0
LEAVE_SECONDS = 10.0
CLOSE_SECONDS = 2.0
_ONE_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "date", TICKET, CARRIED,
})  # fmt: skip
_KEPT_OF_A_GRANT = (b"x-request-id", b"access-control-", b"vary")
_log = logging.getLogger("pawl.gateway")


def run_gateway(
    settings: Settings, owner_url: str, key: str, say: Callable[[str], None] = print
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        settings: where to listen; journals lie in ``gateways/`` of the state folder.
        owner_url: of the server that has the store.
        key: with the role gateway there, or an administrator's.
        say: takes the lines that a person reads.

    Raises:
        PawlError: the port is taken, or the server does not take this gateway.
    """
    with listen(settings.host, settings.port) as listener:
        host, port = listener.getsockname()[:2]
        log_in_state_dir(settings, f"gateway-{port}.log")
        url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        outbox = Outbox(settings.state_dir / "gateways")
        try:
            asyncio.run(_serve(settings, owner_url.rstrip("/"), key, outbox, listener, url, say))
        finally:
            outbox.close()


async def _serve(
    settings: Settings, owner_url: str, key: str, outbox: Outbox, listener: Any, url: str,
    say: Callable[[str], None],
) -> None:  # fmt: skip
    import aiohttp

    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=65_536,
        max_field_size=65_536,
    )
    async with session:
        shipper = Shipper(owner_url, key, outbox, session, url)
        await shipper.first_contact()
        app = GatewayApp(settings, owner_url, shipper, session)
        server = Server(cast(Any, app), settings)
        stop_on_signals(server, say)
        shipping = asyncio.create_task(shipper.run())
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        _log.info("gateway %s at %s, version %s", outbox.gateway_id, url, __version__)
        of = f", store {outbox.store[:12]}" if outbox.store else ""
        say(f"This gateway is at {url}, the server with the store at {owner_url}{of}")
        if shipper.ticket is None:
            say(f"Not reached yet, and tried again: {shipper.problem}")
        await serving
        shipping.cancel()
        await asyncio.wait({shipping})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await shipper.leave()
        if n := outbox.n_waiting:
            say(f"{n} answers stay in {settings.state_dir / 'gateways'}; the next start sends them")


class GatewayApp:
    """The ASGI application.

    Args:
        settings: where it listens, below which path, and how often a waiting stream gets a
            comment.
        owner_url: of the server that has the store.
        shipper: brings there what is recorded.
        session: to ask it, and engines, with.
    """

    def __init__(
        self, settings: Settings, owner_url: str, shipper: Shipper, session: aiohttp.ClientSession
    ) -> None:
        self.state = SimpleNamespace(metrics=Metrics())
        self._owner_url, self._shipper, self._session = owner_url, shipper, session
        self._is_local, self._root_path = is_loopback(settings.host), settings.api.root_path
        self._recorded = Recorded(shipper.outbox)
        self._gateway = Gateway(
            cast(Any, self._recorded), None, cast(Any, None), InFlight(),
            self.state.metrics, lambda: (), 0, cast(Any, Granted()),
            settings.limits.keep_alive_seconds,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        path = scope["path"]
        if self._root_path and path.startswith(f"{self._root_path}/"):
            path = path[len(self._root_path) :]
        if path == "/health":
            await self._health()(scope, receive, send)
            return
        client = _Client(receive)
        try:
            self._check()
            if path.startswith(ABOUT_ANSWERS):
                await self._shipper.flushed()
            if path in CARRIED_PATHS and scope["method"] == "POST":
                await self._ask(scope, client, send, {TICKET: self._shipper.ticket or ""})
            else:
                await self._ask(scope, client, send, {})
        except ClientDisconnect:
            return
        except PawlError as error:
            await error_response(error, path)(scope, receive, send)

    def _check(self) -> None:
        """Raises PawlError: nothing can be asked of the server now."""
        if self._shipper.down.is_set():
            raise owner_unreachable()
        if self._shipper.is_open and not self._is_local:
            raise PawlError(
                "this gateway can be reached from other machines, and its server asks for no key",
                "anybody could use it",
                "Give that server a key or an account ('pawl keys add', 'pawl accounts add'), or "
                "let this gateway listen on 127.0.0.1",
                code="forbidden",
            )

    def _health(self) -> JSONResponse:
        """200 where requests can be taken, for a balancer before several gateways. Anybody may ask:
        neither the server's address is told nor this gateway's id, which is as good as a secret."""
        shipper, is_up = self._shipper, not self._shipper.down.is_set()
        content = {
            "status": "ok" if is_up else "owner_unreachable",
            "n_unsent": shipper.outbox.n_waiting,
            "n_journals_of_other_stores": len(shipper.of_other_stores),
        }
        headers = {"X-Request-Id": uuid.uuid4().hex}
        return JSONResponse(content, 200 if is_up else 503, headers)

    async def _ask(self, scope: Scope, client: _Client, send: Send, more: dict[str, str]) -> None:
        """Ask the server; pass its answer on, or give the one that it grants."""
        began = _Begun(send)
        work = asyncio.create_task(self._answer(scope, client, began, more))
        gone = asyncio.create_task(client.gone())
        down = asyncio.create_task(self._shipper.down.wait())
        try:
            await asyncio.wait({work, gone, down}, return_when=asyncio.FIRST_COMPLETED)
            if not (work.done() or gone.done()) and began.it:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if began.is_granted:  # it needs the server no more, and sees a hang-up itself
                await asyncio.wait({work})
            if work.done():
                self._end(work, began)
            elif not gone.done():
                raise owner_unreachable()
        finally:
            for task in (work, gone, down):
                task.cancel()
            await asyncio.wait({work, gone, down})

    def _end(self, work: asyncio.Task[None], began: _Begun) -> None:
        import aiohttp

        try:
            work.result()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            _log.warning("an answer of the server broke off: %s %s", type(error).__name__, error)
            if not began.it:
                raise owner_unreachable() from None

    async def _answer(
        self, scope: Scope, client: _Client, began: _Begun, more: dict[str, str]
    ) -> None:
        async with self._passed_on(scope, client, more) as answer:
            if answer.status == 200 and CARRIED in answer.headers:
                await self._give(answer, scope, client, began)
                return
            await began.start(answer.status, _kept(answer))
            async for part in answer.content.iter_any():
                await began.send({"type": "http.response.body", "body": part, "more_body": True})
            await began.send({"type": "http.response.body", "body": b""})

    def _passed_on(
        self, scope: Scope, client: _Client, more: dict[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        from yarl import URL

        headers = Headers(scope=scope)
        # aiohttp sends text as UTF-8: so these are the bytes that came.
        sent = [(name, as_utf8(text)) for name, text in headers.items() if name not in _ONE_HOP]
        address = (scope.get("client") or ("",))[0]
        sent = [pair for pair in sent if not pair[0].startswith("x-forwarded-")]
        sent += [("x-forwarded-for", address), ("x-forwarded-proto", scope["scheme"])]
        has_body = "content-length" in headers or "transfer-encoding" in headers
        if not has_body:
            client.is_read.set()
        query = scope["query_string"].decode("latin-1")
        path = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
        path = path if path.startswith("/") else f"/{path}"  # "OPTIONS *" names the whole server
        return self._session.request(
            scope["method"],
            URL(f"{self._owner_url}{path}" + (f"?{query}" if query else ""), encoded=True),
            headers=[*sent, *more.items()],
            data=client.body() if has_body else None,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        )

    async def _give(
        self, answer: aiohttp.ClientResponse, scope: Scope, client: _Client, began: _Begun
    ) -> None:
        """Wait for the grant, then ask the engine and record what it answers."""
        parser, head, held = EventParser(), _kept(answer), b""
        chunks = answer.content.iter_any()
        async for chunk in chunks:
            events = parser.feed(chunk)
            value = json.loads(events[0]) if events else {}
            if "grant" in value:
                break
            held += chunk
            if not held.endswith(b"\n\n"):
                continue  # part of an event, maybe of the grant, which holds the engine's key
            if not began.it:  # a comment for a stream that waits, or an error after one
                await began.start(200, head)
            await began.send({"type": "http.response.body", "body": held, "more_body": True})
            held = b""
        else:
            if not began.it:  # it ended its answer before it had begun
                raise owner_unreachable()
            await began.send({"type": "http.response.body", "body": b""})
            return
        began.is_granted = True
        exchange, engine = self._read(value["grant"])
        exchange.begun = began.it
        # The rest of the head is said here anew; that of an error has to have these, too.
        began.more = tuple(pair for pair in head if pair[0].lower().startswith(_KEPT_OF_A_GRANT))
        watch = asyncio.create_task(_watch(parser, chunks, engine.activity))
        status: Any = "error"
        try:
            status = await self._gateway.answer(
                exchange, cast("AnyEngine", engine), scope, client.hung_up, began.send
            )
        finally:
            self._shipper.ended(AnswerEnd(
                completion_id=exchange.completion_id, status=status,
                is_recorded=self._recorded.has_taken(exchange.completion_id),
                n_prompt_tokens=exchange.answer.n_prompt_tokens,
                n_completion_tokens=exchange.answer.n_completion_tokens,
                n_pieces=exchange.answer.n_pieces,
                first_token_seconds=exchange.first_token_seconds,
            ))  # fmt: skip
            # The server ends its answer then, and the connection can be used again.
            await asyncio.wait({watch}, timeout=CLOSE_SECONDS)
            watch.cancel()

    def _read(self, grant: dict[str, Any]) -> tuple[Exchange, GrantedEngine]:
        """A grant of ``serve.api.gateways.grant_of``."""
        name, fingerprint, n_context = grant["base"]
        self._recorded.weights[grant["exchange"]["version"]] = grant["weights"]
        request = GrantedRequest(**grant["request"])
        exchange = Exchange(
            **grant["exchange"], sent=cast(Any, request), request=cast(Any, request),
            began=time.monotonic() - grant["waited_seconds"],
            base=BaseModel(name, Path(), None, fingerprint, "", n_context),
        )  # fmt: skip
        engine = grant["engine"]
        return exchange, GrantedEngine(
            engine["url"], With(self._session, engine["headers"]), grant["weights"],
            start_seconds=engine["start_seconds"],
        )  # fmt: skip


async def _watch(parser: EventParser, chunks: AsyncIterator[bytes], activity: Activity) -> None:
    """Let an answer fail where the server says that the engine was given up. A server that is gone
    says nothing: the engine may go on."""
    import aiohttp

    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async for chunk in chunks:
            if parser.feed(chunk):
                activity.end()
                return


def _kept(answer: aiohttp.ClientResponse) -> list[tuple[bytes, bytes]]:
    """The headers that go on to the client."""
    return [
        (name, value)
        for name, value in answer.raw_headers
        if name.decode("latin-1").lower() not in _ONE_HOP
    ]


class _Client:
    """What the client sends: the body once, and then that it hung up."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.is_read, self._hung_up = asyncio.Event(), asyncio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._hung_up.set()
                raise ClientDisconnect
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                self.is_read.set()
                return

    async def gone(self) -> None:
        """Return once the client has hung up. The one task that asks, beside ``body``."""
        reading = asyncio.create_task(self.is_read.wait())
        hung_up = asyncio.create_task(self._hung_up.wait())
        try:
            await asyncio.wait({reading, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            while not self._hung_up.is_set():
                if (await self._receive())["type"] == "http.disconnect":
                    self._hung_up.set()
        finally:
            reading.cancel()
            hung_up.cancel()

    async def hung_up(self) -> Message:
        """As ASGI's ``receive``, for who watches for the end."""
        await self._hung_up.wait()
        return {"type": "http.disconnect"}


@dataclass(slots=True)
class _Begun:
    """Sends to the client, and knows whether its answer has begun."""

    to: Send
    it: bool = False
    is_granted: bool = False
    more: tuple[tuple[bytes, bytes], ...] = ()  # headers of an answer that is given here

    async def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.it = True
            message = {**message, "headers": [*message["headers"], *self.more]}
        await self.to(message)
