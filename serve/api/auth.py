"""Authentication of each request: who sends it, does it come from this machine."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from pawl.errors import PawlError
from pawl.schemas import Caller
from serve.api.errors import respond_error
from serve.api.keys import Authenticator, wrong_key
from serve.api.throttle import address_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from serve.api.audit import Audit

_log = logging.getLogger("pawl.auth")
CALLER = "pawl.caller"  # where a request's scope holds who sends it
GUARDED = ("/v1", "/admin", "/metrics")
IN_PROCESS = "pawl.invalid"  # the host of calls from inside this process; no DNS has it


class Auth:
    """Pure ASGI middleware before API, admin routes and metrics: puts the ``Caller`` into the
    request's scope. What a caller may do is checked at each route (``serve.api.roles``).

    While no key is asked for, everybody on this machine may ask, but not the web pages that are
    open in their browsers: those can send requests to loopback too, under their own ``Origin``, or
    under a name of theirs that was made to point here (``Host``).

    Args:
        only_own_names: refuse a ``Host`` that is not this machine's name for itself.
    """

    def __init__(
        self, app: ASGIApp, authenticator: Authenticator, audit: Audit, only_own_names: bool
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._audit = audit
        self._only_own_names = only_own_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(GUARDED):
            try:
                scope[CALLER] = await self._caller(scope)
            except PawlError as error:
                if scope["path"].startswith("/admin"):
                    await self._audit.refused(scope, "unknown", error)
                if error.code.startswith("foreign"):  # wrong keys: serve.api.throttle
                    _log.info("refused %s %s: %s", scope["method"], scope["path"], error.code)
                await respond_error(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        if self._authenticator.is_open:
            host = foreign_host(headers) if self._only_own_names else None
            if (stranger := foreign_origin(headers) or host) is not None:
                raise stranger
        return await self._authenticator.caller(key_of(headers), address_of(scope))


def caller_of(scope: Scope) -> Caller:
    """Who sends a request. Raises PawlError: nobody looked (a path outside ``GUARDED``)."""
    caller = scope.get(CALLER)
    if not isinstance(caller, Caller):
        raise wrong_key()
    return caller


def key_of(headers: Headers) -> str | None:
    """The key that a request brings: a bearer token, or ``X-Api-Key`` as Anthropic's clients send
    it. Never what a browser sends by itself (cookies, a password): any web page can make it."""
    kind, _, token = headers.get("authorization", "").partition(" ")
    bearer = token.strip() if kind.lower() == "bearer" else ""
    return bearer or headers.get("x-api-key") or None


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
