"""The page's calls to its own server: one client makes all of them, each for another person."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pawl.errors import PawlError
from serve.pages.api import Api, Begun, new_client

STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Pawl-Completion-Id: chatcmpl-1\r\n"
    b"X-Pawl-Version: base\r\nTransfer-Encoding: chunked\r\n\r\n"
)


class Seen:
    """What a server saw: of each request the number of its connection, and its head."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[tuple[int, str]] = []
        self.n_connections = 0
        self.hung_up = asyncio.Event()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.n_connections += 1
        number = self.n_connections
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.heads.append((number, head))
                is_chat = head.startswith("POST /v1/chat/completions")
                if is_chat:
                    writer.write(STREAM)
                elif " /slow " not in head:
                    writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: who=ann; Path=/\r\n"
                                 b"Content-Length: 2\r\n\r\n{}")  # fmt: skip
                if is_chat:
                    await reader.read()
                    self.hung_up.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def seen() -> AsyncIterator[Seen]:
    one = Seen()
    async with await asyncio.start_server(one.connected, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        one.url = f"http://127.0.0.1:{port}"
        yield one


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_calls_share_a_connection_and_nothing_of_a_person() -> None:
    async def test() -> None:
        async with seen() as server, new_client() as http:
            ann = Api(server.url, "pawls_ann", "page-ann", "192.0.2.1", http=http)
            nobody = Api(server.url, None, "page-bob", http=http)
            assert await ann.get("/v1/models", limit="2") == {}
            assert await nobody.get("/health") == {}
            await nobody.text("/health")
            (first, of_ann), (second, of_nobody), (third, _) = server.heads
            assert first == second == third == 1
            assert of_ann.startswith("GET /v1/models?limit=2 ")
            assert "Authorization: Bearer pawls_ann" in of_ann
            assert "X-Forwarded-For: 192.0.2.1" in of_ann
            assert "Host: pawl.invalid" in of_nobody
            assert "X-Pawl-Rater: page-bob" in of_nobody
            for name in ("authorization", "x-forwarded-for", "cookie", "ann"):
                assert name not in of_nobody.lower()
            assert not http.cookies

    run(test())


def test_who_leaves_a_stream_hangs_up() -> None:
    async def test() -> None:
        async with seen() as server, new_client() as http:
            api = Api(server.url, None, "page-ann", http=http)
            stream = api.stream_chat("pawl", [], "chat-1")
            assert await anext(stream) == Begun("chatcmpl-1", "base")
            assert not server.hung_up.is_set()
            await stream.aclose()  # type: ignore[attr-defined]
            await asyncio.wait_for(server.hung_up.wait(), 10)
            assert await api.get("/health") == {}

    run(test())


def test_what_does_not_answer_is_said_with_its_own_time() -> None:
    async def test() -> None:
        async with seen() as server, new_client() as http:
            api = Api(server.url, None, "page-ann", http=http)
            with pytest.raises(PawlError, match=r"POST /slow was not answered within 0\.2 s"):
                await api.post("/slow", {}, 0.2)
        with pytest.raises(PawlError, match=f"the server at {server.url} did not answer"):
            await Api(server.url, None, "page-ann").get("/health")

    run(test())
