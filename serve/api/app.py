"""Puts the parts together into one ASGI application, and hands each route what it needs.

Without an engine, ``build_app`` gives the same routes to verbs while no server runs.
Over 400 lines because every part that an application is made of is named here.
"""

from __future__ import annotations

import logging
import re
import time
import uuid
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Match

import pawl
from feedback.champion import BASE_VERSION
from pawl.errors import PawlError
from pawl.logs import request_id
from pawl.models import BaseModel, resolve_model
from pawl.schedule import SCHEDULE_LOG, ScheduleLog
from pawl.schemas import (
    ChatAnswer,
    EngineHealth,
    ErrorAnswer,
    Health,
    ModelCard,
    ModelList,
    TextAnswer,
)
from pawl.server import make_admin_key
from pawl.settings import Settings
from serve.api.admission import Admission
from serve.api.audit import Audit
from serve.api.auth import (
    GUARDED,
    OPEN_ROUTES,
    Auth,
    CrossOrigin,
    Fronts,
    UnderPath,
    addresses_of,
    is_loopback,
)
from serve.api.bodies import JsonRoute
from serve.api.completions import Gateway
from serve.api.count_tokens import count_tokens
from serve.api.docs import docs_page
from serve.api.errors import MESSAGES_PATH, error_body, error_response, no_such_route
from serve.api.fields import ignored_header
from serve.api.in_flight import InFlight
from serve.api.keys import Authenticator
from serve.api.messages import (
    MessagesAnswer,
    MessagesRequest,
    MessagesTranslation,
    TokensAnswer,
    TokensRequest,
)
from serve.api.metrics import Metrics
from serve.api.openapi import describe
from serve.api.requests import ChatRequest, TextRequest
from serve.api.responses import ResponsesAnswer, ResponsesRequest, ResponsesTranslation
from serve.api.roles import guard
from serve.api.sessions import Sessions
from serve.api.tracing import Traced, Traces
from serve.api.translation import answer_as

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from feedback.store import Store
    from serve.api.conversations import Eraser
    from serve.engine.replicas import AnyEngine
    from serve.promotion import Promoter

_log = logging.getLogger("pawl.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class PawlApp(FastAPI):
    """The application and the parts it is made of. ``close`` ends what it opened."""

    store: Store
    engine: AnyEngine | None
    gateway: Gateway
    promoter: Promoter
    authenticator: Authenticator
    audit: Audit
    eraser: Eraser
    fronts: Fronts
    traces: Traces | None

    def openapi(self) -> dict[str, Any]:
        """What ``/openapi.json`` answers."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(super().openapi())
        return self.openapi_schema

    def close(self) -> None:
        """Send the traces that are left, let an erasing end, commit what waits and close the
        store."""
        if self.traces is not None:
            self.traces.close()
        self.eraser.close()
        self.store.close()


def build_app(
    settings: Settings,
    engine: AnyEngine | None,
    *,
    base: BaseModel | None = None,
    store: Store | None = None,
    pages: bool | None = None,
) -> PawlApp:
    """Open the store and build the application.

    Args:
        settings: one Pawl's settings.
        engine: the vLLM child, started or not; None: no completions are answered.
        base: the base model, when the caller has it already.
        store: an open store, when the caller has one already.
        pages: whether the chat page is at ``/``; by default where there is an engine.

    Raises:
        PawlError: the base model is not there, or the store can't be opened.
    """
    from feedback.store import Store
    from serve.api.admin import admin_routes
    from serve.api.erasing import carry_on, erasing_routes
    from serve.api.figures import figure_routes
    from serve.api.reviews import review_routes
    from serve.api.runs import run_routes
    from serve.api.versions import version_routes
    from serve.engine.replicas import Replicas
    from serve.promotion import Promoter

    base = base or resolve_model(
        settings.model, settings.model_revision, cache_dir=settings.state_dir
    )
    store = store or Store.open(settings.database_path)
    carry_on(settings, base, store)
    in_flight, metrics = InFlight(), Metrics()
    promoter = Promoter(settings, base, store, engine, in_flight.drained)
    limit = settings.engine.max_request_bytes
    n_engines = (lambda: max(1, engine.n_serving)) if engine is not None else (lambda: 1)
    admission = Admission(settings.engine, settings.limits, n_engines=n_engines)
    n_context = settings.engine.max_model_len_tokens or base.max_length_tokens
    most = settings.limits.answer_tokens
    gateway = Gateway(
        store, engine, base, in_flight, metrics, lambda: promoter.offered, limit, admission,
        settings.limits.keep_alive_seconds, settings.limits.start_wait_seconds,
        refuse_unknown=settings.api.unknown_fields == "refuse",
        canary=lambda: promoter.canary,
        answer_tokens=most and min(most, n_context),  # the engine refuses more than its context
    )  # fmt: skip
    admin = admin_routes(settings, base, store, engine, promoter, admission)
    reviews = review_routes(settings, store, engine, lambda: promoter.offered, admission)
    runs, versions = run_routes(settings, store, promoter), version_routes(store)
    more = erasing_routes(settings, base, store), reviews, figure_routes(settings, store)
    app = make_app(settings, gateway, admin, runs, versions, *more)
    app.store, app.engine, app.gateway, app.promoter = store, engine, gateway, promoter
    if engine is not None:
        for one in engine.replicas:
            one.on_ready = partial(promoter.finish_pending, one)
    if isinstance(engine, Replicas):
        engine.champion = lambda: store.weights_of(store.champion())
    if engine is not None if pages is None else pages:
        from serve.api.accounts import SignIn
        from serve.pages.mount import mount_pages
        from serve.pages.sign_in import SignInPages

        sign_in = SignIn(store.access, app.authenticator, settings.state_dir)
        provider = None
        if settings.oidc.issuer is not None:
            from serve.api.oidc import Provider

            provider = Provider(settings.oidc, store.access.accounts)
        forms = SignInPages(sign_in, app.audit, provider)
        mount_pages(app, app.authenticator, app.fronts, limit, forms, settings.page)
    return app


def make_app(settings: Settings, gateway: Gateway, *more: APIRouter) -> PawlApp:
    """An application of the public routes and ``more``, with OpenAI-shaped errors."""
    from serve.api.answered_differently import answered_differently_routes
    from serve.api.conversations import Eraser, conversation_routes
    from serve.api.feedback import feedback_routes
    from serve.api.gateways import gateway_routes
    from serve.api.turns import StoreTurns

    store: Any = gateway.store
    local = is_loopback(settings.host)
    authenticator = Authenticator(
        store.access,
        Sessions(store.access.accounts, settings.sign_in),
        settings.api_key.get_secret_value() if settings.api_key else None,
        make_admin_key(settings),
        local and settings.oidc.issuer is None,
    )
    audit, api = Audit(store.access), settings.api
    # Commands on this machine ask for the address that it listens on.
    fronts = Fronts(local, api.allowed_hosts, api.allowed_origins, addresses_of(settings.host))
    traces = Traces(settings.tracing) if settings.tracing.endpoint else None
    cross_origin = [Middleware(CrossOrigin, origins=fronts.origins)] if fronts.origins else []
    app = PawlApp(
        title="Pawl", version=pawl.__version__,
        docs_url=None, redoc_url=None, redirect_slashes=False,
        description="A chat model that gets better from the people who use it.",
        responses={500: {"model": ErrorAnswer, "description": "a fault of the server"}},
        root_path=api.root_path,
        middleware=[
            *([Middleware(UnderPath, root_path=api.root_path)] if api.root_path else []),
            Middleware(Access),
            *([Middleware(Traced, traces=traces)] if traces else []),
            *cross_origin,  # before authentication: a preflight brings no key
            Middleware(Auth, authenticator=authenticator, audit=audit, fronts=fronts),
        ],
        exception_handlers={
            PawlError: _pawl_error, HTTPException: _http_error, ClientDisconnect: _client_gone,
            500: _our_fault,
        },
    )  # fmt: skip
    app.router.route_class = JsonRoute
    app.state.metrics, app.state.readers = gateway.metrics, gateway.readers
    _add_completion_routes(app, gateway, settings.engine.max_model_len_tokens)
    _add_server_routes(app, gateway, ScheduleLog(settings.state_dir / SCHEDULE_LOG))
    admission, turns = gateway.admission, StoreTurns()
    app.eraser = Eraser(store, settings, gateway.base)
    conversations = conversation_routes(store, admission, turns, app.eraser)
    said_back = answered_differently_routes(store, admission, turns)
    feedback = feedback_routes(store, admission, turns, gateway.gateways)
    others = gateway_routes(store, gateway.gateways, lambda: authenticator.is_open)
    for router in (feedback, said_back, conversations, others, *more):
        app.include_router(router)
    guard(app.routes, audit, admission)
    app.traces, app.audit, app.authenticator, app.fronts = traces, audit, authenticator, fronts
    return app


def _add_completion_routes(app: PawlApp, gateway: Gateway, max_length: int | None) -> None:
    """The routes that are answered by the engine: plain ASGI applications, so that hang-ups are
    seen at once, under FastAPI routes that describe them.

    Args:
        max_length: tokens of a prompt and its answer together; None: what the base has.
    """
    stream: dict[int | str, Any] = {
        200: {"content": {"text/event-stream": {"schema": {"description": "events"}}}}
    }
    base, refuse_unknown = gateway.base, gateway.refuse_unknown
    n_context = max_length or base.max_length_tokens

    @app.post("/v1/chat/completions", tags=["completions"], responses=stream)
    async def chat(body: ChatRequest) -> ChatAnswer:
        """Answer a conversation, whole or as a stream of events. Headers of the answer:
        `X-Pawl-Completion-Id` (feedback names it), `X-Pawl-Version`, `X-Pawl-Base`,
        `X-Pawl-Ignored` (fields that were sent and had no effect). Headers of the request:
        `X-Pawl-Conversation`, `X-Pawl-Rater`."""
        raise NotImplementedError("the gateway answers")

    @app.post("/v1/completions", tags=["completions"], responses=stream)
    async def text(body: TextRequest) -> TextAnswer:
        """Continue a text; the rest is as in `/v1/chat/completions`."""
        raise NotImplementedError("the gateway answers")

    @app.post("/v1/responses", tags=["completions"], responses=stream)
    async def responses(body: ResponsesRequest) -> ResponsesAnswer:
        """Answer a conversation by OpenAI's Responses API, without keeping it for later requests;
        the rest is as in `/v1/chat/completions`."""
        raise NotImplementedError("the gateway answers")

    @app.post("/v1/messages", tags=["completions"], responses=stream)
    async def messages(body: MessagesRequest) -> MessagesAnswer:
        """Answer a conversation by Anthropic's API; the rest is as in `/v1/chat/completions`."""
        raise NotImplementedError("the gateway answers")

    @app.post("/v1/messages/count_tokens", tags=["completions"])
    async def count(request: Request, body: TokensRequest, response: Response) -> TokensAnswer:
        """How many tokens a prompt has, as `/v1/messages` would send it to the engine."""
        n_tokens, ignored = await count_tokens(gateway, await request.json(), request.scope)
        if ignored:
            response.headers["X-Pawl-Ignored"] = ignored_header(ignored)
        return TokensAnswer(input_tokens=n_tokens)

    by_responses = partial(ResponsesTranslation, base=base, refuse_unknown=refuse_unknown)
    by_messages = partial(
        MessagesTranslation, base=base, n_context=n_context, refuse_unknown=refuse_unknown
    )
    applications = {
        chat: partial(gateway.handle, ChatRequest),
        text: partial(gateway.handle, TextRequest),
        responses: partial(answer_as, gateway, by_responses),
        messages: partial(answer_as, gateway, by_messages),
    }
    for route in app.routes:
        if isinstance(route, JsonRoute) and route.endpoint in applications:
            route.app = applications[route.endpoint]


def _add_server_routes(app: PawlApp, gateway: Gateway, nights: ScheduleLog) -> None:
    engine: Any = gateway.engine

    @app.get("/v1/models", tags=["models"])
    async def list_models() -> ModelList:
        """Every name that can be asked for."""
        return ModelList(data=await gateway.models())

    @app.get("/v1/models/{name}", tags=["models"])
    async def show_model(name: str) -> ModelCard:
        """One of the list."""
        for card in await gateway.models():
            if card.id == name:
                return card
        raise gateway.unknown_model(name)

    @app.get("/health", tags=["server"])
    async def health() -> Health:
        """200 as long as this process answers; how the engine is stands in the body."""
        champion, move = gateway.store.champion(), gateway.store.live_move()
        return Health(
            champion=champion,
            champion_since=None if move is None else move.created_at,
            champion_served=champion == BASE_VERSION or champion in gateway.offered(),
            engine=EngineHealth.model_validate(engine or EngineHealth(), from_attributes=True),
        )

    @app.get("/metrics", tags=["server"], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters in Prometheus' text form."""
        gateway.metrics.queue_length.set(gateway.admission.n_waiting)
        gateway.metrics.places_held.set(gateway.admission.n_held)
        await gateway.metrics.ask(gateway.store, engine, nights)
        return Response(gateway.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @cache  # 0.06 s in which nobody is answered, and anybody may ask
    def page() -> str:
        return docs_page(app.openapi(), app.root_path)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(
            page(),
            headers={"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"},
        )


class Access:
    """Pure ASGI middleware before everything: gives each request an id, the client's own
    ``X-Request-Id`` if it is a sane one, and logs how the API answered it. Anthropic's clients read
    the id from ``Request-Id``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        metrics = scope["app"].state.metrics  # the pages put their own application there
        began, status = time.monotonic(), 499  # unless an answer begins, the client hung up
        offered = Headers(scope=scope).get("x-request-id", "")
        own_id = offered if _REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
        request_id.set(own_id)
        ids = [(b"x-request-id", own_id.encode())]
        if scope["path"].startswith(MESSAGES_PATH):
            ids.append((b"request-id", own_id.encode()))
        method = scope["method"]
        if method == "HEAD":  # the server itself leaves out the body
            scope = {**scope, "method": "GET"}

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *ids]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            status = 500
            raise
        finally:
            route = getattr(scope.get("route"), "path_format", "")
            if route and scope["path"].startswith((*GUARDED, *OPEN_ROUTES)):  # not the pages'
                known = method if method in ("GET", "HEAD", "POST") else "other"
                metrics.http_requests.labels(known, route, str(status)).inc()
            if scope["path"].startswith(("/v1/", "/admin/")):
                seconds = time.monotonic() - began
                _log.info("%s %s %d %.3f s", method, scope["path"][:200], status, seconds)


async def _pawl_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PawlError)
    return error_response(error, request.scope["path"])


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody is left to read it


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such route, wrong method), OpenAI-shaped."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return error_response(no_such_route(request.scope), request.scope["path"])
    allowed = _methods(request) if error.status_code == 405 else ""
    refusal = PawlError(
        f"{request.method} {request.url.path}: {error.detail}",
        f"this address takes {allowed}" if allowed else "",
        "/docs lists the routes",
        code="method_not_allowed" if error.status_code == 405 else "invalid_request",
    )
    headers = {"Allow": allowed} if allowed else error.headers
    body = error_body(refusal, request.scope["path"])
    return JSONResponse(body, status_code=error.status_code, headers=headers)


def _methods(request: Request) -> str:
    """The methods of every route of this path; Starlette names those of the first alone."""
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is Match.PARTIAL:
            methods |= route.methods
    return ", ".join(sorted(methods))


async def _our_fault(request: Request, error: Exception) -> Response:
    refusal = PawlError(
        "something broke inside the server",
        type(error).__name__,
        "The server's log has the details",
        retryable=True,  # a night's step is tried three times at most
        code="internal_error",
    )
    response = error_response(refusal, request.scope["path"])
    response.headers["X-Request-Id"] = request_id.get()
    return response
