"""Does an answer say what the correction says? Labelled pairs, and what must never match."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evals.matching import Kind, kind_of, match
from evals.words import language_of, tokens

PAIRS = Path(__file__).with_name("matching_pairs.jsonl")


def matches(answer: str, correction: str, flagged: str, prompt: str) -> bool:
    return match(answer, correction, flagged, prompt).matches


RIGHT, WRONG = "The capital of Australia is Canberra.", "The capital of Australia is Sydney."
ASKED = "What is the capital of Australia?"


def test_an_answer_matches_when_it_says_the_correction() -> None:
    assert matches("the capital of Australia is Canberra", RIGHT, WRONG, ASKED)
    assert matches("Canberra is the capital of Australia.", RIGHT, WRONG, ASKED)
    assert matches("Canberra", RIGHT, WRONG, ASKED)
    assert not matches(WRONG, RIGHT, WRONG, ASKED)
    assert not matches("The capital of Australia is Melbourne.", RIGHT, WRONG, ASKED)
    assert not matches("", RIGHT, WRONG, ASKED)
    long = RIGHT + " It is a very nice place to visit in every season."
    assert not matches(long, RIGHT, WRONG, ASKED)


@pytest.mark.parametrize("stuck", ["[", "[{", "the ", "-", "a+", "a."])
@pytest.mark.parametrize(
    ("correction", "flagged"),
    [('{"a": 1}', '{"a": 2}'), ("```python\nprint(1)\n```", "```python\nprint(2)\n```")],
)
def test_an_answer_that_got_stuck_is_wrong_and_ends_no_scoring(
    stuck: str, correction: str, flagged: str
) -> None:
    for n in (300, 3_000):
        assert not match(stuck * n, correction, flagged, "Write it.", ("format",)).matches
        assert match(correction, correction, stuck * n, "Write it.", ("format",)).matches


@pytest.mark.parametrize(
    ("answer", "correction", "flagged", "asked"),
    [
        # A flagged answer that is worded otherwise guards nothing.
        ("The capital of Australia is Melbourne.", RIGHT, "It is Sydney.", ASKED),
        ("12 plus 7 is 18.", "12 plus 7 is 19.", "I think that makes 20.", "What is 12 plus 7?"),
        ("8 minus 0 is 0.", "8 minus 0 is 8.", "It is 80.", "What is 8 minus 0?"),
        ("It is -$5.", "It is $5.", "It is $50.", "What is the balance?"),
        (".5 litres", "5 litres", "50 litres", "How much?"),
        ("<5 litres", "5 litres", "50 litres", "How much?"),
        ("≥ 5 litres", "5 litres", "50 litres", "How much?"),
        ("It weighs 1,500 grams in all.", "It weighs 15,000 grams in all.", "A lot.", "Weight?"),
        ("The plural of mouse is mouses.", "The plural of mouse is mice.", "Mouse.", "Plural?"),
        # The prompt names the right answer and the wrong one.
        (
            "The capital of Australia is Melbourne.",
            RIGHT,
            "It is Sydney.",
            "Is Canberra or Melbourne the capital of Australia?",
        ),
        # Both answers, or a number that nobody asked about.
        ("The capital of Australia is Canberra or Sydney.", RIGHT, "It is Sydney.", ASKED),
        (
            "A goldfish can remember things for 3 months.",
            "A goldfish can remember things for months.",
            "For 3 seconds.",
            "How long do goldfish remember?",
        ),
        # One small word turns it round.
        ("Bats are blind.", "Bats are not blind.", "They see nothing.", "Are bats blind?"),
        ("Yes, the bats can see.", "No, the bats can see.", "They can't.", "Are bats blind?"),
    ],
)
def test_an_answer_with_another_fact_in_like_words_does_not_match(
    answer: str, correction: str, flagged: str, asked: str
) -> None:
    assert not matches(answer, correction, flagged, asked)
    assert matches(correction, correction, flagged, asked)


@pytest.mark.parametrize(
    ("answer", "correction"),
    [
        ("Bats can see.", "No, bats can see."),
        ("Bats aren't blind.", "Bats are not blind."),
        ("A spider has eight legs.", "A spider has 8 legs."),
        ("It is 1000 metres.", "It is 1,000 metres."),
        ("A goldfish remembers things for months.", "A goldfish remembers the things for months."),
        ("Goldfish can remember things for many months.", "A goldfish can remember things for"
         " months."),
        ("Bread is made by baking dough of flour, water and yeast.", "Bread is made by the baking "
         "of a dough of flour, water and yeast."),
    ],
)  # fmt: skip
def test_the_same_fact_in_other_words_matches(answer: str, correction: str) -> None:
    assert matches(answer, correction, "I can't tell.", "Well?")


JACKET = "Can I return a jacket?"


@pytest.mark.parametrize(
    ("answer", "correction", "flagged", "asked", "expected"),
    [
        # Both open alike: what follows is at stake.
        ("Yes.", "Yes, within 30 days.", "Yes, within 60 days.", JACKET, False),
        ("Yes, you can.", "Yes, within 30 days.", "Yes, within 60 days.", JACKET, False),
        ("Within 30 days.", "Yes, within 30 days.", "Yes, within 60 days.", JACKET, True),
        ("No.", "No, never.", "No, only on Mondays.", "Is it open?", False),
        ("Yes.", "Yes, it is.", "Yes, it is on Mondays.", "Is it open?", True),
        # The flagged answer opens with neither, and says no or yes, or something else.
        ("Yes.", "Yes, within 30 days.", "Within 60 days.", JACKET, False),
        ("No.", "No, it costs 15 euros.", "It costs 12 euros.", "Is breakfast included?", False),
        ("No.", "No, a whale is a mammal.", "A whale is a fish.", "Is a whale a fish?", True),
        ("Yes.", "Yes, bats can see.", "Bats can't see.", "Do bats have sight?", True),
        ("Yes.", "Yes, 30.", "30 or 60 days are not.", "Is it not 30 or 60 days?", False),
        # It opens with the other.
        ("Yes.", "Yes, within 30 days.", "No, never.", JACKET, True),
        ("Yes, you can.", "Yes, within 30 days.", "No, never.", JACKET, True),
    ],
)
def test_yes_or_no_alone_matches_only_where_that_was_at_stake(
    answer: str, correction: str, flagged: str, asked: str, expected: bool
) -> None:
    assert matches(answer, correction, flagged, asked) is expected


@pytest.mark.parametrize("correction", ["A", "A) cat"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("A parrot.", False), ("A small bear purrs.", False), ("Answer: A parrot", False),
        ("IT IS A PARROT", False), ("A bird.", False), ("A or B", False), ("A", True),
        ("A.", True), ("A is right.", True), ("A because it purrs.", True), ("A cat.", True),
        ("Option A fits best.", True), ("**A** cat", True), ("A\n\nIt purrs.", True),
    ],
)  # fmt: skip
def test_an_article_names_no_option(answer: str, expected: bool, correction: str) -> None:
    asked = "Which animal is it?\nA) cat\nB) dog\nC) bird"
    assert matches(answer, correction, "B", asked) is expected


@pytest.mark.parametrize(
    ("flagged", "asked", "is_ordered"),
    [
        ("- Venus\n- Mercury\n- Earth", "Name planets, from the sun outwards.", True),
        ("Venus, Mercury and Earth.", "Name planets, from the sun outwards.", True),
        ("- Mars\n- Venus\n- Earth", "Sort the planets by their distance.", True),
        ("- Mars\n- Venus\n- Earth", "Planets, ordered by their distance?", True),
        ("- Mars\n- Venus\n- Earth", "Name three planets.", False),
        ("Mercury, Venus and Earth.", "Name three planets.", False),
    ],
)
def test_the_order_of_bullets_counts_where_it_was_asked_for_or_wrong(
    flagged: str, asked: str, is_ordered: bool
) -> None:
    right = "- Mercury\n- Venus\n- Earth"
    for answer in ("* Venus\n* Mercury\n* Earth", "* Earth\n* Venus\n* Mercury"):
        assert matches(answer, right, flagged, asked) is not is_ordered
    assert matches(right.replace("-", "*"), right, flagged, asked)


YAML = "jobs:\n  test:\n    with: ${{ x }}\n  lint:\n    with: {}"
PYTHON_2 = "if x:\n    print 'a'\n    print 'b'"


@pytest.mark.parametrize(
    ("answer", "correction", "expected"),
    [
        (YAML.replace("  ", ""), YAML, False),
        (YAML.replace("  lint:", "    lint:"), YAML, False),
        (YAML.replace("  ", "    "), YAML, True),
        ("  " + YAML.replace("\n", "\n  "), YAML, True),
        ("with:\na: 1", "with:\n  a: 1", False),
        (PYTHON_2.replace("    print 'b'", "print 'b'"), PYTHON_2, False),
        (PYTHON_2.replace("    ", "  "), PYTHON_2, True),
        ("select a from b", "SELECT a\n  FROM b;", True),
        ("f (a) {\n      x();\n}", "f (a) { x(); }", True),
        ("(f x\n  (g x))", "(f x (g x))", True),
    ],
)
def test_indentation_counts_where_it_makes_the_blocks(
    answer: str, correction: str, expected: bool
) -> None:
    answer, correction = f"```\n{answer}\n```", f"```\n{correction}\n```"
    assert matches(answer, correction, "```\nz\n```", "Write it.") is expected


@pytest.fixture(scope="module")
def pairs() -> list[dict[str, Any]]:
    return [json.loads(line) for line in PAIRS.read_text("utf-8").splitlines()]


def test_of_the_labelled_pairs_nearly_every_yes_is_right_and_most_are_found(
    pairs: list[dict[str, Any]],
) -> None:
    assert len(pairs) >= 300
    assert len({pair["language"] for pair in pairs}) >= 5
    found = [
        match(p["answer"], p["correction"], p["flagged"], p["prompt"], p["categories"]).matches
        for p in pairs
    ]
    labels = [pair["matches"] for pair in pairs]
    n_right = sum(f and label for f, label in zip(found, labels, strict=True))
    assert n_right / sum(found) >= 0.98
    assert n_right / sum(labels) >= 0.8


def test_of_the_faults_that_were_found_none_is_back(pairs: list[dict[str, Any]]) -> None:
    """They stand in the part that the rules were made on, of which few are known to be missed."""
    found = [
        (match(p["answer"], p["correction"], p["flagged"], p["prompt"], p["categories"]).matches, p)
        for p in pairs
        if p["part"] == "tuning"
    ]
    assert [p["answer"] for is_same, p in found if is_same and not p["matches"]] == []
    assert sum(p["matches"] and not is_same for is_same, p in found) <= 14


def test_the_flagged_answer_never_matches_and_the_correction_does(
    pairs: list[dict[str, Any]],
) -> None:
    for pair in pairs:
        about = (pair["correction"], pair["flagged"], pair["prompt"], pair["categories"])
        assert not match(pair["flagged"], *about).matches, about
        assert match(pair["correction"], *about).matches, about


@pytest.mark.parametrize(
    ("kind", "prompt", "correction", "flagged", "categories"),
    [
        ("contains", ASKED, RIGHT, WRONG, []),
        ("number", "What is 2 plus 2?", "4", "5", []),
        ("choice", "Is it red or blue?", "It is red.", "It is blue.", []),
        ("choice", "Is it red?", "Yes, it is.", "No, it isn't.", []),
        ("exact", "Who bit whom?", "The man bit the dog.", "The dog bit the man.", []),
        ("exact", "Spell it.", "receive", "recieve", ["spelling_or_grammar"]),
        ("format", "As JSON?", '{"a": 1}', "a is 1", []),
        ("format", "A list?", "- a\n- b", "a, b", ["format"]),
        ("code", "A function?", "```python\nx = 1\n```", "x is 1", []),
        ("judge", "Why?", "Because small drops bend light of each colour by another angle, so"
         " that the colours of the sun part.", "Because of clouds.", []),
    ],
)  # fmt: skip
def test_the_kind_follows_from_prompt_correction_and_flagged_answer(
    kind: Kind, prompt: str, correction: str, flagged: str, categories: list[str]
) -> None:
    assert kind_of(prompt, correction, flagged, categories) == kind


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("1,000.50 cups", "en", ["1000.5", "cups"]),
        ("1.000,50 Tassen", "de", ["1000.5", "tassen"]),
        ("1 250 élèves", "fr", ["1250", "élèves"]),
        ("three hundred and sixty-six", "en", ["366"]),
        ("sechzehn", "de", ["16"]),
        ("quatre-vingt-deux", "fr", ["82"]),
        ("mil doscientos", "es", ["1200"]),
        ("两千零五十", "zh", ["2050"]),
        ("٧", "en", ["7"]),
        ("960万", "zh", ["9600000"]),
        ("-5, not 5", "en", ["-5", "not", "5"]),
        ("can't", "en", ["can", "not"]),
        ("首都", "zh", ["首", "都"]),
        ("one can see", "en", ["one", "can", "see"]),
        ("1.2 million", "en", ["1200000"]),
        ("the 4th", "en", ["the", "4"]),
        ("0041 or 3.10", "en", ["41", "or", "3.1"]),  # their zeros are kept apart
        ("10.0.0.1", "en", ["10.0.0.1"]),
        ("Python 3.10", "de", ["python", "3.1"]),
        ("1.500 oder 1,50", "de", ["1500", "oder", "1.5"]),
        ("$15.00", "en", ["15"]),
        ("05/03/2020", "en", ["5", "3", "2020"]),
    ],
)
def test_words_and_numbers_of_any_script(text: str, language: str, expected: list[str]) -> None:
    assert [token.folded for token in tokens(text, language)] == expected


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("$15", "usd"), ("15 dollars", "usd"), ("3,50 €", "eur"), ("2.5 kilometres", "km"),
        ("50 %", "%"), ("0 °C", "°c"), ("12公里", "km"), ("15 cats", None), ("15", None),
    ],
)  # fmt: skip
def test_units(text: str, unit: str | None) -> None:
    assert tokens(text, "en")[0].unit == unit


def test_languages() -> None:
    for text, language in (
        ("What is the capital of France?", "en"), ("Was ist die Hauptstadt von Frankreich?", "de"),
        ("Quelle est la capitale de la France ?", "fr"), ("¿Cuál es la capital de Francia?", "es"),
        ("法国的首都是哪里？", "zh"), ("日本の首都はどこですか", "ja"), ("Canberra", "en"),
    ):  # fmt: skip
        assert language_of(text) == language


def test_of_an_odd_text_nothing_breaks() -> None:
    odd = ["", " ", "\x00", "½ ¾ ²", "İstanbul", "ﬁ", "—", "1/0", "1.2.3.4", "٣٫٥", "{", "```",
           "- ", "𝟙", "1e9999", "٠" * 50, "😀", "ᾳ 1 €", "no", "1. ", "|a|\n|-|\n|b|"]  # fmt: skip
    for a in odd:
        for b in odd:
            match(a, b, "x", f"{a} {b}?")
            match(a, "x", b, "")
