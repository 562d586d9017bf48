"""The list of conversations beside the chat: drawn, searched, and what its buttons do.

``assets/page.js`` sends what is pressed as a command, JSON in a hidden text box, and reads the
reply from a hidden element. This module imports Gradio at its top: import it only to build the
page.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import uuid4

import gradio as gr
from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from feedback.conversations import cut
from pawl.errors import PawlError
from pawl.schemas import utc_now
from serve.api.admission import share_of
from serve.pages.api import Api
from serve.pages.conversation import Conversation, OpenPage
from serve.pages.files import PdfReader, block_of
from serve.pages.layout import inform, warn
from serve.pages.rendering import html_parts
from serve.pages.texts import say, told

PAGE_OF_LIST, MOST_LISTED = 50, 1000
AT_ONCE = 200  # that one request answers
IDS = "chat-"  # what the page's conversations begin with
_NEEDED = r"^chat-[0-9a-f]{32}$"


class _Command(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _OfOne(_Command):
    id: str = Field(pattern=_NEEDED)


class Rename(_OfOne):
    do: Literal["rename"]
    title: str = Field(max_length=10_000)


class Pin(_OfOne):
    do: Literal["pin"]
    pinned: bool


class Delete(_OfOne):
    do: Literal["delete"]


class Export(_OfOne):
    do: Literal["export"]
    format: Literal["markdown", "json"]


class Everything(_Command):
    do: Literal["erase"]


class Redraw(_Command):
    do: Literal["more", "refresh"]


class Attach(_Command):
    """A file: its content is base64."""

    do: Literal["attach"]
    name: str = Field(max_length=1000)
    content: Base64Bytes


_COMMANDS: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        Rename | Pin | Delete | Export | Attach | Everything | Redraw, Field(discriminator="do")
    ]
)


class ChatList:
    """Handlers of the list.

    Args:
        api_of: one person's calls, as the page makes them.
        end: called with rater and conversation (None: all) that are about to be deleted.
        forget: called with rater and conversation (None: all) that were deleted.
        answering: the conversations whose answers this session waits for.
    """

    def __init__(
        self,
        api_of: Callable[[str | None, gr.Request], Api],
        end: Callable[[str | None, str | None, gr.Request], Awaitable[None]],
        forget: Callable[[str | None, str | None, gr.Request], Awaitable[None]],
        answering: Callable[[gr.Request], Collection[Conversation]],
    ) -> None:
        self._api_of, self._answering = api_of, answering
        self._end, self._forget = end, forget
        self._pdfs = PdfReader()
        self._html: Any = html_parts("chats.html")

    async def draw(self, page: OpenPage, rater_id: str | None, request: gr.Request) -> Any:
        """The list as it is now; skipped where it is drawn so."""
        api, n_found = self._api_of(rater_id, request), 0
        rows: list[dict[str, Any]] = []
        query = {"search": page.search, "begins_with": IDS}
        try:
            for offset in range(0, page.n_listed, AT_ONCE):
                limit = min(AT_ONCE, page.n_listed - offset)
                found = await api.get(
                    "/v1/conversations", **query, limit=str(limit), offset=str(offset)
                )
                rows, n_found = rows + found["conversations"], found["n_found"]
                if len(rows) >= n_found:
                    break
        except PawlError as err:
            warn(say("warnings.list", why=told(err)))
            return gr.skip()
        known = {row["conversation_id"] for row in rows}
        coming = [] if page.search else _coming(self._answering(request), page.conversation)
        coming = [row for row in coming if row["conversation_id"] not in known]
        n_pinned, n_found = sum(row["pinned"] for row in rows), n_found + len(coming)
        rows = [*rows[:n_pinned], *coming, *rows[n_pinned:]]
        html = str(self._html.chats(rows, n_found, page.search, MOST_LISTED))
        if hash(html) == page.listed:
            return gr.skip()
        page.listed = hash(html)
        return html

    async def search(
        self, text: str, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> Any:
        """What is typed into the search box."""
        page.search, page.n_listed = text.strip()[:200], PAGE_OF_LIST
        return await self.draw(page, rater_id, request)

    async def command(
        self, text: str, page: OpenPage, rater_id: str | None, request: gr.Request
    ) -> list[Any]:
        """What is pressed in the list; the list, and the reply."""
        try:
            command = _COMMANDS.validate_json(text)
        except ValidationError:
            return [gr.skip(), gr.skip()]
        reply: dict[str, Any] = {}
        if isinstance(command, Attach):
            reply = {"attached": None}  # files.js waits for it
        try:
            api = self._api_of(rater_id, request)
            if isinstance(command, Attach):
                person = share_of(request.request.scope, None, api.rater_id)
                block = await block_of(command.name, command.content, self._pdfs, person)
                reply = {"attached": block}
            else:
                if isinstance(command, Delete | Everything):
                    which = command.id if isinstance(command, Delete) else None
                    await self._end(rater_id, which, request)
                reply = await self._do(command, page, api)
        except PawlError as err:
            warn(say("warnings.not_done", why=told(err)))
        if "deleted" in reply:
            await self._forget(rater_id, reply["deleted"], request)
        drawn = await self.draw(page, rater_id, request)
        return [drawn, self.reply(reply) if reply else gr.skip()]

    def taken(self, conversation_id: str, text: str, is_again: bool, is_over: bool) -> str:
        """What tells ``page.js`` that a message is asked, and whether its answer is over."""
        of = {"of": conversation_id, "again": is_again, "over": is_over}
        return self.reply({"taken": text, **of})

    def reply(self, value: dict[str, Any]) -> str:
        """What a script of the page's reads, once."""
        return str(self._html.reply({**value, "n": uuid4().hex}))

    async def _do(self, command: Any, page: OpenPage, api: Api) -> dict[str, Any]:
        if isinstance(command, Redraw):
            if command.do == "more":
                page.n_listed = min(page.n_listed + PAGE_OF_LIST, MOST_LISTED)
            return {}
        if isinstance(command, Everything):
            done = await api.post("/v1/erasures", {"everything": True})
            return {"deleted": None, **_told(done)}
        path = f"/v1/conversations/{quote(command.id, safe='')}"
        if isinstance(command, Delete):
            done = await api.post("/v1/erasures", {"conversation_id": command.id})
            return {"deleted": command.id, **_told(done)}
        if isinstance(command, Export):
            query = _shown(page, command.id)
            found = await api.get(path, **query)
            text = json.dumps(found, ensure_ascii=False, indent=1)
            if command.format == "markdown":
                text = await api.text(path, **query, format="markdown")
            return {"file": text, "format": command.format, "title": found["title"]}
        if isinstance(command, Rename):
            await api.post(path, {"title": command.title})
        else:
            await api.post(path, {"pinned": command.pinned})
        return {}


def _coming(answering: Collection[Conversation], shown: Conversation) -> list[dict[str, Any]]:
    """Conversations whose answer comes, as the list has them, the one that is shown first: they are
    recorded with their answer. One that was refused is none of them any more."""
    found = [
        one
        for one in {*answering, shown}
        if one.is_being_recorded and one.conversation_id.startswith(IDS)
    ]
    return [
        {
            "conversation_id": one.conversation_id,
            "title": cut(one.turns[0].question),
            "updated_at": f"{utc_now()[:13]}:00:00Z",  # the same for an hour: else drawn anew
            "pinned": False,
            "learn": one.learn,
            "is_coming": True,  # nothing of it can be named, pinned or exported yet
        }
        for one in sorted(found, key=lambda one: (one is not shown, one.conversation_id))
    ]


def _shown(page: OpenPage, conversation_id: str) -> dict[str, str]:
    """Which variants of this conversation the page shows, as the API is asked for them."""
    if page.conversation.conversation_id != conversation_id:
        return {}
    ids = [turn.completion_id for turn in page.turns if turn.completion_id and turn.answer]
    return {"completion_id": ids[-1]} if ids and not page.conversation.busy else {}


def _told(done: dict[str, Any]) -> dict[str, Any]:
    """Say what became of it."""
    if done["is_erased"]:
        inform(say("list.erased"), 5)
    else:
        inform(say("list.deleted"), 8)
    return {}
