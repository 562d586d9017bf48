"""Answers of the base for replay: in order, greedy, and nobody's completions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from pawl.errors import PawlError
from pawl.schemas import GenerateRequest, Message
from pawl.settings import Settings, load_settings
from serve.api.generate import generate
from tests.serve.live import Live, live


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load_settings({"state_dir": tmp_path_factory.mktemp("generate") / "state"})


@pytest.fixture(scope="module")
def server(settings: Settings) -> Iterator[Live]:
    with live(settings) as running:
        yield running


def test_answers_come_in_the_order_of_the_prompts_and_are_not_recorded(server: Live) -> None:
    before = server.store.counts()
    prompts = [user("x" * i) for i in range(1, 40)]
    answers = server.call(generate(server.engine, prompts, 32, server.gateway.admission))
    assert [one["text"] for one in answers] == [f"base heard {i} characters." for i in range(1, 40)]
    assert all(one["is_finished"] for one in answers)
    body = server.seen()["bodies"][-1]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("base", 0.0, 32)
    assert server.store.counts() == before


def test_a_prompt_that_the_engine_refuses_has_an_empty_answer(server: Live) -> None:
    answers = server.call(
        generate(server.engine, [user("too long"), user("abc")], 8, server.gateway.admission)
    )
    assert answers[0] == {"text": "", "is_finished": False}
    assert answers[1]["text"] == "base heard 3 characters."


@pytest.mark.parametrize(("n", "max_tokens"), [(0, 8), (257, 8), (1, 0), (1, 10**6)])
def test_requests_are_bounded(n: int, max_tokens: int) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest(prompts=[user("Hi")] * n, max_tokens=max_tokens)


@pytest.mark.parametrize("prompt", [[], [{}], [{"role": "", "content": "a"}], [{"role": "user"}]])
def test_a_prompt_has_messages_with_role_and_content(prompt: list[dict[str, str]]) -> None:
    with pytest.raises(ValidationError):
        GenerateRequest.model_validate({"prompts": [prompt], "max_tokens": 1})


def test_an_engine_that_dies_meanwhile_is_an_error_worth_trying_again(tmp_path: Path) -> None:
    settings = load_settings({"state_dir": tmp_path / "state"})
    with live(settings) as running, pytest.raises(PawlError) as caught:
        running.call(generate(running.engine, [user("die")], 8, running.gateway.admission))
    assert caught.value.retryable
