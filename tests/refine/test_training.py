"""The parent of a training: progress, errors that say why, a finished folder that is kept."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pawl.errors import PawlError
from pawl.files import hold_lock
from pawl.models import resolve_model
from pawl.settings import Settings, TrainSettings
from refine.planner import choose
from refine.train import Job, train
from tests.refine.tiny import corrections, write_snapshot

pytestmark = pytest.mark.slow


def job_of(world_model: Path, folder: Path, **settings: Any) -> Job:
    rows = corrections(9, n_validation=1)
    options = TrainSettings(**({"n_epochs": 2, "n_replay_rows": 4} | settings))
    plan = choose(rows, Settings.model_construct(train=options))
    base = resolve_model(str(world_model), cache_dir=folder)
    return Job(
        write_snapshot(folder / "snapshot", rows),
        plan,
        base.model_dir,
        folder / "adapter",
        folder / "train",
        base.name,
        base.fingerprint,
        folder / "replay",
    )


def test_a_child_trains_with_progress_and_is_not_asked_twice(
    world_model: Path, tmp_path: Path
) -> None:
    task = job_of(world_model, tmp_path)
    events: list[dict[str, Any]] = []
    niceness: set[tuple[int, bool]] = set()

    def keep(event: dict[str, Any]) -> None:
        events.append(event)
        if event.get("step") == 1:
            pid = _child()
            niceness.add((os.getpriority(os.PRIO_PROCESS, pid), os.getsid(pid) == pid))

    manifest = train(task, beside_engine=True, on_event=keep)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness == {(min(19, before + 10), True)}  # in a session of its own
    fractions = [event["fraction"] for event in events if "max_steps" in event]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert next(event["stage"] for event in events) == "replay"
    validated = [event["fraction"] for event in events if event.get("stage") == "sft validation"]
    assert validated[-1] == 1.0
    assert 50_000_000 < events[-1]["peak_memory_bytes"] < 16_000_000_000
    assert manifest.recipe["n_threads"] == 2  # beside an engine, and nothing else was asked for
    assert manifest.base_fingerprint == task.base_fingerprint
    assert "events.out.tfevents" in "".join(p.name for p in tmp_path.rglob("tensorboard/*"))
    again: list[dict[str, Any]] = []
    assert train(task, beside_engine=True, on_event=again.append) == manifest
    assert again == []


def test_what_the_child_says_is_the_error(world_model: Path, tmp_path: Path) -> None:
    task = job_of(world_model, tmp_path, max_length_tokens=3)
    with pytest.raises(PawlError, match="longer than 3 tokens") as caught:
        train(task, beside_engine=True)
    assert not caught.value.retryable
    assert not task.out_dir.exists()


def test_a_passing_error_of_the_child_stays_a_passing_one(
    world_model: Path, tmp_path: Path
) -> None:
    task = job_of(world_model, tmp_path)
    lock = task.work_dir / "train.lock"
    with hold_lock(lock, "x", "y"), pytest.raises(PawlError, match="is in use") as caught:
        train(task, beside_engine=True)
    assert (caught.value.retryable, caught.value.code) == (True, "locked")


def test_a_broken_model_gives_the_end_of_the_log(world_model: Path, tmp_path: Path) -> None:
    task = job_of(world_model, tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"model_type": "llama"}))
    task = replace(task, model_dir=broken)
    with pytest.raises(PawlError, match="the end of its log") as caught:
        train(task, beside_engine=True)
    assert caught.value.retryable
    assert str(tmp_path / "train" / "train.log") in str(caught.value)
    assert "Traceback" in (tmp_path / "train" / "train.log").read_text()


def test_a_killed_child_is_said_and_can_be_started_again(world_model: Path, tmp_path: Path) -> None:
    task = job_of(world_model, tmp_path, n_epochs=300)

    killed: list[int] = []

    def kill(event: dict[str, Any]) -> None:
        if event.get("step", 0) > 3 and not killed:
            killed.append(_child())
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(PawlError, match="signal 9") as caught:
        train(task, beside_engine=True, on_event=kill)
    assert caught.value.retryable
    assert not task.out_dir.exists()
    assert train(job_of(world_model, tmp_path)).recipe["stages"][0]["n_steps"] > 0


def _child() -> int:
    """The training that this process started."""
    import psutil

    [child] = [one for one in psutil.Process().children() if "refine.train" in one.cmdline()]
    return int(child.pid)
