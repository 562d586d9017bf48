"""Bytes between client, gateway and engine: bodies, events, headers, and errors as answers."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from pawl.errors import PawlError
from serve.api.recording import Exchange, Status

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from serve.api.requests import Kind

DONE = b"data: [DONE]\n\n"
RETRY_AFTER_SECONDS = 2
# Every other error is the request's fault (400), or may pass by itself (503).
STATUS_BY_CODE = {
    "invalid_api_key": 401,
    "foreign_host": 403, "foreign_origin": 403,
    "completion_not_found": 404, "conversation_not_found": 404, "file_not_found": 404,
    "model_not_found": 404, "model_not_here": 404, "not_found": 404, "no_state": 404,
    "unknown_run": 404, "unknown_version": 404,
    "method_not_allowed": 405,
    "already_champion": 409, "champion_misfit": 409, "locked": 409, "no_earlier_champion": 409,
    "not_let_through": 409, "port_in_use": 409, "snapshot_changed": 409,
    "split_salt_changed": 409,
    "request_too_large": 413,
    "internal_error": 500, "migration_failed": 500, "store_damaged": 500, "store_newer": 500,
    "store_unwritable": 500,
    "adapter_not_loaded": 502, "engine_error": 502, "probe_failed": 502,
    "no_answer_yet": 504,
    "store_full": 507,
}  # fmt: skip
MAX_DRAINED_BYTES = 64 * 2**20  # of a body that is too large: read to its end, so that the client
# gets to read the refusal instead of a broken connection


class ClientGone(Exception):
    """The client hung up."""


async def read_request(receive: Receive, headers: Headers, limit: int) -> bytes:
    """The whole body.

    Raises:
        PawlError: larger than ``limit`` bytes (413).
        ClientGone: the client hung up before it had sent all.
    """
    parts: list[bytes] = []
    size = 0
    declared = headers.get("content-length", "")
    n_said = int(declared) if declared.isdecimal() else 0
    more = n_said <= MAX_DRAINED_BYTES
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        size += len(part)
        if size <= limit:
            parts.append(part)
        more = message.get("more_body", False) and size <= MAX_DRAINED_BYTES
    size = max(size, n_said)
    if size > limit:
        raise PawlError(
            f"the request has {size:,} bytes",
            f"at most {limit:,} are taken",
            "Send less at once",
            code="request_too_large",
        )
    return b"".join(parts)


async def respond_error(
    error: PawlError, scope: Scope, receive: Receive, send: Send,
    headers: list[tuple[bytes, bytes]] | None = None,
) -> None:  # fmt: skip
    """Send an OpenAI-shaped error; ``Retry-After`` with a 503."""
    response = error_response(error)
    response.raw_headers.extend(headers or [])
    await response(scope, receive, send)


def status_of(error: PawlError) -> int:
    """The HTTP status of an error."""
    return STATUS_BY_CODE.get(error.code, 503 if error.retryable else 400)


def error_body(error: PawlError) -> dict[str, object]:
    """``{"error": {"message", "type", "param", "code"}}``, as OpenAI's API has it."""
    kind = "invalid_request_error" if status_of(error) < 500 else "server_error"
    return {
        "error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}
    }


def error_response(error: PawlError) -> JSONResponse:
    """An OpenAI-shaped answer; ``Retry-After`` with a 503."""
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    return JSONResponse(error_body(error), status_code=status, headers=headers)


async def hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def end_body(send: Send, body: bytes, status: Status) -> Status:
    await send({"type": "http.response.body", "body": body, "more_body": False})
    return status


def whole_events(data: bytes, include_usage: bool) -> tuple[bytes, bytes]:
    """Split off the events that are whole, without ``[DONE]``, and without the usage that only
    we asked for (the one event that has no choices). Answers ``(to send, rest)``."""
    end = data.rfind(b"\n\n") + 2
    if end == 1:
        return b"", data
    whole, rest = data[:end], data[end:]
    if whole.endswith(DONE):
        whole = whole[: -len(DONE)]
    if not include_usage and b'"choices":[]' in whole:
        events = whole.split(b"\n\n")
        whole = b"\n\n".join(one for one in events if b'"choices":[]' not in one)
    return whole, rest


def exchange_headers(exchange: Exchange) -> list[tuple[bytes, bytes]]:
    base = f"{quote(exchange.base.name, safe='/@:.-_ ')} {exchange.base.fingerprint}"
    return [
        (b"x-pawl-completion-id", exchange.completion_id.encode()),
        (b"x-pawl-version", exchange.version.encode()),
        (b"x-pawl-base", base.encode()),
    ]


def connection_errors() -> tuple[type[BaseException], ...]:
    import aiohttp

    return (aiohttp.ClientError, ConnectionError, TimeoutError, OSError)


def engine_lost(why: str) -> PawlError:
    return PawlError(
        "the engine stopped while it answered",
        why,
        "It is started again by itself; ask again in half a minute",
        retryable=True,
        code="engine_lost",
    )


def refusal(status: int, body: bytes, kind: Kind) -> PawlError:
    """The engine's own error in our words."""
    try:
        error = json.loads(body)["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError):
        message, param = body[:300].decode(errors="replace"), None
    long = re.search(r"maximum context length is (\d+).*?(?:at least )?(\d+) input tokens", message)
    if status == 400 and long:
        return PawlError(
            f"the prompt has {long[2]} tokens or more",
            f"the model's context holds {long[1]}, the answer included",
            "Shorten the prompt",
            code="context_length_exceeded",
            param="messages" if kind == "chat" else "prompt",
        )
    if status in (400, 422):
        return PawlError("the engine refused the request", message, param=param)
    if status == 404:
        return PawlError(
            "this version has just left the engine",
            message,
            "Ask again",
            retryable=True,
            code="engine_not_ready",
        )
    return PawlError(
        f"the engine answered {status}", message, "Ask again", retryable=True, code="engine_error"
    )
