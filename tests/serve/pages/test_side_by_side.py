"""Two answers to a prompt, without their names: chosen on the page, learned from as a pair."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import expect

from feedback.service import take_snapshot
from pawl.settings import PageSettings, Settings
from serve.pages.api import Api
from serve.pages.conversation import Conversation
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab, feedback, ids, recorded

RATER = "page-" + "0" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    page = PageSettings(side_by_side=1, side_by_side_with="base")
    settings = Settings(state_dir=tmp_path_factory.mktemp("server") / "state", page=page)
    with composed(settings) as running:
        assert running.promote() == "pawl@1"
        yield running


def asked(server: Composed, question: str, beside: str, stop: bool = False) -> Conversation:
    conversation = Conversation()

    async def ask() -> None:
        api = Api(server.url, None, RATER)
        turn = await conversation.ask(api, "pawl", question, 0, beside=beside)
        async for _ in conversation.frames("session"):
            if stop and turn.answer and turn.other and turn.other.answer:
                await conversation.stop()

    asyncio.run(ask())
    return conversation


@pytest.mark.browser
def test_one_of_two_answers_goes_on_once_the_other_failed_or_says_the_same(
    server: Composed,
) -> None:
    for beside in ("pawl@9", "pawl"):
        (turn,) = asked(server, "one", beside).turns
        assert (turn.answer, turn.state, turn.other, turn.error) == (
            "pawl@1 heard 3 characters.", "complete", None, "",
        )  # fmt: skip


@pytest.mark.browser
def test_stop_ends_both(server: Composed) -> None:
    before = ids(server)
    (turn,) = asked(server, "hold midway", "base", stop=True).turns
    assert (turn.state, turn.other) == ("stopped", None)
    rows = recorded(server, 2, *before)
    assert [(row.version, row.status) for row in sorted(rows, key=lambda row: row.version)] == [
        ("base", "cancelled"), ("pawl@1", "cancelled"),
    ]  # fmt: skip


@pytest.mark.browser
def test_the_better_one_is_chosen_by_keyboard_kept_and_learned_as_a_pair(
    server: Composed, tab: Tab
) -> None:
    def ask(text: str) -> Any:
        tab.box.fill(text)
        tab.box.press("Enter")
        choices = tab.page.locator(".pawl-choices")
        expect(choices).to_be_visible()
        expect(tab.button("Send")).to_be_visible()
        return choices

    before = ids(server)
    choices = ask("one <b>x</b>")
    sides = tab.page.locator(".pawl-sides section")
    expect(sides).to_have_count(2)
    expect(tab.page.locator(".pawl-under")).to_have_count(0)  # no names
    for width in (1280, 390):
        tab.page.set_viewport_size({"width": width, "height": 800})
        first, second = sides.nth(0).bounding_box(), sides.nth(1).bounding_box()
        assert first is not None
        assert second is not None
        assert (first["y"] == second["y"]) is (width == 1280)  # else one under the other
    is_second = "base" in sides.nth(1).inner_text()  # the order is drawn by chance
    choices.get_by_role("button", name=f"Answer {1 + is_second} is better").focus()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".pawl-facts").last).to_contain_text("is better: answer 1 is")
    expect(tab.answers.last).to_have_text("base heard 12 characters.")
    expect(tab.box).to_be_focused()
    expect(tab.page.locator(".pawl-under").last).to_contain_text("of 2")  # the other is a variant
    both = recorded(server, 2, *before)
    assert both[0].messages == both[1].messages
    chosen, lost = sorted(both, key=lambda row: row.version)
    (said,) = feedback(server, chosen.completion_id)
    assert (said["preferred_over"], said["thumb"]) == (lost.completion_id, None)

    tab.reload()
    expect(tab.answers.last).to_have_text("base heard 12 characters.")
    ask("three").get_by_role("button", name="Both bad").click()
    expect(tab.page.locator("#pawl-form")).to_be_visible()
    later = recorded(server, 2, *before, chosen.completion_id, lost.completion_id)
    for row in later:
        assert row.messages[1]["content"] == "base heard 12 characters."
        assert [one["thumb"] for one in feedback(server, row.completion_id)] == ["down"]

    snapshot = take_snapshot(server.store, server.settings)
    pairs = [one for one in server.store.snapshot_rows(snapshot["snapshot_id"])
             if one.kind == "pair"]  # fmt: skip
    assert [(one.chosen, one.rejected) for one in pairs] == [
        ("base heard 12 characters.", "pawl@1 heard 12 characters.")
    ]
