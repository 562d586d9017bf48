"""The choice of the method: by the shape of the rows, never against what they can support."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest

from pawl.errors import PawlError
from pawl.schemas import TrainingRow
from pawl.settings import Settings, TrainSettings
from refine.planner import (
    MIN_PER_LABEL,
    MIN_REPLAY_ROWS,
    MIN_ROWS,
    MIN_UNPAIRED,
    REPLAY_EPOCHS,
    Plan,
    choose,
)
from tests.refine.tiny import corrections, row, says

Rows = Callable[[], list[TrainingRow]]


def settings(**train: Any) -> Settings:
    return Settings.model_construct(train=TrainSettings(**train))


def pairs(n: int) -> list[TrainingRow]:
    return [row("pair", "snow", i, chosen=says("snow", "white"), rejected="No.") for i in range(n)]


def thumbs(n_up: int, n_down: int) -> list[TrainingRow]:
    return [
        row("unpaired", "snow", i % 10, completion=f"{i}", label=i < n_up)
        for i in range(n_up + n_down)
    ]


@pytest.mark.parametrize(
    ("rows", "method", "stages"),
    [
        (corrections(9), "sft", ["sft"]),
        ([one for one in corrections(9) if one.kind == "sft"], "sft", ["sft"]),
        (pairs(MIN_ROWS), "dpo", ["dpo"]),
        (pairs(MIN_ROWS) + corrections(3), "dpo", ["dpo"]),
        (thumbs(8, 8), "kto", ["kto"]),
        (thumbs(8, 8) + corrections(9), "sft", ["sft"]),
        ([], "none", []),
        (pairs(MIN_ROWS - 1), "none", []),
        (thumbs(MIN_UNPAIRED, 0), "none", []),
        (thumbs(MIN_UNPAIRED, MIN_PER_LABEL - 1), "none", []),
        (thumbs(MIN_UNPAIRED - MIN_PER_LABEL - 1, MIN_PER_LABEL), "none", []),
    ],
)
def test_shape_decides(rows: list[TrainingRow], method: str, stages: list[str]) -> None:
    plan = choose(rows, settings())
    assert plan.method == method
    assert [stage.kind for stage in plan.stages] == stages
    assert plan.reason


def test_no_run_says_what_there_is_and_what_is_needed() -> None:
    reason = choose(pairs(3) + thumbs(2, 1), settings()).reason
    assert "3 preference pairs" in reason
    assert "2 liked and 1 disliked" in reason
    assert str(MIN_ROWS) in reason
    assert str(MIN_UNPAIRED) in reason


def test_validation_and_holdout_do_not_count_as_training_rows() -> None:
    rows = [
        dataclasses.replace(one, split=split)
        for one in corrections(9)
        for split in ("validation", "holdout")
    ]
    plan = choose(rows, settings())
    assert plan.method == "none"
    assert plan.counts["sft"] == 0
    assert plan.counts["validation"] == 18


def test_forced_method_is_taken() -> None:
    plan = choose(corrections(9), settings(method="sft+dpo"))
    assert [stage.kind for stage in plan.stages] == ["sft", "dpo"]


@pytest.mark.parametrize(
    ("method", "rows", "words"),
    [
        ("sft", pairs(20), "0 written answers"),
        ("dpo", thumbs(10, 10), "0 preference pairs"),
        ("sft+dpo", pairs(20), "0 written answers"),
        ("kto", corrections(9), "0 liked and 0 disliked"),
        ("kto", thumbs(30, 1), "30 liked and 1 disliked"),
    ],
)
def test_forced_method_that_the_rows_cannot_support(
    method: str, rows: list[TrainingRow], words: str
) -> None:
    with pytest.raises(PawlError, match=words) as caught:
        choose(rows, settings(method=method))
    assert method in str(caught.value)


@pytest.mark.parametrize("name", ["learning_rate", "n_epochs", "batch_size", "max_length_tokens"])
@pytest.mark.parametrize("value", [0, -4])
def test_settings_that_can_not_be_trained_with_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name}\n.*greater than"):
        settings(**{name: value})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"seed\n"):
        settings(seed=seed)


def test_pairs_that_no_training_uses_are_named() -> None:
    alone = choose(corrections(9), settings())
    assert alone.counts["pair"] == 9
    assert alone.counts["choice"] == 0  # each is the twin of a written answer
    assert "not used" not in alone.reason
    beside = choose(corrections(9) + pairs(10), settings())
    assert (beside.method, beside.counts["choice"]) == ("sft", 10)
    assert "10 preference pairs without a written answer are not used" in beside.reason


def test_settings_override_what_the_method_chooses() -> None:
    plan = choose(
        corrections(9),
        settings(
            learning_rate=1e-4,
            n_epochs=2.5,
            batch_size=4,
            max_length_tokens=99,
            n_replay_rows=0,
            max_minutes=7,
            lora_rank=8,
            lora_alpha=8,
            n_threads=1,
            seed=5,
        ),
    )
    stage = plan.stages[0]
    assert (stage.learning_rate, stage.n_epochs, stage.batch_size) == (1e-4, 2.5, 4)
    assert (plan.max_length_tokens, plan.n_replay_rows, plan.lora_rank) == (99, 0, 8)
    assert (plan.lora_alpha, plan.n_threads, plan.seed, plan.max_minutes) == (8, 1, 5, 7)


def test_replay_follows_from_what_is_corrected_and_from_the_time() -> None:
    def n_replay(n_rows: int, **options: Any) -> int:
        rows = [row("sft", "snow", i, completion=f"Answer {i}.") for i in range(n_rows)]
        return choose(rows, settings(**options)).n_replay_rows

    least = MIN_REPLAY_ROWS * REPLAY_EPOCHS
    assert n_replay(MIN_ROWS) == least
    assert least < n_replay(150) < n_replay(250)
    assert n_replay(1000) == n_replay(2000)  # there is no more time
    assert n_replay(1000, max_minutes=10) < n_replay(1000, max_minutes=20)
    assert n_replay(1000, n_replay_rows=5) == 5


def test_wider_models_get_lower_learning_rates() -> None:
    rates = [
        choose(corrections(9), settings(), hidden_size=width).stages[0].learning_rate
        for width in (256, 1024, 4096)
    ]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > 2 * rates[1]


def test_plan_survives_json() -> None:
    plan = choose(corrections(9), settings(method="sft+dpo"))
    assert Plan.from_json(json.loads(json.dumps(plan.as_json()))) == plan


def test_plan_of_another_shape_is_refused() -> None:
    value = choose(corrections(9), settings()).as_json() | {"momentum": 0.9}
    with pytest.raises(PawlError, match="momentum"):
        Plan.from_json(value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "dpo", "neftune_alpha": 5}, r"neftune_alpha = 5 .*trained by dpo.*'sft'"),
        ({"method": "kto", "batch_size": 3}, r"batch_size = 3 .*trained by kto.*4 rows"),
        ({"method": "kto", "label_smoothing": 0.1}, r"label_smoothing = 0.1 .*trained by kto"),
        ({"tuning": "full", "lora_dropout": 0.1}, r"lora_dropout = 0.1 .*'full'.*'lora'"),
    ],
)
def test_a_setting_that_the_method_does_not_have_is_refused(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(PawlError, match=words):
        choose(corrections(9) + thumbs(9, 9), settings(**options))
    both = settings(neftune_alpha=5, label_smoothing=0.1, last_layers=3, tuning="rslora")
    plan = choose(corrections(9), both)
    assert (plan.neftune_alpha, plan.label_smoothing) == (5, 0.1)
    assert (plan.last_layers, plan.tuning) == (3, "rslora")
