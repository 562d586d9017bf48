"""``make demo`` on a fresh state folder, with its figures written down.

python -m benchmarks.demo [--items 1240] [--seed 0]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measurements import MISSED, record
from pawl.settings import load_settings

LIMIT_SECONDS = 900
FIXED_FRACTION = 0.8


def missed_bars(result: dict[str, Any]) -> list[str]:
    """What fell short, in words; empty when every bar was met."""
    missed = []
    fixed, met = result["n_faults_fixed"], result["n_faults_met"]
    if not met or fixed / met < FIXED_FRACTION:
        missed.append(f"{fixed} of {met} faults fixed, under {FIXED_FRACTION:.0%}")
    if result["total_seconds"] > LIMIT_SECONDS:
        missed.append(f"{result['total_seconds']:.0f} s, over {LIMIT_SECONDS}")
    if result["champion_after"] == result["champion_before"]:
        missed.append(f"the champion is still {result['champion_after']}")
    if result["engine_restarted"]:
        missed.append("the engine was restarted")
    verdict = result["verdict"]
    if not verdict:
        missed.append("no verdict")
    for one in verdict["benchmarks"] if verdict else ():
        if not one["passed"]:
            missed.append(f"{one['name']} was not shown to be within its margin")
    return missed


def figures_of(result: dict[str, Any]) -> dict[str, str]:
    """The demo's result in words."""
    low, high = result["faults_fixed_interval"]
    plow, phigh = result["phrasings_fixed_interval"]
    figures = {
        "faults fixed": f"{result['n_faults_fixed']} of {result['n_faults_met']} met "
        f"(95 % interval {low:.0%} to {high:.0%}; bar {FIXED_FRACTION:.0%})",
        "phrasings that no flag used, right now": f"{result['n_phrasings_fixed']} of "
        f"{result['n_phrasings']} ({plow:.0%} to {phigh:.0%})",
        "questions nobody complained about": f"{result['n_control']}, of which "
        f"{len(result['newly_broken'])} broke, {len(result['newly_right'])} became right",
        "champion": f"{result['champion_before']} -> {result['champion_after']}, "
        + ("with a restart" if result["engine_restarted"] else "without a restart"),
        "seconds": f"{result['total_seconds']:.0f} in all (bar {LIMIT_SECONDS}), the night "
        f"{result['night_seconds']:.0f}",
    }
    verdict = result["verdict"]
    if verdict:
        figures["verdict"] = verdict["outcome"].replace("_", " ")
        for one in verdict["benchmarks"]:
            figures[one["name"]] = (
                f"{one['champion']:.3f} -> {one['challenger']:.3f}, difference "
                f"{one['difference']:+.3f} [{one['lower']:+.3f}, {one['upper']:+.3f}], margin "
                f"{one['margin']:.2f}, {one['n']} items"
            )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=1240, help="random items per benchmark")
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    from refine.demo import run_demo

    with tempfile.TemporaryDirectory(prefix="pawl-demo-") as folder:
        result = run_demo(
            load_settings({"state_dir": Path(folder)}), n_items=said.items, seed=said.seed
        )
    missed = missed_bars(result)
    record("demo", "make demo", f"python -m benchmarks.demo --items {said.items}",
           figures_of(result), note=f"Missed: {'; '.join(missed)}." if missed else "")  # fmt: skip
    if missed:
        print(f"Missed: {'; '.join(missed)}.")
        raise SystemExit(MISSED)


if __name__ == "__main__":
    main()
