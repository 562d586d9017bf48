"""Two answers to a prompt, without their names: chosen on the page, learned from as a pair."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import expect

from feedback.service import take_snapshot
from pawl.settings import PageSettings, Settings
from serve.api.conversations import asked_beside
from serve.pages.api import Api
from serve.pages.conversation import Conversation, OpenPage, Turn
from serve.pages.side_by_side import SideBySide
from tests.feedback.examples import make_completion
from tests.serve.live import live
from tests.serve.pages.composed import Composed, side_by_side
from tests.serve.pages.tab import Tab, feedback, ids, recorded
from tests.serve.pages.test_two_pages import Pages

RATER = "page-" + "0" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with side_by_side(tmp_path_factory.mktemp("server") / "state") as running:
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


def test_a_choice_pressed_twice_or_asked_past_is_kept_once_and_on_its_answer(
    tmp_path: Path,
) -> None:
    with live(Settings(state_dir=tmp_path)) as gateway:

        def answer(text: str) -> Turn:
            body = {"model": "pawl", "messages": [{"role": "user", "content": "q"}]}
            url, headers = f"{gateway.url}/v1/chat/completions", {"X-Pawl-Rater": RATER}
            reply = httpx.post(url, json=body, headers=headers).raise_for_status()
            return Turn("q", text, reply.json()["id"], "base", "complete")

        api = Api(gateway.url, None, RATER)

        async def open_page(*of: Any) -> None:
            """It is open."""

        sides = SideBySide(PageSettings(), lambda rater, request: api, open_page)

        async def choose(turn: Turn, *pressed: str, asks_on: bool = False) -> None:
            page = OpenPage(Conversation("chat", [turn]))
            work = [
                sides.choose(json.dumps({"of": turn.completion_id, "side": side}), page, None, None)
                for side in pressed
            ]  # fmt: skip
            at_once = asyncio.gather(*work)
            await asyncio.sleep(0)  # the choice is on its way
            if asks_on:
                turn.keep(turn.sides[0])
            await at_once

        for asks_on, pressed in ((False, ("first", "second")), (True, ("second",))):
            one, two = answer("one"), answer("two")
            both = [one.completion_id, two.completion_id]
            one.other = two
            asyncio.run(choose(one, *pressed, asks_on=asks_on))
            assert [turn.completion_id for turn in one.variants] == both
            assert one.completion_id == both[0]
            said = [turn.feedback and turn.feedback["preferred_over"] for turn in one.variants]
            assert said == ([None, both[0]] if asks_on else [both[1], None])
            stored = gateway.store.current_feedback([str(name) for name in both])
            assert len(stored) == 1


@pytest.mark.browser
def test_two_answers_that_are_read_back_are_chosen_from_on_a_page_that_shows_them_still(
    server: Composed,
) -> None:
    """The server started anew behind the page."""

    async def choose(choice: dict[str, Any], conversation_id: str) -> OpenPage:
        pages, page = Pages(server), OpenPage()
        request = pages.request("1", conversation_id)
        await pages.chat._sides.choose(json.dumps(choice), page, RATER, request)
        return page

    before = asked(server, "which?", "base")
    (turn,) = before.turns
    first, second = (one.completion_id for one in turn.sides)
    page = asyncio.run(choose({"of": turn.completion_id, "side": "second"}, before.conversation_id))
    (now,) = page.turns
    assert (now.completion_id, now.other, len(now.variants)) == (second, None, 2)
    assert now.feedback is not None
    assert now.feedback["preferred_over"] == first
    again = asyncio.run(choose({"of": second, "side": "first"}, before.conversation_id))
    assert [one.other for one in again.turns] == [None]  # chosen already
    (said,) = server.store.current_feedback([str(first), str(second)])
    assert said.preferred_over == first
    # Answers of one moment may be read back in the other order: what is pressed is what was drawn.
    before = asked(server, "which now?", "base")
    (turn,) = before.turns
    assert turn.other is not None
    drawn = [str(one.completion_id) for one in reversed(turn.sides)]
    of = str(turn.other.completion_id)
    (now,) = asyncio.run(choose({"of": of, "side": "first"}, before.conversation_id)).turns
    assert (now.completion_id, now.other) == (drawn[0], None)
    (said,) = server.store.current_feedback(drawn)
    assert said.preferred_over == drawn[1]


@pytest.mark.parametrize(
    ("began", "is_beside"),
    [("10:00:00.004", True), ("10:00:02.900", True), ("10:00:03.100", False)],
    ids=["quick", "overlapping", "asked anew"],
)
def test_answers_of_one_moment_are_compared_though_the_first_was_over(
    began: str, is_beside: bool
) -> None:
    times = {"10:00:00": 0.002 if began < "10:00:01" else 3.0, began: 0.002}
    rows = [
        make_completion(
            messages=[{"role": "user", "content": "which?"}],
            created_at=f"2026-11-29T{at}+00:00",
            total_seconds=seconds,
        )
        for at, seconds in times.items()
    ]
    for shown, other in (rows, reversed(rows)):
        assert asked_beside(rows, shown) == (other if is_beside else None)


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
    choices, shown = ask("three"), sides.all_text_contents()
    tab.reload()  # nothing was chosen: it is asked again, in the same order
    expect(sides).to_have_text(shown)
    choices.get_by_role("button", name="Both bad").click()
    expect(tab.page.locator("#pawl-form")).to_be_visible()
    later = recorded(server, 2, *before, chosen.completion_id, lost.completion_id)
    for row in later:
        assert row.messages[1]["content"] == "base heard 12 characters."
        assert [one["thumb"] for one in feedback(server, row.completion_id)] == ["down"]

    snapshot = take_snapshot(server.store, server.settings)
    pairs = [one for one in server.store.snapshot_rows(snapshot["snapshot_id"])
             if one.kind == "pair"]  # fmt: skip
    chosen_over = {one.chosen: one.rejected for one in pairs}
    assert chosen_over["base heard 12 characters."] == "pawl@1 heard 12 characters."
