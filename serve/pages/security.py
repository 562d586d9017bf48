"""What stands before the pages: the key, the paths that exist, and what a page may load."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pawl.errors import PawlError
from serve.api.auth import Fronts, foreign_origin, key_of
from serve.api.bodies import parse_json
from serve.api.errors import error_response, no_such_route, status_of
from serve.api.keys import Authenticator
from serve.api.throttle import address_of
from serve.pages.events import EventShape, checked_event

# All that the chat page needs of Gradio. Its uploads, file and proxy routes, monitoring, API
# description and run history are not on the list, so they answer 404 whatever its settings are.
_OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico"
    r"|/(?:assets|static|svelte)/[\w./@-]+"
    r"|/gradio_api/(?:theme\.css|queue/join/?|queue/data|heartbeat/\w+|cancel|reset/?"
    r"|startup-events|app_id/?)"  # the last is asked for until a lost connection is back
)
_log = logging.getLogger("pawl.pages")
_JOIN, _STREAM = "/gradio_api/queue/join", "/gradio_api/queue/data"
# Gradio starts from inline scripts and styles; nothing may come from, or go to, another host.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class PageSecurity:
    """Pure ASGI middleware before the pages.

    Where a key is asked for, the browser asks for a name and a password (HTTP Basic): the password
    is a key, the name is not looked at. The page sends that key with its own calls, so whoever
    opens the page can do with it what the key allows.

    Args:
        # Before the page is built there are no events, and it says so itself.
        if answer is self._app and scope["method"] == "POST" and (shapes := self._shapes()):
            try:
                body = await self._body(scope, receive)
                if scope["path"].startswith(_JOIN):
                    event = checked_event(body, shapes)
                else:
                    event = json.dumps(parse_json(body or b"{}")).encode()
        n_event_bytes: of the largest one.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        fronts: Fronts,
        shapes: Callable[[], Mapping[int, EventShape]],
        n_event_bytes: int,
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._shapes = shapes
        self._n_event_bytes = n_event_bytes
        self._fronts = fronts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # the pages speak plain HTTP only; this answers 403
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer: ASGIApp = await self._refusal(scope) or self._app
        # Before the page is built there are no events, and it says so itself.
        if answer is self._app and scope["method"] == "POST" and (shapes := self._shapes()):
            try:
                body = await self._body(scope, receive)
                if scope["path"].startswith(_JOIN):
                    event = checked_event(body, shapes)
                else:
                    event = json.dumps(parse_json(body or b"{}")).encode()
            except PawlError as err:
                answer = error_response(err)
            else:
                scope, receive = _with_body(scope, event, receive)
        await _without_traceback(answer, scope, receive, send_with_policy)

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """Raises PawlError: it is too large."""
        body = bytearray()
        async for part in Request(scope, receive).stream():
            body += part
            if len(body) > self._n_event_bytes:
                raise PawlError(
                    f"this event has more than {self._n_event_bytes:,} bytes",
                    do="Send less",
                    code="request_too_large",
                )
        return bytes(body)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not _OPEN.fullmatch(scope["path"]) or ".." in scope["path"]:
            return error_response(no_such_route(scope))
        stranger = foreign_origin(headers) if scope["method"] == "POST" else None
        stranger = stranger or self._fronts.foreign_host(headers, self._authenticator.is_open)
        if stranger is not None:
            return PlainTextResponse(f"{stranger}\n", status_of(stranger))
        try:
            await self._authenticator.caller(page_key_of(headers), address_of(scope))
        except PawlError as error:
            if status_of(error) != 401:
                return error_response(error)
            return PlainTextResponse(
                "This server asks for a key: any name, the key as the password.\n",
                401,
                {"WWW-Authenticate": 'Basic realm="Pawl: any name, a key as password"'},
            )
        return None


async def _without_traceback(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Call an application; what it fails with is an answer, and one line in the log.

    Gradio ends the stream of a session that it does not know with a message for its page, and an
    exception after it.
    """
    is_begun = False

    async def send_on(message: Message) -> None:
        nonlocal is_begun
        is_begun = True
        await send(message)

    try:
        await app(scope, receive, send_on)
    except Exception as err:
        if is_begun and scope["path"].startswith(_STREAM):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            if isinstance(err.__cause__ or err, HTTPException):
                return
        _log.warning("the page's %s %s failed: %r", scope["method"], scope["path"], err,
                     exc_info=_log.isEnabledFor(logging.DEBUG))  # fmt: skip
        if not is_begun:
            refusal = PawlError("the page met an error", type(err).__name__, "Reload the page",
                                retryable=True, code="internal_error")  # fmt: skip
            await error_response(refusal)(scope, receive, send)


def _with_body(scope: Scope, body: bytes, receive: Receive) -> tuple[Scope, Receive]:
    """A request with another body than the one that was read; its hang-up is seen as before."""
    kept = [pair for pair in scope["headers"] if pair[0] not in (b"content-length", b"content-type",
            b"content-encoding", b"transfer-encoding")]  # fmt: skip
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body() -> Message:
        return parts.pop() if parts else await receive()

    return {**scope, "headers": [*kept, *headers]}, receive_body


def page_key_of(headers: Headers) -> str | None:
    """The key with which a browser asks for the page: its password, or a bearer token."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return key_of(headers)
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2].decode() or None
    except (binascii.Error, UnicodeDecodeError):
        return None
