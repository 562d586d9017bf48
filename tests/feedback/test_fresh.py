"""Test, then train: on which side rows stand, and the ledger that it follows from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from feedback.fresh import WAITS, assign, attempt_number, clusters_to_test, prompts_of_looks
from feedback.rows import Lesson
from feedback.service import take_snapshot, traffic_of
from feedback.splits import prompt_key
from feedback.store import Store
from pawl.schemas import Look, Promotion, Split, TrainingRow, utc_now
from pawl.settings import Settings
from tests.feedback.examples import (
    answered,
    conversation_in,
    make_completion,
    make_feedback,
    said,
)


def correction(text: str, split: Split = "train") -> list[TrainingRow]:
    """What curation makes of a correction."""
    prompt = [{"role": "user", "content": text}]
    pair = Lesson("pair", f"of {text}", prompt, chosen=f"right {text}", rejected="wrong")
    if split == "holdout":
        return [replace(pair, kind="regression").in_split(split)]
    sft = Lesson("sft", f"of {text}", prompt, completion=f"right {text}")
    return [sft.in_split(split), pair.in_split(split)]


def key(text: str) -> str:
    return prompt_key([{"role": "user", "content": text}])


def look(run_id: str, **values: object) -> Look:
    made = Look(run_id, "2026-01-01T00:00:00Z", "snap", 1, 0.01, "reject", {})
    return replace(made, **values)  # type: ignore[arg-type]


def test_half_of_what_is_new_tests_first() -> None:
    fresh = [f"new {i}" for i in range(60)]
    rows = [*correction("old"), *correction("later", "holdout")]
    rows += [row for text in fresh for row in correction(text)]
    found, waiting = assign(rows, clusters_to_test(rows, {key("old"), key("later")}, "salt"))
    sides = {(row.prompt[0]["content"], row.kind, row.split) for row in found}
    assert {("old", "sft", "train"), ("later", "regression", "holdout")} <= sides
    tested = {text for text in fresh if (text, "regression", "holdout") in sides}
    assert 18 < len(tested) < 42
    for text in fresh:
        assert ((text, "sft", "train") in sides) != (text in tested)
    assert [reason for reason, _ in waiting] == [WAITS] * len(tested)
    ids = {row.row_id for row in found}
    assert len(ids) == len(found)


def test_near_duplicates_test_or_teach_together() -> None:
    rows = [
        replace(row, cluster=f"cluster {i}")
        for i in range(40)
        for text in (f"new {i}", f"new {i} again")
        for row in correction(text)
    ]
    found, _ = assign(rows, clusters_to_test(rows, {key("new 0 again")}, "salt"))
    sides: dict[str, set[str]] = {}
    for row in found:
        sides.setdefault(row.cluster, set()).add(row.split)
    assert sides["cluster 0"] == {"train"}
    assert all(len(split) == 1 for split in sides.values())
    assert set.union(*sides.values()) == {"train", "holdout"}


def test_a_prompt_is_evidence_once(tmp_path: Path) -> None:
    """The night after it decided it is trained on, whatever else came."""
    rows = [*correction("a"), *correction("b")]
    with Store.open(tmp_path / "s.duckdb") as store:
        assert prompts_of_looks(store) == (set(), set())  # nothing was paid for yet
        verdict = {
            "outcome": "reject",
            "look": {
                "snapshot_id": "none",
                "attempt": 1,
                "alpha": 0.01,
                "prompts": {key("a"): "same", key("b"): "fixed"},
            },
        }
        first = store.append_verdict("r1", verdict)
        again = store.append_verdict("r1", verdict)  # posted again: its answer took too long
        assert (first.result(), again.result()) == (None, None)
        store.append_verdict("r1", verdict).result()  # posted again by a night that was killed
        assert [one.run_id for one in store.looks()] == ["r1"]
        known, learned = prompts_of_looks(store)
        assert known == learned == {key("a"), key("b")}
        found, waiting = assign(rows, clusters_to_test(rows, known, "salt"))
        assert {row.split for row in found} == {"train"}
        assert waiting == []


def test_what_validated_is_learned_from_after_a_look(store: Store, settings: Settings) -> None:
    """A complaint whose first mention fell into the validation split is not locked out for ever."""
    all_splits: tuple[Split, ...] = ("train", "validation", "holdout")
    for split in all_splits:
        answer = answered(store, conversation_id=conversation_in(split))
        said(store, answer, correction=f"right {split}")

    def splits() -> dict[str | None, str]:
        rows = store.snapshot_rows(take_snapshot(store, settings)["snapshot_id"])
        return {row.chosen: row.split for row in rows if row.chosen is not None}

    sides: dict[str | None, str] = {f"right {split}": split for split in all_splits}
    assert splits() == sides
    snapshot_id = take_snapshot(store, settings)["snapshot_id"]
    paid = {"snapshot_id": snapshot_id, "attempt": 1, "alpha": 0.01, "prompts": {}}
    store.append_verdict("r1", {"outcome": "reject", "look": paid}).result()
    assert splits() == sides | {"right validation": "train"}
    assert splits() == sides | {"right validation": "train"}


def test_what_any_look_s_training_saw_is_no_fresh_evidence(
    store: Store, settings: Settings
) -> None:
    """Also where the last look's snapshot lacked it: not learned from for a while, then again."""
    rows = [answered(store, rater_id="ann", conversation_id=conversation_in("train"),
                     messages=[{"role": "user", "content": f"{word} alone?"}])
            for word in ("lantern", "kettle", "harbour", "violin", "meadow")]  # fmt: skip
    for n, answer in enumerate(rows):
        said(store, answer, rater_id="ann", correction=f"right {n}")

    def paid(run_id: str) -> None:
        snapshot_id = take_snapshot(store, settings)["snapshot_id"]
        at = {"snapshot_id": snapshot_id, "attempt": 1, "alpha": 0.01, "prompts": {}}
        store.append_verdict(run_id, {"outcome": "reject", "look": at}).result()

    def learn(is_learned: bool) -> None:
        for answer in rows[:4]:
            store.conversations.change(
                answer.conversation_id, "ann", lambda note: replace(note, learn=is_learned)
            )

    paid("r1")
    learn(False)
    paid("r2")
    learn(True)
    keys = {prompt_key(answer.messages) for answer in rows}
    assert prompts_of_looks(store) == (keys, keys)
    assert take_snapshot(store, settings)["counts"]["holdout"] == {}


def test_looks_are_counted_from_the_one_that_made_the_champion() -> None:
    looks = [look("r1"), look("r2", outcome="promote"), look("r3"), look("r4", outcome="promote")]
    assert attempt_number([], set()) == 1
    assert attempt_number(looks, set()) == 5
    assert attempt_number(looks, {"r2"}) == 3
    assert attempt_number(looks, {"r2", "r4"}) == 1
    assert attempt_number(looks, {"r2", "by hand"}) == 3
    assert attempt_number(looks, {"r3"}) == 5  # forced past its gate: that earns nothing


def test_what_is_made_by_hand_takes_back_no_alpha_and_a_rollback_does(tmp_path: Path) -> None:
    """Twelve looks, the fourth and the last of which promoted."""
    with Store.open(tmp_path / "s.duckdb") as store:

        def attempt(base: str = "sha256:a") -> int:
            return traffic_of(store, "seed", 0, base).attempt

        def move(version: str, kind: str, run_id: str | None = None) -> None:
            before = store.champion()
            values = {"outcome": "live", "kind": kind, "run_id": run_id}
            row = Promotion(f"{version} {run_id}", utc_now(), version, before, **values)  # type: ignore[arg-type]
            store.append_promotion(row).result()

        for n in range(1, 13):
            outcome = "promote" if n in (4, 12) else "not_enough_evidence"
            paid = {"snapshot_id": "s", "attempt": n, "alpha": 0.001, "prompts": {}}
            verdict = {"outcome": outcome, "base_fingerprint": "sha256:a", "look": paid}
            store.append_verdict(f"r{n}", verdict).result()
            if outcome == "promote":
                move(f"pawl@{n}", "promote", f"r{n}")
        assert attempt() == 1
        move("pawl@13", "promote")  # by hand
        assert attempt() == 1
        move("pawl@14", "promote", "r11")  # forced past its gate
        assert attempt() == 1
        assert attempt("sha256:b") == 1  # no look was at a challenger of that base
        move("pawl@4", "rollback")
        assert attempt() == 9
        move("base", "rollback")
        assert attempt() == 13
        assert attempt("sha256:b") == 1
        store.append_verdict("r13", {"outcome": "reject", "look": paid}).result()
        assert (attempt(), attempt("sha256:b")) == (14, 2)  # an earlier Pawl's says no base


def test_traffic_counts_conversations_and_draws_what_nobody_flagged(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s.duckdb") as store:
        for i in range(6):
            one = make_completion(completion_id=f"c{i}", conversation_id=f"v{i}")
            store.append_completion(one).result()
        store.append_feedback(make_feedback("c0", thumb="down")).result()
        store.append_feedback(make_feedback("c1", thumb="up")).result()
        store.append_feedback(make_feedback("c2", correction="better")).result()
        found = traffic_of(store, "seed", 3, "sha256:0")
        assert (found.n_flagged, found.n_unflagged, found.attempt) == (2, 4, 1)
        assert len(found.controls) == 3
        assert all(row.group_id not in ("v0", "v2") for row in found.controls)
        again = traffic_of(store, "seed", 3, "sha256:0")
        assert [row.row_id for row in again.controls] == [row.row_id for row in found.controls]
