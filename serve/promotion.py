"""Moves the champion: brings a trained adapter into the running engine, and takes it back.

    number -> validate, copy to adapters/pawl@N -> record `pending` -> load -> probe -> record

A version of a system prompt and sampling (``serve.version_settings``) has a row instead of a
folder; until somebody promotes it, it is `made`: it can be asked for by name.

Where a person must sign (``promotion.approval``), `waiting` is recorded before `pending`; where it
answers a share of the conversations first (``promotion.canary_share``), `canary` after the probe
(``serve.canary``), after which it may wait for a person, too. Both end when another champion comes.

The folder is whole before any row names it, and the row that moves the champion is written last,
so a crash at any moment leaves the old champion, and at most a `pending` row that the next start
carries on with. One move at a time. Its steps are in ``serve.promotion_steps``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from feedback.champion import BASE_VERSION, rollback_target
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import CanaryOutcome, Promotion, PromotionRequest
from pawl.settings import Settings
from serve.candidate import (
    Candidate,
    check_named,
    check_verdict,
    find_candidate,
    install,
    sweep,
)
from serve.champion import check_fits, check_made_for
from serve.engine.probe import ProbeResult
from serve.loading import Loader
from serve.promotion_steps import UNDER_WAY, Steps, begin, stale
from serve.restoring import make_ready
from serve.version_settings import keep_settings, made_of, settings_of

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.engine.replicas import AnyEngine
    from serve.engine.supervisor import Engine


class Promoter:
    """Promotes and rolls back, one at a time.

    Args:
        settings: where adapters and runs lie, and the engine's greatest rank.
        base: the base model that the engine runs.
        store: keeps the moves; its newest ``live`` row names the champion.
        engine: None for command-line verbs without a server.
        drained: waits until no request is in flight on a version.
    """

    def __init__(
        self,
        settings: Settings,
        base: BaseModel,
        store: Store,
        engine: AnyEngine | None,
        drained: Callable[[str], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._base = base
        self._store = store
        self._steps = Steps(settings, store, Loader(settings, base, engine, store), drained)

    @property
    def offered(self) -> frozenset[str]:
        """Versions that requests may be sent to now: their adapters are loaded, probed, and not on
        their way out.

        Without an adapter's until ``finish_pending`` has made a fresh engine ready.
        """
        return self._steps.offered

    def history(self) -> list[Promotion]:
        """Every move as it stands now, in the order in which they were begun: a move that waited
        for the engine has several rows under one ``promotion_id``, of which the newest counts."""
        return self._steps.history()

    @property
    def canary(self) -> Promotion | None:
        """The challenger that answers a share of the conversations. From memory: free to ask."""
        return self._steps.canary

    async def promote(self, request: PromotionRequest, made_by: str = "") -> Promotion:
        """Bring an adapter, or a version of a system prompt and sampling in; the answer says what
        became of it.

        ``live``: it is champion. ``indistinguishable``: it answers like the base or the champion,
        which stays (``force`` makes it champion all the same). ``refused``: the gate, a check, the
        engine or the probe said no. ``pending``: no engine runs; the next start loads and probes.
        ``waiting``: a person must sign first, unless ``force`` did. ``canary``: it answers a
        share of the conversations. ``made``: it has a name, and nobody promoted it yet. What is
        under way is not begun again; ``force`` ends its wait or its canary.

        Args:
            made_by: who asks.

        Raises:
            PawlError: the request itself makes no sense; nothing was tried or recorded.
        """
        check_named(request)
        if request.version or request.system_prompt is not None or request.sampling():
            return await self._steps.unbroken(self._promote_settings(request, made_by))
        candidate = find_candidate(request, self._settings)
        return await self._steps.unbroken(self._promote(candidate, made_by))

    async def approve(self, run_id: str) -> Promotion:
        """Let a challenger in that waits for a person, or end its canary: one that had its share
        of the conversations answers all. The answer says what became of it.

        Raises:
            PawlError: no challenger of this run waits, or is on its canary.
        """
        return await self._steps.unbroken(self._approve(run_id))

    async def reject(self, run_id: str) -> Promotion:
        """Refuse a challenger that waits for a person, or take it back from its canary.

        Raises:
            PawlError: no challenger of this run is there.
        """
        return await self._steps.unbroken(self._reject(run_id))

    async def end_canary(
        self, promotion_id: str, outcome: CanaryOutcome, reason: str
    ) -> Promotion | None:
        """Let the challenger answer everybody (``live``), or nobody. None: it is no canary any
        more, or is to answer everybody and can't now."""
        return await self._steps.unbroken(self._end_canary(promotion_id, outcome, reason))

    async def rollback(self, to: str | None = None) -> Promotion:
        """Make an earlier champion the champion again: the one before this one, or ``to``.

        ``refused`` when the engine can't serve it as it was trained; the base always can be.
        Without an engine the pointer moves at once, for the target has been live before; the next
        start loads and probes it as it does any champion.

        Raises:
            PawlError: there is nothing to go back to, or ``to`` was never champion; without ``to``
                also while a canary runs: the champion may not be the one that answers badly.
        """
        return await self._steps.unbroken(self._rollback(to))

    @asynccontextmanager
    async def borrowed(self, version: str) -> AsyncIterator[ProbeResult]:
        """A version in the engine as long as the block runs, with what its probe found; users may
        ask for it no more than before. To be asked while an engine is ready."""
        async with self._steps.borrowed(version) as result:
            yield result

    async def broken(self, version: str) -> str:
        """Why a version can't be served; empty when it can, and for the base."""
        return "" if version == BASE_VERSION else await self._steps.loader.broken(version)

    async def finish_pending(self, engine: Engine | None = None) -> list[Promotion]:
        """Make a fresh engine ready: load and probe the champion, then carry on what was pending.
        A replica (``engine``) that comes to others loads and probes what they serve.

        To be called whenever the engine has (re)started. A champion whose folder is broken is
        rolled back, with the reason, to the first before it that is whole. One that is whole stays
        champion, whatever the engine does with it.

        Raises:
            PawlError: the champion is whole but could not be loaded or answers wrongly; pending
                promotions wait on.
        """
        return await self._steps.unbroken(self._finish_pending(engine))

    def check_champion(self) -> None:
        """Make sure that these settings serve the champion. Raises PawlError: they don't."""
        settings = self._store.version_settings(self._store.champion())
        if settings is not None:
            check_made_for(settings, base=self._base)
        weights = self._store.weights_of(self._store.champion())
        if weights != BASE_VERSION:
            folder, engine = self._settings.adapters_dir / weights, self._settings.engine
            check_fits(folder, base=self._base, max_rank=engine.max_lora_rank)

    async def close(self) -> None:
        """Stop every move under way and every wait for an old version to drain. A promotion that
        is stopped stays pending, and the next start carries on with it."""
        await self._steps.close()

    # ---- moves, each under the lock ----

    async def _promote(self, candidate: Candidate, made_by: str) -> Promotion:
        async with self._steps.lock:
            under_way = self._steps.under_way(candidate.run_id)
            if under_way is not None:
                return await self._carry_on(under_way, force=candidate.force)
            champion = self._store.champion()
            if candidate.version == champion:
                raise PawlError(
                    f"{champion}, which {candidate.run_id} tested, is the champion already",
                    do="See 'pawl history'",
                    code="already_champion",
                )
            if candidate.version is not None:
                settings_of(candidate.version, self._store)
            version = candidate.version or (
                f"pawl@{await asyncio.to_thread(self._store.next_version)}"
            )
            row = begin("promote", version, champion, candidate.run_id)
            row = replace(row, probe={"forced": candidate.force, "n_tries": 0})
            try:
                await asyncio.to_thread(self._prepare, candidate, version, champion, made_by)
            except PawlError as err:
                return await self._steps.record(row, "refused", str(err))
            except OSError as err:
                return await self._steps.record(row, "refused", f"it could not be copied: {err}")
            if self._settings.promotion.approval and not candidate.force:
                reason = f"a person must sign: 'pawl approve {row.run_id}', or 'pawl reject'"
                return await self._steps.record(row, "waiting", reason)
            return await self._steps.let_in(row, "waits for the engine to load and probe it")

    def _prepare(self, candidate: Candidate, version: str, champion: str, made_by: str) -> None:
        """Bring what a run tested to its place. Raises PawlError, OSError: it can't be served, or
        the gate did not let it through."""
        if candidate.version is None:
            install(candidate, version, champion, base=self._base, settings=self._settings)
        elif candidate.run_dir is not None and not candidate.force:
            made = settings_of(version, self._store)
            check_verdict(candidate.run_dir, made.fingerprint, champion)
        if candidate.settings_of is not None:
            keep_settings(
                version, candidate.settings_of, made_by,
                base=self._base, store=self._store, settings=self._settings,
            )  # fmt: skip

    async def _promote_settings(self, request: PromotionRequest, made_by: str) -> Promotion:
        async with self._steps.lock:
            if request.version:
                made = settings_of(request.version, self._store)
            else:
                made = await asyncio.to_thread(
                    made_of, request, made_by,
                    base=self._base, store=self._store, settings=self._settings,
                )  # fmt: skip
            version, champion = made.version, self._store.champion()
            known = [row for row in self.history() if row.version == version]
            for row in reversed(known):
                # Of those made, the newest row alone: one that was champion since is let go of.
                is_made = row is known[-1] and row.outcome == "made"
                if row.outcome in UNDER_WAY:
                    return await self._carry_on(row, force=bool(request.force))
                if is_made and not request.force:
                    return row
            if version == champion:
                raise PawlError(
                    f"{version}, which is exactly this, is the champion already",
                    do="See 'pawl history'",
                    code="already_champion",
                )
            row = begin("promote", version, champion)
            if request.force:
                row = replace(row, probe={"forced": True, "n_tries": 0})
                return await self._steps.let_in(row, "waits for the engine to load and probe it")
            ask = "ask for it by name, and"
            if not self._steps.has_weights_of(version):
                weights = self._store.weights_of(version)
                ask = f"{weights}, whose weights it has, is not in the engine;"
            row = await self._steps.record(
                row, "made", f"{ask} 'pawl promote {version} --force' promotes it"
            )
            self._steps.offer_made()
            return row

    async def _carry_on(self, row: Promotion, *, force: bool) -> Promotion:
        """A promotion under way that is asked for again: as it stands, but with ``force`` it waits
        for no person and no canary, and whatever is champion now is followed."""
        if not force or row.probe.get("forced"):
            return row
        probe = {**row.probe, "forced": True, "n_tries": 0}
        row = replace(row, previous_version=self._store.champion(), probe=probe)
        return await self._steps.let_in(row, "forced; waits for the engine to load and probe it")

    async def _approve(self, run_id: str) -> Promotion:
        async with self._steps.lock:
            row, champion = self._waiting(run_id), self._store.champion()
            if row.previous_version != champion:
                return await self._steps.take_back(row, stale(row, champion))
            if row.outcome == "canary" and row.version in self.offered:
                return await self._steps.flip(row, "a person let it in")
            had_canary = "share" in row.probe
            row = replace(row, probe={**row.probe, "n_tries": 0})
            canary = self.canary
            if canary and self._settings.promotion.canary_share and not had_canary:
                raise PawlError(
                    f"{canary.version} is on its canary",
                    "one challenger at a time answers a share of the conversations",
                    f"Wait until it is over, or end it with 'pawl reject {canary.run_id}'",
                    code="canary_runs",
                )
            return await self._steps.let_in(
                row, "approved; waits for the engine to load and probe it"
            )

    async def _reject(self, run_id: str) -> Promotion:
        async with self._steps.lock:
            return await self._steps.take_back(self._waiting(run_id), "a person rejected it")

    def _waiting(self, run_id: str) -> Promotion:
        row = self._steps.under_way(run_id)
        if row is None or row.outcome == "pending":
            raise PawlError(
                f"no challenger of run {run_id!r} waits for approval, or is on its canary",
                f"it is {row.outcome}" if row else "none passed the gate, or it is over",
                "'pawl status' lists those that wait",
                code="not_waiting",
                param="run_id",
            )
        return row

    async def _end_canary(
        self, promotion_id: str, outcome: CanaryOutcome, reason: str
    ) -> Promotion | None:
        async with self._steps.lock:
            row, champion = self._steps.canary, self._store.champion()
            if row is None or row.promotion_id != promotion_id:
                return None
            if row.previous_version != champion:
                return await self._steps.take_back(row, stale(row, champion))
            match outcome:
                case "live" if row.version in self.offered:
                    return await self._steps.flip(row, reason)
                case "refused":
                    return await self._steps.take_back(row, reason)
                case "waiting":
                    reason = f"{reason}: 'pawl approve {row.run_id}', or 'pawl reject'"
                    return await self._steps.take_back(row, reason, "waiting")
            return None

    async def _rollback(self, to: str | None) -> Promotion:
        async with self._steps.lock:
            champion, canary = self._store.champion(), self.canary
            if to is None and canary is not None:
                raise PawlError(
                    f"{canary.version} is on its canary",
                    f"it answers beside {champion}, which a rollback would move",
                    f"'pawl reject {canary.run_id}' ends the canary; 'pawl rollback --to "
                    "VERSION' goes back all the same",
                    code="canary_runs",
                )
            target = rollback_target(self._store.promotions(), to)
            row = begin("rollback", target, champion)
            if target == BASE_VERSION:
                return await self._steps.flip(row, "the base's weights need no probe")
            if not self._steps.loader.is_ready:
                return await self._steps.flip(
                    row, "no engine runs: the next start loads and probes it"
                )
            result = await self._steps.loader.bring_in(target, champion)
            row = replace(row, probe=asdict(result))
            if result.outcome != "failed":
                return await self._steps.flip(row, result.reason)
            if not await self._steps.loader.base_answers():
                return await self._steps.flip(
                    row, "the engine went away: the next start loads and probes it"
                )
            await self._steps.let_go(target)
            return await self._steps.record(row, "refused", result.reason)

    async def _finish_pending(self, engine: Engine | None) -> list[Promotion]:
        async with self._steps.lock:
            self._steps.forget_unloaded()
            sweep(self._settings.adapters_dir)
            self.check_champion()
            return await make_ready(self._steps, engine)
