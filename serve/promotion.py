"""Moves the champion: brings a trained adapter into the running engine, and takes it back.

    number -> validate, copy to adapters/pawl@N -> record `pending` -> load -> probe -> record

A version of a system prompt and sampling (``serve.version_settings``) has a row instead of a
folder; until somebody promotes it, it is `made`: it can be asked for by name.

Where a person must sign (``promotion.approval``), `waiting` is recorded before `pending`; where it
answers a share of the conversations first (``promotion.canary_share``), `canary` after the probe
(``serve.canary``), after which it may wait for a person, too. Both end when another champion comes.

The folder is whole before any row names it, and the row that moves the champion is written last,
so a crash at any moment leaves the old champion, and at most a `pending` row that the next start
carries on with. One move at a time.

Over 400 lines: every way in which a version comes and goes is here, a few lines each.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from feedback.champion import BASE_VERSION, champion_stack, number_of
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import (
    CanaryOutcome,
    Promotion,
    PromotionOutcome,
    PromotionRequest,
    utc_now,
)
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
from serve.version_settings import keep_settings, made_of, settings_of

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.engine.supervisor import Engine

_MOST_TRIES = 2  # of a promotion during which the engine goes away, and of bringing a champion in
_UNDER_WAY = ("waiting", "pending", "canary")
_MOST_MADE = 5  # versions that nobody promoted yet and that can be asked for by name: the newest
_log = logging.getLogger("pawl.promotion")
T = TypeVar("T")


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
        engine: Engine | None,
        drained: Callable[[str], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._base = base
        self._store = store
        self._loader = Loader(settings, base, engine, store)
        self._drained = drained
        self._lock = asyncio.Lock()
        self._canary = _canary_of(self.history())
        self._offered: set[str] = set()
        self._borrowed: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def offered(self) -> frozenset[str]:
        """Versions that requests may be sent to now: their adapters are loaded, probed, and not on
        their way out.

        Without an adapter's until ``finish_pending`` has made a fresh engine ready.
        """
        there, weights_of = self._loader.loaded | {BASE_VERSION}, self._store.weights_of
        return frozenset(one for one in self._offered if weights_of(one) in there)

    def history(self) -> list[Promotion]:
        """Every move as it stands now, in the order in which they were begun: a move that waited
        for the engine has several rows under one ``promotion_id``, of which the newest counts."""
        return list({row.promotion_id: row for row in self._store.promotions()}.values())

    @property
    def canary(self) -> Promotion | None:
        """The challenger that answers a share of the conversations. From memory: free to ask."""
        return self._canary

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
            return await self._unbroken(self._promote_settings(request, made_by))
        candidate = find_candidate(request, self._settings)
        return await self._unbroken(self._promote(candidate, made_by))

    async def approve(self, run_id: str) -> Promotion:
        """Let a challenger in that waits for a person, or end its canary: one that had its share
        of the conversations answers all. The answer says what became of it.

        Raises:
            PawlError: no challenger of this run waits, or is on its canary.
        """
        return await self._unbroken(self._approve(run_id))

    async def reject(self, run_id: str) -> Promotion:
        """Refuse a challenger that waits for a person, or take it back from its canary.

        Raises:
            PawlError: no challenger of this run is there.
        """
        return await self._unbroken(self._reject(run_id))

    async def end_canary(
        self, promotion_id: str, outcome: CanaryOutcome, reason: str
    ) -> Promotion | None:
        """Let the challenger answer everybody (``live``), or nobody. None: it is no canary any
        more, or is to answer everybody and can't now."""
        return await self._unbroken(self._end_canary(promotion_id, outcome, reason))

    async def rollback(self, to: str | None = None) -> Promotion:
        """Make an earlier champion the champion again: the one before this one, or ``to``.

        ``refused`` when the engine can't serve it as it was trained; the base always can be.
        Without an engine the pointer moves at once, for the target has been live before; the next
        start loads and probes it as it does any champion.

        Raises:
            PawlError: there is nothing to go back to, or ``to`` was never champion; without ``to``
                also while a canary runs: the champion may not be the one that answers badly.
        """
        return await self._unbroken(self._rollback(to))

    @asynccontextmanager
    async def borrowed(self, version: str) -> AsyncIterator[ProbeResult]:
        """A version in the engine as long as the block runs, with what its probe found; users may
        ask for it no more than before. To be asked while an engine is ready."""
        self._borrowed[version] += 1
        try:
            async with self._lock:
                if version != BASE_VERSION:
                    result = await self._loader.bring_in(version, self._store.champion())
                elif await self._loader.base_answers():
                    result = ProbeResult("live", "the base needs no probe")
                else:
                    result = ProbeResult("failed", "the base does not answer")
            yield result
        finally:
            self._borrowed[version] -= 1
            if version not in (BASE_VERSION, *self._offered):
                self._start(self._retire(version))

    async def broken(self, version: str) -> str:
        """Why a version can't be served; empty when it can, and for the base."""
        return "" if version == BASE_VERSION else await self._loader.broken(version)

    async def finish_pending(self) -> list[Promotion]:
        """Make a fresh engine ready: load and probe the champion, then carry on what was pending.

        To be called whenever the engine has (re)started. A champion whose folder is broken is
        rolled back, with the reason, to the first before it that is whole. One that is whole stays
        champion, whatever the engine does with it.

        Raises:
            PawlError: the champion is whole but could not be loaded or answers wrongly; pending
                promotions wait on.
        """
        return await self._unbroken(self._finish_pending())

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
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- moves, each under the lock ----

    async def _promote(self, candidate: Candidate, made_by: str) -> Promotion:
        async with self._lock:
            under_way = self._under_way(candidate.run_id)
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
            row = _begin("promote", version, champion, candidate.run_id)
            row = replace(row, probe={"forced": candidate.force, "n_tries": 0})
            try:
                await asyncio.to_thread(self._prepare, candidate, version, champion, made_by)
            except PawlError as err:
                return await self._record(row, "refused", str(err))
            except OSError as err:
                return await self._record(row, "refused", f"it could not be copied: {err}")
            if self._settings.promotion.approval and not candidate.force:
                reason = f"a person must sign: 'pawl approve {row.run_id}', or 'pawl reject'"
                return await self._record(row, "waiting", reason)
            return await self._let_in(row, "waits for the engine to load and probe it")

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
        async with self._lock:
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
                if row.outcome in _UNDER_WAY:
                    return await self._carry_on(row, force=bool(request.force))
                if is_made and not request.force:
                    return row
            if version == champion:
                raise PawlError(
                    f"{version}, which is exactly this, is the champion already",
                    do="See 'pawl history'",
                    code="already_champion",
                )
            row = _begin("promote", version, champion)
            if request.force:
                row = replace(row, probe={"forced": True, "n_tries": 0})
                return await self._let_in(row, "waits for the engine to load and probe it")
            weights_of = self._store.weights_of
            is_there = weights_of(version) in {BASE_VERSION, *map(weights_of, self._offered)}
            ask = (
                "ask for it by name, and" if is_there
                else f"{weights_of(version)}, whose weights it has, is not in the engine;"
            )  # fmt: skip
            row = await self._record(
                row, "made", f"{ask} 'pawl promote {version} --force' promotes it"
            )
            self._offer_made()
            return row

    async def _carry_on(self, row: Promotion, *, force: bool) -> Promotion:
        """A promotion under way that is asked for again: as it stands, but with ``force`` it waits
        for no person and no canary, and whatever is champion now is followed."""
        if not force or row.probe.get("forced"):
            return row
        probe = {**row.probe, "forced": True, "n_tries": 0}
        row = replace(row, previous_version=self._store.champion(), probe=probe)
        return await self._let_in(row, "forced; waits for the engine to load and probe it")

    async def _approve(self, run_id: str) -> Promotion:
        async with self._lock:
            row, champion = self._waiting(run_id), self._store.champion()
            if row.previous_version != champion:
                return await self._take_back(row, _stale(row, champion))
            if row.outcome == "canary" and row.version in self.offered:
                return await self._flip(row, "a person let it in")
            had_canary = "share" in row.probe
            row = replace(row, probe={**row.probe, "n_tries": 0})
            if self._canary and self._settings.promotion.canary_share and not had_canary:
                raise PawlError(
                    f"{self._canary.version} is on its canary",
                    "one challenger at a time answers a share of the conversations",
                    f"Wait until it is over, or end it with 'pawl reject {self._canary.run_id}'",
                    code="canary_runs",
                )
            return await self._let_in(row, "approved; waits for the engine to load and probe it")

    async def _reject(self, run_id: str) -> Promotion:
        async with self._lock:
            return await self._take_back(self._waiting(run_id), "a person rejected it")

    async def _end_canary(
        self, promotion_id: str, outcome: CanaryOutcome, reason: str
    ) -> Promotion | None:
        async with self._lock:
            row, champion = self._canary, self._store.champion()
            if row is None or row.promotion_id != promotion_id:
                return None
            if row.previous_version != champion:
                return await self._take_back(row, _stale(row, champion))
            match outcome:
                case "live" if row.version in self.offered:
                    return await self._flip(row, reason)
                case "refused":
                    return await self._take_back(row, reason)
                case "waiting":
                    reason = f"{reason}: 'pawl approve {row.run_id}', or 'pawl reject'"
                    return await self._take_back(row, reason, "waiting")
            return None

    async def _let_in(self, row: Promotion, reason: str) -> Promotion:
        """Record it as pending, and bring it in where an engine is ready."""
        row = await self._record(row, "pending", reason)
        # An engine that came back a moment ago has no champion yet to compare with.
        can_compare = row.previous_version in (BASE_VERSION, *self.offered)
        return await self._go_live(row) if self._loader.is_ready and can_compare else row

    async def _rollback(self, to: str | None) -> Promotion:
        async with self._lock:
            rows = self._store.promotions()
            stack = champion_stack(rows)
            champion = stack[-1]
            canary = self.canary
            if to is None and canary is not None:
                raise PawlError(
                    f"{canary.version} is on its canary",
                    f"it answers beside {champion}, which a rollback would move",
                    f"'pawl reject {canary.run_id}' ends the canary; 'pawl rollback --to "
                    "VERSION' goes back all the same",
                    code="canary_runs",
                )
            if to is None and len(stack) == 1:
                raise PawlError(
                    "there is nothing to roll back to",
                    "the base is the champion",
                    "See 'pawl history'",
                    code="no_earlier_champion",
                )
            target = to or stack[-2]
            if target == champion:
                raise PawlError(
                    f"{target} is the champion already",
                    do="See 'pawl history'",
                    code="already_champion",
                    param="to",
                )
            if target not in {
                BASE_VERSION,
                *(row.version for row in rows if row.outcome == "live"),
            }:
                raise PawlError(
                    f"{target} was never champion",
                    "a rollback goes to one that was",
                    "See 'pawl history'",
                    code="unknown_version",
                    param="to",
                )
            row = _begin("rollback", target, champion)
            if target == BASE_VERSION:
                return await self._flip(row, "the base needs no probe")
            if not self._loader.is_ready:
                return await self._flip(row, "no engine runs: the next start loads and probes it")
            result = await self._loader.bring_in(target, champion)
            row = replace(row, probe=asdict(result))
            if result.outcome != "failed":
                return await self._flip(row, result.reason)
            await self._let_go(target)
            return await self._record(row, "refused", result.reason)

    async def _finish_pending(self) -> list[Promotion]:
        async with self._lock:
            self._offered = set(self.offered)  # a fresh engine holds fewer
            sweep(self._settings.adapters_dir)
            finished = await self._restore()
            self._offer_made()
            if self._canary is not None and (problem := await self._bring_back(self._canary)):
                finished.append(await self._take_back(self._canary, problem))
            for row in self.history():
                if row.outcome != "pending":
                    continue
                champion = self._store.champion()
                if row.previous_version != champion and not row.probe.get("forced"):
                    finished.append(await self._record(row, "refused", _stale(row, champion)))
                else:
                    row = replace(row, previous_version=champion)
                    finished.append(await self._go_live(row))
            return finished

    async def _bring_back(self, canary: Promotion) -> str:
        """Bring a canary into a fresh engine; why it can't answer there, or nothing."""
        if canary.previous_version != self._store.champion():
            return _stale(canary, self._store.champion())
        result = await self._loader.bring_in(canary.version, canary.previous_version)
        if result.outcome != "failed":
            self._offered.add(canary.version)
        elif await self._loader.base_answers():
            return result.reason
        return ""  # also where the engine went away: its next start tries again

    async def _restore(self) -> list[Promotion]:
        """Bring the champion into a fresh engine, or the first before it whose files are whole."""
        self.check_champion()
        stack = champion_stack(self._store.promotions())
        champion, reason = stack[-1], ""
        while stack[-1] != BASE_VERSION and (broken := await self._loader.broken(stack[-1])):
            self._offered.discard(stack[-1])
            await self._let_go(stack[-1])
            _log.error("%s can't be served: %s", stack[-1], broken)
            reason = reason or f"{champion} can't be served: {broken}"
            stack.pop()
        if stack[-1] != BASE_VERSION:
            for _ in range(_MOST_TRIES):
                result = await self._loader.bring_in(stack[-1], BASE_VERSION)
                if result.outcome != "failed":
                    break
            else:  # the engine's fault or a setting's, so no reason to dethrone it for good
                self._offered.discard(stack[-1])
                await self._let_go(stack[-1])
                raise PawlError(
                    f"{stack[-1]} could not be brought in",
                    result.reason,
                    "It is tried again when the engine is back; 'pawl rollback' goes to another",
                    retryable=True,
                    code="champion_not_loaded",
                )
            self._offered.add(stack[-1])
        moved = []
        if stack[-1] != champion:
            moved.append(await self._flip(_begin("rollback", stack[-1], champion), reason))
        if len(stack) > 2:  # the one to go back to, so that going back is quick
            result = await self._loader.bring_in(stack[-2], BASE_VERSION)
            if result.outcome != "failed":
                self._offered.add(stack[-2])
            else:
                _log.warning("%s can't be rolled back to: %s", stack[-2], result.reason)
        return moved

    async def _go_live(self, row: Promotion) -> Promotion:
        """Load, probe and flip a pending promotion."""
        forced, n_tries = bool(row.probe.get("forced")), int(row.probe.get("n_tries", 0)) + 1
        had_canary = "share" in row.probe
        share = 0.0 if forced or had_canary else self._settings.promotion.canary_share
        if self._canary is not None and share:
            reason = f"{self._canary.version} is on its canary; promote this one again after that"
            return await self._record(row, "refused", reason)
        result = await self._loader.bring_in(row.version, row.previous_version)
        row = replace(row, probe={**row.probe, **asdict(result), "n_tries": n_tries})
        if result.outcome == "live":
            if share:
                self._offered.add(row.version)
                row = replace(row, probe={**row.probe, "share": share})
                reason = f"it answers {share * 100:g} % of conversations"
                return await self._record(row, "canary", reason)
            return await self._flip(row, result.reason)
        if result.outcome == "indistinguishable" and forced:
            return await self._flip(row, f"forced, though {result.reason}")
        if n_tries < _MOST_TRIES and not await self._loader.base_answers():
            return await self._record(row, "pending", f"the engine went away: {result.reason}")
        self._offered.discard(row.version)
        await self._let_go(row.version)
        outcome: PromotionOutcome = "refused" if result.outcome == "failed" else "indistinguishable"
        return await self._record(row, outcome, result.reason)

    # ---- steps of a move ----

    async def _flip(self, row: Promotion, reason: str) -> Promotion:
        """Make a version the champion, and let go of those that nobody will go back to soon."""
        if row.version != BASE_VERSION and self._loader.is_ready:
            self._offered.add(row.version)
        row = await self._record(row, "live", reason)
        for other in self.history():
            if other.outcome in ("waiting", "canary"):
                await self._record(other, "refused", _stale(other, row.version))
        stack = champion_stack(self._store.promotions())
        keep = {*stack[-2:], row.previous_version}
        keep |= self._made(keep)
        for version in sorted(self._offered - keep):
            self._offered.discard(version)
            self._start(self._retire(version))
        return row

    async def _record(self, row: Promotion, outcome: PromotionOutcome, reason: str) -> Promotion:
        row = replace(row, outcome=outcome, reason=reason, created_at=utc_now())
        await asyncio.wrap_future(self._store.append_promotion(row))
        self._canary = _canary_of(self.history())
        _log.info("%s %s: %s (%s)", row.kind, row.version, outcome, reason)
        return row

    def _under_way(self, run_id: str | None) -> Promotion | None:
        """The promotion of this run that has not come to its end."""
        rows = (row for row in self.history() if row.run_id == run_id and run_id is not None)
        return next((row for row in rows if row.outcome in _UNDER_WAY), None)

    def _waiting(self, run_id: str) -> Promotion:
        row = self._under_way(run_id)
        if row is None or row.outcome == "pending":
            raise PawlError(
                f"no challenger of run {run_id!r} waits for approval, or is on its canary",
                f"it is {row.outcome}" if row else "none passed the gate, or it is over",
                "'pawl status' lists those that wait",
                code="not_waiting",
                param="run_id",
            )
        return row

    async def _take_back(
        self, row: Promotion, reason: str, outcome: PromotionOutcome = "refused"
    ) -> Promotion:
        """End a canary, or what waits for one; the champion answers everybody again."""
        row = await self._record(row, outcome, reason)
        self._offered.discard(row.version)
        self._start(self._retire(row.version))
        return row

    def _made(self, others: Collection[str]) -> set[str]:
        """The newest versions that nobody promoted yet and that need no other weights in the engine
        than ``others``."""
        there = {BASE_VERSION, *map(self._store.weights_of, others)}
        made = [one for one in self._unpromoted() if self._store.weights_of(one) in there]
        return set(sorted(made, key=number_of)[-_MOST_MADE:])

    def _unpromoted(self) -> set[str]:
        newest = {row.version: row.outcome for row in self.history()}
        standing = champion_stack(self._store.promotions())[-2:]  # these are promoted, whatever
        return {
            version
            for version, outcome in newest.items()
            if outcome == "made" and version not in standing
        }

    def _offer_made(self) -> None:
        """Let people ask for versions by name that nobody promoted yet."""
        others = self._offered - self._unpromoted()
        self._offered = others | self._made(others)

    async def _retire(self, version: str) -> None:
        """Unload a version once the requests that its weights still answer have ended."""
        weights = self._store.weights_of(version)
        if weights != BASE_VERSION:
            await self._drained(weights)
            async with self._lock:
                await self._let_go(version)

    async def _let_go(self, version: str) -> None:
        """Unload the weights of a version that nobody may ask for, and nobody borrowed."""
        weights_of = self._store.weights_of
        used = {weights_of(one) for one in (*self._offered, *+self._borrowed)}
        if weights_of(version) not in {BASE_VERSION, *used}:
            await self._loader.unload(weights_of(version))

    async def _unbroken(self, move: Coroutine[Any, Any, T]) -> T:
        """Carry a move through to its end even when the one who asked for it hangs up."""
        return await asyncio.shield(self._start(move))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _canary_of(history: Sequence[Promotion]) -> Promotion | None:
    """The rule: the promotion whose newest row says ``canary``, whatever happened since."""
    return next((row for row in history if row.outcome == "canary"), None)


def _stale(row: Promotion, champion: str) -> str:
    return f"it was let through against {row.previous_version}, not {champion}"


def _begin(
    kind: Literal["promote", "rollback"], version: str, champion: str, run_id: str | None = None
) -> Promotion:
    return Promotion(
        promotion_id=f"promotion-{uuid.uuid4().hex}",
        created_at=utc_now(),
        version=version,
        previous_version=champion,
        outcome="pending",
        kind=kind,
        run_id=run_id,
    )
