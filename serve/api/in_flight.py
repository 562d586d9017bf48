"""Which adapters are answering now: one is unloaded only when it is silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator


class InFlight:
    """Counts running requests by the weights that answer, so that an adapter is unloaded only when
    it is silent, whichever versions it answers for.

    Used from the event loop only.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._one_ended = asyncio.Event()

    @contextlib.contextmanager
    def running(self, weights: str) -> Iterator[None]:
        """Count one request of ``weights`` while the block runs."""
        self.counts[weights] += 1
        try:
            yield
        finally:
            self.counts[weights] -= 1
            self.counts += Counter()  # drops those without requests
            self._one_ended.set()
            self._one_ended = asyncio.Event()

    async def drained(self, weights: str) -> None:
        """Return once no request of ``weights`` runs (at once when none does)."""
        while self.counts[weights]:
            await self._one_ended.wait()
