"""Stopping a benchmark early without changing one's mind: tests by betting, valid at every look.

The items of a benchmark come in a random order. A gambler bets on each item's difference before it
is seen, in a game that is fair or worse if the null hypothesis holds; then the chance that the
stake is ever multiplied by 1 / alpha is at most alpha (Ville 1939), so one may look after every
item and stop when that has happened. The bets are those of Waudby-Smith and Ramdas 2024
(*Estimating means of bounded random variables by betting*, JRSS B 86, section 4; arXiv 2010.09686),
with their approximate growth-rate-adaptive bet (appendix B.3).

Their correction for drawing without replacement (section 5) is left out. With it the mean of the
benchmark's own items is tested, which is known without an error once all are scored: 3 of 24 items
lost were a loss with p = 0, and a true loss of the margin passed every second time. A benchmark
stands for what else could be asked, as it does in the test of all items.

Of the libraries, ``confseq`` has had no release since 2023, ``ville`` is at its first and
``expectation`` below 1; the formulas are short.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from evals.statistics import difference_interval, p_above
from pawl.schemas import ItemScore

State = Literal["open", "no worse", "lost"]

EARLY_SHARE = 0.4  # of alpha
FIRST_LOOK, LOOK_EVERY = 100, 50  # items of a benchmark: before the first look, and between two
MOST_BET = 0.5  # of what may be lost on one item: the stake never falls below half by one item


def log_stakes(differences: Sequence[float], mean: float) -> list[float]:
    """The logarithm of the stake after each item of a bet that the mean is above ``mean``.

    At or above ``log(1 / alpha)`` at any time, *the mean is at most* ``mean`` is rejected at alpha.

    Args:
        differences: challenger minus champion, in [-1, 1], in their random order.
        mean: of the null hypothesis, in (-1, 1): minus the margin for non-inferiority.
    """
    null = (1 + mean) / 2  # all on a scale of [0, 1]
    # Pseudo-observations: half an item at the null, and a variance of 1/4 seen on one item.
    total, squares, weight, stake = null, 0.25, 1.0, 0.0
    stakes = []
    for difference in differences:
        x, before = (1 + difference) / 2, total / weight
        ahead = before - null
        bet = ahead / (squares / weight + ahead * ahead) if ahead > 0 else 0.0
        stake += math.log1p(min(bet, MOST_BET / null) * (x - null))
        stakes.append(stake)
        total, weight = total + x, weight + 1
        squares += (x - before) * (x - total / weight)
    return stakes


def first_rejection(differences: Sequence[float], mean: float, alpha: float) -> int | None:
    """After how many items *the mean is at most* ``mean`` was rejected first; None: never."""
    stakes = np.asarray(log_stakes(differences, mean))
    hits = np.flatnonzero(stakes >= math.log(1 / alpha))
    return int(hits[0]) + 1 if len(hits) else None


def early_p(
    differences: Sequence[float], mean: float, clusters: Sequence[str] | None = None
) -> float:
    """The p-value that the mean is above ``mean``, valid whenever one looks: what was shown once
    stays shown, whatever comes later.

    Items of a cluster tend to flip together, so the later ones are known beforehand: of clusters
    of three that flip alike 5 % of benchmarks with a true loss of the margin passed at a level of
    2 %, of ten 19 %. Where items have clusters the cluster-robust test must say so too, after 100,
    200, 400, ... items, and p is doubled: 2.2 % and 2.0 % (simulated, 1,500 benchmarks of 1,000
    items each). One bet a cluster would be exact, and could never show anything by MMLU's 57
    subjects.

    Args:
        clusters: of each item; None: each item is its own.
    """
    stakes = np.maximum.accumulate([0.0, *log_stakes(differences, mean)])
    if clusters is None:
        return math.exp(-float(stakes[-1]))
    p, n = 1.0, FIRST_LOOK
    while n <= len(differences):
        estimate = difference_interval(differences[:n], clusters[:n], alpha=0.05)
        p = min(p, 2 * max(math.exp(-float(stakes[n])), p_above(estimate, mean)))
        n *= 2
    return p


def clusters_of(items: Sequence[ItemScore]) -> list[str] | None:
    """For ``early_p``: the items' clusters, where their benchmark has any."""
    has_any = any(item.cluster != item.item_id for item in items)
    return [item.cluster for item in items] if has_any else None


def can_end_early(n_drawn: int) -> bool:
    """Whether a benchmark of so many items may be looked at before all are scored. One that comes
    in a single round has its test of all items alone, at the whole level."""
    return n_drawn > FIRST_LOOK


@dataclass(frozen=True, slots=True)
class Reference:
    """A model that the challenger is compared with: its scores by (benchmark, item), and the loss
    that is allowed against it."""

    scores: dict[tuple[str, str], float | None]
    margin: float
    margins: dict[str, float] = field(default_factory=dict)

    def margin_of(self, benchmark: str) -> float:
        return self.margins.get(benchmark, self.margin)


@dataclass(frozen=True, slots=True)
class Watch:
    """When a benchmark needs no more items: against each reference a loss of the margin is ruled
    out, or any loss is shown (Bonferroni over ``n_benchmarks``). In the latter case the challenger
    is rejected whatever the others say, so all of them need no more.

    ``EARLY_SHARE`` of ``alpha`` pays for this; the rest is for the test of all items at the end.
    """

    references: tuple[Reference, ...]
    alpha: float
    n_benchmarks: int

    def look(self, benchmark: str, items: Sequence[ItemScore]) -> State:
        """``items``: those of the challenger so far, in their order. One without a score leaves the
        benchmark open: there will be no verdict. So does one that can't end early."""
        if items and not can_end_early(items[0].detail.get("drawn", math.inf)):
            return "open"
        level, passed = self.alpha * EARLY_SHARE, 0
        for reference in self.references:
            differences = []
            for item in items:
                before = reference.scores.get((benchmark, item.item_id))
                if before is None or item.score is None:
                    return "open"
                differences.append(item.score - before)
            clusters, opposite = clusters_of(items), [-one for one in differences]
            if early_p(differences, -reference.margin_of(benchmark), clusters) <= level:
                passed += 1
            elif early_p(opposite, 0.0, clusters) <= level / self.n_benchmarks:
                return "lost"
        return "no worse" if passed == len(self.references) else "open"
