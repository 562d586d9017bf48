"""Challengers that must not pass a night, each with its reason in the report.

Every one is put where training would have left it, in a run that is then carried on: the rest of
the night is the real one. (Fixed on the holdout but worse on a benchmark is a matter of scores
alone: tests/evals/test_gate.py.)
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from evals.broken import what_broke
from feedback.snapshots import read_rows
from pawl.adapters import MANIFEST, read_manifest
from pawl.cli import cli
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.models import resolve_model
from pawl.schemas import TrainingRow
from refine import train
from refine.night.nightly import run_night
from refine.night.state import newest_runs
from refine.planner import Plan
from tests.adapters_for_tests import with_nan, with_wrong_base, with_wrong_shape
from tests.refine.night.test_nightly import DiesAt, World, night_settings, where
from tests.refine.tiny import COLOURS, corrections, says, write_snapshot

pytestmark = pytest.mark.slow


@pytest.fixture
def planned(world_model: Path, tmp_path: Path) -> Iterator[tuple[World, Path]]:
    """A night that died before it trained, and the folder of its run."""
    with planned_in(world_model, tmp_path) as night:
        yield night


@pytest.fixture(scope="module")
def trained(world_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter of the same base, from another night."""
    with planned_in(world_model, tmp_path_factory.mktemp("trained")) as (world, run_dir):
        return put_adapter(world, run_dir, corrections(10))


@contextmanager
def planned_in(world_model: Path, folder: Path) -> Iterator[tuple[World, Path]]:
    here = World(night_settings(world_model, folder))
    here.complain(80)
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(here.client, "/admin/runs", "plan", after=True), here.settings)
    [state] = newest_runs(here.settings.runs_dir)
    yield here, here.settings.runs_dir / state.run_id
    here.app.close()


def put_adapter(world: World, run_dir: Path, rows: list[TrainingRow]) -> Path:
    """Train a challenger on ``rows`` instead of the night's, with the night's plan."""
    plan = Plan.from_json(read_json(run_dir / "plan.json"))
    base = resolve_model(world.settings.model, cache_dir=world.settings.state_dir)
    snapshot = write_snapshot(run_dir.parent.parent / "other-rows", rows)
    train.run(train.Job.in_run(run_dir, base, snapshot, plan, world.settings.replay_dir))
    return run_dir / "adapter"


def test_trained_on_shuffled_answers(planned: tuple[World, Path]) -> None:
    """Everybody's correction went to somebody else's question."""
    world, run_dir = planned
    colours = [colour for colour in COLOURS.values() if colour != "green"]
    shuffled = [
        TrainingRow(
            row.row_id,
            row.kind,
            row.group_id,
            row.split,
            row.prompt,
            completion=says("grass", colours[i % len(colours)]),
        )
        for i, row in enumerate(read_rows(Path(read_json(run_dir / "snapshot.json")["dir"])))
        if row.kind == "sft"
    ]
    put_adapter(world, run_dir, shuffled)
    result = run_night(world.client, world.settings)
    # Where it finds all choices of an item impossible, that has no score: nothing is decided.
    assert result.outcome in ("reject", "not_enough_evidence", "no_verdict")
    assert result.promotion is None
    assert world.client.get("/admin/status")["champion"] == "base"
    report = read_json(run_dir / "report.json")
    assert report["outcome"] == result.outcome
    assert report["reasons"]
    suspects = report["suspects"] or {}
    got_worse = result.outcome != "no_verdict" and bool(what_broke(run_dir).items)
    assert (suspects.get("n_compared", 0) > 0) == got_worse, suspects


def test_identical_to_the_champion(planned: tuple[World, Path], trained: Path) -> None:
    """An adapter whose weights add nothing is the base again."""
    from safetensors.torch import load_file, save_file

    world, run_dir = planned
    adapter_dir = Path(shutil.copytree(trained, run_dir / "adapter"))
    weights = load_file(adapter_dir / "adapter_model.safetensors")
    save_file(
        {key: value * 0 for key, value in weights.items()},
        adapter_dir / "adapter_model.safetensors",
    )
    _manifest_again(adapter_dir)
    result = run_night(world.client, world.settings)
    assert result.outcome == "reject"
    assert world.client.get("/admin/status")["champion"] == "base"
    report = read_json(run_dir / "report.json")
    assert report["reasons"] == result.reason.split("; ")
    assert report["suspects"] == {"note": "No item got worse."}
    row = read_rows(Path(read_json(run_dir / "snapshot.json")["dir"]))[0]
    world.app.close()  # the store is free for commands
    shown = CliRunner().invoke(cli, ["why", result.run_id, *where(world)])
    assert (shown.exit_code, shown.output.partition("\n")[0]) == (0, "No item got worse.")
    shown = CliRunner().invoke(cli, ["curate", "--explain", row.row_id, *where(world)])
    assert shown.exit_code == 0, shown.output
    assert f"row {row.row_id}: {row.kind} in {row.split}, weight" in shown.output
    assert "written by anna" in shown.output


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(with_nan, "NaN"), (with_wrong_shape, "shape"), (with_wrong_base, "another")],
)
def test_spoilt_adapters(
    planned: tuple[World, Path], trained: Path, spoil: Callable[[Path], None], words: str
) -> None:
    world, run_dir = planned
    adapter_dir = Path(shutil.copytree(trained, run_dir / "adapter"))
    spoil(adapter_dir)
    assert read_manifest(adapter_dir).fingerprint != read_manifest(trained).fingerprint or (
        spoil is with_wrong_base
    )
    with pytest.raises(PawlError, match=words):
        run_night(world.client, world.settings)
    [state] = newest_runs(world.settings.runs_dir)
    assert state.status == "failed"
    assert words in state.detail["reason"]
    assert words in read_json(run_dir / "report.json")["note"]
    assert words in (run_dir / "report.html").read_text()
    assert world.client.get("/admin/status")["champion"] == "base"


def _manifest_again(adapter_dir: Path) -> None:
    from pawl.adapters import write_manifest

    old = read_json(adapter_dir / MANIFEST)
    write_manifest(
        adapter_dir,
        base_model=old["base_model"],
        base_fingerprint=old["base_fingerprint"],
        recipe=old["recipe"],
    )
