"""Intervals, tests and corrections of the gate, by hand-made cases and by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from evals.statistics import (
    chance_level,
    cluster_sums,
    difference_interval,
    fewest_clusters,
    fewest_items,
    holm,
    is_at_chance,
    items_needed,
    mean_interval,
    p_above,
    p_below,
    quantiles,
    sign_flip_p,
)
from evals.suites import built_in, load


def own(n: int) -> list[str]:
    """A cluster for every item."""
    return [str(i) for i in range(n)]


def test_the_interval_is_bonett_and_prices_for_flips() -> None:
    # 300 items, 6 lost and 2 won: p~12 = 3/302, p~21 = 7/302 (Bonett and Price 2012, eq. 8).
    estimate = difference_interval([-1.0] * 6 + [1.0] * 2 + [0.0] * 292, own(300), alpha=0.05)
    won, lost = 3 / 302, 7 / 302
    error = ((won + lost - (won - lost) ** 2) / 302) ** 0.5
    assert estimate.value == pytest.approx(-4 / 300)
    assert estimate.center == pytest.approx(won - lost)
    assert estimate.standard_error == pytest.approx(error, rel=0.005)  # t's 300/299 beside it
    assert estimate.lower == pytest.approx(won - lost - 1.65 * error, abs=1e-4)


def test_no_flip_among_few_items_proves_nothing_and_among_many_it_does() -> None:
    few = difference_interval([0.0] * 20, own(20), alpha=0.05)
    many = difference_interval([0.0] * 1000, own(1000), alpha=0.05)
    assert few.lower < -0.03 < many.lower
    assert fewest_items(0.03, 0.05) == 99  # 0.97**99 is the first below 0.05
    assert fewest_items(0.02, 0.05) == 149


def test_p_value_and_bound_agree() -> None:
    differences = [0.3, -0.2, 0.0, 1.0, -1.0, 0.5] * 30
    for alpha in (0.01, 0.05, 0.2):
        estimate = difference_interval(differences, own(180), alpha=alpha)
        assert p_above(estimate, estimate.lower) == pytest.approx(alpha)
        assert p_below(estimate, estimate.upper) == pytest.approx(alpha)


def test_items_of_one_cluster_count_as_little_more_than_one() -> None:
    differences = ([1.0] * 10 + [-1.0] * 10) * 20
    alone = difference_interval(differences, own(400), alpha=0.05)
    grouped = difference_interval(differences, [str(i // 10) for i in range(400)], alpha=0.05)
    # Ten equal items a cluster: the variance is ten times as large.
    assert grouped.standard_error / alone.standard_error == pytest.approx(10**0.5, rel=0.03)
    assert grouped.degrees == 39


def test_subjects_that_offset_each_other_do_not_shrink_the_error() -> None:
    differences = [1.0, -1.0] * 50
    grouped = difference_interval(differences, [str(i // 10) for i in range(100)], alpha=0.05)
    alone = difference_interval(differences, own(100), alpha=0.05)
    assert grouped.standard_error >= alone.standard_error * 0.99


def test_mean_interval_stays_inside_and_has_a_width() -> None:
    estimate = mean_interval([1.0] * 30, own(30), alpha=0.025)
    assert estimate.value == 1.0
    assert estimate.upper == 1.0
    assert 0.8 < estimate.lower < 0.97


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.02, 0.04: times 3, 2, 1, never falling.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_sign_flips_are_exact_for_few_clusters() -> None:
    sums = np.array([1.0, 0.5, 2.0, -0.5])
    totals = [
        sum(s * x for s, x in zip(signs, sums, strict=True))
        for signs in itertools.product((1, -1), repeat=4)
    ]
    assert sign_flip_p(sums) == sum(t >= 3.0 for t in totals) / 16
    assert sign_flip_p(np.ones(5)) == 1 / 32
    assert sign_flip_p(np.ones(4)) == 1 / 16  # four can't reach 0.05
    assert fewest_clusters(0.05) == 5
    assert sign_flip_p(np.zeros(9)) == 1.0


def test_drawn_sign_flips_agree_with_the_binomial_test() -> None:
    from scipy.stats import binomtest

    sums = np.array([1.0] * 28 + [-1.0] * 12)
    expected = binomtest(28, 40, alternative="greater").pvalue
    assert sign_flip_p(sums) == pytest.approx(expected, rel=0.1)
    assert sign_flip_p(sums) == sign_flip_p(sums)  # seeded


def test_cluster_sums() -> None:
    assert cluster_sums([1, 0.5, -1], ["b", "a", "b"]).tolist() == [0.5, 0.0]


def simulate(rng: np.random.Generator, n: int, flips: float, loss: float) -> list[float]:
    """Paired differences of n items of which a share ``flips`` changes, with a mean of -loss."""
    lost = (flips + loss) / 2
    draws = rng.random(n)
    return np.where(draws < lost, -1.0, np.where(draws < flips, 1.0, 0.0)).tolist()


@pytest.mark.parametrize(("n", "flips"), [(300, 0.04), (300, 0.1), (1000, 0.1), (150, 0.031)])
def test_a_loss_at_the_margin_seldom_passes(n: int, flips: float) -> None:
    """Type-I error of non-inferiority at its boundary: 5 %, give or take what 1,000 runs leave
    (standard error 0.7 points) and the corner where every flip is a loss."""
    rng = np.random.default_rng(0)
    passed = sum(
        p_above(difference_interval(simulate(rng, n, flips, 0.03), own(n), alpha=0.05), -0.03)
        <= 0.05
        for _ in range(1000)
    )
    assert passed / 1000 < 0.075


@pytest.mark.parametrize(
    ("n", "flips", "detectable"),
    [(1172, 0.04, 0.0145), (1172, 0.10, 0.0230), (817, 0.04, 0.0174), (817, 0.10, 0.0275)],
)
def test_power_is_as_the_design_says(n: int, flips: float, detectable: float) -> None:
    """The smallest loss that is seen with 80 % power on ARC-Challenge and TruthfulQA."""
    rng = np.random.default_rng(1)
    seen = sum(
        p_below(difference_interval(simulate(rng, n, flips, detectable), own(n), alpha=0.05), 0.0)
        <= 0.05
        for _ in range(500)
    )
    assert seen / 500 == pytest.approx(0.8, abs=0.06)


def detectable_margin(n: int, flips: float, power: float = 0.8) -> float:
    """The formula of ``evals/suites/official/suite.yaml``, at alpha 0.05."""
    return quantiles(0.05, power) * float(np.sqrt(flips * n + 2)) / (n + 2)


@pytest.mark.parametrize(
    ("n", "flips", "power"),
    [(300, 0.04, 0.8), (300, 0.10, 0.8), (300, 0.10, 0.8 ** (1 / 6)), (2000, 0.10, 0.8)],
)
def test_the_detectable_margin_is_shown_as_often_as_it_says(
    n: int, flips: float, power: float
) -> None:
    margin = detectable_margin(n, flips, power=power)
    rng = np.random.default_rng(3)
    shown = sum(
        p_above(difference_interval(simulate(rng, n, flips, 0.0), own(n), alpha=0.05), -margin)
        <= 0.05
        for _ in range(500)
    )
    assert shown / 500 == pytest.approx(power, abs=0.06)


def test_the_margins_of_the_built_in_suites_fit_their_numbers_of_items() -> None:
    for name in built_in():
        suite = load(name).description
        n = suite.items_per_benchmark
        assert n is not None
        assert detectable_margin(n, 0.10) <= suite.margin <= suite.margin_anchor


def test_a_score_is_at_chance_when_its_interval_includes_what_guessing_gives() -> None:
    for n_right, expected in ((75, True), (100, False), (45, False), (80, True)):
        scores = [1.0] * n_right + [0.0] * (300 - n_right)
        chance = chance_level(scores, [4] * 300)
        assert chance == pytest.approx(0.25)
        assert is_at_chance(mean_interval(scores, own(300), alpha=0.025), chance) is expected
    assert chance_level([0.3, 0.5], [4, 4]) is None
    assert chance_level([], []) is None


def test_clustered_type_one_error_with_eight_subjects() -> None:
    """Eight subjects that each move by their own amount: t with 7 degrees of freedom holds."""
    rng = np.random.default_rng(2)
    clusters = [str(i // 140) for i in range(1120)]
    passed = 0
    for _ in range(600):
        drift = rng.normal(-0.03, 0.02, 8)
        differences = np.concatenate([simulate(rng, 140, 0.1, -d) for d in drift]).tolist()
        estimate = difference_interval(differences, clusters, alpha=0.05)
        passed += p_above(estimate, -0.03) <= 0.05
    assert passed / 600 < 0.08


def test_items_needed_grows_with_flips_and_ends_at_the_margin() -> None:
    calm = difference_interval([1.0, -1.0] * 6 + [0.0] * 288, own(300), alpha=0.05)
    wild = difference_interval([1.0, -1.0] * 45 + [0.0] * 210, own(300), alpha=0.05)
    hopeless = difference_interval([-1.0] * 30 + [0.0] * 270, own(300), alpha=0.05)
    needed = [items_needed(e, 300, margin=0.03, alpha=0.05) for e in (calm, wild, hopeless)]
    assert needed[0] is not None
    assert needed[1] is not None
    assert 300 < needed[0] < needed[1]
    assert needed[2] is None


def test_a_thousand_changed_conversations_need_little_memory() -> None:
    import tracemalloc

    sums = np.random.default_rng(1).normal(0.05, 1.0, 1000)
    tracemalloc.start()
    p = sign_flip_p(sums)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 150_000_000  # all signs at once were 900 MB
    z = float(sums.sum() / np.sqrt((sums**2).sum()))
    from scipy.stats import norm

    assert p == pytest.approx(float(norm.sf(z)), abs=0.01)


def test_quantiles_of_a_test_and_its_power() -> None:
    assert quantiles(0.05) == pytest.approx(1.6449 + 0.8416, abs=1e-3)
    assert quantiles(0.01) == pytest.approx(2.3263 + 0.8416, abs=1e-3)
