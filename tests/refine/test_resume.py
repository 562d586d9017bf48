"""Trainings that are interrupted go on to the losses and the bytes that they would have had."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pawl.adapters import CHECKPOINTS, WEIGHTS, read_manifest
from pawl.jobs import child_environment, module_command
from refine import train
from refine.monitoring import STEPS
from tests.refine.interrupted import Event, rows_of, run_until
from tests.refine.test_train import job
from tests.refine.tiny import CHAT_TEMPLATE

pytestmark = pytest.mark.slow


METHODS = ("sft", "dpo", "kto")
# Three epochs, the last batch of each smaller than the others.
SHORT: dict[str, Any] = {"n_epochs": 3, "n_replay_rows": 8, "batch_size": 8}


def make_job(world_model: Path, folder: Path, method: str, **settings: Any) -> train.Job:
    """A training that saves after every step."""
    task = job(world_model, folder, rows_of(method), **SHORT | {"method": method} | settings)
    return replace(task, checkpoint_seconds=0.0)


def steps_of(task: train.Job) -> list[Event]:
    return [json.loads(line) for line in (task.work_dir / STEPS).read_text().splitlines()]


def outcome(task: train.Job) -> tuple[bytes, list[Event], list[Event]]:
    """The adapter, what was logged at each step, and what the recipe says of the stages but how
    long they took and how often they were interrupted."""
    recipe = read_manifest(task.out_dir).recipe
    stages = [stage | {"seconds": 0, "n_resumed": 0} for stage in recipe["stages"]]
    return (task.out_dir / WEIGHTS).read_bytes(), steps_of(task), stages


@pytest.fixture(scope="module", params=METHODS)
def whole(
    request: pytest.FixtureRequest, world_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, train.Job]:
    """A method's training that nobody interrupts."""
    folder = tmp_path_factory.mktemp(request.param)
    task = make_job(world_model, folder, request.param)
    train.run(task)
    return request.param, task


def test_validation_is_asked_once_of_each_model(whole: tuple[str, train.Job]) -> None:
    method, task = whole
    looks = [event for event in steps_of(task) if "eval_loss" in event]
    steps = [event["step"] for event in looks]
    assert steps[0] == 0
    assert len(steps) == len(set(steps)) > 1
    best = read_manifest(task.out_dir).recipe["stages"][0]["best_validation"]
    losses = [event["eval_loss"] for event in looks[1:]]
    assert best["eval_loss"] == (losses[-1] if method == "sft" else min(losses))


def test_killed_at_a_random_step(
    whole: tuple[str, train.Job], world_model: Path, tmp_path: Path
) -> None:
    method, uninterrupted = whole
    task = make_job(world_model, tmp_path, method)
    n_steps = max(event["step"] for event in steps_of(uninterrupted))
    step = random.Random().randint(2, n_steps - 1)
    child = subprocess.Popen(
        [*module_command("refine.train"), str(train.write_job(task))],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=child_environment(),
    )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if json.loads(line).get("step") == step:
            break
    child.kill()
    child.wait()
    child.stdout.close()
    assert not task.out_dir.exists()
    events = run_until(task, lambda event: False)
    notes = [event["note"] for event in events if "note" in event]
    assert any(note.startswith("goes on from step ") for note in notes)
    assert outcome(task) == outcome(uninterrupted), f"killed at step {step}"
    assert not (task.work_dir / CHECKPOINTS).exists()


def test_interrupted_after_every_step(
    whole: tuple[str, train.Job], world_model: Path, tmp_path: Path
) -> None:
    """So at the end of an epoch too, before and after what is due there."""
    method, uninterrupted = whole
    task = make_job(world_model, tmp_path, method)
    n_attempts = 1
    while run_until(task, lambda event: "saved_step" in event)[-1]["stage"] != "done":
        kept = list((task.work_dir / CHECKPOINTS / method).glob("checkpoint-*"))
        assert 1 <= len(kept) <= 2
        n_attempts += 1
    assert n_attempts > 4
    assert outcome(task) == outcome(uninterrupted)
    assert read_manifest(task.out_dir).recipe["stages"][0]["n_resumed"] == n_attempts - 1


def test_a_stage_that_is_done_is_not_trained_again(world_model: Path, tmp_path: Path) -> None:
    """Interrupted in the second one, and again when both are done and the adapter is not."""
    uninterrupted = make_job(world_model, tmp_path / "whole", "sft+dpo")
    train.run(uninterrupted)
    task = make_job(world_model, tmp_path / "interrupted", "sft+dpo")
    run_until(task, lambda event: {"stage": "dpo", "saved_step": 2}.items() <= event.items())
    events = run_until(task, lambda event: event["stage"] == "probe")
    assert {event["stage"] for event in events if "step" in event} == {"dpo"}
    assert not task.out_dir.exists()
    events = run_until(task, lambda event: False)
    assert not [event for event in events if "step" in event]
    assert outcome(task) == outcome(uninterrupted)


def test_time_that_was_spent_counts(world_model: Path, tmp_path: Path) -> None:
    slow = {"learning_rate": 1e-7, "n_epochs": 100_000, "max_minutes": 1.0}
    task = make_job(world_model, tmp_path, "sft", **slow)
    run_until(task, lambda event: event.get("step", 0) > 3)
    checkpoints = task.work_dir / CHECKPOINTS / "sft"
    [path] = checkpoints.glob("checkpoint-*")
    manifest = json.loads((path / "pawl.json").read_text())
    manifest["progress"]["seconds"] += 120.0
    (path / "pawl.json").write_text(json.dumps(manifest))
    train.run(task)
    recipe = read_manifest(task.out_dir).recipe
    assert recipe["stages"][0]["stopped_because"] == "out of time"
    assert recipe["seconds"] > 120
    assert recipe["stages"][0]["n_steps"] < 30  # the epoch in which the rate falls


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_date_in_prompts_stays_after_midnight(
    method: str, world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of the training is in a zone where it is another day."""
    dated = tmp_path / "dated"
    shutil.copytree(world_model, dated)
    template = CHAT_TEMPLATE.replace("{{ bos_token }}", "{{ bos_token + strftime_now('%d %b') }}")
    (dated / "chat_template.jinja").write_text(template)
    uninterrupted, task = (
        replace(make_job(dated, tmp_path / name, method), today="2024-02-29") for name in "ab"
    )
    train.run(uninterrupted)
    zones = ("Etc/GMT+12", "Etc/GMT-14")  # 26 hours apart
    days = []
    try:
        for zone, step in zip(zones, (3, None), strict=True):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            days.append(datetime.now().date())
            events = run_until(task, lambda event, n=step: n and event.get("saved_step") == n)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert days[0] != days[1]
    assert "goes on from step 3" in [event.get("note") for event in events]
    assert outcome(task) == outcome(uninterrupted)
    assert read_manifest(task.out_dir).recipe["today"] == "2024-02-29"
    of_another_day = replace(make_job(dated, tmp_path / "c", method), today="2024-03-01")
    train.run(of_another_day)
    assert outcome(of_another_day)[1] != outcome(uninterrupted)[1]  # it is in what is trained


def test_another_training_in_the_folder_begins_anew(world_model: Path, tmp_path: Path) -> None:
    task = make_job(world_model, tmp_path, "sft")
    run_until(task, lambda event: event.get("saved_step") == 3)
    other = make_job(world_model, tmp_path, "sft", seed=1)
    events = run_until(other, lambda event: False)
    assert "another plan" in "".join(event.get("note", "") for event in events)
    assert next(event["step"] for event in steps_of(other) if "loss" in event) == 1
    assert read_manifest(other.out_dir).recipe["stages"][0]["n_resumed"] == 0
