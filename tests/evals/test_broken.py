"""What broke: items of the slices that failed, the largest losses first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evals.broken import failed_slices, spread, what_broke
from evals.score import write_scores
from pawl.files import write_json
from pawl.schemas import ItemScore

PASSED = {"passed": True, "p_worse_holm": 1.0}
LOST = {"passed": False, "p_worse_holm": 0.001}
UNCLEAR = {"passed": False, "p_worse_holm": 0.4}


def items_of(**scores: list[float]) -> list[ItemScore]:
    return [
        ItemScore(name, f"{name}-{i}", score, str(i))
        for name, of in scores.items()
        for i, score in enumerate(of)
    ]


def make_run(folder: Path, verdict: dict[str, Any] | None, **roles: list[ItemScore]) -> Path:
    for role, items in roles.items():
        write_scores(folder / "scores" / role, items, {})
    if verdict is not None:
        write_json(folder / "verdict.json", {"alpha": 0.05, "benchmarks": [], **verdict})
    return folder


def names(items: list[ItemScore]) -> list[str]:
    return [item.item_id for item in items]


def test_items_of_a_slice_that_failed_come_before_what_chance_broke(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        {"benchmarks": [{"name": "arc", **LOST}, {"name": "mmlu", **UNCLEAR}]},
        champion=items_of(arc=[1.0, 1.0, 0.5, 0.0], mmlu=[1.0, 1.0]),
        challenger=items_of(arc=[0.5, 0.0, 0.48, 1.0], mmlu=[0.0, 1.0]),
    )
    found = what_broke(run)
    assert (found.than, found.failed, found.n_by_slice) == ("champion", True, {"arc": 2})
    assert names(found.items) == ["arc-1", "arc-0"]  # a hair on a benchmark's item is no loss
    assert found.items[0].score == 0.0, "the challenger's own record"


def test_a_loss_against_the_anchor_alone_is_looked_for_there(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        {"anchor": [{"name": "arc", **LOST}]},
        champion=items_of(arc=[0.0, 1.0]),
        anchor=items_of(arc=[1.0, 1.0]),
        challenger=items_of(arc=[0.0, 0.0]),
    )
    found = what_broke(run)
    assert (found.than, names(found.items)) == ("anchor", ["arc-0", "arc-1"])


def test_what_was_not_learned_was_broken_by_no_row(tmp_path: Path) -> None:
    """The base answers no better: the training ended before it learned what the champion's did."""
    kept = [{"than": "the champion", "passed": False}]
    scores = {
        "champion": items_of(holdout__kept=[1.0, 1.0], arc=[1.0, 1.0]),
        "anchor": items_of(holdout__kept=[0.0, 0.0], arc=[1.0, 0.5]),
        "challenger": items_of(holdout__kept=[0.0, 0.0], arc=[0.0, 1.0]),
    }
    found = what_broke(make_run(tmp_path, {"kept": kept}, **scores))
    assert (names(found.items), found.failed, found.n_not_learned) == (["arc-0"], False, 2)
    nothing_else = {role: items[:2] for role, items in scores.items()}
    found = what_broke(make_run(tmp_path / "more", {"kept": kept}, **nothing_else))
    assert (len(found.items), found.failed, found.n_not_learned) == (2, True, 0)


def test_without_a_failed_slice_all_that_got_worse_is_taken(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        None,
        champion=items_of(arc=[1.0], holdout__controls=[1.0, 1.0]),
        challenger=items_of(arc=[0.0], holdout__controls=[0.99, 1.0]),
    )
    found = what_broke(run)
    assert not found.failed
    assert sorted(names(found.items)) == ["arc-0", "holdout__controls-0"]


def test_where_people_s_prompts_were_not_enough_theirs_come_before_what_chance_broke(
    tmp_path: Path,
) -> None:
    people = {"p_worse": 0.9, "looked": False, "gain": 0.1, "passed": False}
    run = make_run(
        tmp_path,
        {"benchmarks": [{"name": "arc", **PASSED}], "holdout": people},
        champion=items_of(arc=[1.0], holdout=[0.0], holdout__controls=[1.0, 1.0]),
        challenger=items_of(arc=[0.0], holdout=[1.0], holdout__controls=[0.0, 1.0]),
    )
    found = what_broke(run)
    assert (found.failed, names(found.items)) == (False, ["holdout__controls-0"])


@pytest.mark.parametrize(
    ("people", "failed"),
    [
        ({"p_worse": 0.01, "looked": False, "gain": -1.0}, {"holdout", "holdout__controls"}),
        ({"p_worse": 0.9, "looked": True, "gain": -0.1}, {"holdout", "holdout__controls"}),
        ({"p_worse": 0.9, "looked": False, "gain": -0.1}, set()),
        ({"p_worse": 0.9, "looked": True, "gain": 0.1}, set()),
    ],
)
def test_when_peoples_prompts_failed(people: dict[str, Any], failed: set[str]) -> None:
    verdict = {"alpha": 0.05, "benchmarks": [{"name": "arc", **PASSED}], "holdout": people}
    assert failed_slices(verdict)["champion"] == failed


def test_prompts_broken_again_are_looked_for_where_they_were_better() -> None:
    kept = {"than": "the best champion so far", "passed": False}
    assert failed_slices({"alpha": 0.05, "benchmarks": [], "kept": [kept]}) == {
        "champion": set(),
        "anchor": set(),
        "best": {"holdout__kept"},
    }


def test_items_of_all_slices_get_their_share() -> None:
    items = items_of(arc=[0.0] * 5, mmlu=[0.0])
    assert names(spread(items, 3)) == ["arc-0", "mmlu-0", "arc-1"]
