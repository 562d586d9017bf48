"""A real chromium, and the application in this process, for each module of tests.

The browser resolves no name and the server's own connections are watched, so a page that loads
anything from elsewhere, or posts anything home, fails here.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from pawl.settings import Settings
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import OUTSIDE, Tab

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """The application with a promoted adapter, ``pawl@1``."""
    with composed(Settings(state_dir=tmp_path_factory.mktemp("server") / "state")) as running:
        assert running.promote() == "pawl@1"
        yield running


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    """One person's browser: its cache makes every page after the first open fast."""
    opened = browser.new_context()
    yield opened
    opened.close()


@pytest.fixture
def tab(context: BrowserContext, server: Composed) -> Iterator[Tab]:
    """An open page. At the end it must have met no error and asked no other host."""
    n_before = len(OUTSIDE.seen)  # what other tests of this process asked for
    opened = Tab(context.new_page())
    opened.watch()
    opened.open(server.url)
    yield opened
    print(opened.state())  # shown where the test failed
    opened.page.close()
    assert not opened.complaints, "\n".join(opened.complaints)  # all of them, in full
    hosts = {
        urlsplit(url).hostname for url in opened.urls if not url.startswith(("data:", "blob:"))
    }
    assert hosts == {"127.0.0.1"}
    assert OUTSIDE.seen[n_before:] == []
