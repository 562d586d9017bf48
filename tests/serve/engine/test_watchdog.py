"""What a frozen or dying engine does to people: they are told, and it is started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from pawl.files import read_json
from pawl.settings import Settings
from serve.engine import session as processes
from serve.engine.watchdog import Activity, watch
from tests.serve.live import Live, eventually, fake_command, live

pytestmark = pytest.mark.slow

CHAT = "/v1/chat/completions"


def chat(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "pawl", "messages": [{"role": "user", "content": content}], **more}


def quick_to_notice(tmp_path: Path, **engine: Any) -> Settings:
    return Settings(state_dir=tmp_path, engine={"stuck_seconds": 2, **engine})


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of a refusal, which must say when to come again."""
    assert int(answer.headers["Retry-After"]) >= 1
    error = answer.json()["error"]
    assert error["retryable"] is True
    return answer.status_code, error["code"]


def back(one: Live) -> None:
    eventually(lambda: one.engine.n_restarts == 1 and one.engine.state == "ready", "it is back")
    assert httpx.post(one.url + CHAT, json=chat("hello"), timeout=30).status_code == 200


def test_frozen_behind_a_healthy_route(tmp_path: Path) -> None:
    """As vLLM is when its core or worker is stopped."""
    with live(quick_to_notice(tmp_path)) as one, ThreadPoolExecutor(3) as pool:
        begun = httpx.stream("POST", one.url + CHAT, json=chat("hold midway", stream=True))
        with begun as answer:
            lines = answer.iter_lines()
            assert "base" in next(lines)
            completion_id = answer.headers["X-Pawl-Completion-Id"]
            began = time.monotonic()
            frozen = pool.submit(httpx.post, one.url + CHAT, json=chat("freeze"), timeout=60)
            eventually(lambda: one.seen()["n_running"] == 2, "it is asked")
            assert httpx.get(one.engine.base_url + "/health").status_code == 200
            assert told(frozen.result()) == (503, "engine_lost")
            assert time.monotonic() - began < 2 + 15
            last = [line for line in lines if line.startswith("data: ")][-1]
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_lost"
        back(one)
        (row,) = one.rows(completion_id)
        assert (row.status, row.completion) == ("error", "base heard ")


def test_a_stopped_process_that_nobody_asks(tmp_path: Path) -> None:
    with live(quick_to_notice(tmp_path)) as one:
        leader = int(read_json(tmp_path / "engine.json")["pid"])
        os.kill(max(processes.members(leader)), signal.SIGSTOP)
        back(one)
        log = one.engine.log_path
        assert log.exists()
        assert processes.members(leader) == []


def test_long_answers_that_show_nothing_until_their_end_are_left_alone(tmp_path: Path) -> None:
    """All places are taken, so the watchdog's own token has to wait too."""
    slow = fake_command("--speed", "1", "0.05", "0")
    with live(quick_to_notice(tmp_path, stuck_seconds=1), command=slow) as one:
        answer = httpx.post(one.url + CHAT, json=chat("count 80"), timeout=60)
        assert answer.status_code == 200
        assert one.engine.n_restarts == 0


def test_what_the_engines_api_says_of_a_dead_core_is_worth_trying_again(tmp_path: Path) -> None:
    with live(Settings(state_dir=tmp_path)) as one:
        assert told(httpx.post(one.url + CHAT, json=chat("core dies"))) == (503, "engine_lost")
        begun = httpx.post(one.url + CHAT, json=chat("core ends", stream=True))
        *_, last, rest = begun.text.split("\n\n")
        assert rest == "", "and no [DONE]"
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_lost"
        (row,) = one.rows(begun.headers["X-Pawl-Completion-Id"])
        assert (row.status, row.completion) == ("error", "base heard ")


def test_after_a_death_the_waiting_are_told_and_its_cause_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(state_dir=tmp_path, engine={"max_concurrent_requests": 1})
    with live(settings) as one, ThreadPoolExecutor(8) as pool:
        holding = [
            pool.submit(httpx.post, one.url + CHAT, json=chat("hold first"), timeout=60)
            for _ in range(8)
        ]
        eventually(lambda: one.gateway.admission.n_waiting == 7, "seven wait")
        leader = int(read_json(tmp_path / "engine.json")["pid"])
        os.kill(max(processes.members(leader)), signal.SIGKILL)
        codes = {told(one.result())[1] for one in holding}
        assert codes <= {"engine_lost", "engine_not_ready"}
        back(one)
        assert "exit code 137 (SIGKILL)" in caplog.text


def test_a_pause_of_this_process_is_not_one_of_the_engine() -> None:
    """A suspended machine, a stopped gateway."""

    async def scenario() -> str:
        activity, ended = Activity(), asyncio.get_running_loop().create_future()

        async def request(method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
            activity.n_signs += path == "/v1/completions"
            return 200, ""

        watching = asyncio.create_task(watch(request, activity, ended, 1.0))
        await asyncio.sleep(0.1)
        time.sleep(3)  # noqa: ASYNC251 - nothing runs meanwhile
        await asyncio.sleep(0.5)
        ended.set_result(0)
        return await watching

    assert asyncio.run(scenario()) == "the engine ended with exit code 0"


def test_an_engine_that_dies_at_each_first_request_is_given_up(tmp_path: Path) -> None:
    with live(Settings(state_dir=tmp_path)) as one:
        one.engine._backoff = (0.01,)

        def died() -> bool:
            if one.engine.state == "ready":
                httpx.post(one.url + CHAT, json=chat("die at once"), timeout=30)
            return one.engine.state == "failed"

        eventually(died, "it is given up")
        assert one.engine.n_restarts == 4
        assert "first request" in one.engine.detail
        answer = httpx.post(one.url + CHAT, json=chat("hello"))
        assert told(answer) == (503, "engine_failed")
