"""What a challenger broke: the items that it answers worse, of the slices that failed.

A slice is a benchmark, the held-out prompts, the answers that nobody flagged, or the prompts that
were fixed once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.gate import CHANGED
from evals.people import Pair
from evals.regression import BENCHMARK as HOLDOUT
from evals.regression import CONTROLS, KEPT, is_of_people
from evals.runner import read_scores
from evals.score import MANIFEST
from pawl.files import read_json
from pawl.schemas import ItemScore

ROLES = {"champion": "benchmarks", "anchor": "anchor", "best": "best"}  # and their verdicts' keys
KEPT_THAN = {
    "the champion": "champion",
    "the anchor": "anchor",
    "the best champion so far": "best",
}


@dataclass(frozen=True, slots=True)
class Broken:
    """``than``: champion, anchor or best, whoever answers better. ``items``: the challenger's, of
    each slice the largest loss first. ``failed``: whether the slices failed the gate; False where
    no item of a slice that failed got worse: then people's prompts are taken where any got worse
    and they kept the challenger out, else all slices.

    ``n_not_learned`` items are left out: the champion answers them better, the anchor (the base)
    does not. No row broke these; this training did not learn what the champion's did, since it was
    cut short or the rows are gone. They are taken where nothing else got worse."""

    than: str
    items: list[ItemScore]
    failed: bool
    n_not_learned: int = 0

    @property
    def n_by_slice(self) -> dict[str, int]:
        return dict(Counter(item.benchmark for item in self.items))


def what_broke(run_dir: Path) -> Broken:
    """From the scores and the verdict in a run's folder. Without a verdict nothing failed."""
    path = run_dir / "verdict.json"
    verdict = read_json(path) if path.exists() else None
    slices = failed_slices(verdict) if verdict else {}
    after = read_scores(run_dir / "scores" / "challenger").items
    pairs = {
        role: pairs_of(read_scores(run_dir / "scores" / role).items, after)
        for role in ROLES
        if (run_dir / "scores" / role / MANIFEST).exists()
    }
    of_anchor = pairs.get("anchor", [])
    not_learned = {(b.benchmark, b.item_id) for a, b in of_anchor if gain((a, b)) > -CHANGED}
    broken = _broken(verdict, slices, pairs, not_learned)
    return broken if broken.items else _broken(verdict, slices, pairs, set())


def _broken(
    verdict: dict[str, Any] | None,
    slices: dict[str, set[str]],
    pairs: dict[str, list[Pair]],
    not_learned: set[tuple[str, str]],
) -> Broken:
    found, n_not_learned = Broken("champion", [], False), 0
    for role, of_role in pairs.items():
        worse = _worse(of_role)
        left_out = not_learned if role != "anchor" else set()
        items = [item for item in worse if (item.benchmark, item.item_id) not in left_out]
        n_not_learned = max(n_not_learned, len(worse) - len(items))
        of_failed = [item for item in items if item.benchmark in slices.get(role, ())]
        if of_failed:
            return Broken(role, of_failed, True, n_not_learned)
        if items and not found.items:
            found = Broken(role, items, False)
    people = (verdict or {}).get("holdout")
    if people and not people["passed"]:
        of_people = [item for item in found.items if is_of_people(item.benchmark)]
        found = replace(found, items=of_people or found.items)
    return replace(found, n_not_learned=n_not_learned)


def failed_slices(verdict: dict[str, Any]) -> dict[str, set[str]]:
    """The slices of a ``verdict.json`` that speak against the challenger, by whom it was compared
    with (``evals.gate``: a loss that was shown; people's prompts that got worse, or no better;
    too many prompts broken again)."""
    alpha = verdict["alpha"]
    failed = {
        role: {
            row["name"]
            for row in verdict.get(key) or ()
            if not row["passed"] and (p := row["p_worse_holm"]) is not None and p <= alpha
        }
        for role, key in ROLES.items()
    }
    if people := verdict.get("holdout"):
        enough = people.get("enough", people["looked"])  # of older versions only those that looked
        if people["p_worse"] <= alpha or (enough and people["gain"] <= 0):
            failed["champion"] |= {HOLDOUT, CONTROLS}
    for row in verdict.get("kept") or ():
        if not row["passed"]:
            failed[KEPT_THAN[row["than"]]].add(KEPT)
    return failed


def pairs_of(before: Sequence[ItemScore], after: Sequence[ItemScore]) -> list[Pair]:
    """Items that both models have a score of."""
    others = {(item.benchmark, item.item_id): item for item in after}
    pairs = ((item, others.get((item.benchmark, item.item_id))) for item in before)
    return [(a, b) for a, b in pairs if b and a.score is not None and b.score is not None]


def gain(pair: Pair) -> float:
    """How much better the second model's score of the item is."""
    return (pair[1].score or 0.0) - (pair[0].score or 0.0)


def spread(items: Sequence[ItemScore], n: int) -> list[ItemScore]:
    """The first ``n`` items, one of each slice after the other."""
    places: Counter[str] = Counter()
    ranked = []
    for item in items:
        ranked.append((places[item.benchmark], item))
        places[item.benchmark] += 1
    return [item for _, item in sorted(ranked, key=lambda one: one[0])][:n]


def _worse(pairs: Sequence[Pair]) -> list[ItemScore]:
    worse = [
        (gain(pair), pair[1].benchmark, pair[1].item_id, pair[1])
        for pair in pairs
        if gain(pair) < 0 and (is_of_people(pair[1].benchmark) or gain(pair) <= -CHANGED)
    ]
    return [item for *_, item in sorted(worse, key=lambda one: one[:3])]
