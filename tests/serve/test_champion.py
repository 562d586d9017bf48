"""A start with other settings never takes the champion down; an engine that is half-way back
compares with nobody."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from pawl.errors import PawlError
from pawl.schemas import PromotionRequest
from pawl.settings import load_settings
from serve.api.in_flight import InFlight
from serve.promotion import Promoter
from serve.up import run_server
from tests.adapters_for_tests import light_base
from tests.serve.live import fake_command
from tests.serve.toy_world import World, toy_settings, toy_world


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 120))


async def promote(world: World, *seeds: int) -> None:
    for seed in seeds:
        adapter = world.adapter(f"a{seed}", seed)
        body = PromotionRequest(adapter_dir=str(adapter), force=True)
        assert (await world.promoter.promote(body)).outcome == "live"


@pytest.mark.slow
def test_a_start_with_another_base_or_rank_is_refused_and_the_champion_stays(
    tmp_path: Path,
) -> None:
    async def first() -> None:
        async with toy_world(tmp_path) as world:
            await promote(world, 1)

    run(first())
    right = toy_settings(tmp_path)
    light_base(tmp_path / "other", seed=7)
    flags = {"state_dir": right.state_dir, "model": right.model, "port": 0}
    low = {"engine": {"max_lora_rank": 2}, "train": {"lora_rank": 2}}
    for wrong, words in (
        ({"model": str(tmp_path / "other")}, f"--model {right.model}"),
        (low, r"--set engine.max_lora_rank=4"),
    ):
        with pytest.raises(PawlError, match="the champion pawl@1") as caught:
            run_server(load_settings({**flags, **wrong}), print, fake_command())
        assert words in str(caught.value)
        assert "pawl rollback --to base" in str(caught.value)
        assert not (right.state_dir / "engine.json").exists()

    async def again() -> None:
        async with toy_world(tmp_path) as world:
            assert world.store.champion() == "pawl@1"
            assert world.promoter.offered == {"pawl@1"}
            assert [one.outcome for one in world.promoter.history()] == ["live"]

    run(again())


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--deaf", "--impostor"])
def test_an_engine_that_serves_a_whole_champion_wrongly_does_not_dethrone_it(
    tmp_path: Path, option: str
) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            await promote(world, 1, 2)
        async with toy_world(tmp_path, option, "pawl@2") as world:
            assert world.store.champion() == "pawl@2"
            assert world.promoter.offered == frozenset()  # 'pawl' answers 503
            three = PromotionRequest(adapter_dir=str(world.adapter("three", 3)), force=True)
            waits = await world.promoter.promote(three)
            assert waits.outcome == "pending"  # there is nobody to compare it with
            moved = await world.promoter.rollback()
            assert (moved.outcome, moved.version) == ("live", "pawl@1"), moved.reason
            assert world.promoter.offered == {"pawl@1"}
            forth = await world.promoter.rollback("pawl@2")
            assert forth.outcome == "refused"
        async with toy_world(tmp_path) as world:  # a sound engine takes it again
            assert (await world.promoter.rollback("pawl@2")).outcome == "live"

    run(test())


@pytest.mark.slow
def test_a_promotion_while_the_engine_comes_back_waits_for_the_champion(tmp_path: Path) -> None:
    """The engine answers already, its champion is not in it yet: not the adapter's fault."""

    async def test() -> None:
        async with toy_world(tmp_path) as world:
            await promote(world, 1)
        async with toy_world(tmp_path) as world:
            assert world.engine is not None
            await world.engine.unload_adapter("pawl@1")  # as in a fresh engine
            fresh = Promoter(
                world.settings, world.base, world.store, world.engine, InFlight().drained
            )
            body = PromotionRequest(adapter_dir=str(world.adapter("two", 2)), force=True)
            assert (await fresh.promote(body)).outcome == "pending"
            finished = await fresh.finish_pending()
            assert [(one.version, one.outcome) for one in finished] == [("pawl@2", "live")]
            assert fresh.offered == {"pawl@1", "pawl@2"}
            await fresh.close()

    run(test())


def test_a_champion_of_no_readable_manifest_is_no_matter_of_settings(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            await promote(world, 1)
            (world.settings.adapters_dir / "pawl@1" / "manifest.json").write_text("{")
            world.promoter.check_champion()
            manifest = world.settings.adapters_dir / "pawl@1" / "manifest.json"
            manifest.write_text(json.dumps({"format": 1}))
            world.promoter.check_champion()

    run(test())
