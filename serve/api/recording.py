"""From the bytes that the engine sent to the rows that the store keeps."""

from __future__ import annotations

import asyncio
import hashlib
import json
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import Completion, Message
from serve.api.requests import AskedCompletion, Kind

COMMIT_TIMEOUT_SECONDS = 30.0
MAX_ID_CHARACTERS = 200
Status = Literal["complete", "cancelled", "error"]


class CompletionStore(Protocol):
    """What recording needs of the store."""

    def append_completion(self, completion: Completion) -> Future[None]: ...


@dataclass(slots=True)
class Choice:
    """One of the ``n`` answers."""

    text: str = ""
    finish_reason: str | None = None


@dataclass(slots=True)
class Answer:
    """What an engine's bytes say. Token counts are those of all choices together."""

    choices: dict[int, Choice] = field(default_factory=dict)
    n_prompt_tokens: int | None = None
    n_completion_tokens: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request on its way: who asked whom for what."""

    completion_id: str
    conversation_id: str
    rater_id: str
    created_at: str
    asked: AskedCompletion
    version: str
    base: BaseModel


def read_body(raw: bytes, kind: Kind) -> Answer:
    """Read an answer that was not streamed: ``{"choices": [...], "usage": {...}}``."""
    answer = Answer()
    _take(json.loads(raw), kind, answer)
    return answer


def read_stream(raw: bytes, kind: Kind) -> Answer:
    """Read a stream of events, whole or cut off anywhere: ``data: {...}\\n\\n``."""
    answer = Answer()
    for event in raw.split(b"\n\n"):
        if not event.startswith(b"data: {"):
            continue  # [DONE], a comment, nothing
        try:
            value = json.loads(event[6:])
        except ValueError:
            continue  # the event in which the stream was cut off: its text never left whole
        _take(value, kind, answer)
    return answer


def _take(value: dict[str, Any], kind: Kind, answer: Answer) -> None:
    """Add one body or one event to the answer."""
    if "error" in value:
        error = value["error"]
        answer.error = str(error.get("message", error) if isinstance(error, dict) else error)
        return
    for one in value.get("choices", []):
        choice = answer.choices.setdefault(one["index"], Choice())
        message = one if kind == "text" else one.get("delta") or one.get("message") or {}
        choice.text += message.get("text" if kind == "text" else "content") or ""
        choice.finish_reason = one.get("finish_reason") or choice.finish_reason
    usage = value.get("usage")
    if usage:
        answer.n_prompt_tokens = usage.get("prompt_tokens")
        answer.n_completion_tokens = usage.get("completion_tokens")


def completions_of(
    exchange: Exchange,
    answer: Answer,
    status: Status,
    first_token_seconds: float | None,
    total_seconds: float,
) -> list[Completion]:
    """One row a choice, also for choices of which nothing came.

    The engine counts the tokens of all choices together: with several, a row has no count.
    """
    asked = exchange.asked
    n_rows = asked.n * len(asked.prompts)
    rows = []
    for index in range(n_rows):
        choice = answer.choices.get(index, Choice())
        rows.append(Completion(
            completion_id=exchange.completion_id,
            choice_index=index,
            conversation_id=exchange.conversation_id,
            rater_id=exchange.rater_id,
            created_at=exchange.created_at,
            asked_model=asked.model,
            version=exchange.version,
            base_model=exchange.base.name,
            base_fingerprint=exchange.base.fingerprint,
            messages=asked.prompts[index // asked.n],
            completion=choice.text,
            finish_reason=choice.finish_reason,
            status=status,
            sampling=asked.sampling,
            n_prompt_tokens=answer.n_prompt_tokens if len(asked.prompts) == 1 else None,
            n_completion_tokens=answer.n_completion_tokens if n_rows == 1 else None,
            first_token_seconds=first_token_seconds,
            total_seconds=total_seconds,
            streamed=asked.stream,
        ))  # fmt: skip
    return rows


async def commit(store: CompletionStore, rows: list[Completion]) -> None:
    """Hand the rows to the store and wait until they are on disk.

    The rows are handed over at once, before the first await: whoever is cancelled while waiting
    has them stored all the same.

    Raises:
        PawlError: the store could not take them (``status=503``).
    """
    try:
        futures = [store.append_completion(row) for row in rows]
        waiting = asyncio.gather(*(asyncio.wrap_future(one) for one in futures))
        await asyncio.wait_for(asyncio.shield(waiting), COMMIT_TIMEOUT_SECONDS)
    except Exception as error:
        if isinstance(error, PawlError):
            why = error.why or error.what
        else:
            why = str(error) or f"{type(error).__name__} after {COMMIT_TIMEOUT_SECONDS:.0f} s"
        raise PawlError(
            "the answer could not be recorded",
            why,
            "Free some disk space or look at the server's log, then ask again",
            retryable=True,
            code="not_recorded",
        ) from error


def checked_id(name: str, value: str) -> str:
    """``value``; PawlError if it is too long. Cut off, two people could become one."""
    if len(value) > MAX_ID_CHARACTERS:
        raise PawlError(
            f"{name} has {len(value):,} characters",
            f"at most {MAX_ID_CHARACTERS} are kept",
            "Send a shorter one",
            code="invalid_value",
            param=name,
        )
    return value


def _as_utf8(header: str) -> str:
    """A header's text, which the server reads byte by byte as Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def conversation_of(header: str | None, rater_id: str, messages: list[Message]) -> str:
    """The conversation's id: the header's, else made of the rater and how the talk began.

    The beginning is everything up to the first message of the user, so each later turn of a
    conversation, which carries the earlier ones, gets the same id.
    """
    if header:
        return checked_id("X-Pawl-Conversation", _as_utf8(header))
    beginning: list[Message] = []
    for one in messages:
        beginning.append(one)
        if one["role"] in ("user", "prompt"):
            break
    text = json.dumps([rater_id, beginning], ensure_ascii=False)
    return "conv-" + hashlib.sha256(text.encode()).hexdigest()[:24]


def rater_of(header: str | None, user: str | None, api_key: str | None) -> str:
    """Who asks: the header, the body's ``user``, a hash of the API key, or ``anonymous``."""
    if header:
        return checked_id("X-Pawl-Rater", _as_utf8(header))
    if user:
        return checked_id("user", user)
    if api_key:
        return "key-" + hashlib.sha256(api_key.encode()).hexdigest()[:16]
    return "anonymous"
