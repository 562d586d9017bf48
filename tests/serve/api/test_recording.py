"""From an engine's bytes to rows: whole, cut off anywhere, with several choices."""

from __future__ import annotations

import json

import pytest

from pawl.schemas import Completion
from serve.api.recording import (
    Answer,
    Choice,
    Exchange,
    completions_of,
    conversation_of,
    rater_of,
    read_body,
    read_stream,
)
from serve.api.requests import parse_request
from tests.serve.live import FAKE_BASE


def event(text: str, index: int = 0, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
WHOLE = event("Grün") + event(" ist", finish="stop") + USAGE + b"data: [DONE]\n\n"


def test_a_stream_is_read_whole() -> None:
    answer = read_stream(WHOLE, "chat")
    assert answer.choices == {0: Choice("Grün ist", "stop")}
    assert (answer.n_prompt_tokens, answer.n_completion_tokens) == (3, 2)


@pytest.mark.parametrize("n_bytes", range(0, len(WHOLE), 7))
def test_a_stream_cut_off_anywhere_gives_what_had_come_whole(n_bytes: int) -> None:
    answer = read_stream(WHOLE[:n_bytes], "chat")
    text = answer.choices[0].text if answer.choices else ""
    n_events = WHOLE[:n_bytes].count(b"\n\n")
    # The last event may be whole but for its blank lines: its text is then known too.
    assert text in {"Grün ist"[: 4 * min(n, 2)] for n in (n_events, n_events + 1)}


def test_choices_are_kept_apart_and_an_error_is_seen() -> None:
    mixed = event("a") + event("b", 1) + event("c") + b'data: {"error":{"message":"lost"}}\n\n'
    answer = read_stream(mixed, "chat")
    assert (answer.choices[0].text, answer.choices[1].text) == ("ac", "b")
    assert answer.error == "lost"


def test_a_whole_body_of_either_call() -> None:
    chat = {"choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert read_body(json.dumps(chat).encode(), "chat").choices[0] == Choice("hi", "stop")
    text = {"choices": [{"index": 0, "text": "hi", "finish_reason": "length"}]}
    assert read_body(json.dumps(text).encode(), "text").choices[0] == Choice("hi", "length")


def rows(body: bytes, answer: Answer) -> list[Completion]:
    asked = parse_request(body, "text")
    exchange = Exchange("cmpl-1", "c", "r", "2026-01-01T00:00:00Z", asked, "base", FAKE_BASE)
    return completions_of(exchange, answer, "complete", None, 1.0)


def test_several_prompts_with_several_choices_each_find_their_own() -> None:
    answer = Answer({i: Choice(f"answer {i}") for i in range(3)}, 5, 6)
    got = rows(b'{"model": "base", "prompt": ["a", "b"], "n": 2}', answer)
    assert [(row.messages[0]["content"], row.completion) for row in got] == [
        ("a", "answer 0"), ("a", "answer 1"), ("b", "answer 2"), ("b", ""),
    ]  # fmt: skip
    assert {row.n_completion_tokens for row in got} == {None}
    (one,) = rows(b'{"model": "base", "prompt": "a"}', Answer({0: Choice("x")}, 5, 6))
    assert (one.n_prompt_tokens, one.n_completion_tokens) == (5, 6)


def test_who_and_which_conversation() -> None:
    assert rater_of("zoe", "ann", "key") == "zoe"
    assert rater_of(None, "ann", "key") == "ann"
    assert rater_of(None, None, "") == "anonymous"
    begun = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    later = [*begun, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}]
    assert conversation_of(None, "r", begun) == conversation_of(None, "r", later)
    assert conversation_of(None, "q", begun) != conversation_of(None, "r", begun)
    assert conversation_of("mine", "r", begun) == "mine"
