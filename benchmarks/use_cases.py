"""The use cases of examples/, run for real: a prompt, a few-shot prompt, fine-tuned.

    python -m benchmarks.use_cases [NAME ...] [--model MODEL] [--minutes 20]

All seven, or those that are named, one after the other; on 2 idle cores about 10 minutes
each (an estimate; beside other work the minutes of a training end it before it has learned).
Answers and adapters are kept (``--work``), so that the same command goes on with what was
interrupted. After each use case its section of docs/use-cases.md is written, and the table of all
that lie in the work folder into docs/measurements.md. Bar: sentiment's macro F1 rises by 15 points
or more over the prompt alone; the others are measured, whatever comes of them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from benchmarks.measurements import MEASUREMENTS, finish, record
from evals.metrics import Interval
from examples.__main__ import WORK, table, tell
from examples.runner import FEW_SHOT, PROMPT, TUNED, Result, run
from examples.use_case import load, names
from pawl.files import read_json, write_json
from pawl.models import resolve_model
from pawl.settings import DEFAULT_MODEL

PAGE = MEASUREMENTS.with_name("use-cases.md")
BAR = ("sentiment", 0.15)
N_EXAMPLES = 3
MINUTES = 20.0  # the default of train.max_minutes


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="most of each training")
    parser.add_argument("--work", type=Path, default=WORK, help="kept answers and adapters")
    parser.add_argument("--no-record", action="store_true", help="leave the documents as they are")
    args = parser.parse_args()
    chosen = args.names or names()
    cases = [load(name) for name in chosen]  # refused before anything is trained
    args.work.mkdir(parents=True, exist_ok=True)
    base = resolve_model(args.model, cache_dir=args.work, tell=tell)
    for i, case in enumerate(cases, start=1):
        tell(f"{case.name}, {i} of {len(cases)}")
        started = time.monotonic()
        result = run(case, base, {"max_minutes": args.minutes}, args.work.absolute(), tell)
        tell(f"{case.name}: {time.monotonic() - started:.0f} s")
        write_json(args.work / f"{case.name}.json", row(result))
        if not args.no_record:
            minutes = "" if args.minutes == MINUTES else f" --set max_minutes={args.minutes:g}"
            title, command = case.description.title, f"python -m examples {case.name}{minutes}"
            record(case.name, title, command, section(result), note=note(result), path=PAGE)
    measured = {name: read_json(args.work / f"{name}.json") for name in names()
                if (args.work / f"{name}.json").exists()}  # fmt: skip
    name, least = BAR
    missed = []
    if name in measured and measured[name]["gain"] < least:
        missed.append(f"{name} rose by {100 * measured[name]['gain']:.1f} points instead of "
                      f"{100 * least:g} or more")  # fmt: skip
    finish(
        "use-cases", "Use cases", {key: one["figure"] for key, one in measured.items()},
        missed=missed, keep=not args.no_record,
        note=f"{base.name}. Prompt only -> fine-tuned, intervals of 95 % by bootstrap over test "
        f"rows. Bar: sentiment's macro F1 up by 15 points. {not_run(list(measured))}"
        "The other figures and what was answered: [use-cases.md](use-cases.md).",
    )  # fmt: skip


def row(result: Result) -> dict[str, Any]:
    """A use case's line in the table of measurements."""
    main_figure = result.scores[TUNED].main
    before, few_shot, after = (
        percent(result.scores[arm].figures[main_figure]) for arm in (PROMPT, FEW_SHOT, TUNED)
    )
    figure = (
        f"{main_figure} {before} -> {after}, {points(result.gains[PROMPT])}; few-shot prompt "
        f"{few_shot}; trained {training(result)}"
    )
    return {"figure": figure, "gain": result.gains[PROMPT].value}


def section(result: Result) -> dict[str, str]:
    """The figures of docs/use-cases.md."""
    figures = {}
    for arm, scores in result.scores.items():
        for name, found in scores.figures.items():
            figures[f"{arm}: {name}"] = percent(found)
    for arm, found in result.gains.items():
        figures[f"{result.scores[arm].main}, fine-tuned minus {arm}"] = points(found)
    figures["training"] = training(result)
    return figures


def training(result: Result) -> str:
    """How long it took, and why it ended."""
    stages = result.manifest.recipe["stages"]
    minutes = sum(stage["seconds"] for stage in stages) / 60
    tokens = sum(stage["n_tokens"] for stage in stages)
    ended = stages[-1]["stopped_because"]
    return f"{minutes:.1f} minutes on {tokens:,} tokens (ended: {ended})"


def note(result: Result) -> str:
    """What the data are, the confusion matrices, and what was answered."""
    case = result.case
    parts = [case.description.about.strip()]
    for arm, scores in result.scores.items():
        if scores.table is not None:
            matrix = "\n".join(table(scores.table))
            parts.append(f"{arm}; rows are right, columns are answered:\n\n```text\n{matrix}\n```")
    for asked, *answers in list(zip(case.test, *result.answers.values(), strict=True))[:N_EXAMPLES]:
        lines = [f"> {quoted(asked.text)}", ">", f"> should be: {quoted(asked.answer)}", ""]
        pairs = zip(result.answers, answers, strict=True)
        lines += [f"- {arm}: {quoted(answer)}" for arm, answer in pairs]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def quoted(text: str) -> str:
    """A text on one line, as code."""
    return f"`{' / '.join(text.replace('`', chr(39)).split(chr(10)))}`"


def not_run(measured: list[str]) -> str:
    """Which use cases have no figures yet, as a sentence; empty for none."""
    lacking = [name for name in names() if name not in measured]
    return f"Not run: {', '.join(lacking)}. " if lacking else ""


def percent(found: Interval) -> str:
    return f"{100 * found.value:.1f} % ({100 * found.lower:.1f} to {100 * found.upper:.1f})"


def points(found: Interval) -> str:
    return f"{100 * found.value:+.1f} points ({100 * found.lower:+.1f} to {100 * found.upper:+.1f})"


if __name__ == "__main__":
    main()
