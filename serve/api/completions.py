"""The OpenAI-compatible routes: a request goes to the engine under one exact version, the bytes of
the answer go through as they come, and a copy of them is recorded before the client is told that
the answer is whole.

Before the engine a request may have to wait (``serve/api/admission.py``). A stream that waits for
its first token gets a comment every ``keep_alive_seconds``, so that no proxy takes it for dead.
What goes wrong before the first of them is a plain HTTP error, what goes wrong later an event.

A stream's ``data: [DONE]`` is held back until the store has committed the answer; if it can't, an
error event goes out in its place. An answer that isn't streamed leaves after the commit. When a
client hangs up, at whatever moment, the request to the engine is dropped, which frees its place
there at once, and what came so far is recorded as ``cancelled`` (nothing, when the answer was not
streamed: the engine sends those in one piece).

Over 400 lines: one path from a request to its end; what it calls is in modules of its own.
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
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from feedback.arms import takes_part
from feedback.champion import BASE_VERSION, number_of
from pawl.errors import PawlError
from pawl.logs import request_id
from pawl.models import BaseModel
from pawl.schemas import ModelCard, Promotion, utc_now
from pawl.sse import DONE, EventParser, event
from serve.api.admission import Admission, Place, expected_tokens, sent_tokens, share_of
from serve.api.auth import caller_of, key_of
from serve.api.bodies import LARGE_BYTES, Readers, read_body
from serve.api.errors import (
    connection_errors,
    engine_lost,
    engine_off,
    engine_starting,
    error_body,
    refusal,
    respond_error,
    unreachable_errors,
)
from serve.api.fields import ignored_header
from serve.api.gateways import CARRIED, TICKET, Gateways, RemoteGateway, grant_of
from serve.api.in_flight import InFlight
from serve.api.metrics import Metrics
from serve.api.recording import (
    Exchange,
    Status,
    commit,
    conversation_of,
    rater_of,
)
from serve.api.requests import (
    ChatRequest,
    CompletionRequest,
    TextRequest,
    parse_request,
    with_settings,
)
from serve.api.tracing import span, trace_headers

if TYPE_CHECKING:
    import aiohttp
    from starlette.types import Receive, Scope, Send

    from feedback.store import Store
    from serve.engine.replicas import AnyEngine
    from serve.engine.supervisor import Engine
    from serve.engine.watchdog import Activity

PUBLIC_NAME = "pawl"
KEEP_ALIVE = b": keep-alive\n\n"  # a comment, which clients of event streams skip
_SLOW = (b"json_schema", b'"tools"', b"\\u00")
_log = logging.getLogger("pawl.gateway")


@dataclass(frozen=True, eq=False)
class Gateway:
    """Answers completion requests."""

    store: Store  # names the champion and keeps what was answered
    engine: AnyEngine | None  # None in a process that serves no answers (command-line verbs)
    base: BaseModel
    in_flight: InFlight
    metrics: Metrics
    offered: Callable[[], Collection[str]]  # adapters in the engine that may be asked for now
    max_body_bytes: int  # a larger request is refused
    admission: Admission = field(default_factory=Admission)
    keep_alive_seconds: float = 0.0  # 0: no comments
    start_wait_seconds: float = 0.0  # for an engine that starts
    record: bool = True  # off only to measure what recording costs
    answer_tokens: int | None = None  # of an answer whose request sets no bound
    refuse_unknown: bool = False  # fields that are not known, instead of ignoring them
    readers: Readers = field(default_factory=Readers)
    canary: Callable[[], Promotion | None] = lambda: None  # answers a share of the conversations
    lengths: dict[int, int] = field(default_factory=dict)  # of the context, by start of the engine
    gateways: Gateways = field(default_factory=Gateways)  # which answer beside this one

    # -- which version answers

    def names(self) -> list[str]:
        """Every name that can be asked for: the champion's, the base's, the adapters'."""
        adapters = sorted(self.offered(), key=number_of)
        return [PUBLIC_NAME, BASE_VERSION, *adapters]

    def resolve(self, name: str, conversation_id: str | None = None) -> str:
        """The exact version behind a name, for the whole of one request.

        Args:
            conversation_id: whose share of conversations a canary may answer; None: it doesn't.

        Raises:
            PawlError: unknown (404), or the champion is not in the engine (503): then nobody
                else answers in its name.
        """
        champion = self.store.champion()
        version = champion if name == PUBLIC_NAME else name
        if name == PUBLIC_NAME and conversation_id is not None and (canary := self.canary()):
            share = float(canary.probe["share"])
            is_theirs = takes_part(canary.promotion_id, share, conversation_id)
            is_there = canary.version in self.offered() and canary.previous_version == champion
            if is_theirs and is_there:
                version = canary.version
        if version == BASE_VERSION or version in self.offered():
            return version
        if version == champion and self.engine is not None and self.engine.state != "ready":
            return version  # it is loaded before the engine is ready
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

    async def models(self) -> list[ModelCard]:
        """What ``GET /v1/models`` lists."""
        champion, base, length = self.store.champion(), self.base.name, await self._max_length()
        return [
            ModelCard(
                id=name, version=champion if name == PUBLIC_NAME else name, base_model=base,
                max_model_len=length,
            )
            for name in self.names()
        ]  # fmt: skip

    async def _max_length(self) -> int | None:
        """Tokens of a prompt and its answer together, by the engine; None while it starts."""
        if self.engine is None or self.engine.state != "ready":
            return None
        start = self.engine.n_restarts
        if start not in self.lengths:
            with self.engine.routed(BASE_VERSION, "") as engine:
                status, text = await engine.request("GET", "/v1/models", seconds=5)
            cards = json.loads(text)["data"] if status == 200 else []
            found = (card["max_model_len"] for card in cards if card["id"] == BASE_VERSION)
            self.lengths.update((start, length) for length in found)
        return self.lengths.get(start)

    def unknown_model(self, name: str) -> PawlError:
        return PawlError(
            f"the model {name!r} does not exist",
            f"there are {', '.join(self.names())}",
            "Use 'pawl' for the champion",
            code="model_not_found",
            param="model",
        )

    def as_served(self, sent: CompletionRequest, version: str) -> tuple[CompletionRequest, bool]:
        """A request as the engine gets it: the version's system prompt before a conversation that
        has none, its sampling and then the server's bound where the request says nothing.

        Returns:
            the request, and whether the version's prompt stands in it.
        """
        settings = self.store.version_settings(version)
        request, has_prompt = sent, False
        if settings is not None:
            request, has_prompt = with_settings(sent, settings)
        if self.answer_tokens is not None and request.most_tokens() is None:
            n_tokens = max(self.answer_tokens, request.min_tokens or 1)
            request = request.model_copy(update={"max_tokens": n_tokens})
        return request, has_prompt

    # -- one request

    async def handle(
        self, model: type[CompletionRequest], scope: Scope, receive: Receive, send: Send,
        *, is_charged: bool = False,
    ) -> None:  # fmt: skip
        """Answer one of the two calls; ``model`` says which.

        Args:
            is_charged: what ``charge`` answered, where the caller of this has asked it.
        """
        began = time.monotonic()
        incoming = Request(scope, receive)
        headers = incoming.headers
        try:
            raw = await read_body(incoming, self.max_body_bytes)
            parse = partial(
                parse_request, raw, model, self.base, refuse_unknown=self.refuse_unknown
            )
            is_charged = is_charged or self.charge(scope)
            if is_slow(raw):
                sent = await self.readers.read(scope, len(raw), parse)
            else:
                sent = parse()
            if self.engine is None:
                raise engine_off()
            if self.engine.state != "ready" and not self.start_wait_seconds:
                raise engine_starting(self.engine)
            key = key_of(headers)
            rater_id = rater_of(caller_of(scope), headers.get("x-pawl-rater"), sent.user, key)
            conversation_id = conversation_of(
                headers.get("x-pawl-conversation"), rater_id, sent.prompts()[0]
            )
            version = self.resolve(sent.model, conversation_id)
            request, has_prompt = self.as_served(sent, version)
            exchange = Exchange(
                completion_id=sent.id_prefix + uuid.uuid4().hex,
                conversation_id=conversation_id,
                rater_id=rater_id, request_id=request_id.get(), created_at=utc_now(), began=began,
                sent=sent, request=request, version=version, base=self.base,
                system_prompt_sha256=self._prompt_hash(version, has_prompt),
                caller=share_of(scope, key, rater_id),
                n_sent_tokens=sent_tokens(len(raw)),
                n_expected_tokens=expected_tokens(request, len(raw), self.base.max_length_tokens),
                asked_by=self._remote(scope, self.engine),
            )  # fmt: skip
            if not is_charged:
                self.admission.charge_request(exchange.caller)
        except ClientDisconnect:
            return
        except PawlError as error:
            self.count_refusal(error)
            await respond_error(error, scope, receive, send)
            return
        del raw, parse  # a large body need not wait for the engine beside what was read of it
        with self.in_flight.running(self.store.weights_of(version)):
            await self.answer(exchange, self.engine, scope, receive, send)
        self.metrics.seconds.labels(exchange.version).observe(time.monotonic() - began)

    def _remote(self, scope: Scope, engine: AnyEngine) -> RemoteGateway | None:
        """The gateway that a request came by, where it can ask the engine itself."""
        path, ticket = scope["path"], Headers(scope=scope).get(TICKET)
        if ticket is None or path not in (ChatRequest.path, TextRequest.path):
            return None
        return self.gateways.holder(ticket, [one.base_url for one in engine.replicas])

    async def answer(
        self, exchange: Exchange, engine: AnyEngine, scope: Scope, receive: Receive, send: Send
    ) -> Status:
        """Run the relay and watch the client at the same time; how it ended."""
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
            if exchange.asked and not exchange.recorded and not exchange.is_hopeless:
                with contextlib.suppress(PawlError):
                    await self._record(exchange, status)
            is_refused = status == "error" and not exchange.asked
            label = "refused" if is_refused else status
            self.metrics.requests.labels(exchange.version, label).inc()
        return status

    async def _relay(
        self, exchange: Exchange, engine: AnyEngine, scope: Scope, receive: Receive, send: Send
    ) -> Status:
        """Wait for the engine, ask it, pass its answer on, record it, and only then end it."""
        stream, keeping_alive = exchange.request.stream, None
        if stream and self.keep_alive_seconds:
            keeping_alive = asyncio.create_task(self._keep_alive(exchange, send))
        try:
            async with self.admission.place(
                exchange.caller, exchange.n_rows, exchange.n_expected_tokens
            ) as place:
                self.metrics.queue_seconds.observe(place.waited_seconds)
                place.n_used_tokens = 0  # until the engine is asked
                counted = exchange.version
                await self._until_ready(engine, exchange)
                weights = self.store.weights_of(exchange.version)
                with contextlib.ExitStack() as around:
                    if exchange.version != counted:
                        around.enter_context(self.in_flight.running(weights))
                    around.enter_context(span("engine", queue_seconds=place.waited_seconds))
                    body = await self._ask_one(exchange, engine, weights, send, place)
            if exchange.asked_by is not None:
                await send({"type": "http.response.body", "body": body})
                return exchange.ended_as
            with span("record"):
                await self._record(exchange, "complete")
        except PawlError as error:
            failure = error
        except connection_errors() as error:
            why = f"{type(error).__name__} {error}".strip()
            failure = engine_lost(why)
        else:
            if not stream:
                size = (b"content-length", str(len(body)).encode())
                await _start(send, exchange, (b"content-type", b"application/json"), size)
            await send({"type": "http.response.body", "body": body})
            return "complete"
        finally:
            if keeping_alive is not None:
                keeping_alive.cancel()
        is_only_one = len(engine.replicas) == 1
        if failure.code == "engine_lost" and is_only_one:  # its start takes as long as the last
            failure.retry_after_seconds = engine.start_seconds or failure.retry_after_seconds
        self._count_overload(failure)
        if exchange.asked and not exchange.recorded:
            with contextlib.suppress(PawlError):
                await self._record(exchange, "error")
        if exchange.begun:
            body = event(json.dumps(error_body(failure)).encode())
            await send({"type": "http.response.body", "body": body})
        else:
            await respond_error(failure, scope, receive, send, _headers(exchange))
        return "error"

    def charge(self, scope: Scope) -> bool:
        """Charge a request to its caller, before its body is looked into. False, and nobody is
        charged, where the body may say who it is (``user``).

        Raises:
            PawlError: the caller's quota is used up.
        """
        headers, caller = Headers(scope=scope), caller_of(scope)
        key, rater = key_of(headers), headers.get("x-pawl-rater")
        if caller.is_everyone and not key and not rater:
            return False
        self.admission.charge_request(share_of(scope, key, rater_of(caller, rater, None, key)))
        return True

    def count_refusal(self, error: PawlError) -> None:
        """Note that a request was refused before anybody was to answer it."""
        self.metrics.requests.labels("none", "refused").inc()
        self._count_overload(error)

    def _count_overload(self, error: PawlError) -> None:
        if error.code in ("overloaded", "rate_limit_exceeded"):
            self.metrics.refusals.labels(error.code).inc()

    async def _until_ready(self, engine: AnyEngine, exchange: Exchange) -> None:
        """Wait for an engine that starts. Where it came back without the version that was to
        answer (a canary that was taken back), the one that answers now takes its place.

        Raises:
            PawlError: it takes too long, or failed; or the version has been told already.
        """
        weights = self.store.weights_of(exchange.version)
        if engine.state == "ready" and weights in (BASE_VERSION, *engine.loaded):
            return
        if self.start_wait_seconds:
            try:
                await engine.wait_ready(self.start_wait_seconds, weights)
            except PawlError:
                raise engine_starting(engine) from None
        elif engine.state != "ready":
            raise engine_starting(engine)  # it died while the request waited for its turn
        if exchange.version == BASE_VERSION or exchange.version in self.offered():
            return
        if exchange.begun:
            raise engine_lost(f"{exchange.version} was taken back meanwhile")
        exchange.version = self.resolve(exchange.sent.model, exchange.conversation_id)
        exchange.request, has_prompt = self.as_served(exchange.sent, exchange.version)
        exchange.system_prompt_sha256 = self._prompt_hash(exchange.version, has_prompt)

    def _prompt_hash(self, version: str, has_prompt: bool) -> str | None:
        settings = self.store.version_settings(version)
        return settings.system_prompt_sha256 if settings is not None and has_prompt else None

    async def _ask_one(
        self, exchange: Exchange, engine: AnyEngine, weights: str, send: Send, place: Place
    ) -> bytes:
        """Let a replica answer; another one where the first can't be reached, which has then begun
        nothing."""
        tried: set[int] = set()
        while True:
            with engine.routed(
                weights, exchange.conversation_id, exchange.n_rows, tried
            ) as replica:
                try:
                    if exchange.asked_by is not None:
                        return await self._hand_over(
                            exchange, exchange.asked_by, replica, send, place
                        )
                    return await self._ask(exchange, replica, send, place)
                except unreachable_errors():
                    exchange.asked = exchange.asked_by is not None
                    if replica.number in tried or len(engine.replicas) == 1:
                        raise
                    tried.add(replica.number)

    async def _hand_over(
        self, exchange: Exchange, remote: RemoteGateway, engine: Engine, send: Send, place: Place
    ) -> bytes:
        """Let the gateway that the request came by ask the engine and record what it answers; wait
        until it says how that ended. Its place, and the weights, are held as long."""
        remote.check_heard()  # it may have waited for long
        exchange.asked = exchange.recorded = True
        place.n_used_tokens = None
        exchange.first_token_seconds = 0.0  # it sends a stream's comments from here on
        grant = grant_of(exchange, engine, self.store.weights_of(exchange.version))
        await _begin_stream(exchange, send)
        engine.activity.n_asked += 1
        with remote.answering(exchange.completion_id) as answering:
            await _send_more(send, event(json.dumps({"grant": grant}).encode()))
            try:
                async with engine.activity.under_way():
                    ended = await answering
            except Exception:
                place.n_used_tokens = 0
                raise
        exchange.take_end(ended)
        if ended.n_pieces and not ended.is_recorded:
            self.metrics.recording_failures.inc()
        place.n_used_tokens = exchange.n_used_tokens
        if ended.status == "error" and place.n_used_tokens is None:
            place.n_used_tokens = 0
        engine.activity.n_signs += ended.n_pieces
        engine.activity.n_answered += ended.status == "complete"
        self._count(exchange)
        return b""

    async def _ask(self, exchange: Exchange, engine: Engine, send: Send, place: Place) -> bytes:
        """Let the engine answer; returns what is still to be sent, all or ``[DONE]``.

        Raises:
            PawlError: the engine refused, or broke down.
            Exception: one of ``connection_errors``.
        """
        request, activity = exchange.request, engine.activity
        body = {**request.for_engine(), "model": self.store.weights_of(exchange.version)}
        # vLLM puts the prefix before this id again: so ours is known before the first byte.
        engine_id = exchange.completion_id.removeprefix(request.id_prefix)
        exchange.asked, place.n_used_tokens = True, None
        activity.n_asked += 1
        try:
            async with activity.under_way(), engine.session.post(
                engine.base_url + request.path, data=json.dumps(body).encode(),
                headers={"Content-Type": "application/json", "X-Request-Id": engine_id,
                         **trace_headers()},
            ) as upstream:  # fmt: skip
                if upstream.status != 200:
                    activity.n_answered += upstream.status < 500
                    exchange.recorded = upstream.status < 500  # it was refused, not begun
                    raise refusal(upstream.status, await upstream.read(), request.prompt_field)
                if request.stream:
                    rest = await self._pass_on(exchange, upstream, send, activity)
                else:
                    rest = await upstream.read()
                    value = exchange.answer.take(rest)
                    if exchange.answer.error is not None:
                        raise refusal(500, rest, request.prompt_field)
                    rest = _named(value, rest, exchange.version)
        except Exception:
            place.n_used_tokens = 0
            raise
        finally:
            if exchange.n_used_tokens is not None:
                place.n_used_tokens = exchange.n_used_tokens
        activity.n_answered += 1
        activity.n_signs += 1
        return rest

    async def _pass_on(
        self, exchange: Exchange, upstream: aiohttp.ClientResponse, send: Send, activity: Activity
    ) -> bytes:
        """Send each event as it comes, but for the usage that only we asked for (the one event
        that has no choices) and for the last, ``[DONE]``, which is answered."""
        parser, is_done = EventParser(), False
        async for chunk in upstream.content.iter_any():
            activity.n_signs += 1
            if exchange.first_token_seconds is None:
                exchange.first_token_seconds = time.monotonic() - exchange.began
                await _begin_stream(exchange, send)
            out = b""
            for data in parser.feed(chunk):
                if data == DONE:
                    is_done = True
                    continue
                value = exchange.answer.take(data, is_event=True)
                if exchange.answer.error is not None:
                    await _send_more(send, out)
                    raise _failure_in_stream(value, exchange)
                if value.get("choices") != [] or exchange.request.include_usage:
                    out += event(_named(value, data, exchange.version))
            await _send_more(send, out)
        if not is_done:
            raise engine_lost("its stream ended before the answer did")
        return event(DONE)

    async def _keep_alive(self, exchange: Exchange, send: Send) -> None:
        """Send comments until the first token is there."""
        await asyncio.sleep(self.keep_alive_seconds)
        while exchange.first_token_seconds is None:
            await _begin_stream(exchange, send)
            await _send_more(send, KEEP_ALIVE)
            await asyncio.sleep(self.keep_alive_seconds)

    async def _record(self, exchange: Exchange, status: Status) -> None:
        """Commit what came. Raises PawlError: it could not be committed."""
        exchange.recorded = True
        self._count(exchange)
        if not self.record:
            return
        try:
            rows = exchange.rows("error" if exchange.answer.error else status)
            await commit(self.store, rows)
        except PawlError as error:
            self.metrics.recording_failures.inc()
            _log.error("%s: %s", exchange.completion_id, error)
            raise

    def _count(self, exchange: Exchange) -> None:
        answer, version = exchange.answer, exchange.version
        self.metrics.tokens.labels(version, "prompt").inc(answer.n_prompt_tokens or 0)
        self.metrics.tokens.labels(version, "completion").inc(answer.n_completion_tokens or 0)
        if exchange.first_token_seconds is not None:
            self.metrics.first_token_seconds.labels(version).observe(exchange.first_token_seconds)


def is_slow(raw: bytes) -> bool:
    """Whether a body may take long to read, in which others go on: a schema is compiled, maybe
    under an escaped name, or it is large."""
    return len(raw) > LARGE_BYTES or any(sign in raw for sign in _SLOW)


def _named(value: dict[str, Any], raw: bytes, version: str) -> bytes:
    """What the engine said, under the version's name where the engine knows its weights alone."""
    if value.get("model", version) == version:
        return raw
    named = {**value, "model": version}
    return json.dumps(named, ensure_ascii=False, separators=(",", ":")).encode()


def _failure_in_stream(value: dict[str, Any], exchange: Exchange) -> PawlError:
    """What the engine says in an event that went wrong after the answer had begun."""
    error = value["error"]
    code = error.get("code") if isinstance(error, dict) else None
    status = code if isinstance(code, int) else 500
    return refusal(status, json.dumps(value), exchange.request.prompt_field)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_more(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})


async def _begin_stream(exchange: Exchange, send: Send) -> None:
    if exchange.begun:
        return
    exchange.begun = True
    await _start(
        send, exchange, (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"),
    )  # fmt: skip


async def _start(send: Send, exchange: Exchange, *headers: tuple[bytes, bytes]) -> None:
    head = [*_headers(exchange), *headers]
    await send({"type": "http.response.start", "status": 200, "headers": head})


def _headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    base = f"{quote(exchange.base.name, safe='/@:.-_ ')} {exchange.base.fingerprint}"
    headers = [
        (b"x-pawl-completion-id", exchange.completion_id.encode()),
        (b"x-pawl-version", exchange.version.encode()),
        (b"x-pawl-base", base.encode()),
    ]
    if exchange.asked_by is not None:
        headers.append((CARRIED.encode(), b"1"))
    if ignored := exchange.request.ignored:
        headers.append((b"x-pawl-ignored", ignored_header(ignored).encode()))
    return headers
