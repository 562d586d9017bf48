"""What counts after several rows of one person on one answer."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.curation import curate
from feedback.store import Store
from pawl.errors import PawlError
from pawl.settings import Settings
from tests.feedback.examples import answered, conversation_in, submit

FLAG = {"thumb": "down", "categories": ["incorrect"], "correction": "Madrid."}


def counts(store: Store, *bodies: dict[str, Any]) -> dict[str, Any]:
    """What counts after these, without what was never said; each is a row of its own."""
    completion_id = answered(store, conversation_id=conversation_in("train")).completion_id
    for body in bodies:
        submit(store, {"completion_id": completion_id, **body}, "ann")
    assert len(store.feedback_history(completion_id)) == len(bodies)
    rows = store.current_feedback(completion_id)
    assert store.counts()["feedback"] == len(rows)
    names = ("thumb", "categories", "comment", "correction", "preferred_over")
    return {n: v for row in rows for n in names if (v := getattr(row, n))}


@pytest.mark.parametrize(
    ("bodies", "expected"),
    [
        ([FLAG, {"thumb": "down"}], FLAG),
        ([{"thumb": "down"}, {"correction": "Madrid."}, {"categories": ["incorrect"]}], FLAG),
        ([FLAG, {"thumb": "up"}], {**FLAG, "thumb": "up"}),
        ([FLAG, {"correction": "Madrid, in Spain."}], {**FLAG, "correction": "Madrid, in Spain."}),
        ([FLAG, {"categories": ["tone", "verbose"]}], {**FLAG, "categories": ["tone", "verbose"]}),
        ([FLAG, {"comment": "no"}], {**FLAG, "comment": "no"}),
        # null is absent, as everywhere in this API
        ([FLAG, {"thumb": "down", "correction": None, "categories": None}], FLAG),
        # an empty value is said on purpose
        ([FLAG, {"correction": ""}], {"thumb": "down", "categories": ["incorrect"]}),
        ([FLAG, {"categories": []}], {"thumb": "down", "correction": "Madrid."}),
        ([FLAG, {"thumb": "up", "categories": [], "correction": " "}], {"thumb": "up"}),
        ([FLAG, {"correction": ""}, {"correction": "Madrid."}], FLAG),
        # nothing is left
        ([FLAG, {"retract": True}], {}),
        ([FLAG, {"retract": True}, {"thumb": "down"}], {"thumb": "down"}),
        ([{"correction": "Madrid."}, {"correction": ""}], {}),
        ([{"comment": "no"}, {"comment": ""}, {"thumb": "down"}], {"thumb": "down"}),
    ],
)
def test_the_newest_value_of_each_field_counts(
    store: Store, bodies: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    assert counts(store, *bodies) == expected


def test_a_preference_outlives_a_thumb_and_is_taken_away_by_an_empty_name(store: Store) -> None:
    better = answered(store)
    worse = answered(store, messages=better.messages)
    body = {"completion_id": better.completion_id}
    submit(store, {**body, "preferred_over": worse.completion_id}, "ann")
    submit(store, {**body, "thumb": "up"}, "ann")
    (row,) = store.current_feedback()
    assert (row.thumb, row.preferred_over) == ("up", worse.completion_id)
    submit(store, {**body, "preferred_over": ""}, "ann")
    (row,) = store.current_feedback()
    assert (row.thumb, row.preferred_over) == ("up", None)


def test_people_and_choices_are_kept_apart(store: Store) -> None:
    first = answered(store)
    answered(store, completion_id=first.completion_id, choice_index=1, messages=first.messages)
    body = {"completion_id": first.completion_id}
    submit(store, {**body, "correction": "Ann's."}, "ann")
    submit(store, {**body, "correction": "The second.", "choice_index": 1}, "ann")
    submit(store, {**body, "thumb": "down"}, "bob")
    submit(store, {**body, "correction": ""}, "ann")
    left = {(row.rater_id, row.choice_index): row.correction for row in store.current_feedback()}
    assert left == {("ann", 1): "The second.", ("bob", 0): None}


def test_taking_away_what_was_never_said_is_empty_feedback(store: Store) -> None:
    body = {"completion_id": answered(store).completion_id, "correction": "", "categories": []}
    with pytest.raises(PawlError, match="empty") as err:
        submit(store, body, "ann")
    assert err.value.code == "invalid_feedback"
    assert store.feedback_history() == []


def test_curation_learns_from_what_counts(store: Store, settings: Settings) -> None:
    counts(store, FLAG, {"thumb": "down"})
    assert sorted(row.kind for row in curate(store, settings).rows) == ["pair", "sft"]


def test_a_good_answer_with_a_correction_is_a_counted_rejection(
    store: Store, settings: Settings
) -> None:
    counts(store, FLAG, {"thumb": "up"})
    curated = curate(store, settings)
    assert curated.rows == []
    assert curated.rejections == {"thumb up and a correction contradict each other": 1}


def test_texts_may_be_more_than_the_database_folds_in_memory(store: Store) -> None:
    values = {
        "seq": "range + 1000", "feedback_id": "'fb-' || range", "idempotency_key": "'k' || range",
        "completion_id": "'c' || range", "choice_index": "0", "rater_id": "'ann'",
        "created_at": "'2026-01-01T00:00:00.000000Z'", "thumb": "'down'",
        "categories_json": "'[]'", "correction": "repeat(md5(range::VARCHAR), 128)",
        "retracted": "false", "source": "'api'",
    }  # fmt: skip
    columns = ", ".join(f"{value} AS {name}" for name, value in values.items())
    with store.rewriter.database.reading() as cursor:
        cursor.execute(f"INSERT INTO feedback BY NAME SELECT {columns} FROM range(15_000)")
        cursor.execute("CHECKPOINT")
        cursor.execute("SET memory_limit = '128MB'")  # twice as much as the texts
    assert store.counts()["feedback"] == 15_000
    rows = store.current_feedback()
    assert len({row.correction for row in rows}) == 15_000
    assert {len(row.correction or "") for row in rows} == {4096}
