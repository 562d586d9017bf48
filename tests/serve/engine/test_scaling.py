"""When replicas by load are started."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.api.admission import Admission
from serve.engine.child import Child, Start
from serve.engine.replicas import NOT_NEEDED, Replicas
from serve.scaling import RESTART_SECONDS, Scaling


async def lost(start: Start, say: Callable[[str], None]) -> Child:
    raise PawlError("its node was lost", code="node_lost", retryable=True)


class Load:
    """One replica, two spare ones and a place in each, by a clock of its own."""

    def __init__(self, state_dir: Path) -> None:
        engine = {"replicas": 1, "max_replicas": 3, "max_concurrent_requests": 1}
        settings = Settings(state_dir=state_dir, engine=engine)
        self.engine, self.now = settings.engine, 0.0
        base = BaseModel("base", Path(), None, "", "", 512)
        self.replicas = Replicas(settings, base, start=lost, backoff_seconds=(30.0,))
        self.admission = Admission(self.engine, clock=lambda: self.now)
        self.scaling = Scaling(self.engine, self.replicas, self.admission, clock=lambda: self.now)
        self._asking: list[asyncio.Task[None]] = []

    async def look_after(self, seconds: float) -> None:
        self.now += seconds
        await self.scaling.look()

    async def ask(self) -> None:
        """More than one place has room for."""

        async def ask() -> None:
            async with self.admission.place("ann", 1, 10):
                await asyncio.sleep(3600)

        self._asking = [asyncio.create_task(ask()) for _ in range(2)]
        await asyncio.sleep(0)

    async def take_out_third(self) -> None:
        """There are two; for want of load the later one is taken out."""
        first, _, third = self.replicas.replicas
        first.state = third.state = "ready"
        third.out_why = ""
        await self.look_after(self.engine.scale_down_seconds)
        assert third.out_why == NOT_NEEDED
        await asyncio.sleep(0.01)

    async def stop(self) -> None:
        for task in self._asking:
            task.cancel()
        await self.replicas.stop()


def test_one_that_cannot_start_keeps_no_further_one_back_for_long(tmp_path: Path) -> None:
    """As on a cluster whose node goes again and again."""

    async def look_while_answers_wait() -> None:
        load = Load(tmp_path)
        _, second, third = load.replicas.replicas
        await load.ask()
        for seconds, out in ((0.0, 2), (100.0, 1), (1.0, 1), (RESTART_SECONDS - 2, 1), (2.0, 0)):
            await load.look_after(seconds)
            await asyncio.sleep(0.01)
            assert [second.is_out, third.is_out].count(True) == out, load.now
        assert second.state == "restarting"
        await load.stop()

    asyncio.run(look_while_answers_wait())


def test_a_spare_one_that_an_operator_takes_out_stays_out(tmp_path: Path) -> None:
    """Also where load takes it out at that moment and its answers still end."""

    async def take_out() -> None:
        load = Load(tmp_path)
        _, second, third = load.replicas.replicas
        with third.routed("base", "talk"):
            await load.take_out_third()
            for one in (second, third):
                assert load.replicas.drain(one.number).is_out
        await _until(lambda: third.state == "off")
        assert [second.detail, third.detail] == ["taken out", "taken out"]
        await load.ask()
        await load.look_after(100)
        assert second.is_out
        assert third.is_out
        await load.replicas.bring_back(2)
        assert not second.is_out
        await load.stop()

    asyncio.run(take_out())


def test_one_whose_last_answers_still_end_is_there_at_once(tmp_path: Path) -> None:
    async def load_comes_back() -> None:
        load = Load(tmp_path)
        _, second, third = load.replicas.replicas
        with third.routed("base", "talk"):
            await load.take_out_third()
            assert third.state == "ready"
            await load.ask()
            await load.look_after(100)
            assert (second.is_out, third.is_out) == (True, False)
        await load.stop()

    asyncio.run(load_comes_back())


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - the state has no event of its own
            await asyncio.sleep(0.01)


def test_the_last_one_that_holds_the_champion_stays(tmp_path: Path) -> None:
    """As where the first one's disk is full, so that no adapter can be brought to it."""
    settings = Settings(state_dir=tmp_path, engine={"replicas": 1, "max_replicas": 2})
    now = 0.0

    async def look_while_nobody_asks() -> None:
        nonlocal now
        replicas = Replicas(settings, BaseModel("base", Path(), None, "", "", 512))
        replicas.champion = lambda: "pawl@1"
        admission = Admission(settings.engine, clock=lambda: now)
        scaling = Scaling(settings.engine, replicas, admission, clock=lambda: now)
        first, second = replicas.replicas
        first.state = second.state = "ready"
        second.out_why, second.loaded = "", {"pawl@1": tmp_path}
        for _ in range(2):
            now += settings.engine.scale_down_seconds
            await scaling.look()
            assert not second.is_out
        with pytest.raises(PawlError, match="no other one holds the champion's pawl@1"):
            replicas.drain(2)
        first.loaded = dict(second.loaded)
        now += settings.engine.scale_down_seconds
        await scaling.look()
        assert second.out_why == NOT_NEEDED
        await replicas.stop()

    asyncio.run(look_while_nobody_asks())
