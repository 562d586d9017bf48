"""Anthropic's Messages API over the chat path: ``POST /v1/messages``.

Blocks of the messages become texts, ``tool_calls`` and messages of the role ``tool``; an answer
becomes blocks. It is recorded under the id that it is sent with (``msg_...``).

``max_tokens`` has to be sent in this API, and many programs send more than a small model's context
holds. Such a bound bounds nothing, so it is left out. An answer that fills the context stops for
``model_context_window_exceeded``.

Shapes and the order of events are those of the package ``anthropic`` (``anthropic/types``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from pawl.errors import PawlError, short
from pawl.models import BaseModel
from pawl.schemas import Answer, Body
from serve.api.errors import MESSAGES_PATH, error_body, invalid
from serve.api.requests import ChatRequest
from serve.api.translation import (
    Event,
    check_ignored,
    read_fields,
    text_of,
    text_parts,
    unsupported,
    whole_text,
)

_TEXT = {"text": "text"}
_ROLES = ("user", "assistant", "system")
_TOOL = {"name": "name", "description": "description", "input_schema": "parameters",
         "strict": "strict"}  # fmt: skip
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class ChatOfMessages(ChatRequest):
    """The chat request that a request of this API becomes."""

    id_prefix = "msg_"


class TokensRequest(Body, extra="ignore"):
    """What ``count_tokens`` takes."""

    model: str = Field(description="the version that shall answer; 'pawl' is the champion")
    messages: list[dict[str, Any]] = Field(
        min_length=1, description='[{"role": "user", "content": "..."}, ...]'
    )
    system: str | list[dict[str, Any]] | None = Field(None, description="a text, or text blocks")
    tools: list[dict[str, Any]] | None = Field(None, description="with name and input_schema")
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = Field(None, description="disabled or adaptive")
    output_config: dict[str, Any] | None = Field(None, description='{"format": {...}}')


class MessagesRequest(TokensRequest):
    """The fields of the API that are taken. Those of a chat that shape the sampling may stand
    beside them (``serve.api.translation.AS_IN_CHAT``)."""

    max_tokens: int = Field(ge=1, description="of the answer")
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    metadata: dict[str, Any] | None = Field(None, description="user_id: who asks")


class MessagesAnswer(Answer):
    id: str = Field(description="the completion_id that feedback names")
    type: str = "message"
    role: str = "assistant"
    model: str = Field(description="the exact version that answered")
    content: list[dict[str, Any]]
    stop_reason: str | None
    stop_sequence: str | None = None
    usage: dict[str, int]


class TokensAnswer(Answer):
    input_tokens: int


class MessagesTranslation:
    """One request, and its answer as far as it has come (``serve.api.translation``).

    Args:
        body: the request's.
        base: the base that is served, whom refusals name.
        n_context: tokens of a prompt and its answer together.
        refuse_unknown: refuse fields that would be ignored.
        model: of the body; ``TokensRequest`` for one that shall be counted.

    Raises:
        PawlError: what is wrong with the request.
    """

    request: type[ChatRequest] = ChatOfMessages
    params: Mapping[str, str] = {
        "stop": "stop_sequences", "response_format": "output_config", "user": "metadata",
        "reasoning_effort": "thinking", "parallel_tool_calls": "tool_choice",
    }  # fmt: skip

    def __init__(
        self, body: dict[str, Any], base: BaseModel, n_context: int, *, refuse_unknown: bool,
        model: type[TokensRequest] = MessagesRequest,
    ) -> None:  # fmt: skip
        args, chat, top = read_fields(body, "messages", model, base, refuse_unknown=refuse_unknown)
        nested: dict[str, None] = {}
        chat["messages"] = _messages(args, nested)
        chat |= _output(args, nested) | _tools(args, nested)
        if isinstance(args, MessagesRequest):
            if args.max_tokens < n_context:
                chat["max_tokens"] = args.max_tokens
            if args.stop_sequences:
                chat["stop"] = args.stop_sequences
            if user := (args.metadata or {}).get("user_id"):
                chat["user"] = user
            if args.stream:
                chat["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        check_ignored(list(nested), refuse_unknown)
        self.chat: dict[str, Any] = chat
        self.ignored: Sequence[str] = [*top, *nested]
        self._n_context = n_context
        self._id = self._version = ""
        self._blocks: list[dict[str, Any]] = []
        self._is_open = False  # the last of them
        self._call_index: int | None = None  # of the last block, if it is a call
        self._has_begun = False
        self._finish_reason: str | None = None
        self._stop_sequence: str | None = None
        self._usage = {"input_tokens": 0, "output_tokens": 0}

    def begin(self, completion_id: str, version: str) -> None:
        self._id, self._version = completion_id, version

    def take(self, chunk: dict[str, Any]) -> list[Event]:
        if usage := chunk.get("usage"):
            self._usage = {"input_tokens": usage.get("prompt_tokens") or 0,
                           "output_tokens": usage.get("completion_tokens") or 0}  # fmt: skip
        events = self._opening()
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                events += self._add_text(text)
            for index, call in enumerate(delta.get("tool_calls") or ()):
                events += self._add_call(call.get("index", index), call)
            if choice.get("finish_reason"):
                self._finish_reason = choice["finish_reason"]
                stop = choice.get("stop_reason")  # vLLM's: the text, or a token's id
                self._stop_sequence = stop if isinstance(stop, str) else None
        return events

    def end(self) -> list[Event]:
        events = self._opening()
        if not self._blocks:  # programs read the first block's text
            events += self._open({"type": "text", "text": ""})
        events += self._close()
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": self._stop_sequence}
        return [*events, {"type": "message_delta", "delta": delta, "usage": self._usage},
                {"type": "message_stop"}]  # fmt: skip

    def fail(self, error: dict[str, Any]) -> list[Event]:
        failure = PawlError(
            error["message"], code=error.get("code") or "engine_error", param=error.get("param"),
            retryable=bool(error.get("retryable")),
        )  # fmt: skip
        return [error_body(failure, MESSAGES_PATH)]

    def body(self) -> dict[str, Any]:
        """With the arguments of calls as they were understood."""
        content = [{**block, "input": _arguments(block["input"])} if "input" in block else block
                   for block in self._blocks]  # fmt: skip
        return {**self._head(), "content": content, "stop_reason": self._stop_reason(),
                "stop_sequence": self._stop_sequence}  # fmt: skip

    def _head(self) -> dict[str, Any]:
        return {"id": self._id, "type": "message", "role": "assistant", "model": self._version,
                "content": [], "stop_reason": None, "stop_sequence": None,
                "usage": self._usage}  # fmt: skip

    def _stop_reason(self) -> str:
        if self._finish_reason == "length":  # vLLM lowers max_tokens to what the context has left
            bound = self.chat.get("max_tokens")
            n_tokens = self._usage["output_tokens"]
            if bound is None:  # of the request: the version or the server may have one
                is_full = self._usage["input_tokens"] + n_tokens >= self._n_context
            else:
                is_full = 0 < n_tokens < bound
            return "model_context_window_exceeded" if is_full else "max_tokens"
        if self._stop_sequence is not None:
            return "stop_sequence"
        # vLLM says "stop" where a call was asked for by its name.
        return "tool_use" if any("input" in block for block in self._blocks) else "end_turn"

    # -- events

    def _opening(self) -> list[Event]:
        if self._has_begun:
            return []
        self._has_begun = True
        return [{"type": "message_start", "message": self._head()}]

    def _add_text(self, text: str) -> list[Event]:
        events: list[Event] = []
        if not self._is_open or self._call_index is not None:
            events = [*self._close(), *self._open({"type": "text", "text": ""})]
        self._blocks[-1]["text"] += text
        return [*events, self._delta({"type": "text_delta", "text": text})]

    def _add_call(self, index: int, call: dict[str, Any]) -> list[Event]:
        function, events = call.get("function") or {}, []
        if not self._is_open or self._call_index != index:
            block: Event = {"type": "tool_use", "id": call.get("id") or "",
                            "name": function.get("name") or "", "input": {}}  # fmt: skip
            events = [*self._close(), *self._open(block, index)]
            self._blocks[-1]["input"] = ""  # JSON, as it comes
        arguments = function.get("arguments") or ""
        self._blocks[-1]["input"] += arguments
        if arguments:
            events.append(self._delta({"type": "input_json_delta", "partial_json": arguments}))
        return events

    def _open(self, block: dict[str, Any], call_index: int | None = None) -> list[Event]:
        self._blocks.append(dict(block))
        self._is_open, self._call_index = True, call_index
        return [{"type": "content_block_start", "index": len(self._blocks) - 1,
                 "content_block": block}]  # fmt: skip

    def _delta(self, delta: dict[str, Any]) -> Event:
        return {"type": "content_block_delta", "index": len(self._blocks) - 1, "delta": delta}

    def _close(self) -> list[Event]:
        was_open, self._is_open = self._is_open, False
        return [{"type": "content_block_stop", "index": len(self._blocks) - 1}] * was_open


def _arguments(text: str) -> Any:
    """A call's arguments; {} where they were cut off, so that nobody runs half a call."""
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}


# -- from the request to a chat's


def _messages(args: TokensRequest, ignored: dict[str, None]) -> list[dict[str, Any]]:
    """The messages of a chat."""
    messages: list[dict[str, Any]] = []
    if args.system:
        messages.append(
            {"role": "system", "content": text_of(args.system, _TEXT, "system", ignored)}
        )
    for index, message in enumerate(args.messages):
        place, role = f"messages[{index}]", message.get("role")
        if role not in _ROLES:
            raise invalid("messages", f"{place}.role is {short(role)}", "it is no role",
                          f"Send one of {', '.join(_ROLES)}")  # fmt: skip
        ignored |= {f"messages[].{name}": None for name in message
                    if name not in ("role", "content")}  # fmt: skip
        messages += _blocks(role, message.get("content"), f"{place}.content", ignored)
    if messages[-1]["role"] == "assistant":
        raise unsupported(
            "messages", "the last message is the assistant's",
            "an answer can't be continued here: the prompt would be another than the one that is "
            "recorded and learned from", "Let the user have the last word",
        )  # fmt: skip
    return messages


def _blocks(role: str, content: Any, place: str, ignored: dict[str, None]) -> list[dict[str, Any]]:
    """One message's blocks as messages of a chat: results of tools, then the rest."""
    if not isinstance(content, list):
        return [{"role": role, "content": text_of(content, _TEXT, place, ignored)}]
    results, texts, calls = [], [], []
    for index, block in enumerate(content):
        here = f"{place}[{index}]"
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "tool_result" and role == "user":
            ignored |= {f"messages[].content[].{name}": None for name in block
                        if name not in ("type", "tool_use_id", "content")}  # fmt: skip
            output = text_of(block.get("content", ""), _TEXT, f"{here}.content", ignored)
            results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"),
                            "content": output})  # fmt: skip
        elif kind == "tool_use" and role == "assistant":
            arguments = json.dumps(block.get("input", {}), ensure_ascii=False)
            function = {"name": block.get("name"), "arguments": arguments}
            calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind in ("thinking", "redacted_thinking") and role == "assistant":
            ignored[f"messages[].content[].{kind}"] = None
        else:
            texts += text_parts([block], _TEXT, place, ignored, start=index)
    rest: dict[str, Any] = {"role": role}
    if texts or not (results or calls):
        rest["content"] = whole_text(texts)
    if calls:
        rest["tool_calls"] = calls
    return [*results, rest] if len(rest) > 1 else results


def _output(args: TokensRequest, ignored: dict[str, None]) -> dict[str, Any]:
    """``thinking`` and ``output_config``, as fields of a chat request."""
    fields: dict[str, Any] = {}
    if (thinking := args.thinking or {}).get("type") == "enabled":
        fields["reasoning_effort"] = "high"  # which the chat path takes or refuses
    elif thinking.get("type", "disabled") not in ("disabled", "adaptive"):
        raise invalid("thinking", f"thinking is {short(thinking)}", "it has no such type",
                      'Send {"type": "disabled"}')  # fmt: skip
    config = args.output_config or {}
    ignored |= {f"output_config.{name}": None for name in config if name != "format"}
    if isinstance(form := config.get("format"), dict):
        schema = {"name": "answer", "schema": form.get("schema")}
        fields["response_format"] = {"type": form.get("type"), "json_schema": schema}
    return fields


def _tools(args: TokensRequest, ignored: dict[str, None]) -> dict[str, Any]:
    """Tools and what belongs to them, as fields of a chat request."""
    fields: dict[str, Any] = {"tools": []} if args.tools else {}
    for index, tool in enumerate(args.tools or ()):
        if (kind := tool.get("type", "custom")) != "custom":
            what = f"tools[{index}] is of the type {short(kind)}"
            raise unsupported("tools", what, "nothing runs here but the model: a caller's own "
                              "tools are taken, with name and input_schema")  # fmt: skip
        function = {_TOOL[name]: value for name, value in tool.items() if name in _TOOL}
        ignored |= {
            f"tools[].{name}": None for name in sorted(tool.keys() - _TOOL.keys() - {"type"})
        }
        fields["tools"].append({"type": "function", "function": function})
    choice = args.tool_choice or {}
    if choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
    if (kind := choice.get("type")) == "tool":
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind is not None:
        fields["tool_choice"] = _CHOICES.get(kind, kind) if isinstance(kind, str) else kind
    return fields
