"""How a run stands, in one line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from pawl.runs import duration, move_line, seconds_since, standing

NOW = datetime(2026, 5, 3, 2, 30, tzinfo=UTC)


def run(status: str, **more: Any) -> dict[str, Any]:
    at = "2026-05-03T02:17:00+00:00"
    return {"run_id": "r", "status": status, "at": at, "started_at": at, **more}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (89, "89 s"), (90, "2 min"), (5340, "89 min"), (11_100, "3 h 05 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_running_night_has_its_phase_and_its_time() -> None:
    progress = {"step": "train", "stage": "kto", "fraction": 0.42, "seconds_left": 1830.0}
    line = standing(run("plan", progress=progress), NOW)
    assert line == "running: train (KTO, 42 %); 13 min so far, about 30 min left"
    progress |= {"seconds_left": None, "stage": "", "fraction": None}
    assert standing(run("plan", progress=progress), NOW).startswith("running: train; 13 min so far")


def test_what_ended_a_night() -> None:
    assert standing(run("train"), NOW).startswith("interrupted after 'train'")
    detail = {"outcome": "not_enough_evidence", "reason": "Too few prompts."}
    line = standing(run("finished", detail=detail), NOW)
    assert line == "finished, not enough evidence: Too few prompts."
    assert standing(run("given_up"), NOW) == "given up"


def test_a_time_that_is_none_is_now() -> None:
    assert seconds_since("tomorrow") == seconds_since("2026-05-03") == 0.0


def test_a_move_says_what_happened_when_and_by_whom() -> None:
    move = {"at": "2026-05-03T02:17:09.000000Z", "kind": "promote", "version": "pawl@3",
            "previous_version": "pawl@2", "outcome": "live", "run_id": "r", "reason": "Probed.",
            "by": "the nightly job"}  # fmt: skip
    when = "2026-05-03 02:17 UTC:"
    assert move_line(move) == f"{when} pawl@3 promoted in place of pawl@2, by the nightly job"
    refused = {**move, "outcome": "refused", "by": "olga"}
    assert move_line(refused) == f"{when} pawl@3 refused, by olga (Probed.)"
    back = {**move, "kind": "rollback", "version": "pawl@1", "previous_version": "pawl@3"}
    assert move_line({**back, "by": None}) == f"{when} rolled back from pawl@3 to pawl@1 (Probed.)"
