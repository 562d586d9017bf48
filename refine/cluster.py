"""Training on a node of a Ray cluster, on from the last checkpoint where that node is lost; and the
folds of a search on several.

A node runs the training child with the same job; only its folders are the node's own, so it comes
to the bytes that it would have come to here. Snapshot, replay's answers, champion, traffic and
checkpoints are sent, the base lies under the same path on each node. What the child writes comes
back every second: its events, log, curves and replay's answers, and each checkpoint once it is
whole. So the job's folder here is as after a training here, and one that was interrupted may go on
here or there.

A plain task for each attempt rather than Ray Train: that trains in Ray's process, not in a child of
its own, and keeps checkpoints where all nodes reach a shared folder or S3, which nothing else in
Pawl needs.

Over 400 lines because what a node does and what is made of it here are read side by side.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pydantic import TypeAdapter

from pawl.adapters import CHECKPOINTS
from pawl.adapters import MANIFEST as ADAPTER_MANIFEST
from pawl.cluster import (
    CACHE,
    LOOK_SECONDS,
    N_RETRIES,
    Files,
    check_same_base,
    check_there,
    connect,
    own_host,
    read_files,
    work_folder,
    write_files,
)
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json, sync_dir, write_atomic
from pawl.jobs import Event, OnEvent, run_job
from refine.checkpoints import MANIFEST, discard
from refine.cross_validation import RESULT, FoldJob, FoldResult, OutOfTime, read_result
from refine.monitoring import STEPS
from refine.planner import Plan
from refine.replay import answers_path
from refine.train import Job, write_job
from refine.workers import LOST

BATCH_SECONDS = 1.0  # between two looks at what a child wrote
LOG = "train.log"
DIED = "training_died"


@dataclass(slots=True)
class Written:
    """What a child wrote since the last look.

    ``files``: by path in the work folder; ``answers``: replay's; ``checkpoints``: by path in
    their folder; ``there``: all that are whole, None: that can't be told; ``adapter``: the finished
    one.
    """

    events: list[Event] = field(default_factory=list)
    files: Files = field(default_factory=dict)
    answers: Files = field(default_factory=dict)
    checkpoints: dict[str, Files] = field(default_factory=dict)
    there: list[str] | None = None
    adapter: Files = field(default_factory=dict)


def train_on_nodes(
    address: str,
    job: Job,
    *,
    n_workers: int = 1,
    beside_engine: bool = False,
    on_event: OnEvent | None = None,
) -> None:
    """Train on a node that has a core free, and a GPU where nodes have some; SFT on several.

    Args:
        address: the cluster's (``pawl.cluster.connect``).
        n_workers: that share SFT's batches (``refine.workers``), on different nodes where there are
            as many. With a stage of DPO or KTO there is one.
        beside_engine, on_event: see ``refine.train.train``.

    Raises:
        PawlError: the child's own error; or, ``retryable``, the cluster is not there, or too many
            nodes were lost.
    """
    ray = _connected(address)
    report = on_event or (lambda event: None)
    if n_workers > 1 and any(stage.kind != "sft" for stage in job.plan.stages):
        note = f"trains {job.plan.method} with one worker: SFT alone is shared by several"
        report({"stage": "cluster", "note": note})
        n_workers = 1
    with hold_lock(job.work_dir / "train.lock", f"{job.work_dir} is in use", "Wait for it to end"):
        write_job(job)
        n_lost = 0
        while True:
            try:
                return _attempt(ray, job, n_workers, beside_engine, report)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, PawlError) and cause.code != LOST:
                    raise cause from error
                if isinstance(error, ray.exceptions.RayTaskError) and not isinstance(
                    cause, PawlError
                ):
                    raise
                n_lost += 1
                if n_lost > N_RETRIES:
                    raise _lost("training was lost with its node", type(error).__name__) from error
                report({"stage": "cluster", "note": "lost the node, goes on on another one"})


def _attempt(ray: Any, job: Job, n_workers: int, beside_engine: bool, report: OnEvent) -> None:
    """Train once, from what is in the job's folder on."""
    from ray.util import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    needs = {"CPU": 1, "GPU": 1} if _n_gpus(ray) else {"CPU": 1}
    places = placement_group([needs] * n_workers, strategy="SPREAD")  # all of them, or none
    sent = ray.put(_packed(job))

    def begin(work: Any, rank: int, meeting: str | None, **how: Any) -> Any:
        task = ray.remote(work).options(
            num_cpus=1, num_gpus=needs.get("GPU", 0), max_retries=0, **how,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                places, placement_group_bundle_index=rank
            ),
        )  # fmt: skip
        return task.remote(job, sent, beside_engine, rank, n_workers, meeting)

    first = begin(_train, 0, None, num_returns="streaming")
    running = [first]
    try:
        if not ray.wait(running, timeout=5 * LOOK_SECONDS)[0]:
            kind = "GPU" if "GPU" in needs else "core"
            nodes = "a node" if n_workers == 1 else f"{n_workers} nodes"
            report({"stage": "cluster", "note": f"waits for {nodes} with a {kind} free"})
        while True:
            for ready in ray.wait(running, timeout=LOOK_SECONDS)[0]:
                running.remove(ready)
                if ready is not first:
                    ray.get(ready)
                    continue
                try:
                    reference = next(first)
                except StopIteration:
                    if running:  # they are as far, and tidy up
                        _, running = ray.wait(
                            running, num_returns=len(running), timeout=10 * LOOK_SECONDS
                        )
                    return
                written: Written = ray.get(reference)
                running.append(first)
                _take_over(written, job)
                for event in written.events:
                    if "meeting" in event:
                        running += [
                            begin(_work_along, rank, event["meeting"])
                            for rank in range(1, n_workers)
                        ]
                    else:
                        report(event)
    finally:
        # Not one that has ended: Ray ends this process where it is just taking note of that.
        for one in running:
            ray.cancel(one, force=True)
        remove_placement_group(places)


def _packed(job: Job) -> dict[str, Files]:
    """What has to be sent, by field of the job; what lies in its work folder under ``work_dir``."""
    paths = {
        "snapshot_dir": job.snapshot_dir,
        "champion_dir": job.champion_dir,
        "traffic_path": job.traffic_path,
        "replay_dir": answers_path(job.replay_dir, job.base_fingerprint),
    }
    sent = {name: read_files(path) for name, path in paths.items() if path and path.exists()}
    kept = [job.work_dir / name for name in (STEPS, CHECKPOINTS, "tensorboard")]
    sent["work_dir"] = {
        str(Path(one.name) / name): data
        for one in kept
        if one.exists()
        for name, data in read_files(one).items()
    }
    return sent


def _take_over(written: Written, job: Job) -> None:
    """Leave in the job's folders what a child wrote in its own."""
    for name, data in written.files.items():  # a checkpoint's own lines are among them
        write_atomic(job.work_dir / name, data)
    for name, data in written.answers.items():
        write_atomic(job.replay_dir / name, data)
    for name, files in written.checkpoints.items():
        _replace_folder(job.work_dir / CHECKPOINTS / name, files)
    if written.adapter:
        _replace_folder(job.out_dir, written.adapter)
        discard(job.work_dir)
    elif written.there is not None:
        for path in (job.work_dir / CHECKPOINTS).glob("*/*"):
            if f"{path.parent.name}/{path.name}" not in written.there:
                shutil.rmtree(path)


def _replace_folder(path: Path, files: Files) -> None:
    unfinished = path.with_name(f".{path.name}.sent")
    for one in (unfinished, path):
        shutil.rmtree(one, ignore_errors=True)
    write_files(files, unfinished)
    unfinished.rename(path)
    sync_dir(path.parent)


def _lost(what: str, why: str) -> PawlError:
    return PawlError(
        what, why, "'pawl nightly' goes on at the last checkpoint", retryable=True, code=DIED
    )


class FoldsOnNodes:
    """``refine.search.Evaluate`` on nodes of a cluster; may be called by several threads at once.

    Each call works its fold in a child on a node that has a core free, and again on another one
    where that is lost, in what is left of its time.

    Args:
        groups: see ``Evaluate``.
        job, n_folds, most_replay: see ``refine.cross_validation.Folds``.
    """

    def __init__(
        self, address: str, job: Job, n_folds: int, most_replay: int, groups: list[list[int]]
    ) -> None:
        self.groups = groups
        self._job, self._n_folds, self._most_replay = job, n_folds, most_replay
        self._ray = _connected(address)
        self._answers = answers_path(job.replay_dir, job.base_fingerprint)
        self._adding = threading.Lock()

    def __call__(self, plan: Plan, fold: int, seconds: float) -> FoldResult:
        until = time.monotonic() + seconds
        for n_left in range(N_RETRIES, -1, -1):
            left = until - time.monotonic()
            if left <= 0:
                raise OutOfTime
            job = FoldJob(self._job, self._n_folds, self._most_replay, plan, fold, left)
            try:
                result, answers = self._attempt(job)
            except self._ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, PawlError):
                    raise error.cause from error
                raise
            except self._ray.exceptions.RayError as error:
                if not n_left:
                    raise _lost("a fold was lost with its node", type(error).__name__) from error
            else:
                break
        if answers is not None:
            with self._adding:
                kept = self._answers.read_bytes() if self._answers.exists() else b""
                # Of two answers to a prompt the later one counts, which is what was here.
                lines = dict.fromkeys((answers + kept).splitlines(keepends=True))
                write_atomic(self._answers, b"".join(lines))
        return result

    def _attempt(self, job: FoldJob) -> tuple[FoldResult, bytes | None]:
        task = self._ray.remote(_fold).options(
            num_cpus=1, num_gpus=_n_gpus(self._ray), max_retries=0, scheduling_strategy="SPREAD"
        )  # fmt: skip
        with self._adding:
            sent = _packed(job.train)
        return self._ray.get(task.remote(job, sent))


def _connected(address: str) -> Any:
    try:
        return connect(address)
    except ConnectionError as error:
        raise _lost(f"no Ray cluster answers at {address}", str(error)) from error


def _n_gpus(ray: Any) -> int:
    """That one training takes: one, where nodes have some."""
    return 1 if ray.cluster_resources().get("GPU", 0) >= 1 else 0


# ---- on a node ----


def _fold(job: FoldJob, sent: dict[str, Files]) -> tuple[FoldResult, bytes | None]:
    """The fold's result, and replay's answers where there are new ones."""
    _prepare_node(job.train)
    with work_folder("search") as folder:
        placed = _placed(job.train, sent, folder)
        answers = answers_path(placed.replay_dir, placed.base_fingerprint)
        before = answers.read_bytes() if answers.exists() else None
        path = folder / "fold.json"
        write_atomic(path, TypeAdapter(FoldJob).dump_json(replace(job, train=placed)))
        with _of_this_node(folder, job.train.work_dir.parent):
            run_job(
                "refine.cross_validation", [str(path)], name="search", log_path=folder / LOG,
                n_threads=job.plan.n_threads, beside_engine=True,  # one may run on the node
            )  # fmt: skip
        after = answers.read_bytes() if answers.exists() else None
        return read_result(folder / RESULT), None if after == before else after


def _prepare_node(job: Job) -> None:
    """Raises PawlError: the base is not here, or another one is."""
    os.environ.pop("OMP_NUM_THREADS", None)  # Ray's 1, which is not the plan's
    check_there(job.model_dir, DIED)
    check_same_base(job.model_dir, job.base_fingerprint, CACHE.expanduser())


@contextmanager
def _of_this_node(folder: Path, there: Path) -> Iterator[None]:
    """Errors of a child name this node, and a log in ``there``, of the server, for ``folder``."""
    try:
        yield
    except PawlError as error:
        raise PawlError(
            f"{error.what} on {socket.gethostname()}", error.why,
            error.do.replace(str(folder), str(there)),
            code=error.code, retryable=error.retryable,
        ) from error  # fmt: skip


def _train(
    job: Job, sent: dict[str, Files], beside_engine: bool, rank: int, n_workers: int,
    meeting: str | None,
) -> Iterator[Written]:  # fmt: skip
    """Train, and yield what was written; the adapter is in the last one.

    Raises:
        PawlError: as ``run_job``, or the base is not here.
    """
    _prepare_node(job)
    with work_folder("training") as folder, ThreadPoolExecutor(1) as pool:
        placed = _placed(job, sent, folder)
        events: SimpleQueue[Event] = SimpleQueue()
        look = _Look(placed)
        worker = _worker_arguments(rank, n_workers, meeting)
        child = pool.submit(_run_child, placed, worker, beside_engine, events.put)
        is_done = False
        while not is_done:
            is_done = bool(wait([child], BATCH_SECONDS).done)
            yield look(events)
        with _of_this_node(placed.work_dir, job.work_dir):
            child.result()


def _work_along(
    job: Job, sent: dict[str, Files], beside_engine: bool, rank: int, n_workers: int,
    meeting: str | None,
) -> None:  # fmt: skip
    """Train as another worker than the first; what it leaves is the same, and goes."""
    _prepare_node(job)
    with work_folder("training") as folder:
        placed = _placed(job, sent, folder)
        with _of_this_node(placed.work_dir, job.work_dir):
            _run_child(placed, _worker_arguments(rank, n_workers, meeting), beside_engine)


def _worker_arguments(rank: int, n_workers: int, meeting: str | None) -> list[str]:
    if n_workers == 1:
        return []
    named = ["--rank", str(rank), "--n-workers", str(n_workers), "--host", own_host()]
    return named + (["--meeting", meeting] if meeting else [])


def _run_child(
    job: Job, worker: list[str], beside_engine: bool, on_event: OnEvent | None = None
) -> None:
    run_job(
        "refine.train", [str(write_job(job)), *worker],
        name="training", log_path=job.work_dir / LOG, n_threads=job.plan.n_threads,
        beside_engine=beside_engine, on_event=on_event,
    )  # fmt: skip


def _placed(job: Job, sent: dict[str, Files], folder: Path) -> Job:
    """The job with folders of this node, and in them what was sent. The run's folder has its name,
    by which trainings are told apart."""
    run_dir = folder / job.work_dir.parent.name
    placed = replace(
        job,
        snapshot_dir=folder / job.snapshot_dir.name,
        out_dir=run_dir / "adapter",
        work_dir=run_dir / "train",
        replay_dir=folder / "replay",
        champion_dir=folder / "champion" if job.champion_dir else None,
        traffic_path=folder / "traffic" if job.traffic_path else None,
    )
    for name, files in sent.items():
        if name == "replay_dir":
            write_files(files, answers_path(placed.replay_dir, job.base_fingerprint))
        else:
            write_files(files, getattr(placed, name))
    return placed


class _Look:
    """Looks at what a training wrote since the last time."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._seen: dict[Path, tuple[int, int]] = {}
        self._new(answers_path(job.replay_dir, job.base_fingerprint))  # was sent
        for path in self._whole():
            self._new(path / MANIFEST)

    def __call__(self, events: SimpleQueue[Event]) -> Written:
        job, written = self._job, Written()
        while not events.empty():
            written.events.append(events.get())
        # Checkpoints before the log of their steps, which then has all of theirs.
        whole = self._whole()
        written.there = [_name(path) for path in whole]
        for path in whole:
            if self._new(path / MANIFEST):
                try:
                    names = read_json(path / MANIFEST)["files_sha256"]
                    files = {name: (path / name).read_bytes() for name in (*names, MANIFEST)}
                except (OSError, PawlError):  # it is being removed, for a newer one
                    written.there = None
                else:
                    written.checkpoints[_name(path)] = files
        mine = [job.work_dir / STEPS, job.work_dir / LOG, *job.work_dir.glob("tensorboard/*")]
        for path in filter(self._new, mine):
            written.files[str(path.relative_to(job.work_dir))] = path.read_bytes()
        answers = answers_path(job.replay_dir, job.base_fingerprint)
        if self._new(answers):
            written.answers = {answers.name: answers.read_bytes()}
        if self._new(job.out_dir / ADAPTER_MANIFEST):
            written.adapter = read_files(job.out_dir)
        return written

    def _whole(self) -> list[Path]:
        found = (self._job.work_dir / CHECKPOINTS).glob(f"*/*/{MANIFEST}")
        return [path.parent for path in found if not path.parent.name.startswith(".")]

    def _new(self, path: Path) -> bool:
        """Whether a file is another one than the last time."""
        try:
            stat = path.stat()
        except FileNotFoundError:
            return False
        now = (stat.st_mtime_ns, stat.st_size)
        is_new = self._seen.get(path) != now
        self._seen[path] = now
        return is_new


def _name(checkpoint: Path) -> str:
    return f"{checkpoint.parent.name}/{checkpoint.name}"
