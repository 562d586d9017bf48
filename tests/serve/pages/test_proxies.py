"""Behind nginx and Caddy as deploy/ sets them up: tokens come when they are made, and the page."""

from __future__ import annotations

import time
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from pawl.schemas import Account, Role, utc_now
from pawl.settings import ApiSettings, Settings
from serve.api.passwords import Passwords
from tests.deploy.proxies import PROXIES, ROOT, before, program
from tests.serve.live import fake_command, live
from tests.serve.pages.composed import composed
from tests.serve.pages.tab import LEAVING, Tab
from tests.serve.pages.test_sign_in import GOOD

N_TOKENS, STEP_SECONDS = 10, 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", PROXIES)
def test_tokens_come_when_they_are_made(tmp_path: Path, free_port: int, name: str) -> None:
    program(name)
    settings = Settings(state_dir=tmp_path / "state", api=ApiSettings(
        root_path=ROOT, allowed_hosts=("chat.example.org",)))  # fmt: skip
    slow = fake_command("--speed", "1", str(STEP_SECONDS), "0")
    body = {"model": "pawl", "stream": True,
            "messages": [{"role": "user", "content": f"count {N_TOKENS}"}]}  # fmt: skip
    with (
        live(settings, command=slow) as server,
        before(name, server.url, tmp_path / name, free_port) as url,
    ):
        began, times, text = time.monotonic(), [], ""
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, verify=False,
                          headers={"Accept-Encoding": "gzip"}) as answer:  # fmt: skip
            assert answer.status_code == 200
            for part in answer.iter_text():
                times.append(time.monotonic() - began)
                text += part
        assert text.rstrip().endswith("data: [DONE]")
        print(f"{name}: first byte after {times[0]:.2f} s, last after {times[-1]:.2f} s")
        assert times[-1] - times[0] > (N_TOKENS - 2) * STEP_SECONDS
        assert len(times) >= N_TOKENS
        large = httpx.post(f"{url}/v1/chat/completions", content=b"x" * 5_000_000, verify=False)
        assert large.json()["error"]["code"]  # refused by Pawl, not by the proxy


@pytest.mark.browser
@pytest.mark.parametrize("name", PROXIES)
def test_the_page_and_its_cookies(
    browser: Browser, tmp_path: Path, free_port: int, name: str
) -> None:
    program(name)
    settings = Settings(state_dir=tmp_path / "state", api=ApiSettings(root_path=ROOT))
    with (
        composed(settings) as server,
        before(name, server.url, tmp_path / name, free_port) as url,
    ):
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        account = Account("ann", Role.REVIEWER, hashed, False, None, now, now)
        server.store.access.accounts.add(account)
        context = browser.new_context(ignore_https_errors=True)
        tab = Tab(context.new_page())
        tab.watch()
        missing: list[str] = []
        context.on("response", lambda got: missing.append(got.url) if got.status == 404 else None)
        tab.sign_in(url + "/", "ann", GOOD)
        tab.ask("hello")
        expect(tab.answers).to_have_text(["base heard 5 characters."])
        cookies = context.cookies()
        assert cookies
        for cookie in cookies:
            assert cookie["secure"], cookie["name"]
            assert cookie["path"] == ROOT
        complaints = [text for text in tab.complaints if not LEAVING.search(text)]
        # The site has no favicon of its own; browsers ask for one beside the page's.
        assert set(missing) <= {url.removesuffix(ROOT) + "/favicon.ico"}
        assert [text for text in complaints if "401" not in text and "404" not in text] == []
        places = (url, *missing, "data:", "blob:")
        assert all(one.startswith(places) for one in tab.urls), tab.urls
        context.close()
