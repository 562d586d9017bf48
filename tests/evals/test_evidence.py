"""People's prompts as evidence: weights, clusters, levels over nights, power, the test's size."""

from __future__ import annotations

import numpy as np
import pytest

from evals.evidence import (
    Changes,
    clusters_of,
    people_test,
    power,
    power_in_words,
    prompt_weights,
    prompts_needed,
)
from evals.statistics import alpha_left, alpha_of_attempt, capped_weights, placebo_p


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


def test_prompts_that_share_anything_are_one_cluster() -> None:
    groups = [["c1", "k1"], ["c2", "k1"], ["c2", "k3"], ["c4", "k4"]]
    found = clusters_of(groups, ["a", "b", "c", "a"], 4)
    assert found[0] == found[1] == found[2] != found[3]
    apart, raters = [[f"c{i}"] for i in range(40)], [f"p{i % 20}" for i in range(40)]
    assert len(set(clusters_of(apart, raters, 40))) == 20  # by rater where there are many
    assert len(set(clusters_of(apart, raters, 10))) == 40  # many chatted, few flagged


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
        test = people_test(made[0], made[1:], [str(i) for i in range(14)], np.ones(14))
        plain = people_test(made[0], [], [str(i) for i in range(14)], np.ones(14))
        naive += plain.p_better <= 0.05
        passed += test.p <= 0.05
    assert naive > 40
    assert passed <= 9  # 5 % of 100 and two standard errors


def test_a_change_of_margins_alone_can_be_shown() -> None:
    """Free text: no answer matches before or after, each correction becomes 0.1 nats likelier."""
    rng = np.random.default_rng(1)
    placebos = [Changes(rng.normal(0.02, 0.08, 30), np.zeros(30)) for _ in range(8)]
    real = Changes(rng.normal(0.12, 0.08, 30), np.zeros(30))
    test = people_test(real, placebos, [str(i) for i in range(30)], np.ones(30))
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
