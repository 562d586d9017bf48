"""Paired statistics for a gate: intervals, non-inferiority, Holm, an exact test for few items.

All differences are challenger minus champion, in fractions (0.01 is one point).

Sources: paired differences and standard errors clustered by question group, Miller 2024 (*Adding
error bars to evals*, arXiv 2411.00640); t with clusters - 1 degrees of freedom where clusters are
few, Cameron and Miller 2015 (*A practitioner's guide to cluster-robust inference*); two
pseudo-items, Bonett and Price 2012 (*Adjusted Wald confidence interval for a difference of
binomial proportions based on paired data*); step-down correction, Holm 1979; permutation p-values
with the one added, Phipson and Smyth 2010.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_EXACT_CLUSTERS = 16  # 2**16 sign patterns are enumerated; above, they are drawn
N_PERMUTATIONS = 100_000
CHUNK_SIGNS = 4_000_000  # signs drawn at a time: 32 MB as float64

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its standard error and the interval from one-sided bounds at ``alpha`` each."""

    value: float
    center: float  # of the interval: the mean with the two pseudo-items
    standard_error: float
    degrees: float
    lower: float
    upper: float


def mean_interval(values: Sequence[float], clusters: Sequence[str], *, alpha: float) -> Estimate:
    """Mean of scores in [0, 1] with a cluster-robust interval, kept inside [0, 1].

    Two pseudo-items, one right and one wrong, keep a set of equal scores from having no width
    (Agresti and Coull 1998 add two of each for 95 %; one of each is enough for wide sets and shifts
    less). ``value`` is the plain mean.
    """
    return _estimate(values, clusters, (0.0, 1.0), alpha)


def difference_interval(
    differences: Sequence[float], clusters: Sequence[str], *, alpha: float
) -> Estimate:
    """Mean paired difference with a cluster-robust interval, kept inside [-1, 1].

    Two pseudo-items, one with +1 and one with -1, are added before the standard error is taken
    (Bonett and Price 2012). Without them twenty items without a flip would have an error of zero
    and would prove anything. ``value`` is the plain mean; the interval is centred on the mean with
    the pseudo-items, which is nearer to zero by a factor n / (n + 2).
    """
    return _estimate(differences, clusters, (-1.0, 1.0), alpha)


def _estimate(
    scores: Sequence[float], clusters: Sequence[str], pseudo: tuple[float, float], alpha: float
) -> Estimate:
    """``pseudo`` are the two pseudo-items, which are also the bounds of the interval."""
    from scipy.stats import t

    if not scores:
        return Estimate(math.nan, math.nan, math.nan, 0.0, math.nan, math.nan)
    values = np.asarray(scores, dtype=np.float64)
    n = len(values) + 2
    _, index = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    n_clusters = int(index.max()) + 1
    center = (float(values.sum()) + sum(pseudo)) / n
    sums = np.bincount(index, weights=values - center)
    squares = float((sums**2).sum()) + sum((x - center) ** 2 for x in pseudo)
    independent = float(((values - center) ** 2).sum()) + sum((x - center) ** 2 for x in pseudo)
    if n_clusters > 1:
        squares *= n_clusters / (n_clusters - 1)
    # Subjects can offset each other by chance and make the clustered sum too small, the more so
    # the fewer they are; the independent one is then the honest floor.
    error = math.sqrt(max(squares, independent)) / n
    degrees = float(max(1, n_clusters - 1))
    width = float(t.ppf(1 - alpha, degrees)) * error
    return Estimate(
        float(values.mean()),
        center,
        error,
        degrees,
        max(pseudo[0], center - width),
        min(pseudo[1], center + width),
    )


def p_above(estimate: Estimate, threshold: float) -> float:
    """One-sided p-value of *the true difference is above* ``threshold``.

    Consistent with the interval: it is at most alpha exactly when ``lower`` at alpha is at or above
    the threshold. Non-inferiority at margin m is ``p_above(estimate, -m)``.
    """
    from scipy.stats import t

    if math.isnan(estimate.standard_error):
        return math.nan
    return float(t.sf((estimate.center - threshold) / estimate.standard_error, estimate.degrees))


def p_below(estimate: Estimate, threshold: float) -> float:
    """One-sided p-value of *the true difference is below* ``threshold``."""
    return 1.0 - p_above(estimate, threshold)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values: comparing each with alpha keeps the chance of any false claim
    at or below alpha."""
    m = len(p_values)
    adjusted = [0.0] * m
    largest = 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (m - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def cluster_sums(differences: Sequence[float], clusters: Sequence[str]) -> Floats:
    """Sum of the differences in each cluster, clusters in the order of their names."""
    _, index = np.unique(np.asarray(clusters, dtype=np.str_), return_inverse=True)
    weights = np.asarray(differences, dtype=np.float64)
    return np.bincount(index, weights=weights).astype(np.float64)


def sign_flip_p(sums: Floats, *, seed: int = 0, shrink: float = 1.0) -> float:
    """One-sided p-value that the sums are above zero, by flipping their signs.

    If champion and challenger were exchangeable, each cluster's sum would have had either sign with
    equal chance. Every pattern of signs is tried for up to 16 non-zero sums (an exact test, right
    for any number of items), else 100,000 are drawn. Zeros say nothing and drop out; with none left
    the p-value is 1. ``shrink``: the share of what was observed that counts (``Clusters.p_above``).

    100,000 draws end at 1e-5; below that Hoeffding's inequality bounds the exact p-value (sums with
    random signs, 1963).
    """
    sums = sums[np.abs(sums) > 1e-12]
    k = len(sums)
    if k == 0:
        return 1.0
    observed = shrink * float(sums.sum()) - 1e-9  # ties count as at least as extreme
    if k <= MAX_EXACT_CLUSTERS:
        patterns = (np.arange(2**k)[:, None] >> np.arange(k)) & 1
        totals = (1.0 - 2.0 * patterns) @ sums
        return float((totals >= observed).mean())
    generator = np.random.default_rng(seed)
    n_extreme, n_left = 0, N_PERMUTATIONS
    while n_left:
        n = min(n_left, max(1, CHUNK_SIGNS // k))
        signs = generator.integers(0, 2, size=(n, k), dtype=np.int8)
        n_extreme += int(((1.0 - 2.0 * signs) @ sums >= observed).sum())
        n_left -= n
    bound = math.exp(-(max(0.0, observed) ** 2) / (2 * float(sums @ sums)))
    return min((n_extreme + 1) / (N_PERMUTATIONS + 1), bound)


def fewest_clusters(alpha: float) -> int:
    """How many clusters must change, all for the better, before the sign-flip test can reach
    ``alpha``: 5 for 0.05, because 1 / 2**5 is the smallest p-value of five."""
    return math.ceil(-math.log2(alpha))


def fewest_items(margin: float, alpha: float) -> int:
    """Items below which even no flip at all proves nothing: a true loss of ``margin`` goes unseen
    in n items with probability (1 - margin)**n. 99 for 0.03 at 0.05, 149 for 0.02."""
    return math.ceil(math.log(alpha) / math.log(1 - margin))


def quantiles(alpha: float, power: float = 0.8) -> float:
    """How many standard errors a true effect must measure for a one-sided test at ``alpha`` to
    find it with this power: 2.49 for 0.05 and 0.8."""
    from scipy.stats import norm

    return float(norm.ppf(1 - alpha) + norm.ppf(power))


def items_needed(
    estimate: Estimate, n: int, *, margin: float, alpha: float, power: float = 0.8
) -> int | None:
    """Items at which non-inferiority would be shown with this power, going on as observed.

    None when the observed loss is at or beyond the margin: more items would not help it.
    """
    slack = estimate.value + margin
    if slack <= 0 or math.isnan(slack):
        return None
    spread = estimate.standard_error * math.sqrt(n)
    needed = math.ceil((quantiles(alpha, power) * spread / slack) ** 2)
    return max(n + 1, fewest_items(margin, alpha), needed)


def chance_level(scores: Sequence[float], n_choices: Sequence[int]) -> float | None:
    """What guessing scores: the mean of 1/k over items of k choices.

    None where there is no such level: no items, or scores that are not right or wrong but shares
    of probability (TruthfulQA mc2).
    """
    if not scores or any(score not in (0.0, 1.0) for score in scores):
        return None
    return sum(1 / n for n in n_choices) / len(n_choices)


def is_at_chance(mean: Estimate, chance: float | None) -> bool:
    """Whether a score can't be told from guessing: its interval includes the chance level.

    Such a benchmark neither shows knowledge nor a loss of it. Lettered MMLU is at chance for
    models below about a billion parameters.
    """
    return chance is not None and mean.lower <= chance <= mean.upper


# ---- people's prompts: the challenger against placebos, and alpha over nights ----

# How slowly the levels of later attempts fall: see alpha_of_attempt.
SPENDING_DELAY = 4


def alpha_of_attempt(attempt: int, alpha: float) -> float:
    """The level of the ``attempt``-th look (from 1) since the last promotion.

    ``alpha * (m + 1) / ((attempt + m) * (attempt + m + 1))`` with ``m = SPENDING_DELAY``. These
    add up to ``alpha`` over all attempts, so the chance of even one wrong promotion between two
    promotions is at most ``alpha``, however many nights there are and however much the attempts
    depend on each other (Bonferroni; alpha spending, Lan and DeMets 1983; a promotion earns alpha
    anew, Foster and Stine 2008, *Alpha-investing*). The sum telescopes: after n attempts
    ``alpha_left`` remains. ``m = 0`` would give half of alpha to the first attempt and 0.1 % of it
    to the 30th; 4 was the smallest at which ``benchmarks/gate.py`` finds a true fix on the 30th.
    """
    place = attempt + SPENDING_DELAY
    return alpha * (SPENDING_DELAY + 1) / (place * (place + 1))


def alpha_left(n_attempts: int, alpha: float) -> float:
    """What is left for all later attempts together after ``n_attempts`` looks."""
    return alpha * (SPENDING_DELAY + 1) / (n_attempts + SPENDING_DELAY + 1)


# 30 idle nights on adapters of noise that were scored on a real model promoted wrongly in 6.7 % of
# 3,000 simulated runs without it; a true fix loses 1 to 3 points of power at the 30th look.
WIDENED = 1.15


def placebo_p(challenger: float, placebos: Sequence[float], least_spread: float = 0.0) -> float:
    """One-sided p-value that the challenger's statistic is above those of random changes.

    If the challenger were one more random change, its statistic T and those of the K placebos
    would be exchangeable. A rank among so few can't reach a small level (1 / (K + 1) at best), so
    the placebos give their mean (the bias of the prompts' choice) and their spread s instead:
    ``t = (T - mean) / (s * sqrt(1 + 1 / K))`` with K - 1 degrees of freedom, the test of one case
    against a small sample of controls (Crawford and Howell 1998, *Comparing an individual's test
    score against norms derived from small samples*; the prediction interval for one further
    observation). Few placebos can be alike by chance, above all where few answers flip, so s is at
    least ``least_spread``, what independent prompts alone would give; without it 30 idle nights
    promoted wrongly in 11 % of 100 simulated runs (``benchmarks/gate.py``), not in 5 %. Gains have
    heavier tails than the t distribution (adapters differ in how many answers they flip), so the
    error is ``WIDENED``. 1.0 with fewer than two placebos. No spread at all gives 0 or 1 by the
    sign of the difference.
    """
    from scipy.stats import t

    k = len(placebos)
    if k < 2:
        return 1.0
    values = np.asarray(placebos, dtype=np.float64)
    above = challenger - float(values.mean())
    error = WIDENED * max(float(values.std(ddof=1)), least_spread) * math.sqrt(1 + 1 / k)
    if error < 1e-12:
        return 0.0 if above > 1e-12 else 1.0
    return float(t.sf(above / error, k - 1))


def capped_weights(raters: Sequence[str], cap: float) -> list[float]:
    """A weight in (0, 1] for each prompt so that no rater has more than ``cap`` of the whole.

    Where there are fewer than 1 / cap raters there is no cap: equal shares would give one prompt of
    the one as much weight as forty of the other. The weights of all prompts of a rater are the
    same; those of raters below the cap are 1.
    """
    counts: dict[str, int] = {}
    for rater in raters:
        counts[rater] = counts.get(rater, 0) + 1
    if len(counts) < 1 / cap - 1e-9:
        return [1.0] * len(raters)
    # Raters over the cap, the largest first: each gets the same total c, with
    # c = cap * (m * c + the rest), so c = cap * rest / (1 - m * cap).
    sizes = sorted(counts.values(), reverse=True)
    total = float(sizes[0])
    for m in range(len(sizes)):
        rest = float(sum(sizes[m:]))
        ceiling = cap * rest / (1 - m * cap) if m * cap < 1 - 1e-9 else float(sizes[m])
        if sizes[m] <= ceiling + 1e-9:
            total = ceiling
            break
        total = float(sizes[m])
    return [min(1.0, total / counts[rater]) for rater in raters]
