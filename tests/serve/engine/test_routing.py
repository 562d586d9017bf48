"""Which replica answers: the conversation's own, while it holds the weights and is not too busy."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from feedback.store import Store
from pawl.errors import PawlError
from pawl.settings import Settings
from serve.api.completions import Gateway
from serve.api.in_flight import InFlight
from serve.api.metrics import Metrics
from serve.api.recording import Exchange
from serve.api.requests import TextRequest, parse_request
from serve.engine.replicas import MOST_OF_MEAN, SLACK, Replicas, make_engine
from serve.engine.supervisor import Engine
from tests.serve.live import FAKE_BASE


def ready(tmp_path: Path, n: int = 3) -> Replicas:
    """Replicas that take requests, as far as routing can tell."""
    replicas = Replicas(Settings(state_dir=tmp_path, engine={"replicas": n}), FAKE_BASE)
    for one in replicas.replicas:
        one.state = "ready"
    return replicas


def answers(replicas: Replicas, n_conversations: int, weights: str = "base") -> dict[str, int]:
    """Which replica each conversation gets, one at a time."""
    found = {}
    for key in map(str, range(n_conversations)):
        with replicas.routed(weights, key) as one:
            found[key] = one.number
    return found


def test_one_engine_is_no_replica(tmp_path: Path) -> None:
    engine = make_engine(Settings(state_dir=tmp_path), FAKE_BASE)
    assert isinstance(engine, Engine)
    with engine.routed("base", "a conversation") as one:
        assert one is engine


def test_a_conversation_keeps_its_replica_and_conversations_are_spread(tmp_path: Path) -> None:
    replicas = ready(tmp_path)
    first = answers(replicas, 600)
    assert first == answers(replicas, 600)
    assert all(150 < n < 250 for n in Counter(first.values()).values())
    replicas.replicas[1].state = "restarting"
    without = answers(replicas, 600)
    assert {key for key in first if first[key] != without[key]} == {
        key for key, number in first.items() if number == 2
    }
    assert set(without.values()) == {1, 3}


def test_a_replica_that_cannot_be_reached_is_asked_last(tmp_path: Path) -> None:
    replicas = ready(tmp_path)
    away: Any = SimpleNamespace(is_away=True)
    replicas.replicas[1]._child = away
    assert set(answers(replicas, 100).values()) == {1, 3}
    for one in replicas.replicas:
        one._child = away
    assert set(answers(replicas, 100).values()) == {1, 2, 3}


def test_a_busy_replica_gives_its_conversation_away(tmp_path: Path) -> None:
    replicas = ready(tmp_path)
    with contextlib.ExitStack() as held:
        numbers = [
            held.enter_context(replicas.routed("base", "one conversation")).number
            for _ in range(90)
        ]
        loads = Counter(numbers)
        assert numbers[0] == numbers[1]  # while it is not much busier
        assert set(loads) == {1, 2, 3}
        assert max(loads.values()) <= MOST_OF_MEAN * 30 + SLACK + 1
    with replicas.routed("base", "one conversation") as one:
        assert one.number == numbers[0]


def test_answers_of_one_request_count_each(tmp_path: Path) -> None:
    replicas = ready(tmp_path, 2)
    with replicas.routed("base", "a", 8) as first, replicas.routed("base", "a") as second:
        assert first is not second


def test_nobody_is_asked_for_what_it_does_not_hold(tmp_path: Path) -> None:
    replicas = ready(tmp_path)
    replicas.replicas[2].loaded["pawl@1"] = tmp_path
    assert set(answers(replicas, 20, "pawl@1").values()) == {3}
    assert replicas.detail == (
        "3 of 3 replicas answer; replica 1 lacks pawl@1; replica 2 lacks pawl@1"
    )
    with pytest.raises(PawlError, match="no replica of the engine holds pawl@2"):
        answers(replicas, 1, "pawl@2")
    assert replicas.loaded == {"pawl@1"}
    replicas.replicas[2].state = "starting"  # it holds the adapter, which is being probed
    assert replicas.loaded == frozenset()
    with pytest.raises(PawlError, match="no replica of the engine holds pawl@1"):
        answers(replicas, 1, "pawl@1")


def test_nobody_waits_for_the_one_that_held_it_unless_a_setting_says_so(tmp_path: Path) -> None:
    replicas = ready(tmp_path, 2)
    replicas.replicas[1].state = "restarting"  # it held pawl@1 when the request came
    request = parse_request(b'{"model": "pawl@1", "prompt": "a"}', TextRequest)
    exchange = Exchange("cmpl-1", "conv", "ann", "", "", 0.0, request, request, "pawl@1", FAKE_BASE)

    async def wait(seconds: float) -> None:
        gateway = Gateway(store, replicas, FAKE_BASE, InFlight(), Metrics(), lambda: ["pawl@1"],
                          1000, start_wait_seconds=seconds)  # fmt: skip
        async with asyncio.timeout(1):
            await gateway._until_ready(replicas, exchange)

    store = Store.open(tmp_path / "pawl.duckdb")
    try:
        asyncio.run(wait(0))
        with pytest.raises(TimeoutError):
            asyncio.run(wait(60))
    finally:
        store.close()


def test_they_are_as_good_as_the_best_of_them(tmp_path: Path) -> None:
    replicas = ready(tmp_path)
    first, second, third = replicas.replicas
    assert (replicas.state, replicas.detail) == ("ready", "3 of 3 replicas answer")
    first.state, first.detail = "failed", "no room"
    assert (replicas.state, replicas.n_serving) == ("ready", 2)
    assert replicas.detail == "2 of 3 replicas answer; replica 1 is failed: no room"
    second.state = third.state = "starting"
    third.progress_fraction, third.detail = 0.9, "loading the weights"
    assert (replicas.state, replicas.detail) == ("starting", "loading the weights")
    second.state = third.state = "failed"
    with pytest.raises(PawlError) as caught:
        answers(replicas, 1)
    assert caught.value.code == "engine_failed"


def test_who_is_out_gets_nothing_and_is_not_counted(tmp_path: Path) -> None:
    replicas = ready(tmp_path)
    replicas.replicas[1].out_why = "taken out"
    assert set(answers(replicas, 60).values()) == {1, 3}
    assert replicas.n_serving == 2
    assert replicas.detail == "2 of 2 replicas answer; replica 2 is taken out, 0 answers end"
    replicas.replicas[0].state = "restarting"
    with pytest.raises(PawlError, match="no other one takes requests") as caught:
        replicas.drain(3)
    assert caught.value.code == "last_replica"
    with pytest.raises(PawlError, match="there is no replica 4"):
        replicas.drain(4)


def test_those_beyond_the_fixed_number_wait_for_load(tmp_path: Path) -> None:
    engine = {"replicas": 1, "max_replicas": 3}
    replicas = make_engine(Settings(state_dir=tmp_path, engine=engine), FAKE_BASE)
    assert isinstance(replicas, Replicas)
    replicas.replicas[0].state = "ready"
    assert set(answers(replicas, 20).values()) == {1}
    assert replicas.detail == (
        "1 of 1 replicas answer; replica 2 is not needed now; replica 3 is not needed now"
    )
    with pytest.raises(ValueError, match="max_replicas is 2, and replicas 3"):
        Settings(state_dir=tmp_path, engine={"replicas": 3, "max_replicas": 2})
