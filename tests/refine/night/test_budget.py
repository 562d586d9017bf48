"""What fits into a night's time, from what earlier nights took."""

from __future__ import annotations

import pytest

from pawl.settings import Settings
from refine.night.budget import plan_time
from refine.night.state import RunState

STEPS = ("replay", "train", "score champion", "score challenger", "decide")
SETTINGS = Settings(train={"max_minutes": 20}, gate={"suspects_minutes": 5})  # type: ignore[arg-type]


def night(name: str, **minutes: float) -> RunState:
    steps = {f"score {role}": {"seconds": 60 * n} for role, n in minutes.items()}
    return RunState(name, "finished", "", "", "base", "sha256:x", steps=steps)


def test_training_gets_what_scoring_leaves_and_suspects_the_rest() -> None:
    measured = night("run-2", champion=10, challenger=10)
    whole = plan_time(120, SETTINGS, STEPS, [measured])
    assert (whole.scoring, whole.train, whole.suspects) == (pytest.approx(25), 20, 5)
    tight = plan_time(40, SETTINGS, STEPS, [measured])
    assert (tight.train, tight.suspects, tight.problem) == (15, 0, "")
    assert tight.applied(SETTINGS).train.max_minutes == 15


def test_scores_that_were_taken_over_are_no_measure() -> None:
    quick = night("run-3", champion=0, challenger=10)
    slow = night("run-2", champion=12, challenger=10)
    found = plan_time(120, SETTINGS, STEPS, [quick, slow])
    assert found.measured == "run-2"
    of_one = plan_time(120, SETTINGS, STEPS, [night("run-1", challenger=10)])
    assert of_one.scoring == pytest.approx(25)  # the champion's is taken to last as long


def test_what_does_not_fit_does_not_begin() -> None:
    assert "scoring took 20 in run-2" in plan_time(
        25, SETTINGS, STEPS, [night("run-2", champion=10, challenger=10)]
    ).problem  # fmt: skip
    unknown = plan_time(25, SETTINGS, STEPS, [])
    assert (unknown.problem, unknown.measured, unknown.train) == ("", None, 20)
    assert plan_time(3, SETTINGS, STEPS, []).problem
