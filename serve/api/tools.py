"""Tools of a chat request: the functions that are offered, the calls of the history, and the
bounds on both before they reach the engine.

A tool is sent to the engine and recorded in one form, which is the one that vLLM 0.32 hands to the
chat template: so training renders the prompt that the model saw. A call that the model is made to
write (``tool_choice`` required, or a function by its name) is written by a grammar of the tools'
parameters, which is bounded and compiled here first, like a schema of ``response_format``.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator

from pawl.schemas import Body
from serve.api.bodies import or_null
from serve.api.errors import invalid
from serve.api.structured import ENGINE_OPTIONS, check_depth, check_grammar, followable

MAX_TOOLS = 128  # OpenAI's
MAX_CHARACTERS = 400_000  # of all tools as JSON: the template writes them into the prompt
MAX_CALLS = 128  # of one message
MAX_ARGUMENT_CHARACTERS = 1_000_000
_Id = Annotated[str, Field(min_length=1, max_length=200)]
_FunctionName = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$", description="letters, digits, and _ . -")
]
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


class FunctionCall(Body, extra="ignore", json_schema_extra=or_null):
    name: _FunctionName
    arguments: Annotated[str, Field(max_length=MAX_ARGUMENT_CHARACTERS)] = Field(
        "{}", description="JSON as a text"
    )

    @field_validator("arguments", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """Some programs send an object where OpenAI's have its text."""
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


class ToolCall(Body, extra="ignore", json_schema_extra=or_null):
    """A call in the history, as the model wrote it."""

    id: _Id | None = None
    type: Literal["function"] = "function"
    function: FunctionCall

    def as_json(self) -> dict[str, Any]:
        """As the engine gets it and the store keeps it."""
        call = {"type": "function", "function": self.function.model_dump()}
        return call if self.id is None else {"id": self.id, **call}


class Function(Body, extra="ignore", json_schema_extra=or_null):
    name: _FunctionName
    description: str = ""
    parameters: dict[str, Any] = Field(NO_PARAMETERS, description="a JSON schema of an object")

    @field_validator("parameters")
    @classmethod
    def _of_an_object(cls, schema: dict[str, Any]) -> dict[str, Any]:
        check_depth(schema, "tools")
        schema = {name: value for name, value in schema.items() if name not in ENGINE_OPTIONS}
        if not schema:
            return NO_PARAMETERS
        if schema.get("type", "object") != "object":
            raise ValueError("parameters are the schema of an object")
        return {"type": "object", **schema}


class Tool(Body, extra="ignore"):
    """A function that the model may call. It is called by the client, never here."""

    type: Literal["function"]
    function: Function

    def as_json(self, *, is_forced: bool = False) -> dict[str, Any]:
        """As the engine gets it and the store keeps it.

        Args:
            is_forced: its parameters become a grammar: what that can't follow is left out.
        """
        function = self.function.model_dump()
        if is_forced:
            function["parameters"] = followable(function["parameters"])
        return {"type": "function", "function": function}


class NamedFunction(Body, extra="ignore"):
    name: _FunctionName


class NamedTool(Body, extra="ignore"):
    type: Literal["function"]
    function: NamedFunction


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("word")] | Annotated[NamedTool, Tag("name")],
    Discriminator(lambda value: "word" if isinstance(value, str) else "name"),
]


def engine_tools(
    tools: list[Tool], choice: str | NamedTool, *, is_parallel: bool
) -> list[dict[str, Any]]:
    """The tools as the engine gets them.

    Args:
        choice: which of them the model may or must call.
        is_parallel: whether an answer may hold several calls.

    Raises:
        PawlError: two have one name, the one to be called is not among them, they are too large,
            or no call can be written by the parameters of one that must be called.
    """
    is_forced = choice == "required" or isinstance(choice, NamedTool)
    taken = [tool.as_json(is_forced=is_forced) for tool in tools]
    names = [tool.function.name for tool in tools]
    if twice := {name for name in names if names.count(name) > 1}:
        raise invalid("tools", f"two tools are called {min(twice)}", "a call names one",
                     "Give each its own name")  # fmt: skip
    if isinstance(choice, NamedTool) and choice.function.name not in names:
        raise invalid("tool_choice", f"tool_choice names {choice.function.name}",
                     f"the tools are {', '.join(names)}", "Name one of them")  # fmt: skip
    n_characters = len(json.dumps(taken, ensure_ascii=False))
    if n_characters > MAX_CHARACTERS:
        raise invalid("tools", f"tools have {n_characters:,} characters",
                     f"at most {MAX_CHARACTERS:,} are taken",
                     "Send fewer or smaller ones")  # fmt: skip
    if is_forced:
        check_grammar({**_grammar_of(taken, choice, is_parallel), **ENGINE_OPTIONS}, "tools")
    return taken


def _grammar_of(
    tools: list[dict[str, Any]], choice: str | NamedTool, is_parallel: bool
) -> dict[str, Any]:
    """The schema by which vLLM 0.32 lets a forced call be written
    (``vllm/tool_parsers/utils.py``, ``get_json_schema_from_tools``)."""
    if isinstance(choice, NamedTool):
        name = choice.function.name
        return next(each["function"]["parameters"] for each in tools
                    if each["function"]["name"] == name)  # fmt: skip
    calls: list[dict[str, Any]] = []
    definitions: dict[str, Any] = {}
    for tool in tools:
        function = tool["function"]
        parameters = dict(function["parameters"])
        own = parameters.pop("$defs", None) or {}
        for name, definition in own.items() if isinstance(own, dict) else ():
            if definitions.setdefault(name, definition) != definition:
                raise invalid("tools", f"$defs of two tools have a {name} each, and not the same",
                             "they are joined for tool_choice required", "Rename one")  # fmt: skip
        calls.append({
            "properties": {"name": {"type": "string", "enum": [function["name"]]},
                           "parameters": parameters},
            "required": ["name", "parameters"],
        })  # fmt: skip
    grammar: dict[str, Any] = {
        "type": "array", "minItems": 1, "items": {"type": "object", "anyOf": calls},
    }  # fmt: skip
    if not is_parallel:
        grammar["maxItems"] = 1
    return {**grammar, "$defs": definitions} if definitions else grammar
