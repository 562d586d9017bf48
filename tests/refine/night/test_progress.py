"""Where a night is, and how long it will take by what earlier nights took."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pawl.files import read_json
from pawl.runs import PROGRESS
from refine.night.progress import Progress, usual_seconds
from refine.night.state import RunState


def state(name: str, **seconds: float) -> RunState:
    steps = {key.replace("_", " "): {"seconds": took} for key, took in seconds.items()}
    return RunState(name, "finished", "", "", "base", "sha256:x", steps=steps)


def test_the_usual_time_is_the_median_of_the_last_nights_that_worked_a_step() -> None:
    nights = [state(f"r{n}", train=took) for n, took in enumerate((10.0, 900.0, 20.0, 12.0, 14.0))]
    nights += [state("old", train=5000.0, why=7.0)]
    assert usual_seconds(nights) == {"train": 14.0, "why": 7.0}
    assert usual_seconds([]) == {}


def test_what_is_left_is_the_rest_of_the_step_and_all_that_come(tmp_path: Path) -> None:
    usual = {"train": 100.0, "score champion": 40.0, "report": 2.0}
    now = Progress(tmp_path, usual)
    now.begin("train", ["score champion", "score challenger", "report"])
    written = read_json(tmp_path / PROGRESS)
    assert (written["step"], written["stage"], written["fraction"]) == ("train", "", None)
    assert written["pid"] == os.getpid()
    # The challenger's scoring is no night's, so it takes what the longest other took.
    assert written["seconds_left"] == pytest.approx(182, abs=5)
    now.stage("sft", 0.5)
    assert read_json(tmp_path / PROGRESS)["stage"] == "sft"
    now.begin("report", [])
    assert now.seconds_left() == pytest.approx(2, abs=1)


def test_a_stage_that_takes_longer_than_usual_is_reckoned_by_its_own_pace(tmp_path: Path) -> None:
    now = Progress(tmp_path, {"train": 0.0})
    now.begin("train", [])
    now.stage("sft", 0.0)
    time.sleep(0.05)
    now.stage("sft", 0.1)
    left = now.seconds_left()
    assert left is not None
    assert left >= 0.4


def test_each_round_of_a_stage_is_reckoned_by_its_own_pace(tmp_path: Path) -> None:
    now = Progress(tmp_path, {"score challenger": 0.0})
    now.begin("score challenger", [])
    now.stage("benchmarks", 0.0)
    time.sleep(0.2)
    now.stage("benchmarks", 1.0)
    now.stage("benchmarks", 0.1)  # of the next round, which has just begun
    left = now.seconds_left()
    assert left is not None
    assert left < 1.0


def test_the_first_night_knows_no_time_left_and_none_is_longer_than_its_bound(
    tmp_path: Path,
) -> None:
    first = Progress(tmp_path, {})
    first.begin("snapshot", ["plan", "train", "score champion"])
    assert first.seconds_left() is None
    assert read_json(tmp_path / PROGRESS)["seconds_left"] is None
    bounded = Progress(tmp_path, {"train": 1000.0}, until=time.monotonic() + 60)
    bounded.begin("train", [])
    assert bounded.seconds_left() == pytest.approx(60, abs=5)
