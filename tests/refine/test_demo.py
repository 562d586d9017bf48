"""The demo speaks of its own night, and its children get the settings that it was called with."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from pawl.cli import cli
from pawl.cli.connect import group_arguments
from pawl.files import write_json
from pawl.settings import Settings, load_settings
from refine.demo import night_command, night_of
from refine.run_state import RunState


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
