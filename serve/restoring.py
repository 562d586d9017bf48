"""Makes a fresh engine ready: the champion and the one before it, a canary, what was pending."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from feedback.champion import BASE_VERSION, champion_stack
from pawl.errors import PawlError
from pawl.schemas import Promotion
from serve.promotion_steps import MOST_TRIES, Steps, begin, stale

if TYPE_CHECKING:
    from serve.engine.supervisor import Engine

_log = logging.getLogger("pawl.promotion")


async def make_ready(steps: Steps, engine: Engine | None = None) -> list[Promotion]:
    """See ``Promoter.finish_pending``; for one who holds the lock."""
    finished: list[Promotion] = []
    live_before = {row.promotion_id for row in steps.history() if row.outcome == "live"}
    if engine is not None and steps.serves_beside(engine):
        await _join(steps, engine)
    else:
        finished = await _restore(steps, engine)
        steps.offer_made()
        if steps.canary is not None and (problem := await _bring_back(steps, engine)):
            finished.append(await steps.take_back(steps.canary, problem))
    if engine is not None:
        steps.prepared[engine] = engine.activity
    history = steps.history()
    for n, row in enumerate(history, 1):
        if row.outcome != "pending":
            continue
        champion = steps.store.champion()
        if row.previous_version != champion and not row.probe.get("forced"):
            finished.append(await steps.record(row, "refused", stale(row, champion)))
        elif any(later.promotion_id in live_before for later in history[n:]):
            reason = f"{champion} was chosen after it"  # by a rollback before the engine was back
            finished.append(await steps.record(row, "refused", reason))
        else:
            finished.append(await steps.go_live(replace(row, previous_version=champion)))
    return finished


async def _join(steps: Steps, engine: Engine) -> None:
    """Bring a fresh replica to what the others serve. It takes no requests for what it lacks."""
    weights_of = steps.store.weights_of
    champion = weights_of(steps.store.champion())
    missing = {weights_of(one) for one in steps.offered} - {BASE_VERSION}
    for weights in sorted(missing, key=lambda one: one != champion):
        for _ in range(MOST_TRIES):
            result = await steps.loader.bring_in(weights, BASE_VERSION, on=engine)
            if result.outcome != "failed":
                break
        else:
            await steps.loader.unload(weights, on=engine)
            _log.error("%s answers elsewhere, but not here: %s", weights, result.reason)


async def _bring_back(steps: Steps, engine: Engine | None) -> str:
    """Bring the canary into a fresh engine; why it can't answer there, or nothing."""
    canary = steps.canary
    assert canary is not None
    if canary.previous_version != steps.store.champion():
        return stale(canary, steps.store.champion())
    result = await steps.loader.bring_in(canary.version, canary.previous_version, on=engine)
    if result.outcome != "failed":
        steps.offer(canary.version)
    elif await steps.loader.base_answers(on=engine):
        return result.reason
    return ""  # also where the engine went away: its next start tries again


async def _restore(steps: Steps, engine: Engine | None) -> list[Promotion]:
    """Bring the champion into a fresh engine, or the first before it whose files are whole."""
    stack = champion_stack(steps.store.promotions())
    champion, reason = stack[-1], ""
    while stack[-1] != BASE_VERSION:
        try:
            broken = await steps.loader.broken(stack[-1])
        except PawlError:  # the disk's fault, so no reason to dethrone it for good
            await steps.withdraw(stack[-1])
            raise
        if not broken:
            break
        await steps.withdraw(stack[-1])
        _log.error("%s can't be served: %s", stack[-1], broken)
        reason = reason or f"{champion} can't be served: {broken}"
        stack.pop()
    if stack[-1] != BASE_VERSION:
        for _ in range(MOST_TRIES):
            result = await steps.loader.bring_in(stack[-1], BASE_VERSION, on=engine)
            if result.outcome != "failed":
                break
        else:  # the engine's fault or a setting's, so no reason to dethrone it for good
            await steps.withdraw(stack[-1])
            raise PawlError(
                f"{stack[-1]} could not be brought in",
                result.reason,
                "It is tried again when the engine is back; 'pawl rollback' goes to another",
                retryable=True,
                code="champion_not_loaded",
            )
        steps.offer(stack[-1])
    moved = []
    if stack[-1] != champion:
        moved.append(await steps.flip(begin("rollback", stack[-1], champion), reason))
    if len(stack) > 2:  # the one to go back to, so that going back is quick
        result = await steps.loader.bring_in(stack[-2], BASE_VERSION, on=engine)
        if result.outcome != "failed":
            steps.offer(stack[-2])
        else:
            _log.warning("%s can't be rolled back to: %s", stack[-2], result.reason)
    return moved
