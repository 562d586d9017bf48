"""Authentication of each request: who sends it, from which page, and under which name of ours."""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import RedirectResponse

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
OPEN_ROUTES = ("/health", "/openapi.json")
EXPOSED = ("X-Request-Id", "Request-Id", "X-Pawl-Completion-Id", "X-Pawl-Version", "X-Pawl-Base",
           "X-Pawl-Ignored", "Retry-After")  # fmt: skip
IN_PROCESS = "pawl.invalid"  # the host of calls from inside this process; no DNS has it


class Auth:
    """Pure ASGI middleware before API, admin routes and metrics: puts the ``Caller`` into the
    request's scope. What a caller may do is checked at each route (``serve.api.roles``).

    While no key is asked for, everybody on this machine may ask, but not the web pages that are
    open in their browsers: those can send requests to loopback too, under their own ``Origin``, or
    under a name of theirs that was made to point here (``Host``).
    """

    def __init__(
        self, app: ASGIApp, authenticator: Authenticator, audit: Audit, fronts: Fronts
    ) -> None:
        self._app = app
        self._authenticator = authenticator
        self._audit = audit
        self._fronts = fronts

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
        headers, is_open = Headers(scope=scope), self._authenticator.is_open
        stranger = foreign_origin(headers, self._fronts.origins) if is_open else None
        if (stranger := stranger or self._fronts.foreign_host(headers, is_open)) is not None:
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


def addresses_of(host: str) -> set[str]:
    """What a host's name or address stands for, as they are written in a request."""
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:  # it can't be listened on either
        return set()


def foreign_origin(headers: Headers, allowed: Collection[str] = ()) -> PawlError | None:
    """The refusal of a request that a page of another server sends, but for the origins named."""
    origin = headers.get("origin")
    if origin is None or origin in allowed or origin.partition("://")[2] == headers.get("host"):
        return None
    return PawlError(
        f"a page of {origin[:100]} may not ask this server",
        "only its own page and programs may",
        "Use its own page, name that origin in api.allowed_origins, or start the server with an "
        "api_key and ask from a program",
        code="foreign_origin",
    )


@dataclass(frozen=True, slots=True)
class Fronts:
    """Under which names the server may be asked for, and which servers' pages may ask.

    ``is_local``: only this machine reaches it. While no key is asked for it then answers to this
    machine's names for itself alone: a page of ``evil.com`` can make that name point here, and its
    requests carry it as ``Host``. ``hosts``: further names; where there are some, no other will
    do, with a key neither. ``own``: the addresses that it listens on, where commands on this
    machine ask. ``origins``: exact ones (``https://app.example``), or ``*``, which
    stands for any where a key is asked for.
    """

    is_local: bool
    hosts: Collection[str] = ()
    origins: Collection[str] = ()
    own: Collection[str] = ()

    def foreign_host(self, headers: Headers, is_open: bool) -> PawlError | None:
        """The refusal of a ``Host`` header that may not be asked for."""
        if not self.hosts and not (is_open and self.is_local):
            return None
        host = headers.get("host", "")
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            name = ""
        if name == IN_PROCESS or is_loopback(name) or name in (*self.hosts, *self.own):
            return None
        names = ["localhost", "127.0.0.1", *self.hosts]
        return PawlError(
            f"this server is not called {host[:100]!r}",
            f"it answers to {', '.join(names)}",
            "Use one of these, or name yours in api.allowed_hosts",
            code="foreign_host",
        )


class CrossOrigin:
    """Pure ASGI middleware: lets pages of ``origins`` read what the API answers, and answers their
    preflights. Never with credentials: no cookie or password that a browser sends by itself opens
    the API, a page sends its key. The chat page and its routes are not for other origins."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app = app
        self._cors = CORSMiddleware(
            app, allow_origins=origins, allow_methods=("GET", "HEAD", "POST"), allow_headers=("*",),
            allow_private_network="*" not in origins, expose_headers=EXPOSED,
        )  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_api = scope["type"] == "http" and scope["path"].startswith((*GUARDED, *OPEN_ROUTES))
        await (self._cors if is_api else self._app)(scope, receive, send)


class UnderPath:
    """Pure ASGI middleware before everything: a request below ``root_path`` is one to the rest of
    its path, whether the proxy in front took ``root_path`` away or not. FastAPI writes it into the
    scope, from where redirects, cookies and Gradio's addresses have it."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app, self._root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        root, path = self._root_path, scope.get("path", "")
        if scope["type"] == "http" and path == root:  # the page's addresses are relative to it
            await RedirectResponse(f"{root}/", 308)(scope, receive, send)
            return
        if path.startswith(f"{root}/"):
            scope = {**scope, "path": path[len(root) :]}
        await self._app(scope, receive, send)
