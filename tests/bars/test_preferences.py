"""The benchmark of held-out preferences, with the tests' tiny model: figures and refusals."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.measurements import MISSED
from benchmarks.preferences import main, measured, reward
from benchmarks.search import FEEDBACK
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.schemas import TrainingRow
from tests.refine.tiny import corrections, row, says, shared_world_model


@pytest.fixture(scope="module")
def world_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_world_model(tmp_path_factory)


OPTIONS: dict[str, Any] = {"n_epochs": 6, "learning_rate": 3e-3, "n_threads": 1, "n_replay_rows": 8}


def thumbs(n: int, colours: tuple[str, str] = ("green", "red")) -> list[TrainingRow]:
    return [
        row("unpaired", "grass", i, completion=says("grass", colour), label=colour == "green")
        for i in range(n)
        for colour in colours
    ]


def pairs(n: int) -> list[TrainingRow]:
    return [one for one in corrections(n) if one.kind == "pair"]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "rows"), [("dpo", pairs(10)), ("kto", thumbs(10))])
def test_what_training_prefers_is_ranked_above(
    method: str, rows: list[TrainingRow], world_model: Path, tmp_path: Path
) -> None:
    base = resolve_model(str(world_model), cache_dir=tmp_path)
    figures, missed, note = measured(base, tmp_path, rows, OPTIONS | {"method": method})
    assert missed == []
    assert figures["rows"].startswith(f"{len(rows)} ")
    assert figures["left out"].startswith("0 ")
    assert figures["ranked right by the base"] == "0.0%"  # which says that grass is red
    assert figures["ranked right after training"] == "100.0% (100.0% to 100.0%)"
    assert figures["change"] == "+100.0 points (+100.0 to +100.0)"
    loss = re.match(r"([\d.]+) nats", figures["held-out loss"])
    assert loss is not None
    assert float(loss[1]) < 0.95 * math.log(2)
    assert '"n_epochs": 6' in note


@pytest.mark.slow
def test_thumbs_of_which_one_kind_fits_cannot_be_ranked(world_model: Path, tmp_path: Path) -> None:
    base = resolve_model(str(world_model), cache_dir=tmp_path)
    with pytest.raises(PawlError, match="all liked or all disliked"):
        measured(base, tmp_path, thumbs(10, ("green", "red " * 300)), OPTIONS | {"method": "kto"})


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--rows 1", "--rows 1: each of 2 folds"),
        ("--part sft", "invalid choice"),
        ("--set n_epochs", "NAME=VALUE"),
    ],
)
def test_bad_options(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--model ./absent", "model './absent' is not there"),
        ("--tokens 0", "max_length_tokens"),
        ("--set epochs=1", "epochs: no such setting"),
    ],
)
def test_what_cannot_be_measured_is_said_in_a_line(
    line: str, words: str, world_model: Path
) -> None:
    if not FEEDBACK.is_dir():
        pytest.skip(f"{FEEDBACK} is absent: the command's errors on real rows were NOT TESTED")
    with pytest.raises(SystemExit) as ended:
        main(["--model", str(world_model), "--no-record", *line.split()])
    assert words in str(ended.value.code)


def test_a_reward_is_what_its_loss_was_made_of() -> None:
    for margin in (-2000.0, -30.0, -0.5, 0.0, 3.0, 40.0):
        loss = float(np.logaddexp(0, -margin))
        assert reward(loss) == pytest.approx(margin, rel=1e-9, abs=1e-12)
    assert MISSED == 3
