"""What the engine says of itself, among the gateway's own metrics."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feedback.store import Store
from pawl.files import hold_lock
from pawl.schedule import NIGHTS_LOCK, SCHEDULE_LOG, Event, ScheduleLog
from serve.api.metrics import Metrics, load_of


class Engine:
    """Ready, and slow to answer."""

    n_restarts, state, n_asked = 0, "ready", 0
    is_serving, is_out = True, False

    @property
    def replicas(self) -> tuple[Engine, ...]:
        return (self,)

    async def request(self, method: str, path: str, *, seconds: float) -> tuple[int, str]:
        self.n_asked += 1
        await asyncio.sleep(0)
        return 200, "vllm:num_requests_running 3.0\n"


def test_two_scrapes_at_once_ask_once_and_get_the_same(tmp_path: Path) -> None:
    metrics = Metrics()
    engine: Any = Engine()
    assert b"pawl_engine_requests_running NaN" in metrics.text()
    store = Store.open(tmp_path / "pawl.duckdb")
    nights = ScheduleLog(tmp_path / SCHEDULE_LOG)

    async def scrape() -> bytes:
        await metrics.ask(store, engine, nights)
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
    assert b"pawl_night_timestamp_seconds{" not in metrics.text()  # none was due yet
    for at, outcome in (("01", "ran"), ("02", "failed"), ("03", "began"), ("04", "ran")):
        nights.append(Event(None, f"2026-11-{at}T02:17:00.000000Z", outcome))
    with hold_lock(nights.path.with_name(NIGHTS_LOCK), "a night", "Wait"):
        assert b"pawl_night_running 1.0" in asyncio.run(scrape())
    text = asyncio.run(scrape()).decode()
    assert "pawl_night_running 0.0" in text
    found = dict(re.findall(r'pawl_night_timestamp_seconds\{outcome="(\w+)"\} (\S+)', text))
    assert {name: float(at) for name, at in found.items()} == {
        "ran": datetime(2026, 11, 4, 2, 17, tzinfo=UTC).timestamp(),
        "failed": datetime(2026, 11, 2, 2, 17, tzinfo=UTC).timestamp(),
        "began": datetime(2026, 11, 3, 2, 17, tzinfo=UTC).timestamp(),
    }


def test_what_was_counted_is_read_again() -> None:
    metrics = Metrics()
    empty = load_of(metrics.text().decode())
    assert empty.quantiles == {}
    assert "pawl_engine_kv_cache_fraction" not in empty.values
    metrics.queue_length.set(3)
    metrics.refusals.labels("overloaded").inc(2)
    for version in ("base", "pawl@1"):
        metrics.requests.labels(version, "complete").inc(5)
        metrics.requests.labels(version, "error").inc()
        for seconds in (0.3, 0.3, 0.3, 0.3, 200):
            metrics.seconds.labels(version).observe(seconds)
    load = load_of(metrics.text().decode())
    assert load.values["pawl_queue_length"] == 3
    assert load.counts["pawl_requests"] == {"complete": 10, "error": 2}
    assert load.counts["pawl_refusals"] == {"overloaded": 2}
    median, tail = load.quantiles["pawl_request_seconds"]
    assert median == 0.25 + 0.25 * 5 / 8  # the bucket from 0.25 to 0.5 s holds 8 of 10
    assert tail == 120  # the last bound
