"""The pages of signing in, signing out and changing a password: plain forms, without scripts.

A form is taken when its hidden field fits the cookie that came with it, and its ``Origin`` is ours
(``PageSecurity`` looks): no other site's page can post one, signed in or not.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote

from jinja2 import Environment, FileSystemLoader
from starlette.datastructures import Headers, QueryParams
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pawl.errors import PawlError
from pawl.schemas import Account, Caller
from serve.api.accounts import wrong_password
from serve.api.bodies import read_body
from serve.api.errors import status_of
from serve.api.oidc import ATTEMPT_SECONDS
from serve.api.passwords import FEWEST_CHARACTERS
from serve.api.throttle import address_of
from serve.pages import ASSETS
from serve.pages.language import preferred
from serve.pages.navigation import CHAT, PAGES, PlacedPage, page_at
from serve.pages.texts import LANGUAGES, OwnError, language, say, speak, told

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from serve.api.accounts import SignIn
    from serve.api.audit import Audit
    from serve.api.oidc import Provider

SIGN_IN, SIGN_OUT, ACCOUNT = "/sign-in", "/sign-out", "/account"
PROVIDER, RETURN = "/sign-in/provider", "/sign-in/return"
METHODS = {SIGN_IN: "GET, POST", SIGN_OUT: "POST", ACCOUNT: "GET, POST", PROVIDER: "GET",
           RETURN: "GET"}  # fmt: skip
MOST_FORM_BYTES = 16_384
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
# A page, and which conversation or item.
_NEXT = re.compile(f"(?:{'|'.join(page.path for page in PAGES)})" r"/(?:\?[\w=&.%-]{0,300})?")
_log = logging.getLogger("pawl.auth")


class SignInPages:
    """Pure ASGI application of these pages.

    Args:
        provider: of OpenID Connect, where people sign in with one.
    """

    def __init__(self, sign_in: SignIn, audit: Audit, provider: Provider | None = None) -> None:
        self._sign_in, self._audit, self._provider = sign_in, audit, provider
        self._secret = secrets.token_bytes(32)  # of this process: a form outlives no restart
        self._templates = Environment(loader=FileSystemLoader(ASSETS), autoescape=True)
        self._templates.globals |= {"say": say, "language": language, "languages": LANGUAGES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        speak(preferred(scope))
        if method not in METHODS[path]:
            response: Response = Response(status_code=405, headers={"Allow": METHODS[path]})
        elif path == SIGN_OUT:
            response = await self._out(scope)
        elif path == SIGN_IN:
            response = await (self._in if method == "POST" else self._ask)(scope, receive)
        elif path == PROVIDER:
            response = await self._to_provider(scope)
        elif path == RETURN:
            response = await self._from_provider(scope)
        else:
            response = await self._account(scope, receive)
        await response(scope, receive, send)

    # -- signing in

    async def _ask(self, scope: Scope, receive: Receive) -> Response:
        query = QueryParams(scope["query_string"])
        where = _where(query.get("next", ""))
        if self._needs_nobody(where) or self._sign_in.name_of(token_of(scope)) is not None:
            return _go(scope, where)
        return self._form(scope, "sign_in.html", next=where, is_out="out" in query)

    def _needs_nobody(self, where: str) -> bool:
        """Whether everybody on this machine may open the page."""
        return self._sign_in.is_open and page_at(where)[0] is CHAT

    def forbidden(self, scope: Scope, caller: Caller, page: PlacedPage) -> Response:
        """The answer to somebody whose role does not open a page."""
        speak(preferred(scope))
        refusal = OwnError(
            say("sign_in.forbidden", name=repr(caller.name)),
            say("sign_in.forbidden_why", name=repr(caller.name),
                needed=say(f"roles.{page.role}"), role=say(f"roles.{caller.role}")),
            say("sign_in.forbidden_do"),
            code="forbidden",
        )  # fmt: skip
        return self._form(scope, "forbidden.html", refusal, page=page)

    async def _in(self, scope: Scope, receive: Receive) -> Response:
        fields: dict[str, str] = {}
        try:
            fields = await self._fields(scope, receive)
            token, name = await self._sign_in.sign_in(
                fields.get("name", ""), fields.get("password", ""), address_of(scope)
            )
        except PawlError as error:
            if error.code == "wrong_password":
                await self._audit.refused(scope, "unknown", error)
            return self._form(
                scope, "sign_in.html", error, next=_where(fields.get("next", "")),
                name=fields.get("name", "")[:64],
            )  # fmt: skip
        return await self._begin(scope, name, token, _where(fields.get("next", "")))

    async def _begin(self, scope: Scope, name: str, token: str, where: str) -> Response:
        """The answer to who has signed in."""
        before = token_of(scope)
        if before is not None:
            await self._sign_in.sessions.end(before)
        _log.info("%s signed in from %s", name, address_of(scope))
        await self._audit.note(scope, name, "sign in", "200")
        response = _go(scope, where)
        self._keep(scope, response, token)
        return response

    # -- with a provider

    async def _to_provider(self, scope: Scope) -> Response:
        where = _where(QueryParams(scope["query_string"]).get("next", ""))
        if self._provider is None:
            return _go(scope, SIGN_IN)
        root = f"{scope['scheme']}://{Headers(scope=scope).get('host', '')}{_root(scope)}"
        try:
            url, kept = await self._provider.begin(root + RETURN, where)
        except PawlError as error:
            return self._form(scope, "sign_in.html", error, next=where)
        response = RedirectResponse(url, 303, {"Cache-Control": "no-store"})
        _set_cookie(scope, response, _state_cookie(scope), kept, int(ATTEMPT_SECONDS))
        return response

    async def _from_provider(self, scope: Scope) -> Response:
        if self._provider is None:
            return _go(scope, SIGN_IN)
        query = QueryParams(scope["query_string"])
        try:
            account, where = await self._provider.end(
                dict(query), _cookies(scope).get(_state_cookie(scope), "")
            )
            token = await self._sign_in.sessions.begin(account)
            if token is None:
                raise wrong_password()
        except PawlError as error:
            await self._audit.refused(scope, "unknown", error)
            return self._form(scope, "sign_in.html", error, next="/")
        response = await self._begin(scope, account.name, token, where)
        response.delete_cookie(_state_cookie(scope), path=_path(scope))
        return response

    async def _out(self, scope: Scope) -> Response:
        token = token_of(scope)
        if token is not None:
            who = self._sign_in.name_of(token)
            await self._sign_in.sessions.end(token)
            if who is not None:
                _log.info("%s signed out", who)
                await self._audit.note(scope, who, "sign out", "200")
        response = _go(scope, "/" if self._sign_in.is_open else f"{SIGN_IN}?out=")
        response.delete_cookie(cookie_name(scope), path=_path(scope))
        response.headers["Clear-Site-Data"] = '"storage"'  # what was typed and not sent
        return response

    # -- the account

    async def _account(self, scope: Scope, receive: Receive) -> Response:
        token = token_of(scope)
        found = self._sign_in.sessions.find(token)
        who = self._sign_in.name_of(token)
        if who is None:
            return _go(scope, SIGN_IN)
        account = found if isinstance(found, Account) else None
        shown: dict[str, Any] = {"who": who, "account": account, "fewest": FEWEST_CHARACTERS}
        if scope["method"] != "POST":
            return self._form(scope, "account.html", **shown)
        try:
            fields = await self._fields(scope, receive)
            if account is None:
                raise OwnError(say("account.no_password"), do=say("account.no_password_do"))
            if fields.get("new") != fields.get("again"):
                raise OwnError(say("account.differ"), do=say("account.differ_do"),
                               code="weak_password")  # fmt: skip
            token = await self._sign_in.change_password(
                account, fields.get("current", ""), fields.get("new", ""), address_of(scope)
            )
        except PawlError as error:
            if error.code == "wrong_password":
                await self._audit.refused(scope, who, error)
            return self._form(scope, "account.html", error, **shown)
        await self._audit.note(scope, who, "change password", "200")
        response = self._form(
            scope, "account.html", is_changed=True,
            **{**shown, "account": self._sign_in.sessions.find(token)},
        )  # fmt: skip
        self._keep(scope, response, token)
        return response

    # -- forms and cookies

    def _form(
        self, scope: Scope, template: str, error: PawlError | None = None, **shown: Any
    ) -> HTMLResponse:
        """A page with a form, and the cookie that it fits."""
        kept = _cookies(scope).get(_form_cookie(scope), "")
        seed = kept if re.fullmatch("[0-9a-f]{32}", kept) else secrets.token_hex(16)
        page = self._templates.get_template(template).render(
            form=self._fits(seed), error=error and told(error), root=_root(scope),
            provider=self._provider, is_open=self._sign_in.is_open, **shown,
        )  # fmt: skip
        response = HTMLResponse(page, status_of(error) if error else 200, _HEADERS)
        if error is not None and error.retryable:
            response.headers["Retry-After"] = "10"
        if seed != kept:
            _set_cookie(scope, response, _form_cookie(scope), seed, None)
        return response

    async def _fields(self, scope: Scope, receive: Receive) -> dict[str, str]:
        """The fields of a form that we made. Raises PawlError: it is not one."""
        body = await read_body(Request(scope, receive), MOST_FORM_BYTES)
        try:
            found = parse_qs(body.decode("ascii"), True, encoding="utf-8", errors="strict",
                             max_num_fields=10)  # fmt: skip
        except ValueError:
            found = {}
        fields = {name: values[0] for name, values in found.items()}
        seed = _cookies(scope).get(_form_cookie(scope), "")
        if not seed or not hmac.compare_digest(
            fields.get("form", "").encode(), self._fits(seed).encode()
        ):
            raise OwnError(say("sign_in.stale"), "", say("sign_in.stale_do"), code="stale_form")
        return fields

    def _fits(self, seed: str) -> str:
        return hmac.new(self._secret, seed.encode(), hashlib.sha256).hexdigest()

    def _keep(self, scope: Scope, response: Response, token: str) -> None:
        seconds = int(self._sign_in.sessions.longest.total_seconds())
        _set_cookie(scope, response, cookie_name(scope), token, seconds)


def token_of(scope: Scope) -> str | None:
    """The token of a browser's session, from its cookie."""
    return _cookies(scope).get(cookie_name(scope))


def cookie_name(scope: Scope) -> str:
    """The session's cookie. Servers on one machine share their cookies whatever their port is, so
    the port is in the name."""
    port = Headers(scope=scope).get("host", "").rpartition(":")[2]
    return f"pawl_session_{port}" if port.isdecimal() else "pawl_session"


def sign_in_first(scope: Scope) -> Response:
    """To the sign-in page, and back here from there."""
    query = scope["query_string"].decode("latin-1")
    where = _where(scope["path"] + (f"?{query}" if query else ""))
    return _go(scope, SIGN_IN if where == "/" else f"{SIGN_IN}?next={quote(where, safe='')}")


def change_first(scope: Scope) -> Response:
    """To the page that sets a password."""
    return _go(scope, ACCOUNT)


def _form_cookie(scope: Scope) -> str:
    return cookie_name(scope).replace("session", "form")


def _state_cookie(scope: Scope) -> str:
    return cookie_name(scope).replace("session", "state")


def _cookies(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in Headers(scope=scope).getlist("cookie"):
        found |= cookie_parser(header)
    return found


def _set_cookie(scope: Scope, response: Response, name: str, value: str, age: int | None) -> None:
    response.set_cookie(
        name, value, max_age=age, path=_path(scope), httponly=True, samesite="lax",
        secure=scope["scheme"] == "https",
    )  # fmt: skip


def _path(scope: Scope) -> str:
    return _root(scope) or "/"


def _root(scope: Scope) -> str:
    return str(scope.get("root_path", ""))


def _where(path: str) -> str:
    """Where to go after signing in: never to another server."""
    return path if _NEXT.fullmatch(path) else "/"


def _go(scope: Scope, path: str) -> Response:
    return RedirectResponse(_root(scope) + path, 303, {"Cache-Control": "no-store"})
