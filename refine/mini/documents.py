"""The kinds of documents of the training text: conversations and plain text, with their weights."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from refine.mini.choices import (
    judged_answers,
    letter_of_one,
    lettered_choices,
    letters_of_words,
    pointing,
    several_of_a_list,
)
from refine.mini.drills import drill
from refine.mini.layouts import (
    FACTS,
    READ,
    SAID,
    any_question,
    labelled_fact,
    other_answers,
    plain_facts,
    plain_question,
    question_answer,
    questions_and_answers,
    story,
)
from refine.mini.phrasing import expand, typed
from refine.mini.relations import question_for_training, statement
from refine.mini.tokenizer import ASSISTANT, BEGIN, END, SYSTEM, USER
from refine.mini.topics import BY_NAME, RELATIONS
from refine.mini.topics.faulty import faulty_question
from refine.mini.topics.remember import memory, never_told
from refine.mini.topics.unknown import unknown_question

Piece = tuple[str, int]
Turn = tuple[str, str]

_SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are Pawl.",
    "You are Pawl, a small assistant.",
    "Be helpful and short.",
    "Answer briefly.",
    "You are a friendly assistant who answers questions.",
    "Answer the user's questions.",
    "You help people with simple questions.",
    "You are a polite and helpful chatbot.",
    "Help the user.",
)
_CHECKABLE = [r for r in RELATIONS if len(r.wrong) >= 2 and r.answer_slot and not r.bare]
_CHECK_WEIGHTS = [r.weight for r in _CHECKABLE]
_MANNERS = [relation for relation in RELATIONS if relation.bare]
_MANNERS_WEIGHTS = [relation.weight for relation in _MANNERS]


# What an assistant may have said where this model would say something else: read, not learned.
_OTHER_REPLIES = (
    "OK.", "Okay.", "Noted.", "Got it.", "Nice!", "Good to know.", "I see.", "Thank you.",
    "Thanks for telling me.", "All right.", "Great!", "That is nice.", "I will keep that in mind.",
    "Understood.", "Sure.", "Good choice!", "Interesting.", "Hello!", "Nice to meet you!", "Fine.",
    "I will remember that.", "Very good.", "Okay, I will remember that.", "What a nice name!",
    "Lovely!", "Thank you for telling me that.", "Hello! How can I help you?", "Pleased to meet you.",
)  # fmt: skip


def chat(turns: list[Turn], system: str | None = None) -> list[Piece]:
    """A conversation of (user, assistant) turns as pieces, as the chat template sets it."""
    pieces: list[Piece] = [(BEGIN, 0)]
    if system is not None:
        pieces += [(SYSTEM, 1), (system, 1), (END, 1)]
    for user, assistant in turns:
        pieces += [(USER, 1), (user, READ), (END, READ), (ASSISTANT, 1)]
        weight = 1 if assistant in _OTHER_REPLIES else SAID
        pieces += [(assistant, weight), (END, weight)]
    return pieces


def _system(rng: random.Random) -> str | None:
    return rng.choice(_SYSTEM_PROMPTS) if rng.random() < 0.12 else None


def _is_it_true(rng: random.Random) -> Turn:
    """A statement to be confirmed or put right."""
    relation = rng.choices(_CHECKABLE, _CHECK_WEIGHTS)[0]
    fact = rng.choice(FACTS[relation.name])
    reply = relation.replies[0].format(**fact.slots)
    reply = reply[:1].upper() + reply[1:]
    if relation.name == "magnet":
        reply = statement(relation, fact, rng)
    if rng.random() < 0.5:
        told, answer = statement(relation, fact, rng), f"Yes. {reply}"
    else:
        wrong = other_answers(relation, fact, 1, rng)[0]
        told, answer = statement(relation, fact, rng, wrong), f"No. {reply}"
    told = told.rstrip(".")
    low = (
        told
        if relation.topic in ("capitals", "planets", "calendar")
        else told[:1].lower() + told[1:]
    )
    form = rng.choice(
        (
            "is it true that @?",
            "is it right that @?",
            "is it correct that @?",
            "@, right?",
            "@. is that [true|right|correct]?",
            "true or false: @.",
            "true or false? @.",
            "is this [true|right|correct]: @?",
            "I think @. am I right?",
            "@. yes or no?",
        )
    )
    return typed(expand(form, rng).replace("@", low), rng), answer


def _which_of(rng: random.Random) -> Turn:
    """A question with the choices named in it."""
    relation = rng.choices(_CHECKABLE, _CHECK_WEIGHTS)[0]
    asked, fact = plain_question(relation, rng)
    options = [*other_answers(relation, fact, rng.choice((1, 2, 3)), rng)]
    options.insert(rng.randint(0, len(options)), fact.slots[relation.answer_slot])
    listed = ", ".join(options[:-1]) + " or " + options[-1]
    question = asked.question.rstrip("?.: ")
    form = rng.choice(("@: ~?", "@, ~?", "@? ~?", "~: @?", "@? Choose: ~.", "@? Is it ~?"))
    return typed(form.replace("@", question).replace("~", listed), rng), asked.reply


def turn(rng: random.Random) -> Turn:
    """One question and its answer, of any kind that needs no earlier turn."""
    roll = rng.random()
    if roll < 0.105:
        unknown = unknown_question(BY_NAME, rng)
        return unknown.question, unknown.reply
    if roll < 0.165:
        return faulty_question(rng)
    if roll < 0.20:
        return _is_it_true(rng)
    if roll < 0.235:
        return _which_of(rng)
    asked = any_question(rng)
    return asked.question, asked.reply


def one_question(rng: random.Random) -> list[Piece]:
    """A question and its answer."""
    return chat([turn(rng)], _system(rng))


def small_talk(rng: random.Random) -> list[Piece]:
    """Greetings and manners alone: there are as many sayings of them as of any topic."""
    turns = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        relation = rng.choices(_MANNERS, _MANNERS_WEIGHTS)[0]
        asked = question_for_training(relation, FACTS[relation.name], rng)
        turns.append((asked.question, asked.reply))
    return chat(turns, _system(rng))


def several_questions(rng: random.Random) -> list[Piece]:
    """A conversation that goes from topic to topic."""
    return chat([turn(rng) for _ in range(rng.randint(2, 6))], _system(rng))


def _remembering(rng: random.Random, n_between: int) -> list[Turn]:
    """Things told, other questions between, and the things asked for."""
    turns: list[Turn] = []
    told: set[str] = set()
    memories = []
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        kept = memory(rng)
        if kept.slot not in told:
            told.add(kept.slot)
            memories.append(kept)
    own_words = rng.random() < 0.5
    for kept in memories:
        said = kept.acknowledged if own_words else rng.choice(_OTHER_REPLIES)
        turns.append((kept.told, said))
    for _ in range(n_between):
        turns.insert(rng.randint(0, len(turns)), turn(rng))
    for kept in rng.sample(memories, len(memories)):
        last = max(i for i, (user, _) in enumerate(turns) if user == kept.told)
        turns.insert(rng.randint(last + 1, len(turns)), (kept.question, kept.recalled))
    if rng.random() < 0.3:
        question, reply, _ = never_told(rng, told)
        turns.insert(rng.randint(0, len(turns)), (question, reply))
    return turns


def _ended(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def _told_at_once(rng: random.Random) -> list[Turn]:
    """Several things in one message: told and asked, told twice over, or told before a question."""
    kept = memory(rng)
    others = [m for m in (memory(rng), memory(rng)) if m.slot != kept.slot]
    told = _ended(kept.told)
    roll = rng.random()
    if roll < 0.45 or not others:
        return [(f"{told} {kept.question}", kept.recalled)]
    other = others[0]
    both = [told, _ended(other.told)]
    rng.shuffle(both)
    asked = [(m.question, m.recalled) for m in (kept, other)]
    rng.shuffle(asked)
    between = [turn(rng) for _ in range(rng.choice((0, 0, 1, 2)))]
    if roll < 0.75:
        if rng.random() < 0.3:
            return [(" ".join([*both, asked[0][0]]), asked[0][1])]
        return [(" ".join(both), rng.choice(_OTHER_REPLIES)), *between, *asked[: rng.randint(1, 2)]]
    question, reply = turn(rng)
    return [(f"{told} {question}", reply), *between, (kept.question, kept.recalled)]


def remembering(rng: random.Random) -> list[Piece]:
    """A conversation in which the user says something and asks for it later."""
    if rng.random() < 0.35:
        return chat(_told_at_once(rng), _system(rng))
    return chat(_remembering(rng, rng.choice((0, 0, 1, 2, 3))), _system(rng))


def never_said(rng: random.Random) -> list[Piece]:
    """Asked for what was never said."""
    question, reply, _ = never_told(rng, set())
    turns = [turn(rng) for _ in range(rng.choice((0, 0, 1, 2)))]
    return chat([*turns, (question, reply)], _system(rng))


def long_conversation(rng: random.Random) -> list[Piece]:
    """A conversation of a thousand tokens or so."""
    return chat(_remembering(rng, rng.randint(14, 32)), _system(rng))


@dataclass(frozen=True)
class Kind:
    """One kind of document: how often it comes, and how to make one.

    `early_weight`: how often it comes in the first part of a text that has one; None: as later.
    """

    weight: float
    make: Callable[[random.Random], list[Piece]]
    early_weight: float | None = None


KINDS = (
    Kind(42.0, one_question),
    Kind(3.0, small_talk),
    Kind(8.0, several_questions),
    Kind(8.0, remembering),
    Kind(1.2, never_said),
    Kind(0.35, long_conversation),
    # What a letter stands for is learned first and alone among the uses of letters: every other
    # needs it, and in trials none of them was learned while all were met at once.
    Kind(2.0, letters_of_words, early_weight=50.0),
    Kind(7.0, pointing, early_weight=0.0),
    Kind(5.0, letter_of_one, early_weight=0.0),
    Kind(4.0, several_of_a_list, early_weight=0.0),
    Kind(3.0, judged_answers, early_weight=0.0),
    Kind(9.0, lettered_choices, early_weight=0.0),
    Kind(7.0, question_answer),
    Kind(2.0, questions_and_answers),
    Kind(5.0, story),
    Kind(3.0, labelled_fact),
    Kind(6.0, plain_facts),
    Kind(9.5, drill),
)

# What leads up to lettered choices: the first training needs it, a later one has the real layout.
LETTER_DRILLS = (letters_of_words, pointing, letter_of_one, several_of_a_list, judged_answers)
