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
    from feedback.store import Store
    from serve.engine.supervisor import Engine

_log = logging.getLogger("pawl.promotion")


class Loader:
    """What a move asks of the engine. It decides nothing, and holds no lock.

    Args:
        settings: where adapters lie, and the engine's greatest rank.
        base: the base model that the engine runs.
        engine: None for command-line verbs without a server.
        store: says whose weights a version has that was made of a system prompt and sampling.
    """

    def __init__(
        self, settings: Settings, base: BaseModel, engine: Engine | None, store: Store
    ) -> None:
        self._settings = settings
        self._base = base
        self._engine = engine
        self._store = store

    @property
    def is_ready(self) -> bool:
        return self._engine is not None and self._engine.is_ready

    @property
    def loaded(self) -> frozenset[str]:
        """Adapters that the engine holds, each under the version that it came with."""
        return frozenset(self._engine.loaded) if self._engine else frozenset()

    async def broken(self, version: str) -> str:
        """Why a version can't be served with this base; empty when it can."""
        settings, weights = self._store.version_settings(version), self._store.weights_of(version)
        if settings is not None and settings.base_fingerprint != self._base.fingerprint:
            return (f"{version} was made for another base ({settings.base_fingerprint[:19]} is not "
                    f"{self._base.fingerprint[:19]})")  # fmt: skip
        if weights == BASE_VERSION:
            return ""
        folder, rank = self._settings.adapters_dir / weights, self._settings.engine.max_lora_rank
        try:
            await asyncio.to_thread(validate_adapter, folder, base=self._base, max_rank=rank)
        except (PawlError, OSError) as err:
            return str(err)
        return ""

    async def bring_in(self, version: str, champion: str) -> ProbeResult:
        """Load a version's weights (unless they are) and probe them, against the champion's too
        where the engine holds those; every failure is a ``failed`` result."""
        engine = self._engine
        assert engine is not None
        weights, rival = self._store.weights_of(version), self._store.weights_of(champion)
        adapter_dir = self._settings.adapters_dir / weights
        if broken := await self.broken(version):
            return ProbeResult("failed", broken)
        if weights == BASE_VERSION:
            if await self.base_answers():
                return ProbeResult("live", "the base answers, which needs no probe")
            return ProbeResult("failed", "the base does not answer")
        try:
            if weights not in engine.loaded:
                await engine.load_adapter(weights, adapter_dir)
            recorded = read_probe(adapter_dir)
            prefixes = [one.prefix_ids for one in recorded]
            has_rival = rival != weights and rival in engine.loaded
            return judge(
                recorded,
                await read_live(engine, weights, prefixes),
                await read_live(engine, BASE_VERSION, prefixes),
                await read_live(engine, rival, prefixes) if has_rival else None,
            )
        except (PawlError, OSError) as err:
            return ProbeResult("failed", str(err))

    async def unload(self, weights: str) -> None:
        """Take an adapter out of the engine. Its folder stays: the engine may read it again."""
        if self._engine is None or weights not in self._engine.loaded:
            return
        try:
            await self._engine.unload_adapter(weights)
        except (PawlError, OSError) as err:  # it only holds memory that a restart frees
            _log.warning("%s could not be unloaded: %s", weights, err)

    async def base_answers(self) -> bool:
        """Whether a failure was the adapter's: an engine that died answers nothing at all."""
        assert self._engine is not None
        try:
            return bool(await read_live(self._engine, BASE_VERSION, [[1]]))
        except PawlError:
            return False
