"""Scoring on the nodes of a Ray cluster: each part is a task, done again where its node is lost.

A task is the scoring child with the same arguments, so its scores are those of one machine. What
the arguments name is sent with it, but for the base and ``gate.data_dir``, which lie under the same
path on each node.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from evals.score import BASE, ITEMS, MANIFEST
from pawl.cluster import connect
from pawl.errors import PawlError
from pawl.files import write_atomic
from pawl.jobs import THREADS_BESIDE_ENGINE, OnEvent, run_job

LOOK_SECONDS = 2.0
N_RETRIES = 3  # of a task whose node is lost
_SENT = ("--adapter", "--asking", "--holdout", "--more-rows", "--placebo-of", "--suite", "--watch")
_THERE = ("--model", "--data-dir")
Files = dict[str, bytes]  # of a folder, by path; of a file alone, under ""


def score_on_nodes(
    address: str,
    parts: Mapping[str, Sequence[str]],
    work: Path,
    n_threads: int | None = None,
    on_event: OnEvent | None = None,
) -> dict[str, Path]:
    """Score each part on a node that has a core free, all at once.

    Args:
        address: the cluster's (``pawl.cluster.connect``).
        parts: the scoring child's arguments without ``--out``, by a name.
        work: takes a folder for each part, with its items and manifest.
        n_threads: of each; None: 2, since a node may hold an engine.
        on_event: called every few seconds with how many parts are done; what it raises ends all.

    Raises:
        PawlError: the child's own error; or, ``retryable``, the cluster is not there, or too many
            nodes were lost.
    """
    try:
        ray = connect(address)
    except ConnectionError as error:
        raise _lost(f"no Ray cluster answers at {address}", str(error)) from error
    task = ray.remote(_score).options(
        num_cpus=1, max_retries=N_RETRIES, scheduling_strategy="SPREAD"
    )
    n_threads = n_threads or THREADS_BESIDE_ENGINE
    running = [task.remote(list(one), _packed(one), n_threads) for one in parts.values()]
    try:
        waiting = running
        while waiting:
            done, waiting = ray.wait(waiting, timeout=LOOK_SECONDS)
            if on_event:
                n_done, n = len(running) - len(waiting), len(running)
                on_event({"stage": "nodes", "fraction": n_done / n, "done": n_done, "total": n})
            ray.get(done)  # an error ends all
        answers: list[Files] = ray.get(running)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PawlError):
            raise error.cause from error
        raise
    except ray.exceptions.RayError as error:
        raise _lost("scoring was lost with its node", type(error).__name__) from error
    finally:
        for one in running:
            ray.cancel(one, force=True)
    folders = {}
    for name, files in zip(parts, answers, strict=True):
        folders[name] = work / name
        _unpack(files, folders[name])
    return folders


def _score(arguments: list[str], sent: dict[str, Files], n_threads: int) -> Files:
    """On a node: the finished folder. Raises PawlError: as ``run_job``, or a folder is not here."""
    with tempfile.TemporaryDirectory(prefix="pawl-scoring-") as name:
        work = Path(name)
        for place, flag in enumerate(arguments[:-1]):
            value = arguments[place + 1]
            if flag in sent:
                arguments[place + 1] = str(work / flag.strip("-"))
                _unpack(sent[flag], work / flag.strip("-"))
            elif flag in _THERE and not Path(value).exists():
                raise PawlError(
                    f"{value} is not on {socket.gethostname()}",
                    "the base and the benchmarks' data lie under the same path on each node",
                    "Copy it there, or share the folder",
                    code="scoring_died",
                )
        run_job(
            "evals.score", [*arguments, "--out", str(work / "out")],
            name="scoring", log_path=work / "scoring.log", n_threads=n_threads,
        )  # fmt: skip
        return {one: (work / "out" / one).read_bytes() for one in (ITEMS, MANIFEST)}


def _packed(arguments: Sequence[str]) -> dict[str, Files]:
    """What has to be sent with these arguments, by flag."""
    return {
        flag: _files(Path(value))
        for flag, value in pairwise(arguments)
        if flag in _SENT and value != BASE
    }


def _files(path: Path) -> Files:
    if path.is_file():
        return {"": path.read_bytes()}
    found = (one for one in path.rglob("*") if one.is_file())
    return {str(one.relative_to(path)): one.read_bytes() for one in found}


def _unpack(files: Files, path: Path) -> None:
    """Write a file, or a folder with its manifest last."""
    for name in sorted(files, key=lambda one: one == MANIFEST):
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, files[name])


def _lost(what: str, why: str) -> PawlError:
    return PawlError(
        what, why, "'pawl nightly' goes on at this step", retryable=True, code="scoring_died"
    )
