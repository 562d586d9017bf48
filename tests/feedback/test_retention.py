"""What is too old goes; what somebody said something about stays as long as its own rule says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from feedback.retention import erase_by_age
from feedback.service import take_snapshot
from feedback.snapshots import ERASED_SNAPSHOT
from feedback.store import Store
from pawl.settings import RetentionSettings, Settings
from tests.feedback.examples import answered, said


def days_ago(days: int) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


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
        assert erase_by_age(store, kept) == nothing
        assert left() == by_name.keys()

        unrated = Settings(state_dir=tmp_path, retention=RetentionSettings(unrated_days=30))
        assert erase_by_age(store, unrated) == {**nothing, "n_answers": 1}
        assert left() == by_name.keys() - {"old"}
        assert erase_by_age(store, unrated) == nothing
        assert b"gone old" not in kept.database_path.read_bytes()

        both = Settings(
            state_dir=tmp_path, retention=RetentionSettings(unrated_days=30, all_days=365)
        )
        assert erase_by_age(store, both) == {
            "n_answers": 1, "n_feedback": 1, "snapshots": [snapshot.name],
        }  # fmt: skip
        assert left() == {"new", "rated", "worse"}
        assert [path.name for path in snapshot.iterdir()] == [ERASED_SNAPSHOT]
        assert len(store.current_feedback()) == 2
