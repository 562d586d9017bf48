"""The benchmark of mixtures, with the tests' tiny model: what it trains, compares and says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.mixture import Bench, Task, difference, labels
from pawl.models import resolve_model
from tests.refine.tiny import ask, corrections, says, shared_world_model


@pytest.mark.slow
def test_two_tasks_are_compared_with_each_alone(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    def task(name: str, thing: str, right: str, n: int) -> Task:
        rows = [row for row in corrections(n, thing, right) if row.kind == "sft"]
        test = [(ask(thing, i), says(thing, right).__eq__) for i in range(10)]
        return Task(name, rows, test)

    tasks = [task("grass", "grass", "green", 8), task("snow", "snow", "red", 10)]
    options = {"n_epochs": 30, "learning_rate": 3e-3, "n_threads": 1, "n_replay_rows": 8}
    base = resolve_model(str(shared_world_model(tmp_path_factory)), cache_dir=tmp_path)
    bench = Bench(base, tmp_path / "work", tasks, options)
    figures, missed = bench.mixture("grass=0.7,snow=0.3")
    assert missed == []
    for name in ("grass", "snow"):
        assert figures[name].startswith("10 of 10 (100 %) alone, 10 of 10 (100 %) together with")
        assert figures[name].endswith("0 of 10 (0 %) untrained")
    assert figures["share of grass"].startswith("70% instead of ")


def test_differences_are_paired() -> None:
    ours, theirs = [True] * 50 + [False] * 50, [True] * 40 + [False] * 60
    value, low, high = difference(ours, theirs)
    assert value == pytest.approx(0.1)
    assert 0.03 < low < 0.06
    assert 0.14 < high < 0.17
    assert difference(ours, ours) == (0.0, 0.0, 0.0)


def test_an_answer_is_right_that_names_one_label(tmp_path: Path) -> None:
    (tmp_path / "use_case.yaml").write_text("labels: [good, bad]\ninstruction: 'Is {text} good?'\n")
    line = json.dumps({"text": "x", "answer": "good"})
    for part in ("train", "test"):
        (tmp_path / f"{part}.jsonl").write_text(line + "\n")
    task = labels(tmp_path)
    [(prompt, is_right)] = task.test
    assert prompt[0]["content"] == "Is x good?"
    assert task.rows[0].completion == "good"
    found = [is_right(text) for text in ("Good.", "good or bad", "bad", "")]
    assert found == [True, False, False, False]
