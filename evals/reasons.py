"""The reasons that decide a verdict (losses shown, evidence missing), and their sentences."""

from __future__ import annotations

from dataclasses import dataclass, field

from evals.evidence import prompts_needed
from evals.statistics import alpha_of_attempt, fewest_clusters, fewest_items


@dataclass(frozen=True, slots=True)
class GateRules:
    """What a challenger must show. Margins are fractions; ``alpha`` is one-sided.

    ``margins`` holds the benchmarks whose margin is another than ``margin``. ``all_items`` says
    that every item of the benchmarks was scored, so there are no more to ask. ``is_prompt_only``:
    champion and challenger have the same weights, and benchmarks are asked without system prompts.
    """

    margin: float
    margin_anchor: float
    alpha: float = 0.05
    all_items: bool = False
    margins: dict[str, float] = field(default_factory=dict)
    attempt: int = 1  # number of this look at people's prompts since the champion's own
    controls_per_flag: float = 0.0  # unflagged conversations in traffic for each flagged one
    n_decided_before: int = 0  # prompts that decided once and are evidence no more
    is_prompt_only: bool = False

    @property
    def alpha_people(self) -> float:
        """The level that people's prompts have tonight."""
        return alpha_of_attempt(self.attempt, self.alpha)


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
    before* (adjusted by Holm). The interval is as if the number of items had been fixed; its bounds
    are at what looks on the way leave of alpha."""

    name: str
    margin: float
    n_drawn: int  # items; more than ``n`` where it was decided before they were all scored
    p_noninferior: float
    p_worse_holm: float
    n_needed: int | None  # items for 80 % power, going on as observed; None when passed or hopeless
    chance: float | None  # what guessing scores; None for shares of probability
    champion_at_chance: bool  # the score can't be told from guessing
    challenger_at_chance: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutVerdict(Comparison):
    """People's prompts: those that were flagged (``n`` and the means are theirs), and controls.

    ``n_conversations``: how many independent ones the flagged prompts are worth, by conversation,
    question and rater (``evals.evidence.Clusters``). ``p_better`` and ``p_worse`` are sign-flip
    tests over clusters, ``p_placebo`` compares with random changes of the same size. ``is_mended``:
    of ``n_comparable`` prompts whose answers can be compared with the correction more became right
    than wrong, or there is none. ``p_best``: what ``p_better`` would be if all flagged prompts
    improved alike. ``enough``: there were enough conversations and random changes to decide by.
    ``looked``: the prompts decided, and ``alpha`` was spent.
    """

    n_conversations: int
    n_raters: int  # who flagged
    n_controls: int
    n_controls_fixed: int
    n_controls_broken: int
    controls_per_flag: float
    gain: float  # weighted mean of what evals.evidence calls the score
    placebo_gains: tuple[float, ...]
    placebo_pass_rate: float | None  # of placebos tested as the challenger is; None: too few
    placebo_naive_pass_rate: float | None  # by a plain sign test of the flagged prompts at alpha
    p_better: float
    p_worse: float
    p_placebo: float
    attempt: int
    alpha: float
    alpha_left: float  # for all later attempts, if this one does not promote
    n_decided_before: int
    is_mended: bool = True
    n_comparable: int = 0
    p_best: float = 0.0
    enough: bool = False
    looked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptVerdict:
    """Prompts that an earlier promotion fixed: which are broken again, against ``than``."""

    than: str
    n: int
    n_fixed: int
    broken: tuple[str, ...]  # the prompts' last turns
    n_allowed: int
    passed: bool


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
    """Why people's prompts speak against the challenger; empty when they do not. That they did not
    improve needs no look: what can only reject spends no alpha."""
    if holdout is None:
        return []
    if holdout.p_worse <= gate.alpha:
        return [f"People's prompts got worse: {_moved(holdout)} (p = {_p(holdout.p_worse)})."]
    changed = holdout.n_improved + holdout.n_worsened > 0
    if holdout.enough and (holdout.gain < 0 or (changed and holdout.gain == 0)):
        return [f"People's prompts did not improve: {_moved(holdout)}."]
    return []


def kept_losses(kept: list[KeptVerdict]) -> list[str]:
    """A sentence for each comparison in which too many fixed prompts are broken again. It quotes
    none: a reason is copied to places that an erasing can't tell from the program's own words."""
    return [
        f"{len(row.broken)} of {row.n} prompts that an earlier promotion fixed are worse than with "
        f"{row.than}, at most {row.n_allowed} more than are better may be ({row.n_fixed} are). "
        "The run's report names them."
        for row in kept
        if not row.passed
    ]


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
    """What people's prompts did not show, and how many more conversations would do."""
    least = fewest_clusters(gate.alpha_people)
    before = (
        f" {gate.n_decided_before} more have decided before and are evidence no more."
        if gate.n_decided_before
        else ""
    )
    if holdout is None:
        return [
            "No correction that no training has seen could be scored, so no improvement on flagged "
            f"prompts can be shown. At least {least} conversations with a corrected answer that "
            "fits into the model's context are needed (of the first ones about one in ten is kept "
            f"for the test, of later ones half).{before}"
        ]
    if holdout.p_best > holdout.alpha and holdout.n_conversations < least:
        return [
            "Flagged prompts were not asked to decide: they are worth "
            f"{holdout.n_conversations} independent conversations, which can't show an improvement "
            f"at this look's level ({gate.alpha_people:.2g}), {least} are the least: "
            f"{least - holdout.n_conversations} more are needed. These stay "
            f"evidence for a later night ({_moved(holdout)}).{before}"
        ]
    if holdout.p_best > holdout.alpha:
        return [
            "Flagged prompts were not asked to decide: too many of them are of few conversations "
            "or ask the same questions. Even if all improved alike, that would be shown with p = "
            f"{_p(holdout.p_best)} only (this look's level is {holdout.alpha:.2g}). Other "
            "questions in other conversations are needed. These stay evidence for a later night "
            f"({_moved(holdout)}).{before}"
        ]
    if len(holdout.placebo_gains) < 2:
        return [
            "No random changes were scored (gate.n_placebos), so nothing says what an improvement "
            "on flagged prompts is worth."
        ]
    if holdout.passed:
        return []
    text = (
        f"No improvement on people's prompts was shown: {_moved(holdout)}. The mean score, in "
        "which an answer that only became a little likelier counts a little, changed by "
        f"{holdout.gain:+.3f}"
    )
    if holdout.p_better > holdout.alpha:
        text += f"; better than the champion only with p = {_p(holdout.p_better)}"
    if holdout.p_placebo > holdout.alpha:
        text += (
            f"; better than random changes of the same size only with p = {_p(holdout.p_placebo)}"
        )
    if not holdout.is_mended:
        text += (
            f"; of the {holdout.n_comparable} prompts whose answers can be compared with their "
            "corrections no answer became right on balance"
        )
    share = (holdout.n_improved - holdout.n_worsened) / holdout.n
    text += f" (look {holdout.attempt} may spend {holdout.alpha:.2g})."
    if share > 0 and holdout.p_better > holdout.alpha:
        needed = prompts_needed(share, alpha_of_attempt(holdout.attempt + 1, gate.alpha))
        if needed is not None:
            text += (
                f" A challenger that fixes as many is seen with probability 0.8 on {needed} "
                "flagged prompts."
            )
    return [text]


def praise(
    rows: list[BenchmarkVerdict], holdout: HoldoutVerdict | None, anchors: list[BenchmarkVerdict]
) -> list[str]:
    """What was shown, for a challenger that passed everything."""
    texts = []
    if holdout is not None:
        texts.append(
            f"People's prompts improved: {_moved(holdout)} (p = {_p(holdout.p_better)}; against "
            f"{len(holdout.placebo_gains)} random changes of the same size p = "
            f"{_p(holdout.p_placebo)}; level {holdout.alpha:.2g})."
        )
    worst = min(rows, key=lambda row: row.lower + row.margin)
    texts.append(
        f"None of {len(rows)} benchmarks lost more than is allowed: the nearest to it is "
        f"{worst.name}, at worst {_points(worst.lower)} ({_size(worst.margin)} are allowed)."
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
    text = (
        f"{holdout.n_improved} of {holdout.n} held-out questions got better and "
        f"{holdout.n_worsened} worse"
    )
    if holdout.n_controls:
        text += (
            f", of {holdout.n_controls} answers that nobody flagged {holdout.n_controls_broken} "
            f"broke and {holdout.n_controls_fixed} got better"
        )
    return text


def _points(fraction: float) -> str:
    """A signed difference in points, ``+1.2 points``."""
    return f"{fraction * 100:+.1f} points"


def _size(margin: float) -> str:
    return f"{margin * 100:g} points"


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.3f}"
