"""Folds keep near-duplicates together and the holdout out; losses are what they say."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pawl.adapters import read_manifest
from pawl.cli import cli
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.jobs import child_environment, module_command
from pawl.models import resolve_model
from pawl.schemas import TrainingRow, asked_with
from pawl.settings import Settings, TrainSettings
from refine.cross_validation import (
    FoldResult,
    Folds,
    groups_of,
    make_folds,
    score_of,
    standard_error,
)
from refine.planner import choose
from refine.search import FOLDS, RESULT
from refine.train import Job
from tests.refine.night.test_nightly import World, night_settings
from tests.refine.tiny import COLOURS, corrections, row, says, write_snapshot


def rows_of(n: int, split: str = "train") -> list[TrainingRow]:
    """``n`` clusters of two written answers, each with the pair that its correction gave."""
    return [
        replace(one, row_id=f"{split}-{i}-{k}-{one.kind}", split=split, group_id=f"{split}-{i}-{k}",
                cluster=f"{split}-{i}")
        for i in range(n)
        for k in range(2)
        for one in corrections(1)
    ]  # fmt: skip


def test_folds_keep_clusters_whole_and_hold_out_the_training_rows_once() -> None:
    rows = [*rows_of(12), *rows_of(4, "validation"), *rows_of(4, "holdout")]
    folds = make_folds(rows, "sft", 3, seed=0)
    held_out = [one.row_id for fold in folds for one in fold.held_out]
    wanted = {one.row_id for one in rows if one.split == "train" and one.kind == "sft"}
    assert len(held_out) == len(set(held_out))
    assert set(held_out) == wanted
    clusters = [{one.cluster for one in fold.held_out} for fold in folds]
    assert sum(map(len, clusters)) == len(set.union(*clusters)) == 12
    for fold, theirs in zip(folds, clusters, strict=True):
        assert len(fold.held_out) == 8
        of_cluster = {one.row_id for one in rows if one.cluster in theirs}
        assert set(fold.leave_out) == of_cluster  # with the pairs of the same corrections
    assert make_folds(rows[::-1], "sft", 3, seed=0) == folds
    assert make_folds(rows, "sft", 3, seed=1) != folds


def test_conversations_join_clusters() -> None:
    first, second, third = (replace(one, row_id=str(i), cluster=str(i), group_id="one talk")
                            for i, one in enumerate(corrections(3)[::2]))  # fmt: skip
    third = replace(third, group_id="other")
    groups = groups_of([first, second, third])
    assert groups["0"] == groups["1"] != groups["2"]
    with pytest.raises(PawlError, match="2 groups") as caught:
        make_folds([first, second, third], "sft", 3, seed=0)
    assert caught.value.code == "too_few_rows"


def test_both_labels_stand_in_each_fold() -> None:
    thumbs = [
        row("unpaired", thing, i, completion=says(thing, colour), label=i % 3 == 0)
        for thing, colour in COLOURS.items()
        for i in range(3)
    ]
    for fold in make_folds(thumbs, "unpaired", 4, seed=0):
        assert {one.label for one in fold.held_out} == {True, False}


def test_a_training_without_a_fold_has_rows_of_each_task_or_none_begins() -> None:
    def of_task(name: str, rows: list[TrainingRow]) -> list[TrainingRow]:
        return [replace(one, row_id=f"{name} {one.row_id}", group_id=f"{name} {one.group_id}",
                        cluster=f"{name} {one.cluster}", origin={"task": name})
                for one in rows]  # fmt: skip

    shares = {"few": 0.5, "many": 0.5}
    rows = [*of_task("few", rows_of(3)), *of_task("many", rows_of(30))]
    for seed in range(20):
        for fold in make_folds(rows, "sft", 3, seed, shares):
            assert {one.task for one in fold.held_out} == {"few", "many"}
    for n_few, n_folds in ((1, 2), (1, 5)):  # one cluster can't be on both sides
        rows = [*of_task("few", rows_of(n_few)), *of_task("many", rows_of(30))]
        with pytest.raises(PawlError, match="would hold all rows of 'few'"):
            make_folds(rows, "sft", n_folds, 0, shares)


def test_the_standard_error_knows_groups_and_folds() -> None:
    values = [0.0, 1.0, 2.0, 3.0]
    spread = math.sqrt(5 / 3)  # of the sample
    assert standard_error(values, [0, 1, 2, 3], 5) == pytest.approx(spread / 2 * 1.5)
    assert standard_error([0.0, 0.0, 3.0, 3.0], [0, 0, 1, 1], 5) == pytest.approx(1.5 * 1.5)
    assert standard_error(values, [7, 7, 7, 7], 5) is None
    results = [FoldResult(values, 0.1, 0, 1.0), FoldResult([8.0], 0.3, 0, 1.0)]
    score = score_of(results, [[0, 1, 2, 3], [4], [5]], 3)
    assert (score.loss, score.drift) == (pytest.approx(14 / 5), pytest.approx(0.2))
    assert score.value == pytest.approx(14 / 5 + 4 * 0.2)


def job_of(model_dir: Path, folder: Path, rows: list[TrainingRow], **settings: Any) -> Job:
    options = {"n_epochs": 6, "learning_rate": 3e-3, "n_threads": 1, "n_replay_rows": 24}
    train = TrainSettings(**options | settings)
    plan = choose(rows, Settings.model_construct(train=train))
    base = resolve_model(str(model_dir), cache_dir=folder)
    snapshot = write_snapshot(folder / "snapshot", rows)
    return Job.in_run(folder, base, snapshot, plan, folder / "replay")


@pytest.mark.slow
def test_held_out_losses_show_what_was_learned_and_never_the_holdout(
    world_model: Path, tmp_path: Path
) -> None:
    learned = rows_of(9)
    folds = Folds(job_of(world_model, tmp_path / "a", learned), 3, 24)
    taught = folds(folds.job.plan, 0, 600)
    [stage] = folds.job.plan.stages
    still = replace(folds.job.plan, stages=(replace(stage, learning_rate=1e-9),))
    untaught = folds(still, 0, 600)
    assert sum(taught.losses) < 0.5 * sum(untaught.losses)
    assert untaught.drift == pytest.approx(0, abs=1e-6) != taught.drift
    assert not folds.job.work_dir.exists()
    # Other rows in the holdout change nothing, and the same seed gives the same figures.
    other = [*learned, *rows_of(5, "holdout")]
    again = Folds(job_of(world_model, tmp_path / "b", other), 3, 24)
    assert again.folds == folds.folds
    repeated = again(again.job.plan, 0, 600)
    assert (repeated.losses, repeated.drift) == (taught.losses, taught.drift)
    [stage] = again.job.plan.stages
    endless = replace(stage, learning_rate=1e-9, n_epochs=100_000)
    assert not again(replace(again.job.plan, stages=(endless,)), 1, 0.01).is_whole


@pytest.mark.slow
def test_a_champions_prompt_stands_before_what_is_trained_and_what_is_held_out(
    world_model: Path, tmp_path: Path
) -> None:
    prompt, rows = "Grass is green.", rows_of(4)
    job = replace(job_of(world_model, tmp_path / "a", rows, n_epochs=1), system_prompt=prompt)
    own = [replace(one, prompt=asked_with(prompt, one.prompt)) for one in rows]
    losses = [
        folds(folds.job.plan, 0, 600).losses
        for folds in (
            Folds(job, 2, 24),
            Folds(job_of(world_model, tmp_path / "b", own, n_epochs=1), 2, 24),
        )
    ]
    assert losses[0] == losses[1]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dpo", "kto"])
def test_preferences_cost_log_2_before_training_and_less_after(
    world_model: Path, tmp_path: Path, method: str
) -> None:
    thumbs = [
        row("unpaired", "grass", i, completion=says("grass", colour), label=colour == "green")
        for i in range(10)
        for colour in ("green", "red")
    ]
    rows = thumbs if method == "kto" else corrections(9)
    folds = Folds(job_of(world_model, tmp_path, rows, method=method, n_epochs=3), 2, 24)
    [stage] = folds.job.plan.stages
    still = replace(folds.job.plan, stages=(replace(stage, learning_rate=1e-9),))
    assert folds(still, 0, 600).losses == pytest.approx([math.log(2)] * len(folds.groups[0]))
    taught = folds(folds.job.plan, 0, 600).losses
    assert sum(taught) / len(taught) < 0.95 * math.log(2)


@pytest.fixture
def world(world_model: Path, tmp_path: Path) -> Iterator[World]:
    here = World(night_settings(world_model, tmp_path))
    yield here
    here.app.close()


@pytest.mark.slow
def test_a_killed_search_goes_on_and_its_recipe_is_trained_on_all_rows(
    world: World, world_model: Path, tmp_path: Path
) -> None:
    world.complain(20)
    world.app.close()
    state_dir = str(world.settings.state_dir)
    line = ["search", "--state-dir", state_dir, "--minutes", "5", "--trials", "2", "--over",
            "learning_rate", "--folds", "2", "--set", f"model={world_model}",
            "--set", "train.n_threads=1", "--set", "train.n_epochs=4", "--set",
            "train.n_replay_rows=8", "--set", "train.learning_rate=3e-3"]  # fmt: skip
    with subprocess.Popen(
        [*module_command("pawl.cli"), *line],
        stderr=subprocess.PIPE, encoding="utf-8", env=child_environment(), start_new_session=True,
    ) as killed:  # fmt: skip
        assert killed.stderr is not None
        for text in killed.stderr:
            if "fold 2 of 2" in text:
                os.killpg(killed.pid, signal.SIGKILL)
    [folder] = world.settings.runs_dir.glob("search-*")
    first = {path: path.read_bytes() for path in (folder / FOLDS).iterdir()}
    assert first
    assert not (folder / RESULT).exists()
    done = CliRunner().invoke(cli, [*line, "--train", "--json"], catch_exceptions=False)
    result = json.loads(done.stdout)
    assert [row["state"] for row in result["trials"]].count("complete") >= 1
    assert len(result["trials"]) == 2
    assert {path: path.read_bytes() for path in first} == first
    assert (folder / "search.html").read_text("utf-8").count("<svg") == 1
    assert not {"adapter", "train"} & {path.name for path in folder.iterdir()}
    [run_dir] = world.settings.runs_dir.glob("train-*")
    [stage] = read_json(run_dir / "plan.json")["stages"]
    assert stage["learning_rate"] == result["best"]["params"]["learning_rate"]
    recipe = read_manifest(run_dir / "adapter").recipe
    assert recipe["snapshot"]["snapshot_id"] == result["snapshot_id"]
