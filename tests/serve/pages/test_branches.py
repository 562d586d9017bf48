"""Variants of an answer on the chat page: asked again and edited, shown, marked, gone on with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from markupsafe import Markup
from playwright.sync_api import BrowserContext, expect

from feedback.branches import Tree
from serve.pages.api import Api
from serve.pages.conversation import Conversation, Turn
from serve.pages.rendering import messages, thumbs
from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab, feedback, ids, recorded


def answered(question: str, answer: str = "yes") -> Turn:
    return Turn(question, answer, f"id-{question}-{answer}", "base", "complete")


def asked(conversation: Conversation, *questions: tuple[str, int, str]) -> None:
    """Ask each at its turn; ``answer`` is what comes, empty for none."""

    async def ask() -> None:
        for question, at, answer in questions:
            await conversation.ask(Api("http://127.0.0.1:1", None, "page"), "pawl", question, at)
            await conversation.stop()
            turn = conversation.turns[-1]
            turn.answer, turn.state = answer, "complete" if answer else "failed"

    asyncio.run(ask())


def texts(conversation: Conversation) -> list[str]:
    return [f"{turn.question} {turn.answer}".strip() for turn in conversation.turns]


def drawn(conversation: Conversation, is_busy: bool = False) -> list[str]:
    """The small print under the answers."""
    shown = messages(conversation.turns, is_busy)
    return [Markup(one["content"][-1]["text"]).striptags() for one in shown[1::2]]


def test_a_variant_comes_back_with_what_followed_it_and_is_gone_on_with() -> None:
    conversation = Conversation()
    asked(conversation, ("a", 0, "1"), ("b", 1, "2"), ("c", 2, "3"))
    asked(conversation, ("b", 1, "two"), ("A", 0, "eins"))
    assert texts(conversation) == ["A eins"]
    assert drawn(conversation) == ["Earlier variant Variant 2 of 2 Later variant"]
    conversation.choose(0, 0)
    assert texts(conversation) == ["a 1", "b two"]
    conversation.choose(1, 0)
    assert texts(conversation) == ["a 1", "b 2", "c 3"]
    assert "Variant 1 of 2" in drawn(conversation)[1]
    assert "disabled" in str(messages(conversation.turns, True)[1])
    asked(conversation, ("d", 3, "4"))
    conversation.choose(0, 1)
    conversation.choose(0, 0)
    assert texts(conversation) == ["a 1", "b 2", "c 3", "d 4"]
    conversation.turns[1].feedback = {"thumb": "down"}
    conversation.choose(1, 1)
    assert thumbs(conversation.turns) == [None] * 4
    conversation.show_answer("nowhere")
    conversation.turns[1].completion_id = "two"
    conversation.choose(0, 1)
    conversation.show_answer("two")
    assert texts(conversation) == ["a 1", "b two"]


def test_what_was_never_answered_makes_no_variant() -> None:
    conversation = Conversation()
    asked(conversation, ("a", 0, ""), ("a", 0, "1"), ("a", 0, ""), ("a", 0, "2"))
    assert [turn.answer for turn in conversation.turns[0].variants] == ["1", "2"]


def test_a_question_that_was_never_asked_gives_its_place_back() -> None:
    conversation = Conversation(turns=[answered("a"), answered("b"), answered("c")])
    before = list(conversation.turns)

    async def ask() -> None:
        api = Api("http://127.0.0.1:1", None, "page")
        await conversation.ask(api, "pawl", "edited", 1, held="the engine is being started")
        await conversation.stop()
        assert texts(conversation) == ["a yes", "edited"]
        conversation.take_back()

    asyncio.run(ask())
    assert conversation.turns == before
    assert not any("Variant" in text for text in drawn(conversation))


def test_the_store_s_branches_are_the_page_s() -> None:
    def said(*texts: str, **more: Any) -> list[dict[str, Any]]:
        roles = ("user", "assistant")
        return [{"role": roles[i % 2], "content": text, **(more if i == 0 else {})}
                for i, text in enumerate(texts)]  # fmt: skip

    found = {
        "conversation_id": "c",
        "messages": [{"role": "system", "content": "Be brief."},
                     *said("a", "1", variant=2), *said("b", "2", variant=1)],
        "branches": [
            {"of": 0, "at": 1, "messages": said("A", "eins", variant=1)},
            {"of": 0, "at": 1, "messages": [*said("α", "ena", variant=3), *said("x", "y")]},
            {"of": 0, "at": 3, "messages": [{"role": "system", "content": "Be kind."},
                                            *said("B", "zwei", variant=2)]},
            {"of": 2, "at": 3, "messages": said("x", "z", variant=2)},
        ],
    }  # fmt: skip
    found["branches"][1]["messages"][2]["variant"] = 1  # type: ignore[index]
    conversation = Conversation.restored(found)
    assert [[turn.answer for turn in one.variants] for one in conversation.turns] == [
        ["eins", "1", "ena"], ["2", "zwei"],
    ]  # fmt: skip
    conversation.choose(0, 2)
    assert texts(conversation) == ["α ena", "x y"]
    conversation.choose(1, 1)
    assert texts(conversation) == ["α ena", "x z"]
    conversation.choose(0, 1)
    assert texts(conversation) == ["a 1", "b 2"]


class Variants:
    """The buttons under the answers of a page."""

    def __init__(self, tab: Tab) -> None:
        self.tab, self.page = tab, tab.page

    def button(self, name: str, answer: int = 0) -> Any:
        return self.page.locator(".pawl-variants").nth(answer).get_by_role("button", name=name)

    def expect(self, *places: str) -> None:
        """As in "2 of 3", of those answers that have any."""
        expect(self.page.locator(".pawl-variants > span")).to_have_text(
            [f"Variant {place}" for place in places]
        )

    def edit(self, question: int, text: str) -> None:
        chat = self.page.locator("#pawl-chat")
        chat.get_by_role("button", name="Edit").nth(question).click()
        chat.locator("textarea").fill(text)
        chat.get_by_role("button", name="Submit").click()


def focused(tab: Tab) -> Callable[[str], None]:
    return lambda name: expect(
        tab.page.locator(".pawl-variants").get_by_role("button", name=name)
    ).to_be_focused()


@pytest.mark.browser
@pytest.mark.slow
def test_between_variants_by_mouse_and_by_keyboard(
    server: Composed, context: BrowserContext, tab: Tab
) -> None:
    before, variants = ids(server), Variants(tab)
    tab.ask("one")
    tab.thumb("Dislike").click()
    expect(tab.page.locator("#pawl-form")).to_be_visible()
    tab.button("Close").click()
    tab.button("Retry").click()
    variants.expect("2 of 2")
    expect(tab.page.locator(".pawl-saved")).to_have_count(0)
    variants.edit(0, "three")
    variants.expect("3 of 3")
    expect(tab.answers).to_have_text(["pawl@1 heard 5 characters."])
    tab.thumb("Like").click()

    expect(tab.page.locator(".pawl-saved")).to_contain_text(["marked this good"])
    first, again, edited = recorded(server, 3, *before)

    # By keyboard: the focus stays on the button, and goes to the other one at the end.
    variants.button("Earlier variant").focus()
    tab.page.keyboard.press("Enter")
    variants.expect("2 of 3")
    focused(tab)("Earlier variant")
    tab.page.keyboard.press("Space")
    variants.expect("1 of 3")
    focused(tab)("Later variant")
    expect(variants.button("Earlier variant")).to_be_disabled()
    expect(tab.page.locator(".pawl-saved")).to_contain_text(["marked this bad"])
    expect(tab.thumb("Disliked")).to_be_visible()

    # The earlier variant goes on, and is kept with that.
    tab.ask("and then?")
    going_on = recorded(server, 4, *before)[-1]
    assert [message["content"] for message in going_on.messages] == [
        "one", "pawl@1 heard 3 characters.", "and then?",
    ]  # fmt: skip
    variants.button("Later variant").click()
    variants.expect("2 of 3")
    expect(tab.answers).to_have_count(1)
    tab.thumb("Dislike").click()
    box = tab.page.get_by_label("What it should have said")
    box.fill("Three.")
    variants.button("Later variant").click()
    tab.button("Cancel").click()
    expect(box).to_have_value("Three.")
    tab.button("Save feedback").click()
    expect(tab.page.locator(".pawl-saved")).to_contain_text(["Three."])
    said = [feedback(server, row.completion_id) for row in (first, again, edited)]
    assert [row[0]["thumb"] for row in said] == ["down", "down", "up"]
    assert [row[0]["correction"] for row in said] == [None, "Three.", None]

    # In a second tab and after a reload.
    other = Tab(context.new_page())
    other.watch()
    other.open(tab.page.url)
    Variants(other).button("Earlier variant").click()
    Variants(other).expect("1 of 3")
    expect(other.answers).to_have_count(2)
    variants.expect("1 of 3")
    tab.page.close()
    tab.page = other.page
    server_side = Tree(recorded(server, 4, *before))
    assert len(server_side.branches(going_on)) == 2
    other.reload()
    Variants(other).expect("1 of 3")
    expect(other.answers).to_have_count(2)
    Variants(other).button("Later variant").click()
    expect(other.page.locator(".pawl-saved")).to_contain_text(["Three."])
    assert not other.complaints


@pytest.mark.browser
@pytest.mark.slow
def test_what_is_edited_outlives_a_reload_and_stays_in_its_conversation(
    server: Composed, tab: Tab
) -> None:
    before, chat = ids(server), tab.page.locator("#pawl-chat")
    edited, questions = chat.locator("textarea"), chat.locator("[data-testid=user]")
    tab.ask("one")
    tab.ask("three")
    chat.get_by_role("button", name="Edit").first.click()
    edited.fill("edited")
    tab.reload()
    expect(edited).to_have_value("edited")
    tab.button("New chat").click()
    expect(tab.answers).to_have_count(0)
    tab.ask("other")
    expect(questions).to_have_text(["other"])  # Gradio would show it as being edited
    tab.page.go_back()
    expect(edited).to_have_value("edited")
    expect(questions).to_have_text(["three"])
    chat.get_by_role("button", name="Submit").click()
    expect(tab.answers).to_have_text(["pawl@1 heard 6 characters."])
    expect(tab.button("Send")).to_be_visible()
    tab.reload()
    expect(questions).to_have_text(["edited"])
    expect(edited).to_have_count(0)
    chat.get_by_role("button", name="Edit").click()
    edited.fill("cancelled")
    edited.press("Escape")
    tab.reload()
    expect(questions).to_have_text(["edited"])
    expect(edited).to_have_count(0)
    rows = recorded(server, 4, *before)
    assert [row.messages[-1]["content"] for row in rows] == ["one", "three", "other", "edited"]
