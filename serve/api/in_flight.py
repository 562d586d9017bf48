"""Which versions are answering now: one is unloaded only when it is silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator


class InFlight:
    """Counts running requests by version, so that a version is unloaded only when it is silent.

    Used from the event loop only.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._one_ended = asyncio.Event()

    @contextlib.contextmanager
    def running(self, version: str) -> Iterator[None]:
        """Count one request of ``version`` while the block runs."""
        self.counts[version] += 1
        try:
            yield
        finally:
            self.counts[version] -= 1
            self.counts += Counter()  # drops versions without requests
            self._one_ended.set()
            self._one_ended = asyncio.Event()

    async def drained(self, version: str) -> None:
        """Return once no request of ``version`` runs (at once when none does)."""
        while self.counts[version]:
            await self._one_ended.wait()
