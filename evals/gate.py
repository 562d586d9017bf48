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

from evals import reasons
from evals.reasons import BenchmarkVerdict, GateRules, HoldoutVerdict
from evals.regression import BENCHMARK as HOLDOUT
from evals.statistics import (
    Estimate,
    chance_level,
    cluster_sums,
    difference_interval,
    fewest_items,
    holm,
    is_at_chance,
    items_needed,
    mean_interval,
    p_above,
    p_below,
    sign_flip_p,
)
from evals.suites import Suite
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.schemas import ItemScore, Outcome
from pawl.settings import GateSettings

# An item counts as improved or worsened when its score moved by so much: truthfulqa_mc2's scores
# are shares of probability, and each of them moves by a hair. The test uses the plain differences.
CHANGED = 0.05


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


def gate_rules(gate: GateSettings, suite: Suite) -> GateRules:
    """The suite's margins and number of items, where the settings say nothing else.

    Raises:
        PawlError: the anchor would allow less than a single night may lose.
    """
    description = suite.description
    margins = {} if gate.margin else {b.name: b.margin for b in suite.benchmarks if b.margin}
    margin = gate.margin or description.margin
    margin_anchor = gate.margin_anchor or description.margin_anchor
    widest = max([margin, *margins.values()])
    if margin_anchor < widest:
        raise PawlError(
            f"margin_anchor = {margin_anchor:g} is below the margin of one night, {widest:g}",
            f"it bounds the sum of many nights' losses (suite {suite.name}, gate.* override it)",
            "Raise gate.margin_anchor or lower gate.margin",
        )
    return GateRules(
        margin, margin_anchor, gate.alpha, items_per_benchmark(gate, suite) is None, margins
    )


def items_per_benchmark(gate: GateSettings, suite: Suite) -> int | None:
    """How many random items of each benchmark a night scores; None: all."""
    if gate.n_items_per_benchmark == "all":
        return None
    return gate.n_items_per_benchmark or suite.description.items_per_benchmark


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
    benchmarks = _benchmarks(pairs, gate.margin, gate.margins, gate.alpha)
    holdout = _holdout(holdout_pairs, gate.alpha) if holdout_pairs else None
    anchors = _benchmarks(anchored, gate.margin_anchor, {}, gate.alpha)

    def verdict(outcome: Outcome, why: list[str]) -> Verdict:
        return Verdict(outcome, why, benchmarks, holdout, anchors, gate.alpha)

    if _identical([*pairs.values(), holdout_pairs]):
        n = sum(map(len, pairs.values())) + len(holdout_pairs)
        return verdict(
            "reject",
            [
                f"The challenger is identical to the champion: the same score and the same "
                f"log-probabilities on all {n:,} items. It learnt nothing."
            ],
        )
    against = reasons.losses(benchmarks, gate, "the champion") + reasons.losses(
        anchors, gate, "the anchor"
    )
    against += reasons.holdout_losses(holdout, gate)
    if against:
        return verdict("reject", against)
    missing = reasons.missing(benchmarks, gate, "") + reasons.missing(
        anchors, gate, " below the anchor"
    )
    missing += reasons.holdout_missing(holdout, gate)
    if not benchmarks:
        missing.append("No benchmark was scored, so nothing says that the rest is unharmed.")
    if missing:
        return verdict("not_enough_evidence", missing)
    return verdict("promote", reasons.praise(benchmarks, holdout, anchors))


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
    pairs: dict[str, list[Pair]], usual_margin: float, margins: dict[str, float], alpha: float
) -> list[BenchmarkVerdict]:
    estimates = {
        name: difference_interval(
            [_number(b) - _number(a) for a, b in group], [a.cluster for a, _ in group], alpha=alpha
        )
        for name, group in pairs.items()
    }
    p_worse = holm([p_below(estimate, 0.0) for estimate in estimates.values()])
    return [
        _benchmark(
            name, pairs[name], estimate, p, margin=margins.get(name, usual_margin), alpha=alpha
        )
        for (name, estimate), p in zip(estimates.items(), p_worse, strict=True)
    ]


def _benchmark(
    name: str, group: list[Pair], estimate: Estimate, p_worse: float, *, margin: float, alpha: float
) -> BenchmarkVerdict:
    before, after = [_number(a) for a, _ in group], [_number(b) for _, b in group]
    differences = [b - a for a, b in zip(before, after, strict=True)]
    clusters = [a.cluster for a, _ in group]
    n_choices = [len(a.detail.get("choices", ())) for a, _ in group]
    chance = chance_level(before + after, n_choices) if all(n_choices) else None
    at_chance = [
        is_at_chance(mean_interval(scores, clusters, alpha=0.025), chance)
        for scores in (before, after)
    ]
    n = len(group)
    p = p_above(estimate, -margin)
    passed = p <= alpha and n >= fewest_items(margin, alpha)
    return BenchmarkVerdict(
        name=name,
        n=n,
        champion=sum(before) / n,
        challenger=sum(after) / n,
        difference=estimate.value,
        lower=estimate.lower,
        upper=estimate.upper,
        margin=margin,
        p_noninferior=p,
        p_worse_holm=p_worse,
        passed=passed,
        n_improved=sum(d >= CHANGED for d in differences),
        n_worsened=sum(d <= -CHANGED for d in differences),
        n_needed=None if passed else items_needed(estimate, n, margin=margin, alpha=alpha),
        chance=chance,
        champion_at_chance=at_chance[0],
        challenger_at_chance=at_chance[1],
    )


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


def _finite(value: Any) -> Any:
    """NaN and infinity become None: they are no JSON."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
