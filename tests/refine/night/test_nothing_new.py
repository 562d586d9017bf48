"""When a night does not train, since it would only repeat another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pawl.adapters import CONFIG, MANIFEST, PROBE, WEIGHTS
from pawl.files import write_json
from pawl.settings import Settings
from refine.night import evidence
from refine.night.evidence import NightEvidence
from refine.night.state import RUN, RunState
from refine.night.steps import Night, _nothing_new, _too_few_new
from refine.planner import Plan

INPUTS = "the same"
PLAN = Plan("sft", "", {}, max_minutes=20)


class Server:
    def get(self, path: str, query: Any = None) -> list[Any]:
        return []  # no version was ever promoted


def record(settings: Settings, number: int, base: str, **detail: Any) -> Path:
    """A run on ``base`` that was rejected."""
    at = f"2026-01-0{number}T00:00:00Z"
    detail = {"outcome": "reject", "inputs_sha256": INPUTS} | detail
    state = RunState(f"run-{number}", "finished", at, at, "base", base, detail=detail)
    run_dir = settings.runs_dir / state.run_id
    write_json(run_dir / RUN, asdict(state))
    return run_dir


def tonight(settings: Settings, base: str, n_flagged_prompts: int = 0) -> Night:
    at = "2026-02-01T00:00:00Z"
    run: Any = SimpleNamespace(
        run_dir=settings.runs_dir / "run-now", state=RunState("run-now", "", at, at, "base", base)
    )
    found = NightEvidence("s", 2, 1.0, n_flagged_prompts, 0, 0, 12, None, "")
    evidence.write(run.run_dir, found, [])
    known: Any = SimpleNamespace(
        client=Server(), settings=settings, run=run, base=SimpleNamespace(fingerprint=base),
        champion_dir=None,
    )  # fmt: skip
    return known  # type: ignore[no-any-return]


def test_without_a_prompt_to_test_by_a_night_on_another_base_says_so(tmp_path: Path) -> None:
    """It would train for nothing; but that base never learned, so something is new."""
    settings = Settings(state_dir=tmp_path)
    record(settings, 1, "base A")
    same = _nothing_new(tonight(settings, "base A"), PLAN, "other", is_whole=True)
    assert same == "nothing new since run-1, which ended with 'reject'"
    other = _nothing_new(tonight(settings, "base B"), PLAN, "other", is_whole=True)
    assert "nothing is left to test a challenger by" in other
    assert "(12)" in other
    assert "run-1" not in other
    has_prompts = tonight(settings, "base B", n_flagged_prompts=9)
    assert not _nothing_new(has_prompts, PLAN, "other", is_whole=True)


def test_a_training_that_the_nights_time_cut_is_repeated_where_it_gets_its_own(
    tmp_path: Path,
) -> None:
    settings = Settings(state_dir=tmp_path)

    def trained(number: int, minutes: float, stopped_because: str) -> None:
        run_dir = record(settings, number, "base A", budget={"train": minutes},
                         snapshot_id="s")  # fmt: skip
        write_json(run_dir / "adapter" / MANIFEST, {
            "base_model": "b", "base_fingerprint": "base A", "rank": 4, "created_at": "",
            "target_modules": ["q_proj"],
            "files_sha256": dict.fromkeys((CONFIG, WEIGHTS, PROBE), ""),
            "recipe": {"stages": [{"stopped_because": stopped_because}]},
        })  # fmt: skip

    def ended(*, is_whole: bool) -> str:
        night = tonight(settings, "base A", n_flagged_prompts=9)
        return _nothing_new(night, PLAN, INPUTS, is_whole=is_whole)

    def too_few(*, is_whole: bool, snapshot_id: str = "s") -> str:
        night: Any = tonight(settings, "base A", n_flagged_prompts=9)
        night.min_new_rows, night.snapshot_dir = 1, settings.snapshots_dir / snapshot_id
        return _too_few_new(night, [], PLAN, is_whole)

    trained(1, 5, "out of time")
    assert not ended(is_whole=True)
    assert "nothing new since run-1" in ended(is_whole=False)  # it would be cut again
    assert not too_few(is_whole=True)
    assert "0 new rows since run-1" in too_few(is_whole=False)
    assert "0 new rows since run-1" in too_few(is_whole=True, snapshot_id="other")
    trained(2, 20, "out of time")
    assert "nothing new since run-2" in ended(is_whole=True)
    trained(2, 5, "end")  # it needed no more
    assert "nothing new since run-2" in ended(is_whole=True)
    assert "0 new rows since run-2" in too_few(is_whole=True)
