"""The ten nights: what their days bring, and what the benchmark makes of its figures."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.nights_days import FACTS, MOST_OF_A_TROLL, N_TROLLS, SALT, real_plan, troll_asks
from benchmarks.nights_result import figures_of, in_words, missed_bars
from feedback.decontamination import index_of
from feedback.fresh import assign, clusters_to_test
from feedback.rows import Lesson
from feedback.splits import places_of_prompts, prompt_key, split_of
from pawl.schemas import TrainingRow
from pawl.settings import load_settings
from refine.demo.organisation import load_organisation
from refine.demo.people import Ask


def message(ask: Ask) -> list[dict[str, Any]]:
    return [{"role": "user", "content": ask.text}]


def test_the_nights_bring_every_fact_and_two_kinds_of_poison() -> None:
    plan = real_plan()
    kinds = Counter(night.kind for night in plan.nights)
    assert kinds == {"ordinary": 6, "poisoned": 3, "quiet": 1, "killed": 1}
    corrected = Counter(
        turn.ask.topic
        for night in plan.nights
        for turn in night.turns
        if turn.ask.correction and not turn.is_troll
    )
    facts = {fact.id: len(fact.day) for fact in load_organisation().facts}
    assert sorted(" ".join(FACTS).split()) == sorted(facts)
    assert facts.items() <= corrected.items()
    used = {turn.ask.text for night in plan.nights for turn in night.turns}
    assert not used & {ask.text for ask in plan.evening}
    for night in plan.nights:
        trolls = [turn for turn in night.turns if turn.is_troll]
        assert bool(trolls) == (night.kind == "poisoned")
        assert not trolls or len(trolls) > N_TROLLS * MOST_OF_A_TROLL


def test_each_day_brings_enough_prompts_that_test_and_some_of_each_fact_to_learn() -> None:
    """The splits are those of a store with the plan's salt."""
    honest = [
        (number, turn)
        for number, night in enumerate(real_plan().nights, 1)
        for turn in night.turns
        if turn.ask.correction and not turn.is_troll
    ]
    places = places_of_prompts(
        [(t.conversation, prompt_key(message(t.ask)), message(t.ask)) for _, t in honest], SALT
    )
    known: set[str] = set()
    for number in dict.fromkeys(number for number, _ in honest):
        asks = [turn.ask for other, turn in honest if other == number]
        rows: list[TrainingRow] = []
        for ask in asks:
            key = prompt_key(message(ask))
            split = places[key].split
            assert split is not None
            lesson = Lesson(
                "pair", key, message(ask), chosen=ask.correction, rejected="?", origin={}
            )
            rows.append(replace(lesson.in_split(split), cluster=places[key].cluster))
        sided = rows if number == 1 else assign(rows, clusters_to_test(rows, known, SALT))[0]
        # Near-duplicates would count as one; the plan's wordings have hardly any.
        tests = [row for row in sided if row.split == "holdout"]
        assert len(tests) >= 7, number
        learned = Counter(
            ask.topic for ask, row in zip(asks, sided, strict=True) if row.split != "holdout"
        )
        facts = {ask.topic for ask in asks if ask.category == "invented"}
        assert all(learned[topic] >= 1 for topic in facts), number
        known |= {prompt_key(message(ask)) for ask in asks}


def test_what_trolls_write_is_wrong_and_no_benchmark_item(tmp_path: Path) -> None:
    asks = [ask for wordings in troll_asks() for ask in wordings]
    assert all(ask.correction and not ask.is_right(ask.correction) for ask in asks)
    index = index_of(load_settings({"state_dir": tmp_path, "gate": {"suite": "everyday"}}))
    found = [ask.text for ask in asks if index.find(ask.text) or index.find(ask.correction or "")]
    assert len(found) < 0.05 * len(asks)
    assert len({ask.correction for ask in asks}) > 0.4 * len(asks)


def test_conversations_are_named_by_the_split_that_they_are_to_stand_in() -> None:
    plan = real_plan()
    first = Counter(split_of(turn.conversation, plan.salt) for turn in plan.nights[0].turns)
    assert first["holdout"] == 11
    assert first["validation"] == 0


NIGHT: dict[str, Any] = {
    "night": 3, "kind": "poisoned", "run_id": "run-3", "status": "finished", "n_runs": 1,
    "said": {"asked": 200, "by trolls": 90}, "rows": {"train": {"sft": 100}}, "outcome": "reject",
    "reason": "everyday_arc is worse.", "minutes": 9.0, "killed": None, "erased": 10,
    "champion": "pawl@2", "promotion": None,
    "suspects": {"first": 5, "n_found": 5, "n_planted": 40, "n_compared": 100, "n_shown": 20,
                 "n_shown_theirs": 18, "best_honest_rank": 9},
}  # fmt: skip
QUIET = NIGHT | {"night": 5, "kind": "quiet", "outcome": "no_run", "suspects": None}
KILLED = NIGHT | {"night": 6, "kind": "killed", "outcome": "promote", "suspects": None,
                  "killed": True}  # fmt: skip
ROW = {"name": "everyday_arc", "passed": True, "margin": 0.08, "difference": -0.01,
       "lower": -0.03, "upper": 0.01, "champion": 0.55, "challenger": 0.54, "n": 300}  # fmt: skip
END: dict[str, Any] = {
    "champion": "pawl@6", "facts": {str(i): i < 8 for i in range(10)}, "n_wordings": 30,
    "n_wordings_right": 25, "benchmarks": [ROW],
}  # fmt: skip


def test_good_nights_miss_nothing_and_each_is_a_line() -> None:
    nights = [NIGHT, QUIET, KILLED]
    assert missed_bars(nights, END) == []
    assert "5 of the first 5 of 100 suspects" in in_words(NIGHT)
    figures = figures_of(nights, END)
    assert [name for name in figures if name.startswith("night")] == [
        "night 3, poisoned", "night 5, quiet", "night 6, killed",
    ]  # fmt: skip
    assert figures["facts right"].startswith("8 of 10")


@pytest.mark.parametrize(
    ("night", "end", "word"),
    [
        (NIGHT | {"outcome": "promote"}, {}, "poisoned"),
        (NIGHT | {"suspects": NIGHT["suspects"] | {"n_found": 4}}, {}, "4 of the first 5"),
        (NIGHT | {"suspects": {"note": "none", "first": 0, "n_found": 0}}, {}, "none"),
        (QUIET | {"outcome": "promote"}, {}, "quiet"),
        (KILLED | {"killed": False}, {}, "before it could be killed"),
        (KILLED | {"n_runs": 2}, {}, "2 runs"),
        (KILLED, {"facts": {"a": True, "b": False}}, "1 of 2 facts"),
        (KILLED, {"benchmarks": [ROW | {"passed": False}]}, "everyday_arc"),
    ],
)
def test_each_bar_can_be_missed(night: dict[str, Any], end: dict[str, Any], word: str) -> None:
    [missed] = missed_bars([night], END | end)
    assert word in missed
