"""People's prompts as evidence: is the challenger better there than chance, bias and noise explain?

A flagged prompt was chosen *because* a version got it wrong, so any change of the model has a head
start on it. Three things take that away:

- **Controls**, prompts that nobody flagged and answers that people liked, stand beside the flagged
  prompts at their rate in traffic (``prompt_weights``). What counts is fixed minus
  broken.
- **Placebos**, random changes of the champion as large in each layer as the challenger is, are
  scored on the same prompts, and the challenger must beat them.
- **Clusters and caps**: prompts of one conversation, or nearly the same, count as one, those of one
  rater too where there are many raters (``Clusters``); no rater has more than a capped share.

The score of a flagged prompt has degrees: the change of its *margin* (log-probability per token of
the correction minus that of the flagged answer, nats, challenger minus champion, no more than the
correction itself gained, cut at one nat either way) plus fixed minus broken (does the answer at
temperature 0 say what it should: +1, 0, -1). A control has the second part alone: its own wording
becoming a little less likely is what any change does, and harms nobody.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from evals.statistics import (
    Floats,
    capped_weights,
    cluster_sums,
    placebo_p,
    sign_flip_p,
)

MAX_STEP = 1.0  # nats a token: one prompt's margin counts no more than a fix
RATER_CAP = 0.1  # of the weight of all prompts of a kind
MOST_CONTROLS = 2.0  # as far as benchmarks.gate has simulated
MIN_RATERS = 20  # from here on raters are clusters too: fewer could show nothing at a small level


@dataclass(frozen=True, slots=True)
class Changes:
    """What one changed model did on the prompts, against the champion.

    ``margins``: change of the margin, nats a token (0 for controls). ``matches``: +1 fixed,
    -1 broken, else 0.
    """

    margins: Floats
    matches: Floats

    def scores(self) -> Floats:
        return np.clip(self.margins, -MAX_STEP, MAX_STEP) + self.matches


@dataclass(frozen=True, slots=True)
class Clusters:
    """Which prompts hang together, in each of the ways in which they do.

    ``ways``: by conversation, by question, by rater: the cluster of each prompt. Ways can cross (a
    rater has several questions, a question several raters). Joining what is linked in any of them
    leaves one way, whose test is exact; but the more people speak, the sooner it ends in a single
    cluster. Kept apart, each way is tested, and the spread counts what hangs together in all of
    them. ``of`` takes what shows more if all prompts improve alike, whatever the scores are. A way
    that lies within another one is left out.
    """

    ways: tuple[tuple[str, ...], ...]

    @classmethod
    def of(
        cls,
        conversations: Sequence[str],
        questions: Sequence[Sequence[str]],
        raters: Sequence[str],
        n_flagged: int,
    ) -> Clusters:
        """``questions``: of each prompt its own key, and its near-duplicates' where it has some.
        Raters are a way where ``MIN_RATERS`` or more flagged some of the first ``n_flagged``: who
        only chatted says nothing about how few flag."""
        ways = [tuple(conversations), _joined(questions)]
        if len(set(raters[:n_flagged])) >= MIN_RATERS:
            ways.append(tuple(raters))
        kept: list[tuple[str, ...]] = []
        for i, way in enumerate(ways):
            others = [*kept, *ways[i + 1 :]]
            if not any(_is_within(way, other) for other in others):
                kept.append(way)
        crossed = cls(tuple(kept))
        if len(kept) < 2:
            return crossed
        joined = _joined([[f"{n} {way[i]}" for n, way in enumerate(kept)]
                          for i in range(len(raters))])  # fmt: skip
        best_crossed = _p_normal(len(raters), crossed.squares(np.ones(len(raters)))[1])
        return cls((joined,)) if 0.5 ** len(set(joined)) <= best_crossed else crossed

    def first(self, n: int) -> Clusters:
        """Those of the first ``n`` prompts."""
        return Clusters(tuple(way[:n] for way in self.ways))

    def squares(self, values: Floats) -> tuple[float, float]:
        """The variance of the sum of ``values`` with mean zero: by the way that gives the most, and
        by all ways together, which is no less (inclusion and exclusion over the ways and their
        intersections: Cameron, Gelbach and Miller 2011, *Robust inference with multiway
        clustering*)."""
        most = together = 0.0
        for n in range(1, len(self.ways) + 1):
            for chosen in combinations(self.ways, n):
                cells = list(map("\0".join, zip(*chosen, strict=True)))
                square = float((cluster_sums(values.tolist(), cells) ** 2).sum())
                together += square if n % 2 else -square
                most = max(most, square) if n == 1 else most
        return most, max(most, together)

    def p_above(self, values: Floats) -> float:
        """The p-value that the sum is above zero: the largest of the ways, their signs flipped by
        cluster. Where ways cross, the sum first shrinks by as much as they add to the spread: each
        alone would take the others' dependence for evidence. The flips of a few uneven clusters
        have a thinner tail than such a sum, so the normal one bounds them."""
        most, together = self.squares(values)
        shrink = math.sqrt(most / together) if together > 0 else 1.0
        sums = [cluster_sums(values.tolist(), way) for way in self.ways]
        p = max(sign_flip_p(one, shrink=shrink) for one in sums)
        return max(p, _p_normal(float(values.sum()), together)) if len(self.ways) > 1 else p

    def count(self) -> int:
        """How many independent clusters the prompts are worth: where ways cross, so many as alike
        and independent ones would have the same spread."""
        if not self.ways or not self.ways[0]:
            return 0
        if len(self.ways) == 1:
            return len(set(self.ways[0]))
        n_prompts = len(self.ways[0])
        return int(n_prompts**2 / self.squares(np.ones(n_prompts))[1] + 1e-9)


def _p_normal(total: float, variance: float) -> float:
    """The p-value that a normal sum is above zero; 1 without a variance."""
    return math.erfc(total / math.sqrt(2 * variance)) / 2 if variance > 0 else 1.0


def _is_within(way: Sequence[str], other: Sequence[str]) -> bool:
    """Whether each cluster of ``way`` lies in one of ``other``."""
    return len(set(zip(way, other, strict=True))) == len(set(way))


def _joined(groups: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """The cluster of each prompt, where those that share any name of theirs are one."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            parents[name] = parents[parents[name]]
            name = parents[name]
        return name

    for names in groups:
        for name in names[1:]:
            parents[root(name)] = root(names[0])
    return tuple(root(names[0]) for names in groups)


@dataclass(frozen=True, slots=True)
class PeopleTest:
    """Figures of the test. ``gain``: weighted mean score of the challenger, ``placebo_gains`` of
    each placebo; ``p_better``: better than the champion, over clusters; ``p_worse``: the reverse;
    ``p_placebo``: above the placebos."""

    gain: float
    placebo_gains: tuple[float, ...]
    p_better: float
    p_worse: float
    p_placebo: float

    @property
    def p(self) -> float:
        """Both must be shown, so the larger counts (intersection-union, Berger 1982)."""
        return max(self.p_better, self.p_placebo)


def people_test(
    challenger: Changes, placebos: Sequence[Changes], clusters: Clusters, weights: Floats
) -> PeopleTest:
    """Compare the challenger with the champion and with random changes on the same prompts.

    Against the champion: the weighted scores, summed by cluster, flipped in sign. Of the margin's
    change the placebos' mean is taken off first, prompt by prompt, because any change moves it; of
    fixed and broken answers nothing is, because people see those.

    Args:
        weights: of each prompt, above 0 (``prompt_weights``).
    """
    usual = np.zeros_like(challenger.margins)
    if placebos:
        usual = np.mean([np.clip(p.margins, -MAX_STEP, MAX_STEP) for p in placebos], axis=0)
    values = weights * (challenger.scores() - usual)
    total = float(weights.sum())
    gain = float(weights @ challenger.scores()) / total
    gains, p_placebo = against_placebos(gain, placebos, clusters, weights)
    return PeopleTest(
        gain=gain,
        placebo_gains=gains,
        p_better=clusters.p_above(values),
        p_worse=clusters.p_above(-values) if values.sum() < 0 else 1.0,  # above 1/2 in any case
        p_placebo=p_placebo,
    )


def against_placebos(
    gain: float, placebos: Sequence[Changes], clusters: Clusters, weights: Floats
) -> tuple[tuple[float, ...], float]:
    """The gain of each placebo, and the p-value that the challenger's is above theirs."""
    total = float(weights.sum())
    gains = tuple(float(weights @ one.scores()) / total for one in placebos)
    # What the spread of gains would be if prompts were all that differed: by cluster, as always.
    squares = [
        clusters.squares(weights * (one.scores() - mean))[1]
        for one, mean in zip(placebos, gains, strict=True)
    ]
    least = math.sqrt(sum(squares) / len(squares)) / total if squares else 0.0
    return gains, placebo_p(gain, gains, least)


def pass_rate(
    placebos: Sequence[Changes], clusters: Clusters, weights: Floats, alpha: float
) -> float | None:
    """The share of placebos that would pass at ``alpha``, each tested against the others as the
    challenger is tested against all; None with fewer than three."""
    if len(placebos) < 3:
        return None
    total, n_passed = float(weights.sum()), 0
    for i, one in enumerate(placebos):
        others = [*placebos[:i], *placebos[i + 1 :]]
        gain = float(weights @ one.scores()) / total
        if against_placebos(gain, others, clusters, weights)[1] <= alpha:
            n_passed += people_test(one, others, clusters, weights).p <= alpha
    return n_passed / len(placebos)


def naive_pass_rate(
    placebos: Sequence[Changes], clusters: Clusters, n_flagged: int, alpha: float
) -> float | None:
    """The share of placebos that a sign test of the flagged prompts alone would let through: how
    far the choice of these prompts favours any change. None without placebos."""
    if not placebos:
        return None
    flagged = clusters.first(n_flagged)
    found = [flagged.p_above(one.scores()[:n_flagged]) <= alpha for one in placebos]
    return sum(found) / len(found)


def prompt_weights(
    is_control: Sequence[bool], raters: Sequence[str], controls_per_flag: float
) -> Floats:
    """The weight of each prompt: capped by rater, controls at their rate in traffic.

    ``controls_per_flag``: unflagged conversations in traffic for each flagged one. All controls
    together weigh so many times as much as all flagged prompts together, ``MOST_CONTROLS`` times at
    most: at an ordinary rate of flags one broken control would outweigh every fix.
    """
    kinds = np.asarray(is_control, dtype=bool)
    weights = np.zeros(len(kinds))
    for kind in (False, True):
        places = np.flatnonzero(kinds == kind)
        weights[places] = capped_weights([raters[i] for i in places], RATER_CAP)
    if kinds.any() and not kinds.all():
        weights[kinds] *= (
            min(controls_per_flag, MOST_CONTROLS) * weights[~kinds].sum() / weights[kinds].sum()
        )
    return weights


def power(n_prompts: int, improvement: float, alpha: float, *, broken: float = 0.02) -> float:
    """The chance that a challenger which fixes this share of flagged prompts, and breaks ``broken``
    of them, is seen at ``alpha`` on ``n_prompts`` independent ones.

    The exact power of the sign test (margins left out, so a lower bound where they move): fixes and
    breaks are a trinomial; with k of them w or more fixes decide, P(Bin(k, 1/2) >= w) <= alpha.
    """
    from scipy.stats import binom

    changed = min(1.0, improvement + broken)
    k = np.arange(1, n_prompts + 1)
    wins = binom.isf(alpha, k, 0.5) + 1
    seen = np.where(wins <= k, binom.sf(wins - 1, k, improvement / changed), 0.0)
    return float(binom.pmf(k, n_prompts, changed) @ seen)


def power_in_words(n_prompts: int, alpha: float, improvement: float = 0.3) -> str:
    """What a night could show, said before it: "With 23 held-out prompts an improvement of 30
    points would be seen with probability 0.60; 40 prompts would do." """
    needed = prompts_needed(improvement, alpha)
    chance = power(n_prompts, improvement, alpha)
    text = (
        f"With {n_prompts} held-out prompts an improvement of {improvement * 100:.0f} points would "
        f"be seen with probability {chance:.2f}"
    )
    return f"{text}; {needed} prompts would do." if needed and n_prompts < needed else f"{text}."


def prompts_needed(improvement: float, alpha: float, *, wanted: float = 0.8) -> int | None:
    """The fewest prompts at which ``power`` reaches ``wanted``; None where over 16,000 would not
    do, as where no more are fixed than ``power`` lets break."""
    low, high = 1, 2
    while power(high, improvement, alpha) < wanted and high < 10_000:
        low, high = high, high * 2
    if power(high, improvement, alpha) < wanted:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if power(middle, improvement, alpha) < wanted:
            low = middle
        else:
            high = middle
    return high
