"""Asking on the page: turns, versions, stopping, asking again, errors, phones."""

from __future__ import annotations

import re

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Route, expect

from tests.serve.live import eventually
from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab, feedback, ids, recorded

pytestmark = pytest.mark.browser


def test_the_rater_outlives_the_page(server: Composed, tab: Tab) -> None:
    before = ids(server)
    tab.ask("first visit")
    tab.open(server.url)
    tab.ask("second visit")
    first, second = recorded(server, 2, *before)
    assert first.rater_id == second.rater_id
    assert first.conversation_id != second.conversation_id
    expect(tab.page.locator("#pawl-about")).to_contain_text("local storage")


def test_a_question_is_answered_before_the_browser_has_a_rater(
    server: Composed, browser: Browser, tab: Tab
) -> None:
    before = ids(server)
    events = httpx.get(f"{server.url}/config").json()["dependencies"]
    [identify] = [event["id"] for event in events if event["api_name"] == "_identify"]
    held: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.post_data_json["fn_index"] == identify:
            held.append(route)
        else:
            route.continue_()

    fresh = Tab(browser.new_page())
    fresh.page.route("**/gradio_api/queue/join*", hold)
    fresh.open(server.url)
    fresh.ask("one")
    [late] = held
    late.continue_()
    eventually(
        lambda: "pawl-rater" in fresh.page.evaluate("Object.keys(localStorage)"), "it has a rater"
    )
    fresh.ask("three")
    first, second = recorded(server, 2, *before)
    assert first.conversation_id == second.conversation_id
    assert first.rater_id == second.rater_id
    fresh.page.close()


def test_a_message_sent_in_the_moment_in_which_the_answer_is_over_is_answered(tab: Tab) -> None:
    tab.page.evaluate("""() => {
      const box = document.querySelector("#pawl-question textarea");
      new MutationObserver((_, observer) => {
        if (document.querySelectorAll("#pawl-chat .pawl-under").length !== 1) return;
        observer.disconnect();
        box.value = "three";
        box.dispatchEvent(new Event("input", {bubbles: true}));
        box.dispatchEvent(new KeyboardEvent("keypress", {key: "Enter", bubbles: true}));
      }).observe(document.querySelector("#pawl-chat"), {childList: true, subtree: true});
    }""")
    tab.box.fill("one")
    tab.box.press("Enter")
    expect(tab.page.locator("#pawl-chat [data-testid=user]")).to_have_text(["one", "three"])
    expect(tab.small_print).to_have_count(2)


def test_an_answer_cut_at_the_length_limit_says_so(tab: Tab) -> None:
    tab.ask("cut one two")
    expect(tab.answers).to_have_text(["one two"])
    expect(tab.small_print).to_have_text(["pawl@1 · cut at the length limit"])
    tab.reload()
    expect(tab.small_print).to_have_text(["pawl@1 · cut at the length limit"])


def test_pressed_twice_a_message_is_asked_once_and_the_next_waits_in_the_box(
    server: Composed, tab: Tab
) -> None:
    before = ids(server)
    tab.box.fill("hold midway")
    tab.box.press("Enter")
    tab.box.press("Enter")
    expect(tab.answers).to_have_text(["pawl@1 heard"])
    tab.box.fill("then this")
    with tab.page.expect_response(lambda one: "then this" in (one.request.post_data or "")):
        tab.box.press("Enter")  # it reaches the server before the press of Stop
    tab.button("Stop").click()
    expect(tab.small_print).to_have_text(["pawl@1 · stopped"])
    expect(tab.box).to_have_value("then this")
    recorded(server, 1, *before)


def test_regenerate_asks_the_same_again(server: Composed, tab: Tab) -> None:
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
    assert [row["thumb"] for row in feedback(server, second.completion_id)] == ["up"]


def test_an_edited_question_is_sent_again_and_what_followed_goes(
    server: Composed, tab: Tab
) -> None:
    tab.ask("wrong words")
    tab.ask("more")
    before = ids(server)
    tab.page.locator("#pawl-chat").get_by_role("button", name="Edit").first.click()
    tab.page.locator("#pawl-chat textarea").fill("right")
    tab.page.locator("#pawl-chat").get_by_role("button", name="Submit").click()
    (row,) = recorded(server, 1, *before)
    assert [message["content"] for message in row.messages] == ["right"]
    expect(tab.answers).to_have_text(["pawl@1 heard 5 characters."])
    expect(tab.page.locator("#pawl-chat [data-testid=user]")).to_have_text(["right"])


def test_shift_enter_begins_a_new_line(server: Composed, tab: Tab) -> None:
    before = ids(server)
    tab.box.fill("one")
    tab.box.press("Shift+Enter")
    tab.box.type("two")
    tab.box.press("Enter")
    (row,) = recorded(server, 1, *before)
    assert row.messages == [{"role": "user", "content": "one\ntwo"}]


def test_stop_hangs_up_and_keeps_what_came(server: Composed, tab: Tab) -> None:
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
    assert [row["thumb"] for row in feedback(server, row.completion_id)] == ["up"]
    tab.ask("go on")
    _, after = recorded(server, 2, *before)
    assert [message["content"] for message in after.messages] == [
        "hold midway",
        "pawl@1 heard ",
        "go on",
    ]


def test_stop_before_the_first_word(server: Composed, tab: Tab) -> None:
    n_dropped = server.seen()["n_dropped"]
    tab.box.fill("hold first")
    tab.box.press("Enter")
    eventually(lambda: server.seen()["n_running"] == 1, "the engine is asked")
    tab.button("Stop").click()
    expect(tab.small_print).to_have_text(["stopped"])
    eventually(lambda: server.seen()["n_dropped"] == n_dropped + 1, "the engine lost its reader")


def test_a_closed_tab_hangs_up(server: Composed, context: BrowserContext) -> None:
    n_dropped = server.seen()["n_dropped"]
    tab = Tab(context.new_page())
    tab.open(server.url)
    tab.box.fill("hold midway")
    tab.box.press("Enter")
    expect(tab.answers).to_have_text(["pawl@1 heard"])
    tab.page.close()
    eventually(lambda: server.seen()["n_dropped"] == n_dropped + 1, "the engine lost its reader")


def test_another_version_can_be_asked(server: Composed, tab: Tab) -> None:
    before = ids(server)
    version = tab.page.get_by_label("Version that answers")
    expect(version).to_have_value("now pawl@1 (pawl)")
    version.click()
    expect(tab.page.get_by_role("option")).to_have_text(
        [re.compile("now pawl@1 .pawl."), re.compile("base"), re.compile("pawl@1")]
    )
    tab.page.get_by_role("option", name="base").click()
    tab.ask("hello")
    expect(tab.small_print).to_have_text(["base"])
    (row,) = recorded(server, 1, *before)
    assert (row.asked_model, row.version) == ("base", "base")


def test_errors_are_shown_as_they_are(server: Composed, tab: Tab) -> None:
    tab.box.fill("too long")
    tab.box.press("Enter")
    alert = tab.page.get_by_role("alert")
    expect(alert).to_contain_text("your prompt has 513 tokens or more")
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
    assert [message["content"] for message in row.messages] == [
        "break",
        "pawl@1 heard ",
        "after all",
    ]


def test_new_chat_is_another_conversation(server: Composed, tab: Tab) -> None:
    before = ids(server)
    tab.ask("old")
    tab.button("New chat").click()
    expect(tab.answers).to_have_count(0)
    tab.ask("new")
    old, new = recorded(server, 2, *before)
    assert old.conversation_id != new.conversation_id
    assert [message["content"] for message in new.messages] == ["new"]


def test_a_phone_shows_all_without_scrolling_sideways(server: Composed, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640}, has_touch=True)
    tab = Tab(context.new_page())
    tab.open(server.url)
    tab.ask("count 80")
    tab.thumb("Dislike").click()
    for what in (tab.page.locator("#pawl-form"), tab.button("Send"), tab.button("New chat")):
        expect(what).to_be_in_viewport(ratio=0.99)
    tab.button("Save feedback").scroll_into_view_if_needed()
    expect(tab.button("Save feedback")).to_be_in_viewport(ratio=0.99)
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360
    tab.page.set_viewport_size({"width": 640, "height": 360})  # on its side
    form = tab.page.locator("#pawl-form").bounding_box()
    assert form is not None
    assert form["height"] <= 0.6 * 360
    context.close()
