"""The people of the demonstration: scripted, but clients of the public HTTP API like any other."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Literal

from pawl.client import Pawl
from refine.demo.checks import answers_question, keeps_form, states_fact
from refine.demo.organisation import Organisation

N_PEOPLE = 12
N_AT_ONCE = 16
MAX_ANSWER_TOKENS = 64
WRONG_SHARE = 0.05  # of the flags: the correction is wrong
THUMB_SHARE = 0.06  # of the flags: a thumb and no more
CATEGORY_SHARE = 0.06  # of the flags: a thumb and a category, no correction
Kind = Literal["praised", "corrected", "corrected_wrongly", "category_only", "thumb_only"]


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing to ask.

    Attributes:
        topic: the fact's or behaviour's id; the question itself for the others.
        is_right: decides about an answer.
        correction: what a careful person writes; None where nobody corrects.
        mistaken: what a careless one writes.
        category: of the complaint.
    """

    topic: str
    text: str
    is_right: Callable[[str], bool]
    correction: str | None = None
    mistaken: str | None = None
    category: str = "invented"


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered, by which version."""

    ask: Ask
    text: str
    completion_id: str
    version: str

    @property
    def is_right(self) -> bool:
        return self.ask.is_right(self.text)


@dataclass(frozen=True, slots=True)
class Script:
    """What is asked and when. ``day``: with feedback. The others: before the day and after the
    night, without feedback."""

    day: list[Ask]
    liked: list[Ask]
    facts: list[Ask]
    behaviours: list[Ask]
    everyday: list[Ask]


def script_of(organisation: Organisation) -> Script:
    """Everything that the organisation's people will ask."""
    day, facts, behaviours = [], [], []
    for fact in organisation.facts:
        right = partial(states_fact, fact=fact)
        day += [Ask(fact.id, text, right, fact.answer, fact.mistaken) for text in fact.day]
        facts += [Ask(fact.id, text, right) for text in fact.evening]
    for behaviour in organisation.behaviours:
        right = partial(keeps_form, behaviour=behaviour)
        day += [
            Ask(behaviour.id, one.ask, right, one.answer, category=behaviour.category)
            for one in behaviour.day
        ]
        behaviours += [Ask(behaviour.id, one.ask, right) for one in behaviour.evening]
    liked, everyday = (
        [Ask(q.ask, q.ask, partial(answers_question, question=q)) for q in questions]
        for questions in (organisation.liked, organisation.everyday)
    )
    return Script(day, liked, facts, behaviours, everyday)


class People:
    """Twelve people, each a rater, every question in a conversation of its own.

    Args:
        seed: names the conversations, and who is careless.
    """

    def __init__(self, pawl: Pawl, *, seed: int) -> None:
        self._pawl = pawl
        self._seed = seed

    def ask_all(self, asks: Sequence[Ask], label: str) -> list[Answer]:
        """Ask everything, ``N_AT_ONCE`` at a time; answers in the order of ``asks``.

        Raises:
            PawlError: of the first request that failed; those that did not begin never do.
        """
        with ThreadPoolExecutor(N_AT_ONCE) as threads:
            waiting = [
                threads.submit(self._ask, ask, f"demo-{self._seed}-{label}-{i}", _person(i))
                for i, ask in enumerate(asks)
            ]
            try:
                return [answer.result() for answer in waiting]
            finally:
                threads.shutdown(cancel_futures=True)

    def give_feedback(self, answers: Sequence[Answer]) -> Counter[str]:
        """Praise right answers and flag wrong ones that somebody can correct.

        Counts by kind: ``praised``, ``corrected``, ``corrected_wrongly``, ``category_only``,
        ``thumb_only``.
        """
        kinds = self._kinds(answers)
        for i, kind in kinds.items():
            self._say(answers[i], kind, _person(i))
        return Counter(kinds.values())

    def _kinds(self, answers: Sequence[Answer]) -> dict[int, Kind]:
        """What is said about each answer, by its index; the careless shares are exact."""
        kinds: dict[int, Kind] = {i: "praised" for i, a in enumerate(answers) if a.is_right}
        flagged = [i for i, a in enumerate(answers) if i not in kinds and a.ask.correction]
        draw = random.Random(self._seed)
        draw.shuffle(flagged)
        mistakes = [i for i in flagged if answers[i].ask.mistaken]
        wrong = mistakes[: round(WRONG_SHARE * len(flagged))]
        rest = [i for i in flagged if i not in wrong]
        n_thumb, n_category = (round(s * len(flagged)) for s in (THUMB_SHARE, CATEGORY_SHARE))
        kinds |= dict.fromkeys(wrong, "corrected_wrongly")
        kinds |= dict.fromkeys(rest[:n_thumb], "thumb_only")
        kinds |= dict.fromkeys(rest[n_thumb : n_thumb + n_category], "category_only")
        kinds |= dict.fromkeys(rest[n_thumb + n_category :], "corrected")
        return dict(sorted(kinds.items()))

    def _ask(self, ask: Ask, conversation: str, person: str) -> Answer:
        answer = self._pawl.chat(
            ask.text, conversation_id=conversation, rater_id=person,
            temperature=0, max_tokens=MAX_ANSWER_TOKENS,
        )  # fmt: skip
        return Answer(ask, answer.text.strip(), answer.id, answer.model)

    def _say(self, answer: Answer, kind: Kind, person: str) -> None:
        ask = answer.ask
        named = kind in ("category_only", "corrected", "corrected_wrongly")
        corrections = {"corrected": ask.correction, "corrected_wrongly": ask.mistaken}
        self._pawl.feedback(
            answer.completion_id,
            thumb="up" if kind == "praised" else "down",
            categories=[ask.category] if named else None,
            correction=corrections.get(kind),
            rater_id=person,
        )


def _person(i: int) -> str:
    return f"person-{i % N_PEOPLE + 1}"
