"""Stopping a benchmark early without changing one's mind: tests by betting, valid at every look.

The items of a benchmark come in a random order. A gambler bets on each item's difference before
it is seen, in a game that is fair or worse if the null hypothesis holds; then the chance that the
stake is ever multiplied by 1 / alpha is at most alpha (Ville 1939), so one may look after every
item and stop when that has happened. The bets and the correction for drawing without replacement
are those of Waudby-Smith and Ramdas 2024 (*Estimating means of bounded random variables by
betting*, JRSS B 86, sections 4 and 5.2; arXiv 2010.09686), with their approximate growth-rate-
adaptive bet (appendix B.3).

What is tested is the benchmark's own mean over all its items, so clusters among them need no
allowance: the random order alone makes the test valid. Of the libraries, ``confseq`` has had no
release since 2023, ``ville`` is at its first and ``expectation`` below 1; the formulas are short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

State = Literal["open", "no worse", "lost"]

MOST_BET = 0.5  # of what may be lost on one item: the stake never falls below half by one item


def log_stakes(differences: Sequence[float], mean: float, n_items: int) -> list[float]:
    """The logarithm of the stake after each item of a bet that the mean is above ``mean``.

    At or above ``log(1 / alpha)`` at any time, *the mean of all items is at most* ``mean`` is
    rejected at alpha.

    Args:
        differences: challenger minus champion, in [-1, 1], in their random order.
        mean: of the null hypothesis, in (-1, 1): minus the margin for non-inferiority.
        n_items: of the whole benchmark, from which the items are drawn without replacement.
    """
    null = (1 + mean) / 2  # all on a scale of [0, 1]
    # Pseudo-observations: half an item at the null, and a variance of 1/4 seen on one item.
    total, squares, weight = null, 0.25, 1.0
    seen, stake = 0.0, 0.0
    stakes = []
    for t, difference in enumerate(differences):
        x = (1 + difference) / 2
        left = (n_items * null - seen) / (n_items - t)  # mean of what is left under the null
        if left <= 0:  # what was seen is already more than the null allows in all
            stake = math.inf if x > 0 or left < 0 else stake
        else:
            average, variance = total / weight, squares / weight
            ahead = average - left
            bet = ahead / (variance + ahead * ahead) if ahead > 0 else 0.0
            stake += math.log1p(min(bet, MOST_BET / left) * (x - left))
        stakes.append(stake)
        before = total / weight
        total, weight, seen = total + x, weight + 1, seen + x
        squares += (x - before) * (x - total / weight)
    return stakes


def first_rejection(
    differences: Sequence[float], mean: float, n_items: int, alpha: float
) -> int | None:
    """After how many items *the mean is at most* ``mean`` was rejected first; None: never."""
    stakes = np.asarray(log_stakes(differences, mean, n_items))
    hits = np.flatnonzero(stakes >= math.log(1 / alpha))
    return int(hits[0]) + 1 if len(hits) else None


def state_of(
    differences: Sequence[float], n_items: int, *, margin: float, alpha: float, n_benchmarks: int
) -> State:
    """What the items of one benchmark have shown so far.

    ``no worse``: a loss of ``margin`` is ruled out at ``alpha``. ``lost``: a loss was shown, at
    ``alpha`` over all benchmarks (Bonferroni), before the former. What was shown once stays shown:
    the first of the two to be reached counts, however often one looks and whatever comes later.
    """
    passed = first_rejection(differences, -margin, n_items, alpha)
    lost = first_rejection([-one for one in differences], 0.0, n_items, alpha / n_benchmarks)
    if passed is not None and (lost is None or passed <= lost):
        return "no worse"
    return "lost" if lost is not None else "open"
