"""The fields of OpenAI's chat and completion calls that vLLM honours, and what each may hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MAX_CHOICES = 4
MAX_PROMPTS = 16
ROLES = ("system", "developer", "user", "assistant")

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
        known = ("role", "content", "name", "refusal")
        unknown = sorted(field for field in one if field not in known and one[field])
        if unknown:
            return f"message {i} has the field {unknown[0]!r}; only role and content are used"
        problem = _content(one.get("content"))
        if problem:
            return f"message {i}: {problem}"
    return None


def _content(content: Any) -> str | None:
    parts = [content] if isinstance(content, str) else content
    if not parts:
        return "it has no content; a string is expected"
    wrong = "only text is served; content is a string or a list of text parts"
    if not isinstance(parts, list):
        return wrong
    for part in parts:
        if isinstance(part, dict) and part.get("type") == "text":
            part = part.get("text")
        elif part is not content:
            return wrong
        if not isinstance(part, str):
            return wrong
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
    if (
        isinstance(stops, list)
        and len(stops) <= 16
        and all(isinstance(one, str) and one and not _not_encodable(one) for one in stops)
    ):
        return None
    return "a text or a list of up to 16 texts is expected, none of them empty"


def _logit_bias(value: Any) -> str | None:
    if (
        isinstance(value, dict)
        and len(value) <= 1024
        and all(
            key.isdecimal() and key.isascii() and len(key) < 10 and _number(-100, 100)(bias) is None
            for key, bias in value.items()
        )
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
    if (
        isinstance(value, dict)
        and len(value) <= 16
        and all(
            len(key) <= 64 and isinstance(one, str) and len(one) <= 512
            for key, one in value.items()
        )
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
