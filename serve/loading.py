"""Adapters in and out of the running engine: checked on disk, loaded, probed, unloaded."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from feedback.champion import BASE_VERSION
from pawl.adapters import read_probe, validate_adapter
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine.probe import ProbeResult, judge, read_live

if TYPE_CHECKING:
    from serve.engine.supervisor import Engine

_log = logging.getLogger("pawl.promotion")


class Loader:
    """What a move asks of the engine. It decides nothing, and holds no lock.

    Args:
        settings: where adapters lie, and the engine's greatest rank.
        base: the base model that the engine runs.
        engine: None for command-line verbs without a server.
    """

    def __init__(self, settings: Settings, base: BaseModel, engine: Engine | None) -> None:
        self._settings = settings
        self._base = base
        self._engine = engine

    @property
    def is_ready(self) -> bool:
        return self._engine is not None and self._engine.is_ready

    @property
    def loaded(self) -> frozenset[str]:
        """Versions that the engine holds."""
        return frozenset(self._engine.loaded) if self._engine else frozenset()

    async def broken(self, version: str) -> str:
        """Why a version's folder is no adapter for this base; empty when it is one."""
        folder, rank = self._settings.adapters_dir / version, self._settings.engine.max_lora_rank
        try:
            await asyncio.to_thread(validate_adapter, folder, base=self._base, max_rank=rank)
        except (PawlError, OSError) as err:
            return str(err)
        return ""

    async def bring_in(self, version: str, champion: str) -> ProbeResult:
        """Load a version (unless it is) and probe it, against the champion too where the engine
        holds it; every failure is a ``failed`` result."""
        engine = self._engine
        assert engine is not None
        adapter_dir = self._settings.adapters_dir / version
        if broken := await self.broken(version):
            return ProbeResult("failed", broken)
        try:
            if version not in engine.loaded:
                await engine.load_adapter(version, adapter_dir)
            recorded = read_probe(adapter_dir)
            prefixes = [one.prefix_ids for one in recorded]
            rival = champion if champion != version and champion in engine.loaded else None
            return judge(
                recorded,
                await read_live(engine, version, prefixes),
                await read_live(engine, BASE_VERSION, prefixes),
                await read_live(engine, rival, prefixes) if rival else None,
            )
        except (PawlError, OSError) as err:
            return ProbeResult("failed", str(err))

    async def unload(self, version: str) -> None:
        """Take a version out of the engine. Its folder stays: the engine may read it again."""
        if self._engine is None or version not in self._engine.loaded:
            return
        try:
            await self._engine.unload_adapter(version)
        except (PawlError, OSError) as err:  # it only holds memory that a restart frees
            _log.warning("%s could not be unloaded: %s", version, err)

    async def base_answers(self) -> bool:
        """Whether a failure was the adapter's: an engine that died answers nothing at all."""
        assert self._engine is not None
        try:
            return bool(await read_live(self._engine, BASE_VERSION, [[1]]))
        except PawlError:
            return False
