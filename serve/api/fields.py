"""Which fields of a completion request are refused and why, and which are ignored.

A request is answered as it was asked or refused: a field that would change the answer and can't
be honoured (``REFUSED``), or can harm the engine, is an error, unless its value asks for nothing.
Any other field that is not known is left out and named in the answer's header ``X-Pawl-Ignored``;
by ``api.unknown_fields = "refuse"`` it is an error too. vLLM ignores what it does not know and
takes much that is not OpenAI's, so nothing reaches it that is not a field of
``serve.api.requests``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pawl.errors import PawlError, short
from pawl.models import BaseModel

MAX_NAMED = 20  # of the ignored fields, in the header
_NAME_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a field is refused, and the values of it that ask for nothing. ``why`` may hold
    ``{tools}``, the sentence on the base's tools."""

    why: str
    unless: tuple[Any, ...] = ()
    do: str = "Leave it out"


_TOOLS = "{tools}"
_TEXT = "only text is served"
_PROMPT = "the prompt would be another than the one that is recorded and learned from"
_DECODING = "it can stall the engine for everyone"
_SCHEMA = "Use response_format with a JSON schema"
_NEW_TOOLS = "Leave it out; functions are offered in tools"
_WHOLE_INPUT = "Send the whole conversation as input"

REFUSED: dict[str, Refusal] = {
    # -- OpenAI's
    "functions": Refusal(_TOOLS, ([],), _NEW_TOOLS),
    "function_call": Refusal(_TOOLS, ("none", "auto"), _NEW_TOOLS),
    "audio": Refusal(_TEXT),
    "modalities": Refusal(_TEXT, (["text"], [])),
    "web_search_options": Refusal("there is no web search"),
    "reasoning_effort": Refusal("{model} does not reason apart from its answer", ("none",)),
    "verbosity": Refusal("the engine has no such control", ("medium",)),
    "best_of": Refusal("the engine returns all that it generates; use n", (1,)),
    "suffix": Refusal("the engine does not fill in between a prompt and a suffix", ("",)),
    # -- vLLM's
    "prompt_logprobs": Refusal("two such requests in one batch stop the whole engine"),
    "use_beam_search": Refusal("it takes the engine from everyone else", (False,)),
    "logit_processors": Refusal("they are code", ([],)),
    "logits_processors": Refusal("they are code", ([],)),
    "structured_outputs": Refusal(_DECODING, do=_SCHEMA),
    "guided_json": Refusal("the engine has it no longer", do=_SCHEMA),
    "guided_regex": Refusal(_DECODING, do=_SCHEMA),
    "guided_choice": Refusal("the engine has it no longer", do=_SCHEMA),
    "guided_grammar": Refusal(_DECODING, do=_SCHEMA),
    "allowed_token_ids": Refusal("no answer could end", do="Use logit_bias"),
    "bad_words": Refusal(
        "the engine's own limits on them are not checked", ([],), "Use logit_bias"
    ),
    "logprob_token_ids": Refusal("the engine returns the likeliest tokens alone", ([],)),
    "repetition_detection": Refusal("an answer would end where nothing tells why"),
    "thinking_token_budget": Refusal("{model} does not reason apart from its answer", (-1,)),
    "chat_template": Refusal(_PROMPT, do="Use chat_template_kwargs"),
    "documents": Refusal(_PROMPT, ([],), "Put them into a message"),
    "add_generation_prompt": Refusal(_PROMPT, (True,)),
    "continue_final_message": Refusal(_PROMPT, (False,), "Use /v1/completions"),
    "add_special_tokens": Refusal(_PROMPT),
    "truncate_prompt_tokens": Refusal(_PROMPT, do="Send a shorter prompt"),
    "prompt_embeds": Refusal("it could not be recorded"),
    "priority": Refusal("there is one queue for all", (0,)),
    "return_token_ids": Refusal("the answer's tokens are not counted out here", (False,)),
    "return_tokens_as_token_ids": Refusal("tokens are returned as texts", (False,)),
    "vllm_xargs": Refusal("it could reach any part of the engine", ({},)),
    "kv_transfer_params": Refusal("it could reach any part of the engine", ({},)),
    "ec_transfer_params": Refusal("it could reach any part of the engine", ({},)),
    # -- what other programs call it
    "system": Refusal("a message says it here", do='Send {"role": "system", "content": ...}'),
    "stop_sequences": Refusal("it has another name here", ([],), "Call it stop"),
    "max_new_tokens": Refusal("it has another name here", do="Call it max_tokens"),
    "max_output_tokens": Refusal("it has another name here", do="Call it max_tokens"),
}
# Of a chat whose base can't call tools, and of plain completions.
TOOL_FIELDS: dict[str, Refusal] = {
    "tools": Refusal(_TOOLS, ([],)),
    "tool_choice": Refusal(_TOOLS, ("none", "auto")),
    "parallel_tool_calls": Refusal(_TOOLS, (True, False)),  # without tools it says nothing
}
# Of one call alone, where the other does not ignore it but can't do it.
REFUSED_IN = {
    "chat": {
        "echo": Refusal(_PROMPT, (False,)),
        "prompt": Refusal("a chat is asked by messages",
                          do="Send messages, or use /v1/completions"),
    },
    "text": {
        "messages": Refusal("a plain completion is asked by prompt",
                            do="Send prompt, or use /v1/chat/completions"),
        "max_completion_tokens": Refusal("it has another name here", do="Call it max_tokens"),
        "top_logprobs": Refusal("it has another name here", (0,), "Send the number as logprobs"),
        "chat_template_kwargs": Refusal("no chat template is used here", ({},)),
    },
    "responses": {
        "previous_response_id": Refusal(
            "answers are recorded, but can't be asked for again", do=_WHOLE_INPUT),
        "conversation": Refusal("conversations are not kept to be continued", do=_WHOLE_INPUT),
        "prompt": Refusal("prompts are not kept here", do="Send instructions and input"),
        "background": Refusal("answers can't be fetched later", (False,), "Use stream"),
        "messages": Refusal("it has another name here", do="Call it input"),
        "max_tokens": Refusal("it has another name here", do="Call it max_output_tokens"),
        "max_completion_tokens": Refusal("it has another name here",
                                         do="Call it max_output_tokens"),
        "response_format": Refusal("it has another name here", do="Send it as text.format"),
        "n": Refusal("there is one answer to a request", (1,)),
    },
    "messages": {
        "mcp_servers": Refusal("nothing runs here but the model", ([],)),
        "prompt": Refusal("a chat is asked by messages", do="Send messages"),
        "stop": Refusal("it has another name here", ([],), "Call it stop_sequences"),
        "max_completion_tokens": Refusal("it has another name here", do="Call it max_tokens"),
        "response_format": Refusal("it has another name here",
                                   do="Send it as output_config.format"),
        "n": Refusal("there is one answer to a request", (1,)),
    },
}  # fmt: skip
_OLD_TOOLS = Refusal(_TOOLS)
# Values of no effect, which are dropped without a word. (A store of false does not keep an answer
# from being recorded: nothing is answered without.)
SILENT: dict[str, tuple[Any, ...]] = {
    "store": (False,), "service_tier": ("auto", "default"), "length_penalty": (1, 1.0),
    "include_reasoning": (True, False), "early_stopping": (False,),
}  # fmt: skip
# Fields whose empty value is how some programs leave them out.
EMPTY: dict[str, tuple[Any, ...]] = {
    "stop": ("", []), "logit_bias": ({},), "metadata": ({},), "user": ("",),
    "stop_token_ids": ([],), "chat_template_kwargs": ({},), "stream_options": ({},),
}  # fmt: skip
_MESSAGE = {
    "assistant": ("role", "content", "tool_calls"),
    "tool": ("role", "content", "tool_call_id", "name"),
}
_ANY_MESSAGE = ("role", "content")
_PART = ("type", "text")
_CALL = ("id", "type", "function", "index")  # a stream's calls have an index
# Where null is a value: JSON schemas and arguments.
_OPEN = {("json_schema", "schema"), ("format", "schema"), ("function", "parameters"),
         ("tools", "parameters"), ("tools", "input_schema"), ("function", "arguments"),
         ("content", "input")}  # fmt: skip


def without_null(value: Any, inside: str = "") -> Any:
    """``value`` without the fields that are null, at any depth but where null is a value."""
    if isinstance(value, dict):
        return {
            name: item if (inside, name) in _OPEN else without_null(item, name)
            for name, item in value.items()
            if item is not None
        }
    if isinstance(value, list):
        return [without_null(item, inside) for item in value]
    return value


def sort_fields(
    body: dict[str, Any],
    kind: str,
    taken: Collection[str],
    base: BaseModel | None = None,
    *,
    refuse_unknown: bool = False,
) -> tuple[dict[str, Any], list[str]]:
    """A body's fields that are taken, and the names of those that are ignored.

    Args:
        body: without null.
        kind: ``chat``, ``text``, ``responses`` or ``messages``.
        taken: the names of the call's fields.
        base: the model that refusals speak of.
        refuse_unknown: what would be ignored is refused.

    Raises:
        PawlError: a field that is refused (``unsupported_parameter``, ``unknown_parameter``).
    """
    kept: dict[str, Any] = {}
    ignored: list[str] = []
    calls_tools = kind == "chat" and bool(body.get("tools")) and _can_call(base)
    for name, value in body.items():
        refusal = REFUSED.get(name) or REFUSED_IN[kind].get(name)
        if not calls_tools:
            refusal = refusal or TOOL_FIELDS.get(name)
        if name in taken and kind not in ("chat", "text"):  # refused as what it becomes in a chat
            refusal = None
        if name in taken and refusal is None:
            if not _is_one_of(value, EMPTY.get(name, ())):
                kept[name] = value
        elif refusal is None:
            if not _is_one_of(value, SILENT.get(name, ())):
                ignored.append(name)
        elif not _is_one_of(value, refusal.unless) and not _is_all(name, value, body):
            raise _refused(name, f"{name} is not supported", refusal, base)
    if calls_tools:
        ignored += _sort_tools(kept, base)
    if isinstance(messages := kept.get("messages"), list):
        kept["messages"], more = _sort_messages(messages, base)
        ignored += more
    for name, inner in (("stream_options", ("include_usage", "continuous_usage_stats")),
                        ("response_format", ("type", "json_schema"))):  # fmt: skip
        if isinstance(value := kept.get(name), dict):
            ignored += [f"{name}.{key}" for key in value if key not in inner]
            kept[name] = {key: value[key] for key in value if key in inner}
    if ignored and refuse_unknown:
        raise PawlError(
            f"unknown field {short(ignored[0])}",
            f"these are taken: {', '.join(sorted(taken))}",
            "Leave it out or rename it",
            code="unknown_parameter",
            param=ignored[0].partition(".")[0].partition("[")[0] or None,
        )
    return kept, ignored


def _sort_messages(
    messages: list[Any], base: BaseModel | None
) -> tuple[list[Any], dict[str, None]]:
    """Messages of role and content alone: what the engine is asked is what is recorded. Programs
    send answers back as they got them, with ``"tool_calls": []`` and the like."""
    kept: list[Any] = []
    ignored: dict[str, None] = {}
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            kept.append(message)
            continue
        place, role = f"messages[{index}]", message.get("role")
        if role == "function" or (role == "tool" and not _can_call(base)):
            raise _refused("messages", f"{place} is a tool's answer", _OLD_TOOLS, base)
        if message.get("function_call") or (message.get("tool_calls") and not _can_call(base)):
            name = "function_call" if message.get("function_call") else "tool_calls"
            raise _refused("messages", f"{place}.{name} can't be read", _OLD_TOOLS, base)
        if message.get("audio"):
            raise _refused("messages", f"{place}.audio can't be heard", Refusal(_TEXT), base)
        taken = _MESSAGE.get(role, _ANY_MESSAGE) if isinstance(role, str) else _ANY_MESSAGE
        ignored |= {f"messages[].{name}": None for name, value in message.items()
                    if value and name not in taken}  # fmt: skip
        if isinstance(parts := message.get("content"), list):
            ignored |= {f"messages[].content[].{name}": None for part in parts
                        if isinstance(part, dict) and part.get("type") == "text"
                        for name, value in part.items() if value and name not in _PART}  # fmt: skip
        if calls := message.get("tool_calls"):
            ignored |= {f"messages[].tool_calls[].{name}": None for call in calls
                        if isinstance(call, dict)
                        for name, value in call.items() if value and name not in _CALL}  # fmt: skip
        kept.append({name: message[name] for name in taken if _is_meant(message, name)})
    return kept, ignored


def _is_meant(message: dict[str, Any], name: str) -> bool:
    """Programs send answers back with ``"tool_calls": []``."""
    return name in message and (message[name] != [] or name in ("content", "role"))


def _sort_tools(kept: dict[str, Any], base: BaseModel | None) -> list[str]:
    """Names of what is ignored in ``tools``. ``strict`` is how a call is written that must be."""
    choice = kept.get("tool_choice", "auto")
    is_forced = choice == "required" or isinstance(choice, dict)
    if is_forced and base is not None and not base.check.tools.forces:
        why = "the engine can't make {model} call a tool: it only reads the calls that it writes"
        raise _refused("tool_choice", "tool_choice forces a call", Refusal(why, do='Send "auto"'),
                       base)  # fmt: skip
    taken = ("name", "description", "parameters", *(["strict"] if is_forced else []))
    tools = kept["tools"] if isinstance(kept["tools"], list) else []
    functions = [tool.get("function") for tool in tools if isinstance(tool, dict)]
    names = {name for function in functions if isinstance(function, dict)
             for name, value in function.items() if value and name not in taken}  # fmt: skip
    return [f"tools[].function.{name}" for name in sorted(names)]


def _refused(param: str, what: str, refusal: Refusal, base: BaseModel | None) -> PawlError:
    model = base.name if base else "the model served here"
    why = refusal.why.format(model=model, tools=tools_reason(base))
    return PawlError(what, why, refusal.do, code="unsupported_parameter", param=param)


def tools_reason(base: BaseModel | None) -> str:
    """Why tools can't be called, naming the model."""
    if base is None:
        return "the model served here can't call tools"
    if _can_call(base):
        return f"{base.name} calls tools in chats, by the fields tools and tool_calls alone"
    return base.check.tools.why.format(model=base.name)


def _can_call(base: BaseModel | None) -> bool:
    return base is not None and base.check.tools.parser is not None


def _is_one_of(value: Any, values: Iterable[Any]) -> bool:
    """Equal and of one type: in Python, 1 equals true."""
    return any(type(value) is type(other) and value == other for other in values)


def _is_all(name: str, value: Any, body: dict[str, Any]) -> bool:
    """As many generated as returned."""
    return name == "best_of" and value == body.get("n", 1)


def ignored_header(names: Sequence[str]) -> str:
    """The names for a header: sane characters, a bounded number of bounded length."""
    shown = [re.sub(r"[^A-Za-z0-9_.\[\]-]", "?", name[:_NAME_CHARACTERS]) or "?"
             for name in names[:MAX_NAMED]]  # fmt: skip
    more = [f"and {len(names) - MAX_NAMED} more"] if len(names) > MAX_NAMED else []
    return ", ".join(shown + more)
