"""What the gateway counts, in Prometheus' text form. vLLM's own metrics are not repeated here."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """The counters of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "pawl_requests",
            "Completion requests by who answered and how they ended.",
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
            "Connections closed by the server: no request came, too many, left unread.",
            ["reason"],
            registry=self.registry,
        )
        self.recording_failures = Counter(
            "pawl_recording_failures",
            "Answers that the store could not take.",
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

    def text(self) -> bytes:
        return generate_latest(self.registry)
