"""The probe tells an adapter from the base, from the champion and from nonsense."""

from __future__ import annotations

import math
import random

import pytest

from pawl.adapters import ProbePosition
from serve.engine.probe import FARTHEST, NOISE, distance, judge

Logprobs = dict[int, float]


def distributions(seed: int, n: int = 16) -> list[Logprobs]:
    """Next-token distributions over 20 tokens."""
    rng = random.Random(seed)
    return [{i: math.log(rng.uniform(0.001, 0.2)) for i in range(20)} for _ in range(n)]


def moved(rows: list[Logprobs], by: float, seed: int = 0) -> list[Logprobs]:
    """The same distributions, each number off by ``by`` to one side or the other."""
    rng = random.Random(seed)
    return [{i: value + rng.choice((-by, by)) for i, value in row.items()} for row in rows]


def recorded(adapter: list[Logprobs], base: list[Logprobs]) -> list[ProbePosition]:
    return [
        ProbePosition([1, n], ours, theirs)
        for n, (ours, theirs) in enumerate(zip(adapter, base, strict=True))
    ]


BASE = distributions(1)
STRONG = moved(BASE, 0.8, seed=2)
CHAMPION = moved(BASE, 0.6, seed=3)


def test_a_strong_adapter_with_honest_noise_is_live() -> None:
    result = judge(
        recorded(STRONG, BASE), moved(STRONG, 0.0015, 5), moved(BASE, 0.0015, 6), CHAMPION
    )
    assert result.outcome == "live"
    assert result.distances["live"] == pytest.approx(0.0015)
    assert result.distances["base"] > 0.7


def test_the_base_in_the_place_of_the_adapter_fails() -> None:
    live = moved(BASE, 0.001, 5)
    assert judge(recorded(STRONG, BASE), live, BASE, CHAMPION).outcome == "failed"


def test_the_champion_in_the_place_of_the_adapter_fails() -> None:
    assert judge(recorded(STRONG, BASE), CHAMPION, BASE, CHAMPION).outcome == "failed"


def test_a_weak_but_honest_adapter_is_live_and_the_base_in_its_place_is_not() -> None:
    weak = moved(BASE, 0.005, seed=4)
    probe = recorded(weak, BASE)
    assert judge(probe, moved(weak, 0.001, 5), moved(BASE, 0.001, 6), None).outcome == "live"
    assert judge(probe, moved(BASE, 0.001, 5), moved(BASE, 0.001, 6), None).outcome == "failed"


def test_the_same_as_the_base_is_indistinguishable_not_failed() -> None:
    result = judge(recorded(BASE, BASE), moved(BASE, 0.001, 5), moved(BASE, 0.001, 6), None)
    assert result.outcome == "indistinguishable"


def test_the_same_as_the_champion_is_indistinguishable() -> None:
    result = judge(
        recorded(CHAMPION, BASE), moved(CHAMPION, 0.001, 5), BASE, moved(CHAMPION, 0.001, 6)
    )
    assert result.outcome == "indistinguishable"
    assert "champion" in result.reason


def test_other_weights_fail_even_when_they_are_nearer_to_the_training_than_the_base() -> None:
    live = moved(STRONG, 0.3, 5)
    assert judge(recorded(STRONG, BASE), live, BASE, None).outcome == "failed"


def test_a_coarser_engine_is_allowed_the_noise_that_its_base_shows() -> None:
    probe = recorded(moved(BASE, 0.1, 4), BASE)
    live, base = moved([one.logprobs for one in probe], 0.06, 5), moved(BASE, 0.06, 6)
    assert judge(probe, live, base, None).outcome == "indistinguishable"
    assert judge(probe, live, BASE, None).outcome == "failed"


def test_a_bf16_engine_against_a_float32_recording_is_live() -> None:
    live, base = moved(STRONG, 0.011, 5), moved(BASE, 0.002, 6)
    assert judge(recorded(STRONG, BASE), live, base, CHAMPION).outcome == "live"


def test_an_engine_with_another_base_fails() -> None:
    other = moved(BASE, 1.0, 9)
    result = judge(recorded(STRONG, BASE), STRONG, other, None)
    assert result.outcome == "failed"
    assert "the base answers" in result.reason


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_fail(bad: float) -> None:
    live = [dict(row) for row in STRONG]
    live[7][3] = bad
    assert judge(recorded(STRONG, BASE), live, BASE, None).outcome == "failed"
    assert judge(recorded(STRONG, BASE), [{}, *live[1:]], BASE, None).outcome == "failed"


def test_distance_counts_a_missing_token_with_the_least_it_can_differ() -> None:
    one = [{1: -0.1, 2: -3.0, 3: -9.0}]
    other = [{1: -0.3, 4: -2.0}]
    # 1: 0.2; 2 is at most as likely as the last, -2.0, and so may not differ; 3 likewise.
    assert distance(one, other) == pytest.approx(0.2 / 3)
    # 1 is -0.1 here and at most -4.0 there.
    assert distance([{1: -0.1}], [{5: -0.2, 6: -4.0}]) == pytest.approx(3.9)


def test_the_documented_noise_is_told_from_the_documented_weak_adapter() -> None:
    assert 2 * NOISE < 0.005 < FARTHEST < 0.4
