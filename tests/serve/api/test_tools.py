"""Tools: what of them passes to the engine, what is refused, and what is kept of their calls."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from pawl.base_checks import BaseCheck
from pawl.errors import PawlError
from pawl.settings import Settings
from pawl.tool_support import ToolSupport
from serve.api.requests import ChatRequest, TextRequest, parse_request
from tests.serve.live import FAKE_BASE, FAKE_TOOL_BASE, Live, live

CHAT = "/v1/chat/completions"
HELLO: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
        "additionalProperties": False}  # fmt: skip
NAMED: dict[str, Any] = {"type": "function", "function": {"name": "add"}}


def tool(name: str = "look_up", **function: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": CITY, **function}}


def taken(base: Any = FAKE_TOOL_BASE, **body: Any) -> Any:
    body = {"model": "pawl", "messages": HELLO, **body}
    return parse_request(json.dumps(body).encode(), ChatRequest, base)


def refusal(base: Any = FAKE_TOOL_BASE, **body: Any) -> PawlError:
    with pytest.raises(PawlError) as caught:
        taken(base, **body)
    return caught.value


def test_tools_are_passed_on_and_recorded_in_the_one_form_that_the_template_sees() -> None:
    bare = {"type": "function", "function": {"name": "add", "parameters": None, "strict": True}}
    request = taken(tools=[tool(description="Finds."), bare], parallel_tool_calls=False)
    sent = [
        {"type": "function", "function": {"name": "look_up", "description": "Finds.",
                                          "parameters": CITY}},
        {"type": "function", "function": {"name": "add", "description": "", "parameters": {
            "type": "object", "properties": {}}}},
    ]  # fmt: skip
    assert request.for_engine()["tools"] == request.sampling()["tools"] == sent
    assert [list(each["function"]) for each in request.for_engine()["tools"]] \
        == [["name", "description", "parameters"]] * 2  # fmt: skip
    assert request.for_engine()["parallel_tool_calls"] is False
    assert "tool_choice" not in request.for_engine()
    assert request.ignored == ("tools[].function.strict",)  # a call is not forced


@pytest.mark.parametrize("choice", ["auto", "none", "required", NAMED])
def test_which_tool_is_to_be_called(choice: Any) -> None:
    request = taken(tools=[tool(strict=True), tool("add")], tool_choice=choice)
    assert request.for_engine()["tool_choice"] == choice == request.sampling()["tool_choice"]
    assert request.is_forced is (choice not in ("auto", "none"))
    assert bool(request.ignored) is not request.is_forced


@pytest.mark.parametrize(
    "body", [{"tools": []}, {"tools": None, "tool_choice": "none"}, {"tool_choice": "auto"},
             {"parallel_tool_calls": False}, {"tools": [], "tool_choice": None}],
)  # fmt: skip
@pytest.mark.parametrize("base", [FAKE_BASE, FAKE_TOOL_BASE], ids=["without", "with"])
def test_what_asks_for_no_tools_changes_nothing(base: Any, body: dict[str, Any]) -> None:
    request = taken(base, **body)
    assert request.for_engine() == {"messages": HELLO}
    assert request.sampling() == {}
    assert request.ignored == ()


DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"properties": {"a": DEEP}}
LOOP = {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]}


@pytest.mark.parametrize(
    ("param", "body"),
    [
        ("tools", {"tools": [tool(), tool()]}),
        ("tools", {"tools": "look_up"}), ("tools", {"tools": ["look_up"]}),
        ("tools", {"tools": [{"type": "web_search"}]}), ("tools", {"tools": [{}]}),
        ("tools", {"tools": [tool("a b")]}), ("tools", {"tools": [tool("a" * 129)]}),
        ("tools", {"tools": [tool(f"f{i}") for i in range(129)]}),
        ("tools", {"tools": [tool(parameters={"type": "string"})]}),
        ("tools", {"tools": [tool(parameters="text")]}),
        ("tools", {"tools": [tool(parameters=DEEP)]}),
        ("tools", {"tools": [tool(description="x" * 400_000)]}),
        ("tools", {"tools": [tool(parameters={"not": {}})], "tool_choice": "required"}),
        ("tools", {"tools": [tool("add", parameters=LOOP)], "tool_choice": NAMED}),
        ("tools", {"tools": [tool(parameters={"properties": {"a": {"enum": ["x" * 90_000]}}}),
                             tool("b", parameters={"properties": {"a": {"const": "x" * 20_000}}})],
                   "tool_choice": "required"}),
        ("tools", {"tools": [tool(parameters={**CITY, "$defs": {"a": {"type": "null"}}}),
                             tool("b", parameters={**CITY, "$defs": {"a": {"type": "string"}}})],
                   "tool_choice": "required"}),
        ("tool_choice", {"tools": [tool()], "tool_choice": NAMED}),
        ("tool_choice", {"tools": [tool()], "tool_choice": "always"}),
        ("tool_choice", {"tools": [tool()], "tool_choice": {"type": "allowed_tools"}}),
        ("tool_choice", {"tool_choice": "required"}),
        ("parallel_tool_calls", {"tools": [tool()], "parallel_tool_calls": "no"}),
        ("response_format", {"tools": [tool()], "response_format": {"type": "json_object"}}),
        ("min_tokens", {"tools": [tool()], "tool_choice": "required", "min_tokens": 3}),
        ("functions", {"functions": [{"name": "f"}]}),
        ("function_call", {"function_call": {"name": "f"}}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_can_not_be_called_is_refused(param: str, body: dict[str, Any]) -> None:
    error = refusal(**body)
    assert error.param == param
    assert param in str(error) or "tool" in str(error)


def test_parameters_that_only_describe_are_not_compiled() -> None:
    odd = {"type": "object", "not": {"required": ["a"]}, "oneOf": [{"title": "a"}],
           "properties": {"a": {"type": ["string", "null"], "default": None,
                                "format": "colour"}}}  # fmt: skip
    (sent,) = taken(tools=[tool(parameters=odd)]).for_engine()["tools"]
    assert sent["function"]["parameters"] == odd


def test_what_must_be_called_loses_what_a_grammar_can_not_follow() -> None:
    odd = {"x-guidance": {"whitespace_flexible": True}, "type": "object", "required": ["a"],
           "properties": {"a": {"oneOf": [{"type": "integer"}, {"type": "null"}]},
                          "b": {"type": "string", "format": "colour"}}}  # fmt: skip
    for choice in ("required", {"type": "function", "function": {"name": "look_up"}}):
        (sent,) = taken(tools=[tool(parameters=odd)], tool_choice=choice).for_engine()["tools"]
        assert sent["function"]["parameters"] == {
            "type": "object", "required": ["a"],
            "properties": {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
                           "b": {"type": "string"}},
        }  # fmt: skip


def test_a_format_of_the_text_is_dropped_where_a_call_is_forced() -> None:
    form = {"type": "json_object"}
    forced = taken(tools=[tool()], tool_choice="required", response_format=form)
    assert "response_format" not in forced.for_engine()
    assert forced.ignored == ("response_format",)
    text = taken(tools=[tool()], tool_choice="none", response_format=form)
    assert text.for_engine()["response_format"] == form


CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}


def test_calls_and_answers_of_the_history_are_asked_and_recorded_alike() -> None:
    call = {**CALL, "function": {"name": "f", "arguments": {"a": 1}}, "index": 0, "extra": "x"}
    history = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "name": "f",
         "content": [{"type": "text", "text": "4"}, {"type": "text", "text": "5"}]},
        {"role": "assistant", "content": "It is 4.", "tool_calls": []},
    ]  # fmt: skip
    request = taken(messages=history)
    assert request.prompts() == [[
        *HELLO,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "4\n5", "tool_call_id": "c1", "name": "f"},
        {"role": "assistant", "content": "It is 4."},
    ]]  # fmt: skip
    sent = request.for_engine()["messages"]
    assert sent[2]["content"] == history[2]["content"]
    assert [sent[i] for i in (0, 1, 3)] == [request.prompts()[0][i] for i in (0, 1, 3)]
    assert request.ignored == ("messages[].tool_calls[].extra",)


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "tool_calls": [{}]}, {"role": "assistant", "tool_calls": "f"},
        {"role": "assistant", "tool_calls": [{**CALL, "type": "custom"}]},
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "a b"}}]},
        {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": 3}}]},
        {"role": "assistant", "tool_calls": [CALL] * 129}, {"role": "assistant"},
        {"role": "assistant", "tool_calls": []}, {"role": "tool", "tool_call_id": "c1"},
        {"role": "tool", "content": "x", "tool_call_id": 3}, {"role": "user", "tool_calls": [CALL]},
        {"role": "function", "name": "f", "content": "x"},
        {"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": "{}"}},
    ],
)  # fmt: skip
def test_a_history_that_can_not_be_read(message: dict[str, Any]) -> None:
    error = refusal(messages=[*HELLO, message])
    assert error.param == "messages"
    assert "messages[1]" in str(error)


def test_a_base_that_can_not_be_made_to_call_says_so() -> None:
    base = replace(FAKE_BASE, check=BaseCheck(tools=ToolSupport("glm45", forces=False)))
    for choice in ("required", NAMED):
        error = refusal(base, tools=[tool("add")], tool_choice=choice)
        assert (error.param, error.code) == ("tool_choice", "unsupported_parameter")
        assert "fake" in error.why
    assert taken(base, tools=[tool()], tool_choice="auto").for_engine()["tools"]


def test_plain_completions_have_no_tools() -> None:
    body = json.dumps({"model": "pawl", "prompt": "a", "tools": [tool()]}).encode()
    with pytest.raises(PawlError, match="fake calls tools in chats") as caught:
        parse_request(body, TextRequest, FAKE_TOOL_BASE)
    assert caught.value.param == "tools"


# -- through the gateway


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(Settings(state_dir=tmp_path_factory.mktemp("state")), base=FAKE_TOOL_BASE) as one:
        yield one


def ask(server: Live, question: str, **more: Any) -> httpx.Response:
    body = {"model": "pawl", "messages": [{"role": "user", "content": question}],
            "tools": [tool(), tool("add")], **more}  # fmt: skip
    return httpx.post(server.url + CHAT, json=body)


@pytest.mark.parametrize(
    ("more", "names", "finish"),
    [
        ({}, ["look_up", "add"], "tool_calls"), ({"parallel_tool_calls": False}, ["look_up"],
                                                 "tool_calls"),
        ({"tool_choice": "required"}, ["look_up"], "tool_calls"),
        ({"tool_choice": NAMED}, ["add"], "stop"), ({"tool_choice": "none"}, [], "stop"),
    ],
    ids=["auto", "one", "required", "named", "none"],
)  # fmt: skip
def test_calls_reach_client_and_store_alike_streamed_and_whole(
    server: Live, more: dict[str, Any], names: list[str], finish: str
) -> None:
    question = "call look_up add ⟨漢字⟩"
    names = (
        names if "tool_choice" in more else (["look_up", "add", "⟨漢字⟩"] if not more else names)
    )
    answers = []
    with openai.OpenAI(base_url=server.url + "/v1", api_key="any", max_retries=0) as client:
        asked: dict[str, Any] = {"model": "pawl", "tools": [tool(), tool("add")], **more,
                                 "messages": [{"role": "user", "content": question}]}  # fmt: skip
        whole = client.chat.completions.create(**asked)
        answers.append(
            (
                whole.id,
                whole.choices[0].finish_reason,
                [call.model_dump() for call in whole.choices[0].message.tool_calls or []],
            )
        )
        with client.chat.completions.stream(**asked) as stream:
            final = stream.get_final_completion()
        calls = [call.model_dump() for call in final.choices[0].message.tool_calls or []]
        answers.append((final.id, final.choices[0].finish_reason, calls))
    for completion_id, reason, got in answers:
        (row,) = server.rows(completion_id)
        assert (reason, row.finish_reason, row.status) == (finish, finish, "complete")
        assert [call["function"]["name"] for call in row.tool_calls] == names
        for call, client_call in zip(row.tool_calls, got, strict=True):
            assert json.loads(call["function"]["arguments"]) == {"heard": question}
            assert call["function"]["arguments"] == client_call["function"]["arguments"]
            assert call["id"] == client_call["id"]
        assert bool(row.completion) is not bool(names)
        assert row.tools == server.seen()["bodies"][-1]["tools"]


def test_every_choice_has_its_own_calls(server: Live) -> None:
    for stream in (False, True):
        answer = ask(server, "call add", n=2, stream=stream)
        rows = server.rows(answer.headers["X-Pawl-Completion-Id"], 2)
        assert [[call["function"]["name"] for call in row.tool_calls] for row in rows] \
            == [["add"], ["add"]]  # fmt: skip


def test_a_conversation_with_calls_is_threaded_and_takes_feedback(server: Live) -> None:
    head = {"X-Pawl-Conversation": "agent", "X-Pawl-Rater": "zoe"}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "call look_up"}]
    body: dict[str, Any] = {"model": "pawl", "messages": messages, "tools": [tool()]}
    first = httpx.post(server.url + CHAT, json=body, headers=head).json()
    answer = first["choices"][0]["message"]
    messages += [answer, {"role": "tool", "content": "4",
                          "tool_call_id": answer["tool_calls"][0]["id"]}]  # fmt: skip
    second = httpx.post(server.url + CHAT, json=body, headers=head).json()
    assert second["choices"][0]["message"]["content"] == "base heard 1 characters."
    for completion_id in (first["id"], second["id"]):
        said = httpx.post(server.url + "/v1/feedback", headers=head,
                          json={"completion_id": completion_id, "thumb": "up"})  # fmt: skip
        assert said.status_code == 200, said.text
    found = httpx.get(server.url + "/v1/conversations/agent", headers=head).json()["messages"]
    assert [message["role"] for message in found] == ["user", "assistant", "tool", "assistant"]
    assert found[1]["tool_calls"] == answer["tool_calls"]
    assert found[2]["tool_call_id"] == answer["tool_calls"][0]["id"]
    assert [message.get("completion_id") for message in found] == [
        None,
        first["id"],
        None,
        second["id"],
    ]
    assert found[1]["feedback"]["thumb"] == found[3]["feedback"]["thumb"] == "up"


def test_the_refusal_names_the_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    with live(Settings(state_dir=tmp_path_factory.mktemp("state")), wait=False) as one:
        answer = ask(one, "hello")
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("unsupported_parameter", "tools")
        assert "fake was not taught to call tools" in error["message"]
