"""The page's side of the gateway's public API: the same calls any client can make."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from pawl.errors import PawlError
from pawl.sse import DONE, EventParser


@dataclass(frozen=True, slots=True)
class Begun:
    """The first thing a streamed answer says: who answers, and under which id it is recorded."""

    completion_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Api:
    """One person's calls in one conversation.

    Args:
        base_url: the gateway over loopback, ``http://127.0.0.1:8000``.
        api_key: sent as a bearer token when the server asks for one.
        rater_id: who rates; sent as ``X-Pawl-Rater``.
    """

    base_url: str
    api_key: str | None
    rater_id: str

    def _headers(self, conversation_id: str | None = None) -> dict[str, str]:
        headers = {"X-Pawl-Rater": self.rater_id, "X-Pawl-Source": "chat_page"}
        if conversation_id:
            headers["X-Pawl-Conversation"] = conversation_id
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        return headers

    async def get(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """Answer of ``GET path``, parsed. Raises PawlError with the server's own words."""
        return await self._call("GET", path, query, None)

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Answer of ``POST path``, parsed. Raises PawlError with the server's own words."""
        return await self._call("POST", path, None, body)

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        body: Mapping[str, Any] | None,
    ) -> Any:
        import aiohttp

        try:
            async with (
                aiohttp.ClientSession(
                    self.base_url, timeout=aiohttp.ClientTimeout(total=30)
                ) as session,
                session.request(
                    method, path, params=query, json=body, headers=self._headers()
                ) as answer,
            ):
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as err:
            raise _unreachable(err) from err
        if answer.status >= 400:
            raise _server_error(answer.status, raw)
        try:
            return json.loads(raw)
        except ValueError:
            raise _server_error(answer.status, raw) from None

    async def stream_chat(
        self, model: str, messages: list[dict[str, str]], conversation_id: str
    ) -> AsyncIterator[Begun | str]:
        """Ask for an answer: first a ``Begun``, then its text piece by piece.

        Closing the iterator (or cancelling the task that reads it) closes the connection, which
        is how the gateway learns that nobody waits any more.

        Raises:
            PawlError: what the server said, before the answer or in the middle of it.
        """
        import aiohttp

        body = {"model": model, "messages": messages, "stream": True}
        try:
            async with (
                aiohttp.ClientSession(
                    self.base_url, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
                ) as session,
                session.post(
                    "/v1/chat/completions", json=body, headers=self._headers(conversation_id)
                ) as answer,
            ):
                if answer.status >= 400:
                    raise _server_error(answer.status, await answer.read())
                yield Begun(
                    answer.headers["X-Pawl-Completion-Id"], answer.headers["X-Pawl-Version"]
                )
                parser = EventParser()
                async for chunk in answer.content.iter_any():
                    for data in parser.feed(chunk):
                        if data == DONE:
                            return
                        if text := _text_of(data):
                            yield text
        except (aiohttp.ClientError, TimeoutError) as err:
            raise _unreachable(err) from err
        raise PawlError(
            "the answer broke off",
            "the server closed the stream before its end",
            "Regenerate, and look at the server's log if it happens again",
        )


def _text_of(data: bytes) -> str:
    """Text in one event's JSON; an error event is raised."""
    event = json.loads(data)
    if "error" in event:
        raise _server_error(500, data)
    return "".join(choice["delta"].get("content") or "" for choice in event["choices"])


def _server_error(status: int, raw: bytes) -> PawlError:
    """What the server said, as it said it; ``status`` is the HTTP status."""
    text, code = raw.decode(errors="replace").strip()[:2000], "error"
    try:
        error = json.loads(raw)["error"]
        text, code = str(error["message"]), str(error.get("code") or code)
    except (ValueError, KeyError, TypeError):
        pass  # not OpenAI's shape: shown as it came
    return PawlError(
        text or f"the server answered {status} without a word", retryable=status >= 500, code=code
    )


def _unreachable(err: Exception) -> PawlError:
    return PawlError(
        "the server did not answer",
        str(err) or type(err).__name__,
        "Is it still running?",
        retryable=True,
        code="unreachable",
    )
