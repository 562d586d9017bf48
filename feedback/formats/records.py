"""One record of another project's format to lessons: what its keys are, and what they mean.

Null counts as absent everywhere. A prompt may be a text or messages; a message's content a text or
a list of text parts; ``developer`` is ``system`` by another name. Records with tool calls are
refused: half of such a conversation teaches to guess what a tool would say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from feedback.rows import Lesson
from pawl.files import sha256_json

Messages = list[dict[str, str]]
Record = dict[str, Any]
_ROLES = {"developer": "system", "human": "user", "prompter": "user", "gpt": "assistant"}
_TURN = re.compile(r"\n\n(Human|Assistant):")  # Anthropic's HH-RLHF
_MOST_TURNS = 10_000  # of a conversation whose messages name their parents


class Unusable(Exception):
    """A record teaches nothing; the text is the reason to count by."""


def format_of(record: Record) -> str | None:
    """The name of a record's format, told from its keys; None for one that is not known."""
    keys = {key for key, value in record.items() if value is not None}
    if isinstance(record.get("prompt"), dict) and "replies" in record["prompt"]:
        return "oasst"
    # A pair stays a pair: chosen and rejected count for more than messages beside them.
    for needed, name in (
        ({"preferred_output", "non_preferred_output"}, "openai-preference"),
        ({"conversations", "chosen", "rejected"}, "sharegpt-dpo"),
        ({"instruction", "chosen", "rejected"}, "alpaca"),
        ({"chosen", "rejected"}, "preference"),
        ({"data", "snapshot"}, "open-webui"),
        ({"messages", "label"}, "sharegpt-kto"),
        ({"conversations", "label"}, "sharegpt-kto"),
        ({"messages"}, "sft"),
        ({"conversations"}, "sharegpt"),
        ({"prompt", "completion", "label"}, "unpaired"),
        ({"prompt", "completion"}, "sft"),
        ({"instruction", "output"}, "alpaca"),
    ):
        if needed <= keys:
            return name
    return None


# ---- what the formats are made of ----


def _content(message: Record, what: str) -> str:
    """A message's text. Parts are joined as vLLM joins them."""
    if message.get("tool_calls") or message.get("function_call"):
        raise Unusable("a message calls tools")
    content: Any = message.get("content")
    if isinstance(content, list):
        if not all(
            isinstance(part, dict) and part.get("type") == "text" and isinstance(
                part.get("text"), str) for part in content
        ):  # fmt: skip
            raise Unusable(f"{what} has parts that are not text")
        return "\n".join(part["text"] for part in content)
    return content  # what is no text is refused with the row


def _messages(value: Any, what: str) -> Messages:
    """A list of role and content; a text is what the user says."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if not isinstance(value, list) or not all(isinstance(message, dict) for message in value):
        raise Unusable(f"{what} is not a list of messages")
    if value and all("from" in message and "value" in message for message in value):  # ShareGPT's
        value = [{"role": one["from"], "content": one["value"]} for one in value]
    return [
        {"role": _role(message.get("role")), "content": _content(message, what)}
        for message in value
    ]


def _role(role: Any) -> str:
    return _ROLES.get(role, role) if isinstance(role, str) else str(role)


def _answer(value: Any, what: str) -> str:
    """The text of an answer: itself, or the single assistant message that it is."""
    if isinstance(value, str):
        return value
    messages = _messages([value] if isinstance(value, dict) else value, what)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise Unusable(f"{what} is not one message of the assistant")
    return messages[0]["content"]


def _whole(value: Any, what: str) -> tuple[Messages, str]:
    """Prompt and answer of a whole conversation."""
    messages = _messages(value, what)
    if isinstance(value, list) and value and value[-1].get("weight") == 0:
        raise Unusable("its answer has weight 0, so it is not to be learned")
    return messages[:-1], _answer(messages[-1:], "the last message")


def _group(prompt: Messages) -> str:
    """Rows whose conversations open with the same question stand together."""
    first = next((message for message in prompt if message.get("role") == "user"), None)
    return "import:" + sha256_json(first)[:16]


def _sft(prompt: Messages, answer: str) -> Lesson:
    return Lesson("sft", _group(prompt), prompt, completion=answer)


def _unpaired(prompt: Messages, answer: str, label: Any) -> Lesson:
    return Lesson("unpaired", _group(prompt), prompt, completion=answer, label=label)


def _pair(prompt: Messages, chosen: str, rejected: str) -> Lesson:
    return Lesson("pair", _group(prompt), prompt, chosen=chosen, rejected=rejected)


def _no_tools(record: Record) -> None:
    if record.get("tools") or record.get("functions"):
        raise Unusable("a record with tools")


# ---- one function a format ----


def _answered(record: Record) -> tuple[Messages, str]:
    """Prompt and answer: a whole conversation, or the two apart."""
    _no_tools(record)
    for name in ("messages", "conversations"):
        if record.get(name) is not None:
            return _whole(_with_system(record, name), name)
    prompt = _messages(record.get("prompt"), "prompt")
    return prompt, _answer(record.get("completion"), "completion")


def _read_sft(record: Record) -> Iterator[Lesson | str]:
    yield _sft(*_answered(record))


def _read_unpaired(record: Record) -> Iterator[Lesson | str]:
    yield _unpaired(*_answered(record), record.get("label"))


def _read_preference(record: Record) -> Iterator[Lesson | str]:
    """TRL's: answers beside their prompt, or whole conversations that share one."""
    _no_tools(record)
    better, worse, prompt = record.get("chosen"), record.get("rejected"), record.get("prompt")
    if isinstance(better, str) and isinstance(worse, str) and prompt is None:
        better, worse = _transcript(better, "chosen"), _transcript(worse, "rejected")
    if not all(isinstance(side, list) and len(side) > 1 for side in (better, worse)):
        if prompt is None:
            raise Unusable("chosen and rejected come without a prompt")
        yield _pair(
            _messages(prompt, "prompt"), _answer(better, "chosen"), _answer(worse, "rejected")
        )
        return
    before, chosen = _whole(better, "chosen")
    other, rejected = _whole(worse, "rejected")
    if before != other:
        raise Unusable("chosen and rejected do not share their prompt")
    if isinstance(prompt, str):
        belongs = any(message["content"] == prompt for message in before)
    else:
        belongs = prompt is None or _messages(prompt, "prompt") == before
    if not belongs:
        raise Unusable("chosen is a conversation that does not hold the prompt")
    yield _pair(before, chosen, rejected)


def _transcript(text: str, what: str) -> list[dict[str, str]]:
    """``\\n\\nHuman: ...\\n\\nAssistant: ...`` as messages."""
    before, *turns = _TURN.split(text)
    if before.strip() or not turns:
        raise Unusable(f"{what} is a text without its prompt")
    names = {"Human": "user", "Assistant": "assistant"}
    return [
        {"role": names[name], "content": said.strip()}
        for name, said in zip(turns[::2], turns[1::2], strict=True)
    ]


def _read_openai_preference(record: Record) -> Iterator[Lesson | str]:
    """What OpenAI's fine-tuning takes for DPO."""
    asked = record.get("input")
    if not isinstance(asked, dict):
        raise Unusable("input is not an object")
    _no_tools(asked)
    yield _pair(
        _messages(asked.get("messages"), "input.messages"),
        _answer(record.get("preferred_output"), "preferred_output"),
        _answer(record.get("non_preferred_output"), "non_preferred_output"),
    )


def _with_system(record: Record, name: str) -> Any:
    """A conversation with the ``system`` text that ShareGPT's records may have beside it."""
    value, system = record.get(name), record.get("system")
    if isinstance(value, list) and isinstance(system, str) and system.strip():
        is_sharegpt = bool(value) and isinstance(value[0], dict) and "from" in value[0]
        first = {"from": "system", "value": system} if is_sharegpt else {
            "role": "system", "content": system}  # fmt: skip
        return [first, *value]
    return value


def _read_sharegpt_dpo(record: Record) -> Iterator[Lesson | str]:
    prompt = _messages(_with_system(record, "conversations"), "conversations")
    yield _pair(prompt, *(_answer(record.get(name), name) for name in ("chosen", "rejected")))


def _read_alpaca(record: Record) -> Iterator[Lesson | str]:
    """Alpaca's, and LLaMA-Factory's pairs in the same columns."""
    parts = [record.get(name) or "" for name in ("instruction", "input")]
    if not all(isinstance(part, str) for part in parts) or record.get("history"):
        raise Unusable("not an instruction and an input")
    prompt = [{"role": "user", "content": "\n".join(filter(None, parts))}]
    if isinstance(record.get("system"), str) and record["system"].strip():
        prompt.insert(0, {"role": "system", "content": record["system"]})
    if record.get("chosen") is not None:
        yield _pair(prompt, *(_answer(record.get(name), name) for name in ("chosen", "rejected")))
    else:
        yield _sft(prompt, _answer(record.get("output"), "output"))


def _read_open_webui(record: Record) -> Iterator[Lesson | str]:
    """Open WebUI's export of feedback: a rating, and a snapshot of the chat it was given in."""
    try:
        rating, wanted = record["data"]["rating"], record["meta"]["message_id"]
        messages = record["snapshot"]["chat"]["chat"]["history"]["messages"]
        path: list[Record] = []
        while wanted is not None and len(path) < _MOST_TURNS:
            path.append(messages[wanted])
            wanted = messages[wanted].get("parentId")
    except (KeyError, TypeError, AttributeError):
        raise Unusable("no rated message in its snapshot of the chat") from None
    if wanted is not None:
        raise Unusable("the messages of its chat follow each other in a circle")
    if rating not in (1, -1) or isinstance(rating, bool):
        raise Unusable("its rating is neither 1 nor -1")
    yield _unpaired(*_whole(path[::-1], "the chat"), rating == 1)


def _read_oasst(record: Record) -> Iterator[Lesson | str]:
    """At each question, the best ranked reply against every other ranked one (rank 0 is best)."""
    root, tree_id = record.get("prompt"), record.get("message_tree_id")
    if not isinstance(root, dict) or not isinstance(tree_id, str):
        raise Unusable("not a message tree (no prompt or no message_tree_id)")
    open_nodes: list[tuple[dict[str, Any], Messages]] = [(root, [])]
    while open_nodes:
        node, before = open_nodes.pop()
        role = _role(node.get("role"))
        path = [*before, {"role": role, "content": node.get("text")}]
        below = node.get("replies") or []
        if not isinstance(below, list):
            yield "replies is not a list"
            continue
        replies = [one for one in below if isinstance(one, dict) and not one.get("deleted")]
        open_nodes += [(one, path) for one in reversed(replies)]  # type: ignore[misc]
        if role != "user":
            continue
        ranked = sorted(
            (one for one in replies if isinstance(one.get("rank"), int)),
            key=lambda one: int(one["rank"]),
        )
        if len(ranked) < 2:
            yield (
                "a question without replies"
                if not replies
                else "fewer than two ranked replies to a question"
            )
        for worse in ranked[1:]:
            if worse["rank"] == ranked[0]["rank"]:
                yield "two replies share the best rank"
                continue
            yield Lesson(
                "pair",
                f"import:oasst:{tree_id}",
                path,  # type: ignore[arg-type]
                chosen=ranked[0].get("text"),
                rejected=worse.get("text"),
            )


FORMATS: dict[str, Callable[[Record], Iterator[Lesson | str]]] = {
    "sft": _read_sft,
    "preference": _read_preference,
    "unpaired": _read_unpaired,
    "sharegpt": _read_sft,
    "sharegpt-dpo": _read_sharegpt_dpo,
    "sharegpt-kto": _read_unpaired,
    "oasst": _read_oasst,
    "openai-preference": _read_openai_preference,
    "alpaca": _read_alpaca,
    "open-webui": _read_open_webui,
}
