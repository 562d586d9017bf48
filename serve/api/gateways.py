"""Other gateways before this store: what they bring, and which answers they have under way.

Another gateway (``serve.gateway``) passes each request on to the server that owns the store. Who
may ask, quotas, the queue and the version are decided here as for any request. Where that gateway
can reach the engine, a chat or a completion is not answered but granted: it gets what to ask the
engine, and the request stays open as long as it answers. So a place in the engine, and the weights
that answer, are held by a connection, and are free again where that breaks.

What it records comes from its journal, in order. A frame is known by the gateway's id and the
number of its newest row; the store has the newest number in the transaction that brings the rows,
so that what is sent again after a lost reply brings nothing twice. Rows that were not granted in
this life of the server are looked up by their ids: those of a journal whose numbers were forgotten,
or that comes under another id, bring nothing twice either, and replace nothing.

Who has a key of the role and knows a gateway's id can speak for it: ids are told to administrators
alone. Used from the event loop only.

Over 400 lines: what a gateway says, and what is known of it, are read together.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Path, Request
from pydantic import ValidationError

import pawl
from feedback.tables import columns_of, record_from
from pawl.errors import PawlError
from pawl.schemas import (
    AnswerEnd,
    Completion,
    GatewayInfo,
    Shipment,
    Shipped,
    ShippedFrame,
)
from serve.api.auth import is_loopback
from serve.api.bodies import LARGE_BYTES, JsonRoute, read_body
from serve.api.errors import validation_error
from serve.api.tracing import trace_headers

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.recording import Exchange
    from serve.engine.supervisor import Engine

TICKET = "x-pawl-gateway"  # header of a request that another gateway passes on
CARRIED = "x-pawl-carried"  # header of an answer that holds a grant
MOST_SHIPMENT_BYTES = 64 * 2**20
SILENT_SECONDS = 10.0  # then a gateway's answers hold no place any more
ARRIVAL_SECONDS = 10.0  # that feedback waits for its answer to come from another gateway
LOST_SECONDS = 120.0  # after its end an answer that has not come is said not to be known
MOST_COMING = 100_000
MOST_KNOWN = 1_000  # gateways; beyond that the one that was heard longest ago is dropped
FORGET_EVERY = 10_000  # shipments
COLUMNS = columns_of(Completion)
GatewayId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
_log = logging.getLogger("pawl.gateways")


@dataclass(eq=False, slots=True)
class Coming:
    """An answer that a gateway was granted, and that is not in the store yet."""

    gateway_id: str
    arrived: asyncio.Future[None]
    ended_at: float = math.inf  # when it was under way last

    @property
    def is_lost(self) -> bool:
        return time.monotonic() - self.ended_at > LOST_SECONDS


@dataclass(eq=False)
class RemoteGateway:
    """One other gateway, in one life of its process."""

    gateway_id: str
    coming: dict[str, Coming]  # of all gateways
    url: str = ""
    is_local: bool = False
    ticket: str = field(default_factory=lambda: secrets.token_hex(32))
    heard_at: float = 0.0
    last: int | None = None  # newest row of its journal that is in the store; None: not known
    receiving: asyncio.Lock = field(default_factory=asyncio.Lock)
    silence: asyncio.TimerHandle | None = None
    _ends: dict[str, asyncio.Future[AnswerEnd]] = field(default_factory=dict)

    @property
    def n_answers(self) -> int:
        return len(self._ends)

    @property
    def is_silent(self) -> bool:
        """Nothing was heard of it for so long that its key may be revoked; or it has left."""
        return time.monotonic() - self.heard_at > SILENT_SECONDS

    def check_heard(self) -> None:
        """Raises PawlError: it is silent, and is granted nothing."""
        if self.is_silent:
            raise PawlError(
                "the server hears nothing of this gateway any more",
                f"for {SILENT_SECONDS:g} s: it was cut off, or its key was revoked",
                "Send it again",
                retryable=True,
                code="owner_unreachable",
            )

    @contextlib.contextmanager
    def answering(self, completion_id: str) -> Iterator[asyncio.Future[AnswerEnd]]:
        """An answer that this gateway asks the engine for; resolves once it says how it ended, or
        was silent for too long."""
        loop = asyncio.get_running_loop()
        self._ends[completion_id] = loop.create_future()
        if len(self.coming) >= MOST_COMING:  # of gateways that never came back
            self.coming.pop(next(iter(self.coming)))
        coming = self.coming[completion_id] = Coming(self.gateway_id, loop.create_future())
        try:
            yield self._ends[completion_id]
        finally:
            del self._ends[completion_id]
            coming.ended_at = time.monotonic()

    def is_granted(self, completion_id: str) -> bool:
        """Whether this gateway was to answer it, and nothing of it has come yet."""
        coming = self.coming.get(completion_id)
        return coming is not None and coming.gateway_id == self.gateway_id

    def hear(self) -> None:
        """It is there."""
        self.heard_at = time.monotonic()
        if self.silence is not None:
            self.silence.cancel()
        self.silence = asyncio.get_running_loop().call_later(SILENT_SECONDS, self.let_go)

    def end(self, ended: AnswerEnd) -> None:
        future = self._ends.get(ended.completion_id)
        if future is not None and not future.done():
            future.set_result(ended)
        if not ended.is_recorded:
            self.came(ended.completion_id)

    def came(self, completion_id: str) -> None:
        """An answer is in the store, or never will be. Nothing, where another gateway has it."""
        if self.is_granted(completion_id):
            arrived = self.coming.pop(completion_id).arrived
            if not arrived.done():
                arrived.set_result(None)

    def leave(self) -> None:
        """Nothing more will come."""
        for completion_id in list(self.coming):
            self.came(completion_id)

    def let_go(self) -> None:
        """Its answers hold no place any more."""
        if self._ends:
            _log.warning("gateway %s is silent: %d answers of it hold no place any more",
                         self.gateway_id, len(self._ends))  # fmt: skip
        for completion_id, future in self._ends.items():
            if not future.done():
                lost = AnswerEnd(completion_id=completion_id, status="cancelled", is_recorded=True)
                future.set_result(lost)


class Gateways:
    """All others that were heard since this server began."""

    def __init__(self) -> None:
        self._coming: dict[str, Coming] = {}
        self._looking_up = asyncio.Lock()
        self._n_kept = FORGET_EVERY  # shipments since the last look at what can be forgotten
        self._known: dict[str, RemoteGateway] = {}
        self._tickets: dict[str, RemoteGateway] = {}

    def holder(self, ticket: str, engine_urls: Sequence[str]) -> RemoteGateway | None:
        """Whose ticket it is. None: nobody's, as after a start of this server; of one that is
        silent, whose key may have been revoked; or of one that can't reach these engines."""
        gateway = self._tickets.get(ticket)
        if gateway is None or gateway.is_silent:
            return None
        if gateway.is_local:
            return gateway
        hosts = [urlsplit(url).hostname or "" for url in engine_urls]
        return None if any(map(is_loopback, hosts)) else gateway

    async def arrived(self, *completion_ids: str | None) -> None:
        """Wait until answers that other gateways have under way are in the store; not for those
        that ended ``LOST_SECONDS`` ago and have not come.

        Raises:
            PawlError: one is not, after ``ARRIVAL_SECONDS`` (``answer_on_its_way``).
        """
        found = [self._coming[one] for one in completion_ids if one and one in self._coming]
        waiting = {one.arrived for one in found if not one.is_lost}
        if not waiting:
            return
        _, missing = await asyncio.wait(waiting, timeout=ARRIVAL_SECONDS)
        if missing:
            raise PawlError(
                "the answer has not come from its gateway yet",
                "it is still being generated, or that gateway can't be reached; what was "
                "acknowledged is in its journal",
                "Send it again later",
                retryable=True,
                code="answer_on_its_way",
                param="completion_id",
            )

    def explained(self, error: PawlError, *completion_ids: str | None) -> PawlError:
        """Why one of them is not known, where its gateway never brought it; else ``error``."""
        coming = self._coming
        lost = [one for one in completion_ids if one and one in coming and coming[one].is_lost]
        if error.code != "completion_not_found" or not lost:
            return error
        return PawlError(
            f"completion {lost[0]!r} never came from the gateway that answered it",
            "that gateway was killed or cut off; what it acknowledged is in its journal",
            "Start 'pawl gateway' on that gateway's state folder, then send it again",
            code=error.code,
            param=error.param,
        )

    async def take(
        self, store: Store, gateway_id: str, shipment: Shipment
    ) -> tuple[str, int | None]:
        """Keep what a gateway sends; its ticket, and the newest row of its journal that is here
        where that is known.

        Raises:
            PawlError: it is another version (``other_version``), or was recorded for another store
                (``other_store``), a row is none, or the store can't take them; nothing of the
                frames was kept then.
        """
        if shipment.version != pawl.__version__ or (
            shipment.frames and shipment.columns != COLUMNS
        ):
            raise PawlError(
                f"this gateway is version {shipment.version or 'unknown'} of Pawl",
                f"the server with the store is version {pawl.__version__}",
                "Install the same on both; what is in its journal is kept until then",
                code="other_version",
            )
        if shipment.store not in ("", store.identity):
            raise PawlError(
                "this gateway's journal was recorded for another store",
                f"it is for the store {shipment.store[:12]}, this server has {store.identity[:12]}",
                "Start the gateway before the server of that store, once, and it is sent there; "
                "one that is running and shall stay before this server: start it again. Where "
                "that store is gone, delete the file from the gateway's folder gateways/",
                code="other_store",
            )
        gateway = self._known.get(gateway_id)
        if gateway is None:
            gateway = RemoteGateway(gateway_id, self._coming)
            if len(self._known) >= MOST_KNOWN:
                self._make_room()
            self._known[gateway_id] = self._tickets[gateway.ticket] = gateway
            _log.info("gateway %s at %s is there", gateway_id, shipment.url or "an older journal")
        gateway.url = shipment.url
        gateway.is_local = bool(shipment.network) and shipment.network == network_here()
        gateway.hear()
        if shipment.frames or not shipment.url:  # who sends a journal that was left asks for both
            await self._keep(store, gateway, shipment.frames)
        for ended in shipment.ended:
            gateway.end(ended)
        if shipment.is_over:
            self._forget(gateway)
        return gateway.ticket, gateway.last

    async def _keep(
        self, store: Store, gateway: RemoteGateway, frames: Sequence[ShippedFrame]
    ) -> None:
        async with gateway.receiving:  # a repeat may come while the first is written
            if gateway.last is None:
                gateway.last = await asyncio.to_thread(store.shipped_until, gateway.gateway_id)
            new = [frame for frame in frames if frame.last > gateway.last]
            if new:
                rows = [_read(row) for frame in new for row in frame.rows]
                last, gateway.last = new[-1].last, None  # not known, until it is done
                async with contextlib.AsyncExitStack() as around:
                    keys = {(row.completion_id, row.choice_index) for row in rows}
                    is_granted = all(gateway.is_granted(row.completion_id) for row in rows)
                    if not is_granted or len(keys) < len(rows):
                        await around.enter_async_context(self._looking_up)
                        rows = await self._only_new(store, gateway, rows)
                    await asyncio.wrap_future(store.append_shipped(gateway.gateway_id, last, rows))
                gateway.last = last
                self._n_kept += 1
        for frame in frames:
            for row in frame.rows:
                gateway.came(str(row[0]))
        if frames and self._n_kept >= FORGET_EVERY:
            self._n_kept = 0
            try:
                await asyncio.to_thread(store.forget_shipments)
            except PawlError as error:  # what was sent is kept
                _log.warning("how far gateways came is not forgotten: %s", error)

    async def _only_new(
        self, store: Store, gateway: RemoteGateway, rows: Sequence[Completion]
    ) -> list[Completion]:
        """Those that are not in the store, and that no other gateway has under way."""
        ids = [row.completion_id for row in rows]
        # Before the look: what is another's now and no more then, is seen by it.
        coming = self._coming
        others = {i for i in ids if i in coming and coming[i].gateway_id != gateway.gateway_id}
        seen = await asyncio.to_thread(store.recorded, ids)
        kept = []
        for row in rows:
            key = (row.completion_id, row.choice_index)
            if key not in seen and row.completion_id not in others:
                kept.append(row)
            seen.add(key)
        if len(kept) < len(rows):
            _log.warning(
                "%d of %d rows of gateway %s are not kept: they are here, or another gateway's",
                len(rows) - len(kept), len(rows), gateway.gateway_id,
            )  # fmt: skip
        return kept

    def _forget(self, gateway: RemoteGateway) -> None:
        self._drop(gateway)
        gateway.leave()
        _log.info("gateway %s has left, with all of its journal here", gateway.gateway_id)

    def _make_room(self) -> None:
        """Drop the gateway that was heard longest ago.

        Raises:
            PawlError: all of them are there (``overloaded``).
        """
        oldest = min(self._known.values(), key=lambda one: one.heard_at)
        if not oldest.is_silent or oldest.receiving.locked():
            raise PawlError(
                f"this server hears {MOST_KNOWN:,} gateways already",
                "it knows no more at once",
                "Try again later",
                retryable=True,
                code="overloaded",
            )
        self._drop(oldest)

    def _drop(self, gateway: RemoteGateway) -> None:
        gateway.let_go()
        gateway.heard_at = -math.inf
        if gateway.silence is not None:
            gateway.silence.cancel()
        self._known.pop(gateway.gateway_id, None)
        self._tickets.pop(gateway.ticket, None)

    def listed(self) -> list[GatewayInfo]:
        now = time.monotonic()
        return [
            GatewayInfo(
                gateway_id=one.gateway_id, url=one.url, is_local=one.is_local,
                heard_seconds=now - one.heard_at, n_answers=one.n_answers,
            )
            for one in self._known.values()
        ]  # fmt: skip


@cache
def network_here() -> str:
    """What tells whether another process has the same loopback: the machine's start and the
    network namespace, hashed; empty where that can't be known. An address does not tell: a tunnel
    ends on loopback, too."""
    try:
        started = FilePath("/proc/sys/kernel/random/boot_id").read_text("ascii")
        namespace = FilePath("/proc/self/ns/net").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{started} {namespace}".encode()).hexdigest()


def gateway_routes(store: Store, gateways: Gateways, is_open: Callable[[], bool]) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, tags=["gateways"])
    about = {"content": {"application/json": {"schema": Shipment.model_json_schema()}}}

    @router.get("/admin/gateways")
    async def list_gateways() -> list[GatewayInfo]:
        """The other gateways that were heard since this server began."""
        return gateways.listed()

    @router.post("/admin/gateways/{gateway_id}", openapi_extra={"requestBody": about})
    async def take_shipment(request: Request, gateway_id: GatewayId) -> Shipped:
        """Keep what another gateway recorded, once, however often it is sent; and hear that it is
        there."""
        raw = await read_body(request, MOST_SHIPMENT_BYTES)

        def read() -> Shipment:
            try:
                return Shipment.model_validate_json(raw or b"{}")
            except ValidationError as error:
                raise validation_error(error.errors(include_url=False), {}, Shipment) from None

        shipment = await asyncio.to_thread(read) if len(raw) > LARGE_BYTES else read()
        ticket, last = await gateways.take(store, gateway_id, shipment)
        return Shipped(ticket=ticket, is_open=is_open(), store=store.identity, last=last)

    return router


def grant_of(exchange: Exchange, engine: Engine, weights: str) -> dict[str, Any]:
    """What another gateway needs to ask the engine and to record what comes (``serve.granted``)."""
    request, base = exchange.request, exchange.base
    return {
        "engine": {
            "url": engine.base_url,
            "start_seconds": engine.start_seconds,
            "headers": {"Authorization": f"Bearer {engine.key}", **trace_headers()},
        },
        "exchange": {
            "completion_id": exchange.completion_id,
            "conversation_id": exchange.conversation_id,
            "rater_id": exchange.rater_id,
            "request_id": exchange.request_id,
            "created_at": exchange.created_at,
            "version": exchange.version,
            "system_prompt_sha256": exchange.system_prompt_sha256,
            "n_sent_tokens": exchange.n_sent_tokens,
        },
        "waited_seconds": time.monotonic() - exchange.began,
        "weights": weights,
        "base": [base.name, base.fingerprint, base.max_length_tokens],
        "request": {
            "model": request.model,
            "path": request.path,
            "id_prefix": request.id_prefix,
            "prompt_field": request.prompt_field,
            "stream": request.stream,
            "include_usage": request.include_usage,
            "n": request.n,
            "stop_token_ids": request.stop_token_ids,
            "ignored": request.ignored,
            "sent_prompts": exchange.sent.prompts(),
            "fields": request.sampling(),
            "body": request.for_engine(),
        },
    }


def _read(row: list[Any]) -> Completion:
    try:
        return record_from(Completion, tuple(row))
    except (TypeError, ValueError) as error:
        raise PawlError(
            "a row of the shipment is no answer", str(error), "Look at that gateway's log",
            code="invalid_value",
        ) from None  # fmt: skip
