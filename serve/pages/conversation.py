"""One open page: its conversation, the answer being written, and what was said about answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from pawl.errors import PawlError
from serve.pages.api import Api, Begun

log = logging.getLogger("pawl.pages")
FRAME_SECONDS = 0.06  # the page is redrawn at most this often while an answer streams


@dataclass(slots=True, eq=False)
class Turn:
    """A question and its answer so far."""

    question: str
    answer: str = ""
    completion_id: str | None = None  # known from the reply's first byte on
    version: str = ""
    state: Literal["waiting", "streaming", "complete", "stopped", "failed"] = "waiting"
    error: str = ""
    feedback: dict[str, Any] | None = None  # as the server stored it; None: none, or taken back
    taken_back: bool = False

    @property
    def marked_bad(self) -> bool:
        return self.feedback is not None and self.feedback["thumb"] == "down"


@dataclass(slots=True)
class Talk:
    """What one page shows. Lives in the server's memory while the page is open.

    Gradio copies an empty one for every page, so the conversation gets its id with its first
    question.
    """

    conversation_id: str = ""
    turns: list[Turn] = field(default_factory=list)
    open_turn: Turn | None = None  # the answer whose feedback form is open
    open_nonce: str = ""  # changes with every saved form
    reader: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        return self.reader is not None and not self.reader.done()

    async def stop(self) -> None:
        """Hang up on the answer being written; what came of it stays."""
        reader = self.reader
        if reader is not None and not reader.done():
            reader.cancel()
            with suppress(asyncio.CancelledError):
                await reader

    async def ask(self, api: Api, model: str, question: str, at: int) -> AsyncIterator[None]:
        """Put ``question`` as turn ``at`` (dropping that turn and what follows it) and read the
        answer. Yields when there is something new to show; the last time when it is over."""
        await self.stop()
        self.conversation_id = self.conversation_id or f"chat-{uuid.uuid4().hex}"
        if self.open_turn in self.turns[at:]:
            self.open_turn = None
        turn = Turn(question)
        self.turns = [*self.turns[:at], turn]
        reader = asyncio.create_task(self._read(api, model, turn))
        self.reader = reader
        try:
            shown = None
            while not reader.done():
                if shown != (turn.state, len(turn.answer)):
                    shown = (turn.state, len(turn.answer))
                    yield
                await asyncio.wait({reader}, timeout=FRAME_SECONDS)
        finally:  # when the page went away, nobody waits for the rest
            reader.cancel()
        if turn.state == "waiting":  # stopped before the reader's first step
            turn.state = "stopped"
        yield

    async def _read(self, api: Api, model: str, turn: Turn) -> None:
        stream = api.stream_chat(model, self._messages(), self.conversation_id)
        try:
            async for piece in stream:
                if isinstance(piece, Begun):
                    turn.completion_id, turn.version = piece.completion_id, piece.version
                    turn.state = "streaming"
                else:
                    turn.answer += piece
            turn.state = "complete"
        except PawlError as err:
            turn.state, turn.error = "failed", str(err)
        except asyncio.CancelledError:
            turn.state = "stopped"
            raise
        except Exception as err:  # shown on the page as well as logged: never a silent half answer
            log.exception("reading an answer failed")
            turn.state, turn.error = "failed", f"{type(err).__name__}: {err}"
        finally:
            await stream.aclose()  # type: ignore[attr-defined]

    def _messages(self) -> list[dict[str, str]]:
        """The conversation as the API takes it: questions that got no answer are left out."""
        messages = []
        for turn in self.turns[:-1]:
            if turn.answer:
                messages += [
                    {"role": "user", "content": turn.question},
                    {"role": "assistant", "content": turn.answer},
                ]
        return [*messages, {"role": "user", "content": self.turns[-1].question}]

    def open_form(self, turn: Turn | None) -> None:
        """Open the feedback form on ``turn``, or close it."""
        self.open_turn, self.open_nonce = turn, uuid.uuid4().hex

    async def rate(self, api: Api, turn: Turn, said: dict[str, Any]) -> None:
        """Append feedback on ``turn`` and keep what the server stored.

        Sending the same twice (a double click, a retry after a lost reply) is stored once: the
        idempotency key follows from the open form and its content.
        """
        if turn.completion_id is None:
            raise PawlError("this answer never came", "so there is nothing to mark")
        body = {"completion_id": turn.completion_id, **said}
        text = json.dumps([self.conversation_id, self.open_nonce, body], sort_keys=True)
        body["idempotency_key"] = "page-" + hashlib.sha256(text.encode()).hexdigest()[:32]
        stored = await api.post("/v1/feedback", body)
        turn.feedback = None if stored["retracted"] else stored
        turn.taken_back = bool(stored["retracted"])
        self.open_nonce = uuid.uuid4().hex
