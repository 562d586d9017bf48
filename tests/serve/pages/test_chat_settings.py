"""What a conversation is asked with, set in the page's dialog; presets of that."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.serve.live import eventually
from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab, ids, recorded

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("PICTURES")  # a folder to keep pictures of the page in, for people


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png")


class Dialog:
    """The dialog as a test acts on it."""

    def __init__(self, tab: Tab) -> None:
        self.tab, self.page = tab, tab.page
        self.box = tab.page.get_by_role("dialog", name="Settings of this conversation")
        self.opener = tab.page.locator("#pawl-settings")

    def open(self) -> None:
        self.opener.press("Enter")
        expect(self.field("System prompt")).to_be_focused()

    def field(self, label: str) -> Any:
        return self.box.get_by_label(label, exact=True)

    def press(self, name: str) -> None:
        self.box.get_by_role("button", name=name, exact=True).click()

    def use(self) -> None:
        self.press("Use in this conversation")
        expect(self.box).to_have_count(0)


@pytest.fixture
def dialog(tab: Tab) -> Dialog:
    return Dialog(tab)


def test_a_conversation_is_asked_with_its_settings_wherever_it_is_shown(
    server: Composed, context: BrowserContext, tab: Tab, dialog: Dialog
) -> None:
    before, page = ids(server), tab.page
    dialog.open()
    dialog.field("System prompt").fill("Answer in one sentence.")
    keys = page.keyboard
    for text in ("Tab", "0.2", "Tab", "50", "Tab", "base"):
        keys.press(text) if text == "Tab" else keys.type(text)
    expect(dialog.field("Temperature (0 to 2)")).to_have_value("0.2")
    picture(page, "settings-1280")
    dialog.use()
    expect(dialog.opener).to_be_focused()
    said = "Settings: system prompt, temperature 0.2, at most 50 tokens"
    expect(dialog.opener).to_have_text(said)
    version = page.get_by_label("Version that answers")
    expect(version).to_have_value("base")
    tab.ask("hello")
    picture(page, "settings-used-1280")
    (row,) = recorded(server, 1, *before)
    assert row.messages[0] == {"role": "system", "content": "Answer in one sentence."}
    assert (row.asked_model, row.version) == ("base", "base")
    assert {name: row.sampling[name] for name in ("temperature", "max_tokens")} == {
        "temperature": 0.2, "max_tokens": 50,
    }  # fmt: skip
    assert tab.page.locator("[data-testid=user]").count() == 1  # the prompt is no message

    tab.reload()
    expect(dialog.opener).to_have_text(said)
    expect(version).to_have_value("base")
    other = Tab(context.new_page())
    other.open(page.url)
    expect(other.page.locator("#pawl-settings")).to_have_text(said)
    elsewhere = Dialog(other)
    elsewhere.open()
    expect(elsewhere.field("System prompt")).to_have_value("Answer in one sentence.")
    elsewhere.field("System prompt").fill("")
    elsewhere.field("Version").select_option("pawl")
    elsewhere.use()
    expect(dialog.opener).to_have_text("Settings: temperature 0.2, at most 50 tokens")
    expect(version).to_have_value("now pawl@1 (pawl)")
    version.click()
    page.get_by_role("option", name=re.compile("^pawl@1")).click()
    expect(other.page.get_by_label("Version that answers")).to_have_value("pawl@1")
    other.page.close()
    tab.ask("and now?")
    _, later = recorded(server, 2, *before)
    assert later.messages[0]["role"] == "user"
    assert later.asked_model == "pawl@1"

    tab.button("New chat").click()
    expect(dialog.opener).to_have_text("Settings")
    expect(version).to_have_value("now pawl@1 (pawl)")
    page.go_back()
    expect(dialog.opener).to_have_text("Settings: temperature 0.2, at most 50 tokens")
    expect(version).to_have_value("pawl@1")
    tab.thumb("Like", 0).click()  # an answer under another system prompt is known still
    expect(page.locator(".pawl-saved")).to_contain_text("You marked this good.")


def test_presets_are_saved_chosen_replaced_and_deleted(tab: Tab, dialog: Dialog) -> None:
    status = dialog.box.get_by_role("status")
    dialog.open()
    hostile = "<b>brief</b> \u202e & “x”"
    dialog.field("System prompt").fill("Be brief.\nAlways.")
    dialog.field("Temperature (0 to 2)").fill("0")
    dialog.press("Save as preset")
    expect(status).to_have_text("Give the preset a name.")
    tab.page.keyboard.type(hostile)
    tab.page.keyboard.press("Enter")
    expect(status).to_contain_text("is saved.")
    dialog.press("Cancel")
    expect(dialog.opener).to_have_text("Settings")  # saved, not used

    tab.button("New chat").click()
    dialog.open()
    dialog.field("System prompt").fill("typed already")
    dialog.field("Preset").select_option(label=hostile)
    expect(dialog.field("System prompt")).to_have_value("Be brief.\nAlways.")
    expect(dialog.field("Temperature (0 to 2)")).to_have_value("0")
    dialog.field("Preset").select_option(label="As it was before")
    expect(dialog.field("System prompt")).to_have_value("typed already")
    dialog.field("Name of a preset").fill(hostile)
    dialog.press("Save as preset")
    expect(status).to_contain_text("Press again to replace")
    dialog.press("Save as preset")
    expect(status).to_contain_text("is saved.")
    dialog.use()
    expect(dialog.opener).to_have_text("Settings: system prompt")

    dialog.open()
    dialog.field("Preset").select_option(label=hostile)
    dialog.press("Delete preset")
    expect(status).to_contain_text("Press again to delete")
    dialog.press("Delete preset")
    expect(status).to_contain_text("is deleted.")
    expect(dialog.field("Preset").get_by_role("option", name=hostile)).to_have_count(0)


def test_what_is_typed_there_goes_only_on_purpose_and_what_is_wrong_is_said(
    server: Composed, tab: Tab, dialog: Dialog
) -> None:
    dialog.open()
    tab.page.keyboard.press("Escape")
    expect(dialog.box).to_have_count(0)
    expect(dialog.opener).to_be_focused()
    dialog.open()
    dialog.field("Temperature (0 to 2)").fill("3")
    dialog.press("Use in this conversation")
    status = dialog.box.get_by_role("status")
    expect(status).to_contain_text("Temperature (0 to 2): Value must be less than or equal to 2")
    dialog.field("Temperature (0 to 2)").fill("")
    dialog.field("System prompt").fill("x" * 20_000)
    dialog.field("System prompt").evaluate(
        "box => { box.removeAttribute('maxlength'); box.value += 'x'; }"
    )
    dialog.press("Use in this conversation")
    expect(status).to_contain_text("The system prompt can't be used: String should have at most")
    dialog.field("System prompt").fill("half a pro")
    tab.page.keyboard.press("Escape")
    expect(status).to_contain_text("Press Escape again")
    tab.reload()
    expect(dialog.field("System prompt")).to_have_value("half a pro")
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("Escape")
    expect(dialog.box).to_have_count(0)
    expect(dialog.opener).to_have_text("Settings")


def test_on_a_phone_all_of_it_is_reached(server: Composed, browser: Browser) -> None:
    size = {"width": 390, "height": 844}
    context = browser.new_context(viewport=size, has_touch=True, color_scheme="dark")  # type: ignore[arg-type]
    tab = Tab(context.new_page())
    tab.open(server.url)
    dialog = Dialog(tab)
    dialog.opener.tap()
    expect(dialog.field("System prompt")).to_be_visible()
    dialog.field("System prompt").fill("Be kind.")
    for name in ("Cancel", "Save as preset", "Delete preset", "Use in this conversation"):
        button = dialog.box.get_by_role("button", name=name)
        button.scroll_into_view_if_needed()
        expect(button).to_be_in_viewport(ratio=0.99)
    picture(tab.page, "settings-390")
    small = dialog.box.evaluate("""box => [
      ...box.querySelectorAll("button, input, select, textarea")]
      .map((each) => [each.getBoundingClientRect(), getComputedStyle(each).fontSize, each.name])
      .filter(([place, font, name]) => place.height < 44 || name && parseFloat(font) < 16)""")
    assert small == []
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert dialog.box.evaluate("box => box.scrollWidth <= box.clientWidth")
    dialog.use()
    expect(dialog.opener).to_have_text("Settings: system prompt")
    expect(dialog.opener).to_be_in_viewport(ratio=0.99)
    picture(tab.page, "settings-used-390")
    context.close()


def test_settings_go_with_all_that_is_mine(server: Composed, tab: Tab, dialog: Dialog) -> None:
    dialog.open()
    dialog.field("System prompt").fill("Erase me, too.")
    dialog.field("Name of a preset").fill("gone")
    dialog.press("Save as preset")
    expect(dialog.box.get_by_role("status")).to_contain_text("is saved.")
    dialog.use()
    tab.ask("hello")
    assert server.store.read("SELECT count(*) FROM presets WHERE name = 'gone'") == [(1,)]
    tab.button("Delete all that is mine").click()
    tab.button("Go on").click()
    tab.page.get_by_role("textbox", name="Type delete to go on").fill("delete")
    tab.button("Delete all").click()
    eventually(
        lambda: server.store.read("SELECT count(*) FROM presets WHERE name = 'gone'") == [(0,)],
        "the preset is erased",
    )
    assert server.store.read(
        "SELECT count(*) FROM conversation_notes WHERE contains(settings_json, 'Erase me')"
    ) == [(0,)]
    expect(dialog.opener).to_have_text("Settings")
