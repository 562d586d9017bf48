"""May the challenger become the champion? A pure function of per-item scores.

Four outcomes:

- **promote**: on every benchmark no worse than the margin allows, better on people's prompts than
  the champion and than random changes (``evals.evidence``), and no further below the anchors (the
  fixed one, and the best champion so far) than their own margin allows. Each of these is shown at
  its level; as all must hold, no correction for their number is due (intersection-union, Berger
  1982). The level is ``alpha`` for benchmarks; what people's prompts may spend follows from how
  often they decided before (``statistics.alpha_of_attempt``).
- **reject**: a loss was shown on some benchmark (Holm over the benchmarks) that was not shown to
  be within the margin; or the same against an anchor; or too many prompts that were fixed once are
  broken again; or people's prompts got worse, or did not get better; or nothing changed at all.
- **not_enough_evidence**: neither, and what is missing.
- **no_verdict**: an item met an error. A blank is never scored as wrong.

People's prompts are asked to decide only when all else is well and they could show something:
then they have *looked*, which goes into the ledger, and are evidence no more. Where they did not
get better on balance they reject without a look: that lets nothing in, so it spends no alpha.

A loss that is real but shown to lie within the margin is allowed, and said; the anchor keeps such
losses from adding up over weeks.

Over 400 lines because the rules of a verdict and what they compare are read in one place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from evals import bias, reasons
from evals.people import Pair, PeopleEvidence, holdout_verdict, kept_verdict
from evals.reasons import BenchmarkVerdict, GateRules, HoldoutVerdict, KeptVerdict
from evals.regression import BENCHMARK as HOLDOUT
from evals.regression import CONTROLS, KEPT, PLACEBO, is_of_people
from evals.sequential import EARLY_SHARE, can_end_early, clusters_of, early_p
from evals.statistics import (
    Estimate,
    chance_level,
    difference_interval,
    fewest_items,
    holm,
    is_at_chance,
    items_needed,
    mean_interval,
    p_above,
    p_below,
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
    """The outcome, each reason as a sentence, and the figures behind it.

    ``prompts``: what became of each prompt of a look (fixed, broken, same), by its key.
    """

    outcome: Outcome
    reasons: list[str]
    benchmarks: list[BenchmarkVerdict] = field(default_factory=list)
    holdout: HoldoutVerdict | None = None
    anchor: list[BenchmarkVerdict] = field(default_factory=list)
    alpha: float = 0.05
    best: list[BenchmarkVerdict] = field(default_factory=list)
    kept: list[KeptVerdict] = field(default_factory=list)
    prompts: dict[str, str] = field(default_factory=dict)


def gate_rules(gate: GateSettings, suite: Suite) -> GateRules:
    """The suite's margins and number of items, where the settings say nothing else.

    Raises:
        PawlError: the anchor would allow less than a single night may lose.
    """
    description = suite.description
    margins = {} if gate.margin else {b.name: b.margin for b in suite.benchmarks if b.margin}
    margins |= bias.margins(gate.margin_bias) if gate.bias_audit else {}
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
    best: list[ItemScore] | None = None,
) -> Verdict:
    """Compare two models item by item and say what follows.

    Args:
        champion: scores of the version that answers now, and of placebos of it.
        challenger: scores of the new adapter, on the same items.
        gate: margins, alpha, and how often people's prompts decided before.
        anchor: scores of the fixed anchor on the benchmarks and on prompts that were fixed once,
            None to leave that check out (when the champion is the anchor it says nothing new).
        best: the same of the best champion so far, where it is neither of the two.

    Raises:
        PawlError: the two were not scored on the same items, so nothing can be compared.
    """
    champion, placebos = _without_placebos(champion)
    if any("order" in item.detail for item in challenger):  # scored until it was decided
        champion = _as_far(champion, challenger)
        anchor = None if anchor is None else _as_far(anchor, challenger)
        best = None if best is None else _as_far(best, challenger)
    sides = {"champion": champion, "challenger": challenger}
    pairs = _paired(champion, challenger, "champion")
    others = {"anchor": anchor, "best champion so far": best}
    anchored: dict[str, dict[str, list[Pair]]] = {}
    for name, items in others.items():
        if items is not None:
            sides[name] = _without_holdout(items)
            anchored[name] = _paired(sides[name], _without_holdout(challenger), name)
    sides |= {f"placebo {n}": items for n, items in enumerate(placebos, 1)}
    errors = [text for who, items in sides.items() for text in _errors(items, who)]
    if errors:
        undecided = (
            "Nothing was decided: an item that could not be scored is neither right nor wrong. "
            "Mend the cause and score again."
        )
        return Verdict("no_verdict", [*errors, undecided], alpha=gate.alpha)
    kept = [
        kept_verdict(group[KEPT], f"the {name}")
        for name, group in {"champion": pairs, **anchored}.items()
        if KEPT in group
    ]
    people = {name: pairs.pop(name, []) for name in (HOLDOUT, CONTROLS, KEPT)}
    benchmarks = _benchmarks(pairs, gate.margin, gate.margins, gate.alpha)
    anchors = {
        name: _benchmarks({k: v for k, v in group.items() if k != KEPT}, gate.margin_anchor, {},
                          gate.alpha)
        for name, group in anchored.items()
    }  # fmt: skip
    evidence = PeopleEvidence.of(people[HOLDOUT], people[CONTROLS], placebos, gate)
    holdout = None
    if people[HOLDOUT]:
        ways = evidence.clusters.first(len(people[HOLDOUT])).ways
        figures = _compare(people[HOLDOUT], gate.alpha, ways).figures
        holdout = holdout_verdict(figures, evidence, gate)

    def verdict(outcome: Outcome, why: list[str]) -> Verdict:
        prompts = evidence.prompts if holdout is not None and holdout.looked else {}
        return Verdict(
            outcome, why, benchmarks, holdout, anchors.get("anchor", []), gate.alpha,
            anchors.get("best champion so far", []), kept, prompts,
        )  # fmt: skip

    everything = [pair for group in (*pairs.values(), *people.values()) for pair in group]
    if everything and all(map(_is_identical, everything)):
        why = (
            "The challenger is identical to the champion: the same score and the same "
            f"log-probabilities on all {len(everything):,} items. It learnt nothing."
        )
        return verdict("reject", [why])
    against = [
        *reasons.losses(benchmarks, gate, "the champion"),
        *(text for name, rows in anchors.items() for text in
          reasons.losses(rows, gate, f"the {name}")),
        *reasons.kept_losses(kept),
    ]  # fmt: skip
    missing = [
        *reasons.missing(benchmarks, gate, ""),
        *(text for name, rows in anchors.items() for text in
          reasons.missing(rows, gate, f" below the {name}")),
    ]  # fmt: skip
    if not benchmarks:
        missing.append("No benchmark was scored, so nothing says that the rest is unharmed.")
    if gate.is_prompt_only and not (people[CONTROLS] and gate.controls_per_flag > 0):
        missing.append(
            "Benchmarks are asked without system prompts and say nothing of one, and no answers "
            "that nobody flagged were scored, so nothing says that the rest is unharmed."
        )
    if holdout is not None:
        enough = holdout.p_best <= gate.alpha_people and len(placebos) >= 2
        holdout = replace(holdout, enough=enough, looked=enough and not against and not missing)
    against += reasons.holdout_losses(holdout, gate)
    if against:
        return verdict("reject", against)
    missing = [*reasons.holdout_missing(holdout, gate), *missing]
    if missing:
        return verdict("not_enough_evidence", missing)
    praise = reasons.praise(benchmarks, holdout, anchors.get("anchor", []))
    if gate.is_prompt_only:
        praise[-1] += (
            " That is no evidence for the system prompt: benchmarks are asked without, and the "
            "weights are the champion's own."
        )
    return verdict("promote", praise)


def write_verdict(path: Path, verdict: Verdict, **about: Any) -> dict[str, Any]:
    """Write ``verdict.json`` and return it; ``about`` says what was compared: ``suite``,
    ``base_fingerprint``, ``champion_version``, ``champion_fingerprint``,
    ``challenger_fingerprint``, and ``look``, the entry of the ledger (``pawl.schemas.Look``; None:
    people's prompts did not decide). A figure that could not be computed is null."""
    value: dict[str, Any] = json.loads(TypeAdapter(Verdict).dump_json(verdict)) | about
    del value["prompts"]  # the look holds them
    write_json(path, value)
    return value


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


def _as_far(items: list[ItemScore], challenger: list[ItemScore]) -> list[ItemScore]:
    """Without the items of benchmarks to which the challenger did not come any more."""
    early = {item.benchmark for item in challenger if "order" in item.detail}
    scored = {(item.benchmark, item.item_id) for item in challenger}
    return [i for i in items if i.benchmark not in early or (i.benchmark, i.item_id) in scored]


def _without_holdout(items: list[ItemScore]) -> list[ItemScore]:
    return [i for i in items if i.benchmark == KEPT or not is_of_people(i.benchmark)]


def _without_placebos(items: list[ItemScore]) -> tuple[list[ItemScore], list[list[ItemScore]]]:
    """The model's own items, and those of each placebo of it."""
    own: list[ItemScore] = []
    placebos: dict[str, list[ItemScore]] = {}
    for item in items:
        if item.benchmark.startswith(PLACEBO):
            placebos.setdefault(item.benchmark, []).append(item)
        else:
            own.append(item)
    return own, list(placebos.values())


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


def _compare(
    group: list[Pair], alpha: float, ways: Sequence[Sequence[str]] | None = None
) -> _Compared:
    """``ways``: in which the items cluster, by default their own; the widest interval counts."""
    # An item without a score has led to "no verdict" before.
    before, after = (
        [cast("float", item.score) for item in side] for side in zip(*group, strict=True)
    )
    differences = [b - a for a, b in zip(before, after, strict=True)]
    clusters = [a.cluster for a, _ in group]
    estimates = [difference_interval(differences, way, alpha=alpha) for way in ways or [clusters]]
    estimate = max(estimates, key=lambda one: one.upper - one.lower)
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


@dataclass(frozen=True, slots=True)
class _Tests:
    p_noninferior: float
    p_worse: float
    n_drawn: int


def _n_drawn(group: list[Pair]) -> int:
    return int(group[0][1].detail.get("drawn", len(group)))


def _could_end_early(group: list[Pair]) -> bool:
    """Its items came in several rounds, with a look after each."""
    has_order = all("order" in after.detail for _, after in group)
    return has_order and can_end_early(_n_drawn(group))


def _tests(group: list[Pair], compared: _Compared, margin: float, alpha: float) -> _Tests:
    """The two tests of a benchmark. One whose items came in rounds may have been decided on the
    way, at a share of alpha, and at its end at the rest (Bonferroni)."""
    n = len(group)
    n_drawn = _n_drawn(group)
    p_noninferior = p_worse = 1.0
    if n == n_drawn:
        p_worse = p_below(compared.estimate, 0.0)
        if n >= fewest_items(margin, alpha):
            p_noninferior = p_above(compared.estimate, -margin)
    if not _could_end_early(group):
        return _Tests(p_noninferior, p_worse, n_drawn)
    order = [cast("int", b.detail["order"]) for _, b in group]
    places = sorted(range(n), key=order.__getitem__)
    differences = [compared.differences[i] for i in places]
    clusters = clusters_of([group[i][1] for i in places])
    early = early_p(differences, -margin, clusters)
    early_worse = early_p([-d for d in differences], 0.0, clusters)
    return _Tests(
        min(1.0, early / EARLY_SHARE, p_noninferior / (1 - EARLY_SHARE)),
        min(1.0, early_worse / EARLY_SHARE, p_worse / (1 - EARLY_SHARE)),
        n_drawn,
    )


def _benchmarks(
    pairs: dict[str, list[Pair]], usual_margin: float, margins: dict[str, float], alpha: float
) -> list[BenchmarkVerdict]:
    levels = {  # of the test of all items
        name: alpha * (1 - EARLY_SHARE) if _could_end_early(group) else alpha
        for name, group in pairs.items()
    }
    compared = {name: _compare(group, levels[name]) for name, group in pairs.items()}
    tested = {
        name: _tests(pairs[name], one, margins.get(name, usual_margin), alpha)
        for name, one in compared.items()
    }
    p_worse = holm([test.p_worse for test in tested.values()])
    verdicts = []
    for (name, one), p_worse_holm in zip(compared.items(), p_worse, strict=True):
        margin, n, test = margins.get(name, usual_margin), len(one.before), tested[name]
        n_choices = [len(a.detail.get("choices", ())) for a, _ in pairs[name]]
        chance = chance_level(one.before + one.after, n_choices) if all(n_choices) else None
        at_chance = [
            is_at_chance(mean_interval(scores, one.clusters, alpha=0.025), chance)
            for scores in (one.before, one.after)
        ]
        passed = test.p_noninferior <= alpha
        needed = items_needed(one.estimate, n, margin=margin, alpha=levels[name])
        verdicts.append(
            BenchmarkVerdict(
                name=name,
                margin=margin,
                n_drawn=test.n_drawn,
                p_noninferior=test.p_noninferior,
                p_worse_holm=p_worse_holm,
                passed=passed,
                n_needed=None if passed else needed,
                chance=chance,
                champion_at_chance=at_chance[0],
                challenger_at_chance=at_chance[1],
                **one.figures,
            )
        )
    return verdicts
