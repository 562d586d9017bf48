"""The people page in a real browser: an administrator at work, and who does not get in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from pawl.schemas import Account, AuditEntry, Role, utc_now
from pawl.settings import LimitSettings, Settings
from serve.api.passwords import Passwords
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab
from tests.serve.pages.test_people import GOOD, sign_in
from tests.serve.pages.test_review import HOSTILE, picture

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("people-page") / "state",
        limits=LimitSettings(tokens_per_minute=123_000),
    )
    with composed(settings) as running:
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        for name, role in (("ada", Role.ADMINISTRATOR), ("rita", Role.REVIEWER),
                           ("ann", Role.USER)):  # fmt: skip
            running.store.access.accounts.add(Account(name, role, hashed, False, None, now, now))
        yield running


def opened(browser: Browser, server: Composed, **context: Any) -> Tab:
    tab = Tab(browser.new_context(**context).new_page())
    tab.watch()
    tab.page.goto(f"{server.url}/people")
    sign_in(tab.page, "ada")
    expect(tab.page.get_by_role("region", name="Accounts")).to_be_visible(timeout=240_000)
    return tab


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).click()
    page.get_by_role("option", name=option, exact=True).click()
    expect(page.get_by_role("option")).to_have_count(0)  # the list closes slowly


def press(page: Page, name: str) -> None:
    page.get_by_role("button", name=name, exact=True).click()


def told(page: Page, text: str | re.Pattern[str]) -> None:
    expect(page.locator("#people-status")).to_contain_text(text)


def state_of(page: Page, list_name: str, name: str) -> Any:
    rows = page.get_by_role("region", name=list_name).get_by_role("row")
    return rows.filter(has=page.get_by_role("rowheader", name=name, exact=True))


def test_accounts_and_keys_each_asked_twice(server: Composed, browser: Browser) -> None:
    tab = opened(browser, server)
    page = tab.page
    accounts = server.store.access.accounts
    picture(page, "people")

    page.get_by_label("Name of a new account").fill("zoe")
    press(page, "Add account")
    told(page, "'zoe' was added")
    secret = page.locator(".board-secret")
    expect(secret).to_have_text(re.compile(r"^(\w{4}-){3}\w{4}$"))
    picture(page, "people-one-time")
    expect(page.get_by_label("Name of a new account")).to_have_value("")
    expect(state_of(page, "Accounts", "zoe")).to_contain_text("one-time password not used yet")

    choose(page, "Account", "zoe (user)")
    choose(page, "Its new role", "reviewer")
    press(page, "Change role")
    expect(page.locator("#people-question")).to_contain_text("reviewer instead of user")
    expect(page.get_by_role("button", name="No, leave it")).to_be_focused()
    expect(secret).to_have_count(0)
    picture(page, "people-asked")
    page.keyboard.press("Enter")
    told(page, "Nothing was changed")
    assert accounts.account("zoe").role is Role.USER  # type: ignore[union-attr]
    choose(page, "Account", "zoe (user)")
    press(page, "Change role")
    press(page, "Yes, do it")
    told(page, "'zoe' is reviewer from now on")
    assert accounts.account("zoe").role is Role.REVIEWER  # type: ignore[union-attr]

    choose(page, "Account", "zoe (reviewer)")
    press(page, "New one-time password")
    press(page, "Yes, do it")
    expect(secret).to_be_visible()
    choose(page, "Account", "zoe (reviewer)")
    press(page, "Disable account")
    press(page, "Yes, do it")
    expect(state_of(page, "Accounts", "zoe")).to_contain_text("disabled")
    assert accounts.account("zoe") is None

    page.get_by_label("Name of a new key").fill("bot")
    choose(page, "Role of the new key", "administrator")
    press(page, "Make key")
    expect(page.locator("#people-question")).to_contain_text("may do everything")
    assert server.store.access.all_keys() == []
    press(page, "Yes, do it")
    expect(secret).to_have_text(re.compile("^pawl_"))
    key = secret.inner_text()
    ask = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{server.url}/admin/keys", headers=ask).status_code == 200
    choose(page, "Key", "bot (administrator)")
    press(page, "Revoke key")
    expect(secret).to_have_count(0)
    press(page, "Yes, do it")
    expect(state_of(page, "Keys of programs", "bot")).to_contain_text("revoked")
    assert httpx.get(f"{server.url}/admin/keys", headers=ask).status_code == 401

    expect(page.get_by_role("region", name="Quotas of one caller")).to_contain_text("123,000")
    page.get_by_label("Only entries that hold").fill("ZOE")
    page.keyboard.press("Enter")
    log = page.get_by_role("region", name="Audit log, newest first").locator("tbody tr")
    expect(log).to_have_count(4)
    expect(log.first).to_contain_text("remove account")
    expect(log.last).to_contain_text("add account")
    for row in log.all():
        expect(row).to_contain_text("ada")
    assert key.rpartition("_")[2] not in page.content()
    assert tab.complaints == []
    page.context.close()


def test_the_last_administrator_is_not_locked_out(server: Composed, browser: Browser) -> None:
    tab = opened(browser, server)
    page = tab.page
    for button in ("Disable account", "Change role"):
        choose(page, "Account", "ada (administrator)")
        press(page, button)
        expect(page.locator("#people-question")).to_contain_text("This is your own")
        press(page, "Yes, do it")
        told(page, "'ada' is the last administrator")
    choose(page, "Account", "ada (administrator)")
    press(page, "New one-time password")
    told(page, "this is your own account")
    expect(page.locator("#people-confirm")).to_be_hidden()
    press(page, "Change role")
    told(page, "Choose an account first")
    assert server.store.access.accounts.account("ada").role is Role.ADMINISTRATOR  # type: ignore[union-attr]
    page.context.close()


def test_texts_in_the_log_are_text_and_it_is_read_in_pages(
    server: Composed, browser: Browser
) -> None:
    for n in range(120):
        entry = AuditEntry(f"hostile-{n}", utc_now(), f"<b>eve</b> {n}", "10.0.0.1", "tried",
                           HOSTILE, "403 forbidden", "r")  # fmt: skip
        server.store.access.record(entry).result(60)
    tab = opened(browser, server)
    page = tab.page
    page.get_by_label("Only entries that hold").fill("eve")
    press(page, "Show")
    log = page.get_by_role("region", name="Audit log, newest first").locator("tbody tr")
    expect(log.first).to_contain_text("<b>eve</b> 119")
    expect(log).to_have_count(50)
    expect(page.get_by_role("button", name="Newer")).to_be_disabled()
    press(page, "Older")
    expect(log.first).to_contain_text("eve</b> 69")
    press(page, "Older")
    expect(log).to_have_count(20)
    expect(page.get_by_role("button", name="Older")).to_be_disabled()
    expect(log.first).to_contain_text("a<b and c>d")
    press(page, "Newer")
    expect(log.first).to_contain_text("eve</b> 69")
    assert page.locator(".board-scroll :is(img, style, script, b, a, div)").count() == 0
    assert all(url.startswith((server.url, "data:", "blob:")) for url in tab.urls)
    assert tab.complaints == []
    page.context.close()


def test_on_a_phone_in_the_dark_by_keyboard(server: Composed, browser: Browser) -> None:
    tab = opened(browser, server, viewport={"width": 390, "height": 844}, color_scheme="dark")
    page, keys = tab.page, tab.page.keyboard
    picture(page, "people-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.locator(".people-row button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] + box["width"] <= 390
    page.get_by_label("Account", exact=True).focus()
    keys.press("Control+a")
    keys.type("ann")
    expect(page.get_by_role("option")).to_have_count(1)
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(page.get_by_label("Account", exact=True)).to_have_value("ann (user)")
    page.get_by_role("button", name="Disable account").focus()
    keys.press("Enter")
    expect(page.get_by_role("button", name="No, leave it")).to_be_focused()
    picture(page, "people-phone-asked")
    keys.press("Escape")
    told(page, "Nothing was changed")
    expect(page.locator("#people-status")).to_be_focused()
    assert server.store.access.accounts.account("ann") is not None
    page.context.close()


def test_who_is_no_administrator_does_not_get_in(server: Composed, browser: Browser) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{server.url}/people/")
    sign_in(page, "rita")
    expect(page.get_by_role("alert")).to_contain_text("it takes the role administrator")
    for path in ("config", "gradio_api/startup-events"):
        assert page.request.get(f"{server.url}/people/{path}").status == 403
    answer = page.request.post(
        f"{server.url}/people/gradio_api/queue/join", data={"fn_index": 0, "session_hash": "x"}
    )
    assert answer.status == 403
    page.context.close()
