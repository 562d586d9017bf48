from __future__ import annotations

import pytest

from feedback.champion import number_of
from feedback.store import Store
from tests.feedback.examples import make_promotion


@pytest.mark.parametrize(
    ("moves", "champion"),
    [
        ([], "base"),
        ([("pawl@1", "live")], "pawl@1"),
        ([("pawl@1", "live"), ("pawl@2", "refused"), ("pawl@3", "indistinguishable")], "pawl@1"),
        ([("pawl@1", "live"), ("pawl@2", "pending")], "pawl@1"),
        ([("pawl@1", "live"), ("pawl@2", "pending"), ("pawl@2", "live")], "pawl@2"),
        ([("pawl@1", "live"), ("pawl@2", "live"), ("pawl@1", "live")], "pawl@1"),
        ([("pawl@1", "live"), ("base", "live")], "base"),
    ],
)
def test_the_newest_move_that_went_live_names_the_champion(
    store: Store, moves: list[tuple[str, str]], champion: str
) -> None:
    for version, outcome in moves:
        store.append_promotion(make_promotion(version, outcome)).result(timeout=60)
    assert store.champion() == champion


@pytest.mark.parametrize(
    ("version", "number"), [("pawl@3", 3), ("pawl@12", 12), ("base", 0), ("12", 0), ("pawl@x", 0)]
)
def test_numbers_of_versions(version: str, number: int) -> None:
    assert number_of(version) == number
