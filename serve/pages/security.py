"""What stands before the pages: who is signed in, the paths that exist, what a page may load."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pawl.errors import PawlError
from pawl.schemas import Caller
from serve.api.auth import CALLER, Fronts, foreign_origin
from serve.api.bodies import read_body, replayed
from serve.api.errors import error_response, no_such_route, status_of
from serve.api.keys import ANONYMOUS, Authenticator, wrong_key
from serve.pages.events import EventShape, checked_call, checked_event
from serve.pages.language import chosen, preferred
from serve.pages.navigation import LINKS, PlacedPage, links_for, page_at
from serve.pages.sign_in import METHODS, SignInPages, change_first, sign_in_first, token_of
from serve.pages.texts import speak

# All that a page needs of Gradio. Its uploads, file and proxy routes, monitoring, API
# description and run history are not on the list, so they answer 404 whatever its settings are.
_OPEN = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico"
    r"|/(?:assets|static|svelte)/[\w./@-]+"
    r"|/gradio_api/(?:theme\.css|queue/join/?|queue/data|heartbeat/\w+|cancel|reset/?"
    r"|startup-events|app_id/?)"  # the last is asked for until a lost connection is back
)
_PUBLIC = "/manifest.json", "/icon.svg"  # what names and draws the page as an application
_log = logging.getLogger("pawl.pages")
_JOIN, _STREAM = "/gradio_api/queue/join", "/gradio_api/queue/data"
_HEARTBEAT = "/gradio_api/heartbeat/"
SESSION = "pawl.page_session"  # in the scope of an event: the session_hash of its page
MOST_PAGES = 4096  # open ones whose person is remembered
MOST_EVENTS = 16_384  # that they sent
# Gradio starts from inline scripts and styles; nothing may come from, or go to, another host.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    # With "no-referrer" a browser would send a form under the origin "null".
    "Referrer-Policy": "same-origin",
}


class PageSecurity:
    """Pure ASGI middleware before the pages.

    Where the server is not open to everybody, a page is opened by the cookie of a session alone
    (``serve.pages.sign_in``). Its calls to the API carry the session's token, so whoever is signed
    in can do with it what the account allows. An open page is the person's who opened it, and so
    are the events that it sent: nobody else reads or cancels them. A page that takes a role
    (``serve.pages.navigation``) is opened by a session of that role also where the server is open
    to everybody, who may chat then and no more.

    Args:
        shapes: the events of the page at a path; none until it is built, when it takes none.
        n_event_bytes: of the largest one.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        fronts: Fronts,
        shapes: Callable[[str], Mapping[int, EventShape]],
        n_event_bytes: int,
        sign_in: SignInPages,
    ) -> None:
        self._app = app
        self._sign_in = sign_in
        self._pages = Owners("this page was opened", MOST_PAGES)  # by session_hash
        self._events = Owners("this event was sent", MOST_EVENTS)  # by event_id
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
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        page, inside = page_at(scope["path"])
        speak(preferred(scope))
        answer: ASGIApp = (self._chosen(scope, inside) or self._refusal(scope, page, inside)) or (
            self._sign_in if scope["path"] in METHODS else self._app
        )
        if answer is self._app and scope["path"] == LINKS:
            answer = links_for(scope[CALLER], self._authenticator.is_open)
        if answer is self._app and scope["path"] not in _PUBLIC:
            try:
                scope, receive = await self._checked(scope, receive, page, inside)
                if inside.startswith(_JOIN):
                    answer = self._noting_event
            except PawlError as err:
                answer = error_response(err)
        await _without_traceback(answer, scope, receive, send_with_policy)

    async def _checked(
        self, scope: Scope, receive: Receive, page: PlacedPage, path: str
    ) -> tuple[Scope, Receive]:
        """A request to Gradio as it is passed on. Raises PawlError: it is no event of the page, or
        of somebody else's.

        Args:
            path: inside of the page.
        """
        session_hash = QueryParams(scope["query_string"]).get("session_hash", "")
        if path.startswith(_HEARTBEAT):
            session_hash = path.removeprefix(_HEARTBEAT)
        by_hand = path == "/"
        # Before the page is built there are no events, and it says so itself.
        if scope["method"] == "POST" and (shapes := self._shapes(page.path)):
            body = await read_body(Request(scope, receive), self._n_event_bytes)
            if path.startswith(_JOIN):
                event = checked_event(body, shapes)
                by_hand = not shapes[event["fn_index"]].is_timed
            else:
                event = checked_call(path, body)
                if "event_id" in event:
                    self._events.claim(event["event_id"], scope[CALLER].name)
            session_hash = event.get("session_hash", session_hash)
            body = json.dumps(event).encode()
            scope, receive = _with_body(scope, body, receive)
            if path.startswith(_JOIN):
                scope[SESSION] = session_hash
        if session_hash:
            self._pages.claim(session_hash, scope[CALLER].name)
        if by_hand and (token := token_of(scope)) is not None:
            await self._authenticator.sessions.use(token)
        return scope, receive

    async def _noting_event(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an event on, and note whose it is by the id that it gets."""
        answered = b""

        async def send_noted(message: Message) -> None:
            nonlocal answered
            answered += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body"):
                with contextlib.suppress(ValueError, KeyError, TypeError):  # refused
                    self._events.claim(str(json.loads(answered)["event_id"]), scope[CALLER].name)
            await send(message)

        await self._app(scope, receive, send_noted)

    def _chosen(self, scope: Scope, inside: str) -> Response | None:
        """The answer to who chose a language on a page."""
        return chosen(scope) if inside == "/" or scope["path"] in METHODS else None

    def _refusal(self, scope: Scope, page: PlacedPage, inside: str) -> Response | None:
        """The answer to who may not pass. Puts the caller of a page into the scope."""
        headers, path = Headers(scope=scope), scope["path"]
        if not inside:  # addresses in a page are relative to it
            return RedirectResponse(f"{scope.get('root_path', '')}{path}/", 307)
        known = path in (*METHODS, *_PUBLIC, LINKS) or _OPEN.fullmatch(inside)
        if not known or ".." in path:
            return error_response(no_such_route(scope))
        stranger = foreign_origin(headers) if scope["method"] == "POST" else None
        stranger = stranger or self._fronts.foreign_host(headers, self._authenticator.is_open)
        if stranger is not None:
            return PlainTextResponse(f"{stranger}\n", status_of(stranger))
        if path in _PUBLIC:
            return None if scope["method"] in ("GET", "HEAD") else _only_read(scope)
        if path in METHODS:
            return None
        try:
            caller = self._caller(scope, page)
        except PawlError:  # the password must be changed first
            return change_first(scope) if inside == "/" else error_response(wrong_key())
        if caller is None:
            return sign_in_first(scope) if inside == "/" else error_response(wrong_key())
        if not caller.role.includes(page.role):
            if inside == "/":
                return self._sign_in.forbidden(scope, caller, page)
            return error_response(PawlError("this page is not for you", code="forbidden"))
        scope[CALLER] = caller
        return None

    def _caller(self, scope: Scope, page: PlacedPage) -> Caller | None:
        """None: who asks must sign in. Raises PawlError: the password must be changed first."""
        if self._authenticator.is_open and ANONYMOUS.role.includes(page.role):
            return ANONYMOUS
        return self._authenticator.caller_of_session(token_of(scope))


class Owners:
    """Who something belongs to: the first who named it.

    Args:
        what: was done by whom else, in a refusal.
        most: that are remembered, those named last.
    """

    def __init__(self, what: str, most: int) -> None:
        self._what, self._most = what, most
        self._owners: OrderedDict[str, str] = OrderedDict()

    def claim(self, key: str, name: str) -> None:
        """Raises PawlError: it is somebody else's."""
        if self._owners.setdefault(key, name) != name:
            raise PawlError(f"{self._what} by somebody else", "", "Reload the page",
                            code="forbidden")  # fmt: skip
        self._owners.move_to_end(key)
        if len(self._owners) > self._most:
            self._owners.popitem(last=False)


def _only_read(scope: Scope) -> Response:
    """The answer to another method than GET where nothing else is taken."""
    refusal = PawlError(
        f"{scope['method']} {scope['path']}: Method Not Allowed",
        "this address takes GET, HEAD",
        "Send a GET",
        code="method_not_allowed",
    )
    response = error_response(refusal)
    response.headers["Allow"] = "GET, HEAD"
    return response


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
    return {**scope, "headers": [*kept, *headers]}, replayed(body, receive)
