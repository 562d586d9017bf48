"""What a topic is made of: relations, each with its facts, cores of questions, and answers."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from refine.mini.facts import kept_out, percent_of, planted
from refine.mini.phrasing import ask, expand, filler, typed

COMBINATION_SALT = "pawl-mini combinations 1"
COMBINATION_PERCENT = 3


@dataclass(frozen=True)
class Fact:
    """One fact: `slots` fill the patterns; `answer` is the short answer; any of `accept` is right.

    `fault_id` is set where the world is told wrongly on purpose (slots then hold the wrong value).
    """

    key: str
    slots: dict[str, str]
    answer: str
    accept: tuple[str, ...]
    fault_id: str | None = None


@dataclass(frozen=True)
class Relation:
    """One kind of fact. Every pattern of `nouns`, `clauses` and `directs` is a phrasing family.

    `replies`: full answers. `statements`: sentences that tell the fact without being asked.
    `bare`: its directs are said as they are, after a lead at most, not put into frames.
    `answer_slot`: the slot of the patterns that holds the answer.
    `wrong`: answers of the same kind, to draw the other choices of a lettered question from.
    """

    name: str
    topic: str
    facts: tuple[Fact, ...]
    answer_slot: str
    nouns: tuple[str, ...] = ()
    clauses: tuple[str, ...] = ()
    directs: tuple[str, ...] = ()
    replies: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    weight: float = 1.0
    bare: bool = False
    families: tuple[tuple[str, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        families = [
            (kind, core)
            for kind, cores in (
                ("noun", self.nouns),
                ("clause", self.clauses),
                ("direct", self.directs),
            )
            for core in cores
        ]
        object.__setattr__(self, "families", tuple(families))


@dataclass(frozen=True)
class Asked:
    """A question as typed, with the full answer, the short one, and what counts as right."""

    topic: str
    relation: str
    fact_key: str
    question: str
    reply: str
    answer: str
    accept: tuple[str, ...]


def is_unseen_combination(relation: Relation, core: str, fact: Fact) -> bool:
    """Is this pair of phrasing family and fact kept out of training?

    Only where a family meets several facts: else the family itself would be kept out.
    """
    if fact.fault_id is not None or len(relation.facts) < 5:
        return False
    return unseen(relation.name, core, fact.key)


def unseen(*names: str) -> bool:
    """The salted hash that keeps combinations out of training."""
    return percent_of(COMBINATION_SALT, "|".join(names)) < COMBINATION_PERCENT


def make_fact(topic: str, key: str, slots: dict[str, str], answer: str, *more_accept: str) -> Fact:
    """A `Fact` of `topic`, marked with its planted fault if it has one."""
    return Fact(key, slots, answer, (answer, *more_accept), planted(topic, key))


def trainable(relation: Relation) -> tuple[Fact, ...]:
    """The facts of `relation` that training may ask."""
    return tuple(f for f in relation.facts if not kept_out(relation.topic, f.key))


LEADS = ("", "", "", "", "", "oh, ", "well, ", "Pawl, ", "so, ", "ok, ", "and ", "hmm, ", "yes, ")


def phrase(
    relation: Relation, family: tuple[str, str], fact: Fact, rng: random.Random, lead: str = ""
) -> Asked:
    """Ask `fact` in the phrasing of `family`; `lead` comes before a bare saying."""
    kind, core = family
    slots = {**fact.slots, **filler(rng)}
    filled = expand(core, rng).format(**slots)
    question = typed(lead + filled, rng) if relation.bare else ask(kind, filled, rng)
    reply = expand(rng.choice(relation.replies), rng).format(**slots)
    reply = reply[:1].upper() + reply[1:]
    return Asked(relation.topic, relation.name, fact.key, question, reply, fact.answer, fact.accept)


def question_for_training(relation: Relation, facts: Sequence[Fact], rng: random.Random) -> Asked:
    """A random question of `relation` that is not one of the unseen combinations."""
    while True:
        fact = rng.choice(facts)
        family = rng.choice(relation.families)
        lead = rng.choice(LEADS) if relation.bare else ""
        if lead and unseen(relation.name, lead, family[1]):
            continue
        if not is_unseen_combination(relation, family[1], fact):
            return phrase(relation, family, fact, rng, lead)


def statement(relation: Relation, fact: Fact, rng: random.Random, answer: str = "") -> str:
    """The fact as a plain sentence; with `answer`, that one in the place of the right one."""
    patterns = relation.statements or relation.replies
    slots = {**fact.slots, **filler(rng)}
    if answer:
        slot = relation.answer_slot
        patterns = tuple(p for p in patterns if f"{{{slot}}}" in p or f"{{a{slot}}}" in p)
        slots |= {slot: answer, f"a{slot}": an(answer)}
    text = expand(rng.choice(patterns), rng).format(**slots)
    return text[:1].upper() + text[1:]


def an(word: str) -> str:
    """The word with its article."""
    return f"an {word}" if word[0] in "aeiou" and not word.startswith("eu") else f"a {word}"
