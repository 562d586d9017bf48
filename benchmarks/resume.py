"""Trainings that are killed at random steps and begun again: are they what they would have been?

    python -m benchmarks.resume                 # the model that comes with Pawl
    python -m benchmarks.resume --model tiny    # the tests' model, in a tenth of the time

SFT, DPO and KTO in children as a night starts them, DPO and KTO with validation rows enough to keep
the best of their epochs. Each is trained twice whole; then it is killed (SIGKILL) once it logged a
random step, and started again until it is done. What was logged at every step (losses, rates,
rewards) and the adapter's bytes must be those of the whole training. Steps that were worked again
are counted, and what a checkpoint takes. ``--checkpoint-seconds`` are the fewest between two: fewer
than in a night, since these trainings last a minute.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.figures import percentile
from benchmarks.measurements import finish
from pawl.adapters import CHECKPOINTS, WEIGHTS, read_manifest
from pawl.files import sha256_file
from pawl.jobs import Event, child_environment, module_command
from pawl.models import BaseModel, resolve_model
from pawl.settings import DEFAULT_MODEL, Settings, TrainSettings
from refine.checkpoints import SAVE_SHARE
from refine.monitoring import STEPS
from refine.planner import choose, hidden_size_of
from refine.train import CHECKPOINT_SECONDS, Job, train, write_job
from tests.refine.interrupted import rows_of
from tests.refine.tiny import make_world_model, write_snapshot

METHODS = ("sft", "dpo", "kto")
N_EPOCHS = {"sft": 8, "dpo": 4, "kto": 3}
SETTINGS: dict[str, Any] = {"n_replay_rows": 8, "batch_size": 8}
FOR_TINY: dict[str, Any] = {"learning_rate": 3e-3, "n_threads": 1}
POLL_SECONDS = 0.01
DEADLINE_SECONDS = 1200.0


@dataclass(slots=True)
class Place:
    """What the trainings of a benchmark share, and what their checkpoints took."""

    base: BaseModel
    folder: Path
    settings: dict[str, Any]
    checkpoint_seconds: float
    save_seconds: list[float] = field(default_factory=list)
    save_bytes: list[int] = field(default_factory=list)

    def job(self, name: str, method: str) -> Job:
        rows = rows_of(method)
        options = TrainSettings(**self.settings, method=method, n_epochs=N_EPOCHS[method])
        settings = Settings.model_construct(train=options)
        plan = choose(rows, settings, hidden_size=hidden_size_of(self.base.model_dir))
        snapshot_dir = write_snapshot(self.folder / method / "snapshot", rows)
        run_dir = self.folder / method / name
        job = Job.in_run(run_dir, self.base, snapshot_dir, plan, self.folder / "replay")
        return replace(job, checkpoint_seconds=self.checkpoint_seconds)

    def train(self, job: Job) -> list[str]:
        """Train to the end; what it said of checkpoints."""
        notes: list[str] = []

        def on_event(event: Event) -> None:
            if "saved_step" in event:
                self.save_seconds.append(event["seconds"])
                self.save_bytes.append(event["bytes"])
            if "note" in event:
                notes.append(event["note"])

        train(job, on_event=on_event)
        return notes


def logged(job: Job) -> list[dict[str, Any]]:
    """What was logged, in its order; half a line, of the kill or of one that is being written, is
    left out."""
    path = job.work_dir / STEPS
    events = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events


def last_step(job: Job) -> int:
    return max((event["step"] for event in logged(job)), default=0)


def kill_at(job: Job, step: int) -> int:
    """Start the child and kill it once it logged ``step``; the last step that it logged."""
    path = write_job(job)
    with (job.work_dir / "killed.log").open("wb") as log:
        child = subprocess.Popen(
            [*module_command("refine.train"), str(path)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=child_environment(),
        )  # fmt: skip
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while last_step(job) < step and child.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)  # a file has no event to wait for
    finally:
        child.kill()
        child.wait()
    return last_step(job)


def differences(job: Job, whole: Job) -> list[str]:
    """What of a training is not as in the whole one."""
    problems = []
    ours, wanted = logged(job), logged(whole)
    if ours != wanted:
        n = sum(a != b for a, b in zip(ours, wanted, strict=False)) + abs(len(ours) - len(wanted))
        problems.append(f"{n} of {len(wanted)} logged lines")
    if sha256_file(job.out_dir / WEIGHTS) != sha256_file(whole.out_dir / WEIGHTS):
        problems.append("other adapter bytes")
    if (job.work_dir / CHECKPOINTS).exists():
        problems.append("checkpoints were left")
    return problems


def measure(place: Place, method: str, n_kills: int, rng: random.Random) -> tuple[str, list[str]]:
    """A line of figures, and what went wrong."""
    whole, again = place.job("whole", method), place.job("again", method)
    place.train(whole)
    place.train(again)
    missed = [f"{method} trained twice: {what}" for what in differences(again, whole)]
    n_steps = last_step(whole)
    worked_again, n_alike = [], 0
    for i in range(n_kills):
        job = place.job(f"killed-{i}", method)
        killed_at = kill_at(job, rng.randint(1, n_steps - 1))
        notes = place.train(job)
        begun = [int(note.split()[-1]) for note in notes if note.startswith("goes on from step")]
        worked_again.append(killed_at - (begun[0] if begun else 0))
        problems = differences(job, whole)
        n_alike += not problems
        missed += [f"{method} killed after step {killed_at}: {what}" for what in problems]
    seconds = read_manifest(whole.out_dir).recipe["stages"][0]["seconds"]
    figure = (
        f"{n_alike} of {n_kills} killed at a random step of {n_steps} ({seconds:.0f} s) ended with "
        f"the same bytes and the same figures at each step; steps worked again: median "
        f"{percentile(worked_again, 0.5):.0f}, {max(worked_again)} at most"
    )
    return figure, missed


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="a base, or 'tiny'")
    parser.add_argument("--kills", type=int, default=10, help="of each method")
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--checkpoint-seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args(arguments)
    figures: dict[str, object] = {}
    missed: list[str] = []
    is_tiny = args.model == "tiny"
    with tempfile.TemporaryDirectory(prefix="pawl-resume-") as name:
        folder = Path(name)
        model = str(make_world_model(folder / "tiny")) if is_tiny else args.model
        place = Place(
            resolve_model(model, cache_dir=folder),
            folder,
            SETTINGS | (FOR_TINY if is_tiny else {}),
            0.0 if is_tiny else args.checkpoint_seconds,
        )
        for method in args.methods:
            rng = random.Random(f"{args.seed} {method}")
            figures[method.upper()], wrong = measure(place, method, args.kills, rng)
            missed += wrong
    if place.save_seconds:
        seconds, n_bytes = statistics.median(place.save_seconds), max(place.save_bytes)
        share = seconds / max(CHECKPOINT_SECONDS, seconds / SAVE_SHARE)
        figures["a checkpoint"] = (
            f"{seconds:.2f} s (median of {len(place.save_seconds)}), {n_bytes / 1e6:.0f} MB: "
            f"{100 * share:.1f} % of the time at one in {CHECKPOINT_SECONDS:.0f} s"
        )
    finish("resume", "Trainings that are killed and begun again", figures, missed=missed,
           note=f"Base: {args.model}.", keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
