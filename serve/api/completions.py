"""The OpenAI-compatible routes: a request goes to the engine under one exact version, the bytes of
the answer go through as they come, and a copy of them is recorded before the client is told that
the answer is whole.

A stream's ``data: [DONE]`` is held back until the store has committed the answer; if it can't, an
error event goes out in its place. An answer that isn't streamed leaves after the commit. When a
client hangs up, at whatever moment, the request to the engine is dropped, which frees its place
there at once, and what came so far is recorded as ``cancelled`` (nothing, when the answer was not
streamed: the engine sends those in one piece).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request

from feedback.champion import BASE_VERSION, number_of
from pawl.errors import PawlError
from pawl.logs import request_id
from pawl.models import BaseModel
from pawl.schemas import ModelCard, utc_now
from pawl.sse import DONE, EventParser, event
from serve.api.auth import caller_of
from serve.api.errors import (
    connection_errors,
    engine_lost,
    engine_off,
    error_body,
    refusal,
    respond_error,
    status_of,
)
from serve.api.metrics import Metrics
from serve.api.recording import (
    Exchange,
    Status,
    commit,
    conversation_of,
    rater_of,
)
from serve.api.requests import CompletionRequest, parse_request, read_body

if TYPE_CHECKING:
    import aiohttp
    from starlette.types import Receive, Scope, Send

    from feedback.store import Store
    from serve.engine.supervisor import Engine

PUBLIC_NAME = "pawl"
_log = logging.getLogger("pawl.gateway")


class InFlight:
    """Counts running requests by version, so that a version is unloaded only when it is silent.

    Used from the event loop only.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._one_ended = asyncio.Event()

    @contextlib.contextmanager
    def running(self, version: str) -> Iterator[None]:
        """Count one request of ``version`` while the block runs."""
        self.counts[version] += 1
        try:
            yield
        finally:
            self.counts[version] -= 1
            self.counts += Counter()  # drops versions without requests
            self._one_ended.set()
            self._one_ended = asyncio.Event()

    async def drained(self, version: str) -> None:
        """Return once no request of ``version`` runs (at once when none does)."""
        while self.counts[version]:
            await self._one_ended.wait()


@dataclass(frozen=True, eq=False)
class Gateway:
    """Answers completion requests."""

    store: Store  # names the champion and keeps what was answered
    engine: Engine | None  # None in a process that serves no answers (command-line verbs)
    base: BaseModel
    in_flight: InFlight
    metrics: Metrics
    offered: Callable[[], Collection[str]]  # adapters in the engine that may be asked for now
    max_body_bytes: int  # a larger request is refused
    record: bool = True  # off only to measure what recording costs

    # -- which version answers

    def names(self) -> list[str]:
        """Every name that can be asked for: the champion's, the base's, the adapters'."""
        adapters = sorted(self.offered(), key=number_of)
        return [PUBLIC_NAME, BASE_VERSION, *adapters]

    def resolve(self, name: str) -> str:
        """The exact version behind a name, for the whole of one request.

        Raises:
            PawlError: unknown (404), or the champion is not in the engine (503): then nobody
                else answers in its name.
        """
        champion = self.store.champion()
        version = champion if name == PUBLIC_NAME else name
        if version == BASE_VERSION or version in self.offered():
            return version
        if version == champion:
            raise PawlError(
                f"{champion}, the champion, is not in the engine",
                "it is being loaded, or could not be (see 'pawl status')",
                "Ask again in a few seconds; if this stays, type 'pawl rollback'",
                retryable=True,
                code="champion_not_loaded",
                param="model",
            )
        raise self.unknown_model(name)

    def models(self) -> list[ModelCard]:
        """What ``GET /v1/models`` lists."""
        champion, base = self.store.champion(), self.base.name
        return [
            ModelCard(id=name, version=champion if name == PUBLIC_NAME else name, base_model=base)
            for name in self.names()
        ]

    def unknown_model(self, name: str) -> PawlError:
        return PawlError(
            f"the model {name!r} does not exist",
            f"there are {', '.join(self.names())}",
            "Use 'pawl' for the champion",
            code="model_not_found",
            param="model",
        )

    # -- one request

    async def handle(
        self, model: type[CompletionRequest], scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Answer one of the two calls; ``model`` says which."""
        began = time.monotonic()
        incoming = Request(scope, receive)
        headers = incoming.headers
        try:
            raw = await read_body(incoming, self.max_body_bytes)
            request = parse_request(raw, model)
            if self.engine is None:
                raise engine_off()
            if self.engine.state != "ready":
                raise self.engine.unavailable()
            version = self.resolve(request.model)
            rater_id = rater_of(
                caller_of(scope), headers.get("x-pawl-rater"), request.user,
                headers.get("authorization"),
            )  # fmt: skip
            exchange = Exchange(
                completion_id=request.id_prefix + uuid.uuid4().hex,
                conversation_id=conversation_of(
                    headers.get("x-pawl-conversation"), rater_id, request.prompts()[0]
                ),
                rater_id=rater_id, request_id=request_id.get(), created_at=utc_now(), began=began,
                request=request, version=version, base=self.base,
            )  # fmt: skip
        except ClientDisconnect:
            return
        except PawlError as error:
            self.metrics.requests.labels("none", str(status_of(error))).inc()
            await respond_error(error, scope, receive, send)
            return
        with self.in_flight.running(version):
            await self._answer(exchange, self.engine, scope, receive, send)
        self.metrics.seconds.labels(version).observe(time.monotonic() - began)

    async def _answer(
        self, exchange: Exchange, engine: Engine, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Run the relay and watch the client at the same time."""
        work = asyncio.create_task(self._relay(exchange, engine, scope, receive, send))
        gone = asyncio.create_task(_hung_up(receive))
        status: Status = "error"
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            status = work.result() if work.done() else "cancelled"
        finally:  # also when the server itself is told to stop
            gone.cancel()
            if not work.done():
                work.cancel()
                status = "cancelled"
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await work
            if not exchange.recorded:
                with contextlib.suppress(PawlError):
                    await self._record(exchange, status)
            self.metrics.requests.labels(exchange.version, status).inc()

    async def _relay(
        self, exchange: Exchange, engine: Engine, scope: Scope, receive: Receive, send: Send
    ) -> Status:
        """Ask the engine, pass its answer on, record it, and only then end the answer."""
        stream = exchange.request.stream
        try:
            async with self._ask(engine, exchange) as upstream:
                if upstream.status != 200:
                    exchange.recorded = True  # nothing was generated
                    prompt_field = exchange.request.prompt_field
                    raise refusal(upstream.status, await upstream.read(), prompt_field)
                if stream:
                    body = await self._pass_on(exchange, upstream, send)
                else:
                    body = await upstream.read()
                    exchange.answer.take(body)
            await self._record(exchange, "complete")
        except PawlError as error:
            failure = error
        except connection_errors() as error:
            failure = engine_lost(f"{type(error).__name__} {error}".strip())
        else:
            if not stream:
                size = (b"content-length", str(len(body)).encode())
                await _start(send, exchange, (b"content-type", b"application/json"), size)
            await send({"type": "http.response.body", "body": body})
            return "error" if exchange.answer.error else "complete"
        if not exchange.recorded:
            with contextlib.suppress(PawlError):
                await self._record(exchange, "error")
        if exchange.begun:
            body = event(json.dumps(error_body(failure)).encode())
            await send({"type": "http.response.body", "body": body})
        else:
            await respond_error(failure, scope, receive, send, _headers(exchange))
        return "error"

    def _ask(self, engine: Engine, exchange: Exchange) -> Any:
        request = exchange.request
        body = {**request.for_engine(), "model": exchange.version}
        if request.stream:
            body["stream_options"] = {"include_usage": True}  # for the record's token counts
        # vLLM puts the prefix before this id again: so ours is known before the first byte.
        engine_id = exchange.completion_id.removeprefix(request.id_prefix)
        return engine.session.post(
            engine.base_url + request.path, data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Request-Id": engine_id},
        )  # fmt: skip

    async def _pass_on(
        self, exchange: Exchange, upstream: aiohttp.ClientResponse, send: Send
    ) -> bytes:
        """Send each event as it comes, but for the usage that only we asked for (the one event
        that has no choices) and for the last, ``[DONE]``, which is answered."""
        await _start(
            send, exchange, (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"),
        )  # fmt: skip
        exchange.begun = True
        parser, is_done = EventParser(), False
        async for chunk in upstream.content.iter_any():
            if exchange.first_token_seconds is None:
                exchange.first_token_seconds = time.monotonic() - exchange.began
            out = b""
            for data in parser.feed(chunk):
                if data == DONE:
                    is_done = True
                    continue
                value = exchange.answer.take(data)
                if value.get("choices") != [] or exchange.request.include_usage:
                    out += event(data)
            if out:
                await send({"type": "http.response.body", "body": out, "more_body": True})
        if not is_done:
            raise engine_lost("its stream ended before the answer did")
        return event(DONE)

    async def _record(self, exchange: Exchange, status: Status) -> None:
        """Commit what came. Raises PawlError: it could not be committed."""
        exchange.recorded = True
        answer, version = exchange.answer, exchange.version
        self.metrics.tokens.labels(version, "prompt").inc(answer.n_prompt_tokens or 0)
        self.metrics.tokens.labels(version, "completion").inc(answer.n_completion_tokens or 0)
        if exchange.first_token_seconds is not None:
            self.metrics.first_token_seconds.labels(version).observe(exchange.first_token_seconds)
        if not self.record:
            return
        try:
            await commit(self.store, exchange.rows("error" if answer.error else status))
        except PawlError as error:
            self.metrics.recording_failures.inc()
            _log.error("%s: %s", exchange.completion_id, error)
            raise


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, exchange: Exchange, *headers: tuple[bytes, bytes]) -> None:
    head = [*_headers(exchange), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head})


def _headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    base = f"{quote(exchange.base.name, safe='/@:.-_ ')} {exchange.base.fingerprint}"
    return [
        (b"x-pawl-completion-id", exchange.completion_id.encode()),
        (b"x-pawl-version", exchange.version.encode()),
        (b"x-pawl-base", base.encode()),
    ]
