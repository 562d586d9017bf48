"""Tests by betting keep their level however often one looks, and stop early."""

from __future__ import annotations

import math

import numpy as np

from evals.sequential import first_rejection, log_stakes


def items(rng: np.random.Generator, n: int, loss: float, flips: float = 0.06) -> list[float]:
    """All items of a benchmark, whose mean is exactly minus ``loss``, in a random order."""
    n_lost, n_won = round(n * (flips + loss) / 2), round(n * (flips - loss) / 2)
    values = [-1.0] * n_lost + [1.0] * n_won + [0.0] * (n - n_lost - n_won)
    return list(rng.permutation(values))


def test_a_loss_as_large_as_the_margin_is_rarely_let_through() -> None:
    rng = np.random.default_rng(0)
    passed = [first_rejection(items(rng, 2000, 0.03), -0.03, 2000, 0.05) for _ in range(200)]
    assert sum(one is not None for one in passed) <= 10 + 6  # 5 %, and two standard errors


def test_no_loss_is_shown_by_a_fraction_of_the_items() -> None:
    rng = np.random.default_rng(1)
    found = [first_rejection(items(rng, 5000, 0.0), -0.03, 5000, 0.05) for _ in range(50)]
    needed = [one if one is not None else math.inf for one in found]
    assert np.median(needed) < 1000


def test_what_was_seen_decides_when_little_is_left() -> None:
    """Without replacement: 90 of 100 items without a loss leave too few to lose 20 points by."""
    assert log_stakes([0.0] * 90, -0.2, 100)[-1] == math.inf
    assert first_rejection([-1.0] * 100, -0.2, 100, 0.05) is None
