"""Errors as HTTP answers: each code's status, OpenAI's shape, and what pydantic and the engine
complain of in our words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from pawl.errors import PawlError, short

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

RETRY_AFTER_SECONDS = 2
# Every other error is the request's fault (400), or may pass by itself (503).
STATUS_BY_CODE = {
    "invalid_api_key": 401,
    "foreign_host": 403, "foreign_origin": 403,
    "completion_not_found": 404, "conversation_not_found": 404, "file_not_found": 404,
    "model_not_found": 404, "not_found": 404, "unknown_run": 404, "unknown_version": 404,
    "method_not_allowed": 405,
    "already_champion": 409, "champion_misfit": 409, "locked": 409, "no_earlier_champion": 409,
    "not_let_through": 409, "snapshot_changed": 409, "split_salt_changed": 409,
    "request_too_large": 413,
    "internal_error": 500, "migration_failed": 500, "store_damaged": 500, "store_newer": 500,
    "store_unwritable": 500,
    "adapter_not_loaded": 502, "engine_error": 502, "probe_failed": 502,
    "store_full": 507,
}  # fmt: skip


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


async def respond_error(
    error: PawlError, scope: Scope, receive: Receive, send: Send,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:  # fmt: skip
    """Send ``error_response``, for plain ASGI applications."""
    response = error_response(error)
    response.raw_headers.extend(headers)
    await response(scope, receive, send)


# -- what pydantic finds wrong with a body

_EXPECTED = {  # by pydantic's type of error; {} are its figures
    "bool_type": "true or false is expected",
    "dict_type": "an object is expected",
    "float_type": "a number is expected",
    "greater_than_equal": "{ge} or more is expected",
    "int_type": "a whole number is expected",
    "less_than": "less than {lt} is expected",
    "less_than_equal": "{le} or less is expected",
    "list_type": "a list is expected",
    "literal_error": "{expected} is expected",
    "model_attributes_type": "an object is expected",
    "model_type": "an object is expected",
    "string_pattern_mismatch": "it has another form",
    "string_too_long": "at most {max_length:,} characters are taken",
    "string_too_short": "it is empty",
    "string_type": "a text is expected",
    "string_unicode": "it holds half of a surrogate pair, which is no character",
    "too_long": "at most {max_length:,} are taken",
    "too_short": "it is empty",
}


def validation_error(
    errors: Sequence[Mapping[str, Any]], body: Any, model: type[BaseModel] | None
) -> PawlError:
    """What is wrong with a request, ``param`` naming the field at its top.

    Args:
        errors: pydantic's, or FastAPI's, whose places begin with ``body``, ``query`` or ``path``.
        body: what was sent.
        model: what it was held against; None for queries and paths.
    """
    found = [(*_place(error, body), error) for error in errors]
    # A name that is not known explains one that is missing; of the alternatives of a union the
    # one that fits furthest.
    path, value, error = max(
        found, key=lambda item: (item[2]["type"] == "extra_forbidden", len(item[0]))
    )
    field = str(path[0]) if path else ""
    name = _written(path)
    info = model.model_fields.get(field) if model is not None else None
    about = (info.description if info else None) or ""
    if error["type"] == "extra_forbidden":
        refused: Mapping[str, str] = getattr(model, "refused", {})
        if field in refused and len(path) == 1:
            return PawlError(
                f"{field} is not supported",
                refused[field],
                "Leave it out",
                code="unsupported_parameter",
                param=field,
            )
        known = sorted(model.model_fields) if model is not None and len(path) == 1 else []
        return PawlError(
            f"unknown field {name!r}",
            f"these are taken: {', '.join(known) or 'none'}" if len(path) == 1 else "",
            "Leave it out or mend its name",
            code="unknown_parameter",
            param=field,
        )
    if error["type"] == "missing":
        return PawlError(f"{name} is missing", about, f"Send {name}", code="invalid_value",
                         param=field)  # fmt: skip
    alternatives = [other for place, _, other in found if place == path]
    # Where one alternative has the right type, the others say nothing.
    alternatives = [
        other for other in alternatives if not other["type"].endswith("_type")
    ] or alternatives
    why = " or ".join(dict.fromkeys(_expected(other) for other in alternatives))
    why = why.replace(" is expected or ", " or ")
    return PawlError(
        f"{name or 'the body'} is {short(value)}",
        why,
        f"{field}: {about}" if about else "Change it",
        code="invalid_value",
        param=field or None,
    )


def _expected(error: Mapping[str, Any]) -> str:
    words = _EXPECTED.get(error["type"])
    figures = error.get("ctx", {}).items()
    figures = {key: f"{value:g}" if isinstance(value, float) else value for key, value in figures}
    return words.format(**figures) if words else str(error["msg"])


def _place(error: Mapping[str, Any], body: Any) -> tuple[list[int | str], Any]:
    """Where in the body an error is, without the names of a union's alternatives, and what is
    there."""
    location = error["loc"]
    if location and location[0] in ("body", "query", "path"):
        location = location[1:]
    path: list[int | str] = []
    value = body
    for index, step in enumerate(location):
        if step in (value if isinstance(value, dict) else range(_length(value))):
            value = value[step]
        elif step == "[key]":
            return path, path.pop() if path else None
        elif error["type"] == "missing" and index == len(location) - 1:
            value = None
        else:
            continue
        path.append(step)
    return path, value


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0


def _written(path: Sequence[int | str]) -> str:
    """``["messages", 0, "role"]`` as ``messages[0].role``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


# -- what the engine complains of


def connection_errors() -> tuple[type[Exception], ...]:
    """What asking the engine raises when the engine goes away, or sends what is no JSON."""
    import aiohttp

    return (aiohttp.ClientError, ConnectionError, TimeoutError, OSError, ValueError)


def engine_off() -> PawlError:
    return PawlError(
        "no engine runs here",
        "answers come from a running server",
        "Start one with 'pawl up'",
        retryable=True,
        code="engine_off",
    )


def engine_lost(why: str) -> PawlError:
    return PawlError(
        "the engine stopped while it answered",
        why,
        "It is started again by itself; ask again in half a minute",
        retryable=True,
        code="engine_lost",
    )


def refusal(status: int, body: bytes, prompt_field: str) -> PawlError:
    """The engine's own error. ``prompt_field``: where the prompt stood, ``messages`` or
    ``prompt``."""
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
            param=prompt_field,
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
