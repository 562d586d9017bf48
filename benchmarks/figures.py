"""The few sums behind the figures: percentiles, and ratios between arms that ran interleaved."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def percentile(values: Sequence[float], fraction: float) -> float:
    """The nearest-rank percentile: the smallest value that ``fraction`` of all do not exceed.

    Raises:
        ValueError: there are no values, or ``fraction`` is not in (0, 1].
    """
    if not values or not 0 < fraction <= 1:
        raise ValueError(f"no percentile {fraction} of {len(values)} values")
    return sorted(values)[math.ceil(fraction * len(values)) - 1]


def ratios(upper: Sequence[float], lower: Sequence[float]) -> list[float]:
    """Each round's ratio: both arms of a round met the same machine."""
    return [a / b for a, b in zip(upper, lower, strict=True)]


def ratio_in_words(upper: Sequence[float], lower: Sequence[float]) -> str:
    """ "1.32 (1.20 to 1.41 over 5 rounds)": the median of the rounds' ratios and their range."""
    found = ratios(upper, lower)
    middle = f"{statistics.median(found):.2f}"
    if len(found) == 1:
        return f"{middle} (one round)"
    return f"{middle} ({min(found):.2f} to {max(found):.2f} over {len(found)} rounds)"


def milliseconds(seconds: Sequence[float]) -> str:
    """ "median 1.20 ms, p99 4.56 ms"."""
    return (
        f"median {1e3 * statistics.median(seconds):.2f} ms, "
        f"p99 {1e3 * percentile(seconds, 0.99):.2f} ms"
    )


def added(seconds: Sequence[float], without: Sequence[float]) -> str:
    """ "adds median 1.20 ms, p99 4.56 ms": the medians' difference, and the percentiles'."""
    middle = statistics.median(seconds) - statistics.median(without)
    tail = percentile(seconds, 0.99) - percentile(without, 0.99)
    return f"adds median {1e3 * middle:.2f} ms, p99 {1e3 * tail:.2f} ms"
