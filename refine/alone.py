"""The trainer without the night: ``pawl train`` leaves an adapter, ``pawl search`` a recipe.

Both take a snapshot; nothing is promoted. What was killed is carried on by the next of the same
snapshot and settings. Both train with the champion's system prompt, as a night does. What they
leave lies beside the nights' runs, so that an erasing finds it; without ``run.json`` no night takes
it for one of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pawl import __version__, plugins
from pawl.adapters import CHECKPOINTS, AdapterManifest
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json, sha256_json, write_atomic, write_json
from pawl.jobs import Event, run_job
from pawl.models import BaseModel, resolve_model
from pawl.schedule import NIGHTS_LOCK
from pawl.settings import Settings
from refine.augment import augment
from refine.checkpoints import discard
from refine.cross_validation import held_out_kind
from refine.monitoring import check_packages
from refine.night.asked import asked_of, begin
from refine.planner import Plan, choose, hidden_size_of, n_layers_of
from refine.replay import answers_path, generate_on_server
from refine.search import RESULT, STUDY, Sampler, SearchJob
from refine.search_space import BY_NAME, Dimension, most_replay, space
from refine.train import Job, train, trained_rows
from refine.weights import check_4bit

Say = Callable[[str], None]
GRID_OVER = ("learning_rate", "n_epochs")


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

    with hold_lock(settings.state_dir / NIGHTS_LOCK, "a night is running", "Wait for it to end"):
        check_packages(settings.monitoring.report_to)
        work = prepare(client, settings, snapshot_id, say)
        plan, snapshot_dir = work.plan, work.snapshot_dir
        run_dir = _unfinished(settings.runs_dir, work, say)
        if run_dir is None:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            run_dir = settings.runs_dir / f"train-{stamp}-{os.urandom(2).hex()}"
            run_dir.mkdir(parents=True)
            write_json(run_dir / "plan.json", plan.as_json())
            begin(client, run_dir, work.champion, None)  # for who promotes it by force
        asked = f", with the system prompt of {work.champion}" if work.system_prompt else ""
        say(f"{plan.method} ({plan.reason}) on {snapshot_dir.name}{asked}, in {run_dir}")
        beside_engine = work.fill_replay(client, settings, plan.n_replay_rows, say)
        job = (
            work.job_in(run_dir, settings, _today(run_dir / "train" / "job.json"))
            .weighing(client)
            .reporting_to(settings.monitoring.report_to, settings.state_dir / "monitoring")
        )
        manifest = train(
            job,
            beside_engine=beside_engine,
            on_event=on_event,
            ray_address=settings.train.ray_address,
            n_workers=settings.train.n_workers,
        )
        for work_dir in settings.runs_dir.glob("train-*/train"):  # others are given up now
            discard(work_dir)
        write_report(run_dir)
    return run_dir, manifest


def _unfinished(runs_dir: Path, work: Work, say: Say) -> Path | None:
    """The newest training that was interrupted and is exactly this; others are named."""
    for path in sorted(runs_dir.glob(f"train-*/train/{CHECKPOINTS}"), reverse=True):
        run_dir = path.parents[1]
        try:
            job = TypeAdapter(Job).validate_json((path.parent / "job.json").read_bytes())
        except (OSError, ValidationError):  # of another version
            continue
        if job.snapshot_dir.name != work.snapshot_dir.name:
            differs = f"another snapshot; 'pawl train --snapshot {job.snapshot_dir.name}' does"
        elif (job.base_fingerprint, job.plan) != (work.base.fingerprint, work.plan):
            differs = "another base or other settings"
        elif job.system_prompt != work.system_prompt:
            differs = "the system prompt of another champion"
        else:
            say(f"carrying on {run_dir.name}")
            return run_dir
        say(f"does not carry on {run_dir.name}, which was interrupted: it has {differs}")
    return None


@dataclass(frozen=True, slots=True)
class Work:
    """What is trained, on what, and how; ``system_prompt`` is the champion's."""

    base: BaseModel
    snapshot_dir: Path
    plan: Plan
    champion: str
    system_prompt: str | None

    def job_in(self, folder: Path, settings: Settings, today: str) -> Job:
        return Job.in_run(
            folder, self.base, self.snapshot_dir, self.plan, settings.replay_dir,
            system_prompt=self.system_prompt, today=today,
        )  # fmt: skip

    def fill_replay(self, client: Client, settings: Settings, n_rows: int, say: Say) -> bool:
        """Let the engine answer what replay lacks, where one serves this base; whether one runs."""
        status: dict[str, Any] = client.get("/admin/status")
        beside_engine: bool = status["engine"]["state"] == "ready"
        if beside_engine and status["base"]["fingerprint"] == self.base.fingerprint:
            path = answers_path(settings.replay_dir, self.base.fingerprint)
            plan = replace(self.plan, n_replay_rows=n_rows)
            n = generate_on_server(
                client, plan, trained_rows(self.snapshot_dir), path,
                has_system=self.base.check.supports_system,
            )  # fmt: skip
            say(f"replay: {n} answers generated, the rest kept")
        return beside_engine


def prepare(client: Client, settings: Settings, snapshot_id: str | None, say: Say) -> Work:
    """The base, a snapshot's rows and the plan for them.

    Args:
        snapshot_id: which one; None: a new one, of the feedback as it is now.

    Raises:
        PawlError: the base can't be trained, a plugin can't be used, a package is missing, the
            snapshot is not there, or there is nothing to learn.
    """
    from feedback.snapshots import read_rows

    plugins.check(settings, plugins.OF_NIGHTS)
    base = resolve_model(
        settings.model, settings.model_revision, cache_dir=settings.state_dir, tell=say
    )
    base.check.refuse("train", base.name)
    if settings.train.load_in_4bit:
        check_4bit()
    snapshot_dir = _snapshot(client, settings, snapshot_id)
    plan = choose(read_rows(snapshot_dir), settings, hidden_size=hidden_size_of(base.model_dir))
    if plan.method == "none":
        raise PawlError("there is nothing to train", plan.reason, code="nothing_to_train")
    snapshot_dir = augment(client, settings.train, base.fingerprint, snapshot_dir)
    champion = client.get("/admin/status")["champion"]
    return Work(base, snapshot_dir, plan, champion, asked_of(client, champion).system_prompt)


def _today(job_path: Path) -> str:
    """The date that chat templates write: of the job that is carried on, of a training or a search,
    else today's."""
    begun = read_json(job_path) if job_path.exists() else {}
    return str(begun.get("train", begun).get("today") or datetime.now().date().isoformat())


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


def search_alone(
    client: Client,
    settings: Settings,
    *,
    minutes: float,
    n_folds: int = 3,
    sampler: Sampler = "tpe",
    over: Sequence[str] = (),
    n_trials: int | None = None,
    n_at_once: int = 1,
    snapshot_id: str | None = None,
    say: Say = lambda line: None,
    on_event: Callable[[Event], None] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Search for a recipe by cross-validation (``refine/search.py``), or go on with a search of the
    same rows, settings, folds and sampler.

    Args:
        minutes: for this call.
        over: names of settings of ``train``; none: all but ``BY_NAME``, of a grid ``GRID_OVER``.
        n_trials: of all calls; None: what time allows. 1 cross-validates the settings as they are.
        n_at_once: recipes that are tried at once, on the nodes of ``train.ray_address``.
        snapshot_id: which one; None: a new one, of the feedback as it is now.

    Returns:
        the search's folder and its ``result.json``.

    Raises:
        PawlError: a night is running, ``over`` names something else, the rows are too few for the
            folds, or the time was over before one recipe was tried.
    """
    if n_at_once > 1 and settings.train.ray_address is None:
        raise PawlError(
            f"{n_at_once} recipes can't be tried at once",
            "one training keeps this machine busy, and train.ray_address names no cluster",
            "Set it, or leave --at-once out",
        )
    with hold_lock(settings.state_dir / NIGHTS_LOCK, "a night is running", "Wait for it to end"):
        work = prepare(client, settings, snapshot_id, say)
        held_out_kind(work.plan)  # refused before anything is made
        known = space(
            work.plan,
            max_rank=settings.engine.max_lora_rank,
            n_layers=n_layers_of(work.base.model_dir),
        )
        usual = GRID_OVER if sampler == "grid" else tuple(n for n in known if n not in BY_NAME)
        names = tuple(dict.fromkeys(over)) or usual
        if unknown := sorted(set(names) - known.keys()):
            raise PawlError(
                f"{', '.join(unknown)} can't be searched for {work.plan.method}",
                f"these can: {', '.join(known)}",
                "Name some of them with --over, or leave it out",
            )
        dimensions = tuple(known[name] for name in names)
        folder = settings.runs_dir / _search_name(work, dimensions, n_folds, sampler)
        again = ", which goes on" if (folder / STUDY).exists() else ""
        say(f"{work.plan.method} ({work.plan.reason}), {n_folds} folds, over {', '.join(names)}")
        say(f"in {folder}{again}")
        beside_engine = work.fill_replay(client, settings, most_replay(work.plan, dimensions), say)
        path = folder / "job.json"
        train_job = work.job_in(folder, settings, _today(path)).weighing(client)
        job = SearchJob(
            folder, train_job, dimensions, n_folds, sampler, 60 * minutes, n_trials,
            settings.train.ray_address, n_at_once,
        )  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, TypeAdapter(SearchJob).dump_json(job, indent=2))
        run_job(
            "refine.search",
            [str(path)],
            name="search",
            log_path=folder / "search.log",
            n_threads=work.plan.n_threads,
            beside_engine=beside_engine,
            on_event=on_event,
        )
    return folder, dict(read_json(folder / RESULT))


def _search_name(
    work: Work, dimensions: Sequence[Dimension], n_folds: int, sampler: Sampler
) -> str:
    """The folder of a search, by all that decides its result. What is left out changes none
    ("counts" and "reason" are words about the rows); folds of another version of Pawl may be scored
    otherwise, and what one sampler tried or left waiting is no proposal of another."""
    plan = work.plan.as_json() | dict.fromkeys(("counts", "reason", "n_threads"))
    decides = [__version__, work.snapshot_dir.name, work.base.fingerprint, plan, n_folds]
    decides += [] if work.system_prompt is None else [work.system_prompt]
    decides += [] if sampler == "tpe" else [{"sampler": sampler}]
    if trainer := work.plan.trainer:
        decides.append(str(plugins.load("trainer", trainer)))  # with its package's version
    return f"search-{sha256_json([*decides, [asdict(one) for one in dimensions]])[:16]}"
