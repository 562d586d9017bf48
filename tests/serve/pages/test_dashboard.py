"""The dashboard in a real browser: its figures, its files, a phone in the dark, the keyboard."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from pawl.schemas import Account, Role, utc_now
from pawl.settings import Settings
from serve.api.passwords import Passwords
from tests.feedback.examples import make_completion, make_feedback, wait_all
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab
from tests.serve.pages.test_people import GOOD, sign_in
from tests.serve.pages.test_review import HOSTILE, picture

pytestmark = pytest.mark.browser
FORMULA = '=HYPERLINK("https://example.com","x") ' + HOSTILE


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with composed(Settings(state_dir=tmp_path_factory.mktemp("dashboard") / "state")) as running:
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        for name, role in (("ann", Role.USER), ("rita", Role.REVIEWER)):
            running.store.access.accounts.add(Account(name, role, hashed, False, None, now, now))
        fill(running)
        yield running


def fill(server: Composed) -> None:
    """20 answers, of which 6 are flagged, 4 of them with nearly the same hostile question."""
    for n in range(20):
        question = FORMULA + "!" * n if n < 4 else f"What is {n} times the harbour?"
        answer = make_completion(
            rater_id=f"person-{n % 3}", version="=cmd" if n % 2 else "base",
            messages=[{"role": "user", "content": question}], total_seconds=1.0 + n,
        )  # fmt: skip
        wait_all([server.store.append_completion(answer)])
        if n < 8:
            said = {"thumb": "down", "categories": ["incorrect"]} if n < 6 else {"thumb": "up"}
            wait_all([server.store.append_feedback(
                make_feedback(answer, rater_id=answer.rater_id, **said)
            )])  # fmt: skip


def opened(browser: Browser, server: Composed, **context: Any) -> Tab:
    tab = Tab(browser.new_context(**context).new_page())
    tab.watch()
    tab.page.goto(f"{server.url}/dashboard")
    sign_in(tab.page, "rita")
    expect(tab.page.locator("#panel-whole-answer")).to_be_visible(timeout=240_000)
    return tab


def test_the_look_that_was_chosen_on_the_chat_page_goes_for_this_one(
    server: Composed, browser: Browser
) -> None:
    page, white = opened(browser, server, color_scheme="dark").page, "rgb(255, 255, 255)"
    links = page.locator("#pawl-nav")
    expect(links).not_to_have_css("background-color", white)
    page.goto(server.url)
    page.get_by_role("button", name="Light or dark").click()
    page.goto(f"{server.url}/dashboard")
    expect(page.locator("body")).not_to_contain_class("dark")
    expect(links).to_have_css("background-color", white)
    page.context.close()


def saved(page: Page, name: str, folder: Path) -> list[list[str]]:
    """The rows of a panel's file."""
    panel = page.locator(f"#panel-{name}")
    if not panel.locator("table").is_visible():
        panel.locator("summary").click()
    with page.expect_download() as download:
        panel.get_by_role("link", name=f"Download {name}.csv").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_figures_tables_and_files(server: Composed, browser: Browser, tmp_path: Path) -> None:
    tab = opened(browser, server)
    page = tab.page
    came = page.get_by_label("What came")
    expect(came).to_contain_text("20")
    expect(came).to_contain_text("300")
    expect(came).to_contain_text(re.compile(r"2 up, 6 down"))
    expect(page.get_by_label("What waits")).to_contain_text(re.compile(r"Flags for a reviewer\s*6"))
    now = page.get_by_label("Now, and since the server began")
    expect(now).to_contain_text("ready")
    expect(now).to_contain_text("nothing was promoted yet")
    picture(page, "dashboard")
    [head, *rows] = saved(page, "versions", tmp_path)
    assert head[:4] == ["version", "answers", "people", "flagged"]
    assert [row[:4] for row in rows] == [["'=cmd", "10", "3", "3"], ["base", "10", "3", "3"]]
    [_, complaint] = saved(page, "complaints", tmp_path)
    assert complaint[0].startswith("'=HYPERLINK")
    assert complaint[1:] == ["4", "3", "incorrect"]
    [_, *days] = saved(page, "flags", tmp_path)
    assert len(days) == 30
    assert days[-1][1:3] == ["20", "6"]
    [_, *words] = saved(page, "words", tmp_path)
    assert words
    cells = page.locator("#panel-complaints tbody th")
    expect(cells).to_contain_text("a<b and c>d")
    assert page.locator("#board-body :is(img, style, script, iframe, form)").count() == 0
    page.get_by_label("Time shown").click()
    page.get_by_role("option", name="24 hours").click()
    expect(page.locator("#panel-answers h2")).to_have_text("Answers by hour")
    [_, *hours] = saved(page, "answers", tmp_path)
    assert len(hours) == 24
    answer = make_completion(messages=[{"role": "user", "content": "One more"}])
    wait_all([server.store.append_completion(answer)])
    page.get_by_role("button", name="Refresh").click()
    expect(came).to_contain_text("21")
    assert tab.complaints == []
    assert all(url.startswith((server.url, "data:", "blob:")) for url in tab.urls)
    page.context.close()


def test_on_a_phone_in_the_dark_by_keyboard(server: Composed, browser: Browser) -> None:
    tab = opened(browser, server, viewport={"width": 390, "height": 844}, color_scheme="dark")
    page, keys = tab.page, tab.page.keyboard
    picture(page, "dashboard-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for target in page.locator("#board-choice button, .board-panel summary").all():
        box = target.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] + box["width"] <= 390
    page.get_by_role("button", name="Refresh").focus()
    keys.press("Tab")
    expect(page.locator("#panel-answers summary")).to_be_focused()
    keys.press("Enter")
    keys.press("Tab")
    expect(page.get_by_role("region", name="Answers by day")).to_be_focused()
    keys.press("Tab")
    expect(page.get_by_role("link", name="Download answers.csv")).to_be_focused()
    assert tab.complaints == []
    page.context.close()


def test_who_chats_alone_does_not_see_it(server: Composed, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{server.url}/dashboard/")
    sign_in(page, "ann")
    expect(page.get_by_role("alert")).to_contain_text("may not open this page")
    assert page.request.get(f"{server.url}/dashboard/config").status == 403
    page.context.close()
