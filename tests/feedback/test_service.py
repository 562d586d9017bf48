"""What is checked before feedback is kept, and how a repeat is answered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from feedback.categories import DEFAULT_CATEGORIES
from feedback.service import submit_feedbacks, take_snapshot
from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import FeedbackRequest
from pawl.settings import Settings
from tests.feedback.examples import answered, said, submit


def test_all_fields_are_kept(store: Store) -> None:
    completion = answered(store)
    other = answered(store, messages=completion.messages)
    body = {
        "completion_id": completion.completion_id,
        "choice_index": 0,
        "thumb": "down",
        "categories": ["incorrect", "tone", "incorrect"],
        "comment": "no",
        "correction": "It is 3.",
        "preferred_over": other.completion_id,
        "user": "ann",
        "idempotency_key": "k",
    }
    feedback, duplicate = submit(store, body, "ann", "chat_page")
    assert not duplicate
    assert store.current_feedback() == [feedback]
    assert (feedback.thumb, feedback.categories) == ("down", ["incorrect", "tone"])
    assert (feedback.comment, feedback.correction) == ("no", "It is 3.")
    assert feedback.preferred_over == other.completion_id
    assert (feedback.rater_id, feedback.source) == ("ann", "chat_page")
    again, duplicate = submit(store, {**body, "thumb": "up"}, "ann")
    assert duplicate
    assert again == feedback


def test_without_a_key_every_feedback_is_new(store: Store) -> None:
    body = {"completion_id": answered(store).completion_id, "thumb": "up"}
    assert [submit(store, body, "ann")[1] for _ in range(2)] == [False, False]
    assert len(store.feedback_history()) == 2


def test_several_are_each_kept_or_refused_for_themselves(store: Store) -> None:
    first, second = answered(store).completion_id, answered(store).completion_id
    bodies: list[dict[str, Any]] = [
        {"completion_id": first, "comment": "no", "idempotency_key": "k"},
        {"completion_id": "nope", "thumb": "up"},
        {"completion_id": first, "comment": ""},  # takes away what the first one says
        {"completion_id": second, "thumb": "down"},
        {"completion_id": second, "categories": ["unheard of"]},
        {"completion_id": first, "comment": "no", "idempotency_key": "k"},
    ]
    results = submit_feedbacks(store, [(FeedbackRequest(**body), "ann") for body in bodies])
    codes = [one.code if isinstance(one, PawlError) else one[1] for one in results]
    assert codes == [False, "completion_not_found", False, False, "unknown_category", True]
    assert len(store.feedback_history()) == 3
    assert store.current_feedback(first) == []


def test_taking_back(store: Store) -> None:
    completion = answered(store)
    said(store, completion, thumb="down")
    body = {"completion_id": completion.completion_id, "retract": True}
    feedback, _ = submit(store, body, "ann")
    assert feedback.retracted
    assert store.current_feedback() == []


def test_null_and_blank_fields_say_nothing(store: Store) -> None:
    body: dict[str, Any] = {
        "completion_id": answered(store).completion_id,
        "thumb": "up",
        "comment": "  ",
        "correction": "",
        "preferred_over": None,
        "categories": [],
    }
    feedback, _ = submit(store, body, "ann")
    assert (feedback.comment, feedback.correction, feedback.preferred_over) == (None, None, None)


@pytest.mark.parametrize(
    ("change", "param", "words"),
    [
        ({"thumb": None}, None, "empty"),
        ({"retract": True}, "retract", "Send retract alone"),
        ({"preferred_over_choice_index": 1}, "preferred_over_choice_index", "came alone"),
    ],
)
def test_what_does_not_fit_together_is_named_and_nothing_is_kept(
    store: Store, change: dict[str, Any], param: str | None, words: str
) -> None:
    body = {"completion_id": answered(store).completion_id, "thumb": "down", **change}
    with pytest.raises(PawlError) as err:
        submit(store, body, "ann")
    assert err.value.code == "invalid_feedback"
    assert err.value.param == param
    assert words in str(err.value)
    assert store.feedback_history() == []


def test_an_unknown_category_lists_the_known_ones(store: Store) -> None:
    body = {"completion_id": answered(store).completion_id, "categories": ["tone", "bad"]}
    with pytest.raises(PawlError, match="'bad'") as err:
        submit(store, body, "ann")
    assert err.value.code == "unknown_category"
    assert all(one.key in str(err.value) for one in DEFAULT_CATEGORIES)


def test_unknown_completions_are_not_found(store: Store) -> None:
    known = answered(store).completion_id
    for body, param in (
        ({"completion_id": "chatcmpl-nobody", "thumb": "up"}, "completion_id"),
        ({"completion_id": known, "choice_index": 3, "thumb": "up"}, "completion_id"),
        ({"completion_id": known, "preferred_over": "chatcmpl-nobody"}, "preferred_over"),
        (
            {
                "completion_id": known,
                "preferred_over": known,
                "preferred_over_choice_index": 1,
            },
            "preferred_over",
        ),
    ):
        with pytest.raises(PawlError) as err:
            submit(store, body, "ann")
        assert err.value.code == "completion_not_found"
        assert err.value.param == param


def test_what_can_be_preferred(store: Store) -> None:
    one, stranger = answered(store), answered(store)
    body = {"completion_id": one.completion_id, "preferred_over": one.completion_id}
    with pytest.raises(PawlError, match="itself"):
        submit(store, body, "ann")
    with pytest.raises(PawlError, match="different prompts"):
        submit(store, {**body, "preferred_over": stranger.completion_id}, "ann")


def test_a_choice_is_preferred_over_another_of_the_same_completion(store: Store) -> None:
    zero = answered(store)
    store.append_completion(replace(zero, choice_index=1, completion="other")).result(timeout=60)
    body = {"completion_id": zero.completion_id, "preferred_over": zero.completion_id}
    one, _ = submit(store, {**body, "choice_index": 1}, "ann")
    assert (one.choice_index, one.preferred_over_choice_index) == (1, 0)
    other, _ = submit(store, {**body, "preferred_over_choice_index": 1}, "bob")
    assert (other.choice_index, other.preferred_over_choice_index) == (0, 1)
    assert store.current_feedback() == [one, other]
    with pytest.raises(PawlError, match="itself"):
        submit(store, {**body, "choice_index": 1, "preferred_over_choice_index": 1}, "eve")


def test_default_categories_are_whole() -> None:
    keys = [one.key for one in DEFAULT_CATEGORIES]
    assert len(set(keys)) == 13
    assert {"incorrect", "invented", "verbose", "refused_wrongly", "other"} <= set(keys)
    for one in DEFAULT_CATEGORIES:
        assert one.definition
        assert one.example
        assert one.treatment in ("train", "review", "holdout_only", "ignore")


def test_the_same_rows_are_one_snapshot(store: Store, settings: Settings) -> None:
    completion = answered(store)
    said(store, completion, thumb="down", correction="Better.")
    said(store, answered(store), retracted=True)
    first = take_snapshot(store, settings)
    said(store, answered(store), comment="only words")
    second = take_snapshot(store, settings)
    assert second["snapshot_id"] == first["snapshot_id"]
    assert second["rejections"] == {"a comment alone": 1, "retracted": 1}
    assert len(store.snapshots()) == 1
    with store._database.reading() as cursor:
        kept = cursor.execute("SELECT kind, origin_json FROM curated ORDER BY seq").fetchall()
        reasons = cursor.execute("SELECT reason FROM rejections").fetchall()
    assert {kind for kind, _ in kept} <= {"sft", "pair", "regression"}
    assert all(completion.completion_id in origin for _, origin in kept)
    assert reasons == [("retracted",)]


def test_another_salt_is_refused(store: Store, settings: Settings) -> None:
    take_snapshot(store, settings)
    with pytest.raises(PawlError, match="split_salt"):
        take_snapshot(store, settings.model_copy(update={"split_salt": "other"}))
