"""May the challenger become the champion? A pure function of per-item scores.

Four outcomes:

- **promote**: on every benchmark no worse than the margin allows, better on the holdout, and no
  further below the anchor than its own margin allows. Each of these is shown at ``alpha``; as all
  must hold, no correction for their number is due (intersection-union, Berger 1982).
- **reject**: a loss was shown on some benchmark (Holm over the benchmarks) that was not shown to
  be within the margin; or the same against the anchor; or the holdout got worse, or did not get
  better though it was large enough to show it; or nothing changed at all.
- **not_enough_evidence**: neither, and what is missing.
- **no_verdict**: an item met an error. A blank is never scored as wrong.

A loss that is real but shown to lie within the margin is allowed, and said; the anchor keeps such
losses from adding up over weeks.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evals.holdout import BENCHMARK as HOLDOUT
from evals.stats import (
    cluster_sums,
    difference_interval,
    fewest_clusters,
    fewest_items,
    holm,
    items_needed,
    p_above,
    p_below,
    sign_flip_p,
)
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.records import ItemScore, Outcome
from pawl.settings import GateSettings

# An item counts as improved or worsened when its score moved by so much: truthfulqa_mc2's scores
# are shares of probability, and each of them moves by a hair. The test uses the plain differences.
CHANGED = 0.05


@dataclass(frozen=True, slots=True)
class GateRules:
    """What a challenger must show. Margins are fractions; ``alpha`` is one-sided."""

    margin: float
    margin_anchor: float = 0.06
    alpha: float = 0.05


@dataclass(frozen=True, slots=True)
class BenchmarkVerdict:
    """One benchmark. ``lower`` and ``upper`` are one-sided bounds at alpha each; the p-values are
    those of *no worse than the margin* and of *worse than before* (adjusted by Holm)."""

    name: str
    n: int
    champion: float
    challenger: float
    difference: float
    lower: float
    upper: float
    margin: float
    p_noninferior: float
    p_worse_holm: float
    passed: bool
    n_improved: int
    n_worsened: int
    n_needed: int | None  # items for 80 % power, going on as observed; None when passed or hopeless


@dataclass(frozen=True, slots=True)
class HoldoutVerdict:
    """The questions that people corrected. ``p_better`` and ``p_worse`` are exact sign-flip tests
    over conversations."""

    n: int
    n_conversations: int
    champion: float
    challenger: float
    difference: float
    lower: float
    upper: float
    p_better: float
    p_worse: float
    n_improved: int
    n_worsened: int
    passed: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, each reason as a sentence, and the figures behind it."""

    outcome: Outcome
    reasons: list[str]
    benchmarks: list[BenchmarkVerdict] = field(default_factory=list)
    holdout: HoldoutVerdict | None = None
    anchor: list[BenchmarkVerdict] = field(default_factory=list)
    alpha: float = 0.05

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; a figure that could not be computed is null."""
        value: dict[str, Any] = _finite(asdict(self))
        return value


def gate_rules(gate: GateSettings, suite: str) -> GateRules:
    """The settings' margins for a suite."""
    margin = gate.margin_mini if suite == "mini" else gate.margin_official
    return GateRules(margin, max(gate.margin_anchor, margin), gate.alpha)


def decide(
    champion: list[ItemScore],
    challenger: list[ItemScore],
    gate: GateRules,
    anchor: list[ItemScore] | None,
) -> Verdict:
    """Compare two models item by item and say what follows.

    Args:
        champion: scores of the version that answers now.
        challenger: scores of the new adapter, on the same items.
        gate: margins and alpha.
        anchor: scores of the fixed anchor on the benchmarks, None to leave that check out (when
            the champion is the anchor it says nothing new).

    Raises:
        PawlError: the two were not scored on the same items, so nothing can be compared.
    """
    pairs = _paired(champion, challenger, "champion")
    anchored = (
        {}
        if anchor is None
        else _paired(
            [item for item in anchor if item.benchmark != HOLDOUT],
            [item for item in challenger if item.benchmark != HOLDOUT],
            "anchor",
        )
    )
    errors = _errors(champion, "champion") + _errors(challenger, "challenger")
    errors += _errors([i for i in anchor or [] if i.benchmark != HOLDOUT], "anchor")
    if errors:
        return Verdict(
            "no_verdict",
            [
                *errors,
                "Nothing was decided: an item that could not be scored is neither right nor "
                "wrong. Mend the cause and score again.",
            ],
            alpha=gate.alpha,
        )
    holdout_pairs = pairs.pop(HOLDOUT, [])
    benchmarks = _benchmarks(pairs, gate.margin, gate.alpha)
    holdout = _holdout(holdout_pairs, gate.alpha) if holdout_pairs else None
    anchors = _benchmarks(anchored, gate.margin_anchor, gate.alpha)

    def verdict(outcome: Outcome, reasons: list[str]) -> Verdict:
        return Verdict(outcome, reasons, benchmarks, holdout, anchors, gate.alpha)

    if _identical([*pairs.values(), holdout_pairs]):
        n = sum(map(len, pairs.values())) + len(holdout_pairs)
        return verdict(
            "reject",
            [
                f"The challenger is identical to the champion: the same score and the same "
                f"log-probabilities on all {n:,} items. It learnt nothing."
            ],
        )
    against = _losses(benchmarks, gate, "the champion") + _losses(anchors, gate, "the anchor")
    against += _holdout_losses(holdout, gate)
    if against:
        return verdict("reject", against)
    missing = _missing(benchmarks, gate, "") + _missing(anchors, gate, " below the anchor")
    missing += _holdout_missing(holdout, gate)
    if not benchmarks:
        missing.append("No benchmark was scored, so nothing says that the rest is unharmed.")
    if missing:
        return verdict("not_enough_evidence", missing)
    return verdict("promote", _praise(benchmarks, holdout, anchors))


def write_verdict(
    path: Path,
    verdict: Verdict,
    *,
    champion_version: str,
    champion_fingerprint: str | None,
    challenger_fingerprint: str | None,
    suite: str,
) -> dict[str, Any]:
    """Write ``verdict.json`` and return it."""
    value = verdict.as_json() | {
        "suite": suite,
        "champion_version": champion_version,
        "champion_fingerprint": champion_fingerprint,
        "challenger_fingerprint": challenger_fingerprint,
    }
    write_json(path, value)
    return value


Pair = tuple[ItemScore, ItemScore]


def _paired(before: list[ItemScore], after: list[ItemScore], name: str) -> dict[str, list[Pair]]:
    """Items side by side, by benchmark. Both must hold exactly the same items."""
    sides: list[dict[tuple[str, str], ItemScore]] = []
    for who, items in ((name, before), ("challenger", after)):
        side = {(item.benchmark, item.item_id): item for item in items}
        if len(side) != len(items):
            raise PawlError(
                f"the {who}'s scores hold an item twice",
                "each counts once",
                "Score again into an empty folder",
            )
        sides.append(side)
    first, second = sides
    if first.keys() != second.keys():
        odd = sorted(first.keys() ^ second.keys())
        raise PawlError(
            f"{name} and challenger were not scored on the same items",
            f"{len(first.keys() - second.keys())} only by the {name}, "
            f"{len(second.keys() - first.keys())} only by the challenger, first {odd[0]}",
            "Score both with the same suite, items, seed, data and snapshot",
        )
    pairs: dict[str, list[Pair]] = {}
    for key, item in first.items():
        if item.cluster != second[key].cluster:
            raise PawlError(
                f"item {key} has cluster {item.cluster!r} under the {name} and "
                f"{second[key].cluster!r} under the challenger",
                "dependent items must be grouped alike",
                "Score both again",
            )
        pairs.setdefault(item.benchmark, []).append((item, second[key]))
    return pairs


def _number(item: ItemScore) -> float:
    """The score of an item that is known to have one."""
    if item.score is None:
        raise PawlError(f"item {item.item_id} of {item.benchmark} has no score", item.error or "")
    return item.score


def _broken(item: ItemScore) -> bool:
    return item.error is not None or item.score is None or not math.isfinite(item.score)


def _errors(items: list[ItemScore], who: str) -> list[str]:
    bad = [item for item in items if _broken(item)]
    if not bad:
        return []
    first = bad[0]
    return [
        f"{len(bad):,} of {len(items):,} items of the {who} met an error, the first "
        f"{first.benchmark} {first.item_id}: {first.error or 'its score is not a number'}."
    ]


def _identical(groups: list[list[Pair]]) -> bool:
    """Same scores and, where they were kept, same log-probabilities and answers."""
    kept = ("logprobs", "correction_logprob", "flagged_logprob", "answer")
    pairs = [pair for group in groups for pair in group]
    return bool(pairs) and all(
        a.score == b.score and all(a.detail.get(k) == b.detail.get(k) for k in kept)
        for a, b in pairs
    )


def _benchmarks(
    pairs: dict[str, list[Pair]], margin: float, alpha: float
) -> list[BenchmarkVerdict]:
    rows = []
    for name, group in pairs.items():
        before, after = [_number(a) for a, _ in group], [_number(b) for _, b in group]
        differences = [b - a for a, b in zip(before, after, strict=True)]
        estimate = difference_interval(differences, [a.cluster for a, _ in group], alpha=alpha)
        rows.append((name, before, after, differences, estimate))
    adjusted = holm([p_below(row[4], 0.0) for row in rows])
    verdicts = []
    for (name, before, after, differences, estimate), p_worse in zip(rows, adjusted, strict=True):
        n = len(before)
        p = p_above(estimate, -margin)
        passed = p <= alpha and n >= fewest_items(margin, alpha)
        verdicts.append(
            BenchmarkVerdict(
                name,
                n,
                sum(before) / n,
                sum(after) / n,
                estimate.value,
                estimate.lower,
                estimate.upper,
                margin,
                p,
                p_worse,
                passed,
                sum(d >= CHANGED for d in differences),
                sum(d <= -CHANGED for d in differences),
                None if passed else items_needed(estimate, n, margin=margin, alpha=alpha),
            )
        )
    return verdicts


def _holdout(group: list[Pair], alpha: float) -> HoldoutVerdict:
    before, after = [_number(a) for a, _ in group], [_number(b) for _, b in group]
    clusters = [a.cluster for a, _ in group]
    differences = [b - a for a, b in zip(before, after, strict=True)]
    sums = cluster_sums(differences, clusters)
    estimate = difference_interval(differences, clusters, alpha=alpha)
    p = sign_flip_p(sums)
    n = len(group)
    return HoldoutVerdict(
        n,
        len(sums),
        sum(before) / n,
        sum(after) / n,
        estimate.value,
        estimate.lower,
        estimate.upper,
        p,
        sign_flip_p(-sums),
        sum(d > 0 for d in differences),
        sum(d < 0 for d in differences),
        p <= alpha,
    )


def _losses(rows: list[BenchmarkVerdict], gate: GateRules, than: str) -> list[str]:
    return [
        f"{row.name} is worse than {than}: {_points(row.difference)} on {row.n:,} items "
        f"(between {_points(row.lower)} and {_points(row.upper)}; p = {_p(row.p_worse_holm)} after "
        f"Holm), and that it stays within the allowed {_size(row.margin)} was not shown."
        for row in rows
        if not row.passed and row.p_worse_holm <= gate.alpha
    ]


def _holdout_losses(holdout: HoldoutVerdict | None, gate: GateRules) -> list[str]:
    if holdout is None:
        return []
    seen = (
        f"{holdout.n_improved} of {holdout.n} held-out questions got better and "
        f"{holdout.n_worsened} worse"
    )
    if holdout.p_worse <= gate.alpha:
        return [f"It is worse on what people complained about: {seen} (p = {_p(holdout.p_worse)})."]
    changed = holdout.n_improved + holdout.n_worsened
    if (
        changed
        and holdout.n_conversations >= fewest_clusters(gate.alpha)
        and (holdout.difference <= 0)
    ):
        return [f"It is no better on what people complained about: {seen}."]
    return []


def _missing(rows: list[BenchmarkVerdict], gate: GateRules, where: str) -> list[str]:
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
        if row.n_needed is not None:
            text += (
                f" About {row.n_needed - row.n:,} more items would do ({row.n_needed:,} in all)."
            )
        else:
            text += " More items alone would not help: the observed loss is beyond the margin."
        texts.append(text)
    return texts


def _holdout_missing(holdout: HoldoutVerdict | None, gate: GateRules) -> list[str]:
    least = fewest_clusters(gate.alpha)
    if holdout is None:
        return [
            "No correction is in the holdout yet, so nothing can show that the challenger "
            f"mends what people complained about. At least {least} conversations with a "
            "corrected answer must fall into it (about one in ten does)."
        ]
    if holdout.passed:
        return []
    text = (
        f"That it is better on what people complained about was not shown: "
        f"{holdout.n_improved} of {holdout.n} held-out questions got better and "
        f"{holdout.n_worsened} worse (p = {_p(holdout.p_better)})."
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
    # A sign test needs (wins - losses) / sqrt(wins + losses) of about 1.645 + 0.84 (80 % power).
    changed = holdout.n_improved + holdout.n_worsened
    factor = (2.49 * math.sqrt(changed) / gain) ** 2
    needed = max(least, holdout.n_conversations + 1, math.ceil(holdout.n_conversations * factor))
    return [
        text + f" Going on like this, about {needed - holdout.n_conversations} more "
        "conversations with a correction would do."
    ]


def _praise(
    rows: list[BenchmarkVerdict], holdout: HoldoutVerdict | None, anchors: list[BenchmarkVerdict]
) -> list[str]:
    texts = []
    if holdout is not None:
        texts.append(
            f"Better on what people complained about: {holdout.n_improved} of {holdout.n} "
            f"held-out questions got better and {holdout.n_worsened} worse "
            f"(p = {_p(holdout.p_better)})."
        )
    worst = min(rows, key=lambda row: row.lower)
    texts.append(
        f"No worse on any of {len(rows)} benchmarks: at worst {_points(worst.lower)} "
        f"({worst.name}), allowed are {_points(-worst.margin)}."
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


def _points(fraction: float) -> str:
    """A signed difference in points, ``+1.2 points``."""
    return f"{fraction * 100:+.1f} points"


def _size(margin: float) -> str:
    return f"{margin * 100:g} points"


def _p(value: float) -> str:
    return "under 0.001" if value < 0.001 else f"{value:.3f}"


def _finite(value: Any) -> Any:
    """NaN and infinity become None: they are no JSON."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
