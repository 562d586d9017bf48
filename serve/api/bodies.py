"""How the body of any request is read: its size, gzip, JSON; ``JsonRoute`` for FastAPI's routes."""

from __future__ import annotations

import asyncio
import codecs
import json
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope

from pawl.errors import PawlError, short
from pawl.schemas import Caller
from serve.api.auth import CALLER
from serve.api.errors import validation_error
from serve.api.quotas import Turns
from serve.api.throttle import address_of

MAX_BODY_BYTES = 4_000_000  # of all but the completion routes, which have a setting
LARGE_BYTES = 65_536  # of a body: 0.05 s at most to read
MAX_DRAINED_BYTES = 64 * 2**20  # of a body that is too large: read to its end, so that the client
# gets to read the refusal instead of a broken connection
MAX_UNDER_WAY_BYTES, MAX_UNDER_WAY_BYTES_OF_CALLER = 512 * 2**20, 64 * 2**20  # of bodies whose end
# has not come (whoever sends them slowly would have all of them kept) or that wait to be read
N_READERS = 2  # threads for bodies that take long to read
_GZIP = 16 + zlib.MAX_WBITS
MAX_MEMBERS = 1_000  # that a gzip body may be put together of


def or_null(schema: dict[str, Any]) -> None:
    """In /openapi.json: a field that may be left out may be null."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        if name not in required and {"type": "null"} not in field.get("anyOf", ()):
            about = {
                key: field.pop(key) for key in ("title", "description", "default") if key in field
            }
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}], **about}


class _Body:
    """What came of a body so far: at most ``limit`` bytes of it, unpacked if it is packed."""

    def __init__(self, limit: int, is_packed: bool) -> None:
        self.content = bytearray()
        self.is_too_large = False
        self.problem: str | None = None  # of the packing
        self._limit = limit
        self.is_packed, self._n_members = is_packed, 0
        self._unpack = zlib.decompressobj(_GZIP) if is_packed else None
        self._is_at_start = True  # of one of the members that a gzip file may have several of

    def feed(self, part: bytes) -> None:
        while part and not self.is_too_large and self.problem is None:
            room = self._limit - len(self.content)
            if self._unpack is None:
                self.content += part[:room]
                self.is_too_large = len(part) > room
                return
            if self._unpack.eof:
                self._n_members += 1
                if self._n_members > MAX_MEMBERS:
                    self.problem = f"it has more than {MAX_MEMBERS:,} members"
                    return
                self._unpack, self._is_at_start = zlib.decompressobj(_GZIP), True
            try:
                out = self._unpack.decompress(part, room + 1)
            except zlib.error as error:
                self.problem = str(error)
                return
            self._is_at_start = False
            self.is_too_large = len(out) > room
            self.content += out[:room]
            part = self._unpack.unused_data or self._unpack.unconsumed_tail

    def end(self) -> None:
        """Note if the packing was cut off."""
        if self._unpack is not None and not (self._unpack.eof or self._is_at_start):
            self.problem = self.problem or "it is cut off"


class _UnderWay:
    """Bytes of bodies whose end has not come or that wait to be read, by caller. Used from the
    event loop only."""

    def __init__(self) -> None:
        self._n_bytes: Counter[str] = Counter()

    def add(self, caller: str, n_bytes: int) -> None:
        self._n_bytes[caller] += n_bytes
        if self._n_bytes[caller] <= 0:
            del self._n_bytes[caller]

    def check(self, caller: str, limit: int) -> None:
        """Raises PawlError: this caller's bodies, or all, are too many at once (429). One of
        ``limit`` bytes is always taken from a caller."""
        most, n_bytes = max(MAX_UNDER_WAY_BYTES_OF_CALLER, limit), self._n_bytes[caller]
        if n_bytes > most or self._n_bytes.total() > max(MAX_UNDER_WAY_BYTES, most):
            raise PawlError(
                f"request bodies of yours that are not read yet hold {n_bytes:,} bytes",
                f"at most {most:,} of a caller are kept, and {MAX_UNDER_WAY_BYTES:,} of all",
                "Send fewer or smaller requests at once",
                retryable=True,
                code="rate_limit_exceeded",
            )


_under_way = _UnderWay()
T = TypeVar("T")


def _sender(scope: Scope) -> str:
    """Whose budget a body comes out of: a key's or an account's, else an address's."""
    caller: Caller | None = scope.get(CALLER)
    if caller is not None and not caller.is_everyone:
        return caller.name
    return f"address {address_of(scope)}"


class Readers:
    """Reads bodies that take long, in threads of their own and one of a caller at a time: neither
    another's body nor who else waits for a thread (a sign-in, the store) waits for one caller's."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(N_READERS, "pawl-reader")
        self._turns = Turns(1)

    async def read(self, scope: Scope, n_bytes: int, read: Callable[[], T]) -> T:
        """What ``read`` answers or raises.

        Args:
            n_bytes: of the body.

        Raises:
            PawlError: too many bodies of this caller wait (429).
        """
        sender = _sender(scope)
        _under_way.add(sender, n_bytes)
        try:
            _under_way.check(sender, n_bytes)
            async with self._turns.of(sender):
                return await asyncio.get_running_loop().run_in_executor(self._threads, read)
        finally:
            _under_way.add(sender, -n_bytes)


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, unpacked where ``Content-Encoding`` says gzip.

    Raises:
        PawlError: larger than ``limit`` bytes, packed or unpacked (413); packed in another way
            (415); no whole gzip; too many at once (429).
        ClientDisconnect: the client hung up before it had sent all.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    body, n_bytes = _Body(limit, encoding in ("gzip", "x-gzip")), 0
    sender, n_kept = _sender(request.scope), 0
    try:
        async for part in request.stream():
            n_bytes += len(part)
            if n_bytes > max(MAX_DRAINED_BYTES, limit):
                break
            if n_bytes <= limit or not body.is_packed:
                body.feed(part)
                _under_way.add(sender, len(body.content) - n_kept)
                n_kept = len(body.content)
                _under_way.check(sender, limit)
    finally:
        _under_way.add(sender, -n_kept)
    body.end()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise PawlError(
            f"the request's Content-Encoding is {short(encoding)}",
            "gzip is unpacked here, nothing else",
            "Send it as gzip or as it is",
            code="unsupported_encoding",
        )
    if body.is_too_large or n_bytes > limit:
        size = f"{n_bytes:,} bytes" if n_bytes > limit else f"more than {limit:,} bytes, unpacked"
        raise PawlError(
            f"the request has {size}",
            f"at most {limit:,} are taken",
            "Send less at once",
            code="request_too_large",
        )
    if body.problem is not None:
        raise PawlError(
            "the request's body is not whole gzip",
            body.problem,
            "Pack it again, or send it as it is",
        )
    return bytes(body.content)


def replayed(body: bytes, receive: Receive) -> Receive:
    """A body that was read, and then what the client does."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_body_first() -> Message:
        return parts.pop() if parts else await receive()

    return receive_body_first


def parse_json(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``, without its fields that are null.

    Raises:
        PawlError: it is no JSON object, or holds what can't be stored or sent on: half a
            surrogate pair, a number beyond all bounds, lists in lists in lists (200 deep).
    """
    try:
        # Some programs put a byte order mark before the text.
        value = from_json(raw.removeprefix(codecs.BOM_UTF8), allow_inf_nan=False)
        json.dumps(value, allow_nan=False)  # 1e999 is infinite
    except ValueError as error:
        raise PawlError(
            "the body is not JSON in UTF-8", str(error), "Mend it and send it again",
            code="invalid_json",
        ) from None  # fmt: skip
    if not isinstance(value, dict):
        raise PawlError(
            f"the body is {short(value)}", "a JSON object is expected", 'Send {"...": ...}',
            code="invalid_json",
        )  # fmt: skip
    return {field: content for field, content in value.items() if content is not None}


class JsonRoute(APIRoute):
    """A route of FastAPI's whose bodies are read as those of the completion routes are, whatever
    their content type; no body counts as an empty object."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        model: Any = self.body_field.field_info.annotation if self.body_field else None

        async def handle_json(request: Request) -> Response:
            value: dict[str, Any] = {}
            if model is not None:
                raw = await read_body(request, MAX_BODY_BYTES)
                parse = partial(parse_json, raw or b"{}")
                if len(raw) > LARGE_BYTES:
                    readers: Readers = request.app.state.readers
                    value = await readers.read(request.scope, len(raw), parse)
                else:
                    value = parse()
                headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
                headers.append((b"content-type", b"application/json"))
                request = Request({**request.scope, "headers": headers}, request.receive)
                request._body, request._json = b"{}", value  # what FastAPI asks for
            try:
                return await handle(request)
            except RequestValidationError as error:
                raise validation_error(error.errors(), value, model) from None

        return handle_json
