"""The reasons that decide a verdict (losses shown, evidence missing), and their sentences."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from evals.statistics import fewest_clusters, fewest_items, quantiles


@dataclass(frozen=True, slots=True)
class GateRules:
    """What a challenger must show. Margins are fractions; ``alpha`` is one-sided.

    ``margins`` holds the benchmarks whose margin is another than ``margin``. ``all_items`` says
    that every item of the benchmarks was scored, so there are no more to ask.
    """

    margin: float
    margin_anchor: float
    alpha: float = 0.05
    all_items: bool = False
    margins: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two models on the same items: mean scores, the paired difference and its one-sided bounds at
    alpha each, and how many items moved by ``evals.gate.CHANGED`` or more."""

    n: int
    champion: float
    challenger: float
    difference: float
    lower: float
    upper: float
    n_improved: int
    n_worsened: int
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkVerdict(Comparison):
    """One benchmark. The p-values are those of *no worse than the margin* and of *worse than
    before* (adjusted by Holm)."""

    name: str
    margin: float
    p_noninferior: float
    p_worse_holm: float
    n_needed: int | None  # items for 80 % power, going on as observed; None when passed or hopeless
    chance: float | None  # what guessing scores; None for shares of probability
    champion_at_chance: bool  # the score can't be told from guessing
    challenger_at_chance: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutVerdict(Comparison):
    """The questions that people corrected. ``p_better`` and ``p_worse`` are exact sign-flip tests
    over conversations."""

    n_conversations: int
    p_better: float
    p_worse: float


def losses(rows: list[BenchmarkVerdict], gate: GateRules, than: str) -> list[str]:
    """A sentence for every loss that was shown and not shown to be within the margin."""
    return [
        f"{row.name} is worse than {than}: {_points(row.difference)} on {row.n:,} items "
        f"(between {_points(row.lower)} and {_points(row.upper)}; p = {_p(row.p_worse_holm)} after "
        f"Holm), and that it stays within the allowed {_size(row.margin)} was not shown."
        for row in rows
        if not row.passed and row.p_worse_holm <= gate.alpha
    ]


def holdout_losses(holdout: HoldoutVerdict | None, gate: GateRules) -> list[str]:
    """Why the holdout speaks against the challenger; empty when it does not."""
    if holdout is None:
        return []
    if holdout.p_worse <= gate.alpha:
        return [f"Flagged prompts got worse: {_moved(holdout)} (p = {_p(holdout.p_worse)})."]
    could_show_it = holdout.n_conversations >= fewest_clusters(gate.alpha)
    if holdout.n_improved + holdout.n_worsened and could_show_it and holdout.difference <= 0:
        return [f"Flagged prompts did not improve: {_moved(holdout)}."]
    return []


def missing(rows: list[BenchmarkVerdict], gate: GateRules, where: str) -> list[str]:
    """What was not shown on each benchmark, and how many more items would do.

    ``where`` ends the loss's description: " below the anchor".
    """
    texts = []
    for row in rows:
        if row.passed:
            continue
        text = (
            f"On {row.name} a loss of more than {_size(row.margin)}{where} can't be ruled out: "
            f"{_points(row.difference)} on {row.n:,} items, at worst {_points(row.lower)}."
        )
        if row.n < fewest_items(row.margin, gate.alpha):
            text += (
                f" Fewer than {fewest_items(row.margin, gate.alpha)} items can't show it even "
                "if none changes."
            )
        if row.n_needed is not None and gate.all_items:
            text += (
                " All its items were scored, there are no more: a challenger that moves fewer of "
                "them, or a wider margin, would pass."
            )
        elif row.n_needed is not None:
            text += (
                f" About {row.n_needed - row.n:,} more items would do ({row.n_needed:,} in all)."
            )
        else:
            text += " More items alone would not help: the observed loss is beyond the margin."
        texts.append(text)
    return texts


def holdout_missing(holdout: HoldoutVerdict | None, gate: GateRules) -> list[str]:
    """What the holdout did not show, and how many more conversations would do."""
    least = fewest_clusters(gate.alpha)
    if holdout is None:
        return [
            "No correction in the holdout could be scored, so no improvement on flagged prompts "
            f"can be shown. At least {least} conversations with "
            "a corrected answer that fits into the model's context must fall into it (about one "
            "in ten does)."
        ]
    if holdout.passed:
        return []
    text = (
        f"No improvement on flagged prompts was shown: {_moved(holdout)} "
        f"(p = {_p(holdout.p_better)})."
    )
    if holdout.n_conversations < least:
        return [
            text + f" {holdout.n_conversations} conversations can't show it, {least} are the "
            f"least: {least - holdout.n_conversations} more are needed."
        ]
    gain = holdout.n_improved - holdout.n_worsened
    if gain <= 0:
        return [
            text + f" The holdout has {holdout.n_conversations} conversations; a challenger "
            f"must mend at least {least} more than it breaks."
        ]
    # A sign test needs (wins - losses) / sqrt(wins + losses) of these quantiles' sum.
    changed = holdout.n_improved + holdout.n_worsened
    factor = (quantiles(gate.alpha) * math.sqrt(changed) / gain) ** 2
    needed = max(least, holdout.n_conversations + 1, math.ceil(holdout.n_conversations * factor))
    return [
        text + f" Going on like this, about {needed - holdout.n_conversations} more "
        "conversations with a correction would do."
    ]


def praise(
    rows: list[BenchmarkVerdict], holdout: HoldoutVerdict | None, anchors: list[BenchmarkVerdict]
) -> list[str]:
    """What was shown, for a challenger that passed everything."""
    texts = []
    if holdout is not None:
        texts.append(f"Flagged prompts improved: {_moved(holdout)} (p = {_p(holdout.p_better)}).")
    worst = min(rows, key=lambda row: row.lower)
    texts.append(
        f"None of {len(rows)} benchmarks lost more than is allowed ({_size(worst.margin)}): the "
        f"nearest to it is {worst.name}, at worst {_points(worst.lower)}."
    )
    texts += [
        f"{row.name} lost a little, within what is allowed: {_points(row.difference)} "
        f"(between {_points(row.lower)} and {_points(row.upper)})."
        for row in rows
        if row.upper < 0
    ]
    if anchors:
        low = min(anchors, key=lambda row: row.lower)
        texts.append(
            f"Nothing lost against the anchor beyond {_size(low.margin)}: at worst "
            f"{_points(low.lower)} ({low.name})."
        )
    return texts


def _moved(holdout: HoldoutVerdict) -> str:
    return (
        f"{holdout.n_improved} of {holdout.n} held-out questions got better and "
        f"{holdout.n_worsened} worse"
    )


def _points(fraction: float) -> str:
    """A signed difference in points, ``+1.2 points``."""
    return f"{fraction * 100:+.1f} points"


def _size(margin: float) -> str:
    return f"{margin * 100:g} points"


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.3f}"
