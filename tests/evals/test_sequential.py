"""Tests by betting keep their level however often one looks, and stop early."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from evals.gate import decide
from evals.reasons import BenchmarkVerdict, GateRules
from evals.score import read_watch
from evals.sequential import Reference, Watch, early_p, first_rejection
from evals.suites import in_rounds
from pawl.files import write_json
from pawl.schemas import ItemScore


def items(rng: np.random.Generator, n: int, loss: float, flips: float = 0.06) -> list[float]:
    """All items of a benchmark, whose mean is exactly minus ``loss``, in a random order."""
    n_lost, n_won = round(n * (flips + loss) / 2), round(n * (flips - loss) / 2)
    values = [-1.0] * n_lost + [1.0] * n_won + [0.0] * (n - n_lost - n_won)
    return list(rng.permutation(values))


def test_a_loss_as_large_as_the_margin_is_rarely_let_through() -> None:
    rng = np.random.default_rng(0)
    passed = [first_rejection(items(rng, 2000, 0.03), -0.03, 0.05) for _ in range(200)]
    assert sum(one is not None for one in passed) <= 10 + 6  # 5 %, and two standard errors


def test_no_loss_is_shown_by_a_fraction_of_the_items() -> None:
    rng = np.random.default_rng(1)
    found = [first_rejection(items(rng, 5000, 0.0), -0.03, 0.05) for _ in range(50)]
    needed = [one if one is not None else math.inf for one in found]
    assert np.median(needed) < 1000


def test_that_all_items_were_scored_is_no_proof() -> None:
    """A small suite is scored whole, and still stands for what else could be asked."""
    rng = np.random.default_rng(2)

    def decided(loss: float) -> BenchmarkVerdict:
        lost = rng.random(48) < loss
        before = [ItemScore("a", str(i), 1.0, str(i)) for i in range(48)]
        after = [
            replace(item, score=float(not lost[i]), detail={"order": i, "drawn": 48})
            for i, item in enumerate(before)
        ]
        return decide(before, after, GateRules(0.15, 0.2), None).benchmarks[0]

    found = [decided(0.15) for _ in range(40)]
    assert sum(one.passed for one in found) <= 8  # every second one, where its own items are all
    for one in found:  # the sentence of a loss says its interval too
        assert one.p_worse_holm > 0.05 or one.upper < 0


def test_items_that_flip_together_show_no_more_than_they_may() -> None:
    """A true loss of the margin in clusters of ten items, which are all lost or won at once."""
    rng = np.random.default_rng(3)
    n_passed = 0
    for _ in range(60):
        change = rng.choice([-1.0, 0.0, 1.0], size=60, p=[0.1, 0.85, 0.05])
        places = rng.permutation(600)
        before = [ItemScore("a", str(i), float(change[i // 10] < 1), str(i // 10)) for i in places]
        after = [
            replace(item, score=item.score + change[i // 10], detail={"order": n, "drawn": 601})
            for n, (i, item) in enumerate(zip(places, before, strict=True))
            if item.score is not None
        ]
        watch = Watch((Reference({("a", i.item_id): i.score for i in before}, 0.05),), 0.05, 1)
        passed = watch.look("a", after) == "no worse"
        assert decide(before, after, GateRules(0.05, 0.2), None).benchmarks[0].passed == passed
        n_passed += passed
    assert n_passed <= 1 + 2  # 2 %, and two standard errors


def test_few_clusters_of_many_items_end_early_too() -> None:
    """As MMLU's 14,000 items of 57 subjects."""
    rng = np.random.default_rng(4)
    differences = rng.choice([-1.0, 0.0, 1.0], size=3_200, p=[0.1, 0.8, 0.1]).tolist()
    subjects = [str(one) for one in rng.integers(57, size=3_200)]
    assert early_p(differences, -0.05, subjects) <= 0.02
    assert early_p(differences[:99], -0.05, subjects[:99]) == 1.0


def test_a_watch_says_when_no_more_items_are_needed() -> None:
    before = {("a", str(i)): float(i % 2) for i in range(400)}
    same = [ItemScore("a", str(i), float(i % 2), str(i)) for i in range(400)]
    worse = [ItemScore("a", str(i), float(i % 2 and i % 4 != 1), str(i)) for i in range(400)]
    watch = Watch((Reference(before, 0.05),), 0.05, 3)
    assert watch.look("a", same[:100]) == "open"
    assert watch.look("a", same[:250]) == "no worse"
    assert watch.look("a", worse[:100]) == "lost"
    strict = Watch((Reference(before, 0.05), Reference(before, 0.05, {"a": 0.01})), 0.05, 3)
    assert strict.look("a", same[:250]) == "open"  # against all of them


def test_what_the_watch_calls_lost_is_lost_at_the_gate_with_the_bias_audit(tmp_path: Path) -> None:
    """The gate corrects for the audit's benchmarks too, so the watch must."""
    size, audits = 1000, [f"bias/{name}" for name in "abcdefghi"]
    rest = [ItemScore(name, str(i), 1.0, str(i)) for name in audits for i in range(120)]
    before = [ItemScore("a", str(i), 1.0, str(i)) for i in range(100)] + rest
    people = [ItemScore(name, "h", 1.0, "h") for name in ("holdout", "holdout__kept")]
    lines = [json.dumps(item.as_json()) for item in before + people]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    reference = {"items": "items.jsonl", "margin": 0.05, "margins": {}}
    write_json(tmp_path / "watch.json", {"alpha": 0.05, "references": [reference]})
    watch = read_watch(tmp_path / "watch.json")
    assert watch.n_benchmarks == 10
    n_lost, after = 0, list[ItemScore]()
    while watch.look("a", after) != "lost":
        n_lost += 1
        after = [
            ItemScore("a", str(i), float(i >= n_lost), str(i),
                      detail={"order": i, "drawn": size})
            for i in range(100)
        ]  # fmt: skip
    verdict = decide(before, after + rest, GateRules(0.05, 0.08), None)
    assert verdict.outcome == "reject"
    assert verdict.benchmarks[0].p_worse_holm <= 0.05
    few = Watch(watch.references, watch.alpha, 1)  # without the audit it would have ended sooner
    assert few.look("a", [replace(after[n_lost - 1], score=1.0), *after[1:]]) == "lost"


def test_a_benchmark_of_one_round_has_the_whole_level_for_its_test_of_all_items() -> None:
    rng = np.random.default_rng(5)

    def pair(n: int, n_lost: int, drawn: int | None) -> tuple[list[ItemScore], list[ItemScore]]:
        before = [ItemScore("a", str(i), 1.0, str(i // 3)) for i in range(n)]
        places = rng.permutation(n)
        return before, [
            replace(one, score=float(i >= n_lost),
                    detail={"order": int(places[i]), "drawn": drawn} if drawn else {})
            for i, one in enumerate(before)
        ]  # fmt: skip

    rules = GateRules(0.1, 0.2)
    for n_lost in (2, 40):
        at_once = decide(*pair(100, n_lost, None), rules, None).benchmarks
        assert decide(*pair(100, n_lost, 100), rules, None).benchmarks == at_once
        assert decide(*pair(101, n_lost, 101), rules, None).benchmarks[0].p_worse_holm != (
            decide(*pair(101, n_lost, None), rules, None).benchmarks[0].p_worse_holm
        )
        # Nothing is said of it on the way either, at the share of alpha that it does not pay.
        before, after = pair(100, n_lost, 100)
        alone = [replace(item, cluster=item.item_id) for item in after]
        scores = {("a", item.item_id): item.score for item in before}
        watch = Watch((Reference(scores, 0.2),), 0.05, 1)
        assert watch.look("a", after) == watch.look("a", alone) == "open"
    more = [replace(item, detail=item.detail | {"drawn": 101}) for item in alone]
    assert watch.look("a", more) == "lost"


def test_rounds_hold_each_drawn_item_once_in_another_order_each_night() -> None:
    drawn = {"x": list(range(130)), "y": [3, 5, 8]}
    rounds = in_rounds(drawn, 100, 50, seed=1)
    assert [sum(map(len, one.values())) for one in rounds] == [100, 33]
    for task, indices in drawn.items():
        assert sorted(i for one in rounds for i in one.get(task, [])) == indices
    assert rounds != in_rounds(drawn, 100, 50, seed=2)


def test_the_gate_takes_what_was_decided_on_the_way() -> None:
    def scored(n: int, n_lost: int = 0, **place: int) -> list[ItemScore]:
        return [
            ItemScore("a", str(i), float(i >= n_lost), str(i), None,
                      {"order": i, **place} if place else {})
            for i in range(n)
        ]  # fmt: skip

    rules = GateRules(0.05, 0.08)
    early = decide(scored(300), scored(250, drawn=300), rules, scored(300)).benchmarks[0]
    assert (early.n, early.n_drawn, early.passed) == (250, 300, True)
    assert early.p_noninferior <= 0.05
    assert early_p([0.0] * 250, -0.05) <= 0.02
    lost = decide(scored(300), scored(100, 40, drawn=300), rules, scored(300))
    assert lost.outcome == "reject"
    cut = decide(scored(300), scored(120, drawn=300), rules, scored(300)).benchmarks[0]
    assert not cut.passed  # nothing was shown yet, so the items that it has can't show it
