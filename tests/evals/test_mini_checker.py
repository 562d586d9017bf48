"""What counts as a right answer and as a fault shown, on answers that are easy to misjudge."""

from typing import Any

import pytest

from evals.mini.checker import fault_shown, is_right, n_repeats, n_words, tokens_of
from evals.mini.sets import load_questions
from pawl.errors import PawlError
from refine.mini.faults import FAULTS


def _question(text: str, *accept: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], "accept": list(accept), **more}


CAPITAL = _question("Capital of France?", "paris")
SUM = _question("What is 3 + 5?", "8")
BIGGER = _question(
    "Which is bigger, a cat or an elephant?", "elephant", rule={"first_of": ["cat", "elephant"]}
)
LETTER = _question("Which letter follows A?", "b")
COLOUR = _question("What colour is snow?", "white", reject=["red", "black"])
WEEKEND = _question("Is Monday a weekend day?", "no", "not")
UNKNOWN = _question("Who is the king of Spain?", "don't know", "not know")


@pytest.mark.parametrize(
    ("answer", "item", "right"),
    [
        ("The capital of France is Paris.", CAPITAL, True),
        ("PARIS!", CAPITAL, True),
        ("It's Paris\u2019 turn: Paris.", CAPITAL, True),
        ("It is not Lyon, it is Paris.", CAPITAL, True),
        ("Not Lyon but Paris.", CAPITAL, True),
        ("The capital is not Paris.", CAPITAL, False),
        ("Paris is not the capital.", CAPITAL, False),
        ("It isn't really Paris.", CAPITAL, False),
        ("The capital is Parisville.", CAPITAL, False),
        ("I don't know if it is Paris.", CAPITAL, False),
        ("I do not know. Paris?", CAPITAL, False),
        ("", CAPITAL, False),
        ("3 + 5 = 8.", SUM, True),
        ("Three plus five is eight.", SUM, True),
        ("3 + 5 is 18.", SUM, False),
        ("3 + 5 is 8.5.", SUM, False),
        ("It is 7 or 8.", SUM, False),
        ("8, no one would doubt it.", SUM, True),
        ("eighty", SUM, False),
        ("-8", SUM, False),
        ("An elephant is bigger than a cat.", BIGGER, True),
        ("A cat is smaller; the elephant wins.", BIGGER, False),
        ("A cat or an elephant.", BIGGER, False),
        ("The letter B follows A.", LETTER, True),
        ("The letter after A is C, as in bread.", LETTER, False),
        ("Snow is white.", COLOUR, True),
        ("Snow is white and red.", COLOUR, False),
        ("Snow is white, not black.", COLOUR, True),
        ("No, Monday is a weekday.", WEEKEND, True),
        ("Monday is not a weekend day.", WEEKEND, True),
        ("Yes, Monday is not bad.", WEEKEND, False),
        ("Yes, it is.", WEEKEND, False),
        ("I don't know that.", UNKNOWN, True),
        ("I do not know who the king is.", UNKNOWN, True),
        ("The king is Felipe.", UNKNOWN, False),
    ],
)
def test_is_right(answer: str, item: dict[str, Any], right: bool) -> None:
    assert is_right(answer, item) is right


BATS = {
    "fault_id": "bats_blind",
    "kind": "misconception",
    "messages": [{"role": "user", "content": "Are bats blind?"}],
    "faulty_accept": ["are blind", "can't see", "cannot see"],
    "right_accept": ["can see", "not blind"],
    "faulty_rule": {},
    "right_rule": {},
}
LEGS = {
    **BATS,
    "messages": [{"role": "user", "content": "How many legs does a spider have?"}],
    "faulty_accept": ["6", "six"],
    "right_accept": ["8", "eight"],
}
LONG = {
    **BATS,
    "kind": "verbose",
    "faulty_accept": [],
    "faulty_rule": {"min_words": 40},
    "right_accept": ["water"],
    "right_rule": {"max_words": 30, "max_repeats": 1},
}
REPEATED = {**LONG, "kind": "repetitive", "faulty_rule": {"min_repeats": 3}}


@pytest.mark.parametrize(
    ("answer", "item", "right", "fault"),
    [
        ("Yes, bats are blind.", BATS, False, True),
        ("No, bats are not blind.", BATS, True, False),
        ("No, bats can see.", BATS, True, False),
        ("Bats can't see.", BATS, False, True),
        ("Bats cannot see at all.", BATS, False, True),
        ("Some say bats are blind. Bats can see.", BATS, False, True),
        ("I like bats.", BATS, False, False),
        ("A spider has 6 legs.", LEGS, False, True),
        ("A spider has eight legs.", LEGS, True, False),
        ("A spider has 8 legs, not 6.", LEGS, True, False),
        ("A spider has 16 legs.", LEGS, False, False),
        ("Rain is water that falls from clouds.", LONG, True, False),
        ("Rain is air.", LONG, False, False),
        ("Rain is water, " + "and so it goes on day after day " * 6, LONG, False, True),
        ("Rain is water. Rain is water. Rain is water.", REPEATED, False, True),
        ("Rain is water. Rain is wet water. Rain is cold water.", REPEATED, True, False),
    ],
)
def test_faults(answer: str, item: dict[str, Any], right: bool, fault: bool) -> None:
    assert is_right(answer, item) is right
    assert fault_shown(answer, item) is fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.fault_id)
def test_every_planted_fault_is_told_from_its_right_answer(fault: Any) -> None:
    item = {
        "fault_id": fault.fault_id,
        "messages": [{"role": "user", "content": fault.question}],
        "faulty_accept": list(fault.faulty_accept),
        "faulty_rule": fault.faulty_rule,
        "right_accept": list(fault.right_accept),
        "right_rule": fault.right_rule,
    }
    assert is_right(fault.right_answer, item)
    assert not fault_shown(fault.right_answer, item)
    assert fault_shown(fault.faulty_answer, item)
    assert not is_right(fault.faulty_answer, item)


def test_no_question_takes_its_own_text_or_silence_for_an_answer() -> None:
    """A model that says nothing, or "Hm.", is never right."""
    for row in load_questions("unseen_families"):
        assert not is_right("", row), row
        assert not is_right("Hm.", row), row


def test_a_bare_accepted_answer_is_right() -> None:
    for row in load_questions("unseen_families"):
        assert is_right(row["accept"][0].capitalize() + ".", row), row


def test_words_and_numbers_are_read_alike() -> None:
    assert tokens_of("It's not twenty-one, it is 1,000!") == (
        ["it", "not", "21", "|", "it", "is", "1000", "|"]
    )
    assert tokens_of("two four six") == ["2", "4", "6"]
    assert tokens_of("one hundred and five") == ["105"]
    assert tokens_of("three thousand two hundred and twelve") == ["3212"]
    assert tokens_of("7 minus 5 is 2") == ["7", "minus", "5", "is", "2"]
    assert tokens_of("minus five") == ["-5"]
    assert tokens_of("The third, the 3rd, gray color") == (
        ["the", "3rd", "|", "the", "3rd", "|", "grey", "colour"]
    )


def test_lengths_and_repeats() -> None:
    assert n_words("Well, it is twenty-one.") == 4
    assert n_repeats("A tree is a plant.") == 1
    assert n_repeats("") == 1
    assert n_repeats("It is big. It is big! It is big?") == 3
    assert n_repeats("red red red red") == 4
    assert n_repeats("A cat is a small animal and a cat is a small pet.") == 2


def test_rows_that_can_not_be_judged_are_refused() -> None:
    with pytest.raises(PawlError, match="neither accepted answers nor a rule"):
        is_right("yes", {"id": "x"})
    with pytest.raises(PawlError, match="unknown rule 'longest'"):
        is_right("yes", _question("?", rule={"longest": 1}))
