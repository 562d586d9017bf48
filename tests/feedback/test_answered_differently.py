"""What is said back to a person: only what a standing version was seen to answer, only to them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from feedback.answered_differently import MOST_BYTES, answered_differently
from feedback.store import Store
from pawl.schemas import Completion, ItemScore, utc_now
from tests.feedback.examples import make_completion, make_feedback, make_promotion


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "pawl.duckdb") as opened:
        yield opened


def flag(store: Store, rater: str = "ann", correction: str = "It is 4.") -> Completion:
    answer = make_completion(rater_id=rater, completion="It is 5.", version="base")
    store.append_completion(answer).result()
    store.append_feedback(
        make_feedback(answer, rater_id=rater, thumb="down", correction=correction)
    ).result()
    return answer


def let_in(
    store: Store, version: str, answers: dict[str, tuple[Completion, str, str]], **changed: object
) -> None:
    """A version whose gate saw the champion's and its own answer to each prompt."""
    run_id = f"run-{version}"
    for role, at in (("champion", 1), ("challenger", 2)):
        scores = [
            ItemScore(
                "holdout", item, 1.0, "c", None,
                {"prompt": told[0].messages, "answer": told[at], "answer_is_whole": True,
                 "correction": "It is 4.", "matches": told[at] == "It is 4."},
            )
            for item, told in answers.items()
        ]  # fmt: skip
        store.append_scores(run_id, role, scores).result()
    move = make_promotion(version, "live", run_id=run_id, created_at=utc_now())
    store.append_promotion(move).result()


def test_of_very_much_the_newest_answers_are_read(store: Store) -> None:
    old = flag(store)
    let_in(store, "pawl@1", {"r1": (old, "It is 5.", "It is 4.")})
    assert len(answered_differently(store, "ann")) == 1
    long = make_completion(rater_id="ann", messages=[{"role": "user", "content": "x" * MOST_BYTES}])
    store.append_completion(long).result()
    store.append_feedback(make_feedback(long, rater_id="ann", thumb="down")).result()
    assert answered_differently(store, "ann") == []


def test_two_dismissals_and_a_change_at_once_are_all_kept(store: Store) -> None:
    rows = [make_completion(rater_id="ann", conversation_id="c") for _ in range(20)]
    work = [partial(store.conversations.dismiss, row) for row in rows]
    private = partial(
        store.conversations.change, "c", "ann", lambda note: replace(note, learn=False)
    )
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(one) for one in (*work[:10], private, *work[10:], work[0])]:
            done.result()
    note = store.conversations.note("c", "ann")
    assert set(note.dismissed) == {row.completion_id for row in rows}
    assert not note.learn


def roll_back(store: Store, version: str) -> None:
    store.append_promotion(make_promotion(version, "live", kind="rollback", run_id=None)).result()


def test_a_flag_that_the_gate_saw_answered_otherwise_is_told_to_whoever_flagged(
    store: Store,
) -> None:
    answer, unasked = flag(store), flag(store)
    let_in(store, "pawl@1", {"r1": (answer, "It is 5.", "it is 5")})  # as before, but for a stop
    assert answered_differently(store, "ann") == []
    let_in(store, "pawl@2", {"r1": (answer, "it is 5", "It is 4.")})
    (told,) = answered_differently(store, "ann")
    assert (told.completion_id, told.since, told.answered_by) == (
        answer.completion_id, "pawl@2", "pawl@2",
    )  # fmt: skip
    assert (told.flagged, told.answer, told.says_the_correction) == ("It is 5.", "It is 4.", True)
    assert told.completion_id != unasked.completion_id
    assert answered_differently(store, "bob") == []

    let_in(store, "pawl@3", {"r1": (answer, "It is 4.", "Four it is.")})
    (told,) = answered_differently(store, "ann")
    assert (told.since, told.answered_by, told.answer) == ("pawl@2", "pawl@3", "Four it is.")
    assert not told.says_the_correction
    let_in(store, "pawl@4", {"r1": (answer, "Four it is.", "It is 5.")})  # the fault is back
    assert answered_differently(store, "ann") == []
    roll_back(store, "pawl@3")
    assert answered_differently(store, "ann") == [told]
    roll_back(store, "pawl@1")
    assert answered_differently(store, "ann") == []


def test_what_the_version_before_answered_alike_is_not_laid_to_this_one(store: Store) -> None:
    answer = flag(store)
    let_in(store, "pawl@1", {"r1": (answer, "It is 4.", "It is 4.")})
    assert answered_differently(store, "ann") == []


def test_what_was_dismissed_deleted_taken_back_or_flagged_later_is_not_told(store: Store) -> None:
    gone, kept, deleted, taken_back = (flag(store) for _ in range(4))
    seen = {
        str(n): (one, "It is 5.", "It is 4.")
        for n, one in enumerate((gone, kept, deleted, taken_back))
    }
    let_in(store, "pawl@1", seen)
    assert len(answered_differently(store, "ann")) == 4
    store.conversations.dismiss(gone)
    store.conversations.delete([deleted.conversation_id], "ann")
    store.append_feedback(make_feedback(taken_back, retracted=True)).result()
    assert [one.completion_id for one in answered_differently(store, "ann")] == [kept.completion_id]
    store.append_feedback(make_feedback(kept, thumb="down", categories=["verbose"])).result()
    assert answered_differently(store, "ann") == []  # of the answer as it is flagged now
