"""Bodies as they come in parts, packed and not: whole, bounded, or refused."""

from __future__ import annotations

import asyncio
import gzip
import threading
from typing import Any

import pytest
from starlette.requests import Request

from pawl.errors import PawlError
from serve.api.bodies import MAX_UNDER_WAY_BYTES_OF_CALLER, Readers, read_body

LIMIT = 1000


def read(parts: list[bytes], encoding: str = "", limit: int = LIMIT) -> bytes:
    waiting = iter(parts)

    async def receive() -> dict[str, Any]:
        part = next(waiting, None)
        return {"type": "http.request", "body": part or b"", "more_body": part is not None}

    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    return asyncio.run(read_body(Request(scope, receive), limit))


def split(raw: bytes, size: int) -> list[bytes]:
    return [raw[i : i + size] for i in range(0, len(raw), size)]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_packed_body_is_unpacked_however_it_comes(size: int) -> None:
    whole = bytes(range(250)) * 4
    assert read(split(gzip.compress(whole), size), "gzip") == whole
    assert read(split(gzip.compress(b"ab") + gzip.compress(b"cd"), size), "GZIP") == b"abcd"
    assert read(split(whole, size)) == read(split(whole, size), "identity") == whole
    assert read([], "gzip") == b""


@pytest.mark.parametrize(
    ("parts", "encoding", "code"),
    [
        ([b"a" * 1001], "", "request_too_large"),
        ([b"a" * 600] * 2, "", "request_too_large"),
        ([gzip.compress(b"a" * 1001)], "gzip", "request_too_large"),
        ([gzip.compress(b"a" * 900) + gzip.compress(b"a" * 900)], "gzip", "request_too_large"),
        (split(gzip.compress(b"a" * 50_000_000), 64), "gzip", "request_too_large"),
        ([gzip.compress(b"abc")[:-1]], "gzip", "invalid_request"),
        ([b"{}"], "gzip", "invalid_request"),
        ([gzip.compress(b"{}") + b"more"], "gzip", "invalid_request"),
        ([b"{}"], "br", "unsupported_encoding"),
        ([gzip.compress(b"{}")], "gzip, gzip", "unsupported_encoding"),
    ],
)
def test_refused(parts: list[bytes], encoding: str, code: str) -> None:
    with pytest.raises(PawlError) as caught:
        read(parts, encoding)
    assert caught.value.code == code


def test_a_body_of_many_empty_members_is_refused() -> None:
    """A member costs a decompressor: 12 MB of them took 6 s."""
    assert read([gzip.compress(b"") * 900 + gzip.compress(b"{}")], "gzip", 100_000) == b"{}"
    with pytest.raises(PawlError) as caught:
        read([gzip.compress(b"") * 2_000], "gzip", 100_000)
    assert caught.value.code == "invalid_request"


def test_unfinished_bodies_of_one_sender_are_bounded() -> None:
    """40 of 3.9 MB whose last byte never came held 244 MB."""
    size = 4_000_000
    most = MAX_UNDER_WAY_BYTES_OF_CALLER // size

    async def send() -> tuple[list[str], bytes]:
        release = asyncio.Event()

        def body(address: str, *, is_held: bool) -> asyncio.Task[bytes]:
            parts = iter([b"a" * size, b""])

            async def receive() -> dict[str, Any]:
                part = next(parts)
                if not part and is_held:
                    await release.wait()
                return {"type": "http.request", "body": part, "more_body": bool(part)}

            scope = {"type": "http", "method": "POST", "path": "/", "headers": [],
                     "client": (address, 1)}  # fmt: skip
            return asyncio.create_task(read_body(Request(scope, receive), size))

        held = [body("192.0.2.1", is_held=True) for _ in range(most + 5)]
        await asyncio.sleep(0)
        neighbour = await body("192.0.2.2", is_held=False)
        refused = [task.exception() for task in held if task.done()]
        release.set()
        await asyncio.gather(*held, return_exceptions=True)
        assert await body("192.0.2.1", is_held=False)  # all is given back
        return [error.code for error in refused if isinstance(error, PawlError)], neighbour

    codes, neighbour = asyncio.run(send())
    assert codes == ["rate_limit_exceeded"] * 5
    assert len(neighbour) == size


def test_one_callers_slow_bodies_keep_nobody_else_waiting_and_are_bounded() -> None:
    release = threading.Event()

    def from_address(address: str) -> dict[str, Any]:
        return {"type": "http", "client": (address, 1)}

    def slow() -> str:
        assert release.wait(30)
        return "slow"

    async def read() -> None:
        readers, size = Readers(), MAX_UNDER_WAY_BYTES_OF_CALLER // 4
        scope = from_address("192.0.2.1")
        waiting = [asyncio.create_task(readers.read(scope, size, slow)) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(PawlError) as caught:
            await readers.read(scope, size, slow)
        assert caught.value.code == "rate_limit_exceeded"
        assert await readers.read(from_address("192.0.2.2"), size, lambda: "quick") == "quick"
        assert not any(task.done() for task in waiting)
        release.set()
        assert await asyncio.gather(*waiting) == ["slow"] * 4
        assert await readers.read(scope, size, slow) == "slow"  # all is given back

    asyncio.run(read())
