"""The chat page in a real browser, before a real gateway and a small engine that speaks vLLM's
protocol; and once before vLLM itself.

The browser resolves no name and the server's own connections are watched, so a page that loads
anything from elsewhere, or posts anything home, fails here.

Over 400 lines: what people can do on the page, one after the other, with one browser's helpers.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from starlette.applications import Starlette

from pawl.models import BaseModel, resolve_model
from pawl.schemas import Completion
from pawl.settings import DEFAULT_MODEL, Settings
from serve.engine.process import vllm_command
from serve.pages.api import Api
from serve.pages.conversation import Talk, Turn
from serve.pages.mount import mount_pages
from tests.serve.live import REPOSITORY, Live, eventually, live, promotion

pytestmark = pytest.mark.browser
PATIENCE_SECONDS = 90.0  # reached only on a machine that is busy with something else
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip(
            "chromium is not installed: THE CHAT PAGE WAS NOT TESTED. Do: apt-get install chromium"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield chromium
        chromium.close()


class Outside:
    """Addresses beyond this machine that this process connected to or looked up."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        sys.addaudithook(self._hook)  # stays for the life of the process; only notes down

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0]
        elif event == "socket.connect" and isinstance(arguments[1], tuple):
            host = arguments[1][0]
        else:
            return
        name = host.decode() if isinstance(host, bytes) else str(host or "localhost")
        try:
            if not ipaddress.ip_address(name).is_loopback and name != "0.0.0.0":
                self.seen.append(name)
        except ValueError:
            if name != "localhost":
                self.seen.append(name)


OUTSIDE = Outside()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(Settings(state_dir=tmp_path_factory.mktemp("state")), pages=True) as one:
        one.call(one.engine.load_adapter("pawl@1", Path("/adapters/pawl@1")))
        one.store.append_promotion(promotion("pawl@1")).result()
        yield one


@dataclass
class Tab:
    """One open page and what it asked for, said and failed at."""

    page: Page
    urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def watch(self) -> None:
        self.page.on("request", lambda one: self.urls.append(one.url))
        self.page.on("pageerror", lambda one: self.complaints.append(str(one)))
        self.page.on(
            "console", lambda one: self.complaints.append(one.text) if one.type == "error" else None
        )
        self.page.on(
            "response",
            lambda one: (
                self.complaints.append(f"{one.status} {one.url}") if one.status >= 400 else None
            ),
        )

    def open(self, url: str) -> None:
        self.page.goto(url)
        expect(self.box).to_be_visible(timeout=240_000)  # Gradio imports for long when busy
        expect(self.page.get_by_label("Version that answers")).to_have_value(re.compile("now"))

    @property
    def box(self) -> Any:
        return self.page.get_by_label("Your message")

    @property
    def answers(self) -> Any:
        return self.page.locator("#pawl-chat [data-testid=bot]").filter(
            has_not=self.page.locator(".pawl-under")
        )

    @property
    def small_print(self) -> Any:
        return self.page.locator("#pawl-chat .pawl-under")

    def ask(self, text: str) -> None:
        """Type, press Enter, and wait until the answer is over."""
        n = self.small_print.count()
        self.box.fill(text)
        self.box.press("Enter")
        expect(self.small_print).to_have_count(n + 1)
        expect(self.button("Send")).to_be_visible()

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    def thumb(self, name: str, answer: int = 0) -> Any:
        """The thumb under the ``answer``-th answer: Like, Dislike, and Liked, Disliked when lit."""
        under = self.page.locator("#pawl-chat .message-buttons-left").filter(
            has=self.page.locator("button[aria-label$=ike], button[aria-label$=iked]"), visible=True
        )
        return under.nth(answer).get_by_role("button", name=name, exact=True)


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One person's browser: its cache makes every page after the first open fast."""
    one = browser.new_context()
    yield one
    one.close()


@pytest.fixture
def tab(context: BrowserContext, server: Live) -> Iterator[Tab]:
    one = Tab(context.new_page())
    one.watch()
    one.open(server.url)
    yield one
    one.page.close()
    assert one.complaints == []
    hosts = {urlsplit(url).hostname for url in one.urls if not url.startswith(("data:", "blob:"))}
    assert hosts == {"127.0.0.1"}
    assert OUTSIDE.seen == []


def recorded(server: Live, n: int, *before: str) -> list[Completion]:
    """The ``n`` completions recorded beyond the ids in ``before``, oldest first."""

    def found() -> list[Completion]:
        rows = [row for row in server.store.completions(None) if row.completion_id not in before]
        return sorted(rows, key=lambda row: row.created_at) if len(rows) == n else []

    return list(eventually(found, f"{n} completions in the store"))


def ids(server: Live) -> list[str]:
    return [row.completion_id for row in server.store.completions(None)]


def feedback(server: Live, completion_id: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{server.url}/v1/feedback", params={"completion_id": completion_id})
    return list(answer.raise_for_status().json())


def test_a_flag_with_categories_comment_and_correction_is_stored_and_taken_back(
    server: Live, tab: Tab
) -> None:
    before = ids(server)
    tab.ask("hello there")
    expect(tab.answers).to_have_text(["pawl@1 heard 11 characters."])
    expect(tab.small_print).to_have_text(["pawl@1"])
    (row,) = recorded(server, 1, *before)
    assert (row.version, row.asked_model, row.status) == ("pawl@1", "pawl", "complete")

    tab.thumb("Dislike").click()
    form = tab.page.locator("#pawl-form")
    expect(form).to_contain_text("pawl@1 heard 11 characters.")
    form.get_by_label("incorrect").check()
    form.get_by_label("verbose").check()
    form.get_by_label("What it should have said").fill("It is <b>four</b>.\n\n# really")
    form.get_by_label("Comment").fill("two & two")
    tab.button("Save feedback").click()
    expect(form).to_be_hidden()
    shown = tab.page.locator(".pawl-saved")
    expect(shown).to_contain_text("You marked this bad: incorrect, verbose.")
    expect(shown).to_contain_text("Comment: two & two")
    expect(shown).to_contain_text("It should have said: It is <b>four</b>.")
    expect(tab.page.locator("#pawl-chat h1")).to_have_count(0)

    (stored,) = feedback(server, row.completion_id)
    assert (stored["thumb"], stored["source"]) == ("down", "chat_page")
    assert stored["categories"] == ["incorrect", "verbose"]
    assert stored["comment"] == "two & two"
    assert stored["correction"] == "It is <b>four</b>.\n\n# really"
    assert stored["rater_id"] == row.rater_id
    assert re.fullmatch("page-[0-9a-f]{32}", row.rater_id)

    tab.thumb("Disliked").click()
    expect(shown).to_have_text("Your feedback was taken back.")
    expect(tab.thumb("Dislike")).to_be_visible()
    assert feedback(server, row.completion_id) == []
    history = server.store.feedback_history(row.completion_id)
    assert [(one.thumb, one.retracted) for one in history] == [
        ("down", False),
        ("down", False),
        (None, True),
    ]


def test_an_older_answer_can_be_marked_and_the_button_takes_it_back(server: Live, tab: Tab) -> None:
    before = ids(server)
    tab.ask("one")
    tab.ask("three")
    first, second = recorded(server, 2, *before)
    assert first.conversation_id == second.conversation_id
    assert [one["content"] for one in second.messages] == [
        "one",
        "pawl@1 heard 3 characters.",
        "three",
    ]
    tab.thumb("Like", 0).click()
    expect(tab.page.locator(".pawl-saved")).to_contain_text("You marked this good.")
    assert [one["thumb"] for one in feedback(server, first.completion_id)] == ["up"]
    assert feedback(server, second.completion_id) == []
    expect(tab.thumb("Liked", 0)).to_be_visible()
    expect(tab.thumb("Like", 1)).to_be_visible()
    tab.button("Take back").click()
    expect(tab.page.locator(".pawl-saved")).to_have_text("Your feedback was taken back.")
    expect(tab.thumb("Like", 0)).to_be_visible()
    assert feedback(server, first.completion_id) == []


def test_the_rater_outlives_the_page(server: Live, tab: Tab) -> None:
    before = ids(server)
    tab.ask("first visit")
    tab.page.reload()
    tab.open(server.url)
    tab.ask("second visit")
    first, second = recorded(server, 2, *before)
    assert first.rater_id == second.rater_id
    assert first.conversation_id != second.conversation_id
    expect(tab.page.locator("#pawl-about")).to_contain_text("local storage")


def test_regenerate_asks_the_same_again(server: Live, tab: Tab) -> None:
    before = ids(server)
    tab.ask("again")
    tab.thumb("Dislike").click()
    expect(tab.page.locator("#pawl-form")).to_be_visible()
    tab.button("Retry").click()
    first, second = recorded(server, 2, *before)
    assert first.messages == second.messages
    expect(tab.answers).to_have_count(1)
    expect(tab.page.locator("#pawl-form")).to_be_hidden()
    expect(tab.page.locator(".pawl-saved")).to_have_count(0)
    tab.thumb("Like").click()
    expect(tab.page.locator(".pawl-saved")).to_have_count(1)
    assert [one["thumb"] for one in feedback(server, second.completion_id)] == ["up"]


def test_an_edited_question_is_sent_again_and_what_followed_goes(server: Live, tab: Tab) -> None:
    tab.ask("wrong words")
    tab.ask("more")
    before = ids(server)
    tab.page.locator("#pawl-chat").get_by_role("button", name="Edit").first.click()
    tab.page.locator("#pawl-chat textarea").fill("right")
    tab.page.locator("#pawl-chat").get_by_role("button", name="Submit").click()
    (row,) = recorded(server, 1, *before)
    assert [one["content"] for one in row.messages] == ["right"]
    expect(tab.answers).to_have_text(["pawl@1 heard 5 characters."])
    expect(tab.page.locator("#pawl-chat [data-testid=user]")).to_have_text(["right"])


def test_shift_enter_begins_a_new_line(server: Live, tab: Tab) -> None:
    before = ids(server)
    tab.box.fill("one")
    tab.box.press("Shift+Enter")
    tab.box.type("two")
    tab.box.press("Enter")
    (row,) = recorded(server, 1, *before)
    assert row.messages == [{"role": "user", "content": "one\ntwo"}]


def test_stop_hangs_up_and_keeps_what_came(server: Live, tab: Tab) -> None:
    before, n_dropped = ids(server), server.seen()["n_dropped"]
    tab.box.fill("hold midway")
    tab.box.press("Enter")
    expect(tab.answers).to_have_text(["pawl@1 heard"])
    assert server.seen()["n_running"] == 1
    tab.button("Stop").click()
    expect(tab.small_print).to_have_text(["pawl@1 · stopped"])
    (row,) = recorded(server, 1, *before)
    assert (row.status, row.completion) == ("cancelled", "pawl@1 heard ")
    eventually(lambda: server.seen()["n_dropped"] == n_dropped + 1, "the engine lost its reader")

    tab.thumb("Like").click()  # what was stopped can be marked too
    expect(tab.page.locator(".pawl-saved")).to_contain_text("You marked this good.")
    assert [one["thumb"] for one in feedback(server, row.completion_id)] == ["up"]
    tab.ask("go on")
    _, after = recorded(server, 2, *before)
    assert [one["content"] for one in after.messages] == ["hold midway", "pawl@1 heard ", "go on"]


def test_stop_before_the_first_word(server: Live, tab: Tab) -> None:
    n_dropped = server.seen()["n_dropped"]
    tab.box.fill("hold first")
    tab.box.press("Enter")
    eventually(lambda: server.seen()["n_running"] == 1, "the engine is asked")
    tab.button("Stop").click()
    expect(tab.small_print).to_have_text(["stopped"])
    eventually(lambda: server.seen()["n_dropped"] == n_dropped + 1, "the engine lost its reader")


def test_a_closed_tab_hangs_up(server: Live, context: BrowserContext) -> None:
    n_dropped = server.seen()["n_dropped"]
    one = Tab(context.new_page())
    one.open(server.url)
    one.box.fill("hold midway")
    one.box.press("Enter")
    expect(one.answers).to_have_text(["pawl@1 heard"])
    one.page.close()
    eventually(lambda: server.seen()["n_dropped"] == n_dropped + 1, "the engine lost its reader")


def test_another_version_can_be_asked(server: Live, tab: Tab) -> None:
    before = ids(server)
    version = tab.page.get_by_label("Version that answers")
    expect(version).to_have_value("pawl (now pawl@1)")
    version.click()
    expect(tab.page.get_by_role("option")).to_have_text(
        [re.compile("pawl .now pawl@1."), re.compile("base"), re.compile("pawl@1")]
    )
    tab.page.get_by_role("option", name="base").click()
    tab.ask("hello")
    expect(tab.small_print).to_have_text(["base"])
    (row,) = recorded(server, 1, *before)
    assert (row.asked_model, row.version) == ("base", "base")


def test_errors_are_shown_as_they_are(server: Live, tab: Tab) -> None:
    tab.box.fill("too long")
    tab.box.press("Enter")
    alert = tab.page.get_by_role("alert")
    expect(alert).to_contain_text("the prompt has 513 tokens or more")
    expect(tab.button("Retry")).to_be_visible()
    expect(tab.page.locator("button[aria-label=Like]").filter(visible=True)).to_have_count(0)
    tab.box.fill("break")
    tab.box.press("Enter")
    expect(alert).to_have_count(2)
    expect(alert.nth(1)).to_contain_text("the engine stopped while it answered")
    expect(tab.answers.nth(1)).to_contain_text("pawl@1 heard")
    before = ids(server)
    tab.ask("after all")
    (row,) = recorded(server, 1, *before)
    assert [one["content"] for one in row.messages] == ["break", "pawl@1 heard ", "after all"]


def test_no_picture_from_elsewhere_is_loaded(server: Live, context: BrowserContext) -> None:
    one = Tab(context.new_page())
    left: list[str] = []
    one.page.on("requestfinished", lambda request: left.append(request.url))
    one.open(server.url)
    one.ask("![a](https://example.com/a.png) <img src='https://example.com/b.png'>")
    pictures = one.page.locator("#pawl-chat img[src*='example.com']")
    expect(pictures).to_have_count(2)
    for picture in pictures.all():  # given up on, not still to be loaded
        one.page.wait_for_function("one => one.complete", arg=picture.element_handle())
        assert picture.evaluate("one => one.naturalWidth") == 0
    one.page.close()
    assert left
    assert {urlsplit(url).hostname for url in left if url.startswith("http")} == {"127.0.0.1"}


def test_new_chat_is_another_conversation(server: Live, tab: Tab) -> None:
    before = ids(server)
    tab.ask("old")
    tab.button("New chat").click()
    expect(tab.answers).to_have_count(0)
    tab.ask("new")
    old, new = recorded(server, 2, *before)
    assert old.conversation_id != new.conversation_id
    assert [one["content"] for one in new.messages] == ["new"]


def test_a_phone_shows_all_without_scrolling_sideways(server: Live, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True)
    one = Tab(context.new_page())
    one.open(server.url)
    one.ask("count 80")
    one.thumb("Dislike").click()
    for what in (one.button("Send"), one.button("New chat"), one.page.locator("#pawl-form")):
        expect(what).to_be_in_viewport(ratio=0.99)
    one.button("Save feedback").scroll_into_view_if_needed()
    expect(one.button("Save feedback")).to_be_in_viewport(ratio=0.99)
    assert one.page.evaluate("document.documentElement.scrollWidth") <= 360
    context.close()


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

    with live(
        Settings(state_dir=tmp_path / "state"), command=waits_for_gate, wait=False, pages=True
    ) as server:
        page = browser.new_page()
        one = Tab(page)
        one.open(server.url)
        notice = page.locator(".pawl-notice")
        expect(notice).to_contain_text("The model is loading.")
        expect(notice.get_by_role("progressbar")).to_be_visible()
        one.box.fill("too early")
        one.box.press("Enter")
        expect(page.get_by_text("The model can't answer yet")).to_be_visible()
        expect(one.box).to_have_value("too early")
        gate.touch()
        expect(notice).to_be_hidden()
        one.box.press("Enter")
        expect(one.answers).to_have_text(["base heard 9 characters."])
        gate.unlink()
        one.ask("die")  # and the engine does; it comes back when the gate opens
        expect(notice).to_be_visible()
        n_messages = page.locator("#pawl-chat [data-testid=bot]").count()
        page.locator("#pawl-chat").get_by_role("button", name="Edit").first.click()
        page.locator("#pawl-chat textarea").fill("edited")
        page.locator("#pawl-chat").get_by_role("button", name="Submit").click()
        expect(page.get_by_text("Your question stays as it was")).to_be_visible()
        one.button("Retry").click()
        expect(page.get_by_text("The answer stays as it is")).to_be_visible()
        questions = page.locator("#pawl-chat [data-testid=user]")
        expect(questions).to_have_text(["too early", "die"])
        expect(page.locator("#pawl-chat [data-testid=bot]")).to_have_count(n_messages)
        page.close()


def test_with_a_key_the_page_asks_for_it(browser: Browser, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", api_key="sesame-7")
    with live(settings, pages=True) as server:
        asked = httpx.get(server.url)
        assert asked.status_code == 401
        assert asked.headers["WWW-Authenticate"].startswith("Basic")
        assert httpx.get(server.url, auth=("me", "sesame-8")).status_code == 401
        assert httpx.get(server.url + "/config").status_code == 401
        context = browser.new_context(http_credentials={"username": "me", "password": "sesame-7"})
        one = Tab(context.new_page())
        one.open(server.url)
        one.ask("hello")
        expect(one.answers).to_have_text(["base heard 5 characters."])
        context.close()


@pytest.mark.parametrize("path", [
    "/monitoring", "/monitoring/summary", "/docs", "/openapi.json", "/gradio_api/info",
    "/gradio_api/openapi.json", "/gradio_api/upload", "/gradio_api/runs",
    "/gradio_api/queue/status", "/gradio_api/proxy=https://example.com/",
    "/gradio_api/file=/etc/passwd", "/login", "/gradio_api/run/predict",
    "/static/%2e%2e/%2e%2e/config", "/nowhere",
])  # fmt: skip
def test_doors_that_the_page_does_not_need_are_shut(server: Live, path: str) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.get(path).status_code == 404
        assert client.post(path, json={}).status_code == 404


def test_pages_carry_a_policy_and_take_no_posts_of_other_sites(server: Live) -> None:
    page = httpx.get(server.url)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert not re.search(r"https?:", policy)
    posted = httpx.post(
        f"{server.url}/gradio_api/queue/join", json={}, headers={"Origin": "https://example.com"}
    )
    assert posted.status_code == 403


def test_what_the_page_does_is_no_api_of_its_own(server: Live, tab: Tab) -> None:
    config = httpx.get(f"{server.url}/config").json()
    assert {one["api_visibility"] for one in config["dependencies"]} == {"private"}
    assert config["analytics_enabled"] is False
    assert "sesame" not in str(config)


def test_a_form_sent_twice_is_stored_once(server: Live) -> None:
    api = Api(server.url, None, "page-twice")
    answer = httpx.post(
        f"{server.url}/v1/chat/completions",
        json={"model": "pawl", "messages": [{"role": "user", "content": "x"}]},
    )
    talk, turn = Talk(), Turn("x", completion_id=answer.headers["X-Pawl-Completion-Id"])

    async def twice() -> None:
        talk.open_form(turn)
        nonce = talk.open_nonce
        await talk.rate(api, turn, {"thumb": "down", "comment": "c"})
        assert talk.open_nonce != nonce
        talk.open_nonce = nonce  # as when the first reply was lost
        await talk.rate(api, turn, {"thumb": "down", "comment": "c"})

    server.call(twice())
    assert turn.feedback is not None
    assert turn.feedback["duplicate"] is True
    assert len(server.store.feedback_history(turn.completion_id)) == 1


def test_until_gradio_is_there_a_small_page_says_so_and_looks_again() -> None:
    app = Starlette()
    mount_pages(app, Settings())  # its lifespan never begins, so nothing is ever built

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
@pytest.mark.timeout(900)  # vLLM starts in half a minute, alone on the machine
def test_the_whole_page_before_vllm_itself(browser: Browser, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    base = resolve_model(DEFAULT_MODEL, None, cache_dir=settings.state_dir)
    with live(settings, base=base, command=vllm_command, wait=False, pages=True) as server:
        page = browser.new_page()
        one = Tab(page)
        one.open(server.url)
        expect(page.locator(".pawl-notice")).to_contain_text("The model is loading.")
        server.call(server.engine.wait_ready(), settings.engine.start_timeout_seconds)
        expect(page.locator(".pawl-notice")).to_be_hidden()
        one.ask("What is the capital of France?")
        expect(one.answers.first).to_have_text(re.compile(r"\w{3,}"))
        (row,) = recorded(server, 1)
        assert (row.version, row.base_fingerprint) == ("base", base.fingerprint)
        assert one.answers.first.inner_text().split() == row.completion.split()
        one.thumb("Dislike").click()
        form = page.locator("#pawl-form")
        form.get_by_label("invented").check()
        form.get_by_label("tone").check()
        form.get_by_label("What it should have said").fill("Paris.")
        one.button("Save feedback").click()
        expect(page.locator(".pawl-saved")).to_contain_text("It should have said: Paris.")
        (stored,) = feedback(server, row.completion_id)
        assert (stored["categories"], stored["correction"]) == (["invented", "tone"], "Paris.")
        page.close()
