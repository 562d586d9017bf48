"""``pawl eval``: one model on one suite, each benchmark's mean with its interval."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evals.runner import score
from evals.statistics import chance_level, is_at_chance, mean_interval
from evals.suites import choose, load
from pawl.jobs import Event
from pawl.models import resolve_model
from pawl.settings import Settings


def evaluate(
    settings: Settings,
    *,
    adapter_dir: Path | None = None,
    suite: str | None = None,
    n_items: int | None = None,
    data_dir: Path | None = None,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Score the settings' model.

    Args:
        suite: name or folder; None or ``auto``: as ``gate.suite`` says.
        n_items: random items of each benchmark; None: all.
        data_dir: folder laid out as the hub; None: ``gate.data_dir``.
        say: called with a line for every progress event.

    Returns:
        ``{"model", "adapter_fingerprint", "suite", "benchmarks": [{"name", "metric", "n", "score",
        "lower", "upper", "chance", "at_chance", "n_errors"}], "n_truncated", "seconds",
        "manifest"}``. Scores are fractions, ``lower`` and ``upper`` a 95 % interval; ``chance`` is
        what guessing gives (mean of 1/k), None for a score that is a share of probability
        (TruthfulQA mc2). An erroneous item is counted, never scored.

    Raises:
        PawlError: the model is not whole; or as :func:`evals.suites.choose` and
            :func:`evals.runner.score`.
    """
    model = resolve_model(settings.model, settings.model_revision, cache_dir=settings.state_dir)
    model.check.refuse("score", model.name)
    gate = settings.gate.model_copy(update={"data_dir": data_dir or settings.gate.data_dir})
    if suite in (None, "auto"):
        chosen, why = choose(gate)
        if say:
            say(why)
    else:
        chosen = load(suite)

    def on_event(event: Event) -> None:
        if say and "stage" in event:
            counted = event["total"] > 1
            say(event["stage"] + f": {event['done']:,} of {event['total']:,}" * counted)

    scores = score(
        model,
        adapter_dir,
        suite=chosen,
        scores_dir=settings.scores_dir,
        n_items=n_items,
        seed=seed,
        data_dir=gate.data_dir,
        on_event=on_event,
        ray_address=gate.ray_address,
    )
    table = []
    for benchmark in chosen.benchmarks:
        items = [item for item in scores.items if item.benchmark == benchmark.name]
        scored = [item for item in items if item.score is not None]
        values = [item.score for item in scored if item.score is not None]
        mean = mean_interval(values, [item.cluster for item in scored], alpha=0.025)
        chance = chance_level(values, [len(item.detail["choices"]) for item in scored])
        table.append(
            {
                "name": benchmark.name,
                "metric": benchmark.metric,
                "n": len(scored),
                "score": mean.value,
                "lower": mean.lower,
                "upper": mean.upper,
                "chance": chance,
                "at_chance": is_at_chance(mean, chance),
                "n_errors": len(items) - len(scored),
            }
        )
    return {
        "model": model.name,
        "adapter_fingerprint": scores.manifest["adapter_fingerprint"],
        "suite": chosen.name,
        "benchmarks": table,
        "n_truncated": scores.manifest["n_truncated"],
        "seconds": scores.manifest["seconds"],
        "manifest": scores.manifest,
    }


def describe(result: dict[str, Any]) -> str:
    """The result of :func:`evaluate` as a table for a terminal."""
    adapter = result["adapter_fingerprint"]
    lines = [
        f"{result['model']} on the {result['suite']} suite"
        + (f", adapter {adapter[7:19]}" if adapter else ""),
        f"{'benchmark':<24}{'items':>7}{'score':>8}  {'95 % interval':<16}{'guessing':>9}",
    ]
    for row in result["benchmarks"]:
        chance = "" if row["chance"] is None else f"{row['chance'] * 100:.1f} %"
        if row["n"]:
            lines.append(
                f"{row['name']:<24}{row['n']:>7}{row['score'] * 100:>6.1f} %  "
                f"{row['lower'] * 100:>5.1f} to {row['upper'] * 100:<5.1f}%"
                f"{chance:>10}" + ("  at chance" if row["at_chance"] else "")
            )
        if row["n_errors"]:
            lines.append(f"{row['name']:<24}{row['n_errors']:>7} items met an error, not scored")
    if any(row["at_chance"] for row in result["benchmarks"]):
        lines.append("at chance: the interval includes what guessing gives, so the score says")
        lines.append("nothing about what the model knows, and can't show a loss of it either.")
    if result["n_truncated"]:
        lines.append(
            f"{result['n_truncated']:,} prompts were longer than the model's context and "
            "lost their beginning."
        )
    lines.append(
        "from an earlier run with the same model, items and versions"
        if result["manifest"]["reused"]
        else f"{result['seconds']:.0f} seconds"
    )
    return "\n".join(lines)
