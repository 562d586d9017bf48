"""The steps that moves of the champion are made of: recorded, probed, made champion, taken back.

It holds which versions requests may be sent to, and lets the weights of the others out of the
engine. What is asked for, and whether it may be, is decided in ``serve.promotion``.
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
from pawl.schemas import Promotion, PromotionOutcome, utc_now
from pawl.settings import Settings
from serve.engine.probe import ProbeResult
from serve.loading import Loader

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.engine.supervisor import Engine
    from serve.engine.watchdog import Activity

MOST_TRIES = 2  # of a promotion during which the engine goes away, and of bringing a champion in
UNDER_WAY = ("waiting", "pending", "canary")
_MOST_MADE = 5  # versions that nobody promoted yet and that can be asked for by name: the newest
_log = logging.getLogger("pawl.promotion")
T = TypeVar("T")


class Steps:
    """Each step but ``borrowed`` is for one who holds ``lock``.

    Args:
        settings: share of the conversations of a canary.
        store: keeps the moves; its newest ``live`` row names the champion.
        loader: brings weights into the engine.
        drained: waits until no request is in flight on a version.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        loader: Loader,
        drained: Callable[[str], Awaitable[None]],
    ) -> None:
        self.store, self.loader, self.lock = store, loader, asyncio.Lock()
        self.canary = _canary_of(self.history())
        self._settings = settings
        self._drained = drained
        self._offered: set[str] = set()
        self._borrowed: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        # Replicas that were brought to what is offered, each in the life that it then had.
        self.prepared: dict[Engine, Activity] = {}

    @property
    def offered(self) -> frozenset[str]:
        """Versions that requests may be sent to now: see ``Promoter.offered``."""
        there, weights_of = self.loader.loaded | {BASE_VERSION}, self.store.weights_of
        return frozenset(one for one in self._offered if weights_of(one) in there)

    def history(self) -> list[Promotion]:
        """Every move as it stands now, in the order in which they were begun."""
        return list({row.promotion_id: row for row in self.store.promotions()}.values())

    def under_way(self, run_id: str | None) -> Promotion | None:
        """The promotion of this run that has not come to its end."""
        rows = (row for row in self.history() if row.run_id == run_id and run_id is not None)
        return next((row for row in rows if row.outcome in UNDER_WAY), None)

    def serves_beside(self, engine: Engine) -> bool:
        """Whether another replica serves the champion, so that this one has only to join it."""
        others = (one for one in self.loader.living if one is not engine)
        return self.store.champion() in (BASE_VERSION, *self.offered) and any(
            self.prepared.get(one) is one.activity for one in others
        )

    # ---- a move ----

    async def record(self, row: Promotion, outcome: PromotionOutcome, reason: str) -> Promotion:
        row = replace(row, outcome=outcome, reason=reason, created_at=utc_now())
        await asyncio.wrap_future(self.store.append_promotion(row))
        self.canary = _canary_of(self.history())
        _log.info("%s %s: %s (%s)", row.kind, row.version, outcome, reason)
        return row

    async def let_in(self, row: Promotion, reason: str) -> Promotion:
        """Record it as pending, and bring it in where an engine is ready."""
        row = await self.record(row, "pending", reason)
        # An engine that came back a moment ago has no champion yet to compare with.
        can_compare = row.previous_version in (BASE_VERSION, *self.offered)
        return await self.go_live(row) if self.loader.is_ready and can_compare else row

    async def go_live(self, row: Promotion) -> Promotion:
        """Load, probe and flip a pending promotion."""
        forced, n_tries = bool(row.probe.get("forced")), int(row.probe.get("n_tries", 0)) + 1
        had_canary = "share" in row.probe
        share = 0.0 if forced or had_canary else self._settings.promotion.canary_share
        if self.canary is not None and share:
            reason = f"{self.canary.version} is on its canary; promote this one again after that"
            return await self.record(row, "refused", reason)
        result = await self.loader.bring_in(row.version, row.previous_version)
        row = replace(row, probe={**row.probe, **asdict(result), "n_tries": n_tries})
        if result.outcome == "live":
            if share:
                self.offer(row.version)
                row = replace(row, probe={**row.probe, "share": share})
                reason = f"it answers {share * 100:g} % of conversations"
                return await self.record(row, "canary", reason)
            reason = f"forced past the gate; {result.reason}" if forced else result.reason
            return await self.flip(row, reason)
        if result.outcome == "indistinguishable" and forced:
            return await self.flip(row, f"forced, though {result.reason}")
        if n_tries < MOST_TRIES and not await self.loader.base_answers():
            return await self.record(row, "pending", f"the engine went away: {result.reason}")
        await self.withdraw(row.version)
        outcome: PromotionOutcome = "refused" if result.outcome == "failed" else "indistinguishable"
        return await self.record(row, outcome, result.reason)

    async def flip(self, row: Promotion, reason: str) -> Promotion:
        """Make a version the champion, and let go of those that nobody will go back to soon."""
        if row.version != BASE_VERSION and self.loader.is_ready:
            self.offer(row.version)
        row = await self.record(row, "live", reason)
        for other in self.history():
            if other.outcome in ("waiting", "canary"):
                await self.record(other, "refused", stale(other, row.version))
        stack = champion_stack(self.store.promotions())
        keep = {*stack[-2:], row.previous_version}
        keep |= self._made(keep)
        for version in sorted(self._offered - keep):
            self._offered.discard(version)
            self._start(self._retire(version))
        self.offer_made()  # a version of the prompt whose weights came back with this move
        return row

    async def take_back(
        self, row: Promotion, reason: str, outcome: PromotionOutcome = "refused"
    ) -> Promotion:
        """End a canary, or what waits for one; the champion answers everybody again."""
        row = await self.record(row, outcome, reason)
        self._offered.discard(row.version)
        self._start(self._retire(row.version))
        return row

    # ---- what is offered ----

    def offer(self, version: str) -> None:
        """Let requests be sent to a version, where its weights are in the engine."""
        self._offered.add(version)

    def offer_made(self) -> None:
        """Let people ask for versions by name that nobody promoted yet."""
        others = self._offered - self._unpromoted()
        self._offered = others | self._made(others)

    def forget_unloaded(self) -> None:
        """Offer no more than a fresh engine holds."""
        self._offered = set(self.offered)

    def has_weights_of(self, version: str) -> bool:
        """Whether one that is offered, or the base, has the same weights."""
        weights_of = self.store.weights_of
        return weights_of(version) in {BASE_VERSION, *map(weights_of, self._offered)}

    async def withdraw(self, version: str) -> None:
        """Let no request be sent to a version, and unload its weights."""
        self._offered.discard(version)
        await self.let_go(version)

    async def let_go(self, version: str) -> None:
        """Unload the weights of a version that nobody may ask for, and nobody borrowed."""
        weights_of = self.store.weights_of
        used = {weights_of(one) for one in (*self._offered, *+self._borrowed)}
        if weights_of(version) not in {BASE_VERSION, *used}:
            await self.loader.unload(weights_of(version))

    @asynccontextmanager
    async def borrowed(self, version: str) -> AsyncIterator[ProbeResult]:
        """See ``Promoter.borrowed``."""
        self._borrowed[version] += 1
        try:
            async with self.lock:
                if version != BASE_VERSION:
                    result = await self.loader.bring_in(version, self.store.champion())
                elif await self.loader.base_answers():
                    result = ProbeResult("live", "the base's weights need no probe")
                else:
                    result = ProbeResult("failed", "the base does not answer")
            yield result
        finally:
            self._borrowed[version] -= 1
            if version not in (BASE_VERSION, *self._offered):
                self._start(self._retire(version))

    async def _retire(self, version: str) -> None:
        """Unload a version once the requests that its weights still answer have ended."""
        weights = self.store.weights_of(version)
        if weights != BASE_VERSION:
            await self._drained(weights)
            async with self.lock:
                await self.let_go(version)

    def _made(self, others: Collection[str]) -> set[str]:
        """The newest versions of this base that nobody promoted yet and that need no other weights
        in the engine than ``others``."""
        there = {BASE_VERSION, *map(self.store.weights_of, others)}
        made = [
            one for one in self._unpromoted()
            if self.store.weights_of(one) in there and self.loader.is_of_this_base(one)
        ]  # fmt: skip
        return set(sorted(made, key=number_of)[-_MOST_MADE:])

    def _unpromoted(self) -> set[str]:
        newest = {row.version: row.outcome for row in self.history()}
        standing = champion_stack(self.store.promotions())[-2:]  # these are promoted, whatever
        return {
            version
            for version, outcome in newest.items()
            if outcome == "made" and version not in standing
        }

    # ---- tasks ----

    async def unbroken(self, move: Coroutine[Any, Any, T]) -> T:
        """Carry a move through to its end even when the one who asked for it hangs up."""
        return await asyncio.shield(self._start(move))

    def _start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self) -> None:
        """Stop every move under way and every wait for an old version to drain."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _canary_of(history: Sequence[Promotion]) -> Promotion | None:
    """The rule: the promotion whose newest row says ``canary``, whatever happened since."""
    return next((row for row in history if row.outcome == "canary"), None)


def stale(row: Promotion, champion: str) -> str:
    return f"it was let through against {row.previous_version}, not {champion}"


def begin(
    kind: Literal["promote", "rollback"], version: str, champion: str, run_id: str | None = None
) -> Promotion:
    """The row of a move that nothing was done of yet."""
    return Promotion(
        promotion_id=f"promotion-{uuid.uuid4().hex}",
        created_at=utc_now(),
        version=version,
        previous_version=champion,
        outcome="pending",
        kind=kind,
        run_id=run_id,
    )
