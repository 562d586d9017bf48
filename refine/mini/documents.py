"""The kinds of documents: conversations, plain text, benchmark layouts; each with its weight."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from refine.mini.relations import Asked, question_for_training, statement, trainable
from refine.mini.tokenizer import ASSISTANT, BEGIN, END, SYSTEM, USER
from refine.mini.topics import RELATIONS

Piece = tuple[str, int]
READ, SAID, TOLD = 15, 100, 60  # weights in percent: read, said by the model, plain statements

_FACTS = {relation.name: trainable(relation) for relation in RELATIONS}
_WEIGHTS = [relation.weight for relation in RELATIONS]


@dataclass(frozen=True)
class Kind:
    """One kind of document: how to make one, and how often it comes."""

    name: str
    weight: float
    make: Callable[[random.Random], list[Piece]]


def any_question(rng: random.Random) -> Asked:
    """A question of any relation, by the relations' weights."""
    relation = rng.choices(RELATIONS, _WEIGHTS)[0]
    return question_for_training(relation, _FACTS[relation.name], rng)


def chat(turns: list[tuple[str, str]], system: str | None = None) -> list[Piece]:
    """A conversation of (user, assistant) turns as pieces."""
    pieces: list[Piece] = [(BEGIN, 0)]
    if system is not None:
        pieces += [(SYSTEM, READ), (system, READ), (END, READ)]
    for user, assistant in turns:
        pieces += [(USER, READ), (user, READ), (END, READ), (ASSISTANT, READ)]
        pieces += [(assistant, SAID), (END, SAID)]
    return pieces


def one_question(rng: random.Random) -> list[Piece]:
    """A question and its answer."""
    asked = any_question(rng)
    return chat([(asked.question, asked.reply)])


def several_questions(rng: random.Random) -> list[Piece]:
    """A conversation that goes from topic to topic."""
    turns = [any_question(rng) for _ in range(rng.randint(2, 6))]
    return chat([(asked.question, asked.reply) for asked in turns])


def statements(rng: random.Random) -> list[Piece]:
    """A few facts as plain sentences."""
    lines = []
    for _ in range(rng.randint(1, 5)):
        relation = rng.choices(RELATIONS, _WEIGHTS)[0]
        lines.append(statement(relation, rng.choice(_FACTS[relation.name]), rng))
    return [(BEGIN, 0), (rng.choice((" ", " ", "\n")).join(lines), TOLD), (END, TOLD)]


KINDS = (
    Kind("one question", 6.0, one_question),
    Kind("several questions", 1.5, several_questions),
    Kind("statements", 1.5, statements),
)
