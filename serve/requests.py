"""What a completion request may ask for: an allow-list with types and ranges.

vLLM ignores fields that it does not know, and takes many that are not OpenAI's, some of which can
stop the whole engine. So only fields listed here go through; anything else is a 400 that names
it. The list: those of OpenAI's chat and completion calls that vLLM honours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pawl.errors import PawlError
from pawl.records import Message

MAX_CHOICES = 4
MAX_PROMPTS = 16
ROLES = ("system", "developer", "user", "assistant")
Kind = Literal["chat", "text"]

# Why OpenAI's other fields are refused; said to who sends them.
REFUSED = {
    "tools": "the models served here were not taught to call tools",
    "tool_choice": "the models served here were not taught to call tools",
    "parallel_tool_calls": "the models served here were not taught to call tools",
    "functions": "the models served here were not taught to call tools",
    "function_call": "the models served here were not taught to call tools",
    "prompt_logprobs": "two such requests in one batch stop the whole engine",
    "audio": "only text is served", "modalities": "only text is served",
    "prediction": "the engine does not use predicted outputs",
    "best_of": "the engine returns what it generates; use n",
    "suffix": "the engine does not fill in between a prompt and a suffix",
    "store": "every completion is recorded here",
    "service_tier": "there is one tier", "web_search_options": "there is no web search",
    "reasoning_effort": "the models served here do not reason apart from their answer",
    "verbosity": "the engine has no such control",
}  # fmt: skip
# Fields with no effect on the answer: checked, recorded where useful, not sent on.
NOT_SENT_ON = ("user", "metadata")


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


def parse_json(raw: bytes) -> dict[str, Any]:
    """The JSON object in ``raw``. Raises PawlError: not UTF-8, not JSON, or not an object."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PawlError(f"the body is not UTF-8 at byte {error.start}", error.reason,
                        "Encode the JSON as UTF-8", code="invalid_utf8") from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise PawlError("the body is not JSON", str(error), "Mend it and send it again",
                        code="invalid_json") from None
    if not isinstance(value, dict):
        raise PawlError(f"the body is a JSON {type(value).__name__}", "an object is expected",
                        'Send {"model": "pawl", ...}', code="invalid_json")
    return value


def parse_request(raw: bytes, kind: Kind) -> AskedCompletion:
    """Check a request's body.

    Raises:
        PawlError: the first thing that is wrong with it, ``param`` naming the field.
    """
    body = parse_json(raw)
    rules = CHAT_FIELDS if kind == "chat" else TEXT_FIELDS
    for field in body:
        if field in REFUSED and field not in rules:
            raise _wrong(field, f"{field} is not supported", REFUSED[field], "Leave it out",
                         code="unsupported_parameter")
        if field not in rules:
            raise _wrong(field, f"unknown field {field!r}",
                         f"these are taken: {', '.join(sorted(rules))}",
                         "Leave it out or mend its name", code="unknown_parameter")
    body = {field: value for field, value in body.items() if value is not None}
    for field, value in body.items():
        problem = rules[field](value)
        if problem:
            raise _wrong(field, f"{field} is {_short(value)}", problem, "Change it")
    if "model" not in body:
        raise _wrong("model", "model is missing", "the version that shall answer must be named",
                     "Use 'pawl' for the champion")
    _check_together(body, kind)
    prompts = _chat_prompt(body) if kind == "chat" else _text_prompts(body)
    n = int(body.get("n", 1))
    stream = bool(body.get("stream", False))
    include_usage = bool((body.get("stream_options") or {}).get("include_usage", False))
    not_sampling = ("model", "messages", "prompt", "stream", "stream_options", *NOT_SENT_ON)
    sampling = {field: value for field, value in body.items() if field not in not_sampling}
    sent_on = {field: value for field, value in body.items() if field not in NOT_SENT_ON}
    return AskedCompletion(kind, body["model"], stream, include_usage, n, prompts, sampling,
                           body.get("user"), sent_on)


def _check_together(body: dict[str, Any], kind: Kind) -> None:
    """What no field shows alone."""
    if kind == "text" and body.get("echo") and "logprobs" in body:
        raise _wrong("echo", "echo together with logprobs",
                     "two such requests in one batch stop the whole engine",
                     "Ask for one of the two", code="unsupported_parameter")
    if kind == "chat" and "top_logprobs" in body and not body.get("logprobs"):
        raise _wrong("top_logprobs", "top_logprobs without logprobs",
                     "there is nothing to list", 'Send "logprobs": true with it')
    if "stream_options" in body and not body.get("stream"):
        raise _wrong("stream_options", "stream_options without stream",
                     "they say how to stream", 'Send "stream": true, or leave them out')
    if body.get("n", 1) > 1 and body.get("temperature") == 0:
        raise _wrong("n", f"n = {body['n']} at temperature 0",
                     "all answers would be the same", "Ask for one, or raise the temperature")


def _chat_prompt(body: dict[str, Any]) -> list[list[Message]]:
    if not body.get("messages"):
        raise _wrong("messages", "messages is missing or empty", "there is nothing to answer",
                     'Send [{"role": "user", "content": "..."}]')
    return [[{"role": one["role"], "content": _flat(one["content"])} for one in body["messages"]]]


def _text_prompts(body: dict[str, Any]) -> list[list[Message]]:
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt or []
    if not prompts or not all(prompts):
        raise _wrong("prompt", "prompt is missing or empty", "there is nothing to continue",
                     'Send "prompt": "some text"')
    return [[{"role": "prompt", "content": one}] for one in prompts]


def _flat(content: str | list[dict[str, str]]) -> str:
    """``[{"type": "text", "text": "a"}, ...]`` as one text, joined as vLLM joins it."""
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content)


# -- rules: each answers None, or why the value can't be

Rule = Callable[[Any], str | None]


def _number(low: float, high: float) -> Rule:
    def rule(value: Any) -> str | None:
        if isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high:
            return None
        return f"a number from {low:g} to {high:g} is expected"
    return rule


def _whole(low: int, high: int) -> Rule:
    def rule(value: Any) -> str | None:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return None
        return f"a whole number from {low} to {high} is expected"
    return rule


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "true or false is expected"


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return "a string is expected"
    return _not_encodable(value)


def _not_encodable(value: str) -> str | None:
    try:
        value.encode()
    except UnicodeEncodeError:
        return "it holds half of a surrogate pair, which is no character"
    return None


def _messages(value: Any) -> str | None:
    if not isinstance(value, list):
        return "a list of messages is expected"
    for i, one in enumerate(value):
        if not isinstance(one, dict):
            return f"message {i} is no object"
        if one.get("role") not in ROLES:
            return f"message {i} has the role {one.get('role')!r}; roles are {', '.join(ROLES)}"
        unknown = set(one) - {"role", "content", "name", "refusal"}
        if any(one[field] for field in unknown):
            return f"message {i} has the field {min(unknown)!r}; only role and content are used"
        problem = _content(one.get("content"))
        if problem:
            return f"message {i}: {problem}"
    return None


def _content(content: Any) -> str | None:
    parts = [content] if isinstance(content, str) else content
    if not isinstance(parts, list) or not parts:
        return "its content is missing; a string is expected"
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "text":
            part = part.get("text")
        if not isinstance(part, str):
            return "only text is served; content is a string or a list of text parts"
        problem = _not_encodable(part)
        if problem:
            return problem
    return None


def _prompt(value: Any) -> str | None:
    prompts = [value] if isinstance(value, str) else value
    if not isinstance(prompts, list) or not all(isinstance(one, str) for one in prompts):
        return "text is expected, or a list of texts (token ids could not be recorded as text)"
    if len(prompts) > MAX_PROMPTS:
        return f"at most {MAX_PROMPTS} prompts go into one request"
    return next((problem for one in prompts if (problem := _not_encodable(one))), None)


def _stop(value: Any) -> str | None:
    stops = [value] if isinstance(value, str) else value
    if isinstance(stops, list) and len(stops) <= 16 and all(
        isinstance(one, str) and one and not _not_encodable(one) for one in stops
    ):
        return None
    return "a text or a list of up to 16 texts is expected, none of them empty"


def _logit_bias(value: Any) -> str | None:
    if isinstance(value, dict) and len(value) <= 1024 and all(
        key.isdecimal() and key.isascii() and _number(-100, 100)(bias) is None
        for key, bias in value.items()
    ):
        return None
    return "an object of up to 1024 token ids with numbers from -100 to 100 is expected"


def _stream_options(value: Any) -> str | None:
    if not isinstance(value, dict):
        return "an object is expected"
    for key in value:
        if key != "include_usage":
            return f"it has the field {key!r}; only include_usage is taken"
    return _boolean(value.get("include_usage", False))


def _response_format(value: Any) -> str | None:
    kinds = ("text", "json_object", "json_schema")
    if not isinstance(value, dict) or value.get("type") not in kinds:
        return f"an object with a type of {', '.join(kinds)} is expected"
    if value["type"] == "json_schema":
        schema = value.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("schema"), dict):
            return 'its json_schema needs a "schema" object'
    return None


def _metadata(value: Any) -> str | None:
    if isinstance(value, dict) and len(value) <= 16 and all(
        len(key) <= 64 and isinstance(one, str) and len(one) <= 512 for key, one in value.items()
    ):
        return None
    return "an object of up to 16 short texts is expected"


_COMMON: dict[str, Rule] = {
    "model": _text,
    "stream": _boolean,
    "stream_options": _stream_options,
    "n": _whole(1, MAX_CHOICES),
    "max_tokens": _whole(1, 1_000_000),
    "temperature": _number(0, 2),
    "top_p": _number(1e-6, 1),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "seed": _whole(-(2**63), 2**63 - 1),
    "stop": _stop,
    "logit_bias": _logit_bias,
    "user": _text,
}
CHAT_FIELDS: dict[str, Rule] = {
    **_COMMON,
    "messages": _messages,
    "max_completion_tokens": _whole(1, 1_000_000),
    "logprobs": _boolean,
    "top_logprobs": _whole(0, 20),
    "response_format": _response_format,
    "metadata": _metadata,
}
TEXT_FIELDS: dict[str, Rule] = {
    **_COMMON,
    "prompt": _prompt,
    "echo": _boolean,
    "logprobs": _whole(0, 20),
}


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _wrong(param: str, what: str, why: str, do: str, code: str = "invalid_value") -> PawlError:
    return PawlError(what, why, do, code=code, param=param)
