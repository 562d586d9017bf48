"""What a night did: ``report.json`` for programs, ``report.html`` for people.

Written for every outcome, also when nothing was trained or scoring broke: what there is to say
follows from the files in the run's folder.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from evals.broken import gain, pairs_of
from evals.gate import CHANGED
from evals.people import Pair
from evals.regression import BENCHMARK as HOLDOUT
from evals.regression import CONTROLS, is_of_people
from evals.report.html import render
from evals.runner import Scores, read_scores
from evals.score import MANIFEST
from pawl.adapters import MANIFEST as ADAPTER_MANIFEST
from pawl.curves import read_curves
from pawl.files import read_json, write_atomic, write_json
from pawl.schemas import utc_now

N_EXAMPLES = 5  # of each kind, in each benchmark
SCORING = ("suite", "items_per_benchmark", "seed", "n_items", "n_errors", "n_truncated",
           "n_holdout_left_out", "matcher_problems", "seconds", "reused")  # fmt: skip


def write_report(run_dir: Path) -> Path:
    """Write ``report.json`` and ``report.html`` into a run's folder; the path of the latter.

    They say what the files there say, as far as the run came: ``run.json``, ``snapshot.json``,
    ``plan.json``, ``train/steps.jsonl``, ``adapter``, ``scores/champion``, ``scores/challenger``,
    ``verdict.json``, ``judge.json``, ``suspects.json``, ``challenger.json`` and ``promotion.json``.
    """
    report = build_report(run_dir)
    write_json(run_dir / "report.json", report)
    path = run_dir / "report.html"
    write_atomic(path, render(report))
    return path


def build_report(run_dir: Path) -> dict[str, Any]:
    """Everything the report says, as JSON."""
    run, snapshot, plan, verdict, promotion, judge, suspects, challenger, adapter = (
        _optional(run_dir / name)
        for name in (
            "run.json",
            "snapshot.json",
            "plan.json",
            "verdict.json",
            "promotion.json",
            "judge.json",
            "suspects.json",
            "challenger.json",
            f"adapter/{ADAPTER_MANIFEST}",
        )
    )
    scores = {
        role: read_scores(run_dir / "scores" / role)
        for role in ("champion", "challenger")
        if (run_dir / "scores" / role / MANIFEST).exists()
    }
    pairs = _pairs(scores)
    has_failed, detail = run.get("status") == "failed", run.get("detail", {})
    note = ""
    if has_failed:
        note = f"the night failed: {detail.get('reason', '')}"
    elif detail.get("outcome") == "no_run":
        note = f"no run tonight: {detail['reason']}"
    return {
        "run_id": run_dir.name,
        "written_at": utc_now(),
        "outcome": verdict.get("outcome") or _outcome(run, adapter),
        "note": note,
        "reasons": verdict.get("reasons", []),
        "erased_by_age": detail.get("erased_by_age"),
        "snapshot": _some(snapshot, "snapshot_id", "counts", "rejections"),
        "plan": plan or None,
        "asked": challenger.get("asked"),
        "verdict": verdict or None,
        "complaints": _complaints(pairs.get(HOLDOUT, [])),
        "changes": {n: _changes(group) for n, group in pairs.items() if not is_of_people(n)},
        "broken_controls": _broken_controls(pairs.get(CONTROLS, [])),
        "power": detail.get("power"),
        "promotion": promotion or None,
        "judge": judge or None,
        "suspects": suspects or None,
        "training": read_curves(run_dir / "train" / "steps.jsonl"),
        "recipe": adapter.get("recipe"),
        "adapter": _some(adapter, "base_model", "base_fingerprint", "rank", "created_at"),
        "scoring": {role: _some(found.manifest, *SCORING) for role, found in scores.items()},
        "seconds": {name: step["seconds"] for name, step in run.get("steps", {}).items()},
        "how_to_go_back": _how_to_go_back(promotion),
    }


def _outcome(run: dict[str, Any], adapter: dict[str, Any]) -> str:
    """Without a verdict. An adapter without a run is of 'pawl train'."""
    if run.get("status") == "failed":
        return "failed"
    return "trained" if adapter and not run else "no_run"


def _optional(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.exists() else {}


def _some(values: dict[str, Any], *keys: str) -> dict[str, Any] | None:
    """These keys of them; None where there is nothing."""
    return {key: values.get(key) for key in keys} if values else None


def _pairs(scores: dict[str, Scores]) -> dict[str, list[Pair]]:
    """Items that both scored, by benchmark."""
    if len(scores) < 2:
        return {}
    pairs: dict[str, list[Pair]] = {}
    for pair in pairs_of(scores["champion"].items, scores["challenger"].items):
        pairs.setdefault(pair[0].benchmark, []).append(pair)
    return pairs


def _complaints(pairs: list[Pair]) -> dict[str, Any] | None:
    """The held-out questions: by category, and examples of what was mended and what was not."""
    if not pairs:
        return None
    by_category: dict[str, list[Pair]] = {}
    for pair in pairs:
        for category in pair[0].detail.get("categories") or ["no category"]:
            by_category.setdefault(category, []).append(pair)
    rows = [
        {
            "category": category,
            "n": len(group),
            "champion": sum(a.score or 0.0 for a, _ in group) / len(group),
            "challenger": sum(b.score or 0.0 for _, b in group) / len(group),
        }
        for category, group in by_category.items()
    ]

    def examples(chosen: Iterable[Pair]) -> list[dict[str, Any]]:
        shared = ("categories", "prompt", "flagged", "correction", "compared")
        return _examples(chosen, shared, "answer", "")

    return {
        "by_category": sorted(rows, key=lambda row: (-row["n"], row["category"])),
        "compared": dict(Counter(a.detail["compared"] for a, _ in pairs if "compared" in a.detail)),
        "mended": examples(p for p in sorted(pairs, key=gain, reverse=True) if gain(p) > 0),
        "broken": examples(p for p in sorted(pairs, key=gain) if gain(p) < 0),
        "unchanged_wrong": examples(p for p in pairs if gain(p) == 0 and p[0].score != 1.0),
    }


def _broken_controls(pairs: list[Pair]) -> list[dict[str, Any]]:
    """Answers that nobody flagged and that the challenger says otherwise."""
    broken = (pair for pair in pairs if gain(pair) < 0)
    return _examples(broken, ("prompt", "correction"), "answer", "")


def _changes(pairs: list[Pair]) -> dict[str, Any]:
    """How many items of a benchmark went either way, and the clearest that broke or improved."""
    order = sorted(pairs, key=lambda pair: (gain(pair), pair[0].item_id))
    broke = [pair for pair in order if gain(pair) <= -CHANGED]
    improved = [pair for pair in reversed(order) if gain(pair) >= CHANGED]

    def examples(chosen: list[Pair]) -> list[dict[str, Any]]:
        return _examples(chosen, ("prompt", "choices", "target"), "chosen", "_chose")

    return {
        "n": len(pairs),
        "n_broke": len(broke),
        "n_improved": len(improved),
        "broke": examples(broke),
        "improved": examples(improved),
    }


def _examples(
    pairs: Iterable[Pair], shared: Sequence[str], answer: str, suffix: str
) -> list[dict[str, Any]]:
    """The first of them: the ``shared`` keys of an item's detail, each model's ``answer`` and
    score."""
    return [
        {key: a.detail.get(key) for key in shared}
        | {
            "item_id": a.item_id,
            f"champion{suffix}": a.detail.get(answer),
            f"challenger{suffix}": b.detail.get(answer),
            "champion_score": a.score,
            "challenger_score": b.score,
        }
        for a, b in itertools.islice(pairs, N_EXAMPLES)
    ]


def _how_to_go_back(promotion: dict[str, Any]) -> str:
    match promotion:
        case {"outcome": "live", "previous_version": version}:
            return f"pawl rollback    (back to {version}, in the running server, without a restart)"
        case {"outcome": "waiting", "run_id": run_id}:
            return (
                f"Nothing has moved yet: 'pawl approve {run_id}' lets it in, 'pawl reject "
                f"{run_id}' refuses it. Until then the champion answers as before."
            )
        case {"outcome": "canary", "run_id": run_id}:
            return (
                f"pawl reject {run_id}    (takes it back, until it answers all; 'pawl approve "
                f"{run_id}' lets it answer all now)"
            )
        case {"outcome": "pending", "version": version}:
            return (
                f"Nothing has moved yet: {version} answers from the engine's next start on, if it "
                "is found whole there. Until then the champion answers as before."
            )
    return "Nothing was changed: the champion answers as before."
