"""pawl drill: a rollback rehearsed on the running engine, without moving the champion.

What takes time when a version is brought back is checking its files, loading it and probing how it
answers; that is done, for the version before the champion and for the champion again. The pointer's
own move is one row of the store, which a drill does not write.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from feedback.champion import BASE_VERSION, champion_stack
from pawl.errors import PawlError
from pawl.schemas import Drill, DrillStep
from serve.promotion import Promoter

if TYPE_CHECKING:
    from feedback.store import Store


async def drill(promoter: Promoter, store: Store) -> Drill:
    """Go back and forth. To be asked while an engine is ready.

    Raises:
        PawlError: the base is the champion, so there is nothing to go back to.
    """
    stack = champion_stack(store.promotions())
    if len(stack) == 1:
        raise PawlError(
            "there is nothing to roll back to",
            "the base is the champion",
            "Rehearse when a challenger was promoted",
            code="no_earlier_champion",
        )
    champion, target = stack[-1], stack[-2]
    back, forth = [await _bring_in(promoter, version) for version in (target, champion)]
    return Drill(champion=champion, back=back, forth=forth)


async def _bring_in(promoter: Promoter, version: str) -> DrillStep:
    broken = await promoter.broken(version)
    was_loaded = version == BASE_VERSION or version in promoter.offered
    began = time.monotonic()
    async with promoter.borrowed(version) as result:
        seconds = time.monotonic() - began
    return DrillStep(
        version=version, is_whole=not broken, answers=result.outcome != "failed",
        was_loaded=was_loaded, seconds=seconds, reason=result.reason,
    )  # fmt: skip
