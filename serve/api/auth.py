"""Authentication of each request: does it bring the key, does it come from this machine."""

from __future__ import annotations

import hmac
import ipaddress
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from pawl.errors import PawlError
from serve.api.errors import respond_error

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_log = logging.getLogger("pawl.auth")
GUARDED = ("/v1", "/admin", "/metrics")
IN_PROCESS = "pawl.invalid"  # the host of calls from inside this process; no DNS has it


class Auth:
    """Pure ASGI middleware before API, admin routes and metrics.

    With a key it asks for it as a bearer token. Without one everybody on this machine may ask, but
    not the web pages that are open in their browsers: those can send requests to loopback too,
    under their own ``Origin``, or under a name of theirs that was made to point here (``Host``).

    Args:
        api_key: None: no key is asked for.
        only_own_names: refuse a ``Host`` that is not this machine's name for itself.
    """

    def __init__(self, app: ASGIApp, api_key: str | None, only_own_names: bool) -> None:
        self._app = app
        self._expected = f"Bearer {api_key}".encode() if api_key else None
        self._only_own_names = only_own_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(GUARDED):
            error = self._refusal(Headers(scope=scope))
            if error is not None:
                _log.info("refused %s %s: %s", scope["method"], scope["path"], error.code)
                await respond_error(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> PawlError | None:
        if self._expected is not None:
            if hmac.compare_digest(headers.get("authorization", "").encode(), self._expected):
                return None
            return PawlError(
                "the API key is missing or wrong",
                "this server was started with one",
                "Send 'Authorization: Bearer ...' with that key",
                code="invalid_api_key",
            )
        host = foreign_host(headers) if self._only_own_names else None
        return foreign_origin(headers) or host


def is_loopback(host: str) -> bool:
    """Whether an address that a server listens on can be reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def foreign_origin(headers: Headers) -> PawlError | None:
    """The refusal of a request that a page of another server sends."""
    origin = headers.get("origin")
    if origin is None or origin.partition("://")[2] == headers.get("host"):
        return None
    return PawlError(
        f"a page of {origin[:100]} may not ask this server",
        "only its own page and programs may",
        "Use its own page, or start it with an api_key and ask from a program",
        code="foreign_origin",
    )


def foreign_host(headers: Headers) -> PawlError | None:
    """The refusal of a ``Host`` header that is not this machine's name for itself: a page of
    ``evil.com`` can make that name point here, and then its requests carry it."""
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if name == IN_PROCESS or is_loopback(name):
        return None
    return PawlError(
        f"this server is not called {host[:100]!r}",
        "without a key it answers to localhost and 127.0.0.1 alone",
        "Use that address, or start the server with an api_key",
        code="foreign_host",
    )
