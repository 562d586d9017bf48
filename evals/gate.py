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

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

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
    sides = {"champion": champion, "challenger": challenger}
    pairs, anchored = _paired(champion, challenger, "champion"), {}
    if anchor is not None:
        sides["anchor"] = _without_holdout(anchor)
        anchored = _paired(sides["anchor"], _without_holdout(challenger), "anchor")
    errors = [text for who, items in sides.items() for text in _errors(items, who)]
    if errors:
        undecided = (
            "Nothing was decided: an item that could not be scored is neither right nor wrong. "
            "Mend the cause and score again."
        )
        return Verdict("no_verdict", [*errors, undecided], alpha=gate.alpha)
    holdout_pairs = pairs.pop(HOLDOUT, [])
    benchmarks = _benchmarks(pairs, gate.margin, gate.margins, gate.alpha)
    holdout = _holdout(holdout_pairs, gate.alpha) if holdout_pairs else None
    anchors = _benchmarks(anchored, gate.margin_anchor, {}, gate.alpha)

    def verdict(outcome: Outcome, why: list[str]) -> Verdict:
        return Verdict(outcome, why, benchmarks, holdout, anchors, gate.alpha)

    everything = [pair for group in (*pairs.values(), holdout_pairs) for pair in group]
    if everything and all(map(_is_identical, everything)):
        why = (
            "The challenger is identical to the champion: the same score and the same "
            f"log-probabilities on all {len(everything):,} items. It learnt nothing."
        )
        return verdict("reject", [why])
    against = [
        *reasons.losses(benchmarks, gate, "the champion"),
        *reasons.losses(anchors, gate, "the anchor"),
        *reasons.holdout_losses(holdout, gate),
    ]
    if against:
        return verdict("reject", against)
    missing = [
        *reasons.missing(benchmarks, gate, ""),
        *reasons.missing(anchors, gate, " below the anchor"),
        *reasons.holdout_missing(holdout, gate),
    ]
    if not benchmarks:
        missing.append("No benchmark was scored, so nothing says that the rest is unharmed.")
    if missing:
        return verdict("not_enough_evidence", missing)
    return verdict("promote", reasons.praise(benchmarks, holdout, anchors))


def write_verdict(path: Path, verdict: Verdict, **about: str | None) -> dict[str, Any]:
    """Write ``verdict.json`` and return it; ``about`` says what was compared: ``suite``,
    ``champion_version``, ``champion_fingerprint``, ``challenger_fingerprint``. A figure that could
    not be computed is null."""
    value: dict[str, Any] = json.loads(TypeAdapter(Verdict).dump_json(verdict)) | about
    write_json(path, value)
    return value


Pair = tuple[ItemScore, ItemScore]


def _paired(before: list[ItemScore], after: list[ItemScore], name: str) -> dict[str, list[Pair]]:
    """Items side by side, by benchmark. Both must hold exactly the same items."""
    first, second = (
        {(item.benchmark, item.item_id): item for item in items} for items in (before, after)
    )
    if (len(first), len(second)) != (len(before), len(after)):
        raise PawlError(
            f"the scores of {name} or challenger hold an item twice",
            "each counts once",
            "Score again into an empty folder",
        )
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


def _without_holdout(items: list[ItemScore]) -> list[ItemScore]:
    return [item for item in items if item.benchmark != HOLDOUT]


def _errors(items: list[ItemScore], who: str) -> list[str]:
    bad = [
        item
        for item in items
        if item.error is not None or item.score is None or not math.isfinite(item.score)
    ]
    if not bad:
        return []
    first = bad[0]
    return [
        f"{len(bad):,} of {len(items):,} items of the {who} met an error, the first "
        f"{first.benchmark} {first.item_id}: {first.error or 'its score is not a number'}."
    ]


def _is_identical(pair: Pair) -> bool:
    """Same score and, where they were kept, same log-probabilities and answer."""
    kept = ("logprobs", "correction_logprob", "flagged_logprob", "answer")
    a, b = pair
    return a.score == b.score and all(a.detail.get(key) == b.detail.get(key) for key in kept)


@dataclass(slots=True)
class _Compared:
    """A group of pairs as numbers, and the figures that benchmarks and holdout share."""

    before: list[float]
    after: list[float]
    differences: list[float]
    clusters: list[str]
    estimate: Estimate
    figures: dict[str, Any]


def _compare(group: list[Pair], alpha: float) -> _Compared:
    # An item without a score has led to "no verdict" before.
    before, after = (
        [cast("float", item.score) for item in side] for side in zip(*group, strict=True)
    )
    differences = [b - a for a, b in zip(before, after, strict=True)]
    clusters = [a.cluster for a, _ in group]
    estimate = difference_interval(differences, clusters, alpha=alpha)
    figures = {
        "n": len(group),
        "champion": sum(before) / len(group),
        "challenger": sum(after) / len(group),
        "difference": estimate.value,
        "lower": estimate.lower,
        "upper": estimate.upper,
        "n_improved": sum(d >= CHANGED for d in differences),
        "n_worsened": sum(d <= -CHANGED for d in differences),
    }
    return _Compared(before, after, differences, clusters, estimate, figures)


def _benchmarks(
    pairs: dict[str, list[Pair]], usual_margin: float, margins: dict[str, float], alpha: float
) -> list[BenchmarkVerdict]:
    compared = {name: _compare(group, alpha) for name, group in pairs.items()}
    p_worse = holm([p_below(one.estimate, 0.0) for one in compared.values()])
    verdicts = []
    for (name, one), p_worse_holm in zip(compared.items(), p_worse, strict=True):
        margin, n = margins.get(name, usual_margin), len(one.before)
        n_choices = [len(a.detail.get("choices", ())) for a, _ in pairs[name]]
        chance = chance_level(one.before + one.after, n_choices) if all(n_choices) else None
        at_chance = [
            is_at_chance(mean_interval(scores, one.clusters, alpha=0.025), chance)
            for scores in (one.before, one.after)
        ]
        p = p_above(one.estimate, -margin)
        passed = p <= alpha and n >= fewest_items(margin, alpha)
        needed = None if passed else items_needed(one.estimate, n, margin=margin, alpha=alpha)
        verdicts.append(
            BenchmarkVerdict(
                name=name,
                margin=margin,
                p_noninferior=p,
                p_worse_holm=p_worse_holm,
                passed=passed,
                n_needed=needed,
                chance=chance,
                champion_at_chance=at_chance[0],
                challenger_at_chance=at_chance[1],
                **one.figures,
            )
        )
    return verdicts


def _holdout(group: list[Pair], alpha: float) -> HoldoutVerdict:
    compared = _compare(group, alpha)
    sums = cluster_sums(compared.differences, compared.clusters)
    p = sign_flip_p(sums)
    return HoldoutVerdict(
        n_conversations=len(sums),
        p_better=p,
        p_worse=sign_flip_p(-sums),
        passed=p <= alpha,
        **compared.figures,
    )
