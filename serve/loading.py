"""Adapters in and out of the running engine and its replicas: checked, loaded, probed, unloaded."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from feedback.champion import BASE_VERSION
from pawl.adapters import read_probe, validate_adapter
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine.probe import NEUTRAL_PREFIXES, ProbeResult, judge, read_live

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.engine.replicas import AnyEngine
    from serve.engine.supervisor import Engine

_log = logging.getLogger("pawl.promotion")
_DISK_WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before a folder that can't be read is tried again
_BEST_FIRST = ("live", "indistinguishable", "failed")


class Loader:
    """What a move asks of the engine. It decides nothing, and holds no lock.

    Args:
        settings: where adapters lie, and the engine's greatest rank.
        base: the base model that the engine runs.
        engine: None for command-line verbs without a server.
        store: says whose weights a version has that was made of a system prompt and sampling.
    """

    def __init__(
        self, settings: Settings, base: BaseModel, engine: AnyEngine | None, store: Store
    ) -> None:
        self._settings = settings
        self._base = base
        self._replicas = engine.replicas if engine is not None else ()
        self._store = store

    @property
    def is_ready(self) -> bool:
        return bool(self.living)

    @property
    def living(self) -> list[Engine]:
        """The replicas that answer, those among them that take no requests yet; none that was
        taken out."""
        return [one for one in self._replicas if one.is_ready and not one.is_out]

    @property
    def loaded(self) -> frozenset[str]:
        """Adapters that a replica holds, each under the version that it came with."""
        return frozenset().union(*(one.loaded for one in self._replicas))

    def is_of_this_base(self, version: str) -> bool:
        """Whether a version's prompt and sampling were made for the base that is served."""
        settings = self._store.version_settings(version)
        return settings is None or settings.base_fingerprint == self._base.fingerprint

    async def broken(self, version: str) -> str:
        """Why a version can't be served with this base; empty when it can.

        Raises:
            PawlError: for 15 s the disk did not give its files, which may be whole
                (``adapter_unreadable``).
        """
        settings, weights = self._store.version_settings(version), self._store.weights_of(version)
        if settings is not None and not self.is_of_this_base(version):
            return (f"{version} was made for another base ({settings.base_fingerprint[:19]} is not "
                    f"{self._base.fingerprint[:19]})")  # fmt: skip
        if weights == BASE_VERSION:
            return ""
        folder, rank = self._settings.adapters_dir / weights, self._settings.engine.max_lora_rank
        for wait in (*_DISK_WAITS, None):
            try:
                await asyncio.to_thread(validate_adapter, folder, base=self._base, max_rank=rank)
            except (PawlError, OSError) as err:
                if isinstance(err, PawlError) and not err.retryable:
                    return str(err)
                if wait is None:
                    raise PawlError(
                        f"the files of {version} can't be read",
                        err.why if isinstance(err, PawlError) else str(err),
                        "Mend the disk, its mount or the permissions, and start Pawl again; "
                        "'pawl rollback' goes to another version",
                        code="adapter_unreadable",
                        retryable=True,
                    ) from err
                _log.warning("%s, tried again in %g s: %s", version, wait, err)
                await asyncio.sleep(wait)
            else:
                break
        return ""

    async def bring_in(
        self, version: str, champion: str, *, on: Engine | None = None
    ) -> ProbeResult:
        """Load a version's weights (unless they are) and probe them, against the champion's too
        where the engine holds those; every failure is a ``failed`` result.

        On each replica that lives, or one alone, and the worst result counts. One that goes away
        meanwhile is left out where others answer: it loads what they serve before it is back.
        """
        try:
            broken = await self.broken(version)
        except PawlError as err:
            broken = str(err)
        if broken:
            return ProbeResult("failed", broken)
        weights, rival = self._store.weights_of(version), self._store.weights_of(champion)
        # Where none lives any more, the first says so.
        engines = [on] if on is not None else self.living or list(self._replicas[:1])
        lives = [one.activity for one in engines]
        results = await asyncio.gather(
            *(self._bring_into(engine, weights, rival) for engine in engines)
        )
        if len(engines) > 1:
            there = [
                result
                for result, engine, life in zip(results, engines, lives, strict=True)
                if result.outcome != "failed"
                or (engine.activity is life and await _answers(engine))
            ]
            results = there or results
        return max(results, key=lambda one: _BEST_FIRST.index(one.outcome))

    async def _bring_into(self, engine: Engine, weights: str, rival: str) -> ProbeResult:
        where = f"replica {engine.number}: " if len(self._replicas) > 1 else ""
        if weights == BASE_VERSION:
            if await _answers(engine):
                return ProbeResult("live", "the base's weights need no probe")
            return ProbeResult("failed", f"{where}the base does not answer")
        adapter_dir = self._settings.adapters_dir / weights
        try:
            if weights not in engine.loaded:
                await engine.load_adapter(weights, adapter_dir)
            recorded = read_probe(adapter_dir)
            prefixes = [one.prefix_ids for one in recorded] or NEUTRAL_PREFIXES
            has_rival = rival != weights and rival in engine.loaded
            result = judge(
                recorded,
                await read_live(engine, weights, prefixes),
                await read_live(engine, BASE_VERSION, prefixes),
                await read_live(engine, rival, prefixes) if has_rival else None,
            )
        except (PawlError, OSError) as err:
            return ProbeResult("failed", f"{where}{err}{self._way_out(engine)}")
        if result.outcome == "failed":
            return replace(result, reason=f"{where}{result.reason}{self._way_out(engine)}")
        return result

    def _way_out(self, engine: Engine) -> str:
        """What to do where one of several answers wrongly and so holds up a move of all."""
        if len(self.living) < 2:
            return ""
        return f" (if it alone is at fault: 'pawl engines drain {engine.number}', then again)"

    async def unload(self, weights: str, *, on: Engine | None = None) -> None:
        """Take an adapter out of every replica, or of one. Its folder stays: the engine may read
        it again."""
        for engine in self._replicas if on is None else [on]:
            try:
                await engine.unload_adapter(weights)
            except (PawlError, OSError) as err:  # it only holds memory that a restart frees
                _log.warning("%s could not be unloaded: %s", weights, err)

    async def base_answers(self, on: Engine | None = None) -> bool:
        """Whether a failure was the adapter's: an engine that died answers nothing at all.
        ``on``: the one engine that failed; None: any of the living ones."""
        engines = self.living if on is None else [on]
        return any(await asyncio.gather(*map(_answers, engines)))


async def _answers(engine: Engine) -> bool:
    try:
        return bool(await read_live(engine, BASE_VERSION, [[1]]))
    except PawlError:
        return False
