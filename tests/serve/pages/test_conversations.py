"""The list of conversations: found again, named, pinned, kept from learning, exported, deleted.

Over 400 lines: the list and the address change the same page, on one server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Route, expect

from feedback.conversations import cut
from tests.serve.live import eventually
from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab, feedback, ids, recorded
from tests.serve.pages.test_markdown import HOSTILE
from tests.serve.pages.test_rendering import COVERED

pytestmark = pytest.mark.browser
LONG = "x" * 10_000
TITLES = """() => Object.fromEntries(
  [...document.querySelectorAll("#pawl-list li[data-id]")].map((item) => {
    const title = item.querySelector("a > bdi");
    return [item.dataset.id, [title.textContent, title.children.length]];
  }))"""


class Chats:
    """The list as a test acts on it."""

    def __init__(self, tab: Tab) -> None:
        self.tab, self.page = tab, tab.page

    @property
    def titles(self) -> Any:
        return self.page.locator("#pawl-list li[data-id] a")

    def item(self, title: str) -> Any:
        return self.page.locator("#pawl-list li[data-id]").filter(has_text=title).first

    def press(self, title: str, button: str) -> None:
        self.item(title).locator("summary").click()
        self.item(title).get_by_role("button", name=button, exact=True).click()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A person of its own for each test."""
    opened = browser.new_context()
    yield opened
    opened.close()


@pytest.fixture
def chats(tab: Tab) -> Chats:
    return Chats(tab)


def test_back_and_forward_and_a_choice_show_the_conversation_of_the_address(
    tab: Tab, chats: Chats
) -> None:
    expect(tab.page.locator("#pawl-list")).to_contain_text("Your conversations will stand here.")
    tab.ask("first question")
    first = tab.page.url
    tab.button("New chat").click()
    expect(tab.answers).to_have_count(0)
    tab.ask("another one")
    expect(chats.titles).to_have_text(["another one", "first question"])
    expect(chats.titles.first).to_have_attribute("aria-current", "page")
    chats.titles.nth(1).click()
    expect(tab.page.locator("[data-testid=user]")).to_have_text(["first question"])
    assert tab.page.url == first
    expect(chats.titles.nth(1)).to_have_attribute("aria-current", "page")
    tab.page.go_back()
    expect(tab.page.locator("[data-testid=user]")).to_have_text(["another one"])
    tab.page.go_back()
    expect(tab.page.locator("[data-testid=user]")).to_have_text(["first question"])
    tab.page.go_forward()
    expect(tab.page.locator("[data-testid=user]")).to_have_text(["another one"])
    tab.ask("and more")
    tab.reload()
    expect(tab.page.locator("[data-testid=user]")).to_have_text(["another one", "and more"])


def test_a_correction_survives_new_chat_and_another_conversation(
    server: Composed, tab: Tab, chats: Chats
) -> None:
    before = ids(server)
    tab.ask("one")
    (answer,) = recorded(server, 1, *before)
    tab.thumb("Dislike").click()
    form = tab.page.locator("#pawl-form")
    expect(form).to_contain_text("pawl@1 heard 3 characters.")
    correction = form.get_by_label("What it should have said")
    correction.fill("A long\ncorrection.")
    tab.box.fill("typed already")
    tab.button("New chat").click()
    expect(form).to_be_hidden()
    expect(tab.box).to_have_value("typed already")  # comes along
    tab.ask("two")
    chats.titles.nth(1).click()
    expect(correction).to_have_value("A long\ncorrection.")
    expect(tab.box).to_have_value("")
    tab.box.fill("half a question")
    tab.page.go_back()
    expect(form).to_be_hidden()
    expect(tab.box).to_have_value("")
    tab.page.go_forward()
    expect(correction).to_have_value("A long\ncorrection.")
    expect(tab.box).to_have_value("half a question")
    tab.button("Save feedback").click()
    expect(form).to_be_hidden()
    saved = feedback(server, answer.completion_id)
    assert [row["correction"] for row in saved] == ["A long\ncorrection."]


def test_an_answer_goes_on_while_another_conversation_is_shown(
    server: Composed, tab: Tab, chats: Chats
) -> None:
    before = ids(server)
    tab.ask("first question")
    tab.button("New chat").click()
    expect(tab.answers).to_have_count(0)
    tab.box.fill("hold midway")
    tab.box.press("Enter")
    expect(tab.answers).to_have_text(["pawl@1 heard"])
    busy = tab.page.url
    expect(chats.titles).to_have_text(["hold midway", "first question"])  # before it is recorded
    chats.titles.nth(1).click()
    expect(tab.answers).to_have_text(["pawl@1 heard 14 characters."])
    expect(tab.button("Send")).to_be_visible()
    tab.ask("more of it")
    tab.page.go_back()
    assert tab.page.url == busy
    expect(tab.answers).to_have_text(["pawl@1 heard"])
    tab.button("Stop").click()
    expect(tab.small_print).to_have_text(["pawl@1 · stopped"])
    rows = recorded(server, 3, *before)
    assert sorted(len(row.messages) for row in rows) == [1, 1, 3]
    expect(chats.titles).to_have_text(["hold midway", "first question"])
    tab.button("New chat").click()
    expect(tab.answers).to_have_count(0)
    tab.box.fill("too long")
    tab.box.press("Enter")
    expect(tab.page.locator("#pawl-chat")).to_contain_text("context_length_exceeded")
    expect(chats.titles).to_have_text(["hold midway", "first question"])  # it was refused


def test_search_name_and_pin(tab: Tab, chats: Chats) -> None:
    for question in ("about mills", "about rivers", "about ships"):
        tab.ask(question)
        tab.button("New chat").click()
        expect(tab.answers).to_have_count(0)
        expect(tab.box).to_have_value("")
    expect(chats.titles).to_have_text(["about ships", "about rivers", "about mills"])
    search = tab.page.get_by_label("Search your conversations")
    search.fill("RIVERS")
    expect(chats.titles).to_have_text(["about rivers"])
    search.fill("nowhere")
    expect(tab.page.locator("#pawl-list")).to_contain_text("Nothing was found in your")
    search.fill("")
    expect(chats.titles).to_have_count(3)
    # By keyboard alone: the menu, a new title, Escape.
    chats.item("about mills").locator("summary").focus()
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.type("Mills")
    tab.page.keyboard.press("Enter")
    expect(chats.titles).to_have_text(["about ships", "about rivers", "Mills"])
    expect(chats.item("Mills").locator("summary")).to_be_focused()
    tab.page.keyboard.press("Enter")
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("#pawl-list details[open]")).to_have_count(0)
    chats.press("Mills", "Pin")
    expect(chats.titles).to_have_text(["Mills", "about ships", "about rivers"])
    expect(tab.page.locator(".pawl-day")).to_have_text(["Pinned", "Today"])
    tab.reload()
    expect(chats.titles).to_have_text(["Mills", "about ships", "about rivers"])


def test_hostile_titles_are_text(server: Composed, tab: Tab, chats: Chats) -> None:
    before = ids(server)
    tab.ask("plain")
    (row,) = recorded(server, 1, *before)
    shown = {}
    with httpx.Client(base_url=server.url, headers={"X-Pawl-Rater": row.rater_id}) as http:
        for at, text in enumerate(HOSTILE):
            name = f"chat-{at:032x}"
            body = {"model": "pawl", "messages": [{"role": "user", "content": text}]}
            http.post("/v1/chat/completions", json=body, headers={"X-Pawl-Conversation": name})
            if at % 2:  # of the others the first question is the title
                renamed = http.post(f"/v1/conversations/{name}", json={"title": text})
                renamed.raise_for_status()
            shown[name] = cut(text)
    tab.reload()
    tab.button("Show more (50 of 61)").click()
    expect(chats.titles).to_have_count(61)
    drawn = tab.page.evaluate(TITLES)
    assert {name: drawn[name] for name in shown} == {
        name: [title, 0] for name, title in shown.items()
    }
    labels = chats.page.locator("#pawl-list summary").evaluate_all(
        "all => all.map((each) => each.ariaLabel)"
    )
    assert (
        sorted(labels)[1:]
        == sorted(
            f"More of this conversation: {title[:80]}" for title in [*shown.values(), "plain"]
        )[1:]
    )
    # Typed here, and asked about.
    for title in (LONG, HOSTILE[2], "\u202eevil \u2066isolated"):
        chats.press("", "Rename")
        tab.page.get_by_label("Title", exact=True).fill(title)
        tab.page.get_by_label("Title", exact=True).press("Enter")
        expect(chats.titles.first.locator("bdi")).to_have_text(cut(title))
    chats.press("", "Delete")
    expect(tab.page.locator("dialog p")).to_contain_text("Delete “evil isolated”?")
    tab.button("Cancel").click()
    n_controls, covered = tab.page.evaluate(COVERED)
    assert n_controls > 4
    assert covered == []
    assert tab.page.evaluate("[window.hacked, /(^| · )Pawl$/.test(document.title)]") == [None, True]
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    side = tab.page.locator("#pawl-side").bounding_box()
    assert side is not None
    assert side["width"] < 300


def test_what_is_sent_does_not_come_back_into_the_box(
    server: Composed, tab: Tab, chats: Chats
) -> None:
    """The page leaves the conversation while the browser has not heard that it was sent."""
    for leave in ("New chat", "one"):
        tab.ask("one")
        first = tab.page.url
        tab.button("New chat").click()
        expect(tab.answers).to_have_count(0)
        before = ids(server)
        hold_replies(tab)
        tab.box.fill("two")
        tab.box.press("Enter")
        recorded(server, 1, *before)
        second = tab.page.url
        if leave == "New chat":
            tab.button(leave).click()
        else:
            chats.titles.filter(has_text=leave).first.click()
            assert tab.page.url == first
        tab.page.unroute("**/queue/data*")  # lets go of what was held
        expect(chats.titles.first).to_have_text("two")
        expect(tab.box).to_have_value("")
        assert tab.page.url != second
        tab.page.go_back()
        expect(tab.page.locator(".pawl-own")).to_have_text(["two"])
        expect(tab.box).to_have_value("")
        tab.button("New chat").click()
        expect(tab.answers).to_have_count(0)


def hold_replies(tab: Tab) -> None:
    """Let the page hear nothing of its events from now on."""

    def hold(route: Route) -> None:
        """Leave the page without answers."""

    tab.page.route("**/queue/data*", hold)
    with tab.page.expect_request("**/queue/data*"):
        pass  # the next events' replies come by the same one


def test_a_message_on_its_way_while_the_page_is_loaded_anew_is_no_draft(
    server: Composed, tab: Tab
) -> None:
    own = tab.page.locator(".pawl-own")
    tab.ask("one")
    before = ids(server)
    hold_replies(tab)
    tab.box.fill("two")
    tab.box.press("Enter")
    recorded(server, 1, *before)
    tab.page.unroute("**/queue/data*")
    tab.reload()
    expect(own).to_have_text(["one", "two"])
    expect(tab.box).to_have_value("")
    tab.box.fill("two")  # the same once more, not sent
    tab.reload()
    expect(own).to_have_text(["one", "two"])
    expect(tab.box).to_have_value("two")


def test_a_title_that_is_typed_outlives_a_list_that_is_drawn_anew(
    server: Composed, tab: Tab, chats: Chats
) -> None:
    before = ids(server)
    tab.ask("one")
    (row,) = recorded(server, 1, *before)
    chats.press("one", "Rename")
    title = tab.page.get_by_label("Title", exact=True)
    title.fill("half a ti")
    body = {"model": "pawl", "messages": [{"role": "user", "content": "two"}]}
    headers = {"X-Pawl-Rater": row.rater_id, "X-Pawl-Conversation": f"chat-{0:032x}"}
    httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers).raise_for_status()
    tab.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(chats.titles).to_have_text(["two"])
    expect(title).to_have_value("half a ti")
    expect(title).to_be_focused()
    tab.page.keyboard.type("tle")
    tab.page.keyboard.press("Enter")
    expect(chats.titles).to_have_text(["two", "half a title"])


def test_export(tab: Tab, chats: Chats) -> None:
    tab.ask("# what?\n<b>")
    found = {}
    for kind in ("Markdown", "JSON"):
        with tab.page.expect_download() as download:
            chats.press("what?", f"Export as {kind}")
        found[download.value.suggested_filename] = Path(download.value.path()).read_text("utf-8")
    assert found.keys() == {"what-b.md", "what-b.json"}
    assert "> # what?\n> <b>\n\n## Assistant\n\npawl@1 heard 11 characters." in found["what-b.md"]
    messages = json.loads(found["what-b.json"])["messages"]
    assert [one["content"] for one in messages] == ["# what?\n<b>", "pawl@1 heard 11 characters."]


def test_not_to_be_learned_from(server: Composed, tab: Tab, chats: Chats) -> None:
    expect(tab.page.get_by_text("are recorded on this server").first).to_be_visible()
    switch = tab.page.get_by_label("Don't learn from this conversation")
    switch.check()
    before = ids(server)
    eventually(server.store.conversations.unlearned, "it is noted")
    tab.ask("a secret")
    (row,) = recorded(server, 1, *before)
    noted = (row.conversation_id, row.rater_id)
    assert noted in server.store.conversations.unlearned()
    expect(chats.item("a secret")).to_contain_text("not learned")
    tab.reload()
    expect(switch).to_be_checked()
    tab.button("New chat").click()
    expect(switch).not_to_be_checked()
    tab.page.go_back()
    expect(switch).to_be_checked()
    switch.uncheck()
    eventually(lambda: noted not in server.store.conversations.unlearned(), "it is taken back")


def test_delete_asks_first_and_a_second_tab_knows(
    server: Composed, context: BrowserContext, tab: Tab, chats: Chats
) -> None:
    before = ids(server)
    tab.ask("to be kept")
    tab.button("New chat").click()
    expect(tab.answers).to_have_count(0)
    tab.ask("to be deleted")
    other = Tab(context.new_page())
    other.open(tab.page.url)
    expect(other.page.locator("[data-testid=user]")).to_have_text(["to be deleted"])
    expect(Chats(other).titles).to_have_count(2)
    tab.page.bring_to_front()
    chats.press("to be deleted", "Delete")
    tab.button("Cancel").click()
    expect(chats.titles).to_have_count(2)
    tab.box.fill("not sent")
    chats.press("to be deleted", "Delete")
    tab.page.locator("dialog").get_by_role("button", name="Delete").click()
    expect(chats.titles).to_have_text(["to be kept"])
    expect(tab.answers).to_have_count(0)
    expect(tab.box).to_have_value("not sent")
    (left,) = recorded(server, 1, *before)
    assert left.messages[0]["content"] == "to be kept"
    other.page.bring_to_front()
    expect(other.page.locator(".pawl-own")).to_have_count(0)
    other.box.fill("goes on")
    other.box.press("Enter")
    expect(other.page.get_by_text("This conversation was deleted.")).to_be_visible()
    expect(other.box).to_have_value("goes on")
    tab.page.bring_to_front()
    tab.button("Delete all that is mine").click()
    tab.button("Go on").click()
    expect(tab.button("Delete all")).to_be_disabled()
    tab.page.get_by_role("textbox", name="Type delete to go on").fill("delete")
    tab.button("Delete all").click()
    expect(chats.titles).to_have_count(0)
    assert [one for one in ids(server) if one not in before] == []
    tab.ask("goes on all the same")
    expect(chats.titles).to_have_text(["goes on all the same"])
    other.page.close()


def test_another_person_sees_none_of_them(tab: Tab, chats: Chats, browser: Browser) -> None:
    tab.ask("a secret")
    expect(chats.titles).to_have_text(["a secret"])
    context = browser.new_context()
    stranger = Tab(context.new_page())
    stranger.open(tab.page.url)
    expect(stranger.page.locator("#pawl-list")).to_contain_text("will stand here")
    context.close()


def test_on_a_phone_the_list_is_behind_a_button(server: Composed, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    tab = Tab(context.new_page())
    tab.open(server.url)
    chats = Chats(tab)
    side = tab.page.locator("#pawl-side")
    tab.ask("one on a phone")
    expect(side).to_be_hidden()
    tab.button("Chats").click()
    expect(tab.page.get_by_label("Search your conversations")).to_be_focused()
    tab.page.keyboard.press("Escape")
    expect(side).to_be_hidden()
    expect(tab.button("Chats")).to_be_focused()
    tab.button("New chat").click()
    expect(tab.answers).to_have_count(0)
    expect(tab.page).to_have_title("Pawl")
    tab.button("Chats").click()
    tab.button("Close").click()
    expect(side).to_be_hidden()
    expect(tab.button("Chats")).to_be_focused()
    tab.button("Chats").click()
    search = tab.page.get_by_label("Search your conversations")
    search.fill("nowhere")
    expect(chats.titles).to_have_count(0)
    tab.button("Clear").click()
    expect(search).to_have_value("")
    expect(search).to_be_focused()
    expect(tab.button("Clear")).to_be_hidden()
    search.fill("phone")
    chats.titles.first.click()
    expect(side).to_be_hidden()
    expect(search).to_have_value("")
    expect(tab.answers).to_have_count(1)
    expect(tab.page).to_have_title("one on a phone · Pawl")
    tab.button("Chats").click()
    chats.press("one on a phone", "Rename")
    field = tab.page.get_by_label("Title").bounding_box()
    assert field["height"] >= 44
    tab.page.keyboard.press("Escape")
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()
