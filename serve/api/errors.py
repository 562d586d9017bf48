"""Errors as HTTP answers: each code's status, OpenAI's shape, and what pydantic and the engine
complain of."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

from pawl.errors import PawlError, short
from pawl.logs import request_id

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from serve.engine.replicas import AnyEngine

_log = logging.getLogger("pawl.gateway")
RETRY_AFTER_SECONDS = 2  # where nothing is known
START_SECONDS = 45  # of an engine that never started here: 30 s idle, 78 s on a loaded machine
MAX_ENGINE_CHARACTERS = 2_000  # of its message, in which a prompt may stand, are searched
MAX_RETRY_AFTER_SECONDS = 60  # OpenAI's clients take a longer one for none at all
# Every other error is the request's fault (400), or may pass by itself (503).
STATUS_BY_CODE = {
    "invalid_api_key": 401, "wrong_password": 401,
    "password_change_needed": 403, "stale_form": 403,
    "provider_refused": 403, "forbidden": 403, "foreign_host": 403, "foreign_origin": 403,
    "completion_not_found": 404, "conversation_not_found": 404, "file_not_found": 404,
    "model_not_found": 404, "not_found": 404, "preset_not_found": 404, "unknown_key": 404,
    "unknown_account": 404, "unknown_run": 404, "unknown_user": 404, "unknown_version": 404,
    "method_not_allowed": 405,
    "account_exists": 409, "already_champion": 409, "canary_runs": 409, "champion_misfit": 409,
    "file_exists": 409,
    "key_exists": 409, "last_administrator": 409, "last_replica": 409, "locked": 409,
    "night_runs": 409,
    "no_earlier_champion": 409, "nothing_to_undo": 409,
    "not_let_through": 409, "not_waiting": 409, "other_store": 409, "other_version": 409,
    "snapshot_changed": 409, "snapshot_erased": 409,
    "split_salt_changed": 409,
    "file_too_large": 413, "request_too_large": 413,
    "unsupported_encoding": 415,
    "headers_too_large": 431,
    "rate_limit_exceeded": 429, "too_many_failures": 429,
    "internal_error": 500, "migration_failed": 500, "store_damaged": 500, "store_newer": 500,
    "store_unwritable": 500,
    "provider_failed": 502, "adapter_not_loaded": 502, "engine_error": 502, "probe_failed": 502,
    "store_full": 507,
}  # fmt: skip
# Of Anthropic's API, by status.
MESSAGES_PATH = "/v1/messages"
_ANTHROPIC_TYPES = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error",
}  # fmt: skip


def status_of(error: PawlError) -> int:
    """The HTTP status of an error."""
    return STATUS_BY_CODE.get(error.code, 503 if error.retryable else 400)


def invalid(param: str, what: str, why: str, do: str) -> PawlError:
    """The refusal of a field's value (``invalid_value``)."""
    return PawlError(what, why, do, code="invalid_value", param=param)


def error_body(error: PawlError, path: str = "") -> dict[str, Any]:
    """OpenAI's ``{"error": {"message", "type", "param", "code"}}``, and ``retryable``; for a
    ``path`` of Anthropic's API what it has beside them, with its types."""
    status, message = status_of(error), str(error)
    fields = {"param": error.param, "code": error.code, "retryable": error.retryable}
    if not path.startswith(MESSAGES_PATH):
        kind = "invalid_request_error" if status < 500 else "server_error"
        return {"error": {"message": message, "type": kind, **fields}}
    other = "invalid_request_error" if status < 500 else "api_error"
    kind = "overloaded_error" if error.code == "overloaded" else _ANTHROPIC_TYPES.get(status, other)
    if error.code == "context_length_exceeded":  # its clients look for these words
        message = f"prompt is too long: {message}"
    return {"type": "error", "error": {"message": message, "type": kind, **fields},
            "request_id": request_id.get()}  # fmt: skip


def error_response(error: PawlError, path: str = "") -> JSONResponse:
    """The answer to a request of ``path``; ``Retry-After`` with a 429, 502 or 503."""
    status = status_of(error)
    headers = None
    if status in (429, 502, 503):
        seconds = math.ceil(error.retry_after_seconds or RETRY_AFTER_SECONDS)
        headers = {"Retry-After": str(max(1, min(seconds, MAX_RETRY_AFTER_SECONDS)))}
    return JSONResponse(error_body(error, path), status_code=status, headers=headers)


def engine_starting(engine: AnyEngine) -> PawlError:
    """The engine starts, or has failed. To be tried again when it should be ready, by its last
    start and how far it is."""
    error, whole = engine.unavailable(), engine.start_seconds or START_SECONDS
    error.retry_after_seconds = max(RETRY_AFTER_SECONDS, whole * (1 - engine.progress_fraction))
    if engine.state == "failed":  # somebody has to start Pawl again
        error.retry_after_seconds = MAX_RETRY_AFTER_SECONDS
    return error


async def respond_error(
    error: PawlError, scope: Scope, receive: Receive, send: Send,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:  # fmt: skip
    """Send ``error_response``, for plain ASGI applications."""
    response = error_response(error, scope["path"])
    response.raw_headers.extend(headers)
    await response(scope, receive, send)


# What OpenAI's clients ask for that is not here, and what to use instead.
_INSTEAD = {
    "/v1/embeddings": "The models here write answers; for embeddings use a server of an embedding "
    "model (vLLM and Ollama serve them)",
    "/v1/responses": "Answers can't be asked for again: use POST /v1/responses with the whole "
    "conversation as input",
    "/v1/messages": "Use POST /v1/messages",
    "/v1/assistants": "Use POST /v1/chat/completions and send the whole conversation",
    "/v1/threads": "Use POST /v1/chat/completions and send the whole conversation",
    "/v1/fine_tuning": "Feedback is what is learned from: POST /v1/feedback, and 'pawl import'",
    "/v1/images": "Only text is served",
    "/v1/audio": "Only text is served",
}


def no_such_route(scope: Scope) -> PawlError:
    path = scope["path"]
    family = "/".join(path.split("/")[:3])
    return PawlError(
        f"there is no {scope['method']} {path} here",
        "/docs lists the routes",
        _INSTEAD.get(family, "Check the address and the method"),
        code="not_found",
    )


# -- what pydantic finds wrong with a body


def validation_error(
    errors: Sequence[Mapping[str, Any]], body: Any, model: type[BaseModel] | None
) -> PawlError:
    """What is wrong with a request, ``param`` naming the field at its top.

    Args:
        errors: pydantic's, or FastAPI's, whose places begin with ``body``, ``query`` or ``path``.
        body: what was sent.
        model: what it was held against; None for queries and paths.
    """
    found = [(_path(error, body), error) for error in errors]
    # A name that is not known explains one that is missing; of the alternatives of a union the
    # one that fits furthest.
    path, error = max(found, key=lambda one: (one[1]["type"] == "extra_forbidden", len(one[0])))
    field = str(path[0]) if path else ""
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]
    fields = model.model_fields if model is not None else {}
    about = (fields[field].description if field in fields else None) or ""
    code, do = "invalid_value", f"{field}: {about}" if about else "Change it"
    if error["type"] == "extra_forbidden":
        code, what, do = "unknown_parameter", f"unknown field {name!r}", "Leave it out or rename it"
        why = f"these are taken: {', '.join(sorted(fields)) or 'none'}" if name == field else ""
    elif error["type"] == "missing":
        what, why, do = f"{name} is missing", about, f"Send {name}"
    else:
        what = f"{name or 'the body'} is {short(error['input'])}"
        # Of a union's alternatives, those of the wrong type say nothing beside one of the right.
        here = [other for place, other in found if place == path]
        fitting = [other for other in here if not other["type"].endswith("_type")] or here
        why = " or ".join(dict.fromkeys(other["msg"] for other in fitting))
    return PawlError(what, why, do, code=code, param=field or None)


def _path(error: Mapping[str, Any], body: Any) -> list[int | str]:
    """Where an error is: in the query or the path, or in the body, without the names of a union's
    alternatives."""
    path: list[int | str] = []
    if error["loc"][:1] in (("query",), ("path",)):
        return list(error["loc"][1:2])
    for step in error["loc"]:
        with suppress(KeyError, IndexError, TypeError):
            body = body[step]
            path.append(step)
    return [*path, error["loc"][-1]] if error["type"] == "missing" else path


# -- what the engine complains of


def connection_errors() -> tuple[type[Exception], ...]:
    """What asking the engine raises when the engine goes away, or sends what is no JSON."""
    import aiohttp

    return (aiohttp.ClientError, ConnectionError, TimeoutError, OSError, ValueError)


def unreachable_errors() -> tuple[type[Exception], ...]:
    """Those of ``connection_errors`` that came before anything was asked."""
    import aiohttp

    return (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


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
        retry_after_seconds=START_SECONDS,
        code="engine_lost",
    )


def refusal(status: int, body: bytes | str, prompt_field: str) -> PawlError:
    """The engine's own error. ``prompt_field``: where the prompt stood, ``messages`` or
    ``prompt``."""
    try:
        error = json.loads(body)["error"]
        message, param = str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError):
        text = body if isinstance(body, str) else body.decode(errors="replace")
        message, param = text[:300], None
    message = message[:MAX_ENGINE_CHARACTERS]
    if status in (400, 422):
        return _too_long(message, prompt_field) or PawlError(
            "the engine refused the request", _reason(message), param=param
        )
    if status == 404:
        return PawlError(
            "this version has just left the engine",
            "it was unloaded while the request was on its way",
            "Ask again",
            retryable=True,
            code="engine_not_ready",
        )
    _log.error("the engine answered %d: %s", status, message[:300])
    if status == 503 or "EngineCore" in message or "EngineDead" in message:
        return engine_lost("its process ended")
    return PawlError(
        f"the engine answered {status}",
        "it failed at this request; the server's log has its words",
        "Ask again",
        retryable=True,
        code="engine_error",
    )


def _too_long(message: str, prompt_field: str) -> PawlError | None:
    """The refusal of a prompt or an answer beyond the context. It begins with OpenAI's words,
    which LiteLLM looks for; LangChain looks for the code, but in the message alone."""
    param, do = prompt_field, "Shorten the prompt"
    if found := re.search(r"(\w+)=(\d+) cannot be greater than max_model_len=(\d+)", message):
        param, do = found[1], f"Lower {found[1]}"
        limit, size = found[3], f"you asked for {found[2]} tokens"
    elif found := re.search(r"length \((\d+)\) exceeds.* context length \((\d+)\)", message):
        limit, size = found[2], f"your prompt has {found[1]} tokens"
    elif found := re.search(r"maximum context length is (\d+)", message):
        limit, size = found[1], "your prompt has more"
        if characters := re.search(r"contains (\d+) characters", message):
            size = f"your prompt has {characters[1]} characters"
        elif tokens := re.search(r"(at least )?(\d+) input tokens", message):
            size = f"your prompt has {tokens[2]} tokens{' or more' if tokens[1] else ''}"
    else:
        return None
    return PawlError(
        f"This model's maximum context length is {limit} tokens. However, {size} "
        "(context_length_exceeded)",
        do=do,
        code="context_length_exceeded",
        param=param,
    )


def _reason(message: str) -> str:
    """vLLM's words, without pydantic's print-out of a whole error."""
    if not re.match(r"\d+ validation error", message):
        return message
    found = re.search(r"""'msg': (['"])(.*?)\1""", message)
    return found[2] if found else "a field's value is not one that it takes"
