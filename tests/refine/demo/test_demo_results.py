"""What the demonstration counts, and what its page and its exit code say of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks.demo import figures_of, missed_bars
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.settings import Settings, load_settings
from refine.demo.organisation import load_organisation
from refine.demo.page import describe, is_promoted, write_page
from refine.demo.people import Answer, Ask, script_of
from refine.demo.results import compare_everyday, compare_topics, interval
from refine.demo.run import RESULT, begin_anew

ORGANISATION = load_organisation()
SCRIPT = script_of(ORGANISATION)


def answers(asks: list[Ask], texts: list[str]) -> list[Answer]:
    pairs = zip(asks, texts, strict=True)
    return [Answer(ask, text, f"id-{i}", "base") for i, (ask, text) in enumerate(pairs)]


def fact_answers(ids: list[str], n_right: dict[str, int]) -> list[Answer]:
    """For each fact so many of its phrasings right, the rest mistaken."""
    made = []
    for fact in ORGANISATION.facts:
        asks = [ask for ask in SCRIPT.facts if ask.topic == fact.id]
        if fact.id in ids:
            n = n_right.get(fact.id, 0)
            made += answers(asks, [fact.answer] * n + [fact.mistaken] * (len(asks) - n))
    return made


def result_of(**changes: Any) -> dict[str, Any]:
    ids = ["opens", "kiln", "bus", "laser"]
    everyday = SCRIPT.everyday[:4]
    right = [question.keys[0][0] for question in ORGANISATION.everyday[:4]]
    behaviour = ORGANISATION.behaviours[0].id
    forms = [ask for ask in SCRIPT.behaviours if ask.topic == behaviour]
    return {
        "organisation": {"name": "Ottermoor Works", "about": "a mill"},
        "at": "2026-01-01T00:00:00+00:00",
        "seed": 0,
        "base": "smollm2-135m",
        "state_dir": "/somewhere/.pawl-demo",
        "feedback": {"corrected": 100, "corrected_wrongly": 5},
        "facts": compare_topics(
            fact_answers(ids, {"laser": 3}),
            fact_answers(ids, {"opens": 3, "kiln": 2, "bus": 1, "laser": 3}),
        ),
        "behaviours": compare_topics(
            answers(forms, ["One. Two. Three."] * 4), answers(forms, ["It is <b>one</b>."] * 4)
        ),
        "behaviour_titles": {behaviour: "Too long"},
        "everyday": compare_everyday(
            answers(everyday, [*right[:3], "Bananas."]),
            answers(everyday, ["Bananas & plums.", *right[1:]]),
        ),
        "champion_before": "base",
        "champion_after": "pawl@1",
        "engine_restarted": False,
        "night": {
            "run_id": "run-1",
            "outcome": "promote",
            "reason": "No loss was shown.",
            "seconds": {"train": 400.0},
            "report": "/somewhere/report.html",
            "verdict": {
                "benchmarks": [
                    {
                        "name": "arc_easy", "champion": 0.541, "challenger": 0.5, "n": 300,
                        "difference": -0.041, "lower": -0.07, "upper": 0.01, "margin": 0.08,
                        "passed": True,
                    },
                    {
                        "name": "mmlu", "champion": None, "challenger": 0.25, "n": 300,
                        "difference": None, "lower": None, "upper": None, "margin": 0.08,
                        "passed": False,
                    },
                ],
            },
        },
        "steps": {"the server's start": 40.0, "the night": 1200.0},
        **changes,
    }  # fmt: skip


def test_a_fact_is_fixed_when_two_of_three_unused_phrasings_became_right() -> None:
    facts = result_of()["facts"]
    assert {name: one["is_fixed"] for name, one in facts["topics"].items()} == {
        "opens": True, "kiln": True, "bus": False, "laser": False,
    }  # fmt: skip
    assert (facts["n"], facts["n_fixed"], facts["n_right_before"]) == (4, 2, 1)
    assert (facts["n_phrasings"], facts["n_phrasings_right"]) == (12, 9)
    low, high = facts["fixed_interval"]
    assert 0 < low < 0.5 < high < 1


def test_everyday_questions_tell_broken_from_newly_right() -> None:
    everyday = result_of()["everyday"]
    assert (everyday["n_right_before"], everyday["n_right"]) == (3, 3)
    assert [one["after"] for one in everyday["broken"]] == ["Bananas & plums."]
    assert [one["before"] for one in everyday["newly_right"]] == ["Bananas."]


def test_an_interval_holds_the_share_and_stays_a_share() -> None:
    for n, n_all in ((0, 10), (5, 10), (10, 10)):
        low, high = interval(n, n_all)
        assert 0 <= low <= n / n_all <= high <= 1
    assert interval(0, 0) == (0.0, 1.0)


def test_the_page_holds_the_figures_and_nothing_from_outside(tmp_path: Path) -> None:
    result = result_of()
    write_page(tmp_path / "demo.html", result)
    page = (tmp_path / "demo.html").read_text()
    figures = dict(re.findall(r'<b id="([\w-]+)">([^<]+)</b>', page))
    assert figures == {
        "facts-fixed": "2 of 4", "phrasings-right": "9 of 12", "newly-broken": "1",
    }  # fmt: skip
    rows = re.search(r'<table id="benchmarks">(.*?)</table>', page, re.S)
    assert rows
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows[1].split("<tr>")[2:]]
    assert cells[0] == [
        "arc_easy", "54.1%", "50.0%", "-4.1", "-7.0 to +1.0", "-8.0", "300",
    ]  # fmt: skip
    assert cells[1][1] == "unknown"
    assert page.count(">fixed</span>") == 2
    assert "&lt;b&gt;one" in page
    assert not re.search(r"<script|<link|<img|https?://|url\(", page)


def test_a_night_without_a_verdict_has_a_page_too(tmp_path: Path) -> None:
    result = result_of(champion_after="base")
    result["night"] |= {"verdict": None, "outcome": "failed", "reason": "it broke"}
    write_page(tmp_path / "demo.html", result)
    page = (tmp_path / "demo.html").read_text()
    assert 'id="benchmarks"' not in page
    assert "it broke" in page
    assert not is_promoted(result)
    assert "rollback" not in page + describe(result, tmp_path)


def test_the_terminal_says_what_the_page_says() -> None:
    text = describe(result_of(), Path("demo.html"))
    for figure in ("2 of 4 fixed", "9 of 12", "1 newly broken", "54.1% ->", "pawl@1", "demo.html"):
        assert figure in text
    assert "pawl --state-dir /somewhere/.pawl-demo rollback" in text


def settings_in(folder: Path) -> Settings:
    return load_settings({"state_dir": folder})


def test_an_earlier_demonstration_is_moved_aside(tmp_path: Path) -> None:
    settings = settings_in(tmp_path / "demo")
    assert begin_anew(settings) is None
    (settings.state_dir / "pawl.duckdb").write_text("of the first")
    old = begin_anew(settings)
    assert old is not None
    assert (old / "pawl.duckdb").read_text() == "of the first"
    assert [path.name for path in settings.state_dir.iterdir()] == [RESULT]


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    write_json(tmp_path / "other.json", {"mine": True})
    with pytest.raises(PawlError):
        begin_anew(settings)
    assert read_json(tmp_path / "other.json") == {"mine": True}
    assert len(list(tmp_path.iterdir())) == 1


def test_the_benchmark_names_every_bar_that_was_missed() -> None:
    result = result_of(total_seconds=3000.0, engine_restarted=True)
    figures = figures_of(result)
    assert figures["facts fixed"].startswith("2 of 4")
    assert figures["arc_easy"].startswith("54.1% -> 50.0%")
    missed = missed_bars(result)
    assert len(missed) == 4
    for word in ("facts", "3000 s", "restarted", "mmlu"):
        assert any(word in line for line in missed)
    assert missed_bars({**result, "champion_after": "base"})[2:] != missed[2:]
