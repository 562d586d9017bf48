"""``make bars``: every heavy bar in turn, each a command of its own with its output in a log.

    python -m benchmarks.bars [--only NAME ...] [--list] [--logs DIR]

A command that measured and fell short ends with code 3 (``measurements.MISSED``) and has written
so into ``docs/measurements.md``; any other code but 0 is a failure: nothing was measured. One bar's
failure does not stop the next. How each ended last time stands in the measurements too. The exit
code is 1 unless every bar passed.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.measurements import MISSED, record
from pawl.files import read_json, write_json
from pawl.server import interrupt

REPOSITORY = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 3 * 3600
STOP_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Bar:
    """One command, ``python -m benchmarks.<module> <arguments>``."""

    name: str
    what: str
    arguments: str = ""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.{self.name}", *shlex.split(self.arguments)]


# The quick ones first, so that a wrong installation shows early.
BARS = (
    Bar("help_seconds", "pawl --help under half a second, nothing heavy loaded"),
    Bar("first_chat", "the page within 10 s, the first chat within 90 s"),
    Bar("gateway", "the gateway against a bare pass-through and LiteLLM"),
    Bar("store_writes", "writes to the store against a commit for each row"),
    Bar("scoring", "scoring against lm_eval --model hf"),
    Bar("promotions_under_load", "20 promotions and rollbacks under 16 streams"),
    Bar("demo", "make demo: a made-up organisation's facts, learned in a night"),
    Bar("night", "a night with 100 corrections: time, memory, what is learned, replay kept"),
    Bar("real_data", "a night on real feedback, gated on the real benchmarks"),
    Bar("kills", "kill -9 of gateway and engine: nothing acknowledged is lost"),
    Bar("night_kills", "kill -9 of training and scoring: the next night goes on"),
)


def outcome_of(code: int | None) -> str:
    """passed, missed or failed; None is a command that ran out of time."""
    if code == 0:
        return "passed"
    return "missed" if code == MISSED else "failed"


def run_bar(bar: Bar, log_path: Path) -> tuple[str, float]:
    """Run it to its end; how it ended, and its seconds."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    began = time.monotonic()
    code: int | None = None
    with log_path.open("wb") as log:
        child = subprocess.Popen(bar.command, cwd=REPOSITORY, env=environment, stdout=log,
                                 stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)  # fmt: skip
        try:
            code = child.wait(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            log.write(f"\nended after {LIMIT_SECONDS} s\n".encode())
        finally:
            interrupt(child, STOP_SECONDS)  # stops the servers that it started
    return outcome_of(code), time.monotonic() - began


def remember(ended: Mapping[str, str], path: Path) -> dict[str, str]:
    """Add how bars ended to the file of all bars' last outcomes; the table of every bar."""
    known = (read_json(path) if path.exists() else {}) | dict(ended)
    write_json(path, known)
    return {f"{bar.name}: {bar.what}": known.get(bar.name, "not run") for bar in BARS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bars that were asked for; 0 when all of them passed."""
    names = [bar.name for bar in BARS]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--list", action="store_true", help="show the bars and their commands")
    parser.add_argument("--logs", type=Path, default=REPOSITORY / "build" / "bars")
    said = parser.parse_args(arguments)
    chosen = [bar for bar in BARS if not said.only or bar.name in said.only]
    if said.list:
        for bar in chosen:
            typed = " ".join(["python", *bar.command[1:]])
            print(f"{bar.name:<24}{bar.what}\n{'':<24}{typed}")
        return 0
    said.logs.mkdir(parents=True, exist_ok=True)
    ended: dict[str, str] = {}
    for bar in chosen:
        log_path = said.logs / f"{bar.name}.log"
        print(f"{bar.name}: {bar.what} ...", flush=True)
        outcome, seconds = run_bar(bar, log_path)
        ended[bar.name] = outcome
        print(f"{bar.name}: {outcome} in {seconds:,.0f} s; {log_path}", flush=True)
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    dated = {name: f"{outcome}, {today}" for name, outcome in ended.items()}
    table = remember(dated, said.logs / "outcomes.json")
    record("bars", "How every bar ended last", "python -m benchmarks.bars", table)
    print("\nSummary")
    for name, outcome in ended.items():
        print(f"  {outcome:<8}{name:<24}{said.logs / (name + '.log')}")
    n_passed = list(ended.values()).count("passed")
    print(f"{n_passed} of {len(ended)} bars passed; the figures are in docs/measurements.md")
    return 0 if n_passed == len(ended) else 1


if __name__ == "__main__":
    raise SystemExit(main())
