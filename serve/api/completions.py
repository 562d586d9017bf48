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
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from starlette.datastructures import Headers

from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import utc_now
from serve.api.http import (
    DONE,
    ClientGone,
    connection_errors,
    end_body,
    engine_lost,
    error_body,
    exchange_headers,
    hung_up,
    read_request,
    refusal,
    respond_error,
    status_of,
    whole_events,
)
from serve.api.in_flight import InFlight
from serve.api.metrics import Metrics
from serve.api.recording import (
    Answer,
    CompletionStore,
    Exchange,
    Status,
    commit,
    completions_of,
    conversation_of,
    rater_of,
    read_body,
    read_stream,
)
from serve.api.requests import Kind, parse_request

if TYPE_CHECKING:
    import aiohttp
    from starlette.types import Receive, Scope, Send

PUBLIC_NAME = "pawl"
BASE_NAME = "base"
_log = logging.getLogger("pawl.gateway")


class ServingEngine(Protocol):
    """What the gateway needs of the engine."""

    base_url: str
    state: Any

    @property
    def session(self) -> aiohttp.ClientSession: ...
    def unavailable(self) -> PawlError: ...


class ChampionStore(CompletionStore, Protocol):
    def champion(self) -> str: ...


@dataclass(slots=True)
class Progress:
    """What came of one answer so far."""

    raw: bytearray = field(default_factory=bytearray)
    first_token_seconds: float | None = None
    recorded: bool = False


class Gateway:
    """Answers completion requests.

    Args:
        store: names the champion and keeps what was answered.
        engine: None in a process that serves no answers (command-line verbs).
        base: the base model.
        offered: the adapters that the engine holds and that may be asked for now.
        max_body_bytes: a larger request is refused unread.
        record: off only to measure what recording costs.
    """

    def __init__(
        self,
        store: ChampionStore,
        engine: ServingEngine | None,
        base: BaseModel | None,
        in_flight: InFlight,
        metrics: Metrics,
        offered: Callable[[], Collection[str]],
        max_body_bytes: int,
        record: bool = True,
    ) -> None:
        self.store = store
        self.engine = engine
        self.base = base
        self.in_flight = in_flight
        self.metrics = metrics
        self.offered = offered
        self.max_body_bytes = max_body_bytes
        self.record = record

    # -- which version answers

    def names(self) -> list[str]:
        """Every name that can be asked for: the champion's, the base's, the adapters'."""
        adapters = sorted(self.offered(), key=lambda one: int(one.rpartition("@")[2]))
        return [PUBLIC_NAME, BASE_NAME, *adapters]

    def resolve(self, name: str) -> str:
        """The exact version behind a name, for the whole of one request.

        Raises:
            PawlError: unknown (404), or the champion is not in the engine (503): then nobody
                else answers in its name.
        """
        champion = self.store.champion()
        version = champion if name == PUBLIC_NAME else name
        if version == BASE_NAME or version in self.offered():
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
        raise PawlError(
            f"the model {name!r} does not exist",
            f"there are {', '.join(self.names())}",
            "Use 'pawl' for the champion",
            code="model_not_found",
            param="model",
        )

    def models(self) -> list[dict[str, Any]]:
        """What ``GET /v1/models`` lists."""
        base = self.base.name if self.base else BASE_NAME
        cards: list[dict[str, Any]] = []
        for name in self.names():
            version = self.store.champion() if name == PUBLIC_NAME else name
            cards.append(
                {
                    "id": name,
                    "object": "model",
                    "created": 0,
                    "owned_by": "pawl",
                    "version": version,
                    "base_model": base,
                }
            )
        return cards

    # -- one request

    async def handle(self, kind: Kind, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer ``POST /v1/chat/completions`` (``chat``) or ``/v1/completions`` (``text``)."""
        began = time.monotonic()
        headers = Headers(scope=scope)
        version = ""
        try:
            raw = await read_request(receive, headers, self.max_body_bytes)
            asked = parse_request(raw, kind)
            if self.engine is None or self.base is None:
                raise PawlError(
                    "no engine runs here",
                    "answers come from a running server",
                    "Start one with 'pawl up'",
                    retryable=True,
                    code="engine_off",
                )
            if self.engine.state != "ready":
                raise self.engine.unavailable()
            version = self.resolve(asked.model)
            key = headers.get("authorization", "").removeprefix("Bearer ")
            rater = rater_of(headers.get("x-pawl-rater"), asked.user, key)
            first = asked.prompts[0]
            conversation = conversation_of(headers.get("x-pawl-conversation"), rater, first)
        except ClientGone:
            return
        except PawlError as error:
            self.metrics.requests.labels(version or "none", str(status_of(error))).inc()
            await respond_error(error, scope, receive, send)
            return
        exchange = Exchange(
            completion_id=("chatcmpl-" if kind == "chat" else "cmpl-") + uuid.uuid4().hex,
            conversation_id=conversation,
            rater_id=rater, created_at=utc_now(), asked=asked, version=version, base=self.base,
        )  # fmt: skip
        with self.in_flight.running(version):
            await self._answer(exchange, self.engine, began, scope, receive, send)
        self.metrics.seconds.labels(version).observe(time.monotonic() - began)

    async def _answer(
        self, exchange: Exchange, engine: ServingEngine, began: float,
        scope: Scope, receive: Receive, send: Send,
    ) -> None:  # fmt: skip
        """Run the relay and watch the client at the same time."""
        progress = Progress()
        relay = self._stream if exchange.asked.stream else self._whole
        work = asyncio.create_task(relay(exchange, engine, progress, began, scope, receive, send))
        gone = asyncio.create_task(hung_up(receive))
        status: Status = "error"
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                status = work.result()
            else:
                status = "cancelled"
        finally:  # also when the server itself is told to stop
            gone.cancel()
            if not work.done():
                work.cancel()
                status = "cancelled"
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await work
            if not progress.recorded:
                with contextlib.suppress(PawlError):
                    await self._record(exchange, progress, began, status)
            self.metrics.requests.labels(exchange.version, status).inc()

    async def _stream(
        self, exchange: Exchange, engine: ServingEngine, progress: Progress, began: float,
        scope: Scope, receive: Receive, send: Send,
    ) -> Status:  # fmt: skip
        asked = exchange.asked
        started = False
        pending = b""
        try:
            async with self._ask(engine, exchange) as upstream:
                if upstream.status != 200:
                    progress.recorded = True  # nothing was generated
                    raise refusal(upstream.status, await upstream.read(), exchange.asked.kind)
                head = [
                    *exchange_headers(exchange),
                    (b"content-type", b"text/event-stream; charset=utf-8"),
                    (b"cache-control", b"no-cache"),
                    (b"x-accel-buffering", b"no"),
                ]
                await send({"type": "http.response.start", "status": 200, "headers": head})
                started = True
                async for chunk in upstream.content.iter_any():
                    if progress.first_token_seconds is None:
                        progress.first_token_seconds = time.monotonic() - began
                    progress.raw += chunk
                    whole, pending = whole_events(pending + chunk, asked.include_usage)
                    if whole:
                        await send({"type": "http.response.body", "body": whole, "more_body": True})
            if not progress.raw.endswith(DONE):
                raise engine_lost("its stream ended before the answer did")
            answer = await self._record(exchange, progress, began, "complete")
            if answer.error:
                return await end_body(send, DONE, "error")
            return await end_body(send, DONE, "complete")
        except PawlError as error:
            failure = error
        except connection_errors() as error:
            failure = engine_lost(f"{type(error).__name__} {error}".strip())
        if not progress.recorded:
            with contextlib.suppress(PawlError):
                await self._record(exchange, progress, began, "error")
        if started:
            event = b"data: " + json.dumps(error_body(failure)).encode() + b"\n\n"
            return await end_body(send, event, "error")
        await respond_error(failure, scope, receive, send, exchange_headers(exchange))
        return "error"

    async def _whole(
        self, exchange: Exchange, engine: ServingEngine, progress: Progress, began: float,
        scope: Scope, receive: Receive, send: Send,
    ) -> Status:  # fmt: skip
        try:
            async with self._ask(engine, exchange) as upstream:
                body = await upstream.read()
                if upstream.status != 200:
                    progress.recorded = True  # nothing was generated
                    raise refusal(upstream.status, body, exchange.asked.kind)
            progress.raw += body
            await self._record(exchange, progress, began, "complete")
        except PawlError as error:
            failure = error
        except connection_errors() as error:
            failure = engine_lost(f"{type(error).__name__} {error}".strip())
        else:
            head = [
                *exchange_headers(exchange),
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            return await end_body(send, body, "complete")
        if not progress.recorded:
            with contextlib.suppress(PawlError):
                await self._record(exchange, progress, began, "error")
        await respond_error(failure, scope, receive, send, exchange_headers(exchange))
        return "error"

    def _ask(self, engine: ServingEngine, exchange: Exchange) -> Any:
        asked = exchange.asked
        body = {**asked.body, "model": exchange.version}
        if asked.stream:
            body["stream_options"] = {"include_usage": True}  # for the record's token counts
        path = "/v1/chat/completions" if asked.kind == "chat" else "/v1/completions"
        # vLLM puts "chatcmpl-" or "cmpl-" before this id: so ours is known before the first byte.
        request_id = exchange.completion_id.partition("-")[2]
        return engine.session.post(
            engine.base_url + path, data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Request-Id": request_id},
        )  # fmt: skip

    async def _record(
        self, exchange: Exchange, progress: Progress, began: float, status: Status
    ) -> Answer:
        """Commit what came. Raises PawlError: it could not be committed."""
        progress.recorded = True
        asked = exchange.asked
        if asked.stream:
            answer = read_stream(bytes(progress.raw), asked.kind)
        else:
            answer = read_body(bytes(progress.raw), asked.kind) if progress.raw else Answer()
        if answer.error:
            status = "error"
        for count, kind in (
            (answer.n_prompt_tokens, "prompt"),
            (answer.n_completion_tokens, "completion"),
        ):
            self.metrics.tokens.labels(exchange.version, kind).inc(count or 0)
        if progress.first_token_seconds is not None:
            self.metrics.first_token_seconds.labels(exchange.version).observe(
                progress.first_token_seconds
            )
        if self.record:
            rows = completions_of(
                exchange, answer, status, progress.first_token_seconds, time.monotonic() - began
            )
            try:
                await commit(self.store, rows)
            except PawlError as error:
                self.metrics.recording_failures.inc()
                _log.error("%s: %s", exchange.completion_id, error)
                raise
        return answer
