"""How many answers each version is writing at this moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class InFlight:
    """Counts running requests by version, so that a version is unloaded only when it is silent.

    Used from the event loop only.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._waiting: dict[str, list[asyncio.Event]] = {}

    @contextmanager
    def running(self, version: str) -> Iterator[None]:
        """Count one request of ``version`` while the block runs."""
        self.counts[version] += 1
        try:
            yield
        finally:
            self.counts[version] -= 1
            if not self.counts[version]:
                del self.counts[version]
                for event in self._waiting.pop(version, []):
                    event.set()

    async def drained(self, version: str) -> None:
        """Return once no request of ``version`` runs (at once when none does)."""
        while self.counts[version]:
            event = asyncio.Event()
            self._waiting.setdefault(version, []).append(event)
            await event.wait()
