"""The people of the demonstration: scripted, but clients of the public HTTP API like any other."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Literal, Self

from pawl.errors import PawlError
from refine.demo.checks import answers_question, keeps_form, states_fact
from refine.demo.organisation import Organisation

N_PEOPLE = 12
N_AT_ONCE = 16
REQUEST_SECONDS = 300.0  # a busy machine may take long over many answers at once
MAX_ANSWER_TOKENS = 96
WRONG_SHARE = 0.05  # of the flags: the correction is wrong
THUMB_SHARE = 0.06  # of the flags: a thumb and no more
CATEGORY_SHARE = 0.06  # of the flags: a thumb and a category, no correction
LOOK = "Look at logs/server.log in the demonstration's state folder"
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

        async with People(url, api_key, seed=0) as people:
            answers = await people.ask_all(asks, "before")
            counts = await people.give_feedback(answers)

    Args:
        seed: who asks what and who is careless.
    """

    def __init__(self, url: str, api_key: str | None, *, seed: int) -> None:
        import httpx

        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=REQUEST_SECONDS,
            trust_env=False,  # loopback is not behind HTTP_PROXY
        )
        self._slots = asyncio.Semaphore(N_AT_ONCE)
        self._seed = seed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def ask_all(self, asks: Sequence[Ask], label: str) -> list[Answer]:
        """Ask everything, ``N_AT_ONCE`` at a time; answers in the order of ``asks``.

        Raises:
            PawlError: of the first request that failed; the others are cancelled.
        """
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._ask(ask, f"{label}-{i}", _person(i)))
                    for i, ask in enumerate(asks)
                ]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [task.result() for task in tasks]

    async def give_feedback(self, answers: Sequence[Answer]) -> Counter[str]:
        """Praise right answers and flag wrong ones that somebody can correct.

        Counts by kind: ``praised``, ``corrected``, ``corrected_wrongly``, ``category_only``,
        ``thumb_only``.
        """
        kinds = self._kinds(answers)
        for i, kind in kinds.items():
            await self._post("/v1/feedback", _feedback(answers[i], kind), _person(i))
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

    async def _ask(self, ask: Ask, conversation: str, person: str) -> Answer:
        body = {
            "model": "pawl",
            "messages": [{"role": "user", "content": ask.text}],
            "temperature": 0,
            "max_tokens": MAX_ANSWER_TOKENS,
        }
        headers = {"X-Pawl-Conversation": f"demo-{self._seed}-{conversation}"}
        value = await self._post("/v1/chat/completions", body, person, headers)
        text = value["choices"][0]["message"]["content"] or ""
        return Answer(ask, text.strip(), value["id"], value["model"])

    async def _post(
        self, path: str, body: dict[str, Any], person: str, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        import httpx

        try:
            async with self._slots:
                reply = await self._http.post(
                    path, json=body, headers={"X-Pawl-Rater": person, **(headers or {})}
                )
        except httpx.HTTPError as err:
            raise PawlError(f"POST {path} was not answered", repr(err), LOOK) from err
        if reply.status_code >= 400:
            raise PawlError(
                f"POST {path} was answered {reply.status_code}",
                reply.text[:300],
                LOOK,
            )
        value: dict[str, Any] = reply.json()
        return value


def _person(i: int) -> str:
    return f"person-{i % N_PEOPLE + 1}"


def _feedback(answer: Answer, kind: Kind) -> dict[str, Any]:
    """The body of ``POST /v1/feedback``."""
    thumb = "up" if kind == "praised" else "down"
    body: dict[str, Any] = {"completion_id": answer.completion_id, "thumb": thumb}
    if kind in ("category_only", "corrected", "corrected_wrongly"):
        body["categories"] = [answer.ask.category]
    if kind == "corrected":
        body["correction"] = answer.ask.correction
    elif kind == "corrected_wrongly":
        body["correction"] = answer.ask.mistaken
    return body
