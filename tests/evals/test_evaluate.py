"""``pawl eval``: the table of a model's scores on a suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.evaluate import describe, evaluate
from evals.suites import Suite
from pawl.models import BaseModel
from pawl.settings import load_settings

pytestmark = pytest.mark.slow


def test_the_table_has_each_benchmark_with_interval_and_chance(
    model: BaseModel, suite: Suite, tmp_path: Path
) -> None:
    settings = load_settings({"model": str(model.model_dir), "state_dir": str(tmp_path)})
    lines: list[str] = []
    result = evaluate(settings, suite=str(suite.folder), n_items=20, say=lines.append)
    assert result["suite"] == "tiny"
    rows = {row["name"]: row for row in result["benchmarks"]}
    assert list(rows) == ["arc", "hellaswag", "subjects", "mc1", "mc2"]
    for row in rows.values():
        assert row["n"] == 20
        assert row["n_errors"] == 0
        assert row["lower"] < row["score"] < row["upper"]
    assert rows["arc"]["chance"] == pytest.approx(0.25)
    assert rows["mc2"]["chance"] is None
    marked = [row["name"] for row in rows.values() if row["at_chance"]]
    assert marked  # a random model guesses
    text = describe(result).splitlines()
    assert sum(line.endswith("  at chance") for line in text) == len(marked)
    again = evaluate(settings, suite=str(suite.folder), n_items=20)
    assert again["manifest"]["reused"] == ["benchmarks"]
    assert again["benchmarks"] == result["benchmarks"]
