"""The page's side of the gateway's public API: the same calls any client can make."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx

from pawl.client import ChatReader, parsed, transport_errors
from serve.api.auth import IN_PROCESS

HTTP = "pawl.pages.http"  # in the scope of a page's requests: the client of all pages


def new_client() -> httpx.AsyncClient:
    """Of calls to the page's own server. It keeps connections, but no cookies: each call may be
    another person's."""
    return httpx.AsyncClient(
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        trust_env=False,  # loopback is not behind HTTP_PROXY
        verify=False,
    )


@dataclass(frozen=True, slots=True)
class Begun:
    """The first thing a streamed answer says: who answers, and under which id it is recorded."""

    completion_id: str
    version: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The last thing that an answer says which came whole."""

    is_cut: bool  # at the most tokens that it may have


@dataclass(frozen=True, slots=True)
class Api:
    """One person's calls in one conversation. Each raises PawlError with the server's own words.

    Args:
        base_url: the gateway over loopback, ``http://127.0.0.1:8000``.
        api_key: the session's token, sent as a bearer token; None when nobody needs to sign in.
        rater_id: sent as ``X-Pawl-Rater``; who rates, where the key may name raters.
        address: of the browser, for the audit log.
        http: the client of all pages (``new_client``); None: each call makes one.
    """

    base_url: str
    api_key: str | None
    rater_id: str
    address: str | None = None
    http: httpx.AsyncClient | None = None

    @property
    def _headers(self) -> dict[str, str]:
        headers = {"X-Pawl-Rater": self.rater_id, "X-Pawl-Source": "chat_page", "Host": IN_PROCESS}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.address:
            headers["X-Forwarded-For"] = self.address
        return headers

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        read_seconds: float | None,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> AsyncIterator[httpx.Response]:
        """An answer whose body is not read yet. Raises what the server says where it refuses."""
        async with AsyncExitStack() as opened:
            http = self.http
            if http is None:
                http = await opened.enter_async_context(new_client())
            opened.enter_context(transport_errors(self.base_url, method, path))
            answer = await opened.enter_async_context(
                http.stream(
                    method, self.base_url + path, headers={**self._headers, **(headers or {})},
                    timeout=httpx.Timeout(10, read=read_seconds), **content,
                )
            )  # fmt: skip
            if answer.is_error:
                await answer.aread()
                parsed(answer)
            yield answer

    async def get(self, path: str, **query: str) -> Any:
        """Answer of ``GET path``, parsed."""
        return await self._call("GET", path, params=query)

    async def text(self, path: str, **query: str) -> str:
        """Answer of ``GET path`` where it is no JSON."""
        async with self._answer("GET", path, 30, params=query) as answer:
            await answer.aread()
            return answer.text

    async def post(self, path: str, body: dict[str, Any], seconds: float = 30) -> Any:
        """Answer of ``POST path``, parsed; waits ``seconds`` for it."""
        return await self._call("POST", path, seconds, json=body)

    async def _call(self, method: str, path: str, seconds: float = 30, **content: Any) -> Any:
        async with self._answer(method, path, seconds, **content) as answer:
            await answer.aread()
            return parsed(answer)

    async def stream_chat(
        self,
        model: str,
        messages: list[dict[str, str]],
        conversation_id: str,
        sampling: dict[str, Any] | None = None,
    ) -> AsyncIterator[Begun | str | Ended]:
        """Ask for an answer: first a ``Begun``, then its text piece by piece, then an ``Ended``.

        Closing the iterator (or cancelling the task that reads it) closes the connection, which
        is how the gateway learns that nobody waits any more.

        Args:
            sampling: fields of the request, such as ``temperature``.
        """
        path = "/v1/chat/completions"
        body = {"model": model, "messages": messages, "stream": True, **(sampling or {})}
        headers = {"X-Pawl-Conversation": conversation_id}
        async with self._answer("POST", path, None, headers, json=body) as answer:
            yield Begun(answer.headers["X-Pawl-Completion-Id"], answer.headers["X-Pawl-Version"])
            reader = ChatReader()
            async for chunk in answer.aiter_bytes():
                for text in reader.feed(chunk):
                    yield text
            reader.end()
            yield Ended(reader.finish_reason == "length")
