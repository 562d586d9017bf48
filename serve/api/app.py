"""Puts the parts together into one ASGI application: public routes, admin routes, pages.

build_app(settings, engine)   what ``pawl up`` serves
build_app(settings, None)     the same routes for command-line verbs while no server runs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match, Route

from pawl.errors import PawlError
from pawl.models import BaseModel, resolve_model
from pawl.settings import Settings
from serve.api.auth import Door, is_loopback
from serve.api.completions import Gateway
from serve.api.http import ClientGone, error_body, error_response, read_request
from serve.api.in_flight import InFlight
from serve.api.metrics import CONTENT_TYPE, Metrics
from serve.api.recording import rater_of
from serve.api.requests import Kind, parse_json

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from feedback.store import Store
    from serve.engine.client import Engine
    from serve.promotion import Promoter

MAX_FEEDBACK_BYTES = 1_000_000
ALL_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")
# Addresses for programs, the last three of clients that were told the address without its /v1.
OURS = ("/v1", "/v1/{_:path}", "/admin", "/admin/{_:path}", "/health", "/metrics",
        "/chat/completions", "/completions", "/models")  # fmt: skip


class PawlApp(Starlette):
    """The application and the parts it is made of. ``close`` ends what it opened."""

    store: Store
    engine: Engine | None
    gateway: Gateway
    promoter: Promoter

    def close(self) -> None:
        """Commit what is waiting and close the store."""
        self.store.close()


def build_app(
    settings: Settings,
    engine: Engine | None,
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
    from serve.api.admin import Admin
    from serve.promotion import Promoter

    base = base or (
        engine.model
        if engine
        else resolve_model(settings.model, settings.model_revision, cache_dir=settings.state_dir)
    )
    store = store or Store.open(settings.database_path)
    in_flight, metrics = InFlight(), Metrics()
    promoter = Promoter(settings, base, store, engine, in_flight.drained)
    gateway = Gateway(
        store,
        engine,
        base,
        in_flight,
        metrics,
        lambda: promoter.offered,
        settings.engine.max_prompt_bytes,
    )
    public = PublicRoutes(store, engine, gateway)
    admin = Admin(settings, base, store, engine, promoter)
    nowhere = [Route(path, _nowhere, methods=ALL_METHODS) for path in OURS]
    app = make_app([*public.routes(), *admin.routes(), *nowhere], settings)
    app.store, app.engine, app.gateway, app.promoter = store, engine, gateway, promoter
    if engine is not None:
        engine.on_ready = promoter.finish_pending
    if engine is not None if pages is None else pages:
        from serve.pages.mount import mount_pages

        mount_pages(app, settings)
    return app


def make_app(routes: Sequence[Route], settings: Settings) -> PawlApp:
    """An application of these routes, behind the door, with OpenAI-shaped errors."""
    key = settings.api_key.get_secret_value() if settings.api_key else None
    own = is_loopback(settings.host)
    return PawlApp(
        routes=routes,
        middleware=[Middleware(Door, api_key=key, only_own_names=own)],
        exception_handlers={
            PawlError: _pawl_error, HTTPException: _http_error, ClientGone: _client_gone,
            500: _our_fault,
        },
    )  # fmt: skip


class PublicRoutes:
    """The handlers of everything that isn't a completion, and the table of public routes."""

    def __init__(self, store: Store, engine: Engine | None, gateway: Gateway) -> None:
        self.store = store
        self.engine = engine
        self.gateway = gateway

    def routes(self) -> list[Route]:
        """Every public route."""
        return [
            Route("/v1/chat/completions", CompletionRoute(self.gateway, "chat"), methods=["POST"]),
            Route("/v1/completions", CompletionRoute(self.gateway, "text"), methods=["POST"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{name}", self.model, methods=["GET"]),
            Route("/v1/conversations/{conversation_id}", self.conversation, methods=["GET"]),
            Route("/v1/feedback", self.add_feedback, methods=["POST"]),
            Route("/v1/feedback", self.list_feedback, methods=["GET"]),
            Route("/v1/feedback/categories", self.categories, methods=["GET"]),
            Route("/health", self.health, methods=["GET"]),
            Route("/metrics", self.metrics, methods=["GET"]),
        ]

    async def models(self, request: Request) -> Response:
        """``{"object": "list", "data": [{"id": "pawl", "version": "pawl@3", ...}, ...]}``."""
        return JSONResponse({"object": "list", "data": self.gateway.models()})

    async def model(self, request: Request) -> Response:
        """One of the list."""
        name = request.path_params["name"]
        for card in self.gateway.models():
            if card["id"] == name:
                return JSONResponse(card)
        raise PawlError(
            f"the model {name!r} does not exist",
            f"there are {', '.join(self.gateway.names())}",
            code="model_not_found",
            param="model",
        )

    async def conversation(self, request: Request) -> Response:
        """``{"conversation_id", "messages": [...]}`` of the person who asks."""
        from serve.api.conversations import read_conversation

        conversation_id = request.path_params["conversation_id"]
        rater_id = self._rater(request, None)
        return JSONResponse(
            await run_in_threadpool(read_conversation, self.store, conversation_id, rater_id)
        )

    async def add_feedback(self, request: Request) -> Response:
        """Store one feedback; answers the stored row and whether it had been sent before."""
        from feedback.service import submit_feedback

        body = parse_json(await read_request(request.receive, request.headers, MAX_FEEDBACK_BYTES))
        rater_id = self._rater(request, body.get("user"))
        source = "chat_page" if request.headers.get("x-pawl-source") == "chat_page" else "api"
        feedback, duplicate = await run_in_threadpool(
            submit_feedback, self.store, body, rater_id, source
        )
        return JSONResponse({**feedback.as_json(), "duplicate": duplicate})

    async def list_feedback(self, request: Request) -> Response:
        """What counts now on one completion: a list, one row a person."""
        completion_id = request.query_params.get("completion_id")
        if not completion_id:
            raise PawlError(
                "completion_id is missing",
                "feedback is listed by completion",
                "Ask for /v1/feedback?completion_id=...",
                param="completion_id",
            )
        if await run_in_threadpool(self.store.get_completion, completion_id) is None:
            raise PawlError(
                f"completion {completion_id!r} is not known",
                "it was never recorded here",
                "Check the id",
                code="completion_not_found",
                param="completion_id",
            )
        rows = await run_in_threadpool(self.store.current_feedback, completion_id)
        return JSONResponse([row.as_json() for row in rows])

    async def categories(self, request: Request) -> Response:
        """``[{"key", "definition", "example", "treatment"}, ...]``."""
        rows = await run_in_threadpool(self.store.categories)
        return JSONResponse([asdict(row) for row in rows])

    async def health(self, request: Request) -> Response:
        """200 as long as this process answers; how the engine is stands in the body."""
        engine = self.engine
        champion = self.store.champion()
        return JSONResponse({
            "status": "ok",
            "champion": champion,
            "champion_served": champion == "base" or champion in self.gateway.offered(),
            "engine": {
                "state": engine.state if engine else "off",
                "detail": engine.detail if engine else "no server runs",
                "progress_fraction": engine.progress_fraction if engine else 0.0,
                "n_restarts": engine.n_restarts if engine else 0,
                "start_seconds": engine.start_seconds if engine else None,
            },
        })  # fmt: skip

    async def metrics(self, request: Request) -> Response:
        """Counters in Prometheus' text form."""
        metrics = self.gateway.metrics
        if self.engine is not None:
            metrics.engine_restarts.set(self.engine.n_restarts)
            metrics.engine_ready.set(self.engine.state == "ready")
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @staticmethod
    def _rater(request: Request, user: Any) -> str:
        key = request.headers.get("authorization", "").removeprefix("Bearer ")
        return rater_of(
            request.headers.get("x-pawl-rater"), user if isinstance(user, str) else None, key
        )


class CompletionRoute:
    """One completion route as a plain ASGI application, so that hang-ups are seen at once."""

    def __init__(self, gateway: Gateway, kind: Kind) -> None:
        self._answer = partial(gateway.handle, kind)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answer(scope, receive, send)


async def _pawl_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, PawlError)
    return error_response(error)


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody is left to read it


async def _http_error(request: Request, error: Exception) -> Response:
    """Starlette's own refusals (no such route, wrong method), OpenAI-shaped."""
    assert isinstance(error, HTTPException)
    mine = PawlError(
        f"{request.method} {request.url.path}: {error.detail}",
        code="not_found" if error.status_code == 404 else "invalid_request",
    )
    return JSONResponse(error_body(mine), status_code=error.status_code, headers=error.headers)


async def _nowhere(request: Request) -> Response:
    """Programs get an error that they can read, not the page that stands at ``/``."""
    allowed = sorted({
        method
        for route in request.app.routes
        if isinstance(route, Route) and route.endpoint is not _nowhere
        and route.matches(request.scope)[0] is Match.PARTIAL
        for method in route.methods or ()
    })  # fmt: skip
    if allowed:
        error = PawlError(
            f"{request.method} {request.url.path}",
            f"this address takes {', '.join(allowed)}",
            "Send it with that method",
            code="method_not_allowed",
        )
        return JSONResponse(error_body(error), 405, {"Allow": ", ".join(allowed)})
    raise PawlError(
        f"there is no {request.method} {request.url.path} here",
        "the routes are /v1/models, /v1/chat/completions, /v1/completions, /v1/conversations, "
        "/v1/feedback",
        "Check the address and the method",
        code="not_found",
    )


async def _our_fault(request: Request, error: Exception) -> Response:
    mine = PawlError(
        "something broke inside the server",
        type(error).__name__,
        "The server's log has the details",
        code="internal_error",
    )
    return error_response(mine)
