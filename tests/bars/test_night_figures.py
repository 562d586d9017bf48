"""What the benchmark of a night makes of its figures."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.night import figures_of, missed_bars

GOOD: dict[str, Any] = {
    "seconds": 1100.0,
    "outcome": "promote",
    "steps": {
        "snapshot": {"seconds": 0.4},
        "train": {"seconds": 700.0, "peak_memory_bytes": 3.1e9},
        "score challenger": {"seconds": 300.0, "peak_memory_bytes": 1.6e9},
    },
    "n_taught": 80,
    "n_taught_right": 76,
    "second_replay_seconds": 1.5,
    "n_generated": [90, 6],
}


def test_a_good_night_misses_nothing_and_lists_its_steps() -> None:
    assert missed_bars(GOOD) == []
    figures = figures_of(GOOD)
    assert figures["step train"] == "700.0 s, 3.1 GB"
    assert figures["step snapshot"] == "0.4 s"
    assert figures["taught prompts answered as taught"].startswith("76 of 80, 95.0%")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seconds": 1201.0}, "1201 s"),
        ({"steps": {"train": {"seconds": 1.0, "peak_memory_bytes": 5.2e9}}}, "5.2 GB"),
        ({"n_taught_right": 75}, "75 of 80"),
        ({"second_replay_seconds": 30.0}, "30.0 s"),
    ],
)
def test_each_bar_can_be_missed(change: dict[str, Any], word: str) -> None:
    [missed] = missed_bars(GOOD | change)
    assert word in missed
