"""A store, a toy engine and a promoter together, as a running server has them."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from feedback.store import Store
from pawl.models import BaseModel, resolve_model
from pawl.settings import Settings, load_settings
from serve.api.in_flight import InFlight
from serve.engine.replicas import make_engine
from serve.promotion import Promoter
from tests.adapters_for_tests import light_adapter, light_base

TOY_ENGINE = Path(__file__).with_name("toy_engine.py")
REPOSITORY = TOY_ENGINE.parents[2]


@dataclass
class World:
    """What a test acts on. ``engine`` is None in a process without a server, else one engine or its
    replicas."""

    settings: Settings
    base: BaseModel
    store: Store
    engine: Any
    in_flight: InFlight
    promoter: Promoter

    def adapter(self, name: str, seed: int, strength: float = 0.5) -> Path:
        """A good adapter in a folder of its own."""
        folder = self.settings.state_dir.parent / name
        return light_adapter(folder, self.base, seed=seed, strength=strength)


def toy_settings(tmp_path: Path, n_replicas: int = 1) -> Settings:
    model_dir = tmp_path / "base"
    if not model_dir.exists():
        light_base(model_dir)
    return load_settings({"state_dir": tmp_path / "state", "model": str(model_dir),
                          "engine": {"replicas": n_replicas}})  # fmt: skip


@asynccontextmanager
async def toy_world(
    tmp_path: Path,
    *options: str,
    with_engine: bool = True,
    n_replicas: int = 1,
    odd: Sequence[str] = (),
) -> AsyncIterator[World]:
    """Start it; ``options`` are the toy engine's, ``odd`` those of the second one that is started.
    The same ``tmp_path`` finds the same store."""
    settings = toy_settings(tmp_path, n_replicas)
    started = itertools.count(1)
    base = resolve_model(settings.model, cache_dir=tmp_path)
    store = Store.open(settings.database_path)
    in_flight = InFlight()
    engine: Any = None
    if with_engine:
        engine = make_engine(
            settings,
            base,
            command=lambda settings, model, port: [
                sys.executable,
                "-c",
                f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); sys.argv[1:] = "
                f"{[str(port), *options, *(odd if next(started) == 2 else ())]!r}; "
                "from tests.serve.toy_engine import main; main()",
            ],
        )
    promoter = Promoter(settings, base, store, engine, in_flight.drained)
    if engine is not None:
        for one in engine.replicas:
            one.on_ready = partial(promoter.finish_pending, one)
    try:
        if engine is not None:
            await engine.start()
            for one in engine.replicas:
                await one.wait_ready(30)
        yield World(settings, base, store, engine, in_flight, promoter)
    finally:
        await promoter.close()
        if engine is not None:
            await engine.stop()
        store.close()


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for a condition; a test fails when it does not come true in time."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the conditions live in another process
            await asyncio.sleep(0.01)
