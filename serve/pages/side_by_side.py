"""Two answers to a share of the prompts, without their names: which is better?

This module imports Gradio at its top, which takes seconds: import it only to build the page.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Literal

import gradio as gr
from pydantic import BaseModel, Field, ValidationError

from pawl.errors import PawlError
from pawl.settings import PageSettings
from serve.pages.api import Api
from serve.pages.conversation import Conversation, OpenPage, Turn
from serve.pages.layout import KEEP, KEEP_FORM, drawn, drawn_and_form, warn
from serve.pages.texts import say, told


class _Choice(BaseModel):
    of: str = Field(max_length=200)
    side: Literal["first", "second", "good", "bad"]


class SideBySide:
    """Who gets two answers, and what is said of them.

    Args:
        settings: the share of prompts, and who gives the second answer.
        api_of: one person's calls, as the page makes them.
        open_page: lets the page hold the conversation that its address names.
    """

    def __init__(
        self,
        settings: PageSettings,
        api_of: Callable[[str | None, gr.Request], Api],
        open_page: Callable[[OpenPage, str | None, gr.Request], Awaitable[object]],
    ) -> None:
        self._share, self._with = settings.side_by_side, settings.side_by_side_with
        self._api_of, self._open_page = api_of, open_page
        self._choosing: set[Turn] = set()  # while a choice is being saved

    def beside(self, conversation: Conversation, version: str) -> str:
        """Which version answers the next prompt too; empty: none. Nothing is compared where
        nothing may be learned."""
        if random.random() >= self._share or not conversation.learn:
            return ""
        return version if self._with == "same" else self._with

    def settle(self, turn: Turn) -> None:
        """A thumb under two answers is about the first, with which the conversation goes on."""
        if turn.is_comparable:
            turn.keep(turn.sides[0])

    async def choose(
        self, text: str, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> list[Any]:
        """What is pressed under two answers; the names are shown afterwards."""
        try:
            choice = _Choice.model_validate_json(text)
        except ValidationError:
            return KEEP
        try:  # the server may have started anew behind the page
            await self._open_page(page, rater_id, request)
        except PawlError as err:
            warn(say("warnings.choice", why=told(err)))
            return KEEP
        turn = next((one for one in page.turns if choice.of in _ids(one)), None)
        if turn is None or not turn.is_comparable or page.conversation.busy:
            return drawn_and_form(page)
        if turn in self._choosing:  # pressed twice, or on two pages
            return KEEP
        # Copies: while it is saved another page may ask on, which settles the turn.
        first, second = (replace(one) for one in turn.sides)
        # Read back, answers of the same moment may change places: the page shows them as drawn.
        is_turned = turn.completion_id != choice.of
        if is_turned:
            first, second = second, first
        chosen, lost = (second, first) if choice.side == "second" else (first, second)
        if choice.side in ("first", "second"):
            said: list[tuple[Turn, dict[str, Any]]] = [
                (chosen, {"preferred_over": lost.completion_id})
            ]
        else:
            thumb = {"thumb": "up" if choice.side == "good" else "down"}
            said = [(lost, thumb), (chosen, thumb)]
        self._choosing.add(turn)
        try:
            for side, feedback in said:
                await page.rate(self._api_of(rater_id, request), side, feedback)
        except PawlError as err:
            warn(say("warnings.choice", why=told(err)))
            return [*drawn(page), *KEEP_FORM]
        finally:
            self._choosing.discard(turn)
        known = {side.completion_id: side.feedback for side, _ in said}
        for one in (turn, *turn.variants, *filter(None, [turn.other])):
            one.feedback = known.get(one.completion_id, one.feedback)
        names = say("sides.names", first=first.version, second=second.version)
        if turn.other is not None:
            turn.keep(turn.sides[(choice.side == "second") != is_turned])
        turn.compared = f"{say(f'sides.{choice.side}')}: {names}"
        if choice.side == "bad":
            page.open_form(turn)
        return drawn_and_form(page) if choice.side == "bad" else [*drawn(page), *KEEP_FORM]


def _ids(turn: Turn) -> set[str | None]:
    """Of the answers that are drawn."""
    return {one.completion_id for one in (turn, turn.other) if one is not None}
