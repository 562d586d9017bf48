"""The trainer without the night: ``pawl train`` takes a snapshot and leaves an adapter.

Nothing is scored and nothing is promoted. One that was killed is carried on by the next of the same
snapshot and settings. It lies beside the nights' runs, so that an erasing finds
it; without ``run.json`` no night takes it for one of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pawl.adapters import CHECKPOINTS, AdapterManifest
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import hold_lock, write_json
from pawl.jobs import Event
from pawl.models import BaseModel, resolve_model
from pawl.settings import Settings
from refine.checkpoints import discard
from refine.monitoring import check_packages
from refine.planner import Plan, choose, hidden_size_of
from refine.replay import answers_path, generate_on_server
from refine.train import Job, train, trained_rows

Say = Callable[[str], None]


def train_alone(
    client: Client,
    settings: Settings,
    *,
    snapshot_id: str | None = None,
    say: Say = lambda line: None,
    on_event: Callable[[Event], None] | None = None,
) -> tuple[Path, AdapterManifest]:
    """Train on a snapshot as ``train.*`` has it.

    Args:
        snapshot_id: which one; None: a new one, of the feedback as it is now.

    Returns:
        the folder with ``adapter/``, ``train/`` and ``report.html``, and the adapter's manifest.

    Raises:
        PawlError: a night is running, the snapshot is not there, there is nothing to learn, or the
            training failed.
    """
    from evals.report.report import write_report
    from feedback.snapshots import read_rows

    lock = settings.state_dir / "nightly.lock"
    with hold_lock(lock, "a night is running", "Wait for it to end"):
        check_packages(settings.monitoring.report_to)
        base = resolve_model(
            settings.model, settings.model_revision, cache_dir=settings.state_dir, tell=say
        )
        base.check.refuse("train", base.name)
        snapshot_dir = _snapshot(client, settings, snapshot_id)
        plan = choose(read_rows(snapshot_dir), settings, hidden_size=hidden_size_of(base.model_dir))
        if plan.method == "none":
            raise PawlError("there is nothing to train", plan.reason, code="nothing_to_train")
        run_dir = _unfinished(settings.runs_dir, snapshot_dir, plan, base, say)
        if run_dir is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            run_dir = settings.runs_dir / f"train-{stamp}-{os.urandom(2).hex()}"
            run_dir.mkdir(parents=True)
            write_json(run_dir / "plan.json", plan.as_json())
        say(f"{plan.method} ({plan.reason}) on {snapshot_dir.name}, in {run_dir}")
        status: dict[str, Any] = client.get("/admin/status")
        beside_engine = status["engine"]["state"] == "ready"
        if beside_engine and status["base"]["fingerprint"] == base.fingerprint:
            path = answers_path(settings.replay_dir, base.fingerprint)
            n = generate_on_server(client, plan, trained_rows(snapshot_dir), path)
            say(f"replay: {n} answers generated, the rest kept")
        job = Job.in_run(run_dir, base, snapshot_dir, plan, settings.replay_dir).reporting_to(
            settings.monitoring.report_to, settings.state_dir / "monitoring"
        )
        manifest = train(job, beside_engine=beside_engine, on_event=on_event)
        for work_dir in settings.runs_dir.glob("train-*/train"):  # others are given up now
            discard(work_dir)
        write_report(run_dir)
    return run_dir, manifest


def _unfinished(
    runs_dir: Path, snapshot_dir: Path, plan: Plan, base: BaseModel, say: Say
) -> Path | None:
    """The newest training that was interrupted and is exactly this; others are named."""
    for path in sorted(runs_dir.glob(f"train-*/train/{CHECKPOINTS}"), reverse=True):
        run_dir = path.parents[1]
        try:
            job = TypeAdapter(Job).validate_json((path.parent / "job.json").read_bytes())
        except (OSError, ValidationError):  # of another version
            continue
        if job.snapshot_dir.name != snapshot_dir.name:
            differs = f"another snapshot; 'pawl train --snapshot {job.snapshot_dir.name}' does"
        elif (job.base_fingerprint, job.plan) != (base.fingerprint, plan):
            differs = "another base or other settings"
        else:
            say(f"carrying on {run_dir.name}")
            return run_dir
        say(f"does not carry on {run_dir.name}, which was interrupted: it has {differs}")
    return None


def _snapshot(client: Client, settings: Settings, snapshot_id: str | None) -> Path:
    from feedback.snapshots import MANIFEST

    if snapshot_id is None:
        return Path(client.post("/admin/snapshots", {})["dir"])
    folder = settings.snapshots_dir / Path(snapshot_id).name
    if not (folder / MANIFEST).exists():
        raise PawlError(
            f"snapshot {snapshot_id!r} is not there",
            f"{settings.snapshots_dir} has no whole snapshot of that name",
            "'pawl curate' makes one and says its name",
            code="unknown_snapshot",
        )
    return folder
