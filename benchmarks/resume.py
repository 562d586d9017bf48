"""Trainings that are killed at random steps and begun again: are they what they would have been?

    python -m benchmarks.resume

SFT, DPO and KTO on the tests' tiny model, in children as a night starts them. Each is trained once
whole; then it is killed (SIGKILL) once it logged a random step, and started again until it is done.
Every step's loss and the adapter's bytes must be those of the whole training. Steps that were
worked again are counted: a training goes on from a checkpoint where it keeps any.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import percentile
from benchmarks.measurements import finish
from pawl.adapters import WEIGHTS
from pawl.files import sha256_file
from pawl.jobs import child_environment, module_command
from pawl.models import resolve_model
from pawl.schemas import TrainingRow
from pawl.settings import Settings, TrainSettings
from refine.monitoring import STEPS
from refine.planner import choose
from refine.train import Job, train, write_job
from tests.refine.tiny import corrections, make_world_model, row, write_snapshot

METHODS = ("sft", "dpo", "kto")
SETTINGS: dict[str, Any] = {
    "n_epochs": 8, "learning_rate": 3e-3, "n_threads": 1, "n_replay_rows": 60, "batch_size": 8,
}  # fmt: skip
POLL_SECONDS = 0.01
DEADLINE_SECONDS = 600.0


def rows_of(method: str) -> list[TrainingRow]:
    if method != "kto":
        return corrections(9) + corrections(9, thing="ash", right="white")
    return [
        row("unpaired", thing, i, completion=f"{thing} is {colour}.", label=label)
        for thing, right, wrong in (("grass", "green", "red"), ("ash", "white", "grey"))
        for i in range(9)
        for colour, label in ((right, True), (wrong, False))
    ]


def make_job(model_dir: Path, folder: Path, method: str) -> Job:
    rows = rows_of(method)
    settings = Settings.model_construct(train=TrainSettings(**SETTINGS, method=method))
    base = resolve_model(str(model_dir), cache_dir=folder)
    return Job(
        write_snapshot(folder / "snapshot", rows), choose(rows, settings), model_dir,
        folder / "adapter", folder / "train", "tiny", base.fingerprint, folder / "replay",
    )  # fmt: skip


def losses_of(job: Job) -> dict[tuple[str, int], float]:
    """The loss of each step by stage and step; of a step that was worked twice the last."""
    return {(event["stage"], event["step"]): event["loss"] for event in _losses(job)}


def _losses(job: Job) -> list[dict[str, Any]]:
    path = job.work_dir / STEPS
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:  # half a line, of the kill or of one that is being written
            continue
    return [event for event in events if "loss" in event]


def kill_at(job: Job, step: int) -> int:
    """Start the child and kill it once it logged ``step``; the last step that it logged."""
    path = write_job(job)
    with (job.work_dir / "killed.log").open("wb") as log:
        child = subprocess.Popen(
            [*module_command("refine.train"), str(path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=child_environment(),
        )  # fmt: skip
    deadline = time.monotonic() + DEADLINE_SECONDS
    last = 0
    try:
        while last < step and child.poll() is None and time.monotonic() < deadline:
            last = max((event["step"] for event in _losses(job)), default=0)
            time.sleep(POLL_SECONDS)  # a file has no event to wait for
    finally:
        child.kill()
        child.wait()
    return last


def measure(
    method: str, model_dir: Path, folder: Path, n_kills: int, rng: random.Random
) -> tuple[str, list[str]]:
    """A line of figures, and what went wrong."""
    whole = make_job(model_dir, folder / "whole", method)
    train(whole)
    wanted, digest = losses_of(whole), sha256_file(whole.out_dir / WEIGHTS)
    n_steps = max(step for _, step in wanted)
    missed: list[str] = []
    repeated, n_alike = [], 0
    for i in range(n_kills):
        job = make_job(model_dir, folder / f"killed-{i}", method)
        killed_at = kill_at(job, rng.randint(1, n_steps - 1))
        log = job.work_dir / STEPS
        n_before, inode = len(_losses(job)), log.stat().st_ino
        train(job)
        is_new = log.stat().st_ino != inode  # a training that begins anew begins its log anew
        repeated.append(n_before if is_new else len(_losses(job)) - len(wanted))
        after = losses_of(job)
        problems = []
        if after != wanted:
            problems.append(f"losses of {sum(after.get(k) != v for k, v in wanted.items())} steps")
        if sha256_file(job.out_dir / WEIGHTS) != digest:
            problems.append("other adapter bytes")
        n_alike += not problems
        missed += [f"{method} killed after step {killed_at}: {what}" for what in problems]
    figure = (
        f"{n_alike} of {n_kills} killed at a random step of {n_steps} ended with the same losses "
        f"and bytes; steps worked again: median {percentile(repeated, 0.5):.0f}"
    )
    return figure, missed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10, help="of each method")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args(arguments)
    figures: dict[str, object] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pawl-resume-") as folder:
        model_dir = make_world_model(Path(folder) / "tiny")
        for method in args.methods:
            rng = random.Random(f"{args.seed} {method}")
            figures[method.upper()], wrong = measure(
                method, model_dir, Path(folder) / method, args.kills, rng
            )
            missed += wrong
    finish("resume", "Trainings that are killed and begun again", figures, missed=missed,
           keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
