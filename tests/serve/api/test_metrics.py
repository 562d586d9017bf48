"""What the engine says of itself, among the gateway's own metrics."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from feedback.store import Store
from serve.api.metrics import Metrics


class Engine:
    """Ready, and slow to answer."""

    n_restarts, state, n_asked = 0, "ready", 0

    async def request(self, method: str, path: str, *, seconds: float) -> tuple[int, str]:
        self.n_asked += 1
        await asyncio.sleep(0)
        return 200, "vllm:num_requests_running 3.0\n"


def test_two_scrapes_at_once_ask_once_and_get_the_same(tmp_path: Path) -> None:
    metrics = Metrics()
    engine: Any = Engine()
    assert b"pawl_engine_requests_running NaN" in metrics.text()
    store = Store.open(tmp_path / "pawl.duckdb")

    async def scrape() -> bytes:
        await metrics.ask(store, engine)
        return metrics.text()

    async def both() -> tuple[bytes, bytes]:
        return await asyncio.gather(scrape(), scrape())

    for text in asyncio.run(both()):
        assert b"pawl_engine_requests_running 3.0" in text
        assert b"pawl_engine_requests_waiting NaN" in text
        [n_bytes] = re.findall(rb"\npawl_store_memory_bytes (\S+)", text)
        assert 0 < float(n_bytes) < 1e9
    assert engine.n_asked == 1
    store.close()
    assert b"pawl_store_memory_bytes NaN" in asyncio.run(scrape())
