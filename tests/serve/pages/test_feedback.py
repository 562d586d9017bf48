"""Thumbs, categories, comments and corrections on the page, beside what the store counts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from pawl.schemas import Completion
from pawl.settings import Settings
from serve.pages.api import Api
from serve.pages.conversation import OpenPage, Turn
from tests.serve.live import eventually
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab, feedback, ids, recorded

pytestmark = pytest.mark.browser


def test_a_flag_with_categories_comment_and_correction_is_stored_and_taken_back(
    server: Composed, tab: Tab
) -> None:
    before = ids(server)
    tab.ask("hello there")
    expect(tab.answers).to_have_text(["pawl@1 heard 11 characters."])
    expect(tab.small_print).to_have_text(["pawl@1"])
    (row,) = recorded(server, 1, *before)
    assert (row.version, row.asked_model, row.status) == ("pawl@1", "pawl", "complete")

    tab.thumb("Dislike").click()
    form = tab.page.locator("#pawl-form")
    expect(form).to_contain_text("pawl@1 heard 11 characters.")
    form.get_by_label("incorrect").check()
    form.get_by_label("verbose").check()
    form.get_by_label("What it should have said").fill("It is <b>four</b>.\n\n# really")
    form.get_by_label("Comment").fill("two & two")
    tab.button("Save feedback").click()
    expect(form).to_be_hidden()
    shown = tab.page.locator(".pawl-saved")
    expect(shown).to_contain_text("What is wrong with it: incorrect, verbose.")
    expect(shown).to_contain_text("Comment: two & two")
    expect(shown).to_contain_text("It should have said: It is <b>four</b>.")
    expect(tab.page.locator("#pawl-chat h1")).to_have_count(0)

    (stored,) = feedback(server, row.completion_id)
    assert (stored["thumb"], stored["source"]) == ("down", "chat_page")
    assert stored["categories"] == ["incorrect", "verbose"]
    assert stored["comment"] == "two & two"
    assert stored["correction"] == "It is <b>four</b>.\n\n# really"
    assert stored["rater_id"] == row.rater_id
    assert re.fullmatch("page-[0-9a-f]{32}", row.rater_id)

    expect(shown).to_contain_text("Press the lit thumb to change it or take it back.")
    tab.thumb("Disliked").click()
    correction = form.get_by_label("What it should have said")
    expect(correction).to_have_value("It is <b>four</b>.\n\n# really")
    expect(form.get_by_label("verbose")).to_be_checked()
    expect(tab.thumb("Disliked")).to_be_visible()
    form.get_by_label("verbose").uncheck()
    form.get_by_label("Comment").fill("two")
    tab.button("Save feedback").click()
    expect(form).to_be_hidden()
    (stored,) = feedback(server, row.completion_id)
    assert (stored["categories"], stored["comment"]) == (["incorrect"], "two")

    tab.thumb("Disliked").click()
    expect(form.get_by_label("Comment")).to_have_value("two")
    tab.button("Take back").click()
    expect(shown).to_have_text("Your feedback was taken back.")
    expect(tab.thumb("Dislike")).to_be_visible()
    assert feedback(server, row.completion_id) == []
    history = server.store.feedback_history(row.completion_id)
    assert [(given.thumb, given.comment, given.retracted) for given in history] == [
        ("down", None, False),
        ("down", "two & two", False),
        ("down", "two", False),
        (None, None, True),
    ]


def test_an_older_answer_can_be_marked_and_the_button_takes_it_back(
    server: Composed, tab: Tab
) -> None:
    before = ids(server)
    tab.ask("one")
    tab.ask("three")
    first, second = recorded(server, 2, *before)
    assert first.conversation_id == second.conversation_id
    assert [message["content"] for message in second.messages] == [
        "one",
        "pawl@1 heard 3 characters.",
        "three",
    ]
    tab.thumb("Like", 0).click()
    expect(tab.page.locator(".pawl-saved")).to_contain_text("You marked this good.")
    assert [row["thumb"] for row in feedback(server, first.completion_id)] == ["up"]
    assert feedback(server, second.completion_id) == []
    expect(tab.thumb("Liked", 0)).to_be_visible()
    expect(tab.thumb("Like", 1)).to_be_visible()
    tab.button("Take back").click()
    expect(tab.page.locator(".pawl-saved")).to_have_text("Your feedback was taken back.")
    expect(tab.thumb("Like", 0)).to_be_visible()
    assert feedback(server, first.completion_id) == []


@dataclass
class Rating:
    """What a person has said of an answer so far, kept by the test."""

    thumb: str | None = None
    correction: str | None = None
    categories: tuple[str, ...] = ()


class Rater:
    """Rates answers on the page; after each press the page and the store must show the same."""

    def __init__(self, server: Composed, tab: Tab) -> None:
        self.server, self.tab = server, tab
        self.before = ids(server)
        self.ratings: list[Rating] = []

    def ask(self) -> None:
        self.tab.ask(f"question {len(self.ratings)}")
        self.ratings.append(Rating())
        self.check()

    def press(self, at: int, thumb: str) -> None:
        """Press a thumb; a lit thumb up alone is taken back, else the form opens."""
        if self.ratings[at].thumb == thumb:
            self.tab.thumb({"up": "Liked", "down": "Disliked"}[thumb], at).click()
            if self.ratings[at] == Rating("up"):
                self.ratings[at] = Rating()
        else:
            self.tab.thumb({"up": "Like", "down": "Dislike"}[thumb], at).click()
            self.ratings[at].thumb = thumb
        self.check()

    def save(self, correction: str, categories: tuple[str, ...], at: int) -> None:
        """Fill and save the form, which is open on the answer whose thumb was pressed last."""
        form = self.tab.page.locator("#pawl-form")
        for box in form.get_by_role("checkbox").all():
            box.uncheck()
        for category in categories:
            form.get_by_label(category, exact=True).check()
        form.get_by_label("What it should have said").fill(correction)
        self.tab.button("Save feedback").click()
        expect(form).to_be_hidden()
        self.ratings[at].correction = correction or None
        self.ratings[at].categories = categories
        self.check()

    def take_back(self, at: int) -> None:
        self.tab.button("Take back").click()
        self.ratings[at] = Rating()
        self.check()

    def check(self) -> None:
        """The store counts what was said, and then the page shows it, in every turn."""
        rows = recorded(self.server, len(self.ratings), *self.before)
        expected = [[] if rating == Rating() else [rating] for rating in self.ratings]
        eventually(lambda: [self.stored(row) for row in rows] == expected, f"it is {expected}")
        # The small print is drawn by the server, with the thumbs; a thumb alone also lights up
        # in the browser, at once.
        shown = self.tab.page.locator(".pawl-saved").filter(has_text="You marked")
        expect(shown).to_have_text([saved(rating) for (rating,) in filter(None, expected)])
        for at, rating in enumerate(self.ratings):
            for thumb, unlit, lit in (("up", "Like", "Liked"), ("down", "Dislike", "Disliked")):
                name = lit if rating.thumb == thumb else unlit
                expect(self.tab.thumb(name, at)).to_have_count(1)

    def stored(self, row: Completion) -> list[Rating]:
        return [
            Rating(given.thumb, given.correction, tuple(given.categories))
            for given in self.server.store.current_feedback(row.completion_id)
        ]


def saved(rating: Rating) -> re.Pattern[str]:
    """What the page says of it."""
    verdict = {"up": "good", "down": "bad"}[rating.thumb or ""]
    names = ".*".join(rating.categories)
    correction = f"It should have said: {rating.correction}" if rating.correction else ""
    return re.compile(f"You marked this {verdict}.*{names}.*{correction}", re.S)


def test_six_turns_rated_in_mixed_order_show_what_the_store_counts(
    server: Composed, tab: Tab
) -> None:
    rater = Rater(server, tab)
    rater.ask()
    rater.ask()
    rater.press(1, "down")  # the second turn, where the wrong thumb used to light up
    rater.save("Madrid.", ("incorrect",), 1)
    rater.press(0, "up")
    rater.ask()
    rater.press(2, "up")
    rater.press(1, "up")  # the unlit thumb of a corrected answer: the correction stays
    rater.press(1, "down")
    rater.ask()
    rater.press(3, "down")
    rater.save("", ("verbose", "tone"), 3)
    rater.press(2, "up")  # taken back
    rater.press(0, "down")
    rater.take_back(0)
    rater.ask()
    rater.ask()
    rater.press(5, "down")
    rater.save("Lisbon.", (), 5)
    rater.press(4, "up")
    rater.press(3, "down")  # the form opens on its categories
    rater.take_back(3)
    rater.press(3, "down")
    rater.press(1, "up")
    rater.save("", (), 1)  # emptied in the form, under the thumb up
    rater.press(5, "down")
    rater.take_back(5)
    rater.press(0, "up")
    assert rater.ratings == [
        Rating("up"), Rating("up"), Rating(), Rating("down"), Rating("up"), Rating(),
    ]  # fmt: skip
    tab.reload()
    rater.check()


def test_a_thumb_that_could_not_be_saved_is_not_lit(browser: Browser, tmp_path: Path) -> None:
    with composed(Settings(state_dir=tmp_path / "state")) as server:
        tab = Tab(browser.new_page())
        tab.open(server.url)
        tab.ask("hello")
        tab.ask("hello again")
        tab.thumb("Like", 1).click()
        expect(tab.page.locator(".pawl-saved")).to_contain_text("You marked this good.")
        server.store.close()  # what it is asked to keep now is refused
        warnings = tab.page.get_by_text("Your feedback was not saved")
        for thumb, n_warnings in (("Dislike", 1), ("Liked", 2)):
            tab.thumb(thumb, 1).click()
            expect(warnings).to_have_count(n_warnings)
            expect(tab.thumb("Liked", 1)).to_be_visible()
            expect(tab.thumb("Dislike", 1)).to_be_visible()
        tab.page.close()


def test_a_thumb_pressed_while_another_is_being_saved_counts(server: Composed, tab: Tab) -> None:
    before = ids(server)
    tab.ask("one")
    tab.ask("three")
    first, second = recorded(server, 2, *before)

    def saved(n: int) -> bool:
        return len(server.store.feedback_history(first.completion_id)) == n

    def hold(route: Route) -> None:
        """Leave the page without answers."""

    tab.page.route("**/gradio_api/queue/data*", hold)
    tab.thumb("Like", 0).click()
    eventually(lambda: saved(1), "the first is saved")
    tab.thumb("Dislike", 0).click()
    eventually(lambda: saved(2), "the second is saved")
    tab.page.unroute("**/gradio_api/queue/data*")  # lets go of what was held
    expect(tab.page.locator(".pawl-saved")).to_contain_text("You marked this bad.")
    expect(tab.thumb("Disliked", 0)).to_be_visible()
    expect(tab.thumb("Like", 0)).to_be_visible()
    assert [row["thumb"] for row in feedback(server, first.completion_id)] == ["down"]
    assert feedback(server, second.completion_id) == []


def test_by_keyboard_a_thumb_is_reached_and_pressed(server: Composed, tab: Tab) -> None:
    before = ids(server)
    tab.ask("one")
    tab.ask("three")
    tab.page.locator("#pawl-chat").focus()
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        label = tab.page.evaluate("document.activeElement.getAttribute('aria-label')")
        if label == "Dislike":
            break
    tab.page.keyboard.press("Enter")
    form = tab.page.locator("#pawl-form")
    expect(form).to_contain_text("Saved as bad")
    expect(tab.thumb("Disliked", 0)).to_be_visible()
    first, second = recorded(server, 2, *before)
    assert [row["thumb"] for row in feedback(server, first.completion_id)] == ["down"]
    assert feedback(server, second.completion_id) == []
    expect(form.locator("[tabindex='-1']")).to_be_focused()
    tab.page.keyboard.press("Escape")
    expect(form).to_be_hidden()
    expect(tab.thumb("Disliked", 0)).to_be_focused()
    tab.page.keyboard.press("Enter")  # opens it again
    expect(form.locator("[tabindex='-1']")).to_be_focused()
    expect(tab.thumb("Disliked", 0)).to_be_visible()
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate("document.activeElement.textContent.trim()") == "Take back":
            break
    tab.page.keyboard.press("Enter")
    expect(tab.thumb("Dislike", 0)).to_be_visible()
    expect(tab.page.locator(".pawl-saved")).to_have_text("Your feedback was taken back.")
    expect(form).to_be_hidden()
    assert feedback(server, first.completion_id) == []


def test_on_a_phone_each_thumb_is_its_own_answers(server: Composed, browser: Browser) -> None:
    before = ids(server)
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    tab = Tab(context.new_page())
    tab.open(server.url)
    for question in ("one", "three", "count 12"):
        tab.ask(question)
    tab.thumb("Dislike", 1).tap()
    form = tab.page.locator("#pawl-form")
    bar = tab.page.locator("#pawl-buttons").bounding_box()
    for label in ("What it should have said", "Comment"):
        field = form.get_by_label(label).bounding_box()
        assert field["y"] + field["height"] <= bar["y"], label  # above the fold
    form.evaluate("form => form.scrollTo(0, form.scrollHeight)")
    last, bar = (
        form.locator("#pawl-why summary").bounding_box(),
        (tab.page.locator("#pawl-buttons").bounding_box()),
    )
    assert last["y"] + last["height"] <= bar["y"]
    form.get_by_label("What it should have said").fill("Madrid.")
    tab.button("Save feedback").tap()
    expect(form).to_be_hidden()
    tab.thumb("Like", 2).tap()
    expect(tab.page.locator(".pawl-saved")).to_have_count(2)
    expect(tab.thumb("Like", 0)).to_have_count(1)
    expect(tab.thumb("Disliked", 1)).to_have_count(1)
    expect(tab.thumb("Liked", 2)).to_have_count(1)
    rows = recorded(server, 3, *before)
    stored = [feedback(server, row.completion_id) for row in rows]
    assert [[row["thumb"] for row in found] for found in stored] == [[], ["down"], ["up"]]
    assert stored[1][0]["correction"] == "Madrid."
    assert tab.page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_a_form_sent_twice_is_stored_once(server: Composed) -> None:
    api = Api(server.url, None, "page-twice")
    answer = httpx.post(
        f"{server.url}/v1/chat/completions",
        json={"model": "pawl", "messages": [{"role": "user", "content": "x"}]},
    )
    page, turn = OpenPage(), Turn("x", completion_id=answer.headers["X-Pawl-Completion-Id"])

    async def twice() -> None:
        page.open_form(turn)
        nonce = page.form_nonce
        await page.rate(api, turn, {"thumb": "down", "comment": "c"})
        assert page.form_nonce != nonce
        page.form_nonce = nonce  # as when the first reply was lost
        await page.rate(api, turn, {"thumb": "down", "comment": "c"})

    server.call(twice())
    assert turn.feedback is not None
    assert (turn.feedback["thumb"], turn.feedback["comment"]) == ("down", "c")
    assert len(server.store.feedback_history(turn.completion_id)) == 1
