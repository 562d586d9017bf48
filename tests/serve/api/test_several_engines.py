"""Three engines behind one gateway: conversations, a death, promotions under load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from click.testing import CliRunner

from pawl.cli import cli
from pawl.files import write_json
from pawl.settings import Settings
from serve.engine.supervisor import Engine
from serve.scaling import Scaling
from tests.adapters_for_tests import light_adapter
from tests.serve.fake_vllm import letter_of
from tests.serve.live import Operator, eventually, fake_command
from tests.serve.pages.composed import Composed, composed
from tests.serve.promotions_under_load import check, drive

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Composed]:
    settings = Settings(state_dir=tmp_path / "state", engine={"replicas": 3})
    with composed(settings, command=fake_command(), pages=False, wait=False) as running:
        for one in running.engine.replicas:
            running.call(one.wait_ready())
        yield running


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "pawl", "messages": [{"role": "user", "content": text}], **more}


def ask(server: Composed, text: str, conversation: str) -> httpx.Response:
    headers = {"X-Pawl-Conversation": conversation}
    url = f"{server.url}/v1/chat/completions"
    return httpx.post(url, json=body(text), headers=headers, timeout=60)


def asked(engine: Engine) -> list[str]:
    """The last messages that an engine was asked."""
    bodies = httpx.get(engine.base_url + "/seen").json()["bodies"]
    return [one["messages"][-1]["content"] for one in bodies if "messages" in one]


def test_a_conversation_stays_and_a_dead_engine_takes_its_answers_along_but_no_other(
    server: Composed,
) -> None:
    for turn in range(3):
        for conversation in range(12):
            answer = ask(server, f"{conversation} {turn}", f"talk-{conversation}")
            assert answer.status_code == 200, answer.text
    replicas = server.engine.replicas
    seen = [{text.split()[0] for text in asked(one)} for one in replicas]
    assert sum(map(len, seen)) == 12  # no conversation was at two of them
    assert all(seen)
    metrics = httpx.get(server.url + "/metrics").text
    assert "pawl_engine_replicas_ready 3.0" in metrics
    assert "pawl_engine_requests_waiting 9.0" in metrics  # three of each
    assert "pawl_engine_kv_cache_fraction 0.25" in metrics

    victim = replicas[0]
    conversation = f"talk-{min(seen[0])}"
    with httpx.stream(
        "POST", f"{server.url}/v1/chat/completions", json=body("hold midway", stream=True),
        headers={"X-Pawl-Conversation": conversation}, timeout=60,
    ) as stream:  # fmt: skip
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        (child,) = psutil.Process(victim.pid).children()
        os.kill(child.pid, signal.SIGKILL)
        rest = [line for line in lines if line.startswith("data: ")]
    assert json.loads(rest[-1].removeprefix("data: "))["error"]["code"] == "engine_lost"
    eventually(lambda: victim.state != "ready", "the death is seen")
    assert ask(server, "and now?", conversation).status_code == 200
    health = httpx.get(server.url + "/health").json()["engine"]
    assert health["state"] == "ready"
    assert "2 of 3 replicas answer; replica 1 is " in health["detail"]
    eventually(lambda: victim.state == "ready", "it is back")
    ask(server, "back", conversation)
    assert asked(victim) == ["back"]
    assert httpx.get(server.url + "/health").json()["engine"]["n_restarts"] == 1
    victim.base_url = "http://127.0.0.1:9"  # nobody listens there: its machine went away just now
    assert ask(server, "who is there?", conversation).status_code == 200
    assert "who is there?" in [*asked(replicas[1]), *asked(replicas[2])]


def post(server: Composed, path: str) -> httpx.Response:
    auth = Operator(server.settings.state_dir)
    return httpx.post(server.url + path, json={}, auth=auth, timeout=60)


def typed(settings: Settings, line: str) -> str:
    """What ``pawl`` prints."""
    place = ["--state-dir", str(settings.state_dir)]
    result = CliRunner().invoke(cli, [*place, *line.split()], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_one_is_taken_out_without_harm_to_its_answers_and_comes_back(
    tmp_path: Path,
) -> None:
    settings = Settings(state_dir=tmp_path / "state", engine={"replicas": 2})
    command = fake_command("--speed", "64", "0.05", "0")
    with composed(settings, command=command, pages=False, wait=False) as server:
        first, second = server.engine.replicas
        for one in (first, second):
            server.call(one.wait_ready())
        ask(server, "who?", "talk")
        mine, other = (first, second) if asked(first) else (second, first)
        pid = mine.pid
        with httpx.stream(
            "POST", f"{server.url}/v1/chat/completions", json=body("count 40", stream=True),
            headers={"X-Pawl-Conversation": "talk"}, timeout=60,
        ) as stream:  # fmt: skip
            lines = stream.iter_lines()
            next(lines)
            drained = post(server, f"/admin/replicas/{mine.number}/drain").json()
            assert (drained["is_out"], drained["n_answers"]) == (True, 1)
            assert ask(server, "and now?", "talk").status_code == 200
            assert asked(other) == ["and now?"]
            told = httpx.get(server.url + "/health").json()["engine"]
            assert told["detail"] == (
                f"1 of 1 replicas answer; replica {mine.number} is taken out, 1 answers end"
            )
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert "39 " in "".join(rest)
        eventually(lambda: mine.state == "off", "it has stopped")
        assert not psutil.pid_exists(pid)
        assert "pawl_engine_replicas_out 1.0" in httpx.get(server.url + "/metrics").text
        refused = post(server, f"/admin/replicas/{other.number}/drain")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "last_replica")

        version = server.promote()
        assert server.engine.champion() == version  # which one that is taken out may not hold alone
        write_json(settings.server_file, {"url": server.url, "pid": os.getpid(), "started_at": ""})
        assert f"{mine.number}  out" in typed(settings, "engines list")
        typed(settings, f"engines return {mine.number}")
        eventually(lambda: mine.is_serving, "it is back")
        assert set(mine.loaded) == {version}
        assert ask(server, "back", "talk").json()["model"] == version
        assert asked(mine) == ["back"]
        assert "taken out" in typed(settings, f"engines drain {other.number}")
        assert other.state == "off"


def test_one_more_is_started_while_answers_wait_and_stopped_when_it_is_not_missed(
    tmp_path: Path,
) -> None:
    engine = {"replicas": 1, "max_replicas": 2, "max_concurrent_requests": 1,
              "scale_up_seconds": 0.2, "scale_down_seconds": 1}  # fmt: skip
    settings = Settings(state_dir=tmp_path / "state", engine=engine)
    command = fake_command("--speed", "64", "0.1", "0")
    with composed(settings, command=command, pages=False) as server:
        first, second = server.engine.replicas
        version = server.promote()
        assert second.state == "off"
        scaling = Scaling(settings.engine, server.engine, server.app.gateway.admission)
        running = asyncio.run_coroutine_threadsafe(scaling.run(), server.loop)
        with ThreadPoolExecutor(6) as pool:
            waiting = [pool.submit(ask, server, "count 30", f"c{n}") for n in range(6)]
            eventually(lambda: second.is_serving, "one more is there")
            assert {one.result().status_code for one in waiting} == {200}
        assert set(second.loaded) in ({version}, set())  # by now it may be gone again
        assert asked(first)
        eventually(lambda: second.state == "off", "it is not missed")
        assert first.is_serving
        assert ask(server, "still there?", "c1").status_code == 200
        assert server.store.counts()["completions"] == 7
        running.cancel()


def test_promotions_on_three_engines_under_load_harm_no_answer(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", engine={"replicas": 3})
    command = fake_command("--letters", "--speed", "64", "0.005", "0")
    with composed(settings, command=command, pages=False) as server:
        folders = [light_adapter(tmp_path / f"a{n}", server.base, seed=n) for n in range(3)]
        adapters = {letter_of(folder): folder for folder in folders}
        load, moves = asyncio.run(drive(server.url, settings, adapters, 6, 8))
        assert server.engine.detail == "3 of 3 replicas answer"
    assert check(load, moves, settings) == []
    assert len({version for version, _ in load.answers.values()}) >= 4
    assert load.n_across_a_move > 0
