"""Scoring on the nodes of a Ray cluster: each part is a task, done again where its node is lost.

A task is the scoring child with the same arguments, so its scores are those of one machine. What
the arguments name is sent with it, but for ``gate.data_dir`` and the base, which lie under the same
path on each node; that it is the same base is checked.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

from evals.score import BASE, ITEMS, MANIFEST
from pawl import __version__, plugins
from pawl.cluster import (
    CACHE,
    LOOK_SECONDS,
    N_RETRIES,
    Files,
    check_same_base,
    check_there,
    connect,
    read_files,
    work_folder,
    write_files,
)
from pawl.errors import PawlError
from pawl.jobs import THREADS_BESIDE_ENGINE, OnEvent, run_job

WATCH = "--watch"
DECIDING = ("lm-eval", "transformers")  # packages whose versions tell kept scores apart
_SENT = ("--adapter", "--asking", "--holdout", "--more-rows", "--placebo-of", "--suite", WATCH)
_THERE = ("--model", "--data-dir")


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
    running = [
        task.remote(list(one), _packed(one), n_threads, _versions(one)) for one in parts.values()
    ]
    waiting = running
    try:
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
        # Not one that has ended: Ray ends this process where it is just taking note of that.
        for one in waiting:
            ray.cancel(one, force=True)
    folders = {}
    for name, files in zip(parts, answers, strict=True):
        folders[name] = work / name
        write_files(files, folders[name])
    return folders


def _score(
    arguments: list[str], sent: dict[str, Files], n_threads: int, versions: dict[str, str]
) -> Files:
    """On a node: the finished folder. Raises PawlError: as ``run_job``, or the base or the data are
    not here, or what scores is of another version than on the server (``versions``)."""
    here = _versions(arguments)
    if other := [name for name in versions if here[name] != versions[name]]:
        raise PawlError(
            f"what scores is of another version on {socket.gethostname()}",
            "; ".join(f"{name} {here[name]}, not {versions[name]}" for name in other),
            "Install the same on each node, or take that one out of the cluster: scores of two "
            "versions can't be compared",
            code="other_version",
        )
    with work_folder("scoring") as work:
        arguments = _placed(arguments, sent, work)
        named = dict(pairwise(arguments))
        check_same_base(Path(named["--model"]), named["--model-fingerprint"], CACHE.expanduser())
        run_job(
            "evals.score", [*arguments, "--out", str(work / "out")],
            name="scoring", log_path=work / "scoring.log", n_threads=n_threads,
        )  # fmt: skip
        return {one: (work / "out" / one).read_bytes() for one in (ITEMS, MANIFEST)}


def _versions(arguments: Sequence[str]) -> dict[str, str]:
    """What decides about a score here, as the scores that are kept are known by."""
    found = {name: version(name) for name in DECIDING}
    matchers = dict(pairwise(arguments)).get("--matchers", "")
    for one in plugins.load_all("matcher", matchers.split(",") if matchers else ()):
        found[f"the matcher {one.name}"] = one.package
    return {"pawl": __version__, **found}


def _placed(arguments: Sequence[str], sent: Mapping[str, Files], work: Path) -> list[str]:
    """On a node: the arguments with what was sent, which is written under ``work``."""
    for name, files in sent.items():
        write_files(files, work / name.strip("-"))
    placed = list(arguments)
    for place, (flag, value) in enumerate(pairwise(arguments), 1):
        if flag in sent:
            placed[place] = str(work / flag.strip("-"))
        elif flag in _THERE:
            check_there(Path(value), "scoring_died")
    return placed


def _packed(arguments: Sequence[str]) -> dict[str, Files]:
    """What has to be sent with these arguments: by flag, and what such a file names."""
    sent = {
        flag: read_files(Path(value))
        for flag, value in pairwise(arguments)
        if flag in _SENT and value != BASE
    }
    if WATCH in sent:
        watch = json.loads(sent[WATCH][""])
        folder = Path(arguments[arguments.index(WATCH) + 1]).parent
        for n, reference in enumerate(watch["references"]):
            sent[f"scores-{n}"] = read_files(folder / reference["items"])
            reference["items"] = f"scores-{n}"
        sent[WATCH] = {"": json.dumps(watch).encode()}
    return sent


def _lost(what: str, why: str) -> PawlError:
    return PawlError(
        what, why, "'pawl nightly' goes on at this step", retryable=True, code="scoring_died"
    )
