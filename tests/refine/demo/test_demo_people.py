"""The people of the demonstration ask and complain through the real gateway and store."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.settings import load_settings
from refine.demo.organisation import load_organisation
from refine.demo.people import N_PEOPLE, People, script_of
from refine.demo.run import ask_unused, spend_day
from tests.serve.live import live

SCRIPT = script_of(load_organisation())


@pytest.mark.slow
def test_a_day_leaves_flags_corrections_and_praise_in_the_store(tmp_path: Path) -> None:
    settings = load_settings({"state_dir": tmp_path})
    with live(settings) as server:
        people = People(Pawl(server.url), seed=0)
        counts = spend_day(people, SCRIPT)
        unused = ask_unused(people, SCRIPT, "before")
        feedback = server.store.feedback_history()
        completions = server.store.completions()

    asked = {c.messages[-1]["content"]: c for c in completions}
    n_unused = sum(map(len, unused.values()))
    n_day = len(SCRIPT.day) + len(SCRIPT.liked)
    assert len(completions) == len(asked) == n_day + n_unused
    assert len({c.conversation_id for c in completions}) == len(completions)
    assert len({c.rater_id for c in completions}) == N_PEOPLE
    by_id = {c.completion_id: c for c in completions}
    assert all(f.rater_id == by_id[f.completion_id].rater_id for f in feedback)

    def kind(thumb: str | None, corrected: bool, categories: bool) -> int:
        wanted = (thumb, corrected, categories)
        return sum((f.thumb, bool(f.correction), bool(f.categories)) == wanted for f in feedback)

    n_flags = sum(f.thumb == "down" for f in feedback)
    assert n_flags >= 130, "the engine says nothing about Ottermoor, so every fact is flagged"
    assert kind("up", False, False) == counts["praised"] > 0
    assert kind("down", False, False) == counts["thumb_only"] == round(0.06 * n_flags)
    assert kind("down", False, True) == counts["category_only"] == round(0.06 * n_flags)
    assert kind("down", True, True) == counts["corrected"] + counts["corrected_wrongly"]
    right = {ask.text: ask.correction for ask in SCRIPT.day}
    wrong = [f for f in feedback if f.correction
             and f.correction != right[by_id[f.completion_id].messages[-1]["content"]]]  # fmt: skip
    assert len(wrong) == counts["corrected_wrongly"] == round(0.05 * n_flags)
    said_about_unused = {by_id[f.completion_id].messages[-1]["content"] for f in feedback} & {
        answer.ask.text for answers in unused.values() for answer in answers
    }
    assert not said_about_unused


@pytest.mark.slow
def test_a_seed_repeats_who_is_careless(tmp_path: Path) -> None:
    settings = load_settings({"state_dir": tmp_path})

    def careless(url: str, seed: int) -> Counter[tuple[str, str | None]]:
        before = {f.feedback_id for f in server.store.feedback_history()}
        people = People(Pawl(url), seed=seed)
        answers = people.ask_all(SCRIPT.day[:40], "day")
        people.give_feedback(answers)
        asked = {answer.completion_id: answer.ask.text for answer in answers}
        return Counter(
            (asked[f.completion_id], f.correction)
            for f in server.store.feedback_history()
            if f.feedback_id not in before
        )

    with live(settings) as server:
        first, again, other = (careless(server.url, seed) for seed in (3, 3, 4))
    assert first == again != other


def test_a_server_that_refuses_is_an_error_with_its_words(tmp_path: Path) -> None:
    settings = load_settings({"state_dir": tmp_path, "api_key": "secret"})
    with live(settings) as server, pytest.raises(PawlError) as refusal:
        spend_day(People(Pawl(server.url, "wrong"), seed=0), SCRIPT)
    assert refusal.value.code == "invalid_api_key"
