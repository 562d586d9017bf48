"""``make demo`` on a fresh state folder, with its figures written down.

python -m benchmarks.demo [--state-dir DIR] [options of 'pawl demo']
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from pawl.files import read_json
from refine.demo.page import is_promoted, percent, points
from refine.demo.run import RESULT

LIMIT_SECONDS = 40 * 60
RIGHT_FRACTION = 0.8


def missed_bars(result: dict[str, Any]) -> list[str]:
    """What fell short, in words; empty when every bar was met."""
    missed = []
    facts = list(result["facts"]["topics"].values())
    n_right = sum(fact["is_right"] for fact in facts)
    if n_right < RIGHT_FRACTION * len(facts):
        missed.append(f"{n_right} of {len(facts)} facts right, under {RIGHT_FRACTION:.0%}")
    if result["total_seconds"] > LIMIT_SECONDS:
        missed.append(f"{result['total_seconds']:.0f} s, over {LIMIT_SECONDS}")
    if not is_promoted(result):
        missed.append(f"the champion is still {result['champion_after']}")
    if result["engine_restarted"]:
        missed.append("the engine was restarted")
    verdict = result["night"]["verdict"]
    if not verdict:
        missed.append("no verdict")
    for row in verdict["benchmarks"] if verdict else ():
        if not row["passed"]:
            missed.append(f"{row['name']} was not shown to be within its margin")
    return missed


def figures_of(result: dict[str, Any]) -> dict[str, str]:
    """The demonstration's result in words."""
    facts, everyday = result["facts"], result["everyday"]
    low, high = facts["fixed_interval"]
    figures = {
        "facts fixed": f"{facts['n_fixed']} of {facts['n']} (95 % interval {percent(low)} to "
        f"{percent(high)}; bar {RIGHT_FRACTION:.0%})",
        "phrasings that no correction used": f"{facts['n_phrasings_right_before']} of "
        f"{facts['n_phrasings']} right before, {facts['n_phrasings_right']} after",
    }
    for name, topic in result["behaviours"]["topics"].items():
        figures[result["behaviour_titles"][name]] = (
            f"{topic['n_before']} of {topic['n']} well before, {topic['n_after']} after"
        )
    figures |= {
        "everyday questions": f"{everyday['n_right_before']} of {everyday['n']} right before, "
        f"{everyday['n_right']} after: {len(everyday['broken'])} newly broken, "
        f"{len(everyday['newly_right'])} newly right",
        "champion": f"{result['champion_before']} -> {result['champion_after']}, "
        + ("with a restart" if result["engine_restarted"] else "without a restart"),
        "time": f"{result['total_seconds']:.0f} s in all (bar {LIMIT_SECONDS}): "
        + ", ".join(f"{name} {seconds:.0f}" for name, seconds in result["steps"].items()),
        "the night's outcome": result["night"]["outcome"].replace("_", " "),
    }
    if result["night"]["seconds"]:
        figures["the night's steps"] = ", ".join(
            f"{name} {seconds:.0f} s" for name, seconds in result["night"]["seconds"].items()
        )
    verdict = result["night"]["verdict"]
    for row in verdict["benchmarks"] if verdict else ():
        figures[row["name"]] = (
            f"{percent(row['champion'])} -> {percent(row['challenger'])}, "
            f"{points(row['difference'])} points ({points(row['lower'])} to "
            f"{points(row['upper'])}), margin {points(-row['margin'])}, {row['n']} items"
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Runs 'pawl demo'; further options are passed on to it."
    )
    parser.add_argument("--state-dir", type=Path, help="left behind; default: a temporary folder")
    args, options = parser.parse_known_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="pawl-demo-") as folder:
        state_dir = args.state_dir or Path(folder) / "state"
        command = [sys.executable, "-m", "pawl.cli", "--state-dir", str(state_dir), "demo"]
        started = time.monotonic()
        code = subprocess.run([*command, *options], check=False).returncode
        result = read_json(state_dir / RESULT)
    if "unfinished" in result:
        raise SystemExit(f"pawl demo ended with code {code} before it had a result")
    result["total_seconds"] = time.monotonic() - started
    finish("demo", "make demo", figures_of(result), missed=missed_bars(result),
           note=f"Load at the start {load:.1f}.")  # fmt: skip


if __name__ == "__main__":
    main()
