"""What counts where people say several things, or different ones: the many decide."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.curation import Curated, curate
from feedback.store import Store
from pawl.settings import Settings
from tests.feedback.examples import answered, conversation_in, said


def _kinds(curated: Curated) -> list[str]:
    return [row.kind for row in curated.rows]


def test_a_thumb_after_a_correction_leaves_it(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"))
    said(store, answer, thumb="down", categories=["incorrect"], correction="Oslo.")
    said(store, answer, thumb="down")
    rows = curate(store, settings).rows
    assert [(row.kind, row.completion or row.chosen) for row in rows] == [
        ("sft", "Oslo."), ("pair", "Oslo."),
    ]  # fmt: skip
    assert rows[0].categories == ["incorrect"]


@pytest.mark.parametrize("thumb", ["up", "down"])
def test_an_answer_at_its_token_limit_is_not_learned(
    store: Store, settings: Settings, thumb: Any
) -> None:
    cut = answered(store, conversation_id=conversation_in("train"), finish_reason="length")
    said(store, cut, thumb=thumb)
    other = answered(store, conversation_id=cut.conversation_id, messages=cut.messages)
    said(store, cut, preferred_over=other.completion_id, rater_id="bob")
    curated = curate(store, settings)
    assert curated.rows == []
    assert curated.rejections == {"the answer ran into its token limit": 2}
    said(store, cut, thumb="down", correction="All of it.")
    assert _kinds(curate(store, settings)) == ["sft", "pair"]


def test_corrections_that_contradict_each_other_are_decided_by_the_many(
    store: Store, settings: Settings
) -> None:
    train = conversation_in("train")
    wrong = answered(store, conversation_id=train, completion="Graz")
    right = answered(store, conversation_id=train, messages=wrong.messages, completion="Vienna")
    said(store, wrong, correction="Vienna", rater_id="ann")
    said(store, right, correction="Graz", rater_id="bob")
    curated = curate(store, settings)
    assert curated.rows == []
    assert curated.rejections == {"people disagree about which answer is better": 4}
    said(store, wrong, correction="Vienna", rater_id="eve")  # two against one
    rows = curate(store, settings).rows
    assert [(row.kind, row.completion or row.chosen) for row in rows] == [
        ("sft", "Vienna"), ("pair", "Vienna"),
    ]  # fmt: skip


def test_one_against_ten_changes_nothing(store: Store, settings: Settings) -> None:
    train = conversation_in("train")
    answer = answered(store, conversation_id=train, completion="9")
    twin = answered(store, conversation_id=train, messages=answer.messages, completion="9")
    for n in range(10):  # the same answer, wherever it was given
        said(store, answer if n % 2 else twin, thumb="up", rater_id=f"rater {n}")
    said(store, answer, correction="8", rater_id="the one")
    curated = curate(store, settings)
    assert [(row.kind, row.completion, row.label) for row in curated.rows] == [
        ("unpaired", "9", True)
    ]
    assert curated.rejections == {
        "most people find this answer good": 1, "an exact duplicate": 9,
    }  # fmt: skip
