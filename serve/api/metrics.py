"""What the gateway counts, in Prometheus' text form, and the few figures of vLLM's own that say
whether it is full."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pawl.errors import PawlError
from pawl.files import is_locked
from pawl.schedule import FINAL, NIGHTS_LOCK

if TYPE_CHECKING:
    from feedback.store import Store
    from pawl.schedule import ScheduleLog
    from serve.engine.replicas import AnyEngine

ENGINE_SECONDS = 2.0  # for its metrics
FRESH_SECONDS = 1.0  # for which they are not asked for again: it streams answers meanwhile
_KV_CACHE = "vllm:kv_cache_usage_perc"
OF_ENGINE = {
    "vllm:num_requests_running": ("pawl_engine_requests_running", "Answers under way in it."),
    "vllm:num_requests_waiting": ("pawl_engine_requests_waiting", "Requests in its own queue."),
    _KV_CACHE: (
        "pawl_engine_kv_cache_fraction",
        "Of its KV cache in use, 0 to 1; of the fullest replica.",
    ),
}
_COUNTED = {"pawl_requests": "status", "pawl_refusals": "code"}
SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._asked_at = -math.inf
        self._asking = asyncio.Lock()
        self.requests = Counter(
            "pawl_requests",
            "Completion requests by who answered (none: refused before) and how they ended: "
            "complete, cancelled (the client hung up), error, refused.",
            ["version", "status"],
            registry=self.registry,
        )
        self.tokens = Counter(
            "pawl_tokens",
            "Tokens of finished answers.",
            ["version", "kind"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "pawl_request_seconds",
            "From the request's first byte to the answer's last.",
            ["version"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.first_token_seconds = Histogram(
            "pawl_first_token_seconds",
            "From the request's first byte to a stream's first bytes.",
            ["version"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.queue_length = Gauge(
            "pawl_queue_length", "Requests that wait for the engine.", registry=self.registry
        )
        self.places_held = Gauge(
            "pawl_places_held", "Answers that the engine generates now.", registry=self.registry
        )
        self.queue_seconds = Histogram(
            "pawl_queue_seconds",
            "How long requests waited for the engine.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.refusals = Counter(
            "pawl_refusals",
            "Requests refused for quotas or because the queue was full.",
            ["code"],
            registry=self.registry,
        )
        self.connections = Gauge(
            "pawl_connections", "Open connections of clients.", registry=self.registry
        )
        self.connections_cut = Counter(
            "pawl_connections_cut",
            "Connections closed by the server: no request came, too many, left unread, requests "
            "sent ahead.",
            ["reason"],
            registry=self.registry,
        )
        self.webhooks = Counter(
            "pawl_webhook_requests",
            "Requests to the webhook's address by what became of them.",
            ["outcome"],
            registry=self.registry,
        )
        self.notifiers = Counter(
            "pawl_notifier_calls",
            "Calls of the notifiers of installed packages by what became of them.",
            ["notifier", "outcome"],
            registry=self.registry,
        )
        self.recording_failures = Counter(
            "pawl_recording_failures",
            "Answers that the store could not take.",
            registry=self.registry,
        )
        self.store_memory = Gauge(
            "pawl_store_memory_bytes",
            "Of the store's file, kept in memory; NaN while the store can't be read.",
            registry=self.registry,
        )
        self.engine_restarts = Gauge(
            "pawl_engine_restarts",
            "Restarts of the engine since this server began.",
            registry=self.registry,
        )
        self.engine_ready = Gauge(
            "pawl_engine_ready", "1 while the engine answers.", registry=self.registry
        )
        self.replicas_ready = Gauge(
            "pawl_engine_replicas_ready",
            "Replicas of the engine that answer.",
            registry=self.registry,
        )
        self.replicas_out = Gauge(
            "pawl_engine_replicas_out",
            "Replicas that were taken out, or that load has not called for.",
            registry=self.registry,
        )
        self.nights = Gauge(
            "pawl_night_timestamp_seconds",
            "When a night last began, and came to each outcome, in seconds since 1970; one that "
            "began and came to none was killed.",
            ["outcome"],
            registry=self.registry,
        )
        self.night_running = Gauge(
            "pawl_night_running",
            "1 while a night runs, or pawl train or pawl search, of which one runs at a time.",
            registry=self.registry,
        )
        self._nights_of = (0, 0)  # time and size of the file when it was read
        self.http_requests = Counter(
            "pawl_http_requests",
            "Requests to routes of the API by HTTP status; 499: the client hung up.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._of_engine = {
            name: Gauge(ours, f"{about} By vLLM's count; NaN while it does not say.",
                        registry=self.registry)
            for name, (ours, about) in OF_ENGINE.items()
        }  # fmt: skip
        self._take(())

    async def ask(self, store: Store, engine: AnyEngine | None, nights: ScheduleLog) -> None:
        """Take over what the store, the nights and the engine say of themselves."""
        try:
            self.store_memory.set(await asyncio.to_thread(store.memory_bytes))
        except PawlError:
            self.store_memory.set(math.nan)
        await asyncio.to_thread(self._read_nights, nights)
        if engine is not None:
            await self._ask_engine(engine)

    def _read_nights(self, log: ScheduleLog) -> None:
        with contextlib.suppress(OSError):
            self.night_running.set(is_locked(log.path.with_name(NIGHTS_LOCK)))
        with contextlib.suppress(OSError):  # no night was due yet, or the file can't be read
            status = log.path.stat()
            if self._nights_of == (status.st_mtime_ns, status.st_size):
                return
            for event in log.read():
                if event.outcome in (*FINAL, "began"):
                    with contextlib.suppress(ValueError, TypeError):  # the file was edited
                        at = datetime.fromisoformat(event.at).timestamp()
                        self.nights.labels(event.outcome).set(at)
            self._nights_of = (status.st_mtime_ns, status.st_size)

    async def _ask_engine(self, engine: AnyEngine) -> None:
        self.engine_restarts.set(engine.n_restarts)
        self.engine_ready.set(engine.state == "ready")
        serving = [one for one in engine.replicas if one.state == "ready"]
        self.replicas_ready.set(sum(one.is_serving for one in serving))
        self.replicas_out.set(sum(one.is_out for one in engine.replicas))
        if serving:
            async with self._asking:  # whoever comes meanwhile has what the first is told
                if time.monotonic() < self._asked_at + FRESH_SECONDS:
                    return
                answers = await asyncio.gather(
                    *(one.request("GET", "/metrics", seconds=ENGINE_SECONDS) for one in serving)
                )
                self._asked_at = time.monotonic()
                self._take([text for _, text in answers])
        else:
            self._take(())

    def _take(self, texts: Sequence[str]) -> None:
        """What each replica that answers says of itself."""
        for name, gauge in self._of_engine.items():
            line = re.compile(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", re.MULTILINE)
            found = [sum(map(float, values)) for text in texts if (values := line.findall(text))]
            gauge.set((max if name == _KV_CACHE else sum)(found) if found else math.nan)

    def text(self) -> bytes:
        return generate_latest(self.registry)


@dataclass(slots=True)
class Load:
    """What a page shows of the counters.

    ``values``: of gauges by name, without those that are not known now. ``counts``: of some
    counters by name and, of each, by its label (``_COUNTED``). ``quantiles``: of histograms by
    name, median and 95th percentile in seconds, over all labels; none where nothing was counted.
    """

    values: dict[str, float] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    quantiles: dict[str, tuple[float, float]] = field(default_factory=dict)


def load_of(text: str) -> Load:
    """Read what ``Metrics.text`` wrote."""
    load = Load()
    for family in text_string_to_metric_families(text):
        if family.type == "gauge":
            known = [one.value for one in family.samples if not math.isnan(one.value)]
            load.values |= {family.name: sum(known)} if known else {}
        elif family.name in _COUNTED:
            counts: defaultdict[str, int] = defaultdict(int)
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    counts[sample.labels[_COUNTED[family.name]]] += int(sample.value)
            load.counts[family.name] = dict(counts)
        elif family.type == "histogram":
            buckets: defaultdict[float, float] = defaultdict(float)
            for sample in family.samples:
                if sample.name.endswith("_bucket"):
                    buckets[float(sample.labels["le"])] += sample.value
            if buckets.get(math.inf):
                load.quantiles[family.name] = (_quantile(buckets, 0.5), _quantile(buckets, 0.95))
    return load


def _quantile(buckets: Mapping[float, float], fraction: float) -> float:
    """As Prometheus' ``histogram_quantile``: linear within a bucket, and no more than the last
    finite bound.

    Args:
        buckets: how many were at most the bound, by bound; with one at infinity, above 0.
    """
    rank = fraction * buckets[math.inf]
    low, below = 0.0, 0.0
    for bound in sorted(buckets):
        if buckets[bound] >= rank:
            if math.isinf(bound):
                return low
            return low + (bound - low) * (rank - below) / (buckets[bound] - below)
        low, below = bound, buckets[bound]
    return low
