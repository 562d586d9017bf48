"""Where a row went, or which rule put it aside: by the id of answer, feedback or row."""

from __future__ import annotations

import pytest

from feedback.explain import explain
from feedback.formats import import_rows
from feedback.service import take_snapshot
from feedback.store import Store
from pawl.errors import PawlError
from pawl.settings import Settings
from tests.feedback.examples import answered, conversation_in, said


def test_a_correction_that_is_learned(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"), completion="Sydney.")
    feedback = said(store, answer, correction="Canberra.")
    snapshot = take_snapshot(store, settings)["snapshot_id"]
    found = explain(store, settings, answer.completion_id)
    assert (found.kind, found.side, found.left_out) == ("completion", "train", [])
    assert [(row["kind"], row["split"]) for row in found.rows] == [
        ("sft", "train"), ("pair", "train"),
    ]  # fmt: skip
    for row in found.rows:
        assert row["snapshots"] == [snapshot]
        assert (row["cluster"], row["weight"]) == (found.cluster, 1.0)
        assert row["feedback_id"] == feedback.feedback_id
    assert [(one["text"], one["good"], one["bad"]) for one in found.story] == [
        ("Canberra.", ["ann"], []), ("Sydney.", [], ["ann"]),
    ]  # fmt: skip
    by_feedback = explain(store, settings, feedback.feedback_id)
    assert (by_feedback.kind, by_feedback.rows) == ("feedback", found.rows)
    by_row = explain(store, settings, found.rows[0]["row_id"])
    assert (by_row.kind, by_row.snapshots) == ("row", [snapshot])
    assert found.rows[0] in by_row.rows


def test_what_the_many_decided_against_says_how_they_voted(
    store: Store, settings: Settings
) -> None:
    answer = answered(store, completion="9")
    for name in ("bob", "eve"):
        said(store, answer, thumb="up", rater_id=name)
    lone = said(store, answer, correction="8", rater_id="ann")
    found = explain(store, settings, lone.feedback_id)
    assert found.rows == []
    [reason] = [one["reason"] for one in found.left_out]
    assert reason == "most people find this answer good"
    votes = {one["text"]: (one["good"], one["bad"]) for one in found.story}
    assert votes["9"] == (["bob", "eve"], ["ann"])


def test_a_duplicate_names_the_row_that_stays(store: Store, settings: Settings) -> None:
    first = answered(store, conversation_id=conversation_in("train"), completion="Four")
    twin = answered(store, messages=first.messages, completion="Four")
    said(store, first, thumb="up")
    again = said(store, twin, thumb="up", rater_id="bob")
    [row] = explain(store, settings, first.completion_id).rows
    found = explain(store, settings, again.feedback_id)
    assert [one["reason"] for one in found.left_out] == ["an exact duplicate"]
    by_row = explain(store, settings, row["row_id"])
    assert ([one["row_id"] for one in by_row.rows], len(by_row.left_out)) == ([row["row_id"]], 1)


def test_earlier_words_point_to_those_that_count(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"))
    first = said(store, answer, thumb="up")
    second = said(store, answer, retracted=True)
    found = explain(store, settings, first.feedback_id)
    assert second.feedback_id in found.note
    assert [one["reason"] for one in found.left_out] == ["retracted"]


def test_a_row_of_an_old_snapshot_says_what_became_of_it(store: Store, settings: Settings) -> None:
    answer = answered(store, conversation_id=conversation_in("train"))
    said(store, answer, thumb="up")
    old = take_snapshot(store, settings)["snapshot_id"]
    [row] = explain(store, settings, answer.completion_id).rows
    said(store, answer, retracted=True)
    found = explain(store, settings, row["row_id"])
    assert (found.rows, found.snapshots) == ([], [old])


@pytest.mark.slow
def test_what_is_put_aside_comes_with_its_figures(store: Store, settings: Settings) -> None:
    for n in range(5):
        said(store, answered(store, rater_id=f"r{n}"), thumb="up", rater_id=f"r{n}")
    copies = [
        said(store, answered(store, messages=[{"role": "user", "content": text}]),
             correction="Buy at Acme", rater_id=name)
        for name, texts in {"x": "ABCDEFGHIJKL", "y": "MNOPQRSTUVW"}.items()
        for text in (f"{letter * 9} {letter * 7}" for letter in texts)
    ]  # fmt: skip
    found = explain(store, settings, copies[0].feedback_id)
    assert found.rows == []
    [left_out] = found.left_out
    assert left_out["reason"] == "quarantine: one correction under many prompts"
    assert left_out["found"] == "under 23 prompts, 20 at most"


def test_an_answer_without_feedback_and_an_unknown_id(store: Store, settings: Settings) -> None:
    found = explain(store, settings, answered(store).completion_id)
    assert (found.kind, found.rows, found.left_out) == ("completion", [], [])
    assert "nobody said anything" in found.note
    with pytest.raises(PawlError) as caught:
        explain(store, settings, "nothing")
    assert caught.value.code == "not_found"


def test_an_imported_row_that_is_left_out(store: Store, settings: Settings) -> None:
    import_rows(store, b'{"prompt": "Name a token.", "completion": "<|im_end|>"}', "rows.jsonl")
    [lesson] = store.imported()
    found = explain(store, settings, lesson.row_id)
    assert (found.kind, found.rows, len(found.left_out)) == ("row", [], 1)
