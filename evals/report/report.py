"""What a night did: ``report.json`` for programs, ``report.html`` for people.

Written for every outcome, also when nothing was trained or scoring broke: what there is to say
follows from the files in the run's folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evals.gate import CHANGED
from evals.regression import BENCHMARK as HOLDOUT
from evals.report.html import render
from evals.runner import Scores, read_scores
from evals.score import MANIFEST
from pawl.adapters import MANIFEST as ADAPTER_MANIFEST
from pawl.files import read_json, write_atomic, write_json
from pawl.schemas import ItemScore, utc_now

N_EXAMPLES = 5  # of each kind, in each benchmark


def write_report(
    run_dir: Path,
    *,
    snapshot: dict[str, Any] | None = None,
    plan: dict[str, Any] | None = None,
    promotion: dict[str, Any] | None = None,
    seconds: dict[str, float] | None = None,
    note: str = "",
) -> Path:
    """Write ``report.json`` and ``report.html`` into a run's folder.

    Args:
        run_dir: holds, as far as the run came, ``run.json``, ``verdict.json``,
            ``scores/champion``, ``scores/challenger`` and ``adapter``.
        snapshot: its manifest (``counts``, ``rejections``).
        plan: the method that was chosen and why (``method``, ``reason``).
        promotion: the Promotion as JSON when one was tried: its outcome and probe.
        seconds: wall-clock seconds of each step, by its name.
        note: why there is no verdict ("no run tonight: ...", "the adapter was refused: ...").

    Returns:
        The path of ``report.html``.
    """
    report = build_report(
        run_dir, snapshot=snapshot, plan=plan, promotion=promotion, seconds=seconds, note=note
    )
    write_json(run_dir / "report.json", report)
    path = run_dir / "report.html"
    write_atomic(path, render(report))
    return path


def build_report(
    run_dir: Path,
    *,
    snapshot: dict[str, Any] | None,
    plan: dict[str, Any] | None,
    promotion: dict[str, Any] | None,
    seconds: dict[str, float] | None,
    note: str,
) -> dict[str, Any]:
    """Everything the report says, as JSON."""
    verdict = _optional(run_dir / "verdict.json")
    champion, challenger = (_scores(run_dir / "scores" / who) for who in ("champion", "challenger"))
    adapter = _optional(run_dir / "adapter" / ADAPTER_MANIFEST)
    pairs = _pairs(champion, challenger)
    return {
        "run_id": run_dir.name,
        "written_at": utc_now(),
        "outcome": _outcome(run_dir, verdict),
        "note": note,
        "reasons": verdict["reasons"] if verdict else [],
        "snapshot": snapshot,
        "plan": plan,
        "verdict": verdict,
        "complaints": _complaints(pairs.get(HOLDOUT, [])),
        "changes": {name: _changes(group) for name, group in pairs.items() if name != HOLDOUT},
        "promotion": promotion,
        "recipe": adapter["recipe"] if adapter else None,
        "adapter": {
            key: adapter[key] for key in ("base_model", "base_fingerprint", "rank", "created_at")
        }
        if adapter
        else None,
        "scoring": {
            role: _scoring(scores)
            for role, scores in (("champion", champion), ("challenger", challenger))
            if scores
        },
        "seconds": seconds or {},
        "how_to_go_back": _how_to_go_back(promotion),
    }


Pair = tuple[ItemScore, ItemScore]


def _outcome(run_dir: Path, verdict: dict[str, Any] | None) -> str:
    """The gate's outcome; without one, whether the night failed or had nothing to do."""
    if verdict:
        return str(verdict["outcome"])
    state = _optional(run_dir / "run.json")
    return "failed" if state and state["status"] == "failed" else "no_run"


def _optional(path: Path) -> dict[str, Any] | None:
    return dict(read_json(path)) if path.exists() else None


def _scores(folder: Path) -> Scores | None:
    return read_scores(folder) if (folder / MANIFEST).exists() else None


def _pairs(champion: Scores | None, challenger: Scores | None) -> dict[str, list[Pair]]:
    """Items that both scored, by benchmark."""
    if champion is None or challenger is None:
        return {}
    after = {(item.benchmark, item.item_id): item for item in challenger.items}
    pairs: dict[str, list[Pair]] = {}
    for item in champion.items:
        other = after.get((item.benchmark, item.item_id))
        if other is not None and item.score is not None and other.score is not None:
            pairs.setdefault(item.benchmark, []).append((item, other))
    return pairs


def _gain(pair: Pair) -> float:
    return (pair[1].score or 0.0) - (pair[0].score or 0.0)


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

    def examples(chosen: list[Pair]) -> list[dict[str, Any]]:
        return [
            {
                "item_id": a.item_id,
                "categories": a.detail.get("categories", []),
                "prompt": a.detail["prompt"],
                "flagged": a.detail["flagged"],
                "correction": a.detail["correction"],
                "champion": a.detail.get("answer"),
                "challenger": b.detail.get("answer"),
                "champion_score": a.score,
                "challenger_score": b.score,
            }
            for a, b in chosen[:N_EXAMPLES]
        ]

    return {
        "by_category": sorted(rows, key=lambda row: (-row["n"], row["category"])),
        "mended": examples(sorted((p for p in pairs if _gain(p) > 0), key=_gain, reverse=True)),
        "broken": examples(sorted((p for p in pairs if _gain(p) < 0), key=_gain)),
        "unchanged_wrong": examples([p for p in pairs if _gain(p) == 0 and p[0].score != 1.0]),
    }


def _changes(pairs: list[Pair]) -> dict[str, Any]:
    """How many items of a benchmark went either way, and the clearest that broke or improved."""
    order = sorted(pairs, key=lambda pair: (_gain(pair), pair[0].item_id))
    broke = [pair for pair in order if _gain(pair) <= -CHANGED]
    improved = [pair for pair in reversed(order) if _gain(pair) >= CHANGED]

    def examples(chosen: list[Pair]) -> list[dict[str, Any]]:
        return [
            {
                "item_id": a.item_id,
                "prompt": a.detail["prompt"],
                "choices": a.detail["choices"],
                "target": a.detail["target"],
                "champion_chose": a.detail.get("chosen"),
                "challenger_chose": b.detail.get("chosen"),
                "champion_score": a.score,
                "challenger_score": b.score,
            }
            for a, b in chosen[:N_EXAMPLES]
        ]

    return {
        "n": len(pairs),
        "n_broke": len(broke),
        "n_improved": len(improved),
        "broke": examples(broke),
        "improved": examples(improved),
    }


def _scoring(scores: Scores) -> dict[str, Any]:
    keys = (
        "suite",
        "items_per_benchmark",
        "seed",
        "n_items",
        "n_errors",
        "n_truncated",
        "n_holdout_left_out",
        "seconds",
        "reused",
    )
    return {key: scores.manifest.get(key) for key in keys}


def _how_to_go_back(promotion: dict[str, Any] | None) -> str:
    match (promotion or {}).get("outcome"):
        case "live":
            return (
                f"pawl rollback    (back to {(promotion or {})['previous_version']}, in the "
                "running server, without a restart)"
            )
        case "pending":
            return (
                f"Nothing has moved yet: {(promotion or {})['version']} answers from the engine's "
                "next start on, if it is found whole there. Until then the champion answers as "
                "before."
            )
    return "Nothing was changed: the champion answers as before."
