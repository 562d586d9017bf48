"""Which items are drawn, and where the data are."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals.suites import SUITES, data_files, data_hash, draw
from pawl.errors import PawlError


def test_a_draw_is_seeded_sorted_without_repeats_and_proportional() -> None:
    counts = {"anatomy": 130, "law": 1534, "virology": 166}
    one, again, other = (draw(counts, 200, seed) for seed in (0, 0, 1))
    assert one == again != other
    assert {name: len(indices) for name, indices in one.items()} == {
        "anatomy": 14,
        "law": 168,
        "virology": 18,
    }
    for name, indices in one.items():
        assert indices == sorted(set(indices))
        assert indices[-1] < counts[name]


def test_a_task_that_gets_no_item_is_left_out() -> None:
    """lm-eval takes an empty list for *all items*."""
    assert draw({"large": 1000, "tiny": 1}, 10, 0).keys() == {"large"}


def test_all_items_when_there_are_fewer() -> None:
    assert draw({"a": 3, "b": 0}, 10, 0) == {"a": [0, 1, 2]}
    assert draw({"a": 3}, None, 0) == {"a": [0, 1, 2]}


def test_another_task_does_not_change_a_tasks_own_order_of_drawing() -> None:
    assert draw({"a": 50}, 10, 0)["a"] == draw({"a": 50, "b": 50}, 20, 0)["a"]


def test_the_data_hash_follows_the_content(data_dir: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(data_dir, copy)
    assert data_hash("mini", copy) == data_hash("mini", data_dir)
    with (copy / "mmlu" / "sums.jsonl").open("a") as file:
        file.write("\n")
    assert data_hash("mini", copy) != data_hash("mini", data_dir)
    assert data_hash("official", None) == "hub"


def test_missing_data_say_which_and_for_what(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match=r"allenai/ai2_arc is not there.*official suite"):
        data_files("official", tmp_path)


def test_the_embedded_sets_are_there() -> None:
    names = {path.name for path in data_files("mini", None)}
    assert {"arc.jsonl", "hellaswag.jsonl", "truthfulqa.jsonl"} <= names
    assert len(SUITES["mini"]) == 5
