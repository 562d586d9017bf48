"""Whether a base can call tools: what its chat template writes of a call, and which of vLLM's
parsers of tool calls reads that again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pawl.engine_support import tool_parsers
from pawl.errors import PawlError

if TYPE_CHECKING:
    from pawl.chat_template import ChatTemplate
    from pawl.models import BaseModel

AUTO, NONE = "auto", "none"  # values of engine.tool_call_parser
SETTING = "engine.tool_call_parser"
ASKS, NAME, ARGUMENT, RESULT = "Aachen", "look_up", "Essen", "Fulda"
CALL_ID = "Celle0001"  # nine letters and digits, as Mistral's templates want them
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "function": {"name": NAME, "description": "Goslar", "parameters": PARAMETERS},
}
CALLS: list[dict[str, Any]] = [
    {"role": "user", "content": ASKS},
    {"role": "assistant", "content": "", "tool_calls": [
        {"id": CALL_ID, "type": "function",
         "function": {"name": NAME, "arguments": {"city": ARGUMENT}}}]},
    {"role": "tool", "content": RESULT, "tool_call_id": CALL_ID, "name": NAME},
]  # fmt: skip
# What the templates of a model family write of the call above, and the parser of vLLM 0.32 that
# reads it; the first that fits counts.
FORMS: tuple[tuple[str, str], ...] = (
    ("hermes", r'<tool_call>\s*\{"name": "look_up"'),  # Qwen2.5, Qwen3, Hermes, SmolLM3, Granite 4
    ("qwen3_coder", r"<tool_call>\s*<function=look_up>"),  # Qwen3-Coder, Qwen3.5
    ("glm45", r"<tool_call>look_up\s*<arg_key>"),
    ("mistral", r"\[TOOL_CALLS\]"),
    ("llama3_json", r'\{"name": "look_up", "parameters": '),  # Llama 3.1 to 3.3
    ("deepseek_v3", r"<｜tool▁call▁begin｜>function<｜tool▁sep｜>look_up"),
    ("deepseek_v31", r"<｜tool▁call▁begin｜>look_up<｜tool▁sep｜>"),
    ("kimi_k2", r"<\|tool_call_begin\|>"),
    ("minimax_m2", r'<minimax:tool_call>\s*<invoke name="look_up">'),
    ("seed_oss", r"<seed:tool_call>\s*<function=look_up>"),
    ("lfm2", r"<\|tool_call_start\|>\[look_up\("),
    ("granite", r"<\|tool_call\|>\s*\[?\{"),
    ("functiongemma", r"<start_function_call>call:look_up"),
)
NEEDED_TOKENS = {"llama3_json": "<|python_tag|>"}  # without which the parser refuses to start


@dataclass(frozen=True, slots=True)
class ToolSupport:
    """How a base calls tools.

    ``parser`` is the one of vLLM's that reads its calls, None where it can't call tools: ``why``
    is then a sentence about ``{model}``. ``forces``: the engine can make it call a tool.
    """

    parser: str | None = None
    forces: bool = False
    why: str = "{model} was not taught to call tools: its chat template knows none"


def problem_of_template(template: ChatTemplate) -> str | None:
    """Why a conversation with tools can't be rendered whole, a sentence about ``{model}``; None
    where it can."""
    try:
        offered = template.render(CALLS[:1], ask=True, tools=[TOOL])
    except Exception:  # a template may raise anything
        offered = ""
    if NAME not in offered:
        return "{model} was not taught to call tools: its chat template knows none"
    try:
        written = _written(template)
    except Exception as error:
        why = (str(error).splitlines() or [type(error).__name__])[0][:100]
        why = why.replace("{", "(").replace("}", ")")
        return f"the chat template of {{model}} refuses calls in the history ({why})"
    if not all(each in written for each in (NAME, ARGUMENT, RESULT)):
        return "the chat template of {model} leaves calls of tools or their answers out"
    return None


def _written(template: ChatTemplate) -> str:
    """A call and its answer, as the template writes them after the question."""
    return template.render(CALLS, ask=True, tools=[TOOL]).rpartition(ASKS)[2]


def find_tool_support(template: ChatTemplate, has_token: Callable[[str], bool]) -> ToolSupport:
    """What the template writes of a tool, a call and its answer decides.

    Args:
        has_token: whether the tokenizer has an added token.
    """
    if (why := problem_of_template(template)) is not None:
        return ToolSupport(why=why)
    written = _written(template)
    for parser, form in FORMS:
        token = NEEDED_TOKENS.get(parser)
        if re.search(form, written) and (token is None or has_token(token)):
            return support_of(parser)
    return ToolSupport(
        why="the chat template of {model} knows tools, but not in a form whose parser is known "
        f"here; the setting {SETTING} names one of the engine's"
    )


def support_of(parser: str) -> ToolSupport:
    """The support that a parser of vLLM gives. One that is not known here forces calls."""
    return ToolSupport(parser, forces=tool_parsers().get(parser, True))


def with_tool_parser(base: BaseModel, parser: str) -> BaseModel:
    """``base``, its calls read by the parser that is set.

    Args:
        parser: ``auto``, ``none``, or a name of vLLM's.

    Raises:
        PawlError: vLLM has no such parser.
    """
    if parser == AUTO:
        return base
    if parser == NONE:
        support = ToolSupport(why=f"tools are switched off here by the setting {SETTING}")
    else:
        known = tool_parsers()
        if known and parser not in known:
            raise PawlError(
                f"{SETTING} is {parser!r}",
                f"the engine's parsers are {', '.join(sorted(known))}",
                f"Name one of them, {AUTO!r} or {NONE!r}",
            )
        support = support_of(parser)
    return replace(base, check=replace(base.check, tools=support))
