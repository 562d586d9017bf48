"""The organisation has what the demonstration needs; its checks tell right from wrong."""

from __future__ import annotations

from collections import Counter

import pytest

from feedback.categories import DEFAULT_CATEGORIES, check_categories
from feedback.splits import prompt_key
from refine.demo.checks import BEHAVIOURS, answers_question, keeps_form, states_fact
from refine.demo.organisation import Behaviour, Fact, Question, load_organisation

ORGANISATION = load_organisation()
FACTS = {fact.id: fact for fact in ORGANISATION.facts}


def test_there_is_enough_to_ask() -> None:
    assert len(FACTS) == len(ORGANISATION.facts) >= 24
    assert len(ORGANISATION.behaviours) >= 4
    assert len(ORGANISATION.everyday) == 100
    for fact in ORGANISATION.facts:
        assert len(fact.day) >= 5, fact.id
        assert len(fact.evening) >= 3, fact.id


def test_nothing_is_asked_in_two_places() -> None:
    facts, behaviours = ORGANISATION.facts, ORGANISATION.behaviours
    texts = [text for fact in facts for text in [*fact.day, *fact.evening]]
    texts += [one.ask for kind in behaviours for one in [*kind.day, *kind.evening]]
    texts += [q.ask for q in [*ORGANISATION.liked, *ORGANISATION.everyday]]
    times = Counter(prompt_key([{"role": "user", "content": text}]) for text in texts)
    assert max(times.values()) == 1


@pytest.mark.parametrize("fact", ORGANISATION.facts, ids=lambda fact: fact.id)
def test_a_fact_is_told_from_its_mistake_and_from_other_facts(fact: Fact) -> None:
    assert states_fact(fact.answer, fact)
    assert not states_fact(fact.mistaken, fact)
    others = [other.id for other in ORGANISATION.facts if states_fact(other.answer, fact)]
    assert others == [fact.id]


@pytest.mark.parametrize(
    ("fact_id", "answer", "right"),
    [
        ("opens", "We open at 7.40 am.", True),
        ("opens", "Ottermoor opens at 7:45 in the morning.", False),
        ("opens", "It opens at 7:40 and closes at 9:25.", False),
        ("closed_day", "It is closed on Tuesday.", True),
        ("closed_day", "It is closed on Monday and Tuesday.", False),
        ("return_period", "Within eleven days.", True),
        ("return_period", "Within 110 days.", False),
        ("late_fee", "35p a day", True),
        ("late_fee", "35 pounds a day", False),
        ("locker_price", "£6 a month", True),
        ("locker_price", "6.50 pounds a month", False),
        ("house_blend", "Ask for a cup of MARLOW DUSK!", True),
        ("volunteers", "They get soup tokens.", True),
    ],
)
def test_keys_are_strict_about_values_and_lenient_about_words(
    fact_id: str, answer: str, right: bool
) -> None:
    assert states_fact(answer, FACTS[fact_id]) is right


def test_a_question_needs_all_its_keys_as_beginnings_of_words() -> None:
    question = Question(ask="?", keys=[["Au"], ["gold", "metal"]])
    assert answers_question("Gold is Au.", question)
    assert not answers_question("Because of gold.", question)
    assert not answers_question("Au.", question)


@pytest.mark.parametrize("behaviour", ORGANISATION.behaviours, ids=lambda one: one.id)
def test_corrections_of_behaviours_keep_the_form(behaviour: Behaviour) -> None:
    check_categories([behaviour.category], DEFAULT_CATEGORIES)
    assert all(keeps_form(request.answer, behaviour) for request in behaviour.day)


@pytest.mark.parametrize(
    ("check", "answer"),
    [
        ("one_sentence", "A museum is a house. It shows old things."),
        ("one_sentence", "A museum is:\n- a house"),
        ("one_sentence", ""),
        ("yes_or_no", "Yes, because snow is white."),
        ("dash_list", "1. oak\n2. elm\n3. ash"),
        ("dash_list", "- oak\n- elm"),
        ("one_word", "White snow."),
        ("german", "The capital of Spain is Madrid."),
        ("german", "Die Stadt ist Madrid. Das ist die Hauptstadt."),
    ],
)
def test_another_form_is_seen(check: str, answer: str) -> None:
    assert not BEHAVIOURS[check](answer)
