"""Signing in and out over HTTP: forms, cookies, who sees what; Gradio is never built.

Over 400 lines because one application, made once, stands before all of it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from pawl.errors import PawlError
from pawl.schemas import Account, AuditEntry, KeyRequest, Role, utc_now, written
from pawl.settings import Settings
from serve.api.accounts import SignIn
from serve.api.app import PawlApp, build_app
from serve.api.bodies import MAX_UNDER_WAY_BYTES_OF_CALLER
from serve.api.keys import new_key
from serve.api.passwords import Passwords
from serve.pages.events import EventShape
from serve.pages.security import PageSecurity
from serve.pages.sign_in import SignInPages
from serve.up import let_in
from tests.adapters_for_tests import light_base
from tests.mounts import mounted

JOIN = "/gradio_api/queue/join"
GOOD, OTHER = "four words in a row", "five other words in a row"
ENTRY = AuditEntry("a", "2026-01-01T00:00:00.000000Z", "ann", "", "x", "{}", "200", "")
CHAT = "/?chat=chat-" + "0" * 32


@contextmanager
def built(folder: Path, **settings: Any) -> Iterator[PawlApp]:
    base = light_base(folder / "base")
    made = Settings(state_dir=folder / "state", **settings)
    app = build_app(made, None, base=base, pages=True)
    yield app
    app.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[PawlApp]:
    with built(tmp_path) as app:
        yield app


@pytest.fixture(scope="module")
def app_with_accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PawlApp]:
    with built(tmp_path_factory.mktemp("accounts")) as app:
        yield app


@pytest.fixture
def app(app_with_accounts: PawlApp) -> PawlApp:
    """An application that has the account ``ann`` alone."""
    accounts = app_with_accounts.store.access.accounts
    for account in accounts.all_accounts():
        if account.removed_at is None:
            accounts.remove(account.name)
    add(app_with_accounts, "ann")
    return app_with_accounts


def add(app: PawlApp, name: str, must_change: bool = False) -> None:
    """An account whose hash is cheap to check."""
    hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
    account = Account(name, Role.USER, hashed, must_change, None, now, now)
    app.store.access.accounts.add(account)


class Browser:
    """Keeps cookies, fills in forms, and names its page's origin when it posts."""

    def __init__(self, app: Any, url: str = "http://localhost:8000", root: str = "") -> None:
        self._app, self._url, self._root = app, url, root
        self.cookies = httpx.Cookies()

    def ask(self, method: str, path: str, **content: Any) -> httpx.Response:
        path = self._root + path.removeprefix(self._root)

        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(self._app)
            async with httpx.AsyncClient(
                transport=transport, base_url=self._url, cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **content)
                self.cookies = client.cookies
                return answer

        return asyncio.run(once())

    def get(self, path: str) -> httpx.Response:
        return self.ask("GET", path)

    def post(self, path: str, at: str | None = None, **fields: str) -> httpx.Response:
        """Fill in the form of the page ``at`` and send it."""
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"',
                                 self.get(at or path).text))  # fmt: skip
        return self.ask("POST", path, data={**hidden, **fields}, headers={"Origin": self._url})

    def sign_in(self, name: str = "ann", password: str = GOOD, at: str = "") -> httpx.Response:
        return self.post("/sign-in", at or "/sign-in", name=name, password=password)


def test_signing_in_opens_the_page_and_signing_out_ends_it(app: PawlApp) -> None:
    browser = Browser(app)
    asked = browser.get(CHAT)
    assert asked.status_code == 303
    signed_in = browser.sign_in(at=asked.headers["Location"])
    assert (signed_in.status_code, signed_in.headers["Location"]) == (303, CHAT)
    cookie = next(line for line in signed_in.headers.get_list("Set-Cookie") if "session" in line)
    assert cookie.startswith("pawl_session_8000=pawls_")
    assert {"httponly", "samesite=lax", "path=/"} <= set(cookie.lower().split("; "))
    assert "secure" not in cookie.lower()
    assert browser.get("/").status_code == 200
    assert browser.ask("POST", JOIN).status_code == 503  # Gradio is never built
    (token,) = [value for name, value in browser.cookies.items() if "session" in name]
    bearer = {"Authorization": f"Bearer {token}"}
    assert browser.ask("GET", "/v1/models", headers=bearer).status_code == 200
    out = browser.ask("POST", "/sign-out", headers={"Origin": "http://localhost:8000"})
    assert out.headers["Location"] == "/sign-in?out="
    assert out.headers["Clear-Site-Data"] == '"storage"'
    assert not any("session" in name for name in browser.cookies)
    assert "signed out" in browser.get("/sign-in?out=").text
    assert Browser(app).ask("GET", "/", headers={"Cookie": f"pawl_session_8000={token}"}
                            ).status_code == 303  # fmt: skip
    assert browser.ask("GET", "/v1/models", headers=bearer).status_code == 401
    actions = [(one.caller, one.action) for one in app.store.access.audit(2)]
    assert actions == [("ann", "sign in"), ("ann", "sign out")]


def test_over_https_and_without_a_port_the_cookie_is_secure(app: PawlApp) -> None:
    cookies = Browser(app, "https://chat.example").sign_in().headers.get_list("Set-Cookie")
    assert any(one.startswith("pawl_session=") and "secure" in one.lower() for one in cookies)


def test_what_is_wrong_is_said_in_words_and_nothing_typed_comes_back_but_the_name(
    app: PawlApp,
) -> None:
    browser = Browser(app)
    wrong = browser.sign_in('ann"><script>', "a wrong password")
    assert wrong.status_code == 401
    assert re.search(r'role="alert" id="error">The name or the password is wrong', wrong.text)
    assert "<script" not in wrong.text
    assert "a wrong password" not in wrong.text
    assert 'aria-describedby="error"' in wrong.text
    assert wrong.headers["Cache-Control"] == "no-store"
    assert "script-src" not in wrong.headers["Content-Security-Policy"]
    assert wrong.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert browser.sign_in("ANN ").status_code == 303


def test_nobody_is_led_elsewhere(app: PawlApp) -> None:
    for where in ("//evil.example", "https://evil.example", "/\\evil.example", "/?chat=a\nb",
                  "/admin/keys", "javascript:alert(1)"):  # fmt: skip
        browser = Browser(app)
        answer = browser.post("/sign-in", name="ann", password=GOOD, next=where)
        assert (answer.status_code, answer.headers["Location"]) == (303, "/"), where
        again = browser.ask("GET", "/sign-in", params={"next": where})
        assert (again.status_code, again.headers["Location"]) == (303, "/"), where


def test_a_form_that_did_not_come_from_here_is_not_taken(app: PawlApp) -> None:
    right = {"name": "ann", "password": GOOD}
    browser, other = Browser(app), Browser(app)
    other.get("/sign-in")
    form = re.findall(r'name="form" value="(\w+)"', other.get("/sign-in").text)[0]
    for body in (right, {**right, "form": "0" * 64}, {**right, "form": form}, {"form": "\u00e9"}):
        browser.get("/sign-in")
        answer = browser.ask("POST", "/sign-in", data=body)
        assert answer.status_code == 403
        assert "too old" in answer.text
    assert browser.ask("POST", "/sign-in", content=b"x" * 20_000).status_code == 413
    assert browser.ask("POST", "/sign-in", content=b"\xff&=&&%ff").status_code == 403
    assert browser.ask("PUT", "/sign-in").status_code == 405
    assert browser.get("/sign-out").status_code == 405
    assert app.store.access.accounts.sessions("ann") == []


def test_a_one_time_password_opens_nothing_but_the_form_that_sets_another(app: PawlApp) -> None:
    app.store.access.accounts.remove("ann")
    add(app, "ann", must_change=True)
    browser, other = Browser(app), Browser(app)
    other.sign_in()
    browser.sign_in()
    assert browser.get("/").headers["Location"] == "/account"
    assert browser.ask("POST", JOIN).status_code == 401
    form = {"current": GOOD, "new": OTHER, "again": OTHER}
    assert browser.post("/account", **{**form, "again": GOOD}).status_code == 400
    assert "differ" in browser.post("/account", **{**form, "again": GOOD}).text
    assert browser.post("/account", **{**form, "new": "short", "again": "short"}).status_code == 400
    changed = browser.post("/account", **form)
    assert "is changed" in changed.text
    assert browser.get("/").status_code == 200
    assert other.get("/").headers["Location"] == "/sign-in"
    assert other.sign_in(password=GOOD).status_code == 401
    assert other.sign_in(password=OTHER).status_code == 303


def test_a_key_signs_in_until_it_is_revoked(app: PawlApp) -> None:
    _, secret = new_key(app.store.access, KeyRequest(name="bot", role=Role.REVIEWER))
    browser = Browser(app)
    assert browser.sign_in("", secret).status_code == 303
    assert browser.get("/").status_code == 200
    assert "no password" in browser.get("/account").text
    app.store.access.revoke_key("bot")
    assert browser.get("/").headers["Location"] == "/sign-in"
    assert browser.sign_in("", secret).status_code == 401


def test_a_gateways_key_opens_no_page(app: PawlApp) -> None:
    _, secret = new_key(app.store.access, KeyRequest(name="gw", role=Role.GATEWAY))
    browser = Browser(app)
    refused = browser.sign_in("", secret)
    assert refused.status_code == 403
    assert "gateway" in refused.text
    assert browser.get("/").headers["Location"] == "/sign-in"


def test_an_open_page_belongs_to_who_opened_it(app: PawlApp) -> None:
    ann, bob = Browser(app), Browser(app)
    add(app, "bob")
    ann.sign_in("ann")
    bob.sign_in("bob")
    for path in ("/gradio_api/heartbeat/abc123", "/gradio_api/queue/data?session_hash=abc123"):
        assert ann.get(path).status_code == 503  # Gradio is never built
        assert bob.get(path).status_code == 403


def pages_of(app: PawlApp, gradio: ASGIApp, folder: Path, n_event_bytes: int = 1000) -> ASGIApp:
    """The pages' security before something else than Gradio, with one event."""
    forms = SignInPages(SignIn(app.store.access, app.authenticator, folder), app.audit, None)
    shapes = {0: EventShape(("textbox",), has_index=False)}
    return PageSecurity(
        gradio, app.authenticator, app.fronts, lambda page: shapes, n_event_bytes, forms
    )


@pytest.mark.parametrize("path", ["/manifest.json", "/icon.svg"])
def test_what_draws_the_application_is_read_by_anybody_and_no_more(
    app: PawlApp, tmp_path: Path, path: str
) -> None:
    passed: list[str] = []

    async def gradio(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["method"])
        await JSONResponse({})(scope, receive, send)

    nobody = Browser(pages_of(app, gradio, tmp_path))

    async def endless() -> AsyncIterator[bytes]:
        yield b"{}"
        raise AssertionError("the body is read")

    for method in ("POST", "PUT", "DELETE"):
        refused = nobody.ask(method, path, content=endless())
        assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
        assert refused.json()["error"]["code"] == "method_not_allowed"
    assert passed == []
    assert nobody.get(f"{path}?session_hash=x").status_code == 200
    assert nobody.ask("HEAD", path).status_code == 200
    assert passed == ["GET", "HEAD"]


def test_unfinished_events_of_one_sender_are_bounded(fresh: PawlApp, tmp_path: Path) -> None:
    size = 4_000_000
    most = MAX_UNDER_WAY_BYTES_OF_CALLER // size

    async def gradio(scope: Scope, receive: Receive, send: Send) -> None:
        raise AssertionError("an event came to its end")

    async def post_slowly() -> list[int]:
        pages, statuses = pages_of(fresh, gradio, tmp_path, size), []

        def begin() -> asyncio.Task[None]:
            parts = iter([b" " * size])

            async def receive() -> Any:
                if (part := next(parts, None)) is None:
                    await asyncio.Event().wait()  # its last byte never comes
                return {"type": "http.request", "body": part, "more_body": True}

            async def send(message: Any) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])

            scope = {"type": "http", "method": "POST", "path": JOIN, "query_string": b"",
                     "scheme": "http", "headers": [(b"host", b"localhost:8000")],
                     "client": ("192.0.2.1", 1)}  # fmt: skip
            return asyncio.create_task(pages(scope, receive, send))

        held = [begin() for _ in range(most + 5)]
        await asyncio.wait(held, timeout=0.5)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        return statuses

    assert asyncio.run(post_slowly()) == [429] * 5


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def fill_last_page(app: PawlApp) -> None:
    while True:
        app.store.access.record(ENTRY).result()


def test_a_full_disk_closes_no_page_to_who_is_signed_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        mounted(tmp_path / "state", "size=16m", "a page on a full disk") as disk,
        built(tmp_path) as app,
    ):
        add(app, "ann")
        browser, accounts = Browser(app), app.store.access.accounts
        browser.sign_in()
        [session] = accounts.sessions("ann")
        ann = accounts.account("ann")
        assert ann is not None
        earlier = written(datetime.now(UTC) - timedelta(minutes=10))
        assert accounts.begin_session(replace(session, used_at=earlier), ann)
        with pytest.raises(OSError, match="No space left"):
            fill(disk / "filler")
        with pytest.raises(PawlError, match="the disk is full"):
            fill_last_page(app)
        assert browser.get("/").status_code == 200
        (disk / "filler").unlink()
    assert "when ann's session was used is not noted" in caplog.text


def test_nobody_else_cancels_an_event(app: PawlApp, tmp_path: Path) -> None:
    add(app, "bob")
    passed: list[dict[str, Any]] = []

    async def gradio(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(await Request(scope, receive).json())
        answer = {"event_id": "e1"} if scope["path"] == JOIN else {"success": True}
        await JSONResponse(answer)(scope, receive, send)

    pages = pages_of(app, gradio, tmp_path)
    ann, bob = Browser(pages), Browser(pages)
    ann.sign_in("ann")
    bob.sign_in("bob")

    def post(browser: Browser, call: str, **body: Any) -> int:
        return browser.ask("POST", f"/gradio_api/{call}", json=body).status_code

    event = {"fn_index": 0, "session_hash": "anns", "data": ["hello"]}
    assert post(ann, "queue/join", **event) == 200
    cancel = {"fn_index": 0, "session_hash": "anns", "event_id": "e1"}
    del passed[:]
    for crafted in (cancel, {**cancel, "session_hash": "bobs"}, {**cancel, "event_id": "e2"}):
        assert post(bob, "cancel", **crafted) == 403
    assert post(bob, "reset", event_id="e1") == post(bob, "reset/", event_id="e1") == 403
    assert post(bob, "cancel", event_id="e1") == post(bob, "reset") == 400
    assert passed == []
    assert post(ann, "cancel", **cancel, more=1) == post(ann, "reset", event_id="e1") == 200
    assert passed == [cancel, {"event_id": "e1"}]


def test_while_nobody_needs_to_sign_in_there_is_nothing_to_sign_in_to(fresh: PawlApp) -> None:
    browser = Browser(fresh)
    assert browser.get("/").status_code == 200
    assert browser.get("/sign-in").headers["Location"] == "/"
    assert browser.get("/account").headers["Location"] == "/sign-in"


def test_a_role_or_a_removal_counts_at_once(app: PawlApp) -> None:
    browser = Browser(app)
    browser.sign_in()
    assert browser.get("/").status_code == 200
    app.store.access.accounts.remove("ann")
    assert browser.get("/").status_code == 303
    assert browser.sign_in().status_code == 401


def test_a_start_that_others_can_reach_makes_an_administrator(
    fresh: PawlApp, tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path / "state", host="0.0.0.0")
    told: list[str] = []
    let_in(settings, fresh.store, told.append)
    path = settings.state_dir / "admin.password"
    password = path.read_text().strip()
    assert len(told) == 1, "a terminal alone is told the password"
    assert str(path) in told[0]
    browser = Browser(fresh)
    browser.sign_in("admin", password)
    assert browser.get("/").headers["Location"] == "/account"
    form = {"current": password, "new": OTHER, "again": OTHER}
    assert "is changed" in browser.post("/account", **form).text
    assert not path.exists()
    let_in(settings, fresh.store, told.append)
    assert len(told) == 1


def test_signing_in_speaks_the_browser_s_language_or_the_one_that_was_chosen(
    app: PawlApp,
) -> None:
    browser = Browser(app)
    german = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}
    for path in ("/sign-in", "/sign-in?next=%2F"):
        assert "Sign in" in browser.get(path).text
        page = browser.ask("GET", path, headers=german).text
        assert '<html lang="de">' in page
        assert ">Passwort<" in page
        assert "Sign in" not in page
    chosen = browser.get("/sign-in?next=%2Freview%2F%3Fchat%3D1&lang=de")
    assert chosen.headers["Location"] == "/sign-in?next=%2Freview%2F%3Fchat%3D1"
    assert browser.cookies["pawl_language"] == "de"
    assert "Name oder Passwort stimmen nicht." in browser.sign_in(password=OTHER).text
    browser.sign_in()
    assert "Die Seite wird vorbereitet." in browser.get("/").text
    refused = browser.get("/runs/")
    assert refused.status_code == 403
    assert "&#39;ann&#39; darf diese Seite nicht öffnen" in refused.text
    assert "hat die Rolle Benutzung" in refused.text
    labels = [page["label"] for page in browser.get("/pages.json").json()]
    assert labels == ["Chat"]
    account = browser.get("/account")
    assert "Bisheriges Passwort" in account.text
    form = {"current": GOOD, "new": OTHER, "again": GOOD}
    assert "Die beiden neuen Passwörter sind verschieden" in browser.post("/account", **form).text
    assert browser.ask("POST", "/sign-out", headers={"Origin": "http://localhost:8000"})
    assert "Sie sind abgemeldet." in browser.get("/sign-in?out=").text
    for other in ("/?lang=xx", "/account?lang=", "/manifest.json?lang=en"):
        assert "pawl_language" not in browser.get(other).headers.get("Set-Cookie", "")
    assert browser.get("/?lang=en&chat=1").headers["Location"] == "/?chat=1"
    assert "You are signed out." in browser.get("/sign-in?out=").text
