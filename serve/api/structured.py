"""JSON schemas of ``response_format`` and of tools: bounded and checked before the engine has them.

The engine compiles a schema into a grammar, in the process that also answers everyone else. vLLM
0.32 does so with llguidance (``serve/engine/launch.py`` chooses it); here the same library
compiles the schema first, with tighter limits, so that a schema that is none, that allows no
answer or that takes long is the client's error and never reaches the engine.

The bounds, on two cores: 1,000 optional properties take 0.06 s to compile and 2,500 take 1 s; one
``maxItems`` of a million took 9 s and 1.1 GB, as did 8,000 referred to from 300 places; one
``multipleOf`` of 300,000 took 4 s, 500 of 8,000 took 45 s. Within the bounds nothing took longer
than 0.9 s; what does is refused all the same.

A grammar that compiles can still stop its parser while the answer is written ("row has 4007 items",
of 1,000 optional properties), which vLLM answers with a 500. So some answers are begun here too.
"""

from __future__ import annotations

import json
import math
import random
import time
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from pawl.errors import PawlError
from pawl.schemas import Body
from serve.api.bodies import or_null

if TYPE_CHECKING:
    from llguidance import LLMatcher

MAX_CHARACTERS = 100_000
MAX_DEPTH = 64  # vLLM's own limit, lists and objects counted alike
MAX_VALUES = 2_500  # objects, lists, texts, numbers: a property with its type is two
MAX_ENUM_VALUES = 1_000
MAX_PROPERTIES = 400  # of one object: optional ones take four items of a row each
MAX_ITEMS = 10_000  # the sum of all minItems and maxItems
MAX_MULTIPLE = 10_000  # what is a multiple of all multipleOf, with commas shifted out of them
MAX_MULTIPLES = 50_000  # their sum
MAX_KEY_PATTERNS = 40  # in patternProperties: each is held against each
MAX_MET_PATTERNS = 6  # where one text may have to fit several: 30 took more than a minute
MAX_GRAMMAR_SYMBOLS = 50_000
MAX_ROW_ITEMS = 1_800  # llguidance stops at 2,000
N_BEGINNINGS, N_BEGINNING_BYTES = 8, 100  # of the answers that are begun
MAX_SECONDS = 1.0  # of one core
# Formats that llguidance knows. Another is a remark, says JSON Schema; there it is an error.
FORMATS = frozenset(
    "date-time date time duration email hostname ipv4 ipv6 uuid uri unknown".split()
)
# What may hold patterns, and holds for the same value as a combination beside it.
_COMBINATIONS = ("allOf", "anyOf", "oneOf", "$ref")
_BESIDE = ("pattern", "format", "properties", "patternProperties", "additionalProperties", "items",
           "prefixItems", *_COMBINATIONS)  # fmt: skip
_LITERALS = ("const", "enum", "default", "examples")  # what stands there is no schema
# Its own switches, which a client's schema could otherwise turn: blanks between values let a small
# model write nothing else, and "one of" can't be checked while writing, but "any of" can.
OPTIONS = {"x-guidance": {"whitespace_flexible": False, "coerce_one_of": True}}
# Those that the engine itself sets, for schemas that it makes of others (tools').
ENGINE_OPTIONS = {"x-guidance": {"whitespace_flexible": False}}


class JsonSchema(Body, extra="allow", json_schema_extra=or_null):
    schema_: dict[str, Any] = Field(alias="schema")
    name: str = Field("answer", max_length=200)


class ResponseFormat(Body, extra="ignore"):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise PawlError(
                "response_format has no json_schema",
                "its type says that there is one",
                'Send {"type": "json_schema", "json_schema": {"schema": {...}}}',
                code="invalid_value",
                param="response_format",
            )
        return self

    def for_engine(self) -> dict[str, Any]:
        """As vLLM wants it. Raises PawlError: a schema that can't be followed."""
        if self.type != "json_schema" or self.json_schema is None:
            return {"type": self.type}
        schema = engine_schema(self.json_schema.schema_)
        return {"type": self.type, "json_schema": {"name": self.json_schema.name, "schema": schema}}


def engine_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a ``response_format`` as the engine gets it.

    Raises:
        PawlError: it is too large or nested too deep, or it is no schema that an answer can be
            written by.
    """
    check_depth(schema, "response_format")
    schema = {**_without_unknown_formats(schema), **OPTIONS}
    check_grammar(schema, "response_format")
    return schema


def followable(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without formats that are not known, and with "any of" for "one of": for one that
    is a part of a schema that the engine makes, where no switch of ours has an effect."""
    return dict(_with_any_of(_without_unknown_formats(schema)))


def check_grammar(schema: dict[str, Any], param: str) -> None:
    """Whether an answer can be written by a schema, which has its options.

    Args:
        schema: as the engine will compile it.
        param: the request's field it is of.

    Raises:
        PawlError: it is too large or nested too deep, or no answer can be written by it.
    """
    text = json.dumps(schema, ensure_ascii=False)
    if len(text) > MAX_CHARACTERS:
        raise _refusal(param, f"{len(text):,} characters", f"at most {MAX_CHARACTERS:,} are taken")
    _check_size(schema, param)
    if problem := _problem_of(text):
        raise PawlError(
            f"{param}: the schema can't be followed", problem, "Change the schema",
            code="invalid_value", param=param,
        )  # fmt: skip


def check_depth(value: Any, param: str) -> None:
    """Raises PawlError: lists and objects are nested too deep."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise _refusal(param, f"more than {MAX_DEPTH} levels", "it is nested too deep")
        below = [
            item for each in level for item in (each.values() if isinstance(each, dict) else each)
        ]
        level = [item for item in below if isinstance(item, dict | list)]


def _check_size(schema: dict[str, Any], param: str) -> None:
    n_values = n_enum_values = depth = 0
    n_items = 0.0
    multiples: list[int] = []
    n_patterns = n_key_patterns = 0
    do_meet = False
    level: list[Any] = [schema]
    while level:
        below: list[Any] = []
        depth += 1
        if depth > MAX_DEPTH:
            raise _refusal(param, f"more than {MAX_DEPTH} levels", "it is nested too deep")
        for value in level:
            if isinstance(value, list):
                below += value
            elif isinstance(value, dict):
                below += value.values()
                properties = value.get("properties")
                if isinstance(properties, dict) and len(properties) > MAX_PROPERTIES:
                    raise _refusal(
                        param,
                        f"an object of {len(properties):,} properties",
                        f"at most {MAX_PROPERTIES} are taken",
                    )
                choices = value.get("enum")
                n_enum_values += len(choices) if isinstance(choices, list) else 0
                for name in ("minItems", "maxItems"):
                    number = value.get(name)
                    if isinstance(number, int | float):
                        n_items += float(max(0, min(number, MAX_ITEMS + 1)))
                has_pattern = isinstance(value.get("pattern"), str)
                n_patterns += has_pattern
                of_keys = value.get("patternProperties")
                n_key_patterns += len(of_keys) if isinstance(of_keys, dict) else 0
                all_of = value.get("allOf")
                do_meet |= isinstance(all_of, list) and len(all_of) > 1
                is_combined = any(isinstance(value.get(one), list | str) for one in _COMBINATIONS)
                do_meet |= is_combined and sum(name in value for name in _BESIDE) > 1
                number = value.get("multipleOf")
                if isinstance(number, int | float) and number and not isinstance(number, bool):
                    digits = Decimal(repr(number)).as_tuple().digits
                    multiples.append(int("".join(map(str, digits[:20]))))
        if n_enum_values > MAX_ENUM_VALUES:
            raise _refusal(
                param,
                f"{n_enum_values:,} values in enum",
                f"at most {MAX_ENUM_VALUES:,} are taken in all",
            )
        if n_key_patterns > MAX_KEY_PATTERNS:
            raise _refusal(
                param,
                f"{n_key_patterns:,} patterns in patternProperties",
                f"at most {MAX_KEY_PATTERNS} are taken in all",
            )
        if do_meet and n_patterns + n_key_patterns > MAX_MET_PATTERNS:
            raise _refusal(
                param,
                f"{n_patterns + n_key_patterns} patterns, and a text that has to fit several",
                f"at most {MAX_MET_PATTERNS} are taken beside allOf, or beside another pattern's "
                "anyOf, oneOf or $ref",
            )
        if n_items > MAX_ITEMS:
            raise _refusal(
                param,
                "minItems and maxItems that are large",
                f"their sum may be {MAX_ITEMS:,} at most",
            )
        if math.lcm(*multiples) > MAX_MULTIPLE or sum(multiples) > MAX_MULTIPLES:
            raise _refusal(param, "multipleOf that are large", "they take too long to compile")
        n_values += len(below)
        if n_values > MAX_VALUES:
            raise _refusal(
                param, f"more than {MAX_VALUES:,} values", "that takes too long to compile"
            )
        level = [value for value in below if isinstance(value, dict | list)]


def _refusal(param: str, size: str, why: str) -> PawlError:
    return PawlError(
        f"{param}: the schema has {size}", why, "Send a smaller schema",
        code="invalid_value", param=param,
    )  # fmt: skip


def _without_unknown_formats(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_unknown_formats(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: item if name in _LITERALS else _without_unknown_formats(item)
        for name, item in value.items()
        if not (name == "format" and isinstance(item, str) and item not in FORMATS)
    }


def _with_any_of(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_any_of(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {
        name: item if name in _LITERALS else _with_any_of(item) for name, item in value.items()
    }
    if isinstance(changed.get("oneOf"), list) and "anyOf" not in changed:
        changed["anyOf"] = changed.pop("oneOf")
    return changed


@lru_cache(maxsize=64)
def _problem_of(schema: str) -> str:
    """Why no answer can be written by this schema; "" where one can. Programs send the same schema
    again and again."""
    from llguidance import LLMatcher, LLParserLimits, LLTokenizer

    began = time.thread_time()
    try:
        grammar = LLMatcher.grammar_from_json_schema(schema)
    except ValueError as error:
        return _first_line(str(error))
    limits = LLParserLimits(
        max_grammar_size=MAX_GRAMMAR_SYMBOLS, max_items_in_row=MAX_ROW_ITEMS, verbose_errors=False
    )
    matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0, limits=limits)
    if problem := matcher.get_error():
        return _first_line(problem)
    matcher.compute_bitmask()
    if matcher.is_error():
        return _reason_to_stop(matcher)
    choose = random.Random(0)
    for _ in range(N_BEGINNINGS):
        if time.thread_time() - began > MAX_SECONDS:
            return "it takes too long to compile"
        if problem := _begin_answer(matcher.deep_copy(), choose):
            return problem
    return ""


def _begin_answer(matcher: LLMatcher, choose: random.Random) -> str:
    """Write random bytes as the schema allows them; why the parser stopped, "" if it did not."""
    for _ in range(N_BEGINNING_BYTES):
        mask = matcher.compute_bitmask()
        if matcher.is_stopped():
            return _reason_to_stop(matcher) if matcher.is_error() else ""
        allowed = [byte for byte in range(256) if mask[byte // 8] >> (byte % 8) & 1]
        if not allowed:
            return ""
        ends_text = ord('"') in allowed and choose.random() < 0.5  # or texts would never end
        if not matcher.consume_token(ord('"') if ends_text else choose.choice(allowed)):
            return _reason_to_stop(matcher)
    return ""


def _reason_to_stop(matcher: LLMatcher) -> str:
    if "items" in matcher.get_error():
        return "too much is allowed in one place of an answer"
    return "no answer can end by it, as where a schema refers to itself alone"


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip(" ^")]
    first = lines[0] if lines else "no reason is known"
    if first.startswith("regex parse error"):
        first = f"a pattern is no regular expression ({lines[-1].removeprefix('error: ')})"
    if first.startswith("grammar size"):
        first = "it is too large"
    return first[:300]
