"""The pictures of the documentation: what they show is there.

PICTURES=docs/pictures python -m pytest tests/serve/pages/test_pictures.py     takes them anew

What people ask and are answered in them is made up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from pawl.schemas import Account, Role, utc_now
from pawl.settings import Settings
from serve.api.passwords import Passwords
from tests.conftest import REPOSITORY
from tests.feedback.examples import make_completion, make_feedback, wait_all
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab
from tests.serve.pages.test_people import GOOD, sign_in

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("PICTURES")
SIZE = {"width": 1180, "height": 760}
CHAT = "chat-" + "7" * 32
ASKED = (  # who, what, the answer, what it should have said ("": it is right)
    ("ann", "When does the bakery open on Sundays?",
     "The bakery is open every day from 9 am to 6 pm.", "On Sundays it opens at 8 am."),
    ("ann", "Which bread has no wheat in it?",
     "All of our breads are made of wheat flour.", "The rye loaf and the oat rolls have none."),
    ("ben", "When do you open on a Sunday?",
     "We open at 9 am.", "On Sundays it opens at 8 am."),
    ("ben", "How much is a rye loaf?",
     "A rye loaf is 3 euros.", "A rye loaf is 4.20 euros."),
    ("eve", "Can I order a cake by phone?",
     "Yes, two days ahead.", ""),
    ("eve", "Do you have oat milk?",
     "Yes, for every coffee.", ""),
    ("eve", "Until when can I order a birthday cake?",
     "Orders can be placed at any time.", "Two days before, until noon."),
)  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with composed(Settings(state_dir=tmp_path_factory.mktemp("pictures") / "state")) as running:
        assert running.promote() == "pawl@1"
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        for name, role in (("ann", Role.USER), ("rita", Role.REVIEWER)):
            running.store.access.accounts.add(Account(name, role, hashed, False, None, now, now))
        for n, (who, question, answer, correction) in enumerate(ASKED * 4):
            at = (datetime.now(UTC) - timedelta(days=27 - n)).isoformat(timespec="milliseconds")
            row = make_completion(
                rater_id=who, completion=answer, created_at=at, total_seconds=1.2 + n % 5 / 4,
                messages=[{"role": "user", "content": question}], version=f"pawl@{1 + n // 14}",
            )  # fmt: skip
            said = {"correction": correction, "categories": ["incorrect"], "thumb": "down"}
            said = said if correction else {"thumb": "up"}
            wait_all([running.store.append_completion(row)])
            if n < len(ASKED) or n % 4 == 0:
                wait_all([running.store.append_feedback(
                    make_feedback(row, rater_id=who, created_at=at, **said)
                )])  # fmt: skip
        _, question, answer, _ = ASKED[0]
        wait_all([running.store.append_completion(make_completion(
            rater_id="ann", conversation_id=CHAT, completion=answer, version="pawl@1",
            messages=[{"role": "user", "content": question}],
        ))])  # fmt: skip
        yield running


def opened(browser: Browser, server: Composed, path: str, name: str) -> Tab:
    tab = Tab(browser.new_context(viewport=SIZE).new_page())
    tab.page.goto(server.url + path)
    sign_in(tab.page, name)
    return tab


def taken(tab: Tab, name: str) -> None:
    """The page as it is now; each picture stands in a page of the documentation."""
    pages = "".join(path.read_text("utf-8") for path in (REPOSITORY / "docs").glob("*.md"))
    assert f"(pictures/{name}.png)" in pages
    assert PICTURES or (REPOSITORY / "docs" / "pictures" / f"{name}.png").is_file()
    if PICTURES:
        tab.page.wait_for_timeout(1_500)  # what slides in has come to rest
        tab.page.screenshot(path=Path(PICTURES) / f"{name}.png")
    tab.page.context.close()


def test_the_chat_with_its_form(browser: Browser, server: Composed) -> None:
    tab = opened(browser, server, f"/?chat={CHAT}", "ann")
    expect(tab.answers).to_contain_text("open every day", timeout=240_000)
    tab.thumb("Dislike").click()
    form = tab.page.locator("#pawl-form")
    form.get_by_label("What it should have said").fill("On Sundays it opens at 8 am.")
    expect(tab.button("Save feedback")).to_be_visible()
    taken(tab, "chat")


def test_the_review(browser: Browser, server: Composed) -> None:
    tab = opened(browser, server, "/review", "rita")
    expect(tab.page.locator(".review-item")).to_contain_text("Sunday", timeout=240_000)
    taken(tab, "review")


def test_the_dashboard(browser: Browser, server: Composed) -> None:
    tab = opened(browser, server, "/dashboard", "rita")
    expect(tab.page.locator("#panel-whole-answer")).to_be_visible(timeout=240_000)
    expect(tab.page.get_by_text(re.compile("per 1,000")).first).to_be_visible()
    taken(tab, "dashboard")
