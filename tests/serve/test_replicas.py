"""A champion moves on all replicas or on none; one that comes back holds it before it answers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import psutil
import pytest

from pawl.schemas import PromotionRequest
from serve.engine.probe import read_live
from serve.engine.supervisor import Engine
from tests.serve.toy_world import World, toy_world, until

pytestmark = pytest.mark.slow


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 120))


def force(world: World, seed: int) -> PromotionRequest:
    return PromotionRequest(adapter_dir=str(world.adapter(f"a{seed}", seed)), force=True)


def held(world: World) -> list[set[str]]:
    """What each replica holds."""
    return [set(one.loaded) for one in world.engine.replicas]


def kill(engine: Engine) -> None:
    """End the engine's own process, as a crash would."""
    assert engine.pid is not None
    (child,) = psutil.Process(engine.pid).children()
    os.kill(child.pid, signal.SIGKILL)


def test_all_replicas_move_to_and_fro_together(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, n_replicas=3) as world:
            promoter = world.promoter
            for seed in (1, 2, 3):
                moved = await promoter.promote(force(world, seed))
                assert moved.outcome == "live", moved.reason
                for one in world.engine.replicas:
                    assert await read_live(one, f"pawl@{seed}", [[1, 2, 3]])
            assert promoter.offered == {"pawl@2", "pawl@3"}
            await until(lambda: held(world) == [{"pawl@2", "pawl@3"}] * 3)
            assert (await promoter.rollback()).version == "pawl@2"
            assert (await promoter.rollback("base")).outcome == "live"
            # While one has unloaded a version that the others still hold, it is said to lack it.
            await until(lambda: world.engine.detail == "3 of 3 replicas answer")

    run(test())


@pytest.mark.parametrize(
    ("fault", "words"), [("--deaf", "no room"), ("--impostor", "something else answers")]
)
def test_what_one_replica_can_not_serve_moves_none(tmp_path: Path, fault: str, words: str) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, n_replicas=3, odd=(fault, "pawl@2")) as world:
            assert (await world.promoter.promote(force(world, 1))).outcome == "live"
            (odd,) = (one for one in world.engine.replicas if fault in one.command[-1])
            moved = await world.promoter.promote(force(world, 2))
            assert moved.outcome == "refused"
            assert f"replica {odd.number}: " in moved.reason
            assert words in moved.reason
            assert f"'pawl engines drain {odd.number}'" in moved.reason
            assert world.store.champion() == "pawl@1"
            assert held(world) == [{"pawl@1"}] * 3
            world.engine.drain(odd.number)
            moved = await world.promoter.promote(force(world, 3))
            assert moved.outcome == "live", moved.reason
            assert "pawl@3" not in odd.loaded
            await until(lambda: odd.state == "off")
            await world.engine.bring_back(odd.number)
            await until(lambda: odd.is_serving)
            assert set(odd.loaded) == {"pawl@1", "pawl@3"}

    run(test())


def test_one_that_was_away_holds_what_the_others_serve_before_it_answers(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, n_replicas=3) as world:
            promoter, (first, second, third) = world.promoter, world.engine.replicas
            assert (await promoter.promote(force(world, 1))).outcome == "live"
            held_when_ready = []
            finish = second.on_ready

            async def look() -> None:
                await finish()
                held_when_ready.append(set(second.loaded))

            second.on_ready = look
            kill(second)
            await until(lambda: not second.is_ready)
            assert world.engine.state == "ready"
            moved = await promoter.promote(force(world, 2))  # by those that live
            assert moved.outcome == "live", moved.reason
            await until(lambda: second.state == "ready")
            assert held_when_ready == [{"pawl@1", "pawl@2"}]
            assert second.n_restarts == 1
            assert await read_live(second, "pawl@2", [[1, 2]]) == await read_live(
                third, "pawl@2", [[1, 2]]
            )
            assert first.n_restarts == third.n_restarts == 0

    run(test())


def test_one_that_is_brought_back_while_its_answers_end_holds_what_the_others_serve(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, n_replicas=2) as world:
            promoter, (_, second) = world.promoter, world.engine.replicas
            assert (await promoter.promote(force(world, 1))).outcome == "live"
            with second.routed("pawl@1", "a long answer"):
                world.engine.drain(2)
                moved = await promoter.promote(force(world, 2))  # by those that are not out
                assert moved.outcome == "live", moved.reason
                assert "pawl@2" not in second.loaded
                await world.engine.bring_back(2)
                assert (second.is_serving, second.n_restarts) == (True, 0)
                assert set(second.loaded) == {"pawl@1", "pawl@2"}

    run(test())


def test_one_that_dies_while_its_adapters_are_loaded_is_not_ready(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, n_replicas=2) as world:
            second = world.engine.replicas[1]
            caplog.set_level("INFO", logger="pawl.engine")
            caplog.clear()  # the first start is there where an earlier test set the level
            finish = second.on_ready

            async def die() -> None:
                second.on_ready = finish
                kill(second)

            second.on_ready = die
            kill(second)
            await until(lambda: second.n_restarts == 2 and second.is_serving)
            ready = [one for one in caplog.messages if one.startswith("engine-2 ready")]
            assert len(ready) == 1, caplog.messages

    run(test())


def test_one_that_dies_during_a_move_does_not_stop_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, n_replicas=3, odd=("--suicide", "pawl@1")) as world:
            moved = await world.promoter.promote(force(world, 1))
            assert moved.outcome == "live", moved.reason
            await until(lambda: world.engine.n_restarts == 1 and world.engine.n_serving == 3)
            assert held(world) == [{"pawl@1"}] * 3

    run(test())


def test_whether_a_failure_was_the_adapters_is_asked_of_the_replica_that_failed(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, n_replicas=2) as world:
            second, loader = world.engine.replicas[1], world.promoter._steps.loader
            kill(second)
            await until(lambda: not second.is_ready)
            assert not await loader.base_answers(on=second)  # so its failure was not the adapter's
            assert await loader.base_answers()  # of any

    run(test())


def test_an_adapter_that_kills_every_replica_is_refused_at_the_second_try(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, "--suicide", "pawl@2", n_replicas=2) as world:
            promoter = world.promoter
            assert (await promoter.promote(force(world, 1))).outcome == "live"
            moved = await promoter.promote(force(world, 2))
            assert moved.outcome == "pending", moved.reason
            await until(lambda: promoter.history()[-1].outcome == "refused")
            await until(lambda: world.engine.n_serving == 2 and held(world) == [{"pawl@1"}] * 2)
            assert world.store.champion() == "pawl@1"

    run(test())


def test_a_server_that_starts_brings_the_champion_into_all(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path, with_engine=False) as world:
            assert (await world.promoter.promote(force(world, 1))).outcome == "pending"
        async with toy_world(tmp_path, n_replicas=3) as world:
            assert world.store.champion() == "pawl@1"
            assert held(world) == [{"pawl@1"}] * 3
            assert [one.outcome for one in world.promoter.history()] == ["live"]
            files = sorted(one.name for one in world.settings.state_dir.glob("engine*.json"))
            assert files == ["engine-2.json", "engine-3.json", "engine.json"]
        left = world.settings.state_dir / "engine-3.json"
        left.write_text("{}")  # of a server that was killed, and had more of them
        async with toy_world(tmp_path) as world:
            assert world.promoter.offered == {"pawl@1"}
            assert not left.exists()

    run(test())
