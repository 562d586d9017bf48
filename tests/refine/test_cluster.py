"""Training on a cluster's nodes: the same adapter, also where a node is lost on the way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from pawl.adapters import CHECKPOINTS, WEIGHTS, read_manifest
from pawl.errors import PawlError
from pawl.settings import MonitoringSettings, Settings, TrainSettings
from refine import train
from refine.cluster import FoldsOnNodes
from refine.cluster import _packed as packed
from refine.cluster import _take_over as take_over
from refine.cluster import _train as on_node
from refine.cross_validation import Folds
from refine.replay import answers_path
from refine.search import Search, SearchJob
from refine.search_space import space
from tests.ray_cluster import REASON, node_of, ray_cluster
from tests.refine.interrupted import Event
from tests.refine.test_resume import SHORT, make_job, outcome, steps_of
from tests.refine.test_train import job
from tests.refine.tiny import corrections
from tests.serve.live import eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

# What was written is looked at once a second: it must not be done by then.
LONG: dict[str, Any] = {"n_epochs": 20, "learning_rate": 2e-4}


def test_what_came_back_is_enough_to_go_on_from(
    world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DPO keeps the best epoch beside the newest checkpoint, each under its path on a node. No Ray:
    what a node does is asked of this process, and the child is killed."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    here = make_job(world_model, tmp_path / "here", "dpo", **LONG)
    train.run(here)
    there = make_job(world_model, tmp_path / "there", "dpo", **LONG)
    events: list[Event] = []

    def attempt(is_killed: bool) -> None:
        for written in on_node(there, packed(there), False, 0, 1, None):
            take_over(written, there)
            events.extend(written.events)
            steps = [event.get("saved_step", 0) for event in written.events]
            if is_killed and max(steps, default=0) >= 3:
                [child] = [
                    one for one in psutil.Process().children() if "refine.train" in one.cmdline()
                ]
                child.kill()
                is_killed = False

    with pytest.raises(PawlError, match="signal 9") as caught:
        attempt(is_killed=True)
    assert caught.value.retryable
    assert str(there.work_dir / "train.log") in str(caught.value)
    kept = list((there.work_dir / CHECKPOINTS / "dpo").iterdir())
    assert 1 <= len(kept) <= 2
    attempt(is_killed=False)
    assert any(event.get("note", "").startswith("goes on from step ") for event in events)
    assert outcome(there) == outcome(here)
    assert read_manifest(there.out_dir).recipe["stages"][0]["n_resumed"] == 1
    assert not (there.work_dir / CHECKPOINTS).exists()
    assert list((there.work_dir / "tensorboard").iterdir())
    assert [one.read_bytes() for one in there.replay_dir.iterdir()] == [
        one.read_bytes() for one in here.replay_dir.iterdir()
    ]
    left = list((tmp_path / "home" / ".cache" / "pawl" / "training").iterdir())
    assert [one.name for one in left] == ["lock"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Four nodes with a core each, and a head; each test loses one of them."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("nodes")
        hosts = [f"127.0.0.{n}" for n in range(3, 7)]
        with ray_cluster(home, patch, head_cores=0, others=hosts) as running:
            yield running


def train_and_lose_a_node(cluster: Any, task: train.Job, **how: Any) -> list[Event]:
    events: list[Event] = []
    lost: list[Any] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if event.get("saved_step", 0) >= 3 and not lost:
            lost.append(node_of(cluster, "refine.train"))
            cluster.remove_node(lost[0], allow_graceful=False)

    with ThreadPoolExecutor(1) as pool:  # as a night may: not in the main thread
        pool.submit(
            train.train, task, on_event=on_event, ray_address=cluster.address, **how
        ).result()
    notes = [event["note"] for event in events if "note" in event]
    assert any("lost the node" in note for note in notes), notes
    assert any(note.startswith("goes on from step ") for note in notes), notes
    assert not (task.work_dir / CHECKPOINTS).exists()
    assert read_manifest(task.out_dir).recipe["stages"][0]["n_resumed"] == 1
    left = Path.home() / ".cache" / "pawl" / "training"
    assert not list(left.glob("*/*/train")), "what the lost node had goes with the next"
    return events


@pytest.mark.cluster
def test_a_training_whose_node_is_lost_goes_on_from_its_checkpoint(
    world_model: Path, tmp_path: Path, cluster: Any
) -> None:
    here = make_job(world_model, tmp_path / "here", "dpo", **LONG)
    train.train(here)
    there = make_job(world_model, tmp_path / "there", "dpo", **LONG)
    events = train_and_lose_a_node(cluster, there)
    assert outcome(there) == outcome(here)
    assert events[-1].keys() == {"peak_memory_bytes"}
    assert (there.work_dir / "train.log").exists()


@pytest.mark.cluster
def test_two_workers_one_of_which_is_lost_train_what_one_trains(
    world_model: Path, tmp_path: Path, cluster: Any
) -> None:
    from safetensors.torch import load_file

    how = {"n_epochs": 20, "learning_rate": 1e-4}
    alone, shared = (make_job(world_model, tmp_path / name, "sft", **how) for name in "ab")
    train.train(alone)
    train_and_lose_a_node(cluster, shared, n_workers=2)
    ours, theirs = steps_of(shared), steps_of(alone)
    assert [event["step"] for event in ours] == [event["step"] for event in theirs]
    weights = [load_file(one.out_dir / WEIGHTS) for one in (shared, alone)]
    for name, tensor in weights[1].items():
        assert (weights[0][name] - tensor).norm() < 0.1 * tensor.norm(), name  # in bf16
    assert read_manifest(shared.out_dir).recipe["workers"] == {"n_workers": 2}


@pytest.mark.cluster
def test_recipes_are_tried_on_nodes_and_again_where_one_is_lost(
    world_model: Path, tmp_path: Path, cluster: Any
) -> None:
    def search_of(folder: Path, **more: Any) -> SearchJob:
        task = job(world_model, folder, corrections(10), **SHORT | {"n_epochs": 2, "method": "sft"})
        over = space(task.plan, max_rank=16)["learning_rate"]
        return SearchJob(folder, task, (over,), 2, "random", 1e6, **more)

    alone = search_of(tmp_path / "alone", n_trials=1)
    here = Search(alone, Folds(alone.train, 2, 60)).run()
    both = search_of(tmp_path / "both", n_trials=2, n_at_once=2)
    groups = Folds(both.train, 2, 60).groups
    folds = FoldsOnNodes(cluster.address, both.train, 2, 60, groups)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(Search(both, folds).run)
        module = "refine.cross_validation"
        lost = eventually(lambda: node_of(cluster, module), "a fold is being worked", 200)
        cluster.remove_node(lost, allow_graceful=False)
        found = running.result()
    first, second = (one["state"] for one in found["trials"])
    assert first == "complete"
    assert second in ("complete", "pruned")  # which fold ends first is chance
    assert found["default"] == here["default"]
    assert found["trials"][0]["params"] != found["trials"][1]["params"]
    kept, expected = (
        answers_path(one.train.replay_dir, one.train.base_fingerprint).read_text("utf-8")
        for one in (both, alone)
    )
    assert sorted(kept.splitlines()) == sorted(expected.splitlines())


@pytest.mark.cluster
def test_errors_on_a_node_are_the_childs_own(
    world_model: Path, tmp_path: Path, cluster: Any
) -> None:
    task = make_job(world_model, tmp_path, "sft", last_layers=9)
    with pytest.raises(PawlError, match=r"has 2 layers") as caught:
        train.train(task, ray_address=cluster.address)
    assert str(task.work_dir / "train.log") in str(caught.value)
    assert "last_layers" in (task.work_dir / "train.log").read_text()
    assert not task.out_dir.exists()


@pytest.mark.cluster
def test_a_cluster_that_is_not_there_is_worth_another_try(
    world_model: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason=REASON)
    task = make_job(world_model, tmp_path, "sft")
    with pytest.raises(PawlError, match=r"no Ray cluster answers at 127\.0\.0\.1:9") as caught:
        train.train(task, ray_address="127.0.0.1:9")
    assert caught.value.retryable


def test_trackers_would_write_on_another_machine() -> None:
    with pytest.raises(ValueError, match=r"train\.ray_address puts on another machine"):
        Settings(
            train=TrainSettings(ray_address="auto"),
            monitoring=MonitoringSettings(report_to=("wandb",)),
        )
