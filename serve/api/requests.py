"""What a completion request may ask for: an allow-list with types and ranges.

vLLM ignores fields that it does not know, and takes many that are not OpenAI's, some of which can
stop the whole engine. So only fields listed here go through; anything else is a 400 that names
it. The list: those of OpenAI's chat and completion calls that vLLM honours.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from pawl.errors import PawlError, short
from pawl.schemas import Message
from serve.api.fields import CHAT_FIELDS, NOT_SENT_ON, REFUSED, TEXT_FIELDS

Kind = Literal["chat", "text"]


@dataclass(frozen=True, slots=True)
class AskedCompletion:
    """A checked request. ``prompts`` has one list of messages a prompt (one for chat);
    ``sampling`` all fields that shape the answer, as sent; ``body`` what goes on to the engine
    but for ``model``."""

    kind: Kind
    model: str
    stream: bool
    include_usage: bool  # the client asked for a last chunk with the usage
    n: int
    prompts: list[list[Message]]
    sampling: dict[str, Any]
    user: str | None
    body: dict[str, Any]


KINDS_IN_WORDS = {
    str: "a text", bool: "true or false", dict: "an object", list: "a list", int: "a whole number"
}  # fmt: skip


def parse_json(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``.

    Raises:
        PawlError: nothing came, it is not UTF-8, not JSON, no object, or holds what can't be
            stored or sent on: half a surrogate pair, a number beyond all bounds.
    """
    if not raw.strip():
        raise PawlError(
            "the body is empty", "a JSON object is expected", 'Send {"...": ...}',
            code="invalid_json",
        )  # fmt: skip
    try:
        text = raw.decode("utf-8-sig")  # some programs put a byte order mark before the text
    except UnicodeDecodeError as error:
        raise PawlError(
            f"the body is not UTF-8 at byte {error.start}",
            error.reason,
            "Encode the JSON as UTF-8",
            code="invalid_utf8",
        ) from None
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except RecursionError:
        raise _no_json("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise _no_json(str(error)) from None
    except ValueError as error:
        # Python's own words here are about a switch of Python's.
        too_long = "a whole number in it has thousands of digits"
        raise _no_json(too_long if "digits" in str(error) else str(error)) from None
    if not isinstance(value, dict):
        raise PawlError(
            f"the body is {short(value)}",
            "a JSON object is expected",
            'Send {"...": ...}',
            code="invalid_json",
        )
    if "\\u" in text:  # only an escape can bring half a pair
        for field, one in value.items():
            _check_encodable(field, one)
    return value


def _no_json(why: str) -> PawlError:
    return PawlError("the body is not JSON", why, "Mend it and send it again", code="invalid_json")


def _check_encodable(field: str, value: Any) -> None:
    try:
        json.dumps([field, value], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _wrong(
            field,
            f"{short(field)} holds half of a surrogate pair",
            "it is no character, so it can neither be sent on nor stored",
            "Send both halves, or the character itself",
        ) from None
    except RecursionError:
        raise _no_json("it is nested too deeply") from None


def parse_request(raw: bytes, kind: Kind) -> AskedCompletion:
    """Check a request's body.

    Raises:
        PawlError: the first thing that is wrong with it, ``param`` naming the field.
    """
    body = parse_json(raw)
    rules = CHAT_FIELDS if kind == "chat" else TEXT_FIELDS
    for field in body:
        if field in REFUSED and field not in rules:
            raise _wrong(
                field,
                f"{field} is not supported",
                REFUSED[field],
                "Leave it out",
                code="unsupported_parameter",
            )
        if field not in rules:
            raise _wrong(
                field,
                f"unknown field {field!r}",
                f"these are taken: {', '.join(sorted(rules))}",
                "Leave it out or mend its name",
                code="unknown_parameter",
            )
    body = {field: value for field, value in body.items() if value is not None}
    for field, value in body.items():
        problem = rules[field](value)
        if problem:
            raise _wrong(field, f"{field} is {short(value)}", problem, "Change it")
    if "model" not in body:
        raise _wrong(
            "model",
            "model is missing",
            "the version that shall answer must be named",
            "Use 'pawl' for the champion",
        )
    _check_together(body, kind)
    prompts = _chat_prompt(body) if kind == "chat" else _text_prompts(body)
    n = int(body.get("n", 1))
    stream = bool(body.get("stream", False))
    include_usage = bool((body.get("stream_options") or {}).get("include_usage", False))
    not_sampling = ("model", "messages", "prompt", "stream", "stream_options", *NOT_SENT_ON)
    sampling = {field: value for field, value in body.items() if field not in not_sampling}
    sent_on = {field: value for field, value in body.items() if field not in NOT_SENT_ON}
    return AskedCompletion(
        kind, body["model"], stream, include_usage, n, prompts, sampling, body.get("user"), sent_on
    )


def _check_together(body: dict[str, Any], kind: Kind) -> None:
    """What no field shows alone."""
    if kind == "text" and body.get("echo") and "logprobs" in body:
        raise _wrong(
            "echo",
            "echo together with logprobs",
            "two such requests in one batch stop the whole engine",
            "Ask for one of the two",
            code="unsupported_parameter",
        )
    if kind == "chat" and "top_logprobs" in body and not body.get("logprobs"):
        raise _wrong(
            "top_logprobs",
            "top_logprobs without logprobs",
            "there is nothing to list",
            'Send "logprobs": true with it',
        )
    if "stream_options" in body and not body.get("stream"):
        raise _wrong(
            "stream_options",
            "stream_options without stream",
            "they say how to stream",
            'Send "stream": true, or leave them out',
        )
    if body.get("n", 1) > 1 and body.get("temperature") == 0:
        raise _wrong(
            "n",
            f"n = {body['n']} at temperature 0",
            "all answers would be the same",
            "Ask for one, or raise the temperature",
        )


def _chat_prompt(body: dict[str, Any]) -> list[list[Message]]:
    if not body.get("messages"):
        raise _wrong(
            "messages",
            "messages is missing or empty",
            "there is nothing to answer",
            'Send [{"role": "user", "content": "..."}]',
        )
    prompt = [{"role": one["role"], "content": _flat(one["content"])} for one in body["messages"]]
    if not any(one["content"].strip() for one in prompt):
        raise _wrong(
            "messages",
            "messages hold no text",
            "there is nothing to answer",
            "Write something into content",
        )
    return [prompt]


def _text_prompts(body: dict[str, Any]) -> list[list[Message]]:
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt or []
    if not prompts or not all(prompts):
        raise _wrong(
            "prompt",
            "prompt is missing or empty",
            "there is nothing to continue",
            'Send "prompt": "some text"',
        )
    return [[{"role": "prompt", "content": one}] for one in prompts]


def _flat(content: str | list[dict[str, str]]) -> str:
    """``[{"type": "text", "text": "a"}, ...]`` as one text, joined as vLLM joins it."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _wrong(param: str, what: str, why: str, do: str, code: str = "invalid_value") -> PawlError:
    return PawlError(what, why, do, code=code, param=param)
