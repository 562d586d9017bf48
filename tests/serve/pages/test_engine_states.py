"""The page while Gradio is built, while the engine loads or is away, and before vLLM itself."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect
from starlette.applications import Starlette

from feedback.store import Store
from pawl.models import BaseModel, resolve_model
from pawl.settings import DEFAULT_MODEL, Settings, SignInSettings
from serve.api.accounts import SignIn
from serve.api.audit import Audit
from serve.api.auth import Fronts
from serve.api.keys import Authenticator
from serve.api.sessions import Sessions
from serve.engine.launch import vllm_command
from serve.pages.mount import mount_pages
from serve.pages.sign_in import SignInPages
from tests.serve.live import REPOSITORY
from tests.serve.pages.composed import composed
from tests.serve.pages.tab import Tab, feedback, recorded

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("PICTURES")  # a folder to keep pictures of the page in, for people


def test_while_the_engine_loads_the_page_says_so_and_keeps_what_was_typed(
    browser: Browser, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"

    def waits_for_gate(settings: Settings, model: BaseModel, port: int) -> list[str]:
        fake = REPOSITORY / "tests/serve/fake_vllm.py"
        return [
            "sh",
            "-c",
            f"while [ ! -e '{gate}' ]; do sleep 0.05; done; "
            f"exec '{sys.executable}' '{fake}' {port}",
        ]

    with composed(
        Settings(state_dir=tmp_path / "state"), command=waits_for_gate, wait=False
    ) as server:
        page = browser.new_page()
        tab = Tab(page)
        tab.open(server.url)
        notice = page.locator(".pawl-notice")
        expect(notice).to_contain_text("The model is loading.")
        expect(notice.get_by_role("progressbar")).to_be_visible()
        tab.box.fill("too early")
        tab.box.press("Enter")
        waits = page.locator(".pawl-held")
        expect(waits).to_contain_text("The model can't answer yet")
        expect(tab.box).to_have_value("too early")
        gate.touch()
        expect(notice).to_be_hidden()
        expect(tab.answers).to_have_text(["base heard 9 characters."])
        expect(tab.box).to_have_value("")
        gate.unlink()
        tab.ask("die")  # and the engine does; it comes back when the gate opens
        expect(notice).to_be_visible()
        n_messages = page.locator("#pawl-chat [data-testid=bot]").count()
        page.locator("#pawl-chat").get_by_role("button", name="Edit").first.click()
        page.locator("#pawl-chat textarea").fill("edited")
        page.locator("#pawl-chat").get_by_role("button", name="Submit").click()
        expect(waits).to_be_visible()
        tab.box.fill("typed meanwhile")
        tab.button("Stop").click()  # the variant that stood there is back, what was edited stays
        expect(tab.box).to_have_value("edited\n\ntyped meanwhile")
        questions = page.locator("#pawl-chat [data-testid=user]")
        expect(questions).to_have_text(["too early", "die"])
        expect(page.locator("#pawl-chat [data-testid=bot]")).to_have_count(n_messages)

        tab.box.fill("taken back")
        tab.box.press("Enter")
        expect(waits).to_contain_text("Escape or Stop takes it back")
        page.keyboard.press("Escape")
        expect(waits).to_have_count(0)
        expect(questions).to_have_text(["too early", "die"])
        expect(tab.box).to_have_value("taken back")
        tab.box.fill("sent later")
        tab.box.press("Enter")
        expect(waits).to_be_visible()
        for size in (1280, 390):
            page.set_viewport_size({"width": size, "height": 800})
            tab.reload()
            expect(waits).to_be_visible()
            expect(tab.box).to_have_value("sent later")
            if PICTURES:
                page.screenshot(path=Path(PICTURES) / f"held-{size}.png")
        tab.box.press("Enter")  # pressed again it is asked once
        gate.touch()
        expect(tab.answers.last).to_have_text("base heard 10 characters.")
        expect(questions).to_have_text(["too early", "die", "sent later"])
        expect(tab.box).to_have_value("")
        rows = [row for row in server.store.completions() if row.status == "complete"]
        assert [row.messages[-1]["content"] for row in rows] == ["too early", "sent later"]
        page.close()


def test_until_gradio_is_there_a_small_page_says_so_and_looks_again(tmp_path: Path) -> None:
    app = Starlette()
    with Store.open(tmp_path / "pawl.duckdb") as store:
        sessions = Sessions(store.access.accounts, SignInSettings())
        authenticator = Authenticator(store.access, sessions, None, None, local=True)
        sign_in = SignIn(store.access, authenticator, tmp_path)
        forms = SignInPages(sign_in, Audit(store.access))
    # Its lifespan never begins, so nothing is ever built.
    mount_pages(app, authenticator, Fronts(is_local=True), 1_000, forms)

    async def get(path: str) -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path)

    with ThreadPoolExecutor(1) as other_thread:  # Playwright's loop runs in this one
        page = other_thread.submit(asyncio.run, get("/")).result()
        config = other_thread.submit(asyncio.run, get("/config")).result()
    assert page.status_code == 200
    assert 'http-equiv="refresh"' in page.text
    assert "put together" in page.text
    assert config.status_code == 503


@pytest.mark.engine
def test_the_whole_page_before_vllm_itself(browser: Browser, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    base = resolve_model(DEFAULT_MODEL, None, cache_dir=settings.state_dir)
    with composed(settings, base=base, command=vllm_command, wait=False) as server:
        page = browser.new_page()
        tab = Tab(page)
        tab.open(server.url)
        expect(page.locator(".pawl-notice")).to_contain_text("The model is loading.")
        server.call(server.engine.wait_ready(), settings.engine.start_timeout_seconds)
        expect(page.locator(".pawl-notice")).to_be_hidden()
        tab.ask("What is the capital of France?")
        expect(tab.answers.first).to_have_text(re.compile(r"\w{3,}"))
        (row,) = recorded(server, 1)
        assert (row.version, row.base_fingerprint) == ("base", base.fingerprint)
        assert tab.answers.first.inner_text().split() == row.completion.split()
        tab.thumb("Dislike").click()
        form = page.locator("#pawl-form")
        form.get_by_label("invented").check()
        form.get_by_label("tone").check()
        form.get_by_label("What it should have said").fill("Paris.")
        tab.button("Save feedback").click()
        expect(page.locator(".pawl-saved")).to_contain_text("It should have said: Paris.")
        (stored,) = feedback(server, row.completion_id)
        assert (stored["categories"], stored["correction"]) == (["invented", "tone"], "Paris.")
        page.close()
