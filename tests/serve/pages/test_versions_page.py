"""The versions page in a real browser: flags and their way, two versions side by side."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from pawl.schemas import Account, Role, utc_now
from pawl.settings import Settings
from serve.api.passwords import Passwords
from tests.serve.console import Console
from tests.serve.pages.composed import composed
from tests.serve.pages.nights import flagged_night
from tests.serve.pages.tab import Tab
from tests.serve.pages.test_people import GOOD, sign_in
from tests.serve.pages.test_review import HOSTILE

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("PICTURES")  # a folder to keep pictures of the page in, for people


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with composed(Settings(state_dir=tmp_path_factory.mktemp("versions-page") / "state")) as one:
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        for name, role in (("rita", Role.REVIEWER), ("olga", Role.ADMINISTRATOR)):
            one.store.access.accounts.add(Account(name, role, hashed, False, None, now, now))
        console = Console(one)
        flagged_night(console, "run-1", "base", [HOSTILE], {"lamp": "fixed"})
        assert console.promote("run-1")["outcome"] == "live"
        flagged_night(console, "run-2", "pawl@1", ["lamp"], {"oven": "broken"})
        assert console.promote("run-2")["outcome"] == "live"
        yield console
        console.http.close()


def opened(browser: Browser, console: Console, **context: Any) -> Tab:
    tab = Tab(browser.new_context(**context).new_page())
    tab.watch()
    tab.page.goto(f"{console.server.url}/versions/")
    sign_in(tab.page, "olga")
    expect(tab.page.locator("#versions-flags")).to_contain_text("3 flags", timeout=240_000)
    return tab


def over(tab: Tab) -> None:
    assert tab.complaints == []
    assert all("127.0.0.1" in url or url.startswith(("data:", "blob:")) for url in tab.urls)
    tab.page.context.close()


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_a_reviewer_does_not_open_it(console: Console, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{console.server.url}/versions/")
    sign_in(page, "rita")
    expect(page.get_by_role("alert")).to_contain_text("may not open this page")
    assert page.request.get(f"{console.server.url}/versions/config").status == 403
    page.context.close()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_flags_and_the_versions_that_fixed_them(
    console: Console, browser: Browser, width: int, scheme: str
) -> None:
    tab = opened(browser, console, viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = tab.page
    row = page.get_by_role("row", name=re.compile("^pawl@1 "))
    expect(row).to_contain_text("was champion; a rollback goes to it")
    expect(row).to_contain_text("UTC: pawl@2 promoted in place of pawl@1, by the operator's key")
    row.get_by_text("1 earlier change of pawl@1").click()
    expect(row).to_contain_text("UTC: pawl@1 promoted in place of base, by the operator's key")
    lamp = page.get_by_role("article", name="Flag fb-lamp")
    expect(lamp.locator("li")).to_have_text([
        "flagged 2026-05-03, answered by base", "pawl@1: fixed", "learned from since pawl@2",
    ])  # fmt: skip
    expect(page.locator("#versions-flags")).to_contain_text("a<b and c>d")
    assert page.locator("#versions-flags :is(img, style, h1, a)").count() == 0
    picture(page, f"versions-{width}-{scheme}")
    choose(page, "Flags of", "pawl@2")
    choose(page, "Which", "broken, says a gate")
    page.get_by_role("button", name="Find flags").click()
    expect(page.locator("#versions-flags")).to_contain_text("1 flag.")
    expect(page.get_by_role("article", name="Flag fb-oven")).to_contain_text("pawl@2: broken")
    choose(page, "Flags of", "every version")
    choose(page, "Which", "all that nights took up")
    page.get_by_label("Words, or an id").fill("LAMP")
    page.keyboard.press("Enter")
    expect(page.locator("#versions-flags")).to_contain_text("1 flag.")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    over(tab)


def test_two_versions_side_by_side(console: Console, browser: Browser) -> None:
    tab = opened(browser, console)
    page = tab.page
    expect(page.get_by_label("The other", exact=True)).to_have_value("pawl@2")
    box = page.get_by_label(re.compile("Prompts, up to 20"))
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#versions-said")).to_contain_text("Write a prompt first")
    box.fill(f"{HOSTILE}\n---\nsecond\nwith a line\n---\n")
    page.get_by_role("button", name="Compare").click()
    second = page.get_by_role("article", name="Prompt 2")
    prompt = second.locator(".versions-text").first
    expect(prompt).to_have_text("second\nwith a line", use_inner_text=True)
    expect(second.locator(".versions-pair > div").nth(0)).to_contain_text("base heard")
    expect(second.locator(".versions-pair > div").nth(1)).to_contain_text("pawl@2 heard")
    assert page.locator("#versions-answers :is(img, style, h1, a)").count() == 0
    picture(page, "versions-compare")
    box.fill("---\n".join(f"prompt {n}\n" for n in range(21)))
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#versions-said")).to_contain_text("20 are the most")
    assert page.locator("#versions-flags").is_visible()
    over(tab)
