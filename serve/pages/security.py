"""What stands before the pages: the key, the paths that exist, and what a page may load."""

from __future__ import annotations

import base64
import binascii
import re

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pawl.errors import PawlError
from serve.api.auth import foreign_host, foreign_origin, key_of
from serve.api.errors import error_response, no_such_route, status_of
from serve.api.keys import Authenticator
from serve.api.throttle import address_of

# All that the chat page needs of Gradio. Its uploads, file and proxy routes, monitoring, API
# description and run history are not on the list, so they answer 404 whatever its settings are.
_OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico"
    r"|/(?:assets|static|svelte)/[\w./@-]+"
    r"|/gradio_api/(?:theme\.css|queue/join/?|queue/data|heartbeat/\w+|cancel|reset/?"
    r"|startup-events|app_id/?)"  # the last is asked for until a lost connection is back
)
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
        only_own_names: while no key is asked for, refuse a ``Host`` that is not this machine's name
            for itself, as ``serve.api.auth.Auth`` does.
    """

    def __init__(self, app: ASGIApp, authenticator: Authenticator, only_own_names: bool) -> None:
        self._app = app
        self._authenticator = authenticator
        self._only_own_names = only_own_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # the pages speak plain HTTP only

        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer: ASGIApp = await self._refusal(scope) or self._app
        await answer(scope, receive, send_with_policy)

    async def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not _OPEN.fullmatch(scope["path"]) or ".." in scope["path"]:
            return error_response(no_such_route(scope))
        stranger = foreign_origin(headers) if scope["method"] == "POST" else None
        if self._authenticator.is_open and self._only_own_names:
            stranger = stranger or foreign_host(headers)
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


def page_key_of(headers: Headers) -> str | None:
    """The key with which a browser asks for the page: its password, or a bearer token."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() != "basic":
        return key_of(headers)
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2].decode() or None
    except (binascii.Error, UnicodeDecodeError):
        return None
