"""People's prompts as evidence: weights, clusters, levels over nights, power, the test's size."""

from __future__ import annotations

import numpy as np
import pytest

from evals.evidence import (
    Changes,
    Clusters,
    people_test,
    power,
    power_in_words,
    prompt_weights,
    prompts_needed,
)
from evals.statistics import Floats, alpha_left, alpha_of_attempt, capped_weights, placebo_p


def test_all_levels_together_are_alpha_however_many_nights() -> None:
    spent = [alpha_of_attempt(k, 0.05) for k in range(1, 2001)]
    assert spent == sorted(spent, reverse=True)
    assert sum(spent) + alpha_left(2000, 0.05) == pytest.approx(0.05)
    assert alpha_left(0, 0.05) == pytest.approx(0.05)


def test_no_rater_has_more_than_the_cap() -> None:
    raters = ["troll"] * 500 + [f"p{i}" for i in range(20)]
    weights = np.asarray(capped_weights(raters, 0.1))
    assert weights[:500].sum() / weights.sum() == pytest.approx(0.1)
    assert set(weights[500:]) == {1.0}
    assert set(capped_weights(["a"] * 30 + ["b"] * 3, 0.1)) == {1.0}  # too few for a cap
    assert capped_weights(["only"] * 5, 0.1) == [1.0] * 5
    assert capped_weights([], 0.1) == []


def test_controls_weigh_as_often_as_they_occur() -> None:
    weights = prompt_weights([False] * 10 + [True] * 40, [str(i) for i in range(50)], 1.5)
    assert weights[10:].sum() == pytest.approx(1.5 * weights[:10].sum())
    # Where few flag, one control must not outweigh every fix.
    weights = prompt_weights([False] * 10 + [True] * 40, [str(i) for i in range(50)], 49.0)
    assert weights[10:].sum() == pytest.approx(2.0 * weights[:10].sum())


def apart(n: int) -> Clusters:
    return Clusters((tuple(map(str, range(n))),))


def crossed(rng: np.random.Generator, n_raters: int = 40) -> tuple[Clusters, Floats, Floats]:
    """Three prompts of each rater in one conversation, each question asked by two on average; the
    numbers of raters and questions."""
    raters = np.repeat(np.arange(n_raters), 3)
    questions = rng.integers(0, round(1.5 * n_raters), len(raters))
    names = [f"p{i}" for i in raters]
    talks = [f"c{i}" for i in raters]
    return Clusters.of(talks, [[f"q{i}"] for i in questions], names, len(names)), raters, questions


def test_prompts_hang_together_by_conversation_question_and_rater() -> None:
    alone, names = [[f"q{i}"] for i in range(40)], [f"c{i}" for i in range(40)]
    raters = [f"p{i % 20}" for i in range(40)]
    assert Clusters.of(names, alone, raters, 40).count() == 20  # by rater where there are many
    assert Clusters.of(names, alone, raters, 10).count() == 40  # many chatted, few flagged
    shared = [["q1"], ["q2", "near"], ["q3", "near"], ["q4"]]
    found = Clusters.of(["c1", "c2", "c3", "c4"], shared, ["a"] * 4, 4)
    assert [len(set(way)) for way in found.ways] == [3]  # a conversation lies within a question
    both = Clusters.of(["c1", "c2", "c2", "c4"], [["q1"], ["q1"], ["q3"], ["q4"]], ["a"] * 4, 4)
    assert [len(set(way)) for way in both.ways] == [3, 3]
    assert both.squares(np.ones(4)) == (6.0, 8.0)  # 4 + 1 + 1 either way; together less 4 cells
    assert both.count() == 2
    assert Clusters.of([], [], [], 0).count() == 0


def test_more_raters_are_more_evidence() -> None:
    """Their shared questions once joined all of them into one cluster, from 20 raters on."""
    rng = np.random.default_rng(3)
    counts = [crossed(rng, n)[0].count() for n in (15, 20, 40, 80)]
    assert counts == sorted(counts)
    assert counts[1] >= 7
    clusters, _, _ = crossed(rng)
    half = (rng.random(120) < 0.5).astype(float)
    good = Changes(half * rng.gamma(4, 0.25, 120), half)
    noise = [
        Changes(rng.normal(0.03, 0.1, 120), (rng.random(120) < 0.06).astype(float))
        for _ in range(8)
    ]
    assert people_test(good, noise, clusters, np.ones(120)).p <= alpha_of_attempt(1, 0.05)


@pytest.mark.parametrize(("of_rater", "of_question"), [(1, 0), (0, 1), (1, 1), (0, 0)])
def test_its_size_where_prompts_depend_on_each_other(of_rater: float, of_question: float) -> None:
    """No change on average, but prompts of a rater and of a question move as one."""
    rng = np.random.default_rng(4)
    passed = naive = 0
    for _ in range(200):
        clusters, raters, questions = crossed(rng)
        moved = of_rater * rng.normal(0, 1, 40)[raters]
        moved = moved + of_question * rng.normal(0, 1, 60)[questions] + 0.1 * rng.normal(0, 1, 120)
        passed += z_of(clusters, moved) > 1.645  # cheaper than p_above, which follows from it
        naive += moved.sum() / np.sqrt((moved**2).sum()) > 1.645
    assert passed <= 10 + 6  # 5 % of 200, and two standard errors
    assert naive > 16 or (of_rater, of_question) == (0, 0)


def z_of(clusters: Clusters, values: Floats) -> float:
    return float(values.sum() / np.sqrt(clusters.squares(values)[1]))


def test_what_crosses_counts_less_in_the_p_value() -> None:
    rng = np.random.default_rng(5)
    clusters, raters, questions = crossed(rng)
    values = 0.4 + rng.normal(0, 1, 40)[raters] + rng.normal(0, 1, 60)[questions]
    from scipy.stats import norm

    p = clusters.p_above(values)
    assert p == pytest.approx(norm.sf(z_of(clusters, values)), abs=0.02)
    alone = [Clusters((way,)).p_above(values) for way in clusters.ways]
    assert p > max(alone)
    nested = Clusters.of([f"c{i}" for i in range(120)], [[f"q{i}"] for i in range(120)],
                         [f"p{i}" for i in raters], 120)  # fmt: skip
    assert nested.ways == (tuple(f"p{i}" for i in raters),)  # as exact as it was


def blocks(n: int, size: int, n_apart: int = 0) -> Clusters:
    """``n`` conversations of so many questions, ``n`` questions asked in as many conversations, and
    prompts that hang together with none."""
    talks, questions = [], []
    for block in range(n):
        talks += [f"talk {block}"] * size + [f"short {block} {i}" for i in range(size)]
        questions += [f"rare {block} {i}" for i in range(size)] + [f"popular {block}"] * size
    alone = [f"alone {i}" for i in range(n_apart)]
    groups = [[one] for one in [*questions, *alone]]
    return Clusters.of([*talks, *alone], groups, ["a"] * len(groups), len(groups))


def test_a_few_uneven_clusters_are_no_more_evidence_than_they_are() -> None:
    """Exact by hand: four blocks that can all go up by chance in one case of 16."""
    two = blocks(2, 12)
    assert two.count() == 4
    assert two.p_above(np.ones(48)) == pytest.approx(0.0228, abs=1e-4)  # was 0.003
    joined = blocks(3, 5, n_apart=10)  # so many stand alone that joining shows more
    assert [len(set(way)) for way in joined.ways] == [16]


def test_prompts_that_hang_together_take_nothing_from_those_that_do_not() -> None:
    """Seven stand alone, and four colleagues ask the same five questions."""
    talks = [*(f"c{i}" for i in range(7)), *(f"d{i // 5}" for i in range(20))]
    questions = [*([f"q{i}"] for i in range(7)), *([f"r{i % 5}"] for i in range(20))]
    clusters = Clusters.of(talks, questions, ["a"] * 27, 27)
    assert clusters.count() == 8
    assert clusters.p_above(np.ones(27)) == pytest.approx(1 / 256)


def test_the_placebo_test_is_crawford_and_howells_widened() -> None:
    # Mean 0.5, s = 0.1826, so t = (1.2 - 0.5) / (0.1826 * sqrt(1.25) * 1.15) = 2.98 with 3 degrees.
    assert placebo_p(1.2, [0.3, 0.4, 0.6, 0.7]) == pytest.approx(0.0293, abs=2e-4)
    assert placebo_p(1.2, [0.3]) == 1.0
    assert (placebo_p(1.0, [0.5, 0.5]), placebo_p(0.5, [0.5, 0.5])) == (0.0, 1.0)


def test_its_size_and_the_bias_that_it_takes_away() -> None:
    """Any change fixes 8 % of flagged prompts and breaks none; the challenger is one more."""
    rng = np.random.default_rng(0)
    naive = passed = 0
    for _ in range(100):
        made = [
            Changes(rng.normal(0.05, 0.1, 14), (rng.random(14) < 0.08).astype(float))
            for _ in range(9)
        ]
        test = people_test(made[0], made[1:], apart(14), np.ones(14))
        plain = people_test(made[0], [], apart(14), np.ones(14))
        naive += plain.p_better <= 0.05
        passed += test.p <= 0.05
    assert naive > 40
    assert passed <= 9  # 5 % of 100 and two standard errors


def test_a_change_of_margins_alone_can_be_shown() -> None:
    """Free text: no answer matches before or after, each correction becomes 0.1 nats likelier."""
    rng = np.random.default_rng(1)
    placebos = [Changes(rng.normal(0.02, 0.08, 30), np.zeros(30)) for _ in range(8)]
    real = Changes(rng.normal(0.12, 0.08, 30), np.zeros(30))
    test = people_test(real, placebos, apart(30), np.ones(30))
    assert test.p < alpha_of_attempt(1, 0.05)
    assert test.p_worse > 0.9


def test_power_is_that_of_the_sign_test() -> None:
    assert power(7, 1.0, 1 / 128, broken=0.0) == pytest.approx(1.0)
    assert power(6, 1.0, 1 / 128, broken=0.0) == 0.0
    rng = np.random.default_rng(2)
    draws = rng.choice([1, 0, -1], size=(4000, 40), p=[0.3, 0.68, 0.02])
    wins, losses = (draws > 0).sum(axis=1), (draws < 0).sum(axis=1)
    from scipy.stats import binom

    simulated = np.mean(binom.sf(wins - 1, wins + losses, 0.5) <= 0.0083)
    assert power(40, 0.3, 0.0083) == pytest.approx(simulated, abs=0.03)
    needed = prompts_needed(0.3, 0.0083)
    assert power(needed, 0.3, 0.0083) >= 0.8 > power(needed - 3, 0.3, 0.0083)
    assert f"; {needed} prompts would do." in power_in_words(12, 0.0083)
    assert power(7, 1.0, 1 / 128) == pytest.approx(1.0)  # none is left to break
    assert prompts_needed(1.0, 1 / 128) == 7


@pytest.mark.parametrize("improvement", [0.004, 0.01, 0.02])
def test_where_no_number_of_prompts_would_do_none_is_named(improvement: float) -> None:
    """As many break as are fixed, so that more prompts show less."""
    assert prompts_needed(improvement, 0.0083) is None
    assert power(20_000, improvement, 0.0083) < 0.8
    assert "would do" not in power_in_words(50, 0.0083, improvement)
