"""``/v1/messages``: Anthropic's own client and types, in front of a small working engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from pawl.settings import Settings
from serve.api.messages import MessagesTranslation
from tests.serve.live import FAKE_BASE, FAKE_TOOL_BASE, Live, live

MESSAGES = "/v1/messages"
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
HELLO = [{"role": "user", "content": "hello"}]
WEATHER = {"name": "weather", "description": "of a city",
           "input_schema": {"type": "object", "properties": {"city": {"const": None}}}}  # fmt: skip
KEY = "sesame"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"), api_key=KEY)
    with live(settings, base=FAKE_TOOL_BASE) as one:
        yield one


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key=KEY, max_retries=0) as one:
        yield one


def post(server: Live, path: str = MESSAGES, key: str | None = KEY, **fields: Any) -> Any:
    body = {"model": "pawl", "max_tokens": 99, "messages": HELLO, **fields}
    headers = {"anthropic-version": "2023-06-01", **({"x-api-key": key} if key else {})}
    return httpx.post(server.url + path, json=body, headers=headers)


def translation(**fields: Any) -> MessagesTranslation:
    body = {"model": "pawl", "max_tokens": 99, "messages": HELLO, **fields}
    one = MessagesTranslation(body, FAKE_BASE, 512, refuse_unknown=False)
    one.begin("msg_1", "pawl@1")
    return one


def chunk(finish_reason: str | None = None, stop: Any = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason,
                         "stop_reason": stop}]}  # fmt: skip


def checked(events: list[dict[str, Any]]) -> list[str]:
    """The events' types, once each fits Anthropic's type of it."""
    for event in events:
        EVENT.validate_python(event)
    return [event["type"] for event in events]


# -- with Anthropic's client


def test_an_answer_is_recorded_like_a_chats_and_rated_by_its_id(
    server: Live, client: anthropic.Anthropic
) -> None:
    answer = client.messages.create(
        model="pawl", max_tokens=99, system="be brief", messages=HELLO, stop_sequences=["END"],
        metadata={"user_id": "ann"}, extra_body={"temperature": 0.5, "top_k": 5},
    )  # fmt: skip
    assert answer.content[0].text == "base heard 5 characters."
    assert (answer.model, answer.stop_reason, answer.role) == ("base", "end_turn", "assistant")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (7, 5)
    (row,) = server.rows(answer.id)
    assert row.messages == [{"role": "system", "content": "be brief"}, *HELLO]
    assert row.sampling == {"temperature": 0.5, "max_tokens": 99, "stop": ["END"], "top_k": 5}
    assert (row.completion, row.rater_id) == (answer.content[0].text, "ann")
    rated = httpx.post(server.url + "/v1/feedback", headers={"x-api-key": KEY},
                       json={"completion_id": answer.id, "thumb": "up"})  # fmt: skip
    assert rated.status_code == 200


def test_a_stream_has_anthropics_events_and_is_on_disk_before_it_stops(
    server: Live, client: anthropic.Anthropic
) -> None:
    events = []
    stream = client.messages.create(model="pawl", max_tokens=99, messages=HELLO, stream=True)
    for event in stream:
        events.append(event.to_dict())
        if event.type == "message_stop":
            message_id = events[0]["message"]["id"]
            row = server.store.get_completion(message_id)
            assert row.completion == "base heard 5 characters."
    assert checked(events) == [
        "message_start", "content_block_start", *["content_block_delta"] * 5,
        "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    assert events[0]["message"]["usage"]["input_tokens"] == 7
    assert events[-2]["usage"]["output_tokens"] == 5
    with client.messages.stream(model="pawl", max_tokens=99, messages=HELLO) as again:
        assert again.get_final_text() == "base heard 5 characters."


@pytest.mark.parametrize("stream", [True, False])
def test_tools_are_called_and_their_results_sent_back(
    server: Live, client: anthropic.Anthropic, stream: bool
) -> None:
    asked: list[Any] = [{"role": "user", "content": "call weather time"}]
    tools: Any = [WEATHER, {"name": "time", "input_schema": {"type": "object"}}]
    args: dict[str, Any] = {"model": "pawl", "max_tokens": 99, "tools": tools}
    if stream:
        with client.messages.stream(messages=asked, **args) as events:
            first = events.get_final_message()
    else:
        first = client.messages.create(messages=asked, **args)
    calls = [block for block in first.content if block.type == "tool_use"]
    assert first.stop_reason == "tool_use"
    assert [call.name for call in calls] == ["weather", "time"]
    assert calls[0].input == {"heard": "call weather time"}
    (row,) = server.rows(first.id)
    assert [call["id"] for call in row.tool_calls] == [call.id for call in calls]
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"} for call in calls]
    asked += [{"role": "assistant", "content": [block.to_dict() for block in first.content]},
              {"role": "user", "content": results}]  # fmt: skip
    second = client.messages.create(messages=asked, **args)
    assert second.stop_reason == "end_turn"
    (row,) = server.rows(second.id)
    assert [message["role"] for message in row.messages] == ["user", "assistant", "tool", "tool"]
    named: Any = {"type": "tool", "name": "time"}
    third = client.messages.create(messages=HELLO, tool_choice=named, **args)
    assert (third.content[0].name, third.stop_reason) == ("time", "tool_use")


def test_errors_are_anthropics(server: Live, client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="claude", max_tokens=9, messages=HELLO)
    assert caught.value.type == "not_found_error"
    messages = [{"role": "user", "content": "too long"}]
    with pytest.raises(anthropic.BadRequestError, match="prompt is too long") as caught_2:
        client.messages.create(model="pawl", max_tokens=9, messages=messages)
    assert caught_2.value.type == "invalid_request_error"
    assert caught_2.value.body["error"]["code"] == "context_length_exceeded"
    for key in (None, "wrong"):
        answer = post(server, key=key)
        body = answer.json()
        assert (answer.status_code, body["type"]) == (401, "error")
        assert body["error"]["type"] == "authentication_error"
        assert body["request_id"] == answer.headers["X-Request-Id"]
    assert caught.value.request_id == caught.value.response.headers["X-Request-Id"]
    assert post(server, MESSAGES + "/batches").json()["error"]["type"] == "not_found_error"


def test_a_stream_that_breaks_off_raises(server: Live, client: anthropic.Anthropic) -> None:
    messages = [{"role": "user", "content": "fail midway"}]
    got = []
    stream = client.messages.create(model="pawl", max_tokens=9, messages=messages, stream=True)
    with pytest.raises(anthropic.APIStatusError) as caught:
        got.extend(stream)
    assert caught.value.type == "api_error"
    assert got[-1].type == "content_block_delta"
    assert server.rows(got[0].message.id)[0].status == "error"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [*HELLO, {"role": "assistant", "content": "so"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages"),
        ({"stop": "a"}, "stop"),
        ({"stop_sequences": ["a"] * 5}, "stop_sequences"),
        ({"temperature": 9}, "temperature"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "thinking"),
        ({"thinking": {"type": "deep"}}, "thinking"),
        ({"tools": [{"name": "a b", "input_schema": {}}]}, "tools"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools"),
        ({"mcp_servers": [{"url": "a"}]}, "mcp_servers"),
    ],
)
def test_what_cant_be_done_is_refused_by_the_fields_own_name(
    server: Live, fields: dict[str, Any], param: str
) -> None:
    answer = post(server, **fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param), error


def test_null_is_absent_and_what_has_no_effect_is_named(server: Live) -> None:
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    answer = post(server, system=system, service_tier="auto", container="a", tools=[], top_k=None,
                  thinking={"type": "disabled"}, metadata={"user_id": None})  # fmt: skip
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Pawl-Ignored"] == "container, system[].content[].cache_control"
    Message.model_validate(answer.json())


def test_the_tokens_of_a_prompt_are_counted(server: Live, client: anthropic.Anthropic) -> None:
    count = client.messages.count_tokens(model="pawl", system="one two", messages=HELLO)
    assert count.input_tokens == 3
    sent = server.seen()["bodies"][-1]
    assert (sent["model"], sent["messages"][-1]) == ("base", HELLO[0])
    odd = post(server, MESSAGES + "/count_tokens", container="a")
    assert (odd.json(), odd.headers["X-Pawl-Ignored"]) == (
        {"input_tokens": 1},
        "max_tokens, container",
    )
    refused = post(server, MESSAGES + "/count_tokens", model="claude")
    assert refused.json()["error"]["type"] == "not_found_error"


# -- shapes alone


def test_text_and_calls_of_tools_become_blocks() -> None:
    one = translation(tools=[WEATHER])
    assert one.chat["tools"][0]["function"]["parameters"] == WEATHER["input_schema"]

    def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
        return {"index": index, "function": {"arguments": arguments, "name": more.get("name")},
                "id": more.get("id")}  # fmt: skip

    events = one.take({**chunk(role="assistant", content=""), "usage": {"prompt_tokens": 3}})
    events += one.take(chunk(content="Let me see."))
    events += one.take(chunk(tool_calls=[call(0, "", id="a", name="weather")]))
    events += one.take(chunk(tool_calls=[call(0, '{"city": '), call(0, '"Oslo"}')]))
    events += one.take(chunk("tool_calls", tool_calls=[call(1, "{}", id="b", name="time")]))
    events += one.end()
    assert checked(events) == [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    answer = Message.model_validate(one.body())
    assert [block.type for block in answer.content] == ["text", "tool_use", "tool_use"]
    assert answer.content[1].input == {"city": "Oslo"}
    deep = translation(tools=[WEATHER])
    deep.take(chunk(tool_calls=[call(0, "[" * 5000, id="a", name="weather")]))
    deep.end()
    assert Message.model_validate(deep.body()).content[0].input == {}  # as one that was cut off


def test_results_of_tools_become_messages_of_a_chat() -> None:
    messages = [
        *HELLO,
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "Let me see."},
            {"type": "tool_use", "id": "a", "name": "weather", "input": {"city": None}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "a",
             "content": [{"type": "text", "text": "rain"}]},
            {"type": "text", "text": "and?"}]},
    ]  # fmt: skip
    choice = {"type": "any", "disable_parallel_tool_use": True}
    one = translation(messages=messages, tool_choice=choice)
    chat, roles = one.chat, ["user", "assistant", "tool", "user"]
    assert [message["role"] for message in chat["messages"]] == roles
    (call,) = chat["messages"][1]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": None}
    assert chat["messages"][2]["tool_call_id"] == "a"
    assert (chat["tool_choice"], chat["parallel_tool_calls"]) == ("required", False)
    assert one.ignored == ["messages[].content[].thinking"]
    assert chat["messages"][2]["content"] == "rain"
    messages[1]["content"].pop(1)
    messages[2]["content"][0]["content"] = []
    chat = translation(messages=messages).chat
    assert "content" not in chat["messages"][1]
    assert chat["messages"][2]["content"] == ""  # of a tool that said nothing


@pytest.mark.parametrize(
    ("last", "max_tokens", "n_tokens", "reason"),
    [
        (chunk("stop", content="a"), 99, 9, "end_turn"),
        (chunk("stop", "END", content="a"), 99, 9, "stop_sequence"),
        (chunk("stop", 2, content="a"), 99, 9, "end_turn"),
        (chunk("length", content="a"), 99, 99, "max_tokens"),
        (chunk("length", content="a"), 99, 12, "model_context_window_exceeded"),
        (chunk("length", content="a"), 99, None, "max_tokens"),
        (chunk("length", content="a"), 4096, 12, "model_context_window_exceeded"),
        (chunk("length", content="a"), 4096, 11, "max_tokens"),  # the version's, or the server's
    ],
)
def test_why_an_answer_stopped(
    last: dict[str, Any], max_tokens: int, n_tokens: int | None, reason: str
) -> None:
    one = translation(max_tokens=max_tokens)
    assert ("max_tokens" in one.chat) is (max_tokens < 512)
    one.take(last)
    if n_tokens:
        one.take({"choices": [], "usage": {"prompt_tokens": 500, "completion_tokens": n_tokens}})
    one.end()
    answer = Message.model_validate(one.body())
    assert answer.stop_reason == reason
    assert answer.stop_sequence == ("END" if reason == "stop_sequence" else None)


def test_an_empty_answer_has_an_empty_text() -> None:
    one = translation()
    events = [*one.take(chunk("stop", content="")), *one.end()]
    assert checked(events) == ["message_start", "content_block_start", "content_block_stop",
                               "message_delta", "message_stop"]  # fmt: skip
    assert Message.model_validate(one.body()).content[0].text == ""
