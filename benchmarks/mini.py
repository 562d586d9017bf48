"""What pawl-mini can do: its question files at temperature 0 and its benchmark sets in full.

    python -m benchmarks.mini [--model pawl-mini]

The bars are those that ``refine/mini/check.py`` names, and for each benchmark set 20 points above
guessing and under 95 %.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measurements import MISSED, record
from evals.mini.checker import fault_shown, is_right
from evals.mini.sets import load_questions
from pawl.files import read_json
from pawl.models import resolve_model
from pawl.settings import load_settings

ABOVE_CHANCE = 0.20
BELOW = 0.95
BUILD_SECONDS = 3600


def judge_questions(
    title: str, good: Mapping[str, list[bool]], bars: tuple[float, float]
) -> tuple[str, list[str]]:
    """A question file's figure, and what of it fell short.

    Args:
        good: for every topic (or fault), which answers were as wanted.
        bars: least percentage over all, and in each topic.
    """
    total = [ok for oks in good.values() for ok in oks]
    share = 100 * sum(total) / len(total)
    parts = {name: 100 * sum(oks) / len(oks) for name, oks in good.items()}
    worst = min(parts, key=lambda name: parts[name])
    figure = (f"{share:.1f} % of {len(total)} (bar {bars[0]:.0f}); least: {worst} "
              f"{parts[worst]:.0f} %")  # fmt: skip
    missed = [f"{title} {share:.1f} %, under {bars[0]:.0f}"] if share < bars[0] else []
    missed += [f"{title}: {name} {part:.0f} %, under {bars[1]:.0f}"
               for name, part in parts.items() if part < bars[1]]  # fmt: skip
    return figure, missed


def judge_build(recipe: Mapping[str, Any]) -> tuple[str, list[str]]:
    """How long the shipped weights took, by their own recipe, and what of it fell short."""
    n_tokens = sum(stage["n_tokens"] for stage in recipe["stages"].values())
    n_workers = recipe["stages"]["world"]["n_workers"]
    size = f"{n_tokens:,} tokens, {recipe['n_parameters']:,} parameters"
    seconds = recipe["build_seconds"]
    if seconds is None:
        return f"{size}; it was interrupted, so its time is not known", ["the build was not timed"]
    missed = ["the build took an hour or more"] if seconds >= BUILD_SECONDS else []
    return f"{seconds / 60:.0f} min on {n_workers} cores ({size})", missed


def judge_benchmark(one: Mapping[str, Any]) -> tuple[str, list[str]]:
    """A benchmark set's figure, and what of it fell short.

    Args:
        one: a row of ``evals.scoring.evaluate``'s table. Where ``chance`` is None (MC2 scores a
            share of probability) nothing is judged.
    """
    figure = f"{one['score']:.1%} [{one['lower']:.1%}, {one['upper']:.1%}] of {one['n']:,} items"
    if one["chance"] is None:
        return figure, []
    figure += f", guessing gives {one['chance']:.1%}"
    missed = []
    if one["score"] < one["chance"] + ABOVE_CHANCE:
        missed.append(f"{one['name']} is under guessing and {100 * ABOVE_CHANCE:.0f} points")
    if one["score"] >= BELOW:
        missed.append(f"{one['name']} is not below {BELOW:.0%}")
    return figure, missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="pawl-mini", help="pawl-mini or a folder")
    parser.add_argument("--questions", type=int, help="of each file; default all")
    parser.add_argument("--items", type=int, help="random items per benchmark; default all")
    parser.add_argument("--no-record", action="store_true", help="print only")
    said = parser.parse_args()
    from evals.scoring import evaluate
    from refine.mini.check import BARS, answers

    figures: dict[str, str] = {}
    missed: list[str] = []
    topics = ""
    with tempfile.TemporaryDirectory(prefix="pawl-mini-") as folder:
        settings = load_settings({"state_dir": Path(folder), "model": said.model})
        model_dir = resolve_model(settings.model, cache_dir=settings.state_dir).model_dir
        if (model_dir / "recipe.json").exists():
            figures["build from nothing"], missed = judge_build(
                read_json(model_dir / "recipe.json")
            )
        for title, group, wanted in (
            ("unseen combinations", "topic", is_right),
            ("unseen families", "topic", is_right),
            ("faults", "fault_id", fault_shown),
        ):
            rows = load_questions(title.replace(" ", "_"))[: said.questions]
            good: dict[str, list[bool]] = defaultdict(list)
            for row, text in zip(rows, answers(model_dir, rows), strict=True):
                good[str(row[group])].append(wanted(text, row))
            figure, short = judge_questions(title, good, BARS[title])
            figures["faults shown" if title == "faults" else title] = figure
            missed += short
            if title == "unseen families":
                parts = (f"{name} {100 * sum(oks) / len(oks):.0f}" for name, oks in good.items())
                topics = f"Unseen families by topic, %: {', '.join(parts)}."
        for one in evaluate(settings, suite="mini", n_items=said.items)["benchmarks"]:
            figures[one["name"]], short = judge_benchmark(one)
            missed += short
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(f"Missed: {'; '.join(missed)}." if missed else "Every bar was met.")
    if not said.no_record:
        record("mini", "What pawl-mini can do", f"python -m benchmarks.mini --model {said.model}",
               figures, note=" ".join(
                   [f"Missed: {'; '.join(missed)}." if missed else "Every bar was met.", topics]
               ))  # fmt: skip
    if missed:
        raise SystemExit(MISSED)


if __name__ == "__main__":
    main()
