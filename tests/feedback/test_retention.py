"""What is too old goes; what somebody said something about stays as long as its own rule says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from evals.regression import read_more_rows, write_more_rows
from feedback.erased_files import Decode
from feedback.erasing import forget, forget_own
from feedback.retention import erase_by_age
from feedback.service import take_snapshot, traffic_of
from feedback.snapshots import ERASED_SNAPSHOT
from feedback.store import Store
from pawl.adapters import PROBE, ProbePosition, write_probe
from pawl.files import read_json, sha256_file, write_json
from pawl.schemas import ItemScore
from pawl.settings import RetentionSettings, Settings
from tests.feedback.examples import answered, conversation_in, said


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


TEXTS = {1: "What is the oldest mill on this river called?", 2: "What is the newest one called?"}


def decode(fingerprint: str) -> Decode:
    """A base whose one token is one prompt."""
    return lambda ids: TEXTS[ids[0]]


def test_by_age(tmp_path: Path) -> None:
    kept = Settings(state_dir=tmp_path)
    with Store.open(kept.database_path) as store:
        by_name = {
            name: answered(store, created_at=days_ago(days), completion=f"gone {name}")
            for name, days in (
                ("new", 1),
                ("old", 40),
                ("rated", 40),
                ("worse", 40),
                ("ancient", 400),
            )
        }
        said(store, by_name["rated"], thumb="down", created_at=days_ago(39))
        better = answered(store)
        said(store, better, preferred_over=by_name["worse"].completion_id)
        said(store, by_name["ancient"], correction="right", created_at=days_ago(399))
        snapshot = Path(take_snapshot(store, kept)["dir"])

        def left() -> set[str]:
            return {
                name for name, one in by_name.items() if store.get_completion(one.completion_id)
            }

        nothing = {"n_answers": 0, "n_feedback": 0, "snapshots": []}
        assert erase_by_age(store, kept, decode) == nothing
        assert left() == by_name.keys()

        unrated = Settings(state_dir=tmp_path, retention=RetentionSettings(unrated_days=30))
        assert erase_by_age(store, unrated, decode) == {**nothing, "n_answers": 1}
        assert left() == by_name.keys() - {"old"}
        assert erase_by_age(store, unrated, decode) == nothing
        assert b"gone old" not in kept.database_path.read_bytes()

        both = Settings(
            state_dir=tmp_path, retention=RetentionSettings(unrated_days=30, all_days=365)
        )
        assert erase_by_age(store, both, decode) == {
            **nothing, "n_answers": 1, "n_feedback": 1, "snapshots": [snapshot.name],
        }  # fmt: skip
        assert left() == {"new", "rated", "worse"}
        assert [path.name for path in snapshot.iterdir()] == [ERASED_SNAPSHOT]
        assert len(store.current_feedback()) == 2


def test_what_nobody_said_anything_about_leaves_the_nights_that_asked_it(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, retention=RetentionSettings(unrated_days=30))
    run = settings.runs_dir / "run-1"
    run.mkdir(parents=True)
    with Store.open(settings.database_path) as store:
        for days in (1, 40):
            asked = [{"role": "user", "content": f"What was {days} days ago?"}]
            answered(store, created_at=days_ago(days), messages=asked, completion=f"Day {days}.")
        controls = traffic_of(store, "seed", 2, "sha256:0").controls
        write_more_rows(run / "more_rows.jsonl", controls)
        (run / "traffic.jsonl").write_text('{"prompt": []}\n')
        scores = [ItemScore("controls", one.row_id, 1.0, one.group_id, None, {
            "prompt": one.prompt, "answer": one.completion}) for one in controls]  # fmt: skip
        store.append_scores("run-1", "champion", scores).result()
        assert erase_by_age(store, settings, decode)["n_answers"] == 1
        left = [str(one.detail["answer"]) for one in store.scores("run-1", "champion")]
    assert sorted(left) == ["Day 1.", "[erased]"]
    rows = read_more_rows(run / "more_rows.jsonl")
    assert sorted(str(one.completion) for one in rows) == ["Day 1.", "[erased]"]
    assert {one.prompt[0]["content"] for one in rows} == {"What was 1 days ago?", "[erased]"}
    assert not (run / "traffic.jsonl").exists()


def test_what_is_deleted_and_too_old_is_looked_for_in_files(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, retention=RetentionSettings(all_days=30))
    secret = "The first entry of my diary is this one."
    settings.exchange_dir.mkdir()
    export = settings.exchange_dir / "out.jsonl"
    export.write_text(json.dumps({"prompt": secret}) + "\n")
    note = settings.runs_dir / "run-1" / "notes.json"
    write_json(note, {"text": secret})
    with Store.open(settings.database_path) as store:
        asked = [{"role": "user", "content": secret}]
        answered(store, rater_id="ann", messages=asked, created_at=days_ago(31))
        forget_own(store, settings, "ann")
        erase_by_age(store, settings, decode, of_night=True)
    assert (export.read_text(), read_json(note)) == ("", {"text": "[erased]"})


def note_training(adapter: Path, snapshot: str) -> None:
    """Write an adapter's manifest: it was trained on a snapshot, and has a probe record."""
    manifest = {
        "base_fingerprint": "sha256:0", "recipe": {"snapshot": {"snapshot_id": snapshot}},
        "files_sha256": {PROBE: sha256_file(adapter / PROBE)},
    }  # fmt: skip
    write_json(adapter / "manifest.json", manifest)


def corrected(store: Store, n: int, days: int) -> None:
    """A row to learn from whose prompt is ``TEXTS[n]``, asked so many days ago."""
    one = answered(
        store,
        messages=[{"role": "user", "content": TEXTS[n]}],
        created_at=days_ago(days),
        conversation_id=conversation_in("train", store.split_salt()),
    )
    said(store, one, correction=f"right {n}", created_at=days_ago(days - 1))


@pytest.mark.parametrize("is_snapshot_there", [True, False])
def test_prompts_that_are_too_old_leave_probe_records(
    tmp_path: Path, is_snapshot_there: bool
) -> None:
    """Also where the snapshot was deleted before, for somebody whose rows it had too."""
    settings = Settings(state_dir=tmp_path, retention=RetentionSettings(all_days=365))
    with Store.open(settings.database_path) as store:
        for n, days in ((1, 400), (2, 40)):
            corrected(store, n, days)
        if not is_snapshot_there:
            first = answered(store, rater_id="eve", created_at=days_ago(40))
            said(store, first, rater_id="eve", correction="so", created_at=days_ago(39))
        snapshot = take_snapshot(store, settings)["snapshot_id"]
        adapter = settings.adapters_dir / "pawl@1"
        adapter.mkdir(parents=True)
        write_json(adapter / PROBE, [{"prefix_ids": [one]} for one in TEXTS])
        note_training(adapter, snapshot)
        if not is_snapshot_there:
            forget(store, settings, "eve", "the operator", decode=decode)
        assert len(read_json(adapter / PROBE)) == 2
        erase_by_age(store, settings, decode)
    assert read_json(adapter / PROBE) == [{"prefix_ids": [2]}]
    hashes = read_json(adapter / "manifest.json")["files_sha256"]
    assert hashes[PROBE] == sha256_file(adapter / PROBE)


@pytest.mark.parametrize("is_base_known", [True, False])
def test_a_probe_record_of_which_nothing_may_stay_is_empty(
    tmp_path: Path, is_base_known: bool
) -> None:
    """The version is served on (``tests/serve/test_champion.py``)."""
    settings = Settings(state_dir=tmp_path, retention=RetentionSettings(all_days=90))
    with Store.open(settings.database_path) as store:
        corrected(store, 1, 100)
        snapshot = take_snapshot(store, settings)["snapshot_id"]
        adapter = settings.adapters_dir / "pawl@1"
        adapter.mkdir(parents=True)
        positions = [ProbePosition([1, n], {0: -1.0}, {0: -2.0}) for n in range(3)]
        write_probe(adapter, positions)
        note_training(adapter, snapshot)
        done = erase_by_age(store, settings, decode if is_base_known else lambda base: None)
        assert store.completions() == []
    assert done["snapshots"] == [snapshot]
    assert read_json(adapter / PROBE) == []
    assert read_json(adapter / "manifest.json")["files_sha256"][PROBE] == sha256_file(
        adapter / PROBE
    )
