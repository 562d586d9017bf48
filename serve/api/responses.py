"""OpenAI's Responses API over the chat path: ``POST /v1/responses``, stateless.

Items of the input become messages, and an answer becomes output items: one message, and a
``function_call`` for each call of a tool. An answer is recorded under the id that it is sent with
(``resp_...``). It can't be fetched again, so ``previous_response_id`` is refused.

Shapes and the order of events are those of the package ``openai`` (``openai/types/responses``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from pawl.errors import short
from pawl.models import BaseModel
from pawl.schemas import Answer, Body
from serve.api.errors import invalid
from serve.api.requests import ChatRequest
from serve.api.translation import (
    Event,
    check_ignored,
    read_fields,
    text_of,
    unsupported,
)

_INPUT_TEXT = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}
_OF_PARTS = "annotations logprobs"  # which outputs that are sent back always have
_OF_ITEMS = frozenset("type role content id status phase".split())
_ROLES = ("user", "assistant", "system", "developer")
_LOGPROBS = "message.output_text.logprobs"  # of include
_WITHOUT_EFFECT = frozenset(["reasoning.encrypted_content"])  # of include: there is no reasoning


class ChatOfResponses(ChatRequest):
    """The chat request that a request of this API becomes."""

    id_prefix = "resp_"
    prompt_field = "input"


class ResponsesRequest(Body, extra="ignore"):
    """The fields of the API that are taken. Those of a chat that shape the sampling may stand
    beside them (``serve.api.translation.AS_IN_CHAT``)."""

    model: str = Field(description="the version that shall answer; 'pawl' is the champion")
    input: str | list[dict[str, Any]] = Field(
        description="a text, or a list of items: messages, function_call, function_call_output"
    )
    instructions: str | None = Field(None, description="becomes the first system message")
    max_output_tokens: int | None = Field(None, ge=1, le=1_000_000)
    text: dict[str, Any] | None = Field(None, description='{"format": {"type": ...}}')
    include: list[str] | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    tools: list[dict[str, Any]] | None = Field(None, description="of the type function")
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    metadata: dict[str, str] | None = Field(None, max_length=16, description="comes back as sent")
    store: bool | None = Field(None, description="without effect: answers can't be fetched again")
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    user: str | None = Field(None, description="who asks; the header X-Pawl-Rater wins")


class ResponsesAnswer(Answer):
    id: str = Field(description="the completion_id that feedback names")
    object: str = "response"
    status: str = Field(description="completed, incomplete or failed")
    model: str = Field(description="the exact version that answered")
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None = None


class ResponsesTranslation:
    """One request, and its answer as far as it has come (``serve.api.translation``).

    Args:
        body: the request's.
        base: the base that is served, whom refusals name.
        refuse_unknown: refuse fields that would be ignored.

    Raises:
        PawlError: what is wrong with the request.
    """

    request: type[ChatRequest] = ChatOfResponses
    params: Mapping[str, str] = {
        "messages": "input", "max_tokens": "max_output_tokens", "response_format": "text",
        "logprobs": "include", "reasoning_effort": "reasoning", "verbosity": "text",
    }  # fmt: skip

    def __init__(self, body: dict[str, Any], base: BaseModel, *, refuse_unknown: bool) -> None:
        args, chat, top = read_fields(
            body, "responses", ResponsesRequest, base, refuse_unknown=refuse_unknown,
            more={"stop", "user", "metadata"},
        )  # fmt: skip
        self._args = args
        nested: dict[str, None] = {}
        chat["messages"] = _messages(args, nested)
        if args.max_output_tokens is not None:
            chat["max_tokens"] = args.max_output_tokens
        if effort := (args.reasoning or {}).get("effort"):
            chat["reasoning_effort"] = effort
        chat |= _format(args.text, nested) | _tools(args)
        if args.top_logprobs or _LOGPROBS in (args.include or ()):
            chat |= {"logprobs": True, "top_logprobs": args.top_logprobs or 0}
        nested |= {f"include.{name}": None for name in args.include or ()
                   if name != _LOGPROBS and name not in _WITHOUT_EFFECT}  # fmt: skip
        if args.stream:
            chat["stream_options"] = {"include_usage": True}
        check_ignored(list(nested), refuse_unknown)
        self.chat: dict[str, Any] = chat
        self.ignored: Sequence[str] = [*top, *nested]
        self._id = self._version = ""
        self._items: list[_Item] = []
        self._n_events = 0
        self._finish_reason: str | None = None
        self._usage: dict[str, Any] | None = None
        self._created_at = int(time.time())
        self._status: Literal["in_progress", "completed", "incomplete", "failed"] = "in_progress"
        self._error: dict[str, Any] | None = None

    def begin(self, completion_id: str, version: str) -> None:
        self._id, self._version = completion_id, version

    def take(self, chunk: dict[str, Any]) -> list[Event]:
        events = self._opening()
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices", ()):
            delta = choice.get("delta") or {}
            logprobs = (choice.get("logprobs") or {}).get("content") or []
            if text := delta.get("content"):
                events += self._add_text(text, logprobs)
            for index, call in enumerate(delta.get("tool_calls") or ()):
                events += self._add_call(call.get("index", index), call)
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
        return events

    def end(self) -> list[Event]:
        events = self._opening()
        if not self._items:  # an empty answer is a message too
            events += self._open(_Item(0, f"msg_{self._hex}_0"))
        is_cut = self._finish_reason == "length"
        events += self._close("incomplete" if is_cut else "completed")
        self._status = "incomplete" if is_cut else "completed"
        return [*events, self._event(f"response.{self._status}", response=self.body())]

    def fail(self, error: dict[str, Any]) -> list[Event]:
        """The event ``error`` in both forms in which clients look for it, then the response."""
        self._status = "failed"
        is_limit = error.get("code") == "rate_limit_exceeded"
        code = "rate_limit_exceeded" if is_limit else "server_error"
        self._error = {"code": code, "message": error["message"]}
        return [
            *self._opening(),
            self._event("error", code=error.get("code"), message=error["message"],
                        param=error.get("param"), error=error),
            self._event("response.failed", response=self.body()),
        ]  # fmt: skip

    def body(self) -> dict[str, Any]:
        args, is_cut = self._args, self._status == "incomplete"
        return {
            "id": self._id, "object": "response", "created_at": self._created_at,
            "status": self._status, "error": self._error,
            "incomplete_details": {"reason": "max_output_tokens"} if is_cut else None,
            "instructions": args.instructions, "metadata": args.metadata or {},
            "model": self._version, "output": [item.body() for item in self._items],
            "parallel_tool_calls": args.parallel_tool_calls is not False,
            "temperature": args.temperature, "top_p": args.top_p,
            "tool_choice": args.tool_choice or "auto", "tools": args.tools or [],
            "max_output_tokens": args.max_output_tokens, "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None}, "background": False, "store": False,
            "text": {"format": {"type": "text"}, **(args.text or {})},
            "top_logprobs": args.top_logprobs or 0, "truncation": "disabled",
            "user": args.user, "usage": _usage(self._usage),
        }  # fmt: skip

    # -- events

    @property
    def _hex(self) -> str:
        return self._id.removeprefix(ChatOfResponses.id_prefix)

    def _event(self, kind: str, /, **fields: Any) -> Event:
        self._n_events += 1
        return {"type": kind, "sequence_number": self._n_events - 1, **fields}

    def _opening(self) -> list[Event]:
        if self._n_events:
            return []
        status, self._status = self._status, "in_progress"
        events = [self._event(f"response.{name}", response=self.body())
                  for name in ("created", "in_progress")]  # fmt: skip
        self._status = status
        return events

    def _add_text(self, text: str, logprobs: list[Any]) -> list[Event]:
        events = []
        if not self._items or self._items[-1].is_call:
            place = len(self._items)
            events = [*self._close(), *self._open(_Item(place, f"msg_{self._hex}_{place}"))]
        item = self._items[-1]
        item.text += text
        item.logprobs += logprobs
        return [*events, self._event("response.output_text.delta", delta=text, logprobs=logprobs,
                                     content_index=0, **item.place)]  # fmt: skip

    def _add_call(self, index: int, call: dict[str, Any]) -> list[Event]:
        function, events = call.get("function") or {}, []
        item = self._items[-1] if self._items else None
        if item is None or item.call_index != index:
            place = len(self._items)
            item = _Item(place, f"fc_{self._hex}_{place}", index, call.get("id") or "",
                         function.get("name") or "")  # fmt: skip
            events = [*self._close(), *self._open(item)]
        arguments = function.get("arguments") or ""
        item.text += arguments
        if arguments:
            events.append(self._event("response.function_call_arguments.delta", delta=arguments,
                                      **item.place))  # fmt: skip
        return events

    def _open(self, item: _Item) -> list[Event]:
        self._items.append(item)
        added = self._event("response.output_item.added", output_index=item.output_index,
                            item=item.body(is_new=True))  # fmt: skip
        if item.is_call:
            return [added]
        return [added, self._event("response.content_part.added", part=item.part(),
                                   content_index=0, **item.place)]  # fmt: skip

    def _close(self, status: str = "completed") -> list[Event]:
        """The last events of the item that was written last."""
        if not self._items:
            return []
        item = self._items[-1]
        item.status = status
        events = []
        if item.is_call:
            events.append(self._event("response.function_call_arguments.done", name=item.name,
                                      arguments=item.text, **item.place))  # fmt: skip
        else:
            events += [
                self._event("response.output_text.done", text=item.text, logprobs=item.logprobs,
                            content_index=0, **item.place),
                self._event("response.content_part.done", part=item.part(), content_index=0,
                            **item.place),
            ]  # fmt: skip
        done = self._event("response.output_item.done", output_index=item.output_index,
                           item=item.body())  # fmt: skip
        return [*events, done]


class _Item:
    """An item of the output: a message, or a call of a function (``text``: its arguments)."""

    def __init__(
        self, output_index: int, item_id: str, call_index: int | None = None, call_id: str = "",
        name: str = "",
    ) -> None:  # fmt: skip
        self.output_index, self.item_id = output_index, item_id
        self.call_index, self.call_id, self.name = call_index, call_id, name
        self.is_call = call_index is not None
        self.text = ""
        self.logprobs: list[Any] = []
        self.status = "in_progress"

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.item_id, "output_index": self.output_index}

    def part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": self.text, "annotations": [],
                "logprobs": self.logprobs}  # fmt: skip

    def body(self, *, is_new: bool = False) -> dict[str, Any]:
        head = {"id": self.item_id, "status": self.status}
        if self.is_call:
            return {**head, "type": "function_call", "call_id": self.call_id, "name": self.name,
                    "arguments": "" if is_new else self.text}  # fmt: skip
        content = [] if is_new else [self.part()]
        return {**head, "type": "message", "role": "assistant", "content": content}


# -- from the request to a chat's


def _messages(args: ResponsesRequest, ignored: dict[str, None]) -> list[dict[str, Any]]:
    """The input as messages of a chat."""
    messages: list[dict[str, Any]] = []
    if args.instructions:
        messages.append({"role": "system", "content": args.instructions})
    items = args.input
    if isinstance(items, str):
        return [*messages, {"role": "user", "content": items}]
    for index, item in enumerate(items):
        place, kind = f"input[{index}]", item.get("type", "message")
        if kind == "message":
            if (role := item.get("role")) not in _ROLES:
                raise invalid("input", f"{place}.role is {short(role)}", "it is no role",
                              f"Send one of {', '.join(_ROLES)}")  # fmt: skip
            content = text_of(item.get("content"), _INPUT_TEXT, f"{place}.content", ignored,
                              _OF_PARTS)  # fmt: skip
            ignored |= {f"input[].{name}": None for name in item if name not in _OF_ITEMS}
            messages.append({"role": role, "content": content})
        elif kind == "function_call":
            call = {"id": item.get("call_id"), "type": "function",
                    "function": {key: item.get(key) for key in ("name", "arguments")}}  # fmt: skip
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant"})
            messages[-1].setdefault("tool_calls", []).append(call)
        elif kind == "function_call_output":
            output = text_of(item.get("output"), _INPUT_TEXT, f"{place}.output", ignored)
            messages.append({"role": "tool", "tool_call_id": item.get("call_id"),
                             "content": output})  # fmt: skip
        elif kind == "reasoning":
            ignored["input[].reasoning"] = None
        elif kind == "item_reference":
            raise unsupported("input", f"{place} refers to an item of an earlier answer",
                              "answers are recorded, but can't be asked for again",
                              "Send the whole conversation as input")  # fmt: skip
        else:
            raise unsupported("input", f"{place} is of the type {short(kind)}",
                              "only messages and calls of functions are taken")  # fmt: skip
    return messages


def _format(text: dict[str, Any] | None, ignored: dict[str, None]) -> dict[str, Any]:
    """``text``, as fields of a chat request."""
    text = text or {}
    ignored |= {f"text.{name}": None for name in text if name not in ("format", "verbosity")}
    fields = {"verbosity": text["verbosity"]} if "verbosity" in text else {}
    form = text.get("format")
    if form is None:
        return fields
    if not isinstance(form, dict):
        raise invalid("text", f"text.format is {short(form)}", "it is no object",
                      'Send {"type": "text"}')  # fmt: skip
    if form.get("type") != "json_schema":
        return {**fields, "response_format": {"type": form.get("type")}}
    schema = {key: value for key, value in form.items() if key != "type"}
    return {**fields, "response_format": {"type": "json_schema", "json_schema": schema}}


def _tools(args: ResponsesRequest) -> dict[str, Any]:
    """Tools and what belongs to them, as fields of a chat request."""
    fields: dict[str, Any] = {}
    if args.tools:
        fields["tools"] = []
    for index, tool in enumerate(args.tools or ()):
        if (kind := tool.get("type")) != "function":
            what = f"tools[{index}] is of the type {short(kind)}"
            raise unsupported("tools", what, "nothing runs here but the model: functions are taken")
        function = {key: value for key, value in tool.items() if key != "type"}
        fields["tools"].append({"type": "function", "function": function})
    choice = args.tool_choice
    if isinstance(choice, dict):
        if choice.get("type") != "function":
            raise unsupported("tool_choice", f"tool_choice is {short(choice)}",
                              "auto, none, required or one function can be chosen")  # fmt: skip
        choice = {"type": "function", "function": {"name": choice.get("name")}}
    if choice is not None:
        fields["tool_choice"] = choice
    if args.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = args.parallel_tool_calls
    return fields


def _usage(usage: dict[str, Any] | None) -> dict[str, Any] | None:
    if usage is None:
        return None
    n_prompt, n_answer = usage.get("prompt_tokens") or 0, usage.get("completion_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return {
        "input_tokens": n_prompt, "output_tokens": n_answer, "total_tokens": n_prompt + n_answer,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    }  # fmt: skip
