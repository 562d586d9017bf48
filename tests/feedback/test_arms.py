"""Two versions side by side: what is counted of their conversations."""

from __future__ import annotations

from typing import Any

from feedback.arms import FEWEST_BEFORE, takes_part
from feedback.store import Store
from tests.feedback.examples import answered, make_completion, make_promotion, said, wait_all


def test_what_went_wrong_counts_once_for_a_conversation(store: Store) -> None:
    since = "2026-01-02T00:00:00.000000Z"
    before, after = "2026-01-01T00:00:00.000000Z", "2026-01-03T00:00:00.000000Z"
    canary = make_promotion("pawl@1", "canary", created_at=since, probe={"share": 0.5})
    drawn = {
        is_theirs: [f"c-{n}" for n in range(40)
                    if takes_part(canary.promotion_id, 0.5, f"c-{n}") == is_theirs]
        for is_theirs in (True, False)
    }  # fmt: skip
    wait_all(
        store.append_completion(
            make_completion(created_at=before, total_seconds=1 + n / 1000, n_completion_tokens=80)
        )
        for n in range(FEWEST_BEFORE)
    )
    answered(store, rater_id="dan", created_at=before)
    answered(store, rater_id="eve", created_at="2025-11-01T00:00:00.000000Z")

    def answer(version: str, name: str, **more: Any) -> Any:
        conversation = drawn[version == "pawl@1"][int(name[2:])]
        return answered(store, **{"version": version, "conversation_id": conversation,
                                  "created_at": after, "total_seconds": 1.0,
                                  "n_completion_tokens": 80, **more})  # fmt: skip

    twice = [answer("pawl@1", "c-1", rater_id="ann") for _ in range(2)]
    said(store, twice[1], rater_id="bob", thumb="down")
    said(store, twice[0], rater_id="cid", categories=["incorrect"])
    liked = answer("base", "c-2", rater_id="bob")
    said(store, liked, rater_id="bob", thumb="up")
    answer("base", "c-3", rater_id="bob", status="error")
    answer("pawl@1", "c-4", rater_id="ann", total_seconds=2.9)
    answer("pawl@1", "c-4", rater_id="ann", total_seconds=1.4)  # any adapter costs some time
    answer("base", "c-8", rater_id="bob", total_seconds=9.0, n_completion_tokens=900)
    # While the challenger was away the champion answered in its place: that is no comparison.
    said(store, answer("base", "c-9", conversation_id=drawn[True][9]), thumb="down")
    said(store, answer("pawl@1", "c-5", asked_model="pawl@1"), thumb="down")
    said(store, answer("pawl@1", "c-6", created_at=before), thumb="down")
    said(store, answer("pawl@7", "c-7"), thumb="down")
    arms = store.arms(canary)
    assert arms.n_conversations == {"base": 3, "pawl@1": 2}
    assert arms.raters == {"ann", "bob", "dan"}
    assert arms.wrong == {
        "flagged": [("pawl@1", "bob")], "failed": [("base", "bob")], "slow": [("pawl@1", "ann")],
    }  # fmt: skip
