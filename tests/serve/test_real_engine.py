"""The gateway before the real vLLM: base and two adapters, streams, hang-ups, deaths."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from pawl.files import read_json
from serve.engine import session as processes
from tests.serve.live import Live, eventually

pytestmark = pytest.mark.engine
CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"


def ask(one: Live, model: str, **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello there"}],
            "max_tokens": 12, "temperature": 0, **more}  # fmt: skip
    return httpx.post(one.url + CHAT, json=body, timeout=60)


def said(answer: httpx.Response) -> str:
    return str(answer.json()["choices"][0]["message"]["content"])


def n_running(one: Live) -> float:
    """Requests that vLLM has in its hands."""
    text = httpx.get(one.engine.base_url + "/metrics", timeout=30).text
    marks = ("vllm:num_requests_running{", "vllm:num_requests_waiting{")
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(marks))


def test_base_and_two_adapters_answer_side_by_side_each_in_its_own_words(real: Live) -> None:
    with ThreadPoolExecutor(12) as pool:
        names = ["base", "pawl@1", "pawl@2"] * 4
        answers = list(pool.map(lambda name: ask(real, name), names))
    texts = {name: {said(answer) for asked, answer in zip(names, answers, strict=True)
                    if asked == name} for name in set(names)}  # fmt: skip
    assert [len(one) for one in texts.values()] == [1, 1, 1]
    assert len(set.union(*texts.values())) == 3
    for name, answer in zip(names, answers, strict=True):
        (row,) = real.rows(answer.headers["X-Pawl-Completion-Id"])
        assert answer.json()["model"] == row.version == answer.headers["X-Pawl-Version"] == name
        assert answer.json()["id"] == row.completion_id
        assert row.completion == said(answer)
        assert row.n_completion_tokens == 12


def test_vllm_takes_requests_of_its_gateway_only(real: Live) -> None:
    chat = {"model": "base", "messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
    lora = {"lora_name": "evil", "lora_path": "/nowhere"}
    for path, body in ((CHAT, chat), ("/v1/load_lora_adapter", lora), ("/invocations", chat)):
        for headers in ({}, {"Authorization": "Bearer guess"}):
            url = real.engine.base_url + path
            assert httpx.post(url, json=body, headers=headers, timeout=60).status_code == 401
    assert ask(real, "base").status_code == 200


def test_a_stream_says_what_the_whole_answer_says_and_both_are_recorded(real: Live) -> None:
    whole = said(ask(real, "pawl@1"))
    streamed = ask(real, "pawl@1", stream=True)
    lines = [one.removeprefix("data: ") for one in streamed.text.strip().split("\n\n")]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(one) for one in lines[:-1]]
    assert "".join(one["choices"][0]["delta"].get("content", "") for one in chunks) == whole
    (row,) = real.rows(streamed.headers["X-Pawl-Completion-Id"])
    assert row.completion == whole
    assert (row.n_completion_tokens, row.finish_reason) == (12, "length")
    assert {one["id"] for one in chunks} == {row.completion_id}


def test_the_unchanged_openai_client(real: Live) -> None:
    messages: Any = [{"role": "user", "content": "Hello there"}]
    with openai.OpenAI(base_url=real.url + "/v1", api_key="any", max_retries=0) as client:
        assert {one.id for one in client.models.list()} == {"pawl", "base", "pawl@1", "pawl@2"}
        whole = client.chat.completions.create(
            model="pawl@2", messages=messages, max_tokens=12, temperature=0, logprobs=True,
            top_logprobs=2,
        )  # fmt: skip
        assert whole.choices[0].message.content == said(ask(real, "pawl@2"))
        assert whole.choices[0].logprobs is not None
        parts = client.chat.completions.create(
            model="pawl@2", messages=messages, max_tokens=12, temperature=0, stream=True
        )
        assert "".join(one.choices[0].delta.content or "" for one in parts) \
            == whole.choices[0].message.content  # fmt: skip
        text = client.completions.create(model="base", prompt="Once", max_tokens=5, n=2)
        assert [one.index for one in text.choices] == [0, 1]
        assert len(real.rows(text.id, 2)) == 2
        with pytest.raises(openai.NotFoundError, match="there are pawl, base, pawl@1, pawl@2"):
            client.chat.completions.create(model="gpt-4", messages=messages)
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(
                model="base", messages=[{"role": "user", "content": "a" * 600}])  # fmt: skip
        assert caught.value.code == "context_length_exceeded"


def test_every_allowed_field_is_taken_by_the_engine(real: Live) -> None:
    fields: dict[str, Any] = {
        "temperature": 0.7, "top_p": 0.9, "n": 2, "max_completion_tokens": 6, "seed": 3,
        "presence_penalty": 0.5, "frequency_penalty": -0.5, "stop": ["\n"], "user": "ann",
        "logit_bias": {"70": -100}, "logprobs": True, "top_logprobs": 3,
        "response_format": {"type": "json_object"}, "metadata": {"k": "v"}, "top_k": 40,
        "min_p": 0.01, "repetition_penalty": 1.1, "stop_token_ids": [70, 71], "ignore_eos": False,
        "include_stop_str_in_output": True, "skip_special_tokens": False,
        "spaces_between_special_tokens": False, "chat_template_kwargs": {"enable_thinking": True},
    }  # fmt: skip
    answer = ask(real, "base", **fields)
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["choices"]) == 2


HOT = {"temperature": 1.5}  # at 0, vLLM leaves out top_p, top_k and min_p
EXTREMES: list[dict[str, Any]] = [
    {**HOT, "top_k": -1}, {**HOT, "top_k": 0}, {**HOT, "top_k": 1}, {**HOT, "top_k": 10_000_000},
    {**HOT, "min_p": 0}, {**HOT, "min_p": 1}, {**HOT, "top_p": 1e-6}, {"temperature": 1e-300},
    {**HOT, "repetition_penalty": 0.1}, {**HOT, "repetition_penalty": 10},
    {"temperature": 1e-2, "repetition_penalty": 0.1, "presence_penalty": -2,
     "frequency_penalty": -2, "top_k": 5, "min_p": 0.5, "top_p": 0.1},
    {"temperature": 2, "repetition_penalty": 10, "presence_penalty": 2, "frequency_penalty": 2},
    {**HOT, "min_tokens": 12}, {**HOT, "min_tokens": 12, "ignore_eos": True},
    {**HOT, "min_tokens": 12, "stop_token_ids": list(range(64))},
    {**HOT, "logit_bias": {str(i): -100 for i in range(264)}},
    {"stop": ["a" * 1000] * 4}, {"seed": -(2**63)}, {"seed": 2**63 - 1},
    {"chat_template_kwargs": {f"a{i}": "x" * 200 for i in range(16)}},
    {"chat_template_kwargs": {"enable_thinking": 0.5, "date_string": 3, "builtin_tools": "x"}},
    {"response_format": {"type": "json_object"}, "ignore_eos": True},
    {"response_format": {"type": "json_object"}, "logit_bias": {"2": -100}},
    {"response_format": {"type": "json_object"}, **HOT, "min_p": 1, "top_k": 1,
     "stop_token_ids": [2]},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": {
        "properties": {f"p{i}": {"type": "string"} for i in range(400)}}}}},
]  # fmt: skip


def test_the_bounds_of_every_field_leave_the_engine_alive(real: Live) -> None:
    before = said(ask(real, "pawl@1"))
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: ask(real, "pawl@1", **body), EXTREMES * 2))
    for body, answer in zip(EXTREMES * 2, answers, strict=True):
        assert answer.status_code == 200, (body, answer.text)
    assert said(ask(real, "pawl@1")) == before
    assert real.engine.n_restarts == 0


def test_what_the_engine_alone_can_refuse_is_told_in_plain_words(real: Live) -> None:
    for more in ({"stop_token_ids": [10**9]}, {"logit_bias": {"999999": 1}}):
        answer = ask(real, "base", **more)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == next(iter(more))
    body = {"model": "base", "prompt": [10**6], "max_tokens": 1}
    answer = httpx.post(real.url + TEXT, json=body, timeout=60)
    assert answer.status_code == 400, answer.text
    long = ask(real, "base", max_tokens=100_000).json()["error"]
    assert (long["code"], long["param"]) == ("context_length_exceeded", "max_tokens")
    assert long["message"].startswith("This model's maximum context length is 512 tokens. ")
    assert real.engine.n_restarts == 0


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_by_a_schema_is_json_of_it_without_blanks(real: Live, stream: bool) -> None:
    schema = {
        "type": "object", "required": ["city", "n"], "additionalProperties": False,
        "properties": {"city": {"enum": ["Rome", "Oslo"]}, "n": {"type": "integer", "minimum": 3,
                                                                "maximum": 5}},
    }  # fmt: skip
    answer = ask(
        real, "base", max_tokens=100, stream=stream,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )  # fmt: skip
    (row,) = real.rows(answer.headers["X-Pawl-Completion-Id"])
    value = json.loads(row.completion)
    assert value["city"] in ("Rome", "Oslo")
    assert value["n"] in (3, 4, 5)
    assert " " not in row.completion
    assert row.finish_reason == "stop"
    assert row.sampling["response_format"]["json_schema"]["schema"] == schema


def test_prompts_of_token_ids_are_continued_as_their_text_is(real: Live) -> None:
    def ask_text(prompt: Any) -> httpx.Response:
        body = {"model": "base", "prompt": prompt, "max_tokens": 6, "temperature": 0,
                "echo": True}  # fmt: skip
        return httpx.post(real.url + TEXT, json=body, timeout=60)

    text = ask_text("Once").json()["choices"][0]["text"]
    ids = json.loads((real.gateway.base.model_dir / "tokenizer.json").read_text())["model"]["vocab"]
    prompt = [ids[letter] for letter in "Once"]
    one, many = ask_text(prompt), ask_text([prompt, prompt])
    assert one.json()["choices"][0]["text"] == text
    assert [choice["text"] for choice in many.json()["choices"]] == [text, text]
    rows = real.rows(many.headers["X-Pawl-Completion-Id"], 2)
    assert [json.loads(row.messages[0]["content"]) for row in rows] == [prompt, prompt]


def test_usage_comes_with_every_event_and_the_length_with_every_model(real: Live) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    answer = ask(real, "base", stream=True, stream_options=options)
    lines = [one.removeprefix("data: ") for one in answer.text.strip().split("\n\n")]
    assert all("usage" in json.loads(line) for line in lines[:-1])
    cards = httpx.get(real.url + "/v1/models").json()["data"]
    assert {card["max_model_len"] for card in cards} == {512}


def test_echo_with_logprobs_from_eight_clients_leaves_the_engine_alive(real: Live) -> None:
    before = said(ask(real, "pawl@1"))
    bodies: list[dict[str, Any]] = [
        {"model": "base", "prompt": "Hello", "max_tokens": 1, "echo": True, "logprobs": 1},
        {"model": "pawl@1", "prompt": "Hello", "max_tokens": 1, "prompt_logprobs": 1},
    ] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda one: httpx.post(real.url + TEXT, json=one), bodies))
    assert [one.status_code for one in answers] == [400] * 8
    assert all("stop the whole engine" in one.text for one in answers)
    assert said(ask(real, "pawl@1")) == before
    assert real.engine.n_restarts == 0


@pytest.mark.parametrize("stream", [True, False])
def test_a_hang_up_frees_the_engine(real: Live, stream: bool) -> None:
    n = 4  # answers at once, so that they last for seconds on a fast machine too
    body = {"model": "pawl@1", "messages": [{"role": "user", "content": "Go on"}], "n": n,
            "stream": stream, "max_tokens": 480, "ignore_eos": True,
            "logprobs": True, "top_logprobs": 20}  # fmt: skip
    n_before = len(real.store.completions())
    if stream:
        with httpx.stream("POST", real.url + CHAT, json=body, timeout=60) as answer:
            next(answer.iter_lines())  # the engine is at it, with hundreds of tokens to go
    else:
        with contextlib.closing(HTTPConnection(urlsplit(real.url).netloc)) as connection:
            headers = {"Content-Type": "application/json"}
            connection.request("POST", CHAT, json.dumps(body), headers)
            eventually(lambda: n_running(real) > 0, "the engine is at it")
    eventually(lambda: n_running(real) == 0, "the engine has dropped the request")
    rows = eventually(lambda: real.store.completions()[n_before:], "they are recorded")
    assert [(row.status, row.version) for row in rows] == [("cancelled", "pawl@1")] * n


def test_after_its_core_was_killed_the_engine_comes_back_with_its_adapters(real: Live) -> None:
    before = {name: said(ask(real, name)) for name in ("base", "pawl@1", "pawl@2")}
    session = int(read_json(real.engine.log_path.parent.parent / "engine.json")["pid"])
    os.kill(max(processes.members(session)), signal.SIGKILL)  # the last one started
    eventually(lambda: real.engine.state == "restarting", "the death is seen", 60)
    refused = ask(real, "base")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    real.call(real.engine.wait_ready())
    assert real.engine.n_restarts == 1
    assert {name: said(ask(real, name)) for name in before} == before
    assert processes.members(session) == []
