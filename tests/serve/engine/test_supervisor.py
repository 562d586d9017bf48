"""The engine's life: up, watched, back after a death, and gone with everything it started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine import session as processes
from serve.engine.child import Child, LocalChild, Start, start_local
from serve.engine.session import reap_left_over
from serve.engine.supervisor import Engine
from tests.serve.live import FAKE_BASE, fake_command

pytestmark = pytest.mark.slow


def make(tmp_path: Path, *options: str, backoff: tuple[float, ...] = (0.05,)) -> Engine:
    return Engine(Settings(state_dir=tmp_path), FAKE_BASE, command=fake_command(*options),
                  backoff_seconds=backoff)  # fmt: skip


def session_of(tmp_path: Path) -> int:
    return int(read_json(tmp_path / "engine.json")["pid"])


async def until(holds: Any, what: str, seconds: float = 60) -> None:
    """Wait until ``holds()``; ``what`` says in the traceback what was waited for."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - the state has no event of its own
            await asyncio.sleep(0.02)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


def test_it_starts_serves_adapters_and_stops_with_all_its_processes(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make(tmp_path, "--with-child")
        assert engine.state == "off"
        await engine.start()
        await engine.wait_ready()
        assert engine.progress_fraction == 1.0
        assert engine.start_seconds is not None
        await engine.load_adapter("pawl@1", tmp_path / "pawl@1")
        async with engine.session.get(engine.base_url + "/seen") as answer:
            assert (await answer.json())["adapters"] == {"pawl@1": str(tmp_path / "pawl@1")}
        url, body = "/v1/unload_lora_adapter", {"lora_name": "pawl@1"}
        lost, _ = await engine.request("POST", url, body, seconds=60)
        assert lost == 200
        with pytest.raises(PawlError, match="cannot be found"):
            await engine.unload_adapter("pawl@1")
        assert not engine.loaded  # else it would never be loaded again
        await engine.load_adapter("pawl@1", tmp_path / "pawl@1")
        await engine.unload_adapter("pawl@1")
        assert not engine.loaded
        session = session_of(tmp_path)
        assert len(processes.members(session)) == 3  # the keeper, the engine, its child
        await engine.stop()
        assert processes.members(session) == []
        assert engine.state == "off"
        assert not (tmp_path / "engine.json").exists()

    run(scenario())


def test_who_is_brought_back_while_it_stops_starts_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make(tmp_path)
        await engine.start()
        await engine.wait_ready()
        pid = engine.pid
        draining = asyncio.create_task(engine.drain("taken out"))
        await until(lambda: not engine.is_ready, "it is being stopped")
        assert not draining.done()
        await engine.bring_back()
        await draining
        await engine.wait_ready(20)
        assert engine.is_serving
        assert engine.pid not in (None, pid)
        await engine.stop()

    run(scenario())


def test_one_whose_machine_goes_gets_nothing_new_and_ends_with_its_last_answer(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        leaving = asyncio.Event()

        async def start(start: Start, say: Callable[[str], None]) -> Child:
            child = await start_local(start, say)
            child.leaving = leaving.wait  # type: ignore[method-assign, assignment]
            return child

        engine = Engine(Settings(state_dir=tmp_path), FAKE_BASE, command=fake_command(),
                        backoff_seconds=(0.05,), start=start)  # fmt: skip
        await engine.start()
        await engine.wait_ready()
        pid = engine.pid
        with engine.routed("base", "talk"):
            leaving.set()
            await until(lambda: engine.state != "ready", "new requests wait, or go to others")
            assert not engine.is_serving
            await asyncio.sleep(0.5)
            assert engine.pid == pid  # for the answer that is under way
        leaving.clear()
        await engine.wait_ready(60)
        assert engine.pid not in (None, pid)
        await engine.stop()

    run(scenario())


def test_one_that_can_not_be_noted_is_ended(tmp_path: Path) -> None:
    """As on a full disk: it runs, and the file that names it can't be written."""

    def command(settings: Settings, model: BaseModel, port: int) -> list[str]:
        (tmp_path / "engine.json").mkdir()  # where the file is to be
        return fake_command()(settings, model, port)

    async def scenario() -> None:
        start = Start(Settings(state_dir=tmp_path), FAKE_BASE, command, "key")
        start.log_path.parent.mkdir(parents=True)
        with pytest.raises(OSError, match="engine\\.json"):
            await start_local(start)
        assert psutil.Process().children() == before

    before = psutil.Process().children()
    run(scenario())


def test_a_stop_that_interrupts_an_end_ends_it(tmp_path: Path) -> None:
    """The engine was lost, and what it left is ended slowly, as on another machine."""

    async def scenario() -> None:
        ends, has_ended = asyncio.Event(), asyncio.Event()

        async def start(start: Start, say: Callable[[str], None]) -> Child:
            child = await start_local(start, say)
            end = child.end

            async def end_slowly() -> None:
                ends.set()
                await asyncio.sleep(0.5)
                await end()
                has_ended.set()

            child.end = end_slowly  # type: ignore[method-assign]
            return child

        engine = Engine(Settings(state_dir=tmp_path), FAKE_BASE, command=fake_command(),
                        backoff_seconds=(60,), start=start)  # fmt: skip
        await engine.start()
        await engine.wait_ready()
        os.kill(processes.members(session_of(tmp_path), engine.pid)[0], signal.SIGKILL)
        await asyncio.wait_for(ends.wait(), 60)
        await engine.stop()
        assert has_ended.is_set()
        assert engine.pid is None

    run(scenario())


class LostChild(LocalChild):
    """Its machine is lost once it answers."""

    is_lost = False

    @property
    def ended(self) -> Any:
        return "its node was lost" if self.is_lost else None

    async def wait(self) -> Any:
        self.is_lost = True
        return self.ended


def test_losses_of_its_machine_are_no_ends_at_a_first_request(tmp_path: Path) -> None:
    async def scenario() -> None:
        async def start(start: Start, say: Callable[[str], None]) -> Child:
            child = await start_local(start, say)
            child.__class__ = LostChild
            return child

        async def is_asked() -> None:
            engine.activity.n_asked += 1

        engine = Engine(Settings(state_dir=tmp_path), FAKE_BASE, command=fake_command(),
                        backoff_seconds=(0.01,), start=start)  # fmt: skip
        engine.on_ready = is_asked
        await engine.start()
        await until(lambda: engine.n_restarts > 5 or engine.state == "failed", "it is lost often")
        assert engine.state != "failed", engine.detail
        await engine.stop()

    run(scenario())


@pytest.mark.parametrize("victim", [0, 1], ids=["the keeper", "the engine"])
def test_it_comes_back_after_a_kill_with_its_adapters(tmp_path: Path, victim: int) -> None:
    async def scenario() -> None:
        engine = make(tmp_path, "--with-child")

        async def load_again() -> None:
            await engine.load_adapter("pawl@1", tmp_path / "pawl@1")

        engine.on_ready = load_again
        await engine.start()
        await engine.wait_ready()
        session = session_of(tmp_path)
        os.kill(sorted(processes.members(session))[victim], signal.SIGKILL)
        await until(lambda: engine.state == "restarting", "the death is seen")
        assert not engine.loaded
        await until(lambda: engine.state == "ready", "it is back")
        assert engine.n_restarts == 1
        assert list(engine.loaded) == ["pawl@1"]
        assert processes.members(session) == []
        await engine.stop()

    run(scenario())


def test_one_that_has_worked_is_never_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make(tmp_path)

        async def die() -> None:
            body = {"model": "base", "messages": [{"role": "user", "content": "die"}]}
            with pytest.raises(aiohttp.ClientError):
                await engine.session.post(engine.base_url + "/v1/chat/completions", json=body,
                                          headers={"X-Request-Id": "x"})  # fmt: skip

        engine.on_ready = die
        await engine.start()
        await until(lambda: engine.n_restarts > 6, "it starts again and again", 60)
        engine.on_ready = None
        await until(lambda: engine.state == "ready", "it stays when it can", 60)
        await engine.stop()

    run(scenario())


def test_a_start_that_fails_shows_the_command_and_the_logs_tail(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make(tmp_path, "--fail")
        await engine.start()
        with pytest.raises(PawlError) as caught:
            await engine.wait_ready()
        assert engine.state == "failed"
        text = str(caught.value)
        assert "ended with exit code 1 while it started" in text
        assert "ValueError: this model is not supported" in text
        assert "fake_vllm.py" in text
        assert "non-default args: a fake" in text
        with pytest.raises(PawlError, match="not running"):
            await engine.load_adapter("pawl@1", tmp_path)
        await engine.stop()

    run(scenario())


def test_one_that_answers_but_cannot_generate_is_not_ready(tmp_path: Path) -> None:
    async def scenario() -> None:
        engine = make(tmp_path, "--no-token")
        await engine.start()
        with pytest.raises(PawlError) as caught:
            await engine.wait_ready(60)
        assert engine.state == "failed"
        assert caught.value.why == "RuntimeError: Unsupported: head_dim=24"  # the worker's own
        await engine.stop()

    run(scenario())


def test_a_start_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = Settings(state_dir=tmp_path, engine={"start_timeout_seconds": 1.5})
        engine = Engine(settings, FAKE_BASE, command=fake_command("--never-ready"))
        await engine.start()
        with pytest.raises(PawlError, match="was not ready after 2 s"):
            await engine.wait_ready(30)
        assert not (tmp_path / "engine.json").exists()
        await engine.stop()

    run(scenario())


def test_what_a_killed_gateway_and_keeper_left_is_ended_at_the_next_start(tmp_path: Path) -> None:
    async def first() -> int:
        engine = make(tmp_path, "--with-child")
        await engine.start()
        await engine.wait_ready()
        session = session_of(tmp_path)
        noted = read_json(tmp_path / "engine.json")
        child = sorted(processes.members(session))[2]
        os.kill(session, signal.SIGSTOP)  # a keeper that can do nothing any more
        os.kill(sorted(processes.members(session))[1], signal.SIGKILL)
        assert child in processes.members(session)
        write_json(tmp_path / "left.json", noted)
        assert await asyncio.to_thread(reap_left_over, tmp_path / "left.json") >= 1
        assert processes.members(session) == []
        await engine.stop()
        return session

    assert asyncio.run(first())


def test_only_who_holds_its_key_may_ask_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program of this machine can't chat or load adapters behind the gateway's back; and
    a key that somebody exported for a vLLM of their own does not lock us out of ours."""
    monkeypatch.setenv("VLLM_API_KEY", "somebody-elses")

    async def scenario() -> None:
        engine = make(tmp_path)
        await engine.start()
        try:
            await engine.wait_ready()
            await engine.load_adapter("pawl@1", tmp_path / "pawl@1")
            body = {"lora_name": "evil", "lora_path": str(tmp_path)}
            for key in (None, "somebody-elses"):
                headers = {"Authorization": f"Bearer {key}"} if key else {}
                async with (
                    aiohttp.ClientSession(headers=headers) as stranger,
                    stranger.post(engine.base_url + "/v1/load_lora_adapter", json=body) as answer,
                ):
                    assert answer.status == 401
            async with engine.session.get(engine.base_url + "/seen") as answer:
                assert set((await answer.json())["adapters"]) == {"pawl@1"}
        finally:
            await engine.stop()

    run(scenario())
