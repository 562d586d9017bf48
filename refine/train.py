"""The training child: loads the base, trains what a plan says of it, writes the adapter.

    python -m refine.train WORK/job.json
    python -m refine.train WORK/job.json --rank 1 --n-workers 2 --host HOST --meeting HOST:PORT

``train`` starts it. It reads a frozen snapshot and leaves a finished adapter
folder behind, or none: the folder is made in ``work_dir`` and renamed when its manifest is written.
A killed training goes on from its checkpoint (``refine/checkpoints.py``). Its events
(``pawl/jobs.py``):

    {"stage": "replay"}
    {"stage": "sft validation", "fraction": 0.5}
    {"stage": "sft", "step": 12, "max_steps": 96, "fraction": 0.125}
    {"stage": "sft", "step": 12, "loss": 1.93, ...}
    {"stage": "sft", "saved_step": 12, "seconds": 0.2, "bytes": 61000000}
    {"stage": "sft", "note": "goes on from step 12"}
    {"stage": "workers", "meeting": "10.0.0.2:41234"}     of the first of several workers

Over 400 lines because a training is read in one place, from its job to the finished adapter.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import logging
import math
import os
import shutil
import sys
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from feedback.snapshots import read_rows
from pawl.adapters import (
    CHECKPOINTS,
    CONFIG,
    MANIFEST,
    PROBE,
    WEIGHTS,
    AdapterManifest,
    read_manifest,
    snapshots_of,
    write_manifest,
)
from pawl.chat_template import load_tokenizer
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import hold_lock, sync_dir, write_atomic, write_json
from pawl.jobs import OnEvent, run_child, run_job
from pawl.models import BaseModel
from pawl.schemas import TrainingRow, asked_with
from refine import replay
from refine.checkpoints import DONE, Clock, StageCheckpoints, belongs_to, cut, discard
from refine.domain import keep_traffic, needs_traffic, read_traffic, weigh
from refine.monitoring import STEPS, Reporting, set_environment
from refine.planner import KINDS, REPLAY_EPOCHS, Plan, n_layers_of
from refine.recipe import header, make_recipe
from refine.weights import as_lora, base_to_train, begin, load, load_base, misfit, tidy_config
from refine.workers import ALONE, Together, Workers

log = logging.getLogger("pawl.training")

MAX_LENGTH_TOKENS = 4096
CHECKPOINT_SECONDS = 30.0
N_WATCHED = 16  # everyday prompts, not replayed, on which each epoch's drift is looked at
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be trained, and where it goes. ``base_name`` and ``base_fingerprint`` go into the
    manifest; ``replay_dir`` holds answers of bases, and gets those of this one that are lacking;
    ``champion_dir`` is an adapter that the probe record should tell the new one apart from, and
    from which a plan may begin;
    ``report_to`` are trackers that write into ``report_dir`` (``refine/monitoring.py``);
    ``checkpoint_seconds`` are the fewest between two checkpoints, 0: one after every step;
    ``leave_out`` are row_ids of the snapshot that training does not see (cross-validation);
    ``is_trial``: what comes of it is scored and removed, so it gets no probe record, and no drift
    is looked at;
    ``traffic_path`` holds the prompts that rows are weighted by (``refine/domain.py``);
    ``system_prompt`` stands before rows without one, as the adapter will be served; ``today`` is
    the date that a chat template writes (None: the clock's)."""

    snapshot_dir: Path
    plan: Plan
    model_dir: Path
    out_dir: Path
    work_dir: Path
    base_name: str
    base_fingerprint: str
    replay_dir: Path
    base_revision: str | None = None
    champion_dir: Path | None = None
    report_to: tuple[str, ...] = ()
    report_dir: Path | None = None
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    leave_out: tuple[str, ...] = ()
    is_trial: bool = False
    traffic_path: Path | None = None
    system_prompt: str | None = None
    today: str | None = None

    @classmethod
    def in_run(
        cls,
        run_dir: Path,
        base: BaseModel,
        snapshot_dir: Path,
        plan: Plan,
        replay_dir: Path,
        champion_dir: Path | None = None,
        system_prompt: str | None = None,
        today: str | None = None,
    ) -> Job:
        """The job of a run's folder: ``adapter`` and ``train`` lie in it."""
        return cls(
            snapshot_dir,
            plan,
            base.model_dir,
            run_dir / "adapter",
            run_dir / "train",
            base.name,
            base.fingerprint,
            replay_dir,
            base.revision,
            champion_dir,
            system_prompt=system_prompt,
            today=today,
        )

    def reporting_to(self, names: tuple[str, ...], folder: Path) -> Job:
        """The same, with trackers."""
        return replace(self, report_to=names, report_dir=folder)

    def weighing(self, client: Client) -> Job:
        """The same, with the newest traffic where the plan weighs by it."""
        if not self.plan.domain_weighting:
            return self
        self.work_dir.parent.mkdir(parents=True, exist_ok=True)
        rows = read_rows(self.snapshot_dir)
        return replace(self, traffic_path=keep_traffic(client, self.work_dir.parent, rows))


def train(
    job: Job,
    *,
    beside_engine: bool = False,
    on_event: OnEvent | None = None,
    ray_address: str | None = None,
    n_workers: int = 1,
) -> AdapterManifest:
    """Train in a child process, or read the manifest of an adapter that is finished already.

    Args:
        beside_engine: low priority, and 2 threads if the plan says nothing, so that the server
            stays quick.
        on_event: called with every event of the child.
        ray_address: of a cluster on whose node the child runs (``refine.cluster``); None: here.
        n_workers: there, which share SFT's batches.

    Raises:
        PawlError: the child failed; ``retryable`` when training again may succeed.
    """
    if (job.out_dir / MANIFEST).exists():
        pass
    elif ray_address is not None:
        from refine.cluster import train_on_nodes

        train_on_nodes(
            ray_address, job,
            n_workers=n_workers, beside_engine=beside_engine, on_event=on_event,
        )  # fmt: skip
    else:
        run_job(
            "refine.train",
            [str(write_job(job))],
            name="training",
            log_path=job.work_dir / "train.log",
            n_threads=job.plan.n_threads,
            beside_engine=beside_engine,
            on_event=on_event,
        )
    return read_manifest(job.out_dir)


def write_job(job: Job) -> Path:
    """What the child reads: ``WORK/job.json``."""
    path = job.work_dir / "job.json"
    write_atomic(path, TypeAdapter(Job).dump_json(job, indent=2))
    return path


def main(arguments: list[str] | None = None) -> int:
    """Run the job of the command line; 1 after an error that a user can mend."""
    parser = argparse.ArgumentParser(prog="python -m refine.train", description=__doc__)
    parser.add_argument("job", type=Path)
    parser.add_argument("--rank", type=int, default=0, help="of several workers, from 0")
    parser.add_argument("--n-workers", type=int, default=1, help="that train together")
    parser.add_argument("--host", help="this worker's address")
    parser.add_argument("--meeting", help="HOST:PORT that the first worker said")
    return run_child(parser, _run_arguments, arguments)


def _run_arguments(args: argparse.Namespace, report: OnEvent) -> None:
    prepare_process()
    job = TypeAdapter(Job).validate_json(args.job.read_bytes())
    if job.report_dir is not None:
        set_environment(job.report_to, job.report_dir)
    with hold_lock(job.work_dir / "train.lock", f"{job.work_dir} is in use", "Wait for it to end"):
        workers = ALONE
        if args.n_workers > 1:
            workers = Together(
                args.rank, args.n_workers, args.host, args.meeting,
                lambda where: report({"stage": "workers", "meeting": where}),
            )  # fmt: skip
        run(job, report, workers)


def run(
    job: Job, report: OnEvent = lambda event: None, workers: Workers = ALONE
) -> AdapterManifest:
    """Train and leave ``job.out_dir`` finished; ``report`` takes the progress.

    Of several workers each leaves one, in its own ``job``'s folders; the first one's counts.

    Raises:
        PawlError: the plan says not to train, the rows or the model can't be trained on, or the
            loss became NaN. Nothing is left at ``job.out_dir``.
    """
    clock = Clock()
    if job.plan.method == "none":
        raise PawlError("there is nothing to train", job.plan.reason)
    if (job.out_dir / MANIFEST).exists():
        raise PawlError(
            f"{job.out_dir} is a finished adapter",
            "adapters are never overwritten",
            "Give another out_dir",
        )
    n_layers = n_layers_of(job.model_dir)
    if (job.plan.last_layers or 0) > n_layers:
        raise PawlError(
            f"train.last_layers = {job.plan.last_layers}",
            f"{job.base_name} has {n_layers} layers",
            "Lower it, or leave it out to train all",
        )
    _clean(job.work_dir)
    import datasets
    import torch
    import transformers

    from refine import probe, trainer
    from refine.datasets import StageRows, build_stage, encoder_of

    if job.plan.n_threads:
        torch.set_num_threads(job.plan.n_threads)
    transformers.set_seed(job.plan.seed)
    transformers.utils.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    held_out = set(job.leave_out)
    rows = [row for row in trained_rows(job.snapshot_dir) if row.row_id not in held_out]
    tokenizer = load_tokenizer(job.model_dir, job.today)
    base = base_to_train(job.model_dir, job.plan)
    limit = job.plan.max_length_tokens or MAX_LENGTH_TOKENS
    limit = min(limit, int(base.config.get_text_config().max_position_embeddings))
    domain: dict[str, Any] = {}
    if job.plan.domain_weighting:
        if job.traffic_path is None:
            raise needs_traffic()
        report({"stage": "traffic"})
        traffic = read_traffic(job.traffic_path)
        rows, domain = weigh(rows, traffic, base, tokenizer, job.plan.seed)
        if problem := domain.get("problem"):
            _note(report, "traffic", f"rows are not weighted by it: {problem}")
    rows = [replace(row, prompt=asked_with(job.system_prompt, row.prompt)) for row in rows]

    report({"stage": "replay"})
    kept_answers = replay.answers_path(job.replay_dir, job.base_fingerprint)
    by_base = _answering(job, base, tokenizer)
    has_system = replay.has_system_role(tokenizer)
    replayed, replay_counts = replay.make_replay(
        job.plan, rows, kept_answers, by_base, has_system=has_system
    )
    report({"stage": "replay", **replay_counts})

    encode = encoder_of(tokenizer)
    n_watched = 0 if job.is_trial else N_WATCHED
    prompts = replay.to_watch(rows, n_watched, job.plan.seed, has_system=has_system)
    answers, _ = replay.fill_answers(kept_answers, prompts, by_base)
    general = replay.encode_answers(encode, prompts, answers)
    del by_base
    began = _start(job, base, report)
    # The adapter that the last stage left, or the champion's.
    before: Path | None = job.champion_dir if began else None
    whole_header = header(job) | ({"start": began} if began else {})
    reporting = Reporting(job.report_to, job.work_dir.parent.name, whole_header)
    device = f"{base.device.type} {base.dtype}"
    folders = {kind: (job.work_dir / CHECKPOINTS / kind).absolute() for kind in KINDS}
    n_log_bytes = 0  # of the log of the stages that are done
    results: list[dict[str, Any]] = []
    kept: dict[str, TrainingRow] = {}  # by row_id: what some stage was trained on
    kept_replay: list[replay.ReplayRow] = []
    stage_counts: dict[str, Any] = {}
    built: list[StageRows] = []  # of all stages, before one of them takes its time
    for i, stage in enumerate(job.plan.stages):
        if i:
            # SFT took a part of its replay in each epoch; what comes after it takes one part, of
            # whole answers: TRL's own tokenisation would end a cut one.
            n_part = math.ceil(job.plan.n_replay_rows / REPLAY_EPOCHS)
            replayed = [one for one in replayed if one.is_finished]
            replayed = replayed[: replay_counts["n_liked"] + n_part]
        built.append(build_stage(
            stage.kind, rows, replayed,
            encode=encode, max_length_tokens=limit, mixture=job.plan.mixture,
        ))  # fmt: skip
        trainer.cut_to_passes(stage, built[-1], base.config.get_text_config())
        if not any(row.split == "train" for row in built[-1].kept):
            raise PawlError(
                f"no rows are left for {stage.kind}",
                f"left out: {dict(built[-1].left_out)}",
                "Raise train.max_length_tokens, or gather more feedback",
            )
    for i, (stage, stage_rows) in enumerate(zip(job.plan.stages, built, strict=True)):
        stage_counts[stage.kind] = stage_rows.counts()
        kept |= {row.row_id: row for row in stage_rows.kept}
        kept_replay = kept_replay or stage_rows.kept_replay
        report({"stage": stage.kind, **stage_rows.counts()})
        saved = StageCheckpoints(
            folders[stage.kind],
            belongs_to(whole_header, [stage_rows.train, stage_rows.validation, job.today], device),
            clock,
            job.checkpoint_seconds if workers.rank == 0 else math.inf,
            partial(_note, report, stage.kind),
        )
        done = saved.done()
        workers.check_same("rows or code", [saved.belongs_to, done])
        if done is None:
            for later in job.plan.stages[i + 1 :]:
                shutil.rmtree(folders[later.kind], ignore_errors=True)
            interrupted = saved.newest()
            workers.check_same("checkpoints", interrupted and interrupted[0].name)
            if interrupted is not None:
                saved.note(f"goes on from {interrupted[0].name.replace('checkpoint-', 'step ')}")
                n_log_bytes = interrupted[1].n_log_bytes
            elif not i:
                shutil.rmtree(job.work_dir / "tensorboard", ignore_errors=True)
            cut(job.work_dir / STEPS, n_log_bytes)
            # TRL patches the model's forward: each stage starts from a clean one.
            clean = base_to_train(job.model_dir, job.plan) if i else base
            model = load(clean, before, trainable=True) if before else begin(clean, job.plan)
            result = trainer.run_stage(
                stage, stage_rows, job.plan, model, tokenizer, job.work_dir, report, reporting,
                saved, interrupted, general, workers,
            )  # fmt: skip
            n_log_bytes = (job.work_dir / STEPS).stat().st_size
            done = {"stage": result.as_json(), "seconds": clock.seconds, "n_log_bytes": n_log_bytes}
            saved.finish(model, done)
            del model
        else:
            saved.note("was done when the training was interrupted")
            clock.set(done["seconds"])
            n_log_bytes = done["n_log_bytes"]
        results.append(done["stage"])
        before = folders[stage.kind] / DONE

    # From here on only rows that were trained on: what a stage left out, as too long or as one that
    # the chat template refuses, can't be encoded here either.
    assert before is not None
    unfinished = job.work_dir / "adapter.tmp"
    unfinished.mkdir()
    del base  # what follows loads what was saved, in float32
    trainer.release_memory()
    taught = probe.some_of(encode, list(kept.values()), kept_replay)
    served: dict[str, Any] = {}
    if job.plan.served_rank is None:
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(before / name, unfinished / name)
    else:
        report({"stage": "served"})
        rows_ids = [ids for ids, _ in taught]
        served = as_lora(job.model_dir, before, unfinished, job.plan, rows_ids)
        _note(
            report,
            "served",
            f"as a LoRA of rank {served['rank']}, which loses {served['lost']:.0%} of the change's "
            f"norm: {served['nats_to_trained']:.3g} nats a token from what was trained, which is "
            f"{served['nats_from_base']:.3g} from the base (engine.max_lora_rank is the rank)",
        )
    tidy_config(unfinished, job.base_name)
    if job.is_trial:
        write_json(unfinished / PROBE, [])
    else:
        report({"stage": "probe"})
        on_cpu = job.plan.load_in_4bit
        probe.record(job.model_dir, unfinished, taught, job.champion_dir, on_cpu=on_cpu)
    recipe = make_recipe(
        job,
        limit,
        replay_counts,
        stage_counts,
        results,
        clock.seconds,
        torch,
        {"start": began, "domain": domain, "served": served, "workers": _recipe_of(workers)},
    )
    manifest = write_manifest(
        unfinished, base_model=job.base_name, base_fingerprint=job.base_fingerprint, recipe=recipe
    )
    sync_dir(unfinished)
    job.out_dir.parent.mkdir(parents=True, exist_ok=True)
    unfinished.replace(job.out_dir)
    sync_dir(job.out_dir.parent)
    discard(job.work_dir)
    report(
        {
            "stage": "done",
            "fraction": 1.0,
            "seconds": recipe["seconds"],
            "fingerprint": manifest.fingerprint,
        }
    )
    return manifest


def prepare_process() -> None:
    """Set what must be set before torch is imported. Only for a process of our own."""
    with contextlib.suppress(AttributeError):  # not glibc
        # glibc raises this bound up to 32 MB as large blocks are freed, and then keeps them in a
        # heap full of holes. With 1 MB, activations would be given back and asked for again in each
        # pass, which takes 5 % of the time and saves 0.1 GB; ``release_memory`` trims each epoch.
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, 16 << 20)
        libc.mallopt(M_TRIM_THRESHOLD, 256 << 20)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_OFFLINE"] = "1"
    # TRL's SFT with a fused head takes one GPU, not several.
    os.environ["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]


def _recipe_of(workers: Workers) -> dict[str, Any]:
    return {"n_workers": workers.size} if workers.size > 1 else {}


def _answering(job: Job, base: Any, tokenizer: Any) -> replay.AnswerPrompts:
    """The base's own answers, for prompts that no engine answered. One in 4 bits is not asked: they
    are kept for trainings on the whole base too."""
    if not job.plan.load_in_4bit:
        return replay.answer_prompts(base, tokenizer, replay.MAX_ANSWER_TOKENS)
    whole = cache(load_base)
    return lambda prompts: replay.answer_prompts(
        whole(job.model_dir), tokenizer, replay.MAX_ANSWER_TOKENS
    )(prompts)


def _start(job: Job, base: Any, report: OnEvent) -> dict[str, Any]:
    """The champion from which the training begins, for its recipe; empty: from the base."""
    if job.plan.start != "champion":
        return {}
    if job.champion_dir is None:
        problem = "none is known"
    else:
        problem = misfit(base, job.plan, job.champion_dir)
        if not problem:
            champion = read_manifest(job.champion_dir)
            return {"champion": champion.fingerprint, "snapshots": snapshots_of(champion.recipe)}
    _note(report, "start", f"from the base and not from the champion: {problem}")
    return {}


def _note(report: OnEvent, stage: str, sentence: str) -> None:
    """Tell people, and the log."""
    log.info("%s: %s", stage, sentence)
    report({"stage": stage, "note": sentence})


def _clean(work_dir: Path) -> None:
    """Remove what a killed training left; logs and checkpoints stay."""
    work_dir.mkdir(parents=True, exist_ok=True)
    for path in work_dir.iterdir():
        if path.is_dir() and path.name not in (CHECKPOINTS, "tensorboard"):
            shutil.rmtree(path)


def trained_rows(snapshot_dir: Path) -> list[TrainingRow]:
    """The rows that may be trained on: the holdout is dropped before anything looks at it."""
    return [row for row in read_rows(snapshot_dir) if row.split in ("train", "validation")]


if __name__ == "__main__":
    sys.exit(main())
