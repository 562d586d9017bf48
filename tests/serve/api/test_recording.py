"""From an engine's bytes to rows: whole, cut off anywhere, with several choices."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Caller, Completion, Role, utc_now
from pawl.server import SERVER_CALLERS
from pawl.settings import Settings
from pawl.sse import DONE, EventParser
from serve.api.figures import figure_routes
from serve.api.keys import ANONYMOUS
from serve.api.recording import (
    MOST_CHARACTERS_A_TOKEN,
    Answer,
    Choice,
    Exchange,
    conversation_of,
    rater_of,
)
from serve.api.requests import ChatRequest, TextRequest, parse_request
from tests.serve.live import FAKE_BASE, FAKE_TOOL_BASE


def event(text: str, index: int = 0, finish: str | None = None) -> bytes:
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\n'
WHOLE = event("Grün") + event(" ist", finish="stop") + USAGE + b"data: [DONE]\n\n"


def read(raw: bytes) -> Answer:
    answer, parser = Answer(), EventParser()
    for data in parser.feed(raw):
        if data != DONE:
            answer.take(data)
    return answer


def test_a_stream_is_read_whole() -> None:
    answer = read(WHOLE)
    assert answer.choices == {0: Choice("Grün ist", "stop")}
    assert (answer.n_prompt_tokens, answer.n_completion_tokens) == (3, 2)


@pytest.mark.parametrize("n_bytes", range(0, len(WHOLE), 7))
def test_a_stream_cut_off_anywhere_gives_what_had_come_whole(n_bytes: int) -> None:
    answer = read(WHOLE[:n_bytes])
    n_events = WHOLE[:n_bytes].count(b"\n\n")
    assert (answer.choices[0].text if answer.choices else "") == "Grün ist"[: 4 * min(n_events, 2)]


def test_choices_are_kept_apart_and_an_error_is_seen() -> None:
    mixed = event("a") + event("b", 1) + event("c") + b'data: {"error":{"message":"lost"}}\n\n'
    answer = read(mixed)
    assert (answer.choices[0].text, answer.choices[1].text) == ("ac", "b")
    assert answer.error == "lost"


def test_a_whole_body_of_either_call() -> None:
    chat, text = Answer(), Answer()
    choice = {"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}
    chat.take(json.dumps({"choices": [choice]}).encode())
    assert chat.choices[0] == Choice("hi", "stop")
    choice = {"index": 0, "text": "hi", "finish_reason": "length"}
    text.take(json.dumps({"choices": [choice]}).encode())
    assert text.choices[0] == Choice("hi", "length")


def rows(body: bytes, answer: Answer) -> list[Completion]:
    request = parse_request(body, TextRequest)
    exchange = Exchange(
        "cmpl-1", "c", "r", "q", "2026-01-01T00:00:00Z", 0.0, request, request, "base", FAKE_BASE,
        answer=answer,
    )  # fmt: skip
    return exchange.rows("complete")


def test_several_prompts_with_several_choices_each_find_their_own() -> None:
    answer = Answer({i: Choice(f"answer {i}") for i in range(3)}, 5, 6)
    got = rows(b'{"model": "base", "prompt": ["a", "b"], "n": 2}', answer)
    assert [(row.messages[0]["content"], row.completion) for row in got] == [
        ("a", "answer 0"), ("a", "answer 1"), ("b", "answer 2"), ("b", ""),
    ]  # fmt: skip
    assert {row.n_completion_tokens for row in got} == {None}
    (one,) = rows(b'{"model": "base", "prompt": "a"}', Answer({0: Choice("x")}, 5, 6))
    assert (one.n_prompt_tokens, one.n_completion_tokens) == (5, 6)


def test_a_prompt_with_several_choices_is_shown_once_beside_the_quotas(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    answer = Answer({0: Choice("x"), 1: Choice("y")}, 5, 6)
    with Store.open(settings.database_path) as store:
        for name, n in (("several", 2), ("one", 1)):
            body = json.dumps({"model": "base", "prompt": "a", "n": n}).encode()
            said = answer if n > 1 else Answer({0: Choice("z")}, 5, 6)
            for row in rows(body, said):
                store.append_completion(
                    replace(row, completion_id=name, created_at=utc_now())
                ).result()
        store.flush()
        (show,) = (one.endpoint for one in figure_routes(settings, store).routes
                   if one.path == "/admin/quotas")  # fmt: skip
        (used,) = show().callers
    assert (used.n_answers, used.n_tokens) == (3, 5 + 5 + 6)


def test_a_stream_that_was_left_is_charged_its_prompt_too() -> None:
    request = parse_request(b'{"model": "base", "prompt": "a"}', TextRequest)
    left = Exchange("cmpl-1", "conv", "ann", "", "", 0.0, request, request, "base", FAKE_BASE,
                    n_sent_tokens=1000)  # fmt: skip
    assert left.n_used_tokens is None
    left.answer = read(event("Grün"))
    assert left.n_used_tokens == 1001
    left.answer = read(WHOLE)
    assert left.n_used_tokens == 5


def test_usage_in_every_event_is_of_one_choice_and_no_answers_charge() -> None:
    answer = Answer()
    for index in (0, 1, 0, 1):
        choice = {"index": index, "delta": {"content": "x"}}
        usage = {"prompt_tokens": 5, "completion_tokens": 2}
        answer.take(json.dumps({"choices": [choice], "usage": usage}).encode(), is_event=True)
    assert (answer.n_completion_tokens, answer.n_pieces) == (None, 4)
    last = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 4}}
    answer.take(json.dumps(last).encode(), is_event=True)
    assert (answer.n_prompt_tokens, answer.n_completion_tokens) == (5, 4)


@pytest.mark.parametrize("where", ["content", "calls", "tools"])
def test_what_no_context_holds_is_not_kept_of_who_hangs_up(where: str) -> None:
    def left(n: int) -> Exchange:
        long = json.dumps({"q": "x" * n})
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": long}}
        tool = {"type": "function", "function": {"name": "f", "description": long}}
        asked = {"role": "user", "content": long if where == "content" else "a"}
        called = [{"role": "assistant", "content": "", "tool_calls": [call]},
                  {"role": "tool", "tool_call_id": "c", "content": "b"}]  # fmt: skip
        body = {"model": "base", "messages": [asked, *(called if where == "calls" else [])],
                **({"tools": [tool]} if where == "tools" else {})}  # fmt: skip
        request = parse_request(json.dumps(body).encode(), ChatRequest, FAKE_TOOL_BASE)
        return Exchange("chatcmpl-1", "conv", "ann", "", "", 0.0, request, request, "base",
                        FAKE_TOOL_BASE)  # fmt: skip

    most = MOST_CHARACTERS_A_TOKEN * FAKE_BASE.max_length_tokens
    assert (left(10).is_hopeless, left(most).is_hopeless) == (False, True)


def test_what_the_request_named_to_stop_at_is_recorded() -> None:
    body = b'{"model": "base", "prompt": "a", "stop": ["\\n"], "stop_token_ids": [7]}'
    for stop_reason, recorded in ((None, None), ("\n", "\n"), (7, "7"), (2, None)):
        answer = Answer()
        choice = {"index": 0, "text": "x", "finish_reason": "stop", "stop_reason": stop_reason}
        answer.take(json.dumps({"choices": [choice]}).encode())
        (row,) = rows(body, answer)
        assert (row.finish_reason, row.stop_reason) == ("stop", recorded)


def test_who_asks() -> None:
    assert rater_of(ANONYMOUS, "zoe", "ann", "key") == "zoe"
    assert rater_of(ANONYMOUS, None, "ann", "key") == "ann"
    assert rater_of(ANONYMOUS, None, None, "key").startswith("key-")
    assert rater_of(ANONYMOUS, None, None, None) == "anonymous"
    bot = Caller("bot", Role.USER)
    assert rater_of(bot, "zoe", "ann", "key") == "bot"
    assert rater_of(bot, "z" * 201, "ann", None) == "bot"
    front = Caller("front", Role.USER, may_name_raters=True)
    assert rater_of(front, "zoe", "ann", "key") == "front/zoe"
    assert rater_of(front, None, "ann", None) == "front/ann"
    assert rater_of(front, None, None, None) == "front"
    assert rater_of(front, "admin.key", None, None) == "front/admin.key"
    for name in SERVER_CALLERS:  # whose decisions count as a reviewer's
        with pytest.raises(PawlError, match="stands under that name"):
            rater_of(ANONYMOUS, name, None, None)
    assert rater_of(bot, "import:langfuse/ann", None, None) == "bot"
    for header, user in (("import:langfuse/ann", None), (None, "import:langfuse/ann")):
        with pytest.raises(PawlError, match="begins with 'import:'") as caught:
            rater_of(ANONYMOUS, header, user, "key")
        assert caught.value.code == "invalid_value"
    with pytest.raises(PawlError, match="begins with 'import:'"):
        conversation_of("import:0123", "ann", [])


@pytest.mark.parametrize("text", ["bob\n\n[Show](x:y)", "bob\r", "\x1b[2Jbob", "bob\u2028", "\0"])
def test_names_stand_on_one_line(text: str) -> None:
    for refused in (
        lambda: rater_of(ANONYMOUS, text, None, None),
        lambda: rater_of(ANONYMOUS, None, text, None),
        lambda: conversation_of(text, "r", []),
    ):
        with pytest.raises(PawlError, match="control characters") as caught:
            refused()
        assert caught.value.code == "invalid_value"
    assert rater_of(ANONYMOUS, None, "Zoë \u200d\u00a0漢字", None) == "Zoë \u200d\u00a0漢字"


@pytest.mark.parametrize(
    ("rater_id", "owns"),
    [("bot", True), ("bot/ann", True), ("bots", False), ("ann", False), ("ann/bot", False)],
)
def test_what_a_caller_owns(rater_id: str, owns: bool) -> None:
    for role in Role:
        caller = Caller("bot", role)
        assert caller.owns(rater_id) is owns
        assert caller.sees(rater_id) is (owns or role not in (Role.USER, Role.GATEWAY))
    assert ANONYMOUS.sees(rater_id)


def test_which_conversation() -> None:
    begun = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    later = [*begun, {"role": "assistant", "content": "a"}, {"role": "user", "content": "v"}]
    assert conversation_of(None, "r", begun) == conversation_of(None, "r", later)
    assert conversation_of(None, "q", begun) != conversation_of(None, "r", begun)
    assert conversation_of("mine", "r", begun) == "mine"
