"""What is said back on the chat page, on the next visit, and dismissed for good."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from pawl.schemas import ItemScore
from tests.feedback.examples import make_promotion
from tests.serve.live import eventually
from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab, ids, recorded

pytestmark = pytest.mark.browser
HOSTILE = "</div></details><style>*{display:none}</style><b onclick=alert(1)>now</b>\n\n# **four**"


def test_flags_are_said_back_on_the_next_visit_and_dismissed_by_keyboard(
    server: Composed, tab: Tab
) -> None:
    before = ids(server)
    questions = [f"How much is {n} and {n}? <i>Say</i> it." for n in range(5)]
    for question in questions:
        tab.ask(question)
    rows = recorded(server, 5, *before)
    place = tab.page.locator("#pawl-said-back")
    expect(place.locator("section")).to_have_count(0)
    for row in rows:
        body = {"completion_id": row.completion_id, "thumb": "down", "correction": "four"}
        answer = tab.page.request.post(
            f"{server.url}/v1/feedback", data=body, headers={"X-Pawl-Rater": row.rater_id}
        )
        assert answer.ok, answer.text()
    for role, answer in (("champion", "It was five."), ("challenger", HOSTILE)):
        scores = [
            ItemScore("holdout", row.completion_id, 1.0, "c", None, {
                "prompt": row.messages, "answer": answer, "answer_is_whole": True,
                "correction": "four", "matches": True,
            })
            for row in rows
        ]  # fmt: skip
        server.store.append_scores("night-2", role, scores).result()
    server.store.append_promotion(
        make_promotion("pawl@14", "live", run_id="night-2", created_at="2999-05-03T01:00:00Z")
    ).result()

    tab.reload()
    folded = place.locator("summary")
    expect(folded).to_have_count(3)
    expect(folded.first).to_contain_text("is answered differently since pawl@14")
    expect(folded.first).to_contain_text("How much is 4 and 4? <i>Say</i> it.")
    folded.first.focus()
    tab.page.keyboard.press("Enter")
    expect(place.get_by_text("It says what you wrote.").first).to_be_visible()
    expect(place.locator("details[open] .pawl-drawn").first).to_contain_text("pawl@1 heard")
    expect(place.locator("details[open] .pawl-drawn").last).to_contain_text("<style>")
    expect(place.locator("style, b[onclick], h1")).to_have_count(0)
    for size in ((1280, 800), (390, 800)):
        tab.page.set_viewport_size({"width": size[0], "height": size[1]})
        wide = tab.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= size[0]
        expect(tab.box).to_be_in_viewport()
    place.get_by_role("button", name="Show more (2)").click()
    expect(folded).to_have_count(5)
    expect(place.locator("details[open]")).to_have_count(1)  # what is being read stays open

    place.locator("details[open] button").focus()
    tab.page.keyboard.press("Enter")
    expect(folded).to_have_count(4)
    expect(folded.first).to_be_focused()
    noted = server.store.conversations.dismissed(rows[0].rater_id)
    assert noted == {rows[4].completion_id}
    tab.reload()
    expect(folded).to_have_count(3)
    expect(folded.first).to_contain_text("How much is 3 and 3?")
    server.store.append_promotion(
        make_promotion("pawl@1", "live", kind="rollback", run_id=None)
    ).result()
    eventually(lambda: server.store.champion() == "pawl@1", "it is rolled back")
    tab.reload()
    expect(tab.answers.first).to_be_visible()
    expect(place.locator("section")).to_have_count(0)
