"""The gateway in front of a small working engine: names, bytes, records, hang-ups, refusals.

Over 400 lines: every way in which an answer may end is tried on one server.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

from pawl.client import Pawl
from pawl.schemas import Completion
from pawl.settings import Settings
from serve.api.errors import START_SECONDS
from tests.serve.live import Live, eventually, fake_command, live, promotion

CHAT = "/v1/chat/completions"
FEEDBACK = "/v1/feedback"


def chat(content: str = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "pawl", "messages": [{"role": "user", "content": content}], **more}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(Settings(state_dir=tmp_path_factory.mktemp("state"))) as one:
        one.call(one.engine.load_adapter("pawl@1", Path("/adapters/pawl@1")))
        yield one


def events(text: str) -> list[str]:
    return [one.removeprefix("data: ") for one in text.strip().split("\n\n")]


def test_an_answer_names_its_version_and_is_recorded_with_all_that_shaped_it(server: Live) -> None:
    body = chat("hello", temperature=0.5, seed=7, user="ann")
    answer = httpx.post(server.url + CHAT, json=body)
    assert answer.status_code == 200
    value = answer.json()
    assert value["model"] == "base" == answer.headers["X-Pawl-Version"]
    assert value["id"] == answer.headers["X-Pawl-Completion-Id"]
    assert answer.headers["X-Pawl-Base"] == "fake sha256:fake"
    row = server.store.get_completion(value["id"])
    assert row.completion == value["choices"][0]["message"]["content"] == "base heard 5 characters."
    assert row.messages == [{"role": "user", "content": "hello"}]
    assert row.sampling == {"temperature": 0.5, "seed": 7}
    assert row.request_id == answer.headers["X-Request-Id"]
    assert (row.asked_model, row.version, row.base_fingerprint) == ("pawl", "base", "sha256:fake")
    assert (row.rater_id, row.status, row.finish_reason) == ("ann", "complete", "stop")
    assert (row.n_prompt_tokens, row.n_completion_tokens, row.streamed) == (7, 5, False)


def test_a_stream_goes_through_and_is_on_disk_before_done_is_read(server: Live) -> None:
    with httpx.stream("POST", server.url + CHAT, json=chat(stream=True)) as answer:
        completion_id = answer.headers["X-Pawl-Completion-Id"]
        lines = []
        for line in answer.iter_lines():
            if line == "data: [DONE]":
                row = server.store.get_completion(completion_id)
            elif line:
                lines.append(json.loads(line.removeprefix("data: ")))
    text = "".join(one["choices"][0]["delta"]["content"] for one in lines)
    assert row.completion == text == "base heard 5 characters."
    assert {one["id"] for one in lines} == {completion_id}
    assert (row.streamed, row.n_prompt_tokens, row.n_completion_tokens) == (True, 7, 5)
    assert row.first_token_seconds <= row.total_seconds


@pytest.mark.parametrize("asked", [True, False])
def test_the_usage_chunk_comes_only_to_who_asked_for_it(server: Live, asked: bool) -> None:
    body = chat(stream=True, **({"stream_options": {"include_usage": True}} if asked else {}))
    got = events(httpx.post(server.url + CHAT, json=body).text)
    assert got[-1] == "[DONE]"
    assert ("usage" in json.loads(got[-2])) is asked
    assert len(got) == (7 if asked else 6)


def test_every_choice_has_its_row(server: Live) -> None:
    for stream in (False, True):
        answer = httpx.post(server.url + CHAT, json=chat(n=3, stream=stream, temperature=1))
        rows = server.rows(answer.headers["X-Pawl-Completion-Id"], 3)
        assert [row.choice_index for row in rows] == [0, 1, 2]
        assert {row.completion for row in rows} == {"base heard 5 characters."}


def test_plain_completions(server: Live) -> None:
    answer = httpx.post(
        server.url + "/v1/completions",
        json={"model": "base", "prompt": "once upon", "stream": True},
    )
    (row,) = server.rows(answer.headers["X-Pawl-Completion-Id"])
    assert row.completion_id.startswith("cmpl-")
    assert row.messages == [{"role": "prompt", "content": "once upon"}]
    assert row.completion == "base heard 9 characters."


def test_the_champions_name_follows_the_pointer_and_never_hides_a_missing_one(
    tmp_path: Path,
) -> None:
    with live(Settings(state_dir=tmp_path)) as one:
        one.call(one.engine.load_adapter("pawl@1", tmp_path / "pawl@1"))
        one.store.append_promotion(promotion("pawl@1")).result()
        answer = httpx.post(one.url + CHAT, json=chat())
        assert answer.json()["model"] == "pawl@1" == answer.headers["X-Pawl-Version"]
        assert answer.json()["choices"][0]["message"]["content"].startswith("pawl@1 heard")
        one.store.append_promotion(promotion("pawl@2", "pawl@1")).result()
        missing = httpx.post(one.url + CHAT, json=chat())
        assert missing.status_code == 503
        assert missing.json()["error"]["code"] == "champion_not_loaded"
        assert "pawl rollback" in missing.json()["error"]["message"]
        assert httpx.get(one.url + "/health").json()["champion_served"] is False
        named = httpx.post(one.url + CHAT, json={**chat(), "model": "pawl@1"})
        assert named.json()["model"] == "pawl@1"


def test_conversation_and_rater(server: Live) -> None:
    def row(body: dict[str, Any], **headers: str) -> Completion:
        answer = httpx.post(server.url + CHAT, json=body, headers=headers)
        return server.rows(answer.headers["X-Pawl-Completion-Id"])[0]

    first = row(chat("what is a pawl?"))
    later = chat("what is a pawl?")
    later["messages"] += [{"role": "assistant", "content": "a catch"},
                          {"role": "user", "content": "of what?"}]  # fmt: skip
    assert row(later).conversation_id == first.conversation_id
    assert row(chat("what is a pawl?", user="bob")).conversation_id != first.conversation_id
    named = row(chat(), **{"X-Pawl-Conversation": "c-9", "X-Pawl-Rater": "zoe"})
    assert (named.conversation_id, named.rater_id) == ("c-9", "zoe")
    keyed = row(chat(), Authorization="Bearer secret")
    assert keyed.rater_id.startswith("key-")
    assert "secret" not in keyed.rater_id
    # Anthropic's clients have a header of their own for the key.
    assert row(chat(), **{"X-Api-Key": "secret"}).rater_id == keyed.rater_id
    assert row(chat(), Authorization="bearer secret").rater_id == keyed.rater_id


def test_fields_without_effect_are_named_in_a_header(server: Live) -> None:
    body = chat(safety_identifier="a", store=True, top_k=5, tools=None)
    for stream in (False, True):
        answer = httpx.post(server.url + CHAT, json={**body, "stream": stream})
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Pawl-Ignored"] == "safety_identifier, store"
        assert server.rows(answer.headers["X-Pawl-Completion-Id"])[0].sampling == {"top_k": 5}
        assert set(server.seen()["bodies"][-1]) <= {
            "model", "messages", "top_k", "stream", "stream_options",
        }  # fmt: skip
    assert "X-Pawl-Ignored" not in httpx.post(server.url + CHAT, json=chat()).headers


def test_a_setting_makes_unknown_fields_errors(tmp_path: Path) -> None:
    with live(Settings(state_dir=tmp_path, api={"unknown_fields": "refuse"})) as one:
        answer = httpx.post(one.url + CHAT, json=chat(safety_identifier="a"))
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "unknown_parameter"
        assert httpx.post(one.url + CHAT, json=chat(tools=None, store=False)).status_code == 200


def test_usage_in_every_event_comes_to_who_asked_for_it(server: Live) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    httpx.post(server.url + CHAT, json=chat(stream=True, stream_options=options))
    assert server.seen()["bodies"][-1]["stream_options"] == options


def test_prompts_of_token_ids(server: Live) -> None:
    for prompt, recorded in (([1, 22], ["[1,22]"]), ([[1, 22], [3]], ["[1,22]", "[3]"])):
        body = {"model": "base", "prompt": prompt}
        answer = httpx.post(server.url + "/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert server.seen()["bodies"][-1]["prompt"] == prompt
        rows = server.rows(answer.headers["X-Pawl-Completion-Id"], len(recorded))
        assert [row.messages for row in rows] == [
            [{"role": "token_ids", "content": one}] for one in recorded
        ]


def test_a_body_may_be_packed(server: Live) -> None:
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    packed = gzip.compress(json.dumps(chat("hello")).encode())
    for path, raw in ((CHAT, packed), ("/v1/feedback", gzip.compress(b'{"completion_id": "x"}'))):
        answer = httpx.post(server.url + path, content=raw, headers=headers)
        assert answer.status_code == (200 if path == CHAT else 400), answer.text
    bomb = gzip.compress(b" " * 50_000_000)
    for path in (CHAT, "/v1/feedback"):
        answer = httpx.post(server.url + path, content=bomb, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    cut = httpx.post(server.url + CHAT, content=packed[:-9], headers=headers)
    assert (cut.status_code, cut.json()["error"]["code"]) == (400, "invalid_request")
    other = httpx.post(server.url + CHAT, content=packed, headers={"Content-Encoding": "br"})
    assert (other.status_code, other.json()["error"]["code"]) == (415, "unsupported_encoding")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/models", 200), ("GET", "/health", 200), ("GET", "/metrics", 200),
     ("GET", "/docs", 200), ("GET", "/v1/nowhere", 404), ("GET", CHAT, 405), ("POST", CHAT, 400),
     ("OPTIONS", CHAT, 405), ("POST", "/v1/feedback", 400), ("HEAD", "/v1/models", 200)],
)  # fmt: skip
def test_every_answer_has_a_request_id(server: Live, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, server.url + path, headers={"X-Request-Id": "mine"})
    assert (answer.status_code, answer.headers["X-Request-Id"]) == (status, "mine")


def test_models_say_how_long_a_prompt_may_be(server: Live) -> None:
    cards = httpx.get(server.url + "/v1/models").json()["data"]
    assert {card["max_model_len"] for card in cards} == {512}
    assert httpx.get(server.url + "/v1/models/pawl").json()["max_model_len"] == 512


def test_what_is_not_here_says_what_to_use_instead(server: Live) -> None:
    answer = httpx.post(server.url + "/v1/embeddings", json={"model": "pawl", "input": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "embedding model" in answer.json()["error"]["message"]


# -- hang-ups


def hang_up(server: Live, body: dict[str, Any], n_bytes: int) -> str:
    """Send a request, read ``n_bytes`` of the answer's body or more, and cut the connection.

    The completion's id is only known from the answer's head, so without one it is looked up.
    """
    raw = json.dumps(body).encode()
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as wire:
        wire.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                     + str(len(raw)).encode() + b"\r\n\r\n" + raw)  # fmt: skip
        eventually(lambda: server.seen()["n_running"] == 1, "the engine got the request")
        got = b""
        while n_bytes and len(got.partition(b"\r\n\r\n")[2]) < n_bytes:
            got += wire.recv(65536)
    return got.decode()


def test_a_prompt_that_no_context_holds_is_not_kept_when_its_client_hangs_up(
    server: Live,
) -> None:
    """The engine would have refused it, so nothing bounds how many of them there are."""
    dropped, n_before = server.seen()["n_dropped"], len(server.store.completions())
    body = chat("hold first", stream=True)
    large = {**body, "messages": [{"role": "system", "content": "a" * 20_000}, *body["messages"]]}
    for n, one in enumerate([large, large, body], start=1):
        hang_up(server, one, 0)
        eventually(lambda n=n: server.seen()["n_dropped"] == dropped + n, "the engine was told")
    rows = eventually(lambda: server.store.completions()[n_before:], "the last is recorded")
    assert [len(row.messages) for row in rows] == [1]


@pytest.mark.parametrize(
    ("body", "n_bytes", "said"),
    [
        (chat("hold first", stream=True), 0, ""),
        (chat("hold midway", stream=True), 200, "base heard "),
        (chat("hold first"), 0, ""),
    ],
    ids=["before the first token", "in mid-stream", "not streamed"],
)
def test_a_hang_up_reaches_the_engine_and_is_recorded(
    server: Live, body: dict[str, Any], n_bytes: int, said: str
) -> None:
    dropped = server.seen()["n_dropped"]
    n_before = len(server.store.completions())
    hang_up(server, body, n_bytes)
    eventually(lambda: server.seen()["n_dropped"] == dropped + 1, "the engine was told")
    assert server.seen()["n_running"] == 0
    rows = eventually(lambda: server.store.completions()[n_before:],
                      "the hang-up is recorded")  # fmt: skip
    assert [row.status for row in rows] == ["cancelled"]
    assert rows[0].completion == said
    eventually(lambda: not server.in_flight.counts, "nothing is in flight")


def test_versions_in_flight_are_counted_and_drain(server: Live) -> None:
    async def drained() -> bool:
        await server.in_flight.drained("pawl@1")
        return True

    body = {**chat("hold midway", stream=True), "model": "pawl@1"}
    with httpx.stream("POST", server.url + CHAT, json=body) as answer:
        lines = answer.iter_lines()  # named: the connection ends with it
        next(lines)
        assert server.in_flight.counts["pawl@1"] == 1
        waiting = asyncio.run_coroutine_threadsafe(drained(), server.loop)
        assert not waiting.done()
    assert waiting.result(10)


# -- an engine or a store that fails


def test_a_stream_that_the_engine_breaks_off_ends_with_an_error_and_without_done(
    server: Live,
) -> None:
    answer = httpx.post(server.url + CHAT, json=chat("break", stream=True))
    got = events(answer.text)
    assert "[DONE]" not in got
    assert json.loads(got[-1])["error"]["code"] == "engine_lost"
    (row,) = server.rows(answer.headers["X-Pawl-Completion-Id"])
    assert (row.status, row.completion) == ("error", "base heard ")


def test_what_breaks_in_a_stream_is_told_in_our_words_and_recorded(server: Live) -> None:
    answer = httpx.post(server.url + CHAT, json=chat("fail midway", stream=True))
    failures = [json.loads(one)["error"] for one in events(answer.text) if '"error"' in one]
    assert [(one["code"], one["retryable"]) for one in failures] == [("engine_error", True)]
    assert "list index" not in answer.text
    (row,) = server.rows(answer.headers["X-Pawl-Completion-Id"])
    assert (row.status, row.completion) == ("error", "base heard ")


def test_an_engine_that_died_is_told_as_such_with_the_time_of_a_start_and_recorded(
    server: Live,
) -> None:
    server.engine.start_seconds, before = 17.2, server.engine.start_seconds
    answer = httpx.post(server.url + CHAT, json=chat("core died"))
    server.engine.start_seconds = before
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "18")
    assert answer.json()["error"]["code"] == "engine_lost"
    assert "stack trace" not in answer.text
    (row,) = server.rows(answer.headers["X-Pawl-Completion-Id"])
    assert (row.status, row.completion) == ("error", "")


class FullStore:
    """A store on a full disk."""

    access = SimpleNamespace(asks=False, accounts=None)

    def champion(self) -> str:
        return "base"

    def version_settings(self, version: str) -> None:
        return None

    def weights_of(self, version: str) -> str:
        return version

    def append_completion(self, completion: Completion) -> Future[None]:
        future: Future[None] = Future()
        future.set_exception(OSError("no space left on device"))
        return future

    def memory_bytes(self) -> int:
        return 0


def test_when_the_store_fails_nobody_is_told_that_all_is_well(tmp_path: Path) -> None:
    with live(Settings(state_dir=tmp_path), store=FullStore()) as one:
        got = events(httpx.post(one.url + CHAT, json=chat(stream=True)).text)
        assert "[DONE]" not in got
        assert json.loads(got[-1])["error"]["code"] == "not_recorded"
        assert "no space left" in json.loads(got[-1])["error"]["message"]
        whole = httpx.post(one.url + CHAT, json=chat())
        assert whole.status_code == 503
        assert whole.json()["error"]["code"] == "not_recorded"
        assert "pawl_recording_failures_total 2.0" in httpx.get(one.url + "/metrics").text


# -- refusals


@pytest.mark.parametrize(
    ("raw", "status", "code", "said"),
    [
        (b"{", 400, "invalid_json", "not JSON"),
        (b"\xff{}", 400, "invalid_json", "not JSON"),
        (b"[]", 400, "invalid_json", "a JSON object is expected"),
        (b'{"model": "pawl", "messages": [{"role":"user","content":"' + b"a" * 10_000_000 + b'"}]}',
         413, "request_too_large", "at most 4,000,000 are taken"),
        (json.dumps(chat("too long")).encode(), 400, "context_length_exceeded", "513 tokens"),
        (json.dumps({**chat(), "model": "gpt-4"}).encode(), 404, "model_not_found",
         "there are pawl, base, pawl@1"),
        (json.dumps(chat(n=1000)).encode(), 400, "invalid_value", "equal to 4"),
    ],
    ids=["malformed", "utf8", "no object", "10 MB", "too long", "unknown model", "n=1000"],
)  # fmt: skip
def test_bad_requests_are_refused_in_openais_shape(
    server: Live, raw: bytes, status: int, code: str, said: str
) -> None:
    answer = httpx.post(server.url + CHAT, content=raw)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "retryable"}
    assert error["code"] == code
    assert said in error["message"]


def test_echo_with_logprobs_never_reaches_the_engine(server: Live) -> None:
    n_before = len(server.seen()["bodies"])
    body = {"model": "base", "prompt": "hello", "echo": True, "logprobs": 1}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda _: httpx.post(server.url + "/v1/completions", json=body), range(8))
        )
    assert {one.status_code for one in answers} == {400}
    assert "stop the whole engine" in answers[0].json()["error"]["message"]
    assert len(server.seen()["bodies"]) == n_before


def test_while_the_engine_starts_the_answer_says_so(tmp_path: Path) -> None:
    with live(Settings(state_dir=tmp_path), command=fake_command("--never-ready"),
              wait=False) as one:  # fmt: skip
        eventually(lambda: one.engine.progress_fraction >= 0.4, "the log is read")
        answer = httpx.post(one.url + CHAT, json=chat())
        assert answer.status_code == 503
        left = START_SECONDS * (1 - one.engine.progress_fraction)
        assert int(answer.headers["Retry-After"]) == math.ceil(left) > 2
        assert answer.json()["error"]["code"] == "engine_not_ready"
        assert "47%" in answer.json()["error"]["message"]
        health = httpx.get(one.url + "/health")
        assert health.status_code == 200
        assert health.json()["engine"]["state"] == "starting"


# -- the unchanged client


@pytest.mark.parametrize("api_key", [None, "secret"])
def test_the_openai_client(tmp_path: Path, api_key: str | None) -> None:
    settings = Settings(state_dir=tmp_path, api_key=api_key)
    with (
        live(settings) as one,
        openai.OpenAI(
            base_url=one.url + "/v1", api_key=api_key or "anything", max_retries=0
        ) as client,
    ):
        assert {model.id for model in client.models.list()} == {"pawl", "base"}
        assert client.models.retrieve("pawl").id == "pawl"
        messages: Any = [{"role": "user", "content": "hello"}]
        whole = client.chat.completions.create(model="pawl", messages=messages)
        assert whole.choices[0].message.content == "base heard 5 characters."
        parts = client.chat.completions.create(model="pawl", messages=messages, stream=True)
        assert "".join(one.choices[0].delta.content or "" for one in parts) \
            == "base heard 5 characters."  # fmt: skip
        with pytest.raises(openai.NotFoundError, match="there are pawl, base"):
            client.chat.completions.create(model="gpt-4", messages=messages)
        if api_key:
            with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided"):
                client.with_options(api_key="wrong").models.list()
            assert httpx.get(one.url + "/metrics").status_code == 401
            assert httpx.get(one.url + "/health").status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [(CHAT, chat("too long"), "messages"),
     ("/v1/completions", {"model": "base", "prompt": "too long"}, "prompt")],
)  # fmt: skip
def test_a_prompt_that_is_too_long_is_blamed_where_it_stood(
    server: Live, path: str, body: dict[str, Any], param: str
) -> None:
    error = httpx.post(server.url + path, json=body).json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", param)


def test_feedback_on_several_answers_at_once(server: Live) -> None:
    ids = [httpx.post(server.url + CHAT, json=chat()).json()["id"] for _ in range(3)]
    told = Pawl(server.url).feedback_batch(
        [
            {"completion_id": one, "user": "ann", "correction": "c" * 20_000}
            for one in [*ids, "nope"]
        ]
    )
    assert (told.n_stored, told.n_refused) == (3, 1)
    assert [one.feedback and one.feedback.completion_id for one in told.results] == [*ids, None]
    assert told.results[3].error is not None
    assert told.results[3].error.code == "completion_not_found"
    people = [{"completion_id": ids[0], "thumb": "up", "user": name} for name in ("b\n", "bob")]
    odd = httpx.post(server.url + FEEDBACK + "/batch", json={"feedback": people}).json()
    assert (odd["n_stored"], odd["n_refused"]) == (1, 1)
    assert odd["results"][0]["error"]["param"] == "user"
    assert odd["results"][1]["feedback"]["rater_id"] == "bob"
    n_rows = len(server.store.feedback_history())
    # What can't be a batch is refused whole.
    for wrong in ([], [{"completion_id": ids[0], "thumb": "sideways"}], [{}] * 1001):
        answer = httpx.post(server.url + FEEDBACK + "/batch", json={"feedback": wrong})
        assert answer.status_code == 400
    assert len(server.store.feedback_history()) == n_rows


def test_feedback_finds_its_completion(server: Live) -> None:
    answer = httpx.post(server.url + CHAT, json=chat(stream=True))
    completion_id = answer.headers["X-Pawl-Completion-Id"]
    body = {"completion_id": completion_id, "thumb": "down", "categories": ["incorrect"],
            "correction": "no", "user": "ann", "idempotency_key": "k1"}  # fmt: skip
    stored = httpx.post(server.url + "/v1/feedback", json=body).json()
    assert (stored["thumb"], stored["rater_id"], stored["duplicate"]) == ("down", "ann", False)
    assert httpx.post(server.url + "/v1/feedback", json=body).json()["duplicate"] is True
    listed = httpx.get(server.url + "/v1/feedback", params={"completion_id": completion_id}).json()
    assert [one["feedback_id"] for one in listed] == [stored["feedback_id"]]
    unknown = httpx.post(server.url + "/v1/feedback", json={**body, "completion_id": "x"})
    assert unknown.status_code == 404
    keys = [one["key"] for one in httpx.get(server.url + "/v1/feedback/categories").json()]
    assert "incorrect" in keys


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://example.com"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "rebound.example.com"}, 403),
        ({"Host": "localhost"}, 200),
        ({}, 200),
    ],
)
def test_without_a_key_the_pages_of_others_may_not_ask(
    server: Live, headers: dict[str, str], status: int
) -> None:
    answer = httpx.post(server.url + CHAT, json=chat(), headers=headers)
    assert answer.status_code == status, answer.text


def test_the_servers_own_page_may_ask(server: Live) -> None:
    answer = httpx.post(server.url + CHAT, json=chat(), headers={"Origin": server.url})
    assert answer.status_code == 200


def test_the_page_of_the_routes_is_made_once(server: Live) -> None:
    """It takes long, and nobody is answered meanwhile."""
    page, about = httpx.get(server.url + "/docs", timeout=60), server.app.openapi()["info"]
    title = about["title"]
    about["title"] = "Another"
    try:
        assert httpx.get(server.url + "/docs", timeout=60).text == page.text
    finally:
        about["title"] = title
    assert title in page.text


def test_an_unknown_route_and_a_wrong_method_answer_in_the_same_shape(server: Live) -> None:
    assert httpx.get(server.url + "/v1/engines").json()["error"]["code"] == "not_found"
    assert httpx.get(server.url + CHAT).status_code == 405
