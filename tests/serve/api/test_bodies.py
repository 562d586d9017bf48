"""Bodies as they come in parts, packed and not: whole, bounded, or refused."""

from __future__ import annotations

import asyncio
import gzip
from typing import Any

import pytest
from starlette.requests import Request

from pawl.errors import PawlError
from serve.api.bodies import read_body

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
