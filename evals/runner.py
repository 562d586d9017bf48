"""Starts the scoring child, watches it, and keeps its scores for the next one.

Benchmarks and holdout are kept apart under ``scores_dir``: a champion's scores on all items stay
true from night to night, while the holdout grows with the feedback. Items that each night draws
anew are scored once a night: kept for one that was interrupted, and for a prompt's run in it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from evals.bias import content_hash as bias_hash
from evals.bias import suite_in
from evals.cluster import DECIDING, score_on_nodes
from evals.regression import (
    UNPROMPTED,
    Asking,
    is_of_people,
    read_more_rows,
    rows_hash,
    scored_rows,
)
from evals.score import BASE, FORMAT, ITEMS, MANIFEST, write_scores
from evals.suites import Suite, content_hash
from pawl import plugins
from pawl.adapters import read_manifest
from pawl.chat_template import prints_date
from pawl.files import read_json, sha256_file, sha256_json, write_json
from pawl.jobs import OnEvent, run_job
from pawl.models import BaseModel
from pawl.schemas import ItemScore


@dataclass(frozen=True, slots=True)
class Scores:
    """Every item's score of one model, and how they came to be."""

    items: list[ItemScore]
    manifest: dict[str, Any]


def score(
    model: BaseModel,
    adapter_dir: Path | None,
    *,
    suite: Suite,
    scores_dir: Path,
    n_items: int | None = None,
    seed: int = 0,
    data_dir: Path | None = None,
    snapshot_dir: Path | None = None,
    more_rows: Path | None = None,
    placebo_of: Path | Literal["base"] | None = None,
    n_placebos: int = 0,
    matchers: Sequence[str] = (),
    asking: Asking = UNPROMPTED,
    today: str | None = None,
    watch: Path | None = None,
    out_dir: Path | None = None,
    benchmarks: bool = True,
    bias: bool = False,
    n_threads: int | None = None,
    beside_engine: bool = False,
    on_event: OnEvent | None = None,
    ray_address: str | None = None,
) -> Scores:
    """Score a model, with an adapter or without, or take the scores of an earlier night.

    Args:
        suite: what to score on.
        scores_dir: where finished scores are kept, under a key of everything that decides them:
            model, adapter, the suite's content, items, seed, versions; for the holdout its rows.
        n_items: random subset of every benchmark; None scores all items.
        data_dir: a folder laid out as the hub, for a suite that reads the hub's data; None: the
            hub.
        snapshot_dir: score the holdout of this snapshot too, as benchmark ``holdout``.
        more_rows: a file of rows to score beside the holdout (``regression.write_more_rows``).
        placebo_of: score ``n_placebos`` random changes of this model too, as large as it is from
            this model to that adapter, or to the base; of the prompt where ``asking`` has some.
        matchers: of installed packages, asked before ``evals.matching`` (``gate.matchers``).
        asking: system prompts with which people's prompts are asked; benchmarks have none.
        today: the date that the base's chat template writes, where it does; None: the clock's.
        watch: a file that says when a benchmark needs no more items (``score.read_watch``).
        out_dir: a run's own copy, ``items.jsonl`` and then ``manifest.json``.
        benchmarks: False scores the holdout alone.
        bias: score the bias audit too, beside the benchmarks; with lm-eval's own where
            ``data_dir`` holds their data.
        n_threads: None: 2 beside an engine, else OMP_NUM_THREADS or all cores.
        beside_engine: low priority, so that the server stays quick.
        on_event: called with the child's events (``evals/score.py`` shows them).
        ray_address: of a cluster on whose nodes it is scored (``evals.cluster``); None: here.

    Raises:
        PawlError: the child failed; ``retryable`` when scoring again may succeed.
    """
    rows = scored_rows(snapshot_dir) if snapshot_dir else []
    rows += read_more_rows(more_rows) if more_rows else []
    placebos: dict[str, Any] = {}
    if n_placebos and placebo_of:
        other = BASE if placebo_of == BASE else read_manifest(Path(placebo_of)).fingerprint
        placebos = {"of": other, "n": n_placebos}
    elif n_placebos and asking.placebos:
        placebos = {"n": n_placebos}
    asked = asdict(asking) if asking != UNPROMPTED else {}
    fingerprint = read_manifest(adapter_dir).fingerprint if adapter_dir else None
    who = {
        "model": model.fingerprint,
        "adapter": fingerprint,
        "format": FORMAT,
        "versions": [version(name) for name in DECIDING],
    }
    parts: dict[str, Path] = {}
    if benchmarks:
        drawn = {"suite": content_hash(suite, data_dir), "n_items": n_items}
        # All items are the same items whatever the seed, unless their order decides where it ends;
        # of lm-eval's audits some are drawn in any case.
        drawn["seed"] = seed if n_items or watch or (bias and suite_in(data_dir)) else 0
        drawn |= {"watch": sha256_file(watch)} if watch else {}
        drawn |= {"bias": bias_hash(data_dir)} if bias else {}
        key = sha256_json(who | drawn)
        parts["benchmarks"] = scores_dir / f"{suite.name}-{key[:16]}"
    if rows:
        by = [str(plugin) for plugin in plugins.load_all("matcher", matchers)]
        decides = {"rows": rows_hash(rows), "placebos": placebos} | ({"matchers": by} if by else {})
        decides |= {"asking": asked} if asked else {}
        decides |= {"today": today} if today and prints_date(model.check.template) else {}
        key = sha256_json(who | decides)
        parts["holdout"] = scores_dir / f"holdout-{key[:16]}"
    missing = [part for part, folder in parts.items() if not _finished(folder)]
    if missing:
        scores_dir.mkdir(parents=True, exist_ok=True)

        def arguments(of: Sequence[str], asking_file: Path) -> list[str]:
            """Of a child that scores these parts."""
            named = [
                "--model", str(model.model_dir), "--model-fingerprint", model.fingerprint,
                "--suite", str(suite.folder), "--seed", str(seed),
            ]  # fmt: skip
            named += ["--adapter", str(adapter_dir.absolute())] if adapter_dir else []
            named += ["--items-per-benchmark", str(n_items)] if n_items else []
            named += ["--data-dir", str(data_dir.absolute())] if data_dir else []
            named += ["--watch", str(watch.absolute())] if watch else []
            named += ["--skip-benchmarks"] if "benchmarks" not in of else []
            named += ["--bias"] if bias and "benchmarks" in of else []
            if "holdout" in of:
                named += ["--holdout", str(snapshot_dir.absolute())] if snapshot_dir else []
                named += ["--more-rows", str(more_rows.absolute())] if more_rows else []
                named += ["--matchers", ",".join(matchers)] if matchers else []
                if placebos and placebo_of:
                    whole = placebo_of if placebo_of == BASE else Path(placebo_of).absolute()
                    named += ["--placebo-of", str(whole)]
                named += ["--n-placebos", str(n_placebos)] if placebos else []
                named += ["--today", today] if today else []
            return named + (["--asking", str(asking_file)] if asked else [])

        with tempfile.TemporaryDirectory(prefix="scoring-", dir=scores_dir) as name:
            work = Path(name).absolute()
            asking_file = work / "asking.json"
            if asked:
                write_json(asking_file, asked)
            if ray_address is not None:
                jobs = {part: arguments([part], asking_file) for part in missing}
                outs = score_on_nodes(ray_address, jobs, work, n_threads, on_event)
            else:
                out = work / "out"
                run_job(
                    "evals.score",
                    [*arguments(missing, asking_file), "--out", str(out),
                     "--cache-dir", str(scores_dir.absolute() / "datasets")],
                    name="scoring",
                    log_path=scores_dir / "scoring.log",
                    n_threads=n_threads,
                    beside_engine=beside_engine,
                    on_event=on_event,
                )  # fmt: skip
                outs = dict.fromkeys(missing, out)
            for part, folder in outs.items():
                fresh = read_scores(folder)
                items = [i for i in fresh.items if is_of_people(i.benchmark) == (part == "holdout")]
                write_scores(parts[part], items, fresh.manifest)
    found = {part: read_scores(folder) for part, folder in parts.items()}
    manifests = {part: scores.manifest for part, scores in found.items()}
    manifest = {
        "format": FORMAT,
        "model_fingerprint": model.fingerprint,
        "adapter_fingerprint": fingerprint,
        "suite": suite.name,
        "items_per_benchmark": n_items,
        "seed": seed,
        # Only benchmarks are cut, only holdout rows left out; one child may have scored both.
        "n_truncated": manifests.get("benchmarks", {}).get("n_truncated", 0),
        "n_holdout_left_out": manifests.get("holdout", {}).get("n_holdout_left_out", {}),
        "matcher_problems": manifests.get("holdout", {}).get("matcher_problems", {}),
        # What was missing was scored by one child, whose manifest every new part holds, or at once.
        "seconds": max((manifests[part]["seconds"]["total"] for part in missing), default=0.0),
        "reused": [part for part in parts if part not in missing],
        "parts": manifests,
    }
    scores = Scores([item for part in found.values() for item in part.items], manifest)
    if out_dir:
        write_scores(out_dir, scores.items, scores.manifest)
    return scores


def read_scores(folder: Path) -> Scores:
    """Read a finished folder of scores back."""
    manifest = read_json(folder / MANIFEST)
    with (folder / ITEMS).open(encoding="utf-8") as file:
        return Scores([ItemScore(**json.loads(line)) for line in file], manifest)


def is_of_now(manifest: dict[str, Any]) -> bool:
    """Whether scores of ``score`` were made by the versions of now: with others they can't be
    compared."""
    return manifest["format"] == FORMAT and all(
        part["versions"][name] == version(name)
        for part in manifest["parts"].values()
        for name in DECIDING
    )


def _finished(folder: Path) -> bool:
    """Whole and without errors: scores with errors are tried again, they may have had a cause
    outside of the model."""
    if not (folder / MANIFEST).exists():
        return False
    manifest = read_json(folder / MANIFEST)
    return manifest["n_errors"] == 0 and manifest["items_sha256"] == sha256_file(folder / ITEMS)
