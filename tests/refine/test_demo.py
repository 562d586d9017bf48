"""The demo speaks of its own night, and its children get the settings that it was called with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pawl.cli import cli
from pawl.cli.connect import group_arguments
from pawl.files import write_json
from pawl.settings import Settings, load_settings
from refine.demo import Asked, Tally, choose_questions, compare, night_command, night_of
from refine.demo_words import describe
from refine.mini.faults import FAULTS
from refine.run_state import RunState

FAULTS_BY_ID = {one.fault_id: asdict(one) for one in FAULTS}


def ended(settings: Settings, run_id: str, created_at: str, **detail: str) -> Path:
    run_dir = settings.runs_dir / run_id
    state = RunState(run_id, "finished", created_at, created_at, "base", "sha256:0", detail=detail)
    write_json(run_dir / "run.json", asdict(state))
    return run_dir


def test_the_verdict_is_of_this_night(tmp_path: Path) -> None:
    settings = load_settings({"state_dir": tmp_path})
    first = ended(settings, "run-1", "2026-01-01T00:00:00Z", outcome="promote")
    write_json(first / "verdict.json", {"outcome": "promote"})
    assert night_of(settings)["verdict"] == {"outcome": "promote"}
    ended(settings, "run-2", "2026-01-02T00:00:00Z", outcome="no_run", reason="nothing new")
    assert night_of(settings) == {
        "run_id": "run-2",
        "night_reason": "nothing new",
        "verdict": None,
    }


def test_the_night_gets_the_demo_s_settings_and_a_user_s_win(tmp_path: Path) -> None:
    typed = [
        "--config",
        "my.toml",
        "--set",
        "gate.n_items_per_benchmark=30",
        "--set",
        "train.seed=3",
    ]
    with cli.make_context("pawl", [*typed, "demo"]) as context:
        arguments = group_arguments(context)
    assert arguments == typed
    command = night_command(load_settings({"state_dir": tmp_path}), 1240, arguments)
    with cli.make_context("pawl", command[3:]) as context:
        assert context.params["config"] == Path("my.toml")
        values = dict(one.split("=") for one in context.params["assignments"])
    assert values["gate.n_items_per_benchmark"] == "30"
    assert values["train.seed"] == "3"
    assert command[-1] == "nightly"


def test_the_closing_page_says_what_is_fixed_what_is_not_and_how_to_go_back(tmp_path: Path) -> None:
    chosen = choose_questions(0)
    asked = [q for q in chosen["again"] if q["fault_id"] in ("bats_blind", "spider_legs")]

    def answers(n_bats_right: int, n_spiders_right: int) -> list[Asked]:
        left = {"bats_blind": n_bats_right, "spider_legs": n_spiders_right}
        said = []
        for question in asked:
            fault_id = question["fault_id"]
            left[fault_id] -= 1
            side = "right_answer" if left[fault_id] >= 0 else "faulty_answer"
            said.append(Asked(question, FAULTS_BY_ID[fault_id][side], "id", "base"))
        return said

    control = chosen["control"][:3]
    right = [Asked(q, q["accept"][0], "id", "base") for q in control]
    wrong = [Asked(q, "Bananas.", "id", "pawl@1") for q in control[:1]]
    result = compare(
        Tally(faults_met={"bats_blind", "spider_legs"}),
        answers(0, 0), answers(7, 8), right, [*wrong, *right[1:]],
    )  # fmt: skip
    assert (result["n_faults_met"], result["n_faults_fixed"]) == (2, 1)
    result |= {
        "champion_before": "base", "champion_after": "pawl@1", "engine_restarted": False,
        "total_seconds": 500.0, "night_seconds": 400.0, "run_id": "run-1", "night_reason": "",
        "verdict": {
            "outcome": "promote",
            "reasons": ["Better on what people complained about."],
            "benchmarks": [{
                "name": "mini_truthfulqa_mc1", "champion": 0.8234, "challenger": 0.7, "n": 1104,
                "difference": -0.1234, "lower": -0.2, "upper": 0.05, "margin": 0.03,
            }],
        },
    }  # fmt: skip
    page = describe(result, load_settings({"state_dir": tmp_path}))
    assert "FAULTS: 1 of 2 are fixed" in page
    assert "still there: bats_blind, 7 of 10 answered correctly\n" in page
    assert "3 were answered correctly, now 2: 1 broke, 0 became right" in page
    assert "'Bananas.'" in page
    assert " 82.3%   70.0%  -12.3 (-20.0 to +5.0)" in page
    assert f"{tmp_path / 'runs' / 'run-1' / 'report.html'}" in page
    assert f"pawl --state-dir {tmp_path} rollback" in page
    assert "rollback" not in describe(
        {**result, "champion_after": "base", "verdict": None},
        load_settings({"state_dir": tmp_path}),
    )
