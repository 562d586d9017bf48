"""A conversation read back: what was said, by whom it was answered, what counts of its feedback."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from feedback.conversations import thread
from pawl.client import Pawl
from pawl.schemas import Completion
from pawl.settings import Settings
from tests.feedback.examples import make_completion
from tests.serve.live import Live, live

ANN = {"X-Pawl-Rater": "ann", "X-Pawl-Conversation": "chat-1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(Settings(state_dir=tmp_path_factory.mktemp("state"))) as one:
        yield one


def ask(server: Live, messages: list[dict[str, str]], headers: dict[str, str]) -> dict[str, Any]:
    body = {"model": "pawl", "messages": messages}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers)
    return dict(answer.raise_for_status().json())


def test_a_conversation_is_read_back_by_who_took_part_in_it(server: Live) -> None:
    messages = [{"role": "user", "content": "one"}]
    first = ask(server, messages, ANN)
    messages += [first["choices"][0]["message"], {"role": "user", "content": "three"}]
    second = ask(server, messages, ANN)
    flag = {"completion_id": first["id"], "thumb": "down", "correction": "1"}
    httpx.post(f"{server.url}/v1/feedback", json=flag, headers=ANN).raise_for_status()
    bob = {"completion_id": first["id"], "thumb": "up", "user": "bob"}
    httpx.post(f"{server.url}/v1/feedback", json=bob).raise_for_status()

    url = f"{server.url}/v1/conversations/chat-1"
    found = httpx.get(url, headers=ANN).raise_for_status().json()
    assert found["conversation_id"] == "chat-1"
    assert [(one["role"], one["content"]) for one in found["messages"]] == [
        ("user", "one"),
        ("assistant", "base heard 3 characters."),
        ("user", "three"),
        ("assistant", "base heard 5 characters."),
    ]
    answers = found["messages"][1::2]
    assert [one["completion_id"] for one in answers] == [first["id"], second["id"]]
    assert [(one["version"], one["status"]) for one in answers] == [("base", "complete")] * 2
    assert answers[0]["feedback"]["correction"] == "1"
    assert answers[1]["feedback"] is None
    assert "completion_id" not in found["messages"][0]

    for stranger in ({"X-Pawl-Rater": "bob"}, {}):
        refused = httpx.get(url, headers=stranger)
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "conversation_not_found"


def test_an_id_may_hold_slashes(server: Live) -> None:
    headers = {**ANN, "X-Pawl-Conversation": "tickets/2026/7"}
    ask(server, [{"role": "user", "content": "one"}], headers)
    found = Pawl(server.url).conversation("tickets/2026/7", rater_id="ann")
    assert [message.role for message in found.messages] == ["user", "assistant"]


def row(messages: list[str], completion: str, **more: Any) -> Completion:
    roles = ("user", "assistant")
    made = [{"role": roles[i % 2], "content": text} for i, text in enumerate(messages)]
    return make_completion(messages=made, completion=completion, **more)


def test_what_was_asked_again_or_edited_is_left_out() -> None:
    a = row(["one"], "eins")
    again = row(["one"], "uno")
    b = row(["one", "uno", "two"], "zwei")
    edited = row(["one", "uno", "too"], "auch")
    shown = thread([a, again, b, edited])
    assert [record for _, record in shown] == [None, again, None, edited]
    assert [message["content"] for message, _ in shown] == ["one", "uno", "too", "auch"]


def test_of_the_same_text_given_twice_the_newest_counts() -> None:
    a, again = row(["one"], "eins"), row(["one"], "eins")
    b = row(["one", "eins", "two"], "zwei")
    assert [record for _, record in thread([a, again, b])] == [None, again, None, b]


def test_an_answer_from_elsewhere_has_no_record_and_of_several_choices_the_first_is_taken() -> None:
    first = row(["one", "from elsewhere", "two"], "zwei")
    other = row(["one", "from elsewhere", "two"], "deux", choice_index=1,
                completion_id=first.completion_id)  # fmt: skip
    assert [record for _, record in thread([first, other])] == [None, None, None, first]
    assert thread([]) == []


def test_a_conversation_of_many_messages_is_read_in_no_time() -> None:
    """A prompt that no engine takes is recorded too, when its client hangs up."""
    last = row(["text"] * 40_001, "end")
    began = time.monotonic()
    assert len(thread([last])) == 40_002
    assert time.monotonic() - began < 10  # 20,000 prefixes of a megabyte took minutes
