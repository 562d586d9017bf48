"""A start with other settings never takes the champion down; an engine that is half-way back
compares with nobody."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import shutil
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pawl.adapters import MANIFEST, PROBE, WEIGHTS, read_manifest
from pawl.errors import PawlError
from pawl.files import read_json, sha256_file, write_json
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


@contextmanager
def no_more_files() -> Iterator[None]:
    """This process can open none: the adapter is whole, and nobody can read it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_an_adapter_that_cannot_be_read_for_a_while_is_not_broken(tmp_path: Path) -> None:
    async def test() -> None:
        async with toy_world(tmp_path) as world:
            await promote(world, 1)
            with no_more_files():
                with pytest.raises(PawlError) as caught:
                    read_manifest(world.settings.adapters_dir / "pawl@1")
                looking = asyncio.create_task(world.promoter.broken("pawl@1"))
                await asyncio.sleep(0.5)
            assert (caught.value.code, caught.value.retryable) == ("adapter_unreadable", True)
            assert await looking == ""
            weights = world.settings.adapters_dir / "pawl@1" / WEIGHTS
            weights.write_bytes(weights.read_bytes()[:-1])
            assert "has changed" in await world.promoter.broken("pawl@1")

    run(test())


@pytest.mark.slow
def test_a_disk_that_gives_no_files_dethrones_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.loading._DISK_WAITS", (0.1, 0.1))

    async def test() -> None:
        async with toy_world(tmp_path) as world:
            await promote(world, 1, 2)
            [weights] = world.base.model_dir.glob("*.safetensors")
            whole = weights.read_bytes()
            weights.write_bytes(b"")
            with pytest.raises(PawlError) as caught:
                await world.promoter.finish_pending(world.engine)
            assert (caught.value.code, caught.value.retryable) == ("adapter_unreadable", True)
            assert "pawl@2" not in world.promoter.offered
            weights.write_bytes(whole)
            assert await world.promoter.finish_pending(world.engine) == []
            assert world.store.champion() == "pawl@2"
            assert "pawl@2" in world.promoter.offered

    run(test())


@pytest.mark.slow
def test_a_champion_whose_probe_record_was_erased_is_served_on(tmp_path: Path) -> None:
    async def first() -> None:
        async with toy_world(tmp_path) as world:
            await promote(world, 1, 2)

    async def refuse(folder: Path) -> None:
        async with toy_world(tmp_path) as world:
            body = PromotionRequest(adapter_dir=str(shutil.copytree(folder, tmp_path / "new")),
                                    force=True)  # fmt: skip
            moved = await world.promoter.promote(body)
            assert (moved.outcome, "no position" in moved.reason) == ("refused", True)

    async def again(*options: str) -> tuple[str, frozenset[str]]:
        async with toy_world(tmp_path, *options) as world:
            return world.store.champion(), frozenset(world.promoter.offered)

    run(first())
    folder = toy_settings(tmp_path, 1).adapters_dir / "pawl@2"
    manifest = read_json(folder / MANIFEST)
    write_json(folder / PROBE, [])  # as feedback.erased_files.redact_probe leaves it
    manifest["files_sha256"][PROBE] = sha256_file(folder / PROBE)
    write_json(folder / MANIFEST, manifest)
    assert asyncio.run(again()) == ("pawl@2", {"pawl@1", "pawl@2"})
    # An engine that takes an adapter and lets the base answer is seen all the same.
    assert asyncio.run(again("--impostor", "pawl@2")) == ("pawl@2", set())
    run(refuse(folder))
