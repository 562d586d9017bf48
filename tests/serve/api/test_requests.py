"""The fields of a completion request: what passes, what is ignored, what each refusal says."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from pawl.errors import PawlError
from serve.api.completions import is_slow
from serve.api.fields import REFUSED, ignored_header
from serve.api.requests import ChatRequest, TextRequest, parse_request
from tests.serve.live import FAKE_BASE

HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
MODELS: dict[str, Any] = {"chat": ChatRequest, "text": TextRequest}


def refusal(kind: Any = "chat", **body: Any) -> PawlError:
    body = {"model": "pawl", **({"messages": HELLO} if kind == "chat" else {"prompt": "a"}), **body}
    with pytest.raises(PawlError) as caught:
        parse_request(json.dumps(body).encode(), MODELS[kind])
    return caught.value


def taken(kind: Any = "chat", **body: Any) -> Any:
    body = {"model": "pawl", **({"messages": HELLO} if kind == "chat" else {"prompt": "a"}), **body}
    return parse_request(json.dumps(body).encode(), MODELS[kind], FAKE_BASE)


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
        "messages", "temperature", "max_tokens", "n", "stream", "stream_options",
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
        ("stop", ["a"] * 5), ("stop", "a" * 1001), ("stream", "yes"), ("presence_penalty", 2.5),
        ("logprobs", 3),
        ("top_logprobs", 21), ("logit_bias", {"a": 1}), ("logit_bias", {"1": 101}),
        ("stream_options", {"include_usage": 1}), ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema"}), ("user", 3), ("metadata", {"a": 1}),
        ("messages", "hello"), ("messages", []), ("messages", [{"role": "user"}]),
        ("messages", [{"role": "robot", "content": "x"}]), ("messages", ["x"]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]),
        ("messages", [{"role": "assistant", "content": "x", "tool_calls": [{}]}]), ("model", 3),
        ("top_k", -2), ("top_k", 2**31), ("top_k", 1.5), ("min_p", 1.1), ("min_p", -0.1),
        ("repetition_penalty", 0), ("repetition_penalty", 1e-300), ("repetition_penalty", 1e9),
        ("min_tokens", -1), ("min_tokens", 2**40), ("stop_token_ids", [-1]),
        ("stop_token_ids", [2**31]), ("stop_token_ids", [1] * 65), ("ignore_eos", 1),
        ("skip_special_tokens", "no"), ("chat_template_kwargs", {"a": [1]}),
        ("chat_template_kwargs", {"a b": 1}), ("chat_template_kwargs", {"tools": "x"}),
        ("chat_template_kwargs", {"a": "x" * 201}), ("chat_template_kwargs", {"a": 2**60}),
        ("chat_template_kwargs", {f"a{i}": 1 for i in range(17)}),
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


@pytest.mark.parametrize("field", ["temprature", "lora", "x" * 100_000])
def test_an_unknown_field_is_ignored_and_named_or_refused(field: str) -> None:
    assert taken(**{field: 1}).ignored == (field,)
    body = {"model": "pawl", "messages": HELLO, field: 1}
    with pytest.raises(PawlError) as caught:
        parse_request(json.dumps(body).encode(), ChatRequest, refuse_unknown=True)
    assert (caught.value.param, caught.value.code) == (PawlError("", param=field).param,
                                                       "unknown_parameter")  # fmt: skip


def test_the_names_of_ignored_fields_make_a_sane_header() -> None:
    header = ignored_header(["a", "b\r\nX-Evil: 1", "\u00fc" * 99, "", "messages[].id"])
    assert header == f"a, b??X-Evil??1, {'?' * 40}, ?, messages[].id"
    many = ignored_header([f"{'x' * 30}{i}" for i in range(1000)])
    assert len(many) < 1000
    assert many.endswith("and 980 more")


@pytest.mark.parametrize("field", sorted(REFUSED))
def test_a_field_that_can_not_be_honoured_says_why(field: str) -> None:
    error = refusal(**{field: {"a": 1}})
    assert (error.param, error.code) == (field, "unsupported_parameter")
    assert error.why
    assert "{" not in error.why


# What clients send without asking for anything by it.
NOTHING: list[dict[str, Any]] = [
    {"tools": []}, {"tools": [], "tool_choice": "none"}, {"tool_choice": "auto"},
    {"functions": [], "function_call": "none"}, {"parallel_tool_calls": True},
    {"store": False}, {"service_tier": "auto"}, {"service_tier": "default"},
    {"modalities": ["text"]}, {"reasoning_effort": "none"}, {"verbosity": "medium"},
    {"n": 1}, {"best_of": 1}, {"n": 2, "best_of": 2}, {"suffix": ""}, {"stop": []}, {"stop": ""},
    {"logit_bias": {}}, {"metadata": {}}, {"user": ""}, {"stop_token_ids": []},
    {"top_logprobs": 0}, {"logprobs": False}, {"stream_options": {}},
    {"stream_options": {"include_usage": False}}, {"use_beam_search": False},
    {"length_penalty": 1.0}, {"chat_template_kwargs": {}}, {"add_generation_prompt": True},
    {"continue_final_message": False}, {"echo": False}, {"priority": 0},
    {"response_format": {"type": "text"}}, {"include_reasoning": True},
]  # fmt: skip


@pytest.mark.parametrize("body", NOTHING, ids=lambda body: json.dumps(body))
def test_a_value_that_asks_for_nothing_is_taken_without_a_word(body: dict[str, Any]) -> None:
    request = taken(**body)
    assert request.ignored == ()
    sent = request.for_engine()
    assert not set(sent) - {"messages", "n", "top_logprobs", "logprobs", "response_format"}


@pytest.mark.parametrize(
    "field", sorted({*REFUSED, *ChatRequest.model_fields} - {"model", "messages"})
)
def test_null_means_absent(field: str) -> None:
    assert taken(**{field: None}).for_engine() == {"messages": HELLO}


def test_the_described_fields_may_be_null_where_they_may_be_left_out() -> None:
    schema = ChatRequest.model_json_schema()
    required = {"model", "messages"}
    assert set(schema["required"]) == required
    for name, field in schema["properties"].items():
        assert (name in required) == ({"type": "null"} not in field.get("anyOf", [])), name
    assert schema["properties"]["n"]["default"] == 1
    assert schema.get("additionalProperties", True) is True


def test_null_means_absent_inside_too_but_not_in_a_schema() -> None:
    message = {"role": "user", "content": "hello", "name": None, "tool_calls": None}
    assert taken(messages=[message]).for_engine()["messages"] == HELLO
    assert taken(stream=True, stream_options={"include_usage": None}).include_usage is False
    assert taken(logit_bias={"7": None}).sampling() == {}
    schema = {"anyOf": [{"const": None}, {"type": "integer", "default": None}]}
    body = {"type": "json_schema", "json_schema": {"schema": schema, "strict": None}}
    sent = taken(response_format=body).for_engine()["response_format"]
    assert sent["json_schema"]["schema"]["anyOf"] == schema["anyOf"]


def test_vllms_sampling_fields_are_passed_on_and_recorded() -> None:
    fields: dict[str, Any] = {
        "top_k": 40, "min_p": 0.05, "repetition_penalty": 1.1, "min_tokens": 2, "ignore_eos": True,
        "stop_token_ids": [1, 2], "include_stop_str_in_output": True, "skip_special_tokens": False,
        "spaces_between_special_tokens": False, "max_tokens": 9,
        "chat_template_kwargs": {"enable_thinking": False, "date": "today", "n": 3, "x": 0.5},
    }  # fmt: skip
    request = taken(**fields)
    assert request.sampling() == fields
    assert request.for_engine() == {"messages": HELLO, **fields}
    del fields["chat_template_kwargs"]
    assert taken("text", **fields).sampling() == fields


def test_the_engine_counts_every_streams_tokens_and_in_each_event_if_asked() -> None:
    assert taken(stream=True).for_engine()["stream_options"] == {"include_usage": True}
    options = {"include_usage": True, "continuous_usage_stats": True}
    assert taken(stream=True, stream_options=options).for_engine()["stream_options"] == options
    alone = taken(stream=True, stream_options={"continuous_usage_stats": True})
    assert alone.for_engine()["stream_options"] == {"include_usage": True}


def test_harmless_fields_are_ignored_and_named_wherever_they_stand() -> None:
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    request = taken(
        messages=[{"id": "m1", "role": "user", "content": [part]}] * 2, safety_identifier="abc",
        store=True, service_tier="flex", length_penalty=2.0, prediction={"type": "content"},
        stream=True, stream_options={"include_obfuscation": False},
    )  # fmt: skip
    assert set(request.ignored) == {
        "safety_identifier", "store", "service_tier", "length_penalty", "prediction",
        "messages[].id", "messages[].content[].cache_control", "stream_options.include_obfuscation",
    }  # fmt: skip
    assert request.for_engine()["messages"][0] == {
        "role": "user", "content": [{"type": "text", "text": "a"}],
    }  # fmt: skip


def test_a_developer_is_taken_and_recorded_as_system() -> None:
    messages = [{"role": "developer", "content": "Be short."}, *HELLO]
    request = taken(messages=messages)
    assert request.prompts() == [[{"role": "system", "content": "Be short."}, *HELLO]]
    assert request.for_engine()["messages"] == request.prompts()[0]


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"type": "function"}]}, {"tool_choice": "required"}, {"functions": [{}]},
        {"messages": [*HELLO, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                      {"role": "tool", "tool_call_id": "a", "content": "Paris"}]},
        {"messages": [*HELLO, {"role": "tool", "tool_call_id": "a", "content": "Paris"}]},
        {"messages": [*HELLO, {"role": "function", "name": "f", "content": "Paris"}]},
    ],
)  # fmt: skip
def test_tools_are_refused_with_the_models_name(body: dict[str, Any]) -> None:
    with pytest.raises(PawlError, match="fake was not taught to call tools") as caught:
        taken(**body)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", next(iter(body)))


def test_token_ids_are_passed_on_and_recorded_under_a_role_of_their_own() -> None:
    one, many = taken("text", prompt=[1, 22]), taken("text", prompt=[[1, 22], [3]])
    assert one.for_engine()["prompt"] == [1, 22]
    assert one.prompts() == [[{"role": "token_ids", "content": "[1,22]"}]]
    assert many.for_engine()["prompt"] == [[1, 22], [3]]
    assert [prompt[0]["content"] for prompt in many.prompts()] == ["[1,22]", "[3]"]


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([*HELLO, {"role": "user", "content": [{"type": "text", "text": 3}]}],
         "messages[1].content[0].text"),
        ([{"role": "user", "content": None}], "messages[0].content is missing"),
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
    assert refusal(min_tokens=9, max_tokens=8).param == "min_tokens"
    assert refusal("text", min_tokens=17).param == "min_tokens"
    json_mode = {"type": "json_object"}
    assert refusal(min_tokens=9, response_format=json_mode).param == "min_tokens"
    parse_request(b'{"model": "base", "prompt": "a", "echo": true}', TextRequest)
    parse_request(b'{"model": "base", "prompt": "a", "logprobs": 2}', TextRequest)


@pytest.mark.parametrize(
    "prompt",
    ["", [], ["a", ""], None, ["a"] * 17, [-1], [1, "a"], ["a", 1], [[]], [[1], "a"], [2**31],
     [[1]] * 17, [True], {}, 3],
    ids=str,
)  # fmt: skip
def test_prompts_that_are_none(prompt: Any) -> None:
    assert refusal("text", prompt=prompt).param == "prompt"


def test_the_two_calls_have_their_own_fields() -> None:
    assert refusal("text", messages=HELLO).param == "messages"
    assert refusal(prompt="a").param == "prompt"
    assert refusal(echo=True).param == "echo"
    fields = set(ChatRequest.model_fields) | set(TextRequest.model_fields)
    assert not set(REFUSED) & fields


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


def test_a_large_body_that_is_wrong_everywhere_is_refused_at_its_first_fault() -> None:
    """All its faults told apart took 11 s for 4 MB, in which nobody else was answered."""
    parts = {"role": "user", "content": [5] * 400_000}
    texts = [{"role": "user", "content": 5}] * 9_000
    began = time.monotonic()
    for messages in ([parts], texts, [{"role": "user", "content": "a"}] * 10_001):
        assert refusal(messages=messages).param == "messages"
    assert refusal("text", prompt=["a", *[5] * 400_000]).param == "prompt"
    assert refusal("text", prompt=[-1] * 400_000).param == "prompt"
    assert time.monotonic() - began < 10


def test_a_schema_may_come_under_an_escaped_name_and_is_compiled_beside_others() -> None:
    assert is_slow(b'{"response_format": {"type": "json_schema"}}')
    assert is_slow(rb'{"response_format": {"type": "json\u005fschema"}}')
    assert is_slow(rb'{"\u0074ools": []}')
    assert is_slow(b" " * 100_000)
    assert not is_slow(b'{"messages": [{"role": "user", "content": "hi"}]}')


def test_more_token_ids_than_the_context_holds_are_refused_before_the_engine() -> None:
    for prompt in ([1] * 513, [[1], [1] * 513]):
        with pytest.raises(PawlError) as caught:
            taken("text", prompt=prompt)
        assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")
    assert taken("text", prompt=[1] * 512).prompt == [1] * 512
