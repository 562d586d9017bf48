"""Schemas that the engine gets, and those that it never sees."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from pawl.errors import PawlError
from serve.api.structured import engine_schema

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_a_schema_goes_through_with_the_engines_switches_set() -> None:
    sent = engine_schema({**PERSON, "x-guidance": {"whitespace_flexible": True}})
    assert {name: sent[name] for name in PERSON} == PERSON
    assert sent["x-guidance"] == {"whitespace_flexible": False, "coerce_one_of": True}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"enum": [f"v{i}" for i in range(1000)]},
        {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(400)}},
        {"oneOf": [{"type": "object"}, {"type": "object", "properties": {"a": {}}}]},
        {"type": "array", "items": {"$ref": "#"}},
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "string", "format": "path"},
        {"const": {"format": "path"}},
        {"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "b$"}]},
        {"patternProperties": {f"^k{i}_": {"type": "string"} for i in range(40)}},
        {"properties": {f"p{i}": {"type": "string", "pattern": "^[a-z]{1,9}$"} for i in range(50)}},
        {
            "properties": {
                "cents": {"type": "number", "multipleOf": 0.01},
                "minutes": {"type": "integer", "multipleOf": 15},
            }
        },
        {"type": "string", "maxLength": 10**9},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_taken(schema: dict[str, Any]) -> None:
    sent = engine_schema(schema)
    assert sent.get("const") == schema.get("const")


def deep(n: int) -> dict[str, Any]:
    text = '{"type":"array","items":' * n + "{}" + "}" * n
    value: dict[str, Any] = json.loads(text)
    return value


def met(n: int, name: str | None = None) -> dict[str, Any]:
    """A text, or the property ``name``, that has to fit ``n`` patterns, without allOf."""
    value: dict[str, Any] = {}
    for i in range(n):
        text = {"type": "string", "pattern": f"[ab]*a[ab]{{{i + 5}}}"}
        value = {**(text if name is None else {"properties": {name: text}}), "anyOf": [value]}
    return value


LONG_LIST = {"type": "array", "maxItems": 8000, "items": {"type": "string"}}


@pytest.mark.parametrize(
    "schema",
    [
        {"enum": [f"value {i} {'x' * 80}" for i in range(10_000)]},
        {"enum": list(range(1001))},
        {"properties": {f"p{i}": {"type": "string"} for i in range(401)}},
        {"anyOf": [{"type": "object", "properties": {f"k{i}": {}}} for i in range(300)]},
        {"type": "object", "required": ["a"], "additionalProperties": False, "properties": {
            "a": {"anyOf": [{"type": "object", "properties": {f"k{i}": {}}} for i in range(300)]}}},
        deep(70),
        {"type": "array", "maxItems": 10**6},
        {"type": "array", "minItems": 1e300}, {"type": "array", "maxItems": 10**400},
        {"type": "array", "maxItems": -(10**400)},
        {"type": "integer", "minimum": 10**400}, {"type": "integer", "multipleOf": 10**400},
        {"$defs": {"a": LONG_LIST}, "properties": {
            f"p{i}": {"allOf": [{"$ref": "#/$defs/a"}, {"minItems": i}]} for i in range(100)}},
        {"allOf": [{"anyOf": [{"properties": {f"k{i}{j}": {}}} for j in range(8)]}
                   for i in range(12)]},
        {"properties": {f"p{i}": {"type": "integer", "multipleOf": 7919 + i} for i in range(500)}},
        {"type": "number", "multipleOf": 0.300007}, {"type": "number", "multipleOf": 1e-300},
        {"allOf": [{"type": "integer", "multipleOf": 997}, {"multipleOf": 991}]},
        {"$ref": "#"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "type": "object", "required": ["x"],
         "additionalProperties": False, "properties": {"x": {"$ref": "#/$defs/a"}}},
        {"$ref": "#/$defs/none"},
        {"$ref": "http://example.com/schema"},
        {"type": "nonsense"}, {"type": 3}, {"properties": [1]}, {"enum": "a"}, {"enum": []},
        {"type": "object", "patternProperties": {"[": {"type": "string"}}},
        {"type": "string", "pattern": "("},
        {"not": {"type": "string"}},
        {"type": "integer", "multipleOf": True},
        {"allOf": [{"pattern": f"^(.*a{i}.*){{3}}$"} for i in range(30)]},
        met(25), met(20, "a"),
        {"patternProperties": {f"^(a|b)*a(a|b){{20}}{i}$": {} for i in range(300)}},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)  # fmt: skip
def test_refused_and_soon(schema: dict[str, Any]) -> None:
    began = time.monotonic()
    with pytest.raises(PawlError) as caught:
        engine_schema(schema)
    assert time.monotonic() - began < 10  # unbounded, some of them take 9 to 45 s and gigabytes
    assert (caught.value.code, caught.value.param) == ("invalid_value", "response_format")
    assert len(str(caught.value)) < 500


def test_the_bounded_answer_of_a_schema_has_no_blanks_between_values() -> None:
    from llguidance import LLMatcher, LLTokenizer

    tokenizer = LLTokenizer("byte")
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(engine_schema(PERSON)))
    for text, fits in (('{"name":"Ann","age":3}', True), ('{ "name":"Ann","age":3}', False)):
        matcher = LLMatcher(tokenizer, grammar, log_level=0)
        tokens = tokenizer.tokenize_str(text)
        assert (matcher.try_consume_tokens(tokens) == len(tokens)) is fits
