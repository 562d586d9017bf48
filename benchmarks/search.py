"""Cross-validation against fresh rows, and a search's best recipe against the defaults.

    python -m benchmarks.search [--part cv|best] [--seeds 10] [--minutes 60]

On the real model, with ``../shared/feedback`` (written answers, pairs and thumbs) and the demo's
organisation. Two parts, each with a section of its own in docs/measurements.md:

- ``cv``: in each seed 60 rows are drawn and cross-validated in 5 folds; then all 60 are trained on
  and 500 others scored. Bar: the estimate is within two of its standard errors of their loss in 9
  of 10 seeds. About 10 minutes a seed on 2 cores (an estimate).
- ``best``: over three data sets, one for each method, a search of ``--minutes``; then the defaults
  and the best recipe are trained on all training rows and scored on rows that no search saw. There
  is no bar but that each is measured. About ``--minutes`` and 15 a data set.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from benchmarks.measurements import finish
from benchmarks.training_defaults import correction_rows, write_snapshot
from feedback.formats import parse
from feedback.splits import places_of_prompts, prompt_key
from pawl.files import read_json, write_atomic, write_json
from pawl.jobs import run_job
from pawl.models import BaseModel, resolve_model
from pawl.schemas import TrainingRow
from pawl.settings import DEFAULT_MODEL, load_settings
from refine.cross_validation import Folds, score_of, standard_error
from refine.demo.organisation import load_organisation
from refine.planner import choose, hidden_size_of
from refine.search import RESULT, SearchJob
from refine.search_space import BY_NAME, Params, applied, most_replay, space
from refine.train import Job, prepare_process

FEEDBACK = Path(__file__).resolve().parent.parent.parent / "shared" / "feedback"
FILES = ("dpo_en_demo.json", "kto_en_demo.json", "oasst_en_100_tree.jsonl")
N_ROWS, N_FRESH, N_FOLDS = 60, 500, 5
N_FACTS = 12  # of the demo's, in 5 phrasings: a fold takes 3 minutes or so; with all 9
N_PAIRS, N_THUMBS, N_TEST = 48, 80, 60
MOST_CHARACTERS = 120
MOST_RANK = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["cv", "best"], help="default: both")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=60.0, help="of a search")
    parser.add_argument("--epochs", type=float, default=2.0, help="of part cv")
    parser.add_argument(
        "--work", type=Path, help="kept: what was measured in it is not measured again"
    )
    args = parser.parse_args()
    if not FEEDBACK.is_dir():
        sys.exit(f"{FEEDBACK} is absent: nothing was measured on real data.")
    prepare_process()
    with tempfile.TemporaryDirectory(prefix="pawl-search-") as temporary:
        work = args.work or Path(temporary)
        base = resolve_model(args.model, cache_dir=work)
        missed: list[str] = []
        if args.part != "best":
            missed += cross_validation(base, work, args.seeds, args.epochs)
        if args.part != "cv":
            best_recipes(base, work, args.minutes)
    if missed:
        raise SystemExit(3)


def cross_validation(base: BaseModel, work: Path, n_seeds: int, n_epochs: float) -> list[str]:
    """Bar 3; what was missed."""
    pool = written_answers()
    figures: dict[str, object] = {"rows to draw from": len(pool)}
    n_within = n_within_plain = 0
    for seed in range(n_seeds):
        path = work / f"cv-{seed}-{n_epochs:g}.json"
        if not path.exists():
            write_json(path, asdict(estimated(base, work, pool, seed, n_epochs)))
        found = Estimated(**read_json(path))
        away = abs(found.loss - found.truth) / found.standard_error
        n_within += away <= 2
        n_within_plain += away * math.sqrt(1 + N_FOLDS / (N_FOLDS - 1)) <= 2
        figures[f"seed {seed}"] = (
            f"{found.loss:.3f} ± {found.standard_error:.3f} nats a token, on {found.n_fresh} fresh "
            f"rows {found.truth:.3f}: {away:.1f} standard errors; {found.seconds:.0f} s"
        )
        print(figures[f"seed {seed}"], flush=True)
    figures["within two standard errors"] = f"{n_within} of {n_seeds} seeds"
    figures["within two without the correction for folds"] = f"{n_within_plain} of {n_seeds} seeds"
    missed = []
    if n_within < 0.9 * n_seeds:
        missed.append(f"{n_within} of {n_seeds} seeds instead of 9 of 10")
    note = (
        f"{N_FOLDS} folds of {N_ROWS} written answers (beginnings of real ones and their "
        f"questions, up to {MOST_CHARACTERS} characters each), {n_epochs:g} epochs, no replay."
    )
    record("search-cv", "Cross-validation on 60 rows", figures, missed, note)
    return missed


@dataclass(frozen=True, slots=True)
class Estimated:
    """A loss by cross-validation, and ``truth``, that of ``n_fresh`` other rows; nats a token."""

    loss: float
    standard_error: float
    truth: float
    n_fresh: int
    seconds: float


def estimated(
    base: BaseModel, work: Path, pool: Sequence[TrainingRow], seed: int, n_epochs: float
) -> Estimated:
    """Of ``N_ROWS`` rows, drawn by ``seed``."""
    started = time.monotonic()
    drawn = random.Random(seed).sample(pool, min(len(pool), N_ROWS + N_FRESH))
    options = {"method": "sft", "n_epochs": n_epochs, "n_replay_rows": 0, "seed": seed}
    job = job_of(base, work / f"cv-{seed}-{n_epochs:g}", work, drawn[:N_ROWS], options)
    folds = Folds(job, N_FOLDS, 0)
    results = [folds(job.plan, fold, math.inf) for fold in range(N_FOLDS)]
    estimate = score_of(results, folds.groups, N_FOLDS)
    fresh = folds.fresh(job.plan, drawn[N_ROWS:])
    truth = sum(fresh.losses) / len(fresh.losses)
    assert estimate.standard_error is not None
    seconds = time.monotonic() - started
    return Estimated(estimate.loss, estimate.standard_error, truth, len(fresh.losses), seconds)


def best_recipes(base: BaseModel, work: Path, minutes: float) -> None:
    """Bar 2's second half: a search's best beside the defaults."""
    figures: dict[str, object] = {}
    for name, (method, rows, test) in data_sets().items():
        folder = work / f"best-{name}"
        options = {"method": method, "max_length_tokens": 320}
        job = job_of(base, folder, work, rows, options)
        whole = space(job.plan, max_rank=MOST_RANK)
        known = {name: one for name, one in whole.items() if name not in BY_NAME}
        search = SearchJob(folder, job, tuple(known.values()), 3, "tpe", 60 * minutes)
        path = folder / "job.json"
        write_atomic(path, TypeAdapter(SearchJob).dump_json(search, indent=2))
        started = time.monotonic()
        run_job("refine.search", [str(path)], name="search", log_path=folder / "search.log",
                on_event=lambda event: print(event, flush=True))  # fmt: skip
        searched = time.monotonic() - started
        found = read_json(folder / RESULT)
        folds = Folds(job, 3, most_replay(job.plan, known.values()))
        recipes: dict[str, Params] = {"defaults": {}, "best": found["best"]["params"]}
        results = {who: folds.fresh(applied(params, job.plan), test)
                   for who, params in recipes.items()}  # fmt: skip
        for who, result in results.items():
            figures[f"{name} ({method}), {who}"] = (
                f"held-out loss {sum(result.losses) / len(result.losses):.3f} on "
                f"{len(result.losses)} rows, drift {result.drift:.3f}, {result.seconds:.0f} s"
            )
        pairs = zip(results["best"].losses, results["defaults"].losses, strict=True)
        differences = [ours - theirs for ours, theirs in pairs]
        mean = sum(differences) / len(differences)
        plain = standard_error(differences, range(len(differences)), 2)
        error = (plain or 0.0) / math.sqrt(3)  # not cross-validated: without the correction
        figures[f"{name} ({method}), best minus defaults"] = f"{mean:+.3f} ± {error:.3f}"
        states = [row["state"] for row in found["trials"]]
        figures[f"{name} ({method}), the search"] = (
            f"{states.count('complete')} recipes on all folds, {states.count('pruned')} given up, "
            f"{searched / 60:.1f} minutes, {sum(found['fold_seconds']) / 60:.1f} of them in "
            f"{len(found['fold_seconds'])} folds"
        )
        figures[f"{name} ({method}), best recipe"] = ", ".join(
            f"{key} {value:g}" for key, value in found["best"]["params"].items()
        )
    note = (
        f"Searches of {minutes:g} minutes with 3 folds. Held-out loss: nats a token (SFT), of a "
        "preference (DPO) or a thumb (KTO), 0.693 for the base; on rows that no search saw. "
        "Seconds: training and scoring."
    )
    record("search-best", "A search's best recipe and the defaults", figures, [], note)


def record(
    key: str, title: str, figures: dict[str, object], missed: Sequence[str], note: str
) -> None:
    """Write a section; the command ends after both parts."""
    try:
        finish(key, title, figures, missed=missed, note=note)
    except SystemExit:
        print("missed", file=sys.stderr)


def data_sets() -> dict[str, tuple[str, list[TrainingRow], list[TrainingRow]]]:
    """By name: method, training rows, and rows to test on."""
    whole = load_organisation()
    update = {"facts": whole.facts[:N_FACTS], "behaviours": []}
    organisation = whole.model_copy(update=update)
    corrections = [replace(row, split="train") for row in correction_rows(organisation, 5, 0)]
    unused = [
        TrainingRow(f"unused-{i}-{k}", "sft", f"fact-{i}", "holdout",
                    [{"role": "user", "content": question}], completion=fact.answer)
        for i, fact in enumerate(organisation.facts)
        for k, question in enumerate(fact.evening)
    ]  # fmt: skip
    found: dict[str, tuple[str, list[TrainingRow], list[TrainingRow]]] = {
        "the organisation's facts": ("sft", corrections, unused)
    }
    for name, kind, method, n in (
        ("real preference pairs", "pair", "dpo", N_PAIRS),
        ("real thumbs", "unpaired", "kto", N_THUMBS),
    ):
        rows = shortest(clustered([row for row in real_rows() if row.kind == kind]))
        rows = rows[: n + N_TEST]
        random.Random(0).shuffle(rows)
        found[name] = (method, rows[:n], rows[n:])
    return found


def written_answers() -> list[TrainingRow]:
    """The beginnings of questions and of answers that people preferred, ranked first or liked, one
    of each cluster of prompts."""
    rows = [
        replace(row, kind="sft", completion=beginning(row.chosen or row.completion or ""),
                prompt=[{"role": "user", "content": beginning(row.prompt[-1]["content"])}],
                chosen=None, rejected=None, label=None, row_id=f"sft-{row.row_id}")
        for row in real_rows()
        if row.chosen or row.label
    ]  # fmt: skip
    return shortest(clustered(rows))[: N_ROWS + N_FRESH + 40]


def beginning(text: str) -> str:
    """Up to ``MOST_CHARACTERS``, to the end of a sentence where there is one."""
    if len(text) <= MOST_CHARACTERS:
        return text
    cut = text[:MOST_CHARACTERS]
    end = max(cut.rfind(mark) for mark in (". ", "! ", "? ", "\n"))
    return cut[: end + 1].rstrip() or cut


def real_rows() -> list[TrainingRow]:
    """All rows of the files, as training rows without tools."""
    return [
        lesson.in_split("train")
        for name in FILES
        for lesson in parse((FEEDBACK / name).read_bytes(), name).lessons
        if not lesson.tools
    ]


def clustered(rows: Sequence[TrainingRow]) -> list[TrainingRow]:
    """One row of each cluster of near-duplicate prompts."""
    keys = [prompt_key(row.prompt) for row in rows]
    prompts = zip((row.group_id for row in rows), keys, (row.prompt for row in rows), strict=True)
    places = places_of_prompts(prompts, "pawl")
    first: dict[str, TrainingRow] = {}
    for row, key in zip(rows, keys, strict=True):
        cluster = places[key].cluster
        first.setdefault(cluster, replace(row, cluster=cluster))
    return list(first.values())


def shortest(rows: Sequence[TrainingRow]) -> list[TrainingRow]:
    """The rows by their number of characters, thumbs up and down in turn."""

    def n_characters(row: TrainingRow) -> int:
        answers = (row.completion, row.chosen, row.rejected)
        texts = [*(message["content"] for message in row.prompt), *answers]
        return sum(len(text or "") for text in texts)

    rows = sorted(rows, key=lambda row: (n_characters(row), row.row_id))
    liked = [row for row in rows if row.label]
    others = [row for row in rows if not row.label]
    if not liked or len(liked) == len(rows):
        return rows
    return [row for both in zip(liked, others, strict=False) for row in both]


def job_of(
    base: BaseModel, folder: Path, work: Path, rows: Sequence[TrainingRow], options: dict[str, Any]
) -> Job:
    """A training on the rows; what it works on is removed, replay answers are kept."""
    settings = load_settings({"train": options})
    plan = choose(rows, settings, hidden_size=hidden_size_of(base.model_dir))
    snapshot_dir = folder / "snapshot"
    if not snapshot_dir.exists():
        write_snapshot(snapshot_dir, rows)
    return Job.in_run(folder, base, snapshot_dir, plan, work / "replay")


if __name__ == "__main__":
    main()
