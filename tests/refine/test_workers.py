"""Several workers train what one trains, and go on from the first one's checkpoint."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from pawl.adapters import CHECKPOINTS, WEIGHTS, read_manifest
from pawl.jobs import child_environment, module_command
from pawl.settings import TrainSettings
from refine import train
from refine.workers import LOST
from tests.refine.interrupted import Event
from tests.refine.test_resume import make_job, steps_of

pytestmark = pytest.mark.slow


class Pair:
    """Two children that train together; the first one's events are read until it ends."""

    def __init__(self, jobs: list[train.Job]) -> None:
        self.jobs = jobs
        self.events: list[Event] = []
        first = self._start(0, None)
        assert first.stdout is not None
        [meeting] = [event["meeting"] for event in (json.loads(first.stdout.readline()),)]
        self.children = [first, self._start(1, meeting)]

    def _start(self, rank: int, meeting: str | None) -> subprocess.Popen[str]:
        named = ["--rank", str(rank), "--n-workers", "2", "--host", "127.0.0.1"]
        named += ["--meeting", meeting] if meeting else []
        command = [*module_command("refine.train"), str(train.write_job(self.jobs[rank])), *named]
        with (self.jobs[rank].work_dir.parent / "log").open("a") as log:
            out = subprocess.PIPE if rank == 0 else log
            return subprocess.Popen(
                command, stdout=out, stderr=log, text=True, env=child_environment()
            )

    def run(self, kill_at: int | None = None) -> list[int]:
        first, second = self.children
        assert first.stdout is not None
        for line in first.stdout:
            self.events.append(json.loads(line))
            if kill_at and self.events[-1].get("saved_step", 0) >= kill_at:
                second.kill()
        first.stdout.close()
        return [first.wait(), second.wait()]


def test_two_workers_train_what_one_trains_and_one_may_be_lost(
    world_model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    alone = make_job(world_model, tmp_path / "alone", "sft", learning_rate=5e-4)
    train.run(alone)
    jobs = [
        make_job(world_model, tmp_path / f"{rank}", "sft", learning_rate=5e-4) for rank in range(2)
    ]
    killed = Pair(jobs)
    assert killed.run(kill_at=3) == [1, -9]
    [error] = [event for event in killed.events if "error" in event]
    assert (error["code"], error["retryable"]) == (LOST, True)
    assert not list(jobs[1].work_dir.glob(f"{CHECKPOINTS}/*/checkpoint-*"))
    kept, there = (one.work_dir / CHECKPOINTS for one in jobs)
    shutil.rmtree(there)
    shutil.copytree(kept, there)
    again = Pair(jobs)
    assert again.run() == [0, 0], (tmp_path / "0" / "log").read_text()[-2000:]
    assert any(event.get("note", "").startswith("goes on from step ") for event in again.events)

    ours, theirs = steps_of(jobs[0]), steps_of(alone)
    assert [event["step"] for event in ours] == [event["step"] for event in theirs]
    # Other passes round otherwise, in bf16 where the processor has it; test_sft.py compares the
    # gradients in float32.
    for mine, other in zip(ours, theirs, strict=True):
        for name in ("loss", "token_accuracy", "eval_loss"):
            if name in other:
                assert mine[name] == pytest.approx(other[name], rel=0.02, abs=1e-4), (mine, other)
    stages = [read_manifest(one.out_dir).recipe["stages"][0] for one in (jobs[0], alone)]
    for name in ("n_steps", "n_tokens", "learned", "stopped_because"):
        assert stages[0][name] == stages[1][name]
    weights = [load_file(one.out_dir / WEIGHTS) for one in (*jobs, alone)]
    for name, tensor in weights[2].items():
        assert (weights[0][name] - tensor).norm() < 0.1 * tensor.norm(), name
        assert bool((weights[0][name] == weights[1][name]).all()), name
    assert read_manifest(jobs[0].out_dir).recipe["workers"] == {"n_workers": 2}


def test_workers_with_other_rows_are_refused(world_model: Path, tmp_path: Path) -> None:
    jobs = [
        make_job(world_model, tmp_path / f"{rank}", "sft", **settings)
        for rank, settings in enumerate(({}, {"n_replay_rows": 9}))
    ]
    pair = Pair(jobs)
    assert pair.run() == [1, 1]
    [error] = [event for event in pair.events if "error" in event]
    assert "other rows or code" in error["error"]


def test_workers_need_a_cluster() -> None:
    with pytest.raises(ValueError, match=r"needs train\.ray_address"):
        TrainSettings(n_workers=2)
