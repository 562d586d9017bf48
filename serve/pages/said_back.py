"""Said back on the chat page: what this person flagged and is answered differently now.

This module imports Gradio at its top, which takes seconds: import it only to build the page.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import gradio as gr
from pydantic import BaseModel, Field, ValidationError

from pawl.errors import PawlError
from serve.pages.api import Api
from serve.pages.conversation import OpenPage
from serve.pages.layout import warn
from serve.pages.rendering import html_parts
from serve.pages.texts import say, told

MORE, MOST = 10, 50  # that "Show more" adds, and that are shown


class _Command(BaseModel):
    do: Literal["more", "dismiss"]
    completion_id: str = Field("", max_length=200)


class SaidBack:
    """Its handlers.

    Args:
        api_of: one person's calls, as the page makes them.
    """

    def __init__(self, api_of: Callable[[str | None, gr.Request], Api]) -> None:
        self._api_of = api_of
        self._html: Any = html_parts("said_back.html")

    async def draw(self, page: OpenPage, rater_id: str | None, request: gr.Request) -> Any:
        """What there is to say, nothing if nothing."""
        try:
            found = await self._api_of(rater_id, request).get(
                "/v1/answered-differently", limit=str(page.n_said_back)
            )
        except PawlError as err:
            warn(say("warnings.said_back", why=told(err)))
            return gr.skip()
        return self._drawn(page, found)

    async def command(
        self, text: str, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> Any:
        """What is pressed in it."""
        try:
            command = _Command.model_validate_json(text)
        except ValidationError:
            return gr.skip()
        if command.do == "more":
            page.n_said_back = min(page.n_said_back + MORE, MOST)
            return await self.draw(page, rater_id, request)
        try:
            body = {"completion_id": command.completion_id}
            found = await self._api_of(rater_id, request).post("/v1/answered-differently", body)
        except PawlError as err:
            warn(say("warnings.dismissal", why=told(err)))
            return gr.skip()
        return self._drawn(page, found)

    def _drawn(self, page: OpenPage, found: dict[str, Any]) -> str:
        rows = [
            {**one, "day": day_of(one["flagged_at"]), "tested": day_of(one["answered_at"])}
            for one in found["answers"][: page.n_said_back]
        ]
        n_more = min(found["n_found"], MOST) - len(rows)
        return str(self._html.said_back(rows, n_more)) if rows else ""


def day_of(written: str) -> str:
    """``3 May 2026`` of a time as the records write it."""
    at = datetime.fromisoformat(written)
    month = say("months").split()[at.month - 1]
    return say("date", day=at.day, month=month, year=str(at.year))
