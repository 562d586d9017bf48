"""People who sign in, in a real browser: chat, flag, sign out; on a phone, by keyboard alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Error, Page, expect

from pawl.schemas import Account, Role, utc_now
from pawl.settings import Settings
from serve.api.passwords import Passwords
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab

pytestmark = pytest.mark.browser
GOOD, OTHER = "four words in a row", "five other words in a row"
PICTURES = os.environ.get("PICTURES")  # a folder to keep pictures of the pages in, for people


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with composed(Settings(state_dir=tmp_path_factory.mktemp("people") / "state")) as running:
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        for name, must_change in (("ann", False), ("bob", False), ("new", True)):
            account = Account(name, Role.USER, hashed, must_change, None, now, now)
            running.store.access.accounts.add(account)
        yield running


def sign_in(page: Page, name: str, password: str = GOOD) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_two_people_share_a_browser_and_see_nothing_of_each_other(
    server: Composed, browser: Browser
) -> None:
    context = browser.new_context()
    tab = Tab(context.new_page())
    page = tab.page
    page.goto(server.url)
    picture(page, "sign-in")
    sign_in(page, "ann", "a wrong password")
    expect(page.get_by_role("alert")).to_contain_text("The name or the password is wrong")
    expect(page.get_by_label("Name")).to_have_value("ann")
    picture(page, "sign-in-wrong")
    sign_in(page, "ann")
    tab._wait_until_drawn()
    tab.ask("a secret")
    tab.ask("and another")
    tab.thumb("Dislike", 1).click()
    expect(tab.small_print.nth(1)).to_contain_text("You marked this bad")
    expect(page.locator("#pawl-who")).to_contain_text("ann")
    picture(page, "chat")
    asked = server.store.completions()
    assert {row.rater_id for row in asked} == {"ann"}
    (said,) = server.store.current_feedback()
    assert (said.rater_id, said.thumb, said.source) == ("ann", "down", "chat_page")
    where = page.url
    tab.reload()
    expect(tab.answers).to_have_count(2)
    tab.box.fill("typed and not sent")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("You are signed out.")).to_be_visible()
    page.go_back()  # what the browser kept is not shown, or does nothing
    with suppress(Error):  # the page may be on its way to the form by itself
        page.goto(where)
    expect(page.get_by_label("Password")).to_be_visible()
    sign_in(page, "bob")
    tab._wait_until_drawn()
    assert page.url == where
    expect(page.get_by_text("Ask something.")).to_be_visible()
    expect(tab.answers).to_have_count(0)
    expect(tab.box).to_have_value("")
    context.close()


def test_a_session_that_ends_behind_an_open_page_leads_to_the_form_and_back(
    server: Composed, browser: Browser
) -> None:
    context = browser.new_context()
    tab = Tab(context.new_page())
    tab.page.goto(server.url)
    sign_in(tab.page, "ann")
    tab._wait_until_drawn()
    tab.ask("hello")
    where = tab.page.url
    tab.box.fill("typed and not sent")
    accounts = server.store.access.accounts
    accounts.end_sessions(*(one.session_id for one in accounts.sessions("ann")))
    expect(tab.page.get_by_label("Password")).to_be_visible()
    sign_in(tab.page, "ann")
    tab._wait_until_drawn()
    assert tab.page.url == where
    expect(tab.answers).to_have_count(1)
    expect(tab.box).to_have_value("typed and not sent")
    # Somebody else signs in there.
    tab.page.locator("#pawl-chat").get_by_role("button", name="Edit").click()
    edit = tab.page.locator("#pawl-chat textarea.edit-textarea")
    edit.fill("edited and not sent")
    accounts.end_sessions(*(one.session_id for one in accounts.sessions("ann")))
    expect(tab.page.get_by_label("Password")).to_be_visible()
    sign_in(tab.page, "bob")
    tab._wait_until_drawn()
    expect(tab.page.locator("#pawl-who")).to_contain_text("bob")
    expect(tab.box).to_have_value("")
    tab.ask("another's first question")
    expect(edit).to_have_count(0)
    context.close()


def test_a_tab_of_whoever_was_signed_in_before_shows_nothing_of_theirs(
    server: Composed, browser: Browser
) -> None:
    context, other = browser.new_context(), browser.new_context()
    tab, page = Tab(context.new_page()), other.new_page()
    tab.page.goto(server.url)
    sign_in(tab.page, "ann")
    tab._wait_until_drawn()
    tab.ask("a secret")
    page.goto(server.url)
    sign_in(page, "bob")
    expect(page.locator("#pawl-who")).to_contain_text("bob")
    context.add_cookies(other.cookies())  # as if by another tab, between two events of this one
    expect(tab.page.locator("#pawl-who")).to_contain_text("bob")
    expect(tab.answers).to_have_count(0)
    loads: list[str] = []
    tab.page.on("load", lambda page: loads.append(page.url))
    tab.page.evaluate("sessionStorage.removeItem('pawl-loaded-again')")  # of the one just now
    tab.page.route("**/queue/join*", lambda route: route.fulfill(status=403, body="{}"))
    for _ in range(3):  # where all is refused, the page is loaded anew once
        tab.page.wait_for_timeout(2000)
        tab.page.evaluate("sessionStorage.removeItem('pawl-loaded-again')")
    assert len(loads) == 1
    context.close()
    other.close()


def test_on_a_phone_by_keyboard_alone_in_the_dark(server: Composed, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640}, color_scheme="dark")
    tab = Tab(context.new_page())
    page, keys = tab.page, tab.page.keyboard
    page.goto(server.url)
    expect(page.get_by_label("Name")).to_be_focused()
    for text in ("new", GOOD):
        keys.type(text)
        keys.press("Tab" if text == "new" else "Enter")
    expect(page.get_by_text("Set one of your own")).to_be_visible()
    picture(page, "phone-account")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    keys.press("Tab")
    for text in (GOOD, OTHER, OTHER):
        keys.type(text)
        keys.press("Tab")
    keys.press("Enter")
    expect(page.get_by_text("Your password is changed.")).to_be_visible()
    for _ in range(10):
        keys.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Back to the chat":
            break
    keys.press("Enter")
    tab._wait_until_drawn()
    picture(page, "phone-chat")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    tab.ask("hello")
    for button in ("Sign out", "New chat"):
        expect(page.get_by_role("button", name=button)).to_be_visible()
    box = page.get_by_role("button", name="Sign out").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 360
    context.close()


def test_a_key_opens_the_page_too(browser: Browser, tmp_path: Path) -> None:
    with composed(Settings(state_dir=tmp_path / "state", api_key="sesame-7")) as server:
        assert httpx.get(server.url + "/config").status_code == 401
        context = browser.new_context()
        tab = Tab(context.new_page())
        tab.page.goto(server.url)
        sign_in(tab.page, "", "sesame-7")
        tab._wait_until_drawn()
        tab.ask("hello")
        expect(tab.answers).to_have_text(["base heard 5 characters."])
        context.close()
