"""How the page behaves: keys, focus, a full conversation, looks, phones, installing."""

from __future__ import annotations

import os
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab, feedback, ids, recorded

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("PICTURES")  # a folder to keep pictures of the page in, for people


def picture(tab: Tab, name: str) -> None:
    if PICTURES:
        tab.page.screenshot(path=Path(PICTURES) / f"{name}.png")


def test_it_waits_visibly_and_escape_stops(tab: Tab) -> None:
    tab.box.fill("hold first")
    tab.box.press("Enter")
    expect(tab.page.get_by_text("Waiting for the answer")).to_be_visible()
    expect(tab.page.locator("button[aria-label=Like]").filter(visible=True)).to_have_count(0)
    tab.page.keyboard.press("Escape")
    expect(tab.small_print).to_have_text(["stopped"])
    expect(tab.page.get_by_text("Waiting for the answer")).to_have_count(0)


def test_a_suggestion_goes_into_the_box_while_nothing_is_asked_or_typed(
    server: Composed, browser: Browser
) -> None:
    for size in ({"width": 1280, "height": 800}, {"width": 390, "height": 844}):
        context = browser.new_context(viewport=size)
        tab = Tab(context.new_page())
        tab.open(server.url)
        buttons = tab.page.get_by_role("group", name="Suggestions").get_by_role("button")
        expect(buttons).to_have_text([*server.settings.page.suggestions])
        for button in buttons.all():
            button.scroll_into_view_if_needed()
            expect(button).to_be_in_viewport(ratio=0.99)
        buttons.first.scroll_into_view_if_needed()
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        picture(tab, f"suggestions-{size['width']}")
        tab.box.type("mine")
        expect(buttons).to_have_count(0)  # one would take what is typed away
        tab.box.fill("")
        buttons.nth(2).press("Enter")
        expect(tab.box).to_have_value(server.settings.page.suggestions[2])
        expect(tab.box).to_be_focused()
        tab.box.press("Enter")
        expect(tab.small_print).to_have_count(1)
        expect(tab.box).to_have_value("")
        expect(buttons).to_have_count(0)
        tab.button("New chat").click()
        expect(buttons.first).to_be_visible()
        context.close()


def test_focus_moves_into_the_form_and_back_and_escape_keeps_what_is_typed(tab: Tab) -> None:
    tab.ask("one")
    form = tab.page.locator("#pawl-form")
    tab.thumb("Dislike").click()
    expect(form.locator("[tabindex='-1']")).to_be_focused()
    tab.page.keyboard.press("Escape")
    expect(form).to_be_hidden()
    expect(tab.thumb("Disliked")).to_be_focused()
    tab.thumb("Disliked").click()
    correction = form.get_by_label("What it should have said")
    correction.type("Mine")
    tab.page.keyboard.press("Escape")
    expect(correction).to_have_value("Mine")
    tab.button("Save feedback").click()
    expect(form).to_be_hidden()
    expect(tab.thumb("Disliked")).to_be_focused()


def test_what_is_typed_about_an_answer_does_not_go_without_a_question(tab: Tab) -> None:
    tab.ask("one")
    tab.ask("three")
    form = tab.page.locator("#pawl-form")
    tab.thumb("Dislike", 0).click()
    expect(form).to_contain_text("pawl@1 heard 3 characters.")
    correction = form.get_by_label("What it should have said")
    correction.type("Mine")
    for button in (tab.thumb("Like", 1), tab.thumb("Disliked", 0)):
        button.click()
        tab.button("Cancel").click()
        expect(correction).to_have_value("Mine")
    tab.thumb("Like", 1).click()
    tab.button("Discard it").click()
    expect(form).to_contain_text("pawl@1 heard 5 characters.")
    expect(tab.thumb("Liked", 1)).to_be_visible()
    tab.button("Retry").click()  # nothing is typed
    expect(form).to_be_hidden()


def test_a_correction_is_shown_as_a_difference(server: Composed, tab: Tab) -> None:
    before = ids(server)
    tab.ask("say The capital is <b>Sydney</b>, I think.")
    (row,) = recorded(server, 1, *before)
    tab.thumb("Dislike").click()
    form = tab.page.locator("#pawl-form")
    tab.button("Start from the answer").click()
    correction = form.get_by_label("What it should have said")
    expect(correction).to_have_value("The capital is <b>Sydney</b>, I think.")
    correction.fill("The capital is <b>Canberra</b>.")
    shown = form.locator(".pawl-difference")
    expect(shown.locator("del")).to_have_text(["Sydney", ", I think"])
    expect(shown.locator("ins")).to_have_text(["Canberra"])
    expect(shown.locator("b")).to_have_count(1)  # its own label
    tab.button("Save feedback").click()
    expect(form).to_be_hidden()
    assert feedback(server, row.completion_id)[0]["correction"] == "The capital is <b>Canberra</b>."


def test_a_full_conversation_says_so_and_goes_on(server: Composed, tab: Tab) -> None:
    full = tab.page.locator("#pawl-full")
    tab.box.fill("too long")
    tab.box.press("Enter")
    expect(tab.page.get_by_role("alert")).to_be_visible()
    expect(full).to_be_hidden()  # by itself: no conversation is the cause
    for text in ("one", "two", "three"):
        tab.ask(text)
    tab.box.fill("longer talk")
    tab.box.press("Enter")
    expect(full).to_contain_text("longer than the model can read")
    before = ids(server)
    tab.button("Leave out the oldest messages").click()
    expect(full).to_be_hidden()
    expect(tab.answers.last).to_have_text("pawl@1 heard 11 characters.")
    (row,) = recorded(server, 1, *before)
    assert [message["content"] for message in row.messages] == [
        "two", "pawl@1 heard 3 characters.", "three", "pawl@1 heard 5 characters.", "longer talk",
    ]  # fmt: skip
    expect(tab.page.locator(".pawl-own")).to_have_count(5)  # all stays on the page

    tab.ask("four")
    private = tab.page.get_by_label("Don't learn from this conversation")
    private.check()
    tab.box.fill("longer still")
    tab.box.press("Enter")
    tab.button("New chat with this message").click()
    expect(tab.page.locator(".pawl-own")).to_have_count(0)
    expect(tab.box).to_have_value("longer still")
    expect(private).to_be_checked()
    tab.box.press("Enter")
    expect(tab.answers).to_have_text(["pawl@1 heard 12 characters."])


def test_light_and_dark_are_switched_and_stay(server: Composed, browser: Browser) -> None:
    context = browser.new_context(color_scheme="dark")
    tab = Tab(context.new_page())
    tab.open(server.url)
    body = tab.page.locator("body")
    expect(body).to_contain_class("dark")
    tab.page.get_by_role("button", name="Light or dark").click()
    expect(body).not_to_contain_class("dark")
    tab.reload()
    expect(body).not_to_contain_class("dark")
    context.close()


def test_a_phone_has_large_targets(server: Composed, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    tab = Tab(context.new_page())
    tab.open(server.url)
    tab.ask("say ```python\nx = 1\n```")
    tab.thumb("Dislike").tap()
    expect(tab.page.locator("#pawl-form")).to_be_visible()
    small = tab.page.evaluate("""() => [...document.querySelectorAll(
      "button, summary, label, textarea")]
      .filter((each) => each.checkVisibility() && !each.matches("label:not(:has(input))"))
      .map((each) => [each.getBoundingClientRect(), each])
      .filter(([box]) => box.width && (box.width < 44 || box.height < 44))
      .map(([box, each]) => `${box.width}x${box.height} ${each.outerHTML.slice(0, 120)}`)""")
    assert small == []
    sizes = tab.page.evaluate("""() => [...document.querySelectorAll("textarea, input")]
      .map((each) => parseFloat(getComputedStyle(each).fontSize))""")
    assert min(sizes) >= 16
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_it_can_be_installed(server: Composed, tab: Tab) -> None:
    address = tab.page.evaluate("document.querySelector('link[rel=manifest]').href")
    manifest = httpx.get(address).raise_for_status().json()
    for icon in manifest["icons"]:
        assert httpx.get(f"{server.url}/{icon['src']}").raise_for_status().headers[
            "content-type"
        ].startswith(icon["type"])  # fmt: skip
    assert (manifest["display"], manifest["start_url"]) == ("standalone", "./")
