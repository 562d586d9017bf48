"""The use cases of this folder, run for real: a prompt, a few-shot prompt, fine-tuning.

python -m examples                        which there are
python -m examples sentiment              all of it, with the model that comes with Pawl
python -m examples sentiment --model OWNER/NAME --set n_epochs=3
python -m examples FOLDER                 one of your own (examples/use_case.py)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from evals.metrics import Classification
from examples.runner import Result, run
from examples.use_case import load, names
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.settings import DEFAULT_MODEL

WORK = Path(".pawl-examples")
N_SHOWN = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a use case and print its figures; 1 after an error that a user can mend."""
    parser = argparse.ArgumentParser(
        prog="python -m examples", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("name", nargs="?", help="of a use case, or a folder; none: lists them")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="the base, as in 'pawl up --model'")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a setting of train")  # fmt: skip
    parser.add_argument("--work", type=Path, default=WORK, help="kept answers and adapters")
    args = parser.parse_args(arguments)
    try:
        if args.name is None:
            for name in names():
                print(f"{name:<14}{load(name).description.title}")
            return 0
        case = load(args.name)
        options = settings_of(args.set)
        args.work.mkdir(parents=True, exist_ok=True)
        base = resolve_model(args.model, cache_dir=args.work, tell=tell)
        result = run(case, base, options, args.work.absolute(), tell)
    except PawlError as error:
        print(error, file=sys.stderr)
        return 1
    print(in_words(result))
    return 0


def tell(line: str) -> None:
    """Progress, beside the figures."""
    print(line, file=sys.stderr, flush=True)


def settings_of(assignments: Sequence[str]) -> dict[str, str]:
    """``["n_epochs=3"]`` as a mapping.

    Raises:
        PawlError: one has no equals sign.
    """
    for assignment in assignments:
        if "=" not in assignment:
            raise PawlError(f"--set {assignment}", "it is not of the form NAME=VALUE")
    return dict(assignment.split("=", 1) for assignment in assignments)


def in_words(result: Result) -> str:
    """The figures of all arms, the table of labels, a few answers."""
    case = result.case
    lines = [f"{case.description.title}: {len(case.train)} rows trained on, {len(case.test)} asked "
             f"of {result.base.name}; intervals of 95 %", ""]  # fmt: skip
    for arm, scores in result.scores.items():
        lines.append(f"{arm}:")
        for name, found in scores.figures.items():
            interval = f"({100 * found.lower:.1f} to {100 * found.upper:.1f})"
            lines.append(f"  {name:<40}{100 * found.value:5.1f} %  {interval}")
    for arm, found in result.gains.items():
        lines.append(f"{result.scores[arm].main}, fine-tuned minus {arm}: "
                     f"{100 * found.value:+.1f} points "
                     f"({100 * found.lower:+.1f} to {100 * found.upper:+.1f})")  # fmt: skip
    for arm, scores in result.scores.items():
        if scores.table is not None:
            lines += ["", f"{arm}: rows are right, columns are answered", *table(scores.table)]
    for i in range(min(N_SHOWN, len(case.test))):
        lines += ["", f"> {case.test[i].text}", f"  should be: {case.test[i].answer}"]
        lines += [f"  {arm}: {found[i]}" for arm, found in result.answers.items()]
    return "\n".join([*lines, "", f"adapter: {result.adapter_dir}"])


def table(found: Classification) -> list[str]:
    """A confusion matrix as lines of text."""
    columns = [*found.labels, "no label"]
    width = 2 + max(map(len, columns))
    head = "".join(f"{name:>{width}}" for name in ["", *columns])
    return [head] + [
        "".join(f"{cell:>{width}}" for cell in [name, *map(str, row)])
        for name, row in zip(found.labels, found.confusion, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
