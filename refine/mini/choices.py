"""Lettered choices: MMLU's layout, and the drills that teach a letter to stand for its line."""

import random

from refine.mini.layouts import (
    FACTS,
    READ,
    SAID,
    SUBJECTS,
    Piece,
    other_answers,
    plain_question,
    plain_text,
)
from refine.mini.phrasing import expand, filler
from refine.mini.relations import Fact, Relation, is_unseen_combination, statement
from refine.mini.topics import RELATIONS

# The weight of the letter, in percent: one token that stands for the whole question. No other token
# has it, so `refine.mini.text.letter_pointers` knows these letters by it.
LETTER = 250
_WITH_CHOICES = [
    relation for relation in RELATIONS if len(relation.wrong) >= 3 and not relation.bare
]
_CHOICE_WEIGHTS = [relation.weight for relation in _WITH_CHOICES]

_POINTED = (
    "Which letter stands before {right}?",
    "Which option is {right}?",
    "Choose {right}.",
    "Pick {right}.",
    "Find {right}.",
    "The answer is {right}.",
    "{right}",
    "{right}?",
    "Which one says {right}?",
    "Where is {right}?",
)
_MARKS = ((" (right)", " (wrong)"), (" - yes", " - no"), (": true", ": false"))


def _choice_question(
    relation: Relation, marks: tuple[str, str] | None, rng: random.Random
) -> list[Piece]:
    """A question, four lettered choices and the right letter.

    With `marks`, every choice says whether it is right: this teaches to judge a choice where it
    stands, which the letter of a question without marks then only has to point to.
    """
    asked, fact = plain_question(relation, rng)
    question = asked.question
    wrong = other_answers(relation, fact, 3, rng)
    while len(wrong) < 3:
        wrong.append(rng.choice(rng.choice(_WITH_CHOICES).wrong))
    right = fact.slots.get(relation.answer_slot, fact.answer)
    roll = rng.random()
    if marks is None and roll < 0.25:
        question = rng.choice(_POINTED).format(right=right)
    elif marks is None and roll < 0.35:
        question = f"{asked.reply} {question}"
    place = rng.randrange(4)
    options = [*wrong[:place], right, *wrong[place:]]
    if rng.random() < 0.12:
        options = [statement(relation, fact, rng, option) for option in options]
    pieces: list[Piece] = [(question, 4)]
    for index, option in enumerate(options):
        pieces.append((f"\n{'ABCD'[index]}. {option}", 3))
        if marks is not None:
            pieces.append((marks[index != place], SAID))
    letter: Piece = (f" {'ABCD'[place]}", LETTER)
    if marks is None and rng.random() < 0.25:
        # The answer in words before its letter: the letter then has a word to point at.
        return [*pieces, ("\nAnswer:", 3), (f" {options[place]}", SAID), (":", 3), letter]
    return [*pieces, ("\nAnswer:", 3), letter]


def unmarked_choices(rng: random.Random) -> list[Piece]:
    """MMLU's layout with no choice marked as right."""
    return lettered_choices(rng, marked=0.0)


def lettered_choices(rng: random.Random, marked: float = 0.35) -> list[Piece]:
    """MMLU's layout: one to five questions with lettered choices, `marked` of them with marks."""
    relation = rng.choices(_WITH_CHOICES, _CHOICE_WEIGHTS)[0]
    pieces: list[Piece] = []
    if rng.random() < 0.85:
        subject = rng.choice(SUBJECTS[relation.topic])
        pieces.append(
            (f"The following are multiple choice questions (with answers) about {subject}.\n\n", 2)
        )
    n = rng.choice((1, 1, 2, 3, 4, 5))
    marks = rng.choice(_MARKS) if rng.random() < marked else None
    same = [r for r in _WITH_CHOICES if r.topic == relation.topic]
    weights = [r.weight for r in same]
    for index in range(n):
        if index:
            pieces.append(("\n\n", READ))
            relation = rng.choices(same, weights)[0]
        pieces += _choice_question(relation, marks, rng)
    return plain_text(pieces, rng)


_WORDS = sorted({answer for relation in _WITH_CHOICES for answer in relation.wrong})
_PLAIN_WORDS = [word for word in _WORDS if len(word) > 2 and word.isalpha()]
# "|" stands before what is learned: the letter of a line, or the line of a letter. A word has a
# space before it wherever it stands, so that it is the same token there.
_FROM_LINE = (
    "Question: {x}\nAnswer:| {l}", "Which letter stands before {x}?\nAnswer:| {l}", "- {x}:| {l}",
    "Choose {x}.\nAnswer:| {l}", "The letter of {x} is| {l}", "Find {x}:| {l}",
)  # fmt: skip
_FROM_LETTER = ("{l}:| {x}", "Letter {l}:| {x}", "What is {l}?| {x}")


def _listed(options: list[str]) -> str:
    return "\n".join(f"{'ABCD'[i]}. {option}" for i, option in enumerate(options))


def _asked_again(
    form: str, asked: list[str], options: list[str], answers: list[str]
) -> list[Piece]:
    """A list of lettered options, then several questions about it."""
    pieces: list[Piece] = [(_listed(options), 3)]
    for text, answer in zip(asked, answers, strict=True):
        letter = "ABCD"[options.index(answer)]
        read, said = form.format(x=text, l=letter).split("|")
        pieces += [("\n" + read, 3), (said, SAID)]
    return pieces


def letters_of_words(rng: random.Random) -> list[Piece]:
    """Four lettered words, then each again with its letter right behind it.

    The shortest way from a word to its letter: in trials this is learned within a few hundred
    steps, and what asks from further away builds on it.
    """
    pieces: list[Piece] = []
    for _ in range(rng.randint(1, 4)):
        options = rng.sample(_PLAIN_WORDS, 4)
        pieces.append((_listed(options) + "\n", 3))
        for word in rng.sample(options, 4):
            pieces += [(f" {word}", 3), (f" {'ABCD'[options.index(word)]}", SAID)]
        pieces.append(("\n", 3))
    return plain_text(pieces, rng)


def letter_of_one(rng: random.Random) -> list[Piece]:
    """A word, four lettered words, and the letter of the one: MMLU's layout, nothing to know."""
    pieces: list[Piece] = []
    for index in range(rng.randint(1, 4)):
        relation = rng.choices(_WITH_CHOICES, _CHOICE_WEIGHTS)[0]
        pool = list(dict.fromkeys(relation.wrong))
        options = rng.sample(_WORDS if len(pool) < 4 or rng.random() < 0.5 else pool, 4)
        right = rng.choice(options)
        asked = rng.choice(_POINTED).format(right=right)
        start = "\n\n" if index else ""
        pieces.append((f"{start}{asked}\n{_listed(options)}\nAnswer:", 3))
        pieces.append((f" {'ABCD'[options.index(right)]}", SAID))
    return plain_text(pieces, rng)


def pointing(rng: random.Random) -> list[Piece]:
    """Four lettered words, and their letters asked for one after the other: nothing to know."""
    pieces: list[Piece] = []
    for index in range(rng.choice((1, 2, 2, 3))):
        relation = rng.choices(_WITH_CHOICES, _CHOICE_WEIGHTS)[0]
        pool = list(dict.fromkeys(relation.wrong))
        pool = _WORDS if len(pool) < 4 or rng.random() < 0.3 else pool
        options = rng.sample(pool, 4)
        asked = rng.sample(options, rng.randint(2, 4))
        form = rng.choice(_FROM_LINE if rng.random() < 0.8 else _FROM_LETTER)
        pieces += [("\n\n", 3)] if index else []
        pieces += _asked_again(form, asked, options, asked)
    return plain_text(pieces, rng)


def several_of_a_list(rng: random.Random) -> list[Piece]:
    """Four lettered answers, and several questions that have their answers among them."""
    pieces: list[Piece] = []
    for index in range(rng.choice((1, 1, 2))):
        relation = rng.choices(_WITH_CHOICES, _CHOICE_WEIGHTS)[0]
        by_answer: dict[str, Fact] = {}
        for fact in rng.sample(FACTS[relation.name], min(24, len(FACTS[relation.name]))):
            by_answer.setdefault(fact.slots.get(relation.answer_slot, fact.answer), fact)
        options = rng.sample(list(by_answer), min(4, len(by_answer)))
        wrong = [w for w in dict.fromkeys(relation.wrong) if w not in by_answer]
        options += rng.sample(wrong, min(len(wrong), 4 - len(options)))
        options += rng.sample(_WORDS, 4 - len(options))
        rng.shuffle(options)
        known = [option for option in options if option in by_answer]
        core = rng.choice(relation.nouns or relation.directs or relation.clauses)
        chosen = expand(core, rng)
        asked, answers = [], []
        for answer in rng.sample(known, rng.randint(1, len(known))):
            fact = by_answer[answer]
            if not is_unseen_combination(relation, core, fact):
                asked.append(chosen.format(**{**fact.slots, **filler(rng)}))
                answers.append(answer)
        form = rng.choice(_FROM_LINE)
        pieces += [("\n\n", 3)] if index else []
        pieces += _asked_again(form, asked, options, answers)
    return plain_text(pieces, rng)


# How often the answer is given first: to compare two words comes before to compare with what is known.
GIVEN = 0.4
_YES_NO = ((" yes", " no"), (" right", " wrong"), (" true", " false"))


def judged_answers(rng: random.Random) -> list[Piece]:
    """A question, then answers one by one, each said to be right or wrong.

    What came before says next to nothing about the next one: the answer itself must tell.
    """
    pieces: list[Piece] = []
    yes, no = rng.choice(_YES_NO)
    before = rng.choice(("- ", "Answer: ", "Is it ", "A. "))
    for index in range(rng.choice((1, 1, 2, 3))):
        relation = rng.choices(_WITH_CHOICES, _CHOICE_WEIGHTS)[0]
        asked, fact = plain_question(relation, rng)
        right = fact.slots.get(relation.answer_slot, fact.answer)
        wrong = other_answers(relation, fact, 3, rng)
        pieces += [("\n\n", 3)] if index else []
        pieces.append((asked.question, 4))
        if rng.random() < GIVEN:
            pieces.append((f"\nAnswer: {right}", SAID))
        rng.shuffle(wrong)
        for _ in range(rng.randint(2, 5)):
            is_right = rng.random() < 0.45 or not wrong
            answer = right if is_right else wrong.pop()
            pieces += [(f"\n{before}{answer}:", 3), (yes if is_right else no, SAID)]
    return plain_text(pieces, rng)
