"""What the records of all formats are made of: messages, answers, tools, thumbs, raters.

Null counts as absent everywhere. A prompt may be a text or messages; a message's content a text or
a list of text parts; ``developer`` is ``system`` by another name. Calls of tools and their results
may stand in a prompt; an answer that calls a tool is refused, since only texts are learned.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, TypeGuard

from feedback.rows import Lesson
from pawl.files import sha256_json
from pawl.schemas import Message

Record = dict[str, Any]
Messages = list[Message]

_ROLES = {"developer": "system", "human": "user", "prompter": "user", "gpt": "assistant"}
_TURN = re.compile(r"\n\n(Human|Assistant):")  # Anthropic's HH-RLHF
_TURN_ROLES = {"Human": "user", "Assistant": "assistant"}
_THUMBS = {
    **dict.fromkeys(
        ("up", "thumbsup", "thumbup", "good", "like", "liked", "positive", "true", "yes",
         "correct", "helpful", "\N{THUMBS UP SIGN}"), True),
    **dict.fromkeys(
        ("down", "thumbsdown", "thumbdown", "bad", "dislike", "disliked", "negative", "false",
         "no", "incorrect", "unhelpful", "\N{THUMBS DOWN SIGN}"), False),
}  # fmt: skip
_SIGNS: dict[float, bool] = {1: True, 0: False, -1: False}
_RATERS = ("rater_id", "rater", "annotator_id", "annotator", "worker_id", "user_id")
_MOST_NAME_CHARACTERS = 100
_MOST_COMMENT_CHARACTERS = 10_000  # as of feedback over the API
_MOST_CATEGORIES = 20
_MOST_LEVELS = 32  # of a tool's schema
_MOST_SECONDS = 1e11  # since 1970; larger numbers are of a smaller unit


CALLS = "the answer calls a tool, and only texts are learned"
UNLEARNED = "its answer has weight 0, so it is not to be learned"  # OpenAI's


class Unusable(Exception):
    """A record teaches nothing; the text is the reason to count by."""


class Ambiguous(Exception):
    """A record fits several formats, and none of the readings holds all the others.

    Args:
        formats: their names.
        why: what they read differently.
    """

    def __init__(self, formats: Iterable[str], why: str) -> None:
        super().__init__(why)
        self.formats, self.why = tuple(formats), why


# ---- messages ----


def role_of(role: Any) -> str:
    return _ROLES.get(role, role) if isinstance(role, str) else ""


def content_of(content: Any, what: str) -> str | None:
    """A message's text. Parts are joined as vLLM joins them. None for what is neither: the check
    of the whole row refuses it."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else None
    texts = []
    for part in content:
        is_text = isinstance(part, dict) and part.get("type") in ("text", "input_text",
                                                                  "output_text")  # fmt: skip
        if not is_text or not isinstance(part.get("text"), str):
            raise Unusable(f"{what} has parts that are not text")
        texts.append(part["text"])
    return "\n".join(texts)


def message_of(message: Record, what: str) -> Message:
    """One message with ``role`` and ``content``, and its calls or the call it answers."""
    if message.get("function_call"):
        raise Unusable("a message calls a function in the form that OpenAI gave up")
    row: Message = {
        "role": role_of(message.get("role")),
        "content": content_of(message.get("content"), what),
    }
    if message.get("tool_calls"):
        row["tool_calls"] = _calls(message["tool_calls"])
        row["content"] = row["content"] or ""
    if row["role"] == "tool" and isinstance(message.get("tool_call_id"), str):
        row["tool_call_id"] = message["tool_call_id"]
    if isinstance(message.get("name"), str):
        row["name"] = message["name"]
    return row


def messages_of(value: Any, what: str) -> Messages:
    """A list of messages; a text is what the user says, or a transcript of Anthropic's."""
    if isinstance(value, str):
        return transcript_of(value, what) if _TURN.match(value) else [
            {"role": "user", "content": value}]  # fmt: skip
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise Unusable(f"{what} is not a list of messages")
    if value and all("from" in message and "value" in message for message in value):  # ShareGPT's
        value = [{"role": turn["from"], "content": turn["value"]} for turn in value]
    return [message_of(message, what) for message in value]


def transcript_of(text: str, what: str) -> Messages:
    """``\\n\\nHuman: ...\\n\\nAssistant: ...`` as messages; without the place for an answer."""
    before, *turns = _TURN.split(text)
    if before.strip() or not turns:
        raise Unusable(f"{what} is a text without its prompt")
    messages: Messages = [
        {"role": _TURN_ROLES[name], "content": content.strip()}
        for name, content in zip(turns[::2], turns[1::2], strict=True)
    ]
    if messages[-1] == {"role": "assistant", "content": ""}:
        messages.pop()
    return messages


def is_transcript(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and bool(_TURN.match(value))


def answer_of(value: Any, what: str) -> str | None:
    """The text of an answer: itself, or the single assistant message that it is."""
    if isinstance(value, str):
        return value
    messages = messages_of([value] if isinstance(value, dict) else value, what)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise Unusable(f"{what} is not one message of the assistant")
    if messages[0].get("tool_calls"):
        raise Unusable(CALLS)
    text: str | None = messages[0]["content"]
    return text


def conversation_of(value: Any, what: str) -> tuple[Messages, Any]:
    """Prompt and last answer of a whole conversation."""
    last = value[-1] if isinstance(value, list) and value else None
    if isinstance(last, dict) and last.get("weight") == 0:
        raise Unusable(UNLEARNED)
    messages = messages_of(value, what)
    return messages[:-1], answer_of(messages[-1:], "the last message")


def with_system(messages: Messages, system: Any) -> Messages:
    """The messages after the system text that some formats keep beside them."""
    if not isinstance(system, str) or not system.strip():
        return messages
    return [{"role": "system", "content": system}, *messages]


# ---- tools ----


def _calls(value: Any) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    for call in value if isinstance(value, list) else [None]:
        call = call if isinstance(call, dict) else {}
        function = call.get("function")
        if not isinstance(function, dict) or not all(
            isinstance(function.get(name), str) for name in ("name", "arguments")
        ):
            raise Unusable("a call of a tool is not in OpenAI's form")
        row = {
            "type": "function",
            "function": {"name": function["name"], "arguments": function["arguments"]},
        }
        calls.append({"id": call["id"], **row} if isinstance(call.get("id"), str) else row)
    return calls


def tools_of(record: Record) -> list[dict[str, Any]]:
    """The tools that a record offers, which may be JSON as a text."""
    value = record.get("tools")
    if record.get("functions"):
        raise Unusable("it offers functions in the form that OpenAI gave up")
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except (ValueError, RecursionError):
            raise Unusable("its tools are not JSON") from None
    if not value:
        return []
    if not isinstance(value, list) or not all(
        isinstance(tool, dict)
        and tool.get("type") == "function"
        and isinstance(tool.get("function"), dict)
        and isinstance(tool["function"].get("name"), str)
        for tool in value
    ):
        raise Unusable("its tools are not in OpenAI's form")
    if _is_deeper(value, _MOST_LEVELS):
        raise Unusable("its tools are nested too deeply")
    return value


def _is_deeper(value: Any, n_levels: int) -> bool:
    """Whether lists and objects are nested deeper than ``n_levels``."""
    level = [value]
    for _ in range(n_levels):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return False
    return True


# ---- opinions ----


def thumb_of(value: Any, *, signs: bool = False) -> bool | None:
    """Whether a value is a thumb up (True) or down (False); None for any other.

    Args:
        signs: 1 is up; 0 and -1 are down. Without it numbers are none: 1 may be the worst of five.
    """
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = re.sub(r"[\s_-]", "", value.casefold())
        if word in _THUMBS:
            return _THUMBS[word]
        value = number_of(value)
    return _SIGNS.get(value) if signs and isinstance(value, int | float) else None


def number_of(value: Any) -> float | None:
    """A finite number, or the one that a text is."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None  # NaN compares false, too


def time_of(value: Any) -> str | None:
    """A time as ISO 8601 in UTC, of which the later sorts after the earlier: given so, as a number
    since 1970, or as mongoexport writes it. None for any other value."""
    while isinstance(value, dict):
        value = value.get("$date", value.get("$numberLong"))
    number = number_of(value)
    try:
        if number is not None:
            while abs(number) > _MOST_SECONDS:
                number /= 1000
            at = datetime.fromtimestamp(number, UTC)
        elif isinstance(value, str):
            at = datetime.fromisoformat(value)
        else:
            return None
        at = at.replace(tzinfo=at.tzinfo or UTC)
        return at.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        return None


def rater_of(source: str, value: Any) -> str | None:
    """The rater's name in the store: ``import:SOURCE/ID``. No account's or key's name has a colon,
    so whoever writes a file can't speak for one."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    name = str(value).strip() if not isinstance(value, int) or abs(value) < 2**64 else ""
    return f"import:{source}/{_short_name(name)}" if name else None


def _short_name(name: str) -> str:
    """A name or an id; the hash of one that is long or can't be shown."""
    if len(name) <= _MOST_NAME_CHARACTERS and name.isprintable():
        return name
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def opinion(
    source: str, rater: Any = None, record_id: Any = None, said_at: Any = None, **details: Any
) -> dict[str, Any]:
    """The part of a row's origin that says whose opinion it is, and in which words.

    Args:
        record_id: by which the same opinion is found again in a later file, which may say
            something else by then; for formats whose ids are of one opinion each.
        said_at: when the record was changed last (``time_of``): of two files that have it the older
            may come later.
        details: texts or lists of texts; others and empty ones are left out, long ones cut.
    """
    origin: dict[str, Any] = {}
    if (rater_id := rater_of(source, rater)) is not None:
        origin["rater_id"] = rater_id
    if isinstance(record_id, str) and record_id:
        origin["record_id"] = _short_name(record_id)
    if (at := time_of(said_at)) is not None:
        origin["said_at"] = at
    for name, value in details.items():
        if isinstance(value, list):
            value = ", ".join(text for text in value if isinstance(text, str))
        if isinstance(value, str) and value.strip():
            origin[name] = value[:_MOST_COMMENT_CHARACTERS]
    return origin


def record_opinion(source: str, record: Record) -> dict[str, Any]:
    """``opinion`` of a record that names its rater in one of the usual columns."""
    rater = next((record[name] for name in _RATERS if record.get(name) is not None), None)
    return opinion(source, rater, comment=record.get("comment"), task=record.get("task"))


def categories_of(value: Any) -> list[str]:
    """Keys of categories. ``import_rows`` leaves out those that the store doesn't have."""
    if isinstance(value, str):
        value = re.split(r"[,;|]", value)
    if not isinstance(value, list):
        return []
    keys = [key.strip() for key in value if isinstance(key, str) and key.strip()]
    return list(dict.fromkeys(keys))[:_MOST_CATEGORIES]


# ---- lessons ----


def _group(prompt: Messages) -> str:
    """Rows whose conversations open with the same question stand together."""
    first = next((message for message in prompt if message["role"] == "user"), None)
    return "import:" + sha256_json(first)[:16]


def sft(prompt: Messages, answer: Any) -> Lesson:
    return Lesson("sft", _group(prompt), prompt, completion=answer)


def unpaired(prompt: Messages, answer: Any, label: Any) -> Lesson:
    return Lesson("unpaired", _group(prompt), prompt, completion=answer, label=label)


def pair(prompt: Messages, chosen: Any, rejected: Any) -> Lesson:
    return Lesson("pair", _group(prompt), prompt, chosen=chosen, rejected=rejected)


def detailed(lesson: Lesson, source: str, record: Record) -> Lesson:
    """The lesson with the tools, the categories and the rater of its record."""
    return replace(
        lesson,
        tools=tools_of(record),
        categories=categories_of(record.get("categories")),
        origin=record_opinion(source, record),
    )
