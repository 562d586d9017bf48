"""``/v1/responses``: OpenAI's own client and types, in front of a small working engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from pawl.errors import PawlError
from pawl.settings import Settings
from serve.api.requests import parse_request
from serve.api.responses import ChatOfResponses, ResponsesTranslation
from tests.serve.live import FAKE_BASE, FAKE_TOOL_BASE, Live, live

RESPONSES = "/v1/responses"
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "name": "weather", "strict": True, "parameters": CITY}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    limits = {"keep_alive_seconds": 0.2}
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"), limits=limits)
    with live(settings, base=FAKE_TOOL_BASE) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as one:
        yield one


def translation(body: dict[str, Any], refuse_unknown: bool = False) -> ResponsesTranslation:
    body = {"model": "pawl", **body}
    one = ResponsesTranslation(body, FAKE_BASE, refuse_unknown=refuse_unknown)
    one.begin("resp_1", "pawl@1")
    return one


def chunk(finish_reason: str | None = None, logprobs: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason,
                         "logprobs": logprobs}]}  # fmt: skip


def call(index: int, arguments: str, **more: str) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more["name"]} if "name" in more else {})}
    return {"index": index, "function": function, **({"id": more["id"]} if "id" in more else {})}


def checked(events: list[dict[str, Any]]) -> list[str]:
    """The events' types, once each fits OpenAI's type of it and they are numbered."""
    for event in events:
        EVENT.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    return [event["type"].removeprefix("response.") for event in events]


# -- with OpenAI's client


def test_an_answer_is_recorded_like_a_chats_and_rated_by_its_id(
    server: Live, client: openai.OpenAI
) -> None:
    answer = client.responses.create(
        model="pawl", input="hello", instructions="be brief", temperature=0.5, store=True,
        max_output_tokens=99, user="ann", metadata={"a": "b"}, extra_body={"seed": 7},
    )  # fmt: skip
    assert answer.output_text == "base heard 5 characters."
    assert (answer.status, answer.model, answer.metadata) == ("completed", "base", {"a": "b"})
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 5)
    (row,) = server.rows(answer.id)
    assert row.messages == [{"role": "system", "content": "be brief"},
                            {"role": "user", "content": "hello"}]  # fmt: skip
    assert row.sampling == {"temperature": 0.5, "max_tokens": 99, "seed": 7}
    assert (row.completion, row.rater_id) == (answer.output_text, "ann")
    rated = httpx.post(server.url + "/v1/feedback", json={"completion_id": answer.id,
                                                          "thumb": "up"})  # fmt: skip
    assert rated.status_code == 200


def test_a_stream_has_openais_events_and_is_on_disk_before_it_is_completed(
    server: Live, client: openai.OpenAI
) -> None:
    events = []
    for event in client.responses.create(model="pawl", input="hello", stream=True):
        if event.type == "response.completed":
            assert server.store.get_completion(event.response.id).completion == (
                "base heard 5 characters."
            )
        events.append(event.to_dict())
    assert checked(events) == [
        "created", "in_progress", "output_item.added", "content_part.added",
        *["output_text.delta"] * 5, "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    Response.model_validate(events[-1]["response"])
    with client.responses.stream(model="pawl", input="hello") as stream:
        final = stream.get_final_response()
    assert final.output_text == "base heard 5 characters."
    assert final.usage.output_tokens == 5


def test_an_answer_goes_back_into_the_next_requests_input(
    server: Live, client: openai.OpenAI
) -> None:
    first = client.responses.create(model="pawl", input="one")
    history = [{"role": "user", "content": "one"}, *(item.to_dict() for item in first.output),
               {"type": "message", "role": "user",
                "content": [{"type": "input_text", "text": "two"}]}]  # fmt: skip
    second = client.responses.with_raw_response.create(model="pawl", input=history)
    assert "X-Pawl-Ignored" not in second.headers
    one, two = server.rows(first.id)[0], server.rows(second.parse().id)[0]
    assert two.messages[1] == {"role": "assistant", "content": first.output_text}
    assert two.messages[2]["content"] == "two"
    assert one.conversation_id == two.conversation_id


@pytest.mark.parametrize("stream", [True, False])
def test_tools_are_called_and_their_outputs_sent_back(
    server: Live, client: openai.OpenAI, stream: bool
) -> None:
    asked: list[Any] = [{"role": "user", "content": "call weather time"}]
    tools: Any = [WEATHER, {"type": "function", "name": "time"}]
    if stream:
        with client.responses.stream(model="pawl", input=asked, tools=tools) as events:
            first = events.get_final_response()
    else:
        first = client.responses.create(model="pawl", input=asked, tools=tools)
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.name for call in calls] == ["weather", "time"]
    assert json.loads(calls[0].arguments) == {"heard": "call weather time"}
    (row,) = server.rows(first.id)
    assert [call["id"] for call in row.tool_calls] == [call.call_id for call in calls]
    asked += [item.to_dict() for item in first.output]
    asked += [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
              for call in calls]  # fmt: skip
    second = client.responses.create(model="pawl", input=asked, tools=tools)
    (row,) = server.rows(second.id)
    assert [message["role"] for message in row.messages] == ["user", "assistant", "tool", "tool"]
    named: Any = {"type": "function", "name": "time"}
    third = client.responses.create(model="pawl", input="noon?", tools=tools, tool_choice=named)
    assert third.output[0].name == "time"
    body = {"model": "pawl", "input": "hello", "tools": tools, "prompt_cache_key": "a"}
    ignored = httpx.post(server.url + RESPONSES, json=body).headers["X-Pawl-Ignored"]
    assert ignored == "prompt_cache_key, tools[].function.strict"


def test_a_model_that_knows_no_tools_is_named() -> None:
    body = json.dumps(translation({"input": "hello", "tools": [WEATHER]}).chat).encode()
    with pytest.raises(PawlError, match="fake") as caught:
        parse_request(body, ChatOfResponses, FAKE_BASE)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"background": True}, "background"),
        ({"n": 2}, "n"),
        ({"max_tokens": 9}, "max_tokens"),
        ({"reasoning": {"effort": "high"}}, "reasoning"),
        ({"text": {"verbosity": "low"}}, "text"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"temperature": 9}, "temperature"),
        ({"input": "too long"}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"role": "robot", "content": "a"}]}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
        ({"input": [{"type": "web_search_call"}]}, "input"),
        ({"model": "gpt-5"}, "model"),
    ],
)
def test_what_cant_be_done_is_refused_by_the_fields_own_name(
    server: Live, fields: dict[str, Any], param: str
) -> None:
    answer = httpx.post(server.url + RESPONSES, json={"model": "pawl", "input": "hello", **fields})
    assert answer.status_code in (400, 404), answer.text
    assert answer.json()["error"]["param"] == param, answer.text


def test_null_is_absent_and_what_has_no_effect_is_named(server: Live) -> None:
    body = {"model": "pawl", "input": "hello", "previous_response_id": None, "tools": [],
            "tool_choice": "auto", "reasoning": {"effort": None}, "truncation": "auto",
            "prompt_cache_key": "a", "include": ["reasoning.encrypted_content"],
            "text": {"format": {"type": "text"}, "verbosity": None},
            "parallel_tool_calls": True, "background": False}  # fmt: skip
    answer = httpx.post(server.url + RESPONSES, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Pawl-Ignored"] == "truncation, prompt_cache_key"
    Response.model_validate(answer.json())
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": []}
    said = {"role": "user", "content": "hello"}
    assert translation({"input": [reasoning, said]}).ignored == ["input[].reasoning"]
    with pytest.raises(PawlError) as caught:
        translation({"input": [reasoning, said]}, refuse_unknown=True)
    assert (caught.value.code, caught.value.param) == ("unknown_parameter", "input")


def test_a_schema_reaches_the_engine_whole(server: Live, client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", None]}, "b": {"const": None}}}
    form = {"type": "json_schema", "name": "thing", "strict": True, "schema": schema}
    answer = client.responses.create(model="pawl", input="schema", text={"format": form})
    sent = server.seen()["bodies"][-1]["response_format"]["json_schema"]
    assert sent["schema"]["properties"]["b"] == {"const": None}
    assert server.rows(answer.id)[0].sampling["response_format"]["json_schema"]["schema"] == schema


def test_a_stream_that_breaks_off_raises_and_is_recorded(
    server: Live, client: openai.OpenAI
) -> None:
    got = []
    with pytest.raises(openai.APIError) as caught:
        got.extend(client.responses.create(model="pawl", input="fail midway", stream=True))
    assert [event.type for event in got[-2:]] == ["response.output_text.delta"] * 2
    assert caught.value.body["retryable"] is True
    assert server.rows(got[0].response.id)[0].status == "error"
    text = httpx.post(server.url + RESPONSES, json={"model": "pawl", "input": "fail midway",
                                                    "stream": True}).text  # fmt: skip
    *_, failed = (json.loads(line[6:]) for line in text.splitlines() if line[:5] == "data:")
    assert failed["type"] == "response.failed"
    Response.model_validate(failed["response"])


def test_a_client_that_hangs_up_frees_the_engine(server: Live) -> None:
    body = {"model": "pawl", "input": "hold midway", "stream": True}
    with httpx.stream("POST", server.url + RESPONSES, json=body) as answer:
        completion_id = answer.headers["X-Pawl-Completion-Id"]
        lines = answer.iter_lines()
        while "output_text.delta" not in next(lines):
            pass
    assert server.rows(completion_id)[0].status == "cancelled"


def test_a_stream_that_waits_is_kept_alive(server: Live) -> None:
    body = {"model": "pawl", "input": "hold first", "stream": True}
    with httpx.stream("POST", server.url + RESPONSES, json=body) as answer:
        assert next(answer.iter_lines()) == ": keep-alive"


# -- shapes alone


def test_text_and_calls_of_tools_become_items() -> None:
    one = translation({"input": "hello", "tools": [WEATHER], "stream": True})
    events = one.take(chunk(role="assistant", content=""))
    events += one.take(chunk(content="Let me "))
    events += one.take(chunk(content="see."))
    events += one.take(chunk(tool_calls=[call(0, "", id="call_a", name="weather")]))
    events += one.take(chunk(tool_calls=[call(0, '{"city": '), call(0, '"Oslo"}')]))
    events += one.take(chunk("tool_calls", tool_calls=[call(1, "{}", id="call_b", name="time")]))
    events += one.take({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}})
    events += one.end()
    assert checked(events) == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        "output_item.done", "completed",
    ]  # fmt: skip
    answer = Response.model_validate(one.body())
    assert [item.type for item in answer.output] == ["message", "function_call", "function_call"]
    assert answer.output_text == "Let me see."
    assert (answer.output[1].call_id, answer.output[1].arguments) == ("call_a", '{"city": "Oslo"}')
    assert answer.output[2].name == "time"
    assert len({item.id for item in answer.output}) == 3
    assert answer.usage.total_tokens == 7


def test_texts_before_and_after_a_call_are_two_items() -> None:
    one = translation({"input": "hello", "tools": [WEATHER]})
    one.take(chunk(content="before"))
    one.take(chunk(tool_calls=[call(0, "{}", id="call_a", name="weather")]))
    one.take(chunk("stop", content="after"))
    one.end()
    answer = Response.model_validate(one.body())
    assert [item.type for item in answer.output] == ["message", "function_call", "message"]
    assert len({item.id for item in answer.output}) == 3  # clients keep parts by their item's id


def test_calls_and_their_outputs_become_messages_of_a_chat() -> None:
    items = [
        {"role": "user", "content": "weather?"},
        {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
         "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}]},
        {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "time", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
        {"type": "function_call_output", "call_id": "b",
         "output": [{"type": "input_text", "text": "noon"}]},
    ]  # fmt: skip
    choice = {"type": "function", "name": "weather"}
    chat = translation({"input": items, "tools": [WEATHER], "tool_choice": choice}).chat
    assert [message["role"] for message in chat["messages"]] == [
        "user",
        "assistant",
        "tool",
        "tool",
    ]
    assert [one["id"] for one in chat["messages"][1]["tool_calls"]] == ["a", "b"]
    assert chat["messages"][3] == {"role": "tool", "tool_call_id": "b", "content": "noon"}
    silent = translation({"input": [*items[:-1], {**items[-1], "output": []}]}).chat
    assert silent["messages"][3]["content"] == ""
    function = {name: value for name, value in WEATHER.items() if name != "type"}
    assert chat["tools"] == [{"type": "function", "function": function}]
    assert chat["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


def test_a_cut_and_an_empty_answer() -> None:
    cut = translation({"input": "hello", "max_output_tokens": 1})
    events = [*cut.take(chunk("length", content="wor")), *cut.end()]
    assert checked(events)[-1] == "incomplete"
    answer = Response.model_validate(cut.body())
    assert answer.incomplete_details.reason == "max_output_tokens"
    empty = translation({"input": "hello"})
    events = [*empty.take(chunk("stop", content="")), *empty.end()]
    assert checked(events)[2:4] == ["output_item.added", "content_part.added"]
    assert Response.model_validate(empty.body()).output_text == ""


def test_logprobs_are_those_of_the_text() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}]}
    one = translation({"input": "hello", "top_logprobs": 2})
    assert one.chat["top_logprobs"] == 2
    one.take(chunk("stop", logprobs, content="a"))
    one.end()
    assert Response.model_validate(one.body()).output[0].content[0].logprobs[0].logprob == -0.5
