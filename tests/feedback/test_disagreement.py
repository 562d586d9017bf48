"""What counts where people say several things, or different ones: the many decide."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.curation import Curated, curate
from feedback.rows import Lesson
from feedback.store import Store
from pawl.schemas import Account, Completion, Role, utc_now
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
    assert curated.rejections == {"people disagree, for review": 2}
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


def _corrected(store: Store, answer: Completion, **corrections: str) -> None:
    for rater_id, correction in corrections.items():
        said(store, answer, correction=correction, rater_id=rater_id)


def _taught(store: Store, settings: Settings) -> list[str | None]:
    return [row.completion for row in curate(store, settings).rows if row.kind == "sft"]


def test_of_corrections_that_say_different_things_one_is_taught(
    store: Store, settings: Settings
) -> None:
    answer = answered(store, conversation_id=conversation_in("train"), completion="At 8.")
    _corrected(store, answer, ann="At 9.", bob="It opens at 10.")
    assert _taught(store, settings) == []
    _corrected(store, answer, eve="At 10!")  # the same as bob's, in other words
    assert _taught(store, settings) == ["It opens at 10."]
    assert curate(store, settings).rejections == {
        "more people back another correction of this prompt": 1,
        "another wording of this correction is learned": 1,
    }


def test_it_does_not_matter_in_which_conversation_it_was_said(
    store: Store, settings: Settings
) -> None:
    first = answered(store, conversation_id=conversation_in("train"), completion="No.")
    later = answered(
        store, conversation_id=conversation_in("holdout"), messages=first.messages, completion="No."
    )
    _corrected(store, first, ann="Yes, on Monday.")
    _corrected(store, later, bob="Yes, on Friday.", eve="Yes, on Friday.")
    assert _taught(store, settings) == ["Yes, on Friday."]


def test_a_reviewer_outweighs_users(store: Store, settings: Settings) -> None:
    now = utc_now()
    store.access.accounts.add(Account("rev", Role.REVIEWER, None, False, "sub", now, now))
    answer = answered(store, conversation_id=conversation_in("train"))
    for n in range(5):
        said(store, answer, thumb="up", rater_id=f"user {n}")
    _corrected(store, answer, rev="Right.", user="Wrong.", other="Wrong.")
    assert _taught(store, settings) == ["Right."]
    assert {row.label for row in curate(store, settings).rows} == {None}


def test_what_is_taught_is_not_taught_as_the_worse_answer(store: Store, settings: Settings) -> None:
    bad = answered(store, conversation_id=conversation_in("train"), completion="Bad.")
    good = answered(store, messages=bad.messages, completion="Good.")
    _corrected(store, bad, ann="Good.", bob="Good.")
    said(store, bad, preferred_over=good.completion_id, rater_id="eve")
    assert [(row.kind, row.chosen) for row in curate(store, settings).rows] == [
        ("sft", None), ("pair", "Good."),
    ]  # fmt: skip


def test_an_import_is_one_more_voice(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"), completion="Oslo.")
    lesson = Lesson("sft", "file", answer.messages, completion="Oslo.", origin={"source": "import"})
    store.append_imported([lesson], source_format="sft", file_sha256="0").result(timeout=60)
    assert _taught(store, settings) == ["Oslo."]
    _corrected(store, answer, ann="Bergen.", bob="Bergen.")
    assert _taught(store, settings) == ["Bergen."]
