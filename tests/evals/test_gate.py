"""Every outcome of the gate, each with its reason in a sentence.

Over 400 lines: the outcomes rest on the same few scores, so they stand beside each other.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evals import gate
from evals.gate import Verdict, gate_rules, items_per_benchmark, write_verdict
from evals.reasons import GateRules
from evals.statistics import fewest_clusters
from evals.suites import Benchmark, Description, Suite
from pawl.errors import PawlError
from pawl.schemas import ItemScore
from pawl.settings import GateSettings
from tests.evals.conftest import placebos_of

NAMES = ("everyday_arc", "everyday_hellaswag", "everyday_truthfulqa_mc1")
N = 1000


def decide(
    before: list[ItemScore],
    after: list[ItemScore],
    rules: GateRules,
    anchor: list[ItemScore] | None,
    best: list[ItemScore] | None = None,
) -> Verdict:
    """The gate, with placebos of the champion."""
    return gate.decide([*before, *placebos_of(before)], after, rules, anchor, best)


def items(name: str, scores: list[float], *, per_cluster: int = 1) -> list[ItemScore]:
    return [
        ItemScore(name, str(i), float(score), f"{name}{i // per_cluster}")
        for i, score in enumerate(scores)
    ]


def suite_with(*, margins: dict[str, float] | None = None, **values: Any) -> Suite:
    """A suite of benchmarks ``a`` and ``b``; ``margins`` are the benchmarks' own."""
    benchmarks = tuple(
        Benchmark(name=name, task=name, margin=(margins or {}).get(name)) for name in ("a", "b")
    )
    return Suite(Path(), Description(name="ours", benchmarks=benchmarks, **values))


def champion(n_holdout: int = 20) -> list[ItemScore]:
    """Half of 1,000 items right on each benchmark, no corrected question right."""
    rows = [item for name in NAMES for item in items(name, [i % 2 for i in range(N)])]
    return rows + items("holdout", [0.0] * n_holdout)


def change(
    rows: list[ItemScore], benchmark: str, n: int, to: float, *, keep: int = 0
) -> list[ItemScore]:
    """Move ``n`` items of a benchmark that score otherwise to ``to``, after ``keep`` of them."""
    left, skip, out = n, keep, []
    for row in rows:
        if row.benchmark == benchmark and row.score != to and left:
            if skip:
                skip -= 1
            else:
                row, left = replace(row, score=to), left - 1
        out.append(row)
    assert left == 0
    return out


def mended(rows: list[ItemScore], n: int = 12) -> list[ItemScore]:
    return change(rows, "holdout", n, 1.0)


def test_promote(rules: GateRules) -> None:
    before = champion()
    after = change(change(mended(before), "everyday_arc", 5, 0.0), "everyday_arc", 3, 1.0, keep=400)
    verdict = decide(before, after, rules, before)
    assert verdict.outcome == "promote"
    assert "12 of 20 held-out questions got better and 0 worse" in verdict.reasons[0]
    assert "None of 3 benchmarks lost more than is allowed" in verdict.reasons[1]
    arc = verdict.benchmarks[0]
    assert (arc.n_worsened, arc.n_improved, arc.n) == (5, 3, N)
    assert arc.difference == pytest.approx(-0.002)
    assert arc.lower < -0.002 < arc.upper
    assert arc.passed
    assert verdict.holdout is not None
    assert verdict.holdout.p_better == pytest.approx(2**-12)


def test_five_points_worse_on_one_benchmark_is_rejected_though_the_holdout_is_mended(
    rules: GateRules,
) -> None:
    before = champion()
    after = change(mended(before, 20), "everyday_hellaswag", 50, 0.0)
    verdict = decide(before, after, rules, None)
    assert verdict.outcome == "reject"
    assert len(verdict.reasons) == 1
    assert "everyday_hellaswag is worse than the champion: -5.0 points" in verdict.reasons[0]


def test_trained_on_shuffled_answers_is_rejected(rules: GateRules) -> None:
    rng = np.random.default_rng(0)
    before = [
        replace(item, score=1.0) if item.benchmark == "holdout" and int(item.item_id) % 2 else item
        for item in champion()
    ]
    after = [replace(item, score=float(rng.random() < 0.3)) for item in before]
    verdict = decide(before, after, rules, None)
    assert verdict.outcome == "reject"
    assert any("everyday_arc is worse" in reason for reason in verdict.reasons)


def test_worse_on_the_holdout_is_rejected(rules: GateRules) -> None:
    before = mended(champion(), 20)
    verdict = decide(before, change(before, "holdout", 8, 0.0), rules, None)
    assert verdict.outcome == "reject"
    assert "People's prompts got worse: 0 of 20" in verdict.reasons[0]


def test_no_better_on_a_holdout_that_could_have_shown_it_is_rejected(rules: GateRules) -> None:
    before = mended(champion(), 10)
    after = change(change(before, "holdout", 3, 0.0), "holdout", 3, 1.0, keep=8)
    verdict = decide(before, after, rules, None)
    assert verdict.outcome == "reject"
    assert "People's prompts did not improve" in verdict.reasons[0]


def test_no_better_is_rejected_without_a_look_where_benchmarks_say_too_little(
    rules: GateRules,
) -> None:
    def few(rows: list[ItemScore]) -> list[ItemScore]:
        return [row for row in rows if row.benchmark == "holdout" or int(row.item_id) < 100]

    before = few(mended(champion(), 10))
    after = change(change(before, "holdout", 3, 0.0), "holdout", 2, 1.0, keep=8)
    after = change(change(after, "everyday_arc", 6, 0.0), "everyday_arc", 6, 1.0, keep=30)
    verdict = decide(before, after, rules, None)
    assert [row.passed for row in verdict.benchmarks] == [False, True, True]
    assert verdict.outcome == "reject"
    assert "People's prompts did not improve: 2 of 20" in verdict.reasons[0]
    assert verdict.holdout is not None
    assert not verdict.holdout.looked
    assert verdict.prompts == {}


def test_identical_is_rejected_and_named(rules: GateRules) -> None:
    verdict = decide(champion(), champion(), rules, None)
    assert verdict.outcome == "reject"
    assert "identical to the champion" in verdict.reasons[0]
    assert "3,020 items" in verdict.reasons[0]


def test_same_scores_with_other_probabilities_are_not_identical(rules: GateRules) -> None:
    before = [replace(item, detail={"logprobs": [-1.0, -2.0]}) for item in champion()]
    after = [replace(item, detail={"logprobs": [-1.1, -2.0]}) for item in champion()]
    verdict = decide(before, after, rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert "No improvement on people's prompts was shown" in verdict.reasons[0]


def test_three_corrected_questions_can_show_nothing(rules: GateRules) -> None:
    before = champion(3)
    verdict = decide(before, mended(before, 3), rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert "3 of 3 held-out questions got better" in verdict.reasons[0]
    assert "7 are the least: 4 more are needed" in verdict.reasons[0]
    assert verdict.holdout is not None
    assert not verdict.holdout.looked
    assert verdict.prompts == {}


def test_five_corrected_questions_in_one_conversation_count_as_one(rules: GateRules) -> None:
    before = champion(0) + items("holdout", [0.0] * 5, per_cluster=5)
    verdict = decide(before, mended(before, 5), rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert verdict.holdout is not None
    assert verdict.holdout.n_conversations == 1


def test_a_small_gain_says_how_many_more_corrections_would_do(rules: GateRules) -> None:
    before = champion(20)
    verdict = decide(before, mended(before, 4), rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert "is seen with probability 0.8 on" in verdict.reasons[0]


def test_a_gain_that_no_number_of_prompts_would_show_names_none() -> None:
    before = change(champion(160), "holdout", 3, 1.0)
    after = change(champion(160), "holdout", 5, 1.0, keep=3)  # 5 mended, 3 broken
    verdict = decide(before, after, GateRules(0.03, 0.06, 0.05), None)
    (text,) = [one for one in verdict.reasons if "No improvement on people's prompts" in one]
    assert text.endswith("may spend 0.0083).")


def test_no_holdout_at_all(rules: GateRules) -> None:
    before = champion(0)
    verdict = decide(before, change(before, "everyday_arc", 2, 1.0), rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert "No correction that no training has seen could be scored" in verdict.reasons[0]
    assert verdict.holdout is None


def test_too_few_items_say_how_many_would_do(rules: GateRules) -> None:
    before = items("everyday_arc", [i % 2 for i in range(60)]) + items("holdout", [0.0] * 20)
    after = change(mended(before), "everyday_arc", 1, 0.0)
    verdict = decide(before, after, rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert "Fewer than 99 items can't show it" in verdict.reasons[0]
    assert verdict.benchmarks[0].n_needed is not None
    assert verdict.benchmarks[0].n_needed > 99


def test_no_benchmark_at_all_is_never_promoted(rules: GateRules) -> None:
    before = items("holdout", [0.0] * 20)
    verdict = decide(before, mended(before), rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert "No benchmark was scored" in verdict.reasons[0]


def test_a_real_but_allowed_loss_passes_and_is_said(rules: GateRules) -> None:
    before = champion()
    after = change(mended(before), "everyday_arc", 12, 0.0)
    verdict = decide(before, after, rules, None)
    assert verdict.outcome == "promote"
    assert verdict.benchmarks[0].p_worse_holm < 0.05
    assert any("everyday_arc lost a little, within what is allowed" in r for r in verdict.reasons)


def test_allowed_losses_do_not_add_up_beyond_the_anchor(rules: GateRules) -> None:
    anchor = champion()
    before = change(anchor, "everyday_arc", 80, 0.0)
    after = change(mended(before), "everyday_arc", 10, 0.0)
    assert decide(before, after, rules, None).outcome == "promote"
    verdict = decide(before, after, rules, anchor)
    assert verdict.outcome == "reject"
    assert "everyday_arc is worse than the anchor: -9.0 points" in verdict.reasons[0]


@pytest.mark.parametrize("who", ["champion", "challenger", "anchor"])
def test_an_error_anywhere_gives_no_verdict(rules: GateRules, who: str) -> None:
    sides = {"champion": champion(), "challenger": mended(champion()), "anchor": champion()}
    bad = sides[who]
    bad[7] = replace(bad[7], score=None, error="a log-probability is not a finite number")
    verdict = decide(sides["champion"], sides["challenger"], rules, sides["anchor"])
    assert verdict.outcome == "no_verdict"
    n = "3,000" if who == "anchor" else "3,020"
    assert f"1 of {n} items of the {who} met an error" in verdict.reasons[0]
    assert "a log-probability is not a finite number" in verdict.reasons[0]


def test_a_nan_score_is_an_error_not_a_number(rules: GateRules) -> None:
    after = mended(champion())
    after[3] = replace(after[3], score=float("nan"))
    assert decide(champion(), after, rules, None).outcome == "no_verdict"


def test_items_missing_on_one_side_are_an_error(rules: GateRules) -> None:
    with pytest.raises(PawlError, match=r"not scored on the same items.*1 only by the champion"):
        decide(champion(), champion()[1:], rules, None)
    with pytest.raises(PawlError, match="same items"):
        decide(champion(), champion(), rules, champion()[5:])
    with pytest.raises(PawlError, match="twice"):
        decide([*champion(), champion()[0]], champion(), rules, None)


def test_the_champions_holdout_at_its_own_night_is_not_asked_of_the_anchor(
    rules: GateRules,
) -> None:
    """The anchor's scores come from an earlier night with another holdout."""
    before = champion()
    anchor = [item for item in champion() if item.benchmark != "holdout"]
    assert decide(before, mended(before), rules, anchor).outcome == "promote"


def test_outcome_depends_on_the_items_not_on_their_order(rules: GateRules) -> None:
    before, after = champion(), change(mended(champion()), "everyday_arc", 8, 0.0)
    rng = np.random.default_rng(0)
    shuffled = [after[i] for i in rng.permutation(len(after))]
    one, two = decide(before, after, rules, None), decide(before, shuffled, rules, None)
    assert one == two


def test_false_promotions_are_rare_when_nothing_was_mended(rules: GateRules) -> None:
    """A challenger whose answers flip at random must not be promoted more often than alpha."""
    rng = np.random.default_rng(4)
    promoted = 0
    for _ in range(200):
        before = [
            *items("everyday_arc", rng.integers(0, 2, 400).tolist()),
            *items("holdout", rng.integers(0, 2, 24).tolist()),
        ]
        after = [
            replace(i, score=float(1 - (i.score or 0.0)))
            if rng.random() < (0.3 if i.benchmark == "holdout" else 0.01)
            else i
            for i in before
        ]
        promoted += decide(before, after, rules, None).outcome == "promote"
    assert promoted / 200 < 0.08


def test_margins_follow_the_suite() -> None:
    suite = suite_with(margin=0.04, margin_anchor=0.2, margins={"b": 0.1})
    assert gate_rules(GateSettings(), suite) == GateRules(0.04, 0.2, 0.05, True, {"b": 0.1})
    all_alike = gate_rules(GateSettings(margin=0.02), suite)
    assert all_alike == GateRules(0.02, 0.2, 0.05, True)


def test_a_benchmark_is_held_to_its_own_margin() -> None:
    before = champion()
    after = change(mended(before), "everyday_arc", 50, 0.0)
    strict = GateRules(0.2, 0.2, 0.05, margins={"everyday_arc": 0.03})
    assert decide(before, after, GateRules(0.2, 0.2), None).outcome == "promote"
    verdict = decide(before, after, strict, None)
    assert verdict.outcome == "reject"
    assert [row.margin for row in verdict.benchmarks] == [0.03, 0.2, 0.2]


def test_what_is_said_to_be_nearest_to_its_margin_is() -> None:
    before = champion()
    after = change(change(mended(before), "everyday_arc", 15, 0.0), "everyday_hellaswag", 30, 0.0)
    rules = GateRules(0.2, 0.2, 0.05, margins={"everyday_arc": 0.04})
    verdict = decide(before, after, rules, None)
    assert verdict.outcome == "promote"
    assert "everyday_arc, at worst -2.2 points (4 points are allowed)" in verdict.reasons[1]


def test_what_is_not_shown_lies_beyond_the_margin_in_its_sentence() -> None:
    """Looks on the way cost two fifths of alpha, which the bounds must not have."""
    before = champion()
    lost = change(mended(before), "everyday_arc", 34, 0.0)
    moved = change(lost, "everyday_arc", 24, 1.0, keep=100)
    after = [
        replace(item, detail={"order": 7 * i % N, "drawn": N}) if i < 3 * N else item
        for i, item in enumerate(moved)
    ]
    verdict = decide(before, after, GateRules(0.0235, 0.06), None)
    row = verdict.benchmarks[0]
    assert not row.passed
    assert row.lower < -0.0235
    assert "everyday_arc a loss of more than 2.35 points can't be ruled out" in verdict.reasons[0]


def test_a_score_that_guessing_could_give_is_marked() -> None:
    rows = [
        replace(item, detail={"choices": list("ABCD")})
        for item in items("letters", [i % 4 == 0 for i in range(300)])
        + items("words", [i % 4 != 0 for i in range(300)])
    ]
    shares = [replace(i, detail={"choices": ["a", "b"]}) for i in items("shares", [0.5] * 300)]
    verdict = decide([*rows, *shares], [*rows, *shares], GateRules(0.03, 0.06), None)
    marks = {r.name: (r.chance, r.champion_at_chance) for r in verdict.benchmarks}
    assert marks == {"letters": (0.25, True), "words": (0.25, False), "shares": (None, False)}


def test_written_verdict_is_plain_json(rules: GateRules, tmp_path: Path) -> None:
    verdict = decide(champion(), mended(champion()), rules, champion())
    write_verdict(
        tmp_path / "verdict.json",
        verdict,
        champion_version="pawl@3",
        champion_fingerprint="sha256:a",
        challenger_fingerprint="sha256:b",
        suite="everyday",
    )
    value = json.loads((tmp_path / "verdict.json").read_text())
    assert value["outcome"] == "promote"
    assert value["challenger_fingerprint"] == "sha256:b"
    assert {
        "name",
        "n",
        "champion",
        "challenger",
        "difference",
        "lower",
        "upper",
        "margin",
        "p_noninferior",
        "p_worse_holm",
        "passed",
    } <= value["benchmarks"][0].keys()
    assert value["holdout"]["n_improved"] == 12
    assert len(value["anchor"]) == 3


def test_a_stricter_alpha_asks_for_more_conversations() -> None:
    before = change(champion(40), "holdout", 3, 1.0)
    after = change(champion(40), "holdout", 5, 1.0, keep=3)  # 5 mended, 3 broken

    def asked(alpha: float) -> int:
        verdict = decide(before, after, GateRules(0.03, 0.06, alpha), None)
        (text,) = [reason for reason in verdict.reasons if "with probability 0.8" in reason]
        return int(text.rsplit(" on ", 1)[1].split()[0])

    assert asked(0.01) > 1.2 * asked(0.05)


def test_a_set_that_was_scored_whole_has_no_more_items(rules: GateRules) -> None:
    before = champion()
    after = change(
        change(mended(before), "everyday_arc", 60, 0.0), "everyday_arc", 45, 1.0, keep=300
    )
    asks = decide(before, after, rules, None)
    assert "more items would do" in asks.reasons[0]
    whole = decide(before, after, replace(rules, all_items=True), None)
    assert whole.outcome == "not_enough_evidence"
    assert "more items would do" not in whole.reasons[0]
    assert "All its items were scored" in whole.reasons[0]


def test_the_settings_say_whether_all_items_are_scored_and_hold_as_they_stand() -> None:
    suite = suite_with(margin=0.04, margin_anchor=0.06, items_per_benchmark=300)
    assert gate_rules(GateSettings(), suite) == GateRules(0.04, 0.06, 0.05, all_items=False)
    assert items_per_benchmark(GateSettings(), suite) == 300
    assert items_per_benchmark(GateSettings(n_items_per_benchmark=50), suite) == 50
    assert gate_rules(GateSettings(n_items_per_benchmark="all"), suite).all_items
    with pytest.raises(ValueError, match="less than a single night may lose"):
        GateSettings(margin=0.05, margin_anchor=0.01)
    with pytest.raises(PawlError, match=r"margin_anchor = 0\.06 is below .* 0\.1"):
        gate_rules(GateSettings(margin=0.1), suite)


def test_a_later_look_asks_for_more(rules: GateRules) -> None:
    before = champion(7)
    after = mended(before, 7)  # 2**-7 = 0.0078; the first look has 0.0083, the second 0.006
    assert decide(before, after, rules, None).outcome == "promote"
    second = decide(before, after, replace(rules, attempt=2), None)
    assert second.outcome == "not_enough_evidence"
    assert "8 are the least" in second.reasons[0]


def test_prompts_decide_only_when_all_else_is_well(rules: GateRules) -> None:
    before = champion()
    good = decide(before, mended(before), rules, None)
    assert good.holdout is not None
    assert good.holdout.looked
    assert set(good.prompts.values()) == {"fixed", "same"}
    bad = decide(before, change(mended(before), "everyday_arc", 90, 0.0), rules, None)
    assert bad.outcome == "reject"
    assert bad.holdout is not None
    assert not bad.holdout.looked
    assert bad.prompts == {}


def test_what_random_changes_do_as_well_is_no_improvement(rules: GateRules) -> None:
    """Eight of twenty fixed and none broken: a plain sign test says p = 0.004."""
    before = champion()
    after = mended(before, 8)
    assert decide(before, after, rules, None).outcome == "promote"
    noise = [
        replace(item, benchmark=f"holdout__placebo{n}")
        for n in range(1, 9)
        for item in change(before, "holdout", 5 + n % 4, 1.0, keep=n)
        if item.benchmark == "holdout"
    ]
    verdict = gate.decide([*before, *noise], after, rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert "better than random changes of the same size only with p" in verdict.reasons[0]
    assert verdict.holdout is not None
    assert verdict.holdout.placebo_naive_pass_rate == 1.0
    assert verdict.holdout.placebo_pass_rate == 0.0


def test_answers_that_nobody_flagged_count_as_often_as_they_occur(rules: GateRules) -> None:
    controls = [
        replace(item, item_id=f"control {item.item_id}", detail={"rater": item.item_id})
        for item in items("holdout__controls", [1.0] * 40)
    ]
    before = champion(20) + controls
    after = change(mended(before, 12), "holdout__controls", 6, 0.0)
    few = decide(before, after, replace(rules, controls_per_flag=0.2), None)
    assert few.outcome == "promote"  # 6 of 40 broken, where nearly every answer is flagged
    assert few.holdout is not None
    assert few.holdout.n_raters == 1  # of those who flagged, whom the report's cap is of
    many = decide(before, after, replace(rules, controls_per_flag=9.0), None)
    assert many.outcome == "not_enough_evidence"
    assert "of 40 answers that nobody flagged 6 broke" in many.reasons[0]


def test_one_rater_with_many_prompts_weighs_a_share(rules: GateRules) -> None:
    """Of 24 people one has 60 prompts, all fixed; the others' 23 are as they were."""
    raters = [f"p{i}" for i in range(23)] + ["troll"] * 60
    flagged = [
        replace(item, detail={"rater": rater})
        for item, rater in zip(items("holdout", [0.0] * 83), raters, strict=True)
    ]
    before = champion(0) + flagged
    after = [replace(i, score=1.0) if i.detail.get("rater") == "troll" else i for i in before]
    verdict = decide(before, after, rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert verdict.holdout is not None
    assert verdict.holdout.n_conversations == 24
    assert verdict.holdout.gain == pytest.approx(0.1)


def asked(who_and_what: list[tuple[str, str, str]]) -> list[ItemScore]:
    """Flagged prompts that nobody answered rightly: conversation, rater and question of each."""
    prompts = items("holdout", [0.0] * len(who_and_what))
    return [
        replace(item, cluster=talk, detail={"rater": rater, "cluster": question})
        for item, (talk, rater, question) in zip(prompts, who_and_what, strict=True)
    ]


def test_many_raters_who_share_questions_are_enough(rules: GateRules) -> None:
    """40 people, three questions each in one conversation, each question asked by two of them."""
    before = champion(0) + asked(
        [(f"c{i // 3}", f"p{i // 3}", f"q{(7 * i + i // 60) % 60}") for i in range(120)]
    )
    verdict = decide(before, mended(before, 60), rules, None)
    assert verdict.outcome == "promote"
    assert verdict.holdout is not None
    assert verdict.holdout.n_conversations >= 20
    noise = decide(before, mended(before, 4), rules, None)
    assert noise.outcome == "not_enough_evidence"
    assert noise.holdout is not None
    assert noise.holdout.looked


def test_prompts_that_could_not_show_it_at_best_are_not_asked(rules: GateRules) -> None:
    """One conversation has 12 questions, 12 others ask one: two that can go up by chance."""
    before = champion(0) + asked(
        [(f"c{max(0, i - 11)}", f"p{i}", f"q{min(i, 12)}") for i in range(24)]
    )
    verdict = decide(before, mended(before, 24), rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert verdict.holdout is not None
    assert (verdict.holdout.n_conversations, fewest_clusters(verdict.holdout.alpha)) == (2, 7)
    assert (verdict.holdout.enough, verdict.holdout.looked, verdict.prompts) == (False, False, {})
    assert verdict.holdout.p_best == pytest.approx(verdict.holdout.p_better)
    assert "were not asked to decide" in verdict.reasons[0]
    assert "worth 2 independent conversations" in verdict.reasons[0]


def test_prompts_are_asked_where_they_can_show_it(rules: GateRules) -> None:
    """Eight conversations of two prompts, of which some ask the same: worth fewer than seven by
    their spread, and yet an improvement of all would be shown."""
    popular = {1: "q", 3: "q", 5: "r", 8: "r", 11: "s", 13: "s"}
    before = champion(0) + asked(
        [(f"c{i // 2}", f"p{i}", popular.get(i, f"own {i}")) for i in range(16)]
    )
    verdict = decide(before, mended(before, 16), rules, None)
    assert verdict.holdout is not None
    assert verdict.holdout.p_best <= verdict.holdout.alpha
    assert verdict.holdout.looked


def long_corrections(compared: str, n_tokens: int) -> list[ItemScore]:
    """Twenty flagged prompts; no answer says the correction, which ``change`` makes likelier."""
    return [
        replace(
            item,
            detail={"matches": False, "compared": compared, "prefers": False,
                    "correction_tokens": n_tokens, "correction_logprob": -3.0 * n_tokens,
                    "flagged_tokens": 10, "flagged_logprob": -20.0},
        )
        for item in items("holdout", [0.0] * 20)
    ]  # fmt: skip


def likelier(rows: list[ItemScore]) -> list[ItemScore]:
    """The same with every correction 0.5 nats a token likelier."""
    return [
        replace(
            item,
            detail=item.detail
            | {"correction_logprob": -(2.5 + 0.01 * i) * item.detail["correction_tokens"]},
        )
        for i, item in enumerate(rows)
    ]


def test_a_correction_longer_than_any_answer_is_tested_by_degrees(rules: GateRules) -> None:
    rest = champion(0)
    code = long_corrections("code", 400)
    verdict = decide(rest + code, rest + likelier(code), rules, None)
    assert verdict.outcome == "promote"
    assert verdict.holdout is not None
    assert verdict.holdout.n_comparable == 0
    short = long_corrections("code", 257)  # 256 and the end of turn: an answer can be so long
    verdict = decide(rest + short, rest + likelier(short), rules, None)
    assert verdict.outcome == "not_enough_evidence"
    assert (
        "20 prompts whose answers can be compared with their corrections no answer became"
        in (verdict.reasons[0])
    )


def test_what_was_fixed_once_must_stay_fixed_and_is_named(rules: GateRules) -> None:
    kept = [
        replace(item, detail={"prompt": [{"role": "user", "content": f"What is {item.item_id}?"}]})
        for item in items("holdout__kept", [1.0] * 12)
    ]
    before = [*champion(), *kept]
    one = decide(before, change(mended(before), "holdout__kept", 1, 0.0), rules, None)
    assert one.outcome == "promote"
    assert one.kept[0].broken == ("What is 0?",)
    two = decide(before, change(mended(before), "holdout__kept", 2, 0.0), rules, None)
    assert two.outcome == "reject"
    assert two.kept[0].broken == ("What is 0?", "What is 1?")
    assert two.reasons[0].startswith("2 of 12 prompts that an earlier promotion fixed are worse")
    assert "What is 0?" not in " ".join(two.reasons)  # a reason is copied, to promotions and on


def test_a_better_champion_of_earlier_nights_bounds_the_loss(rules: GateRules) -> None:
    anchor = champion()
    best = change(anchor, "everyday_arc", 60, 1.0)
    after = change(mended(anchor), "everyday_arc", 20, 0.0)
    assert decide(anchor, after, rules, anchor).outcome == "promote"
    verdict = decide(anchor, after, rules, anchor, best)
    assert verdict.outcome == "reject"
    assert "worse than the best champion so far: -8.0 points" in verdict.reasons[0]


def test_benchmarks_that_could_not_see_a_prompt_are_no_evidence_for_it(rules: GateRules) -> None:
    controls = [
        replace(item, item_id=f"control {item.item_id}")
        for item in items("holdout__controls", [1.0] * 40)
    ]
    before = champion(20) + controls
    prompt = replace(rules, is_prompt_only=True, controls_per_flag=0.2)
    verdict = decide(before, mended(before), prompt, None)
    assert verdict.outcome == "promote"
    assert "no evidence for the system prompt" in verdict.reasons[-1]
    alone = champion(20)
    verdict = decide(alone, mended(alone), prompt, None)
    assert verdict.outcome == "not_enough_evidence"
    assert "nothing says that the rest is unharmed" in " ".join(verdict.reasons)
    assert decide(alone, mended(alone), rules, None).outcome == "promote"
