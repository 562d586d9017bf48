"""Simulated years of schedules: does each due time run once, or say why not?

    python -m benchmarks.schedule

The real scheduler and its log on a clock of the benchmark's own: three time zones, a year a seed,
with both changes of the clocks, downtimes of hours and days, kills, crashes, nights that run into
the next due time, other nights, quiet hours and nights that find too few rows. A year is a test,
too (``tests/pawl/test_schedule.py``).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.measurements import finish
from tests.pawl.simulated_schedule import PLACES, simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=5, help="of each time zone")
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    figures: dict[str, object] = {}
    missed: list[str] = []
    started = time.perf_counter()
    for zone, quiet in PLACES:
        outcomes: Counter[str] = Counter()
        for seed in range(args.years):
            with tempfile.TemporaryDirectory(prefix="pawl-schedule-") as folder:
                found = simulate(Path(folder), zone, quiet, seed)
            outcomes += found.outcomes
            missed += [f"{zone}, year {seed}: {problem}" for problem in found.problems]
        told = ", ".join(f"{name} {n:,}" for name, n in outcomes.most_common())
        figures[f"{zone}, {args.years} years"] = f"{outcomes.total():,} due times: {told}"
    figures["due times without one outcome and its reason, or met twice"] = len(missed)
    figures["time"] = f"{(time.perf_counter() - started) / (3 * args.years):.2f} s a year"
    finish("schedule", "Simulated years of schedules", figures, missed=missed,
           keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
