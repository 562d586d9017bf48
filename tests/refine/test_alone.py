"""The trainer without the night: an adapter and its report, and no run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from feedback.snapshots import read_rows
from pawl.adapters import CHECKPOINTS, read_manifest
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json
from pawl.settings import TrainSettings
from refine.alone import train_alone
from refine.domain import TRAFFIC, read_traffic
from refine.night.state import newest_runs
from refine.train import Job, write_job
from tests.feedback.examples import make_promotion
from tests.refine.interrupted import Event, run_until
from tests.refine.night.test_nightly import World, night_settings

pytestmark = pytest.mark.slow


@pytest.fixture
def world(world_model: Path, tmp_path: Path) -> Iterator[World]:
    here = World(night_settings(world_model, tmp_path))
    yield here
    here.app.close()


def test_it_leaves_an_adapter_and_a_report_and_promotes_nothing(world: World) -> None:
    with pytest.raises(PawlError, match="nothing to train"):
        train_alone(world.client, world.settings)
    world.complain(20)
    with pytest.raises(PawlError, match="is not there"):
        train_alone(world.client, world.settings, snapshot_id="none")
    options = world.settings.train.model_copy(update={"augment": ("paraphrase",)})
    with pytest.raises(PawlError, match="none runs with this base"):
        train_alone(world.client, world.settings.model_copy(update={"train": options}))
    lock = world.settings.state_dir / "nightly.lock"
    with hold_lock(lock, "held", ""), pytest.raises(PawlError, match="a night is running"):
        train_alone(world.client, world.settings)
    options = world.settings.train.model_copy(update={"domain_weighting": True})
    settings = world.settings.model_copy(update={"train": options})
    prompt = "Grass is green. Say so."
    house = world.client.promote(system_prompt=prompt).version
    world.app.store.append_promotion(make_promotion(house, "live")).result()
    run_dir, manifest = train_alone(world.client, settings)
    assert read_manifest(run_dir / "adapter") == manifest
    snapshot_dir = settings.snapshots_dir / manifest.recipe["snapshot"]["snapshot_id"]
    held_out = [row.prompt for row in read_rows(snapshot_dir) if row.split == "holdout"]
    asked = read_traffic(run_dir / TRAFFIC)
    assert asked
    assert not [prompt for prompt in asked if prompt in held_out]
    assert manifest.recipe["domain"]
    report = read_json(run_dir / "report.json")
    assert (report["outcome"], bool(report["training"])) == ("trained", True)
    assert newest_runs(world.settings.runs_dir) == []
    assert world.client.get("/admin/status")["champion"] == house
    # It was trained as a night would train it, and is served so.
    assert manifest.recipe["system_prompt"] == prompt
    moved = world.client.promote(run_dir.name, force=True)
    kept = world.app.store.version_settings(moved.version)
    assert kept is not None
    assert (kept.weights, kept.system_prompt) == (moved.version, prompt)


def test_one_that_was_killed_is_carried_on(world: World) -> None:
    world.complain(20)

    def die(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_alone(world.client, world.settings, on_event=die)
    [path] = world.settings.runs_dir.glob("train-*/train/job.json")
    task = TypeAdapter(Job).validate_json(path.read_bytes())
    assert task.today == datetime.now().date().isoformat()
    task = replace(task, today="2024-02-29")  # as if it had begun then
    write_job(task)
    run_until(replace(task, checkpoint_seconds=0.0), lambda event: event.get("saved_step") == 2)

    other = world.settings.model_copy(update={"train": TrainSettings(seed=7, n_epochs=1)})
    lines: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        train_alone(world.client, other, say=lines.append, on_event=die)
    [refused] = [line for line in lines if "does not carry on" in line]
    assert "other settings" in refused

    events: list[Event] = []
    run_dir, manifest = train_alone(world.client, world.settings, on_event=events.append)
    assert run_dir == path.parents[1]
    assert manifest.recipe["stages"][0]["n_resumed"] == 1
    assert manifest.recipe["today"] == "2024-02-29"
    assert [event["note"] for event in events if "note" in event] == ["goes on from step 2"]
    assert not list(world.settings.runs_dir.glob(f"*/train/{CHECKPOINTS}"))
