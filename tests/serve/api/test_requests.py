"""The allow-list of request fields: what passes, and what each refusal says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pawl.errors import PawlError
from serve.api.requests import ChatRequest, TextRequest, parse_request

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
MODELS: dict[str, Any] = {"chat": ChatRequest, "text": TextRequest}


def refusal(kind: Any = "chat", **body: Any) -> PawlError:
    body = {"model": "pawl", **({"messages": HELLO} if kind == "chat" else {"prompt": "a"}), **body}
    with pytest.raises(PawlError) as caught:
        parse_request(json.dumps(body).encode(), MODELS[kind])
    return caught.value


def test_a_full_request_is_split_into_what_is_asked_and_how() -> None:
    body = {"model": "pawl@3", "messages": HELLO, "temperature": 0.2, "max_tokens": 9, "n": 2,
            "stream": True, "stream_options": {"include_usage": True}, "user": "ann",
            "stop": None, "metadata": {"a": "b"}}  # fmt: skip
    request = parse_request(json.dumps(body).encode(), ChatRequest)
    assert (request.model, request.stream, request.n) == ("pawl@3", True, 2)
    assert request.include_usage
    assert request.prompts() == [HELLO]
    assert request.sampling() == {"temperature": 0.2, "max_tokens": 9, "n": 2}
    assert request.user == "ann"
    assert set(request.for_engine()) == {
        "model", "messages", "temperature", "max_tokens", "n", "stream", "stream_options",
    }  # fmt: skip


def test_text_parts_are_joined_and_several_prompts_kept_apart() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = {"model": "pawl", "messages": [{"role": "user", "content": parts}]}
    assert (
        parse_request(json.dumps(body).encode(), ChatRequest).prompts()[0][0]["content"] == "a\nb"
    )
    several = parse_request(b'{"model": "base", "prompt": ["a", "b"]}', TextRequest)
    assert several.prompts() == [[{"role": "prompt", "content": "a"}],
                               [{"role": "prompt", "content": "b"}]]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1), ("temperature", 3), ("temperature", True), ("temperature", "1"),
        ("top_p", 0), ("top_p", 1.5), ("n", 0), ("n", 5), ("n", 1000), ("n", 1.5),
        ("max_tokens", 0), ("max_tokens", "9"), ("seed", 2**70), ("stop", [""]), ("stop", 3),
        ("stop", ["a"] * 17), ("stream", "yes"), ("presence_penalty", 2.5), ("logprobs", 3),
        ("top_logprobs", 21), ("logit_bias", {"a": 1}), ("logit_bias", {"1": 101}),
        ("stream_options", {"other": 1}), ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema"}), ("user", 3), ("metadata", {"a": 1}),
        ("messages", "hello"), ("messages", []), ("messages", [{"role": "user"}]),
        ("messages", [{"role": "robot", "content": "x"}]), ("messages", ["x"]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]),
        ("messages", [{"role": "assistant", "content": "x", "tool_calls": [{}]}]), ("model", 3),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named(field: str, value: Any) -> None:
    error = refusal(**{field: value})
    assert error.param == field
    assert not error.retryable
    assert field in str(error)


def test_the_field_that_is_set_is_named_not_the_empty_one_beside_it() -> None:
    message = {"role": "assistant", "content": "x", "annotations": None, "tool_calls": [{}]}
    assert "messages[0].tool_calls" in str(refusal(messages=[message]))


@pytest.mark.parametrize("field", ["temprature", "top_k", "ignore_eos", "chat_template", "lora"])
def test_an_unknown_field_is_named(field: str) -> None:
    error = refusal(**{field: 1})
    assert (error.param, error.code) == (field, "unknown_parameter")


@pytest.mark.parametrize("field", sorted(ChatRequest.refused))
def test_a_field_of_openais_that_is_not_honoured_says_why(field: str) -> None:
    error = refusal(**{field: "x"})
    assert (error.param, error.code) == (field, "unsupported_parameter")
    assert ChatRequest.refused[field] in str(error)


@pytest.mark.parametrize("field", ["tools", "temperature", "user", "temprature"])
def test_a_field_that_is_null_counts_as_not_sent(field: str) -> None:
    request = parse_request(
        json.dumps({"model": "pawl", "messages": HELLO, field: None}).encode(), ChatRequest
    )
    assert request.for_engine() == {"model": "pawl", "messages": HELLO}


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([*HELLO, {"role": "user", "content": [{"type": "text", "text": 3}]}],
         "messages[1].content[0].text"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"content": "x"}], "messages[0].role is missing"),
        (["x"], "messages[0] is 'x'"),
    ],
)  # fmt: skip
def test_the_place_inside_a_field_is_named(messages: Any, place: str) -> None:
    assert place in str(refusal(messages=messages))


def test_what_only_clashes_together() -> None:
    assert refusal("text", echo=True, logprobs=0).param == "echo"
    assert refusal(top_logprobs=2).param == "top_logprobs"
    assert refusal(stream_options={"include_usage": True}).param == "stream_options"
    assert refusal(n=2, temperature=0).param == "n"
    parse_request(b'{"model": "base", "prompt": "a", "echo": true}', TextRequest)
    parse_request(b'{"model": "base", "prompt": "a", "logprobs": 2}', TextRequest)


@pytest.mark.parametrize("prompt", ["", [], ["a", ""], [1, 2], None, ["a"] * 17])
def test_prompts_that_are_none(prompt: Any) -> None:
    assert refusal("text", prompt=prompt).param == "prompt"


def test_the_two_calls_have_their_own_fields() -> None:
    assert refusal("text", messages=HELLO).param == "messages"
    assert refusal(prompt="a").param == "prompt"
    assert refusal(echo=True).param == "echo"
    fields = set(ChatRequest.model_fields) | set(TextRequest.model_fields)
    assert not set(ChatRequest.refused) & fields


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"), (b"{", "invalid_json"), (b"[1]", "invalid_json"),
        (b'{"a": NaN}', "invalid_json"), (b"[" * 100_000, "invalid_json"),
        (b'{"a": "\xff"}', "invalid_json"), (b"{}", "invalid_value"),
        (b'{"model": "pawl"}', "invalid_value"),
    ],
    ids=["nothing", "cut", "list", "NaN", "deep", "utf8", "no model", "no messages"],
)  # fmt: skip
def test_what_is_no_request_at_all(raw: bytes, code: str) -> None:
    with pytest.raises(PawlError) as caught:
        parse_request(raw, ChatRequest)
    assert caught.value.code == code
