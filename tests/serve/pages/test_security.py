"""What the page may load, what may be asked of it, and by whom."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab

pytestmark = pytest.mark.browser


def test_no_picture_from_elsewhere_is_loaded(server: Composed, context: BrowserContext) -> None:
    tab = Tab(context.new_page())
    left: list[str] = []
    tab.page.on("requestfinished", lambda request: left.append(request.url))
    tab.open(server.url)
    tab.ask("say ![a](https://example.com/a.png) <img src='https://example.com/b.png'>")
    pictures = tab.page.locator("#pawl-chat img[src*='example.com']")
    expect(pictures).to_have_count(0)
    tab.page.evaluate("""() => {  // as if one had been drawn
      const picture = new Image();
      picture.src = "https://example.com/a.png";
      document.querySelector("#pawl-chat").append(picture);
    }""")
    expect(pictures).to_have_count(1)
    for picture in pictures.all():  # given up on, not still to be loaded
        tab.page.wait_for_function("image => image.complete", arg=picture.element_handle())
        assert picture.evaluate("image => image.naturalWidth") == 0
    tab.page.close()
    assert left
    assert {urlsplit(url).hostname for url in left if url.startswith("http")} == {"127.0.0.1"}


@pytest.mark.parametrize("path", [
    "/monitoring", "/monitoring/summary", "/gradio_api/info",
    "/gradio_api/openapi.json", "/gradio_api/upload", "/gradio_api/runs",
    "/gradio_api/queue/status", "/gradio_api/proxy=https://example.com/",
    "/gradio_api/file=/etc/passwd", "/login", "/gradio_api/run/predict",
    "/static/%2e%2e/%2e%2e/config", "/nowhere",
])  # fmt: skip
def test_routes_that_the_page_does_not_need_are_closed(server: Composed, path: str) -> None:
    with httpx.Client(base_url=server.url) as client:
        assert client.get(path).status_code == 404
        assert client.post(path, json={}).status_code == 404


def test_pages_carry_a_policy_and_take_no_posts_of_other_sites(server: Composed) -> None:
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


def test_what_the_page_does_is_no_api_of_its_own(server: Composed, tab: Tab) -> None:
    config = httpx.get(f"{server.url}/config").json()
    assert {event["api_visibility"] for event in config["dependencies"]} == {"private"}
    assert config["analytics_enabled"] is False
    assert "sesame" not in str(config)
