"""OpenTelemetry traces, where ``tracing.endpoint`` is set: one span a request, with the engine's
part and the store's beneath it. Where it isn't, nothing of OpenTelemetry is imported.

A caller's ``traceparent`` is followed, and the engine is sent one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pawl
from pawl.errors import PawlError
from pawl.logs import request_id
from serve.api.auth import GUARDED

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from pawl.settings import TracingSettings

# Headers of an answer that stand in its span, and under which names.
_TOLD = {b"x-pawl-version": "pawl.version", b"x-pawl-completion-id": "pawl.completion_id"}
_tracer: ContextVar[Tracer | None] = ContextVar("tracer", default=None)


class Traces:
    """Makes spans and sends them on, in a thread of OpenTelemetry's.

    Raises:
        PawlError: OpenTelemetry is not installed.
    """

    def __init__(self, settings: TracingSettings) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
        except ImportError as error:
            raise PawlError(
                "tracing.endpoint is set, and OpenTelemetry is not installed",
                str(error),
                "Do: pip install 'pawl-chat[otel]', or leave it out",
            ) from error
        resource = Resource.create({"service.name": "pawl", "service.version": pawl.__version__})
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(settings.fraction), resource=resource
        )
        exporter = OTLPSpanExporter(endpoint=settings.endpoint)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self.tracer = self._provider.get_tracer("pawl")

    def close(self) -> None:
        """Send what is left; takes a few seconds at most where nobody takes it."""
        self._provider.force_flush(5_000)
        self._provider.shutdown()


class Traced:
    """Pure ASGI middleware: a span for each request to the API."""

    def __init__(self, app: ASGIApp, traces: Traces) -> None:
        self._app = app
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(GUARDED):
            return await self._app(scope, receive, send)
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        parent = TraceContextTextMapPropagator().extract(sent)
        tracer, method = self._traces.tracer, scope["method"]
        token = _tracer.set(tracer)
        with tracer.start_as_current_span(method, parent, SpanKind.SERVER) as span:
            span.set_attributes(
                {"http.request.method": method, "pawl.request_id": request_id.get()}
            )

            async def send_traced(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_attribute("error.type", str(message["status"]))
                    for name, value in message["headers"]:
                        if name.lower() in _TOLD:
                            span.set_attribute(_TOLD[name.lower()], value.decode("latin-1"))
                    span.add_event("answer begins")
                await send(message)

            try:
                await self._app(scope, receive, send_traced)
            finally:
                _tracer.reset(token)
                if route := getattr(scope.get("route"), "path_format", ""):
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)


@contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """A part of the request that is traced now; nothing where none is."""
    tracer = _tracer.get()
    if tracer is None:
        yield
        return
    with tracer.start_as_current_span(name, attributes=attributes):
        yield


def trace_headers() -> dict[str, str]:
    """The span that is open now, for whom the request is passed on to; empty where none is."""
    headers: dict[str, str] = {}
    if _tracer.get() is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)
    return headers
