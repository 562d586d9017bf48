"""What a night's training begins from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feedback.snapshots import ERASED_SNAPSHOT
from pawl.adapters import CONFIG, MANIFEST, PROBE, WEIGHTS
from pawl.files import write_json
from pawl.settings import Settings, TrainSettings
from refine.night.state import RUN, RunState
from refine.night.steps import _last_trained, start_of


@pytest.fixture
def champion_dir(tmp_path: Path) -> Path:
    """An adapter that began from another, each with a snapshot of its own."""
    folder = tmp_path / "adapters" / "pawl@2"
    recipe = {"snapshot": {"snapshot_id": "second"}, "start": {"snapshots": ["first"]}}
    write_json(folder / MANIFEST, {
        "base_model": "b", "base_fingerprint": "sha256:b", "rank": 4, "target_modules": ["q_proj"],
        "files_sha256": dict.fromkeys((CONFIG, WEIGHTS, PROBE), ""), "created_at": "",
        "recipe": recipe,
    })  # fmt: skip
    for name in ("first", "second"):
        (tmp_path / "snapshots" / name).mkdir(parents=True)
    return folder


def settings_of(folder: Path, **train: str) -> Settings:
    return Settings(state_dir=folder, train=TrainSettings.model_validate(train))


def gated(settings: Settings, number: int, champion: str, start: str, *passed: bool) -> None:
    """A run of that night, and what its benchmarks showed."""
    at = f"2026-01-0{number}T00:00:00Z"
    state = RunState(f"run-{number}", "finished", at, at, champion, "sha256:b",
                     detail={"start": start})  # fmt: skip
    folder = settings.runs_dir / state.run_id
    write_json(folder / RUN, asdict(state))
    rows = [{"passed": one} for one in passed]
    write_json(folder / "verdict.json", {"benchmarks": rows[:1], "anchor": rows[1:]})


def test_it_begins_from_what_the_settings_say(tmp_path: Path, champion_dir: Path) -> None:
    assert start_of(settings_of(tmp_path), "pawl@2", champion_dir) == "base"
    for asked in ("champion", "auto"):
        settings = settings_of(tmp_path, start=asked)
        assert start_of(settings, "pawl@2", champion_dir) == "champion"
        assert start_of(settings, "base", None) == "base"
    whole = settings_of(tmp_path, start="auto", tuning="full")
    assert start_of(whole, "pawl@2", champion_dir) == "base"


def test_auto_goes_by_the_newest_gate_of_what_began_from_this_champion(
    tmp_path: Path, champion_dir: Path
) -> None:
    settings = settings_of(tmp_path, start="auto")
    gated(settings, 1, "pawl@1", "champion", False)  # another champion's
    gated(settings, 2, "pawl@2", "base", False)  # from the base
    assert start_of(settings, "pawl@2", champion_dir) == "champion"
    gated(settings, 3, "pawl@2", "champion", True, False)  # lost against the anchor
    assert start_of(settings, "pawl@2", champion_dir) == "base"
    gated(settings, 4, "pawl@2", "base", True, True)
    assert start_of(settings, "pawl@2", champion_dir) == "base"
    gated(settings, 5, "pawl@2", "champion", True, True)
    assert start_of(settings, "pawl@2", champion_dir) == "champion"
    assert start_of(settings_of(tmp_path, start="champion"), "pawl@2", champion_dir) == "champion"


@pytest.mark.parametrize("name", ["first", "second"])
@pytest.mark.parametrize("how", ["erased", "gone"])
def test_what_learned_from_somebody_who_was_erased_is_not_gone_on_from(
    tmp_path: Path, champion_dir: Path, name: str, how: str
) -> None:
    folder = tmp_path / "snapshots" / name
    if how == "gone":
        folder.rmdir()
    else:
        write_json(folder / ERASED_SNAPSHOT, {})
    for asked in ("champion", "auto"):
        assert start_of(settings_of(tmp_path, start=asked), "pawl@2", champion_dir) == "base"


def test_rows_are_new_since_the_last_night_on_this_base(tmp_path: Path) -> None:
    for n, (base, outcome) in enumerate(
        [("sha256:ours", "reject"), ("sha256:other", "promote"), ("sha256:ours", "no_run")]
    ):
        state = RunState(f"run-{n}", "finished", f"2026-11-2{n}", "", "base", base,
                         detail={"outcome": outcome})  # fmt: skip
        write_json(tmp_path / "runs" / state.run_id / RUN, asdict(state))
    night: Any = SimpleNamespace(
        settings=Settings(state_dir=tmp_path), base=SimpleNamespace(fingerprint="sha256:ours")
    )
    last = _last_trained(night)
    assert last is not None
    assert last.run_id == "run-0"
