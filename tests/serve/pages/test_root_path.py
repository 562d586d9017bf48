"""Below a path of a proxy's: addresses, cookies, redirects, openapi.json and the page itself."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect
from starlette.types import Receive, Scope, Send

from pawl.errors import PawlError
from pawl.schemas import Account, Role, utc_now
from pawl.settings import ApiSettings, Settings, load_settings
from serve.api.passwords import Passwords
from tests.serve.pages.composed import composed
from tests.serve.pages.tab import LEAVING, Tab
from tests.serve.pages.test_sign_in import GOOD, add, built
from tests.serve.pages.test_sign_in import Browser as Forms
from tests.serve.proxy import proxied

ROOT = "/chat/pawl"


@pytest.mark.parametrize("keeps_path", [False, True])
def test_a_proxy_may_keep_the_path_or_not(tmp_path: Path, keeps_path: bool) -> None:
    with built(tmp_path, api=ApiSettings(root_path=ROOT)) as app:

        async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
            path = scope["path"] if keeps_path else scope["path"].removeprefix(ROOT)
            await app({**scope, "path": path}, receive, send)

        add(app, "ann")
        browser = Forms(proxy, root=ROOT)
        assert browser.get("/").headers["Location"] == f"{ROOT}/sign-in"
        assert f'action="{ROOT}/sign-in"' in browser.get("/sign-in").text
        signed_in = browser.sign_in()
        assert signed_in.headers["Location"] == f"{ROOT}/"
        assert all(f"Path={ROOT};" in one for one in signed_in.headers.get_list("Set-Cookie"))
        assert browser.get("/account").status_code == 200
        assert browser.get("/health").status_code == 200
        assert browser.get("/v1/models").status_code == 401
        assert browser.get("/openapi.json").json()["servers"][0]["url"] == ROOT
        assert f"{ROOT}/openapi.json" in browser.get("/docs").text
        elsewhere = Forms(app)
        assert elsewhere.get(ROOT).headers["Location"] == f"{ROOT}/"
        assert elsewhere.get(f"{ROOT}er/health").status_code == 404
        assert elsewhere.get("/health").status_code == 200


@pytest.mark.parametrize("path", ["pawl", "/pawl/", "/a//b", "/../x", "/a?b", "//evil.example"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(PawlError, match="root_path"):
        load_settings({"api": {"root_path": path}})


@pytest.mark.browser
@pytest.mark.parametrize("keeps_path", [False, True])
def test_the_page_behind_a_proxy(browser: Browser, tmp_path: Path, keeps_path: bool) -> None:
    settings = Settings(state_dir=tmp_path / "state", api=ApiSettings(root_path=ROOT))
    with composed(settings) as server, proxied(server.url, ROOT, keeps_path=keeps_path) as url:
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        account = Account("ann", Role.REVIEWER, hashed, False, None, now, now)
        server.store.access.accounts.add(account)
        assert httpx.get(url + "/health").status_code == 200
        context = browser.new_context()
        tab = Tab(context.new_page())
        tab.watch()
        tab.sign_in(url + "/", "ann", GOOD)
        tab.ask("hello")
        expect(tab.answers).to_have_text(["base heard 5 characters."])
        tab.thumb("Like").click()
        expect(tab.small_print.first).to_contain_text("You marked this good")
        tab.reload()
        expect(tab.answers).to_have_count(1)
        tab.page.get_by_role("link", name="Review").click()
        expect(tab.page.get_by_text("Nothing waits for you")).to_be_visible()
        assert tab.page.url == f"{url}/review/"
        tab.page.get_by_role("link", name="Chat").click()
        tab._wait_until_drawn()
        complaints = [text for text in tab.complaints if not LEAVING.search(text)]
        assert [text for text in complaints if not text.startswith("401")] == []
        tab.page.get_by_role("button", name="Sign out").click()
        expect(tab.page.get_by_text("You are signed out.")).to_be_visible()
        assert all(one.startswith((url, "data:", "blob:")) for one in tab.urls)
        context.close()
