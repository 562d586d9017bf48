"""Traces and metrics of a running gateway, as a collector and a scraper get them."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from pawl.settings import Settings, TracingSettings
from tests.serve.live import Live, eventually, live, serving

CHAT = "/v1/chat/completions"
BODY = {"model": "pawl", "messages": [{"role": "user", "content": "hello"}]}
TRACE_ID, PARENT_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes OTLP over HTTP, and keeps the spans."""

    def __init__(self) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        self.spans: list[Any] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    for scope in resource.scope_spans:
                        collector.spans.extend(scope.spans)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/traces"


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    with serving(one.server):
        yield one


def test_a_request_is_one_trace_with_the_engines_part(collector: Collector, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, tracing=TracingSettings(endpoint=collector.url))
    with live(settings) as one:
        headers = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
        answer = httpx.post(one.url + CHAT, json=BODY, headers=headers).raise_for_status()
        httpx.post(one.url + CHAT, json={})
        httpx.get(one.url + "/health")
        assert one.app.traces is not None
        one.app.traces.close()
    spans = {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE_ID}
    assert set(spans) == {f"POST {CHAT}", "engine", "record"}
    whole = spans[f"POST {CHAT}"]
    assert whole.parent_span_id.hex() == PARENT_ID
    assert spans["engine"].parent_span_id == spans["record"].parent_span_id == whole.span_id
    told = {one.key: one.value for one in whole.attributes}
    assert told["http.response.status_code"].int_value == 200
    assert told["pawl.completion_id"].string_value == answer.json()["id"]
    assert told["pawl.request_id"].string_value == answer.headers["X-Request-Id"]
    assert {span.name for span in collector.spans} == set(spans)
    assert len(collector.spans) == 4  # and the refused one; not the health route's


def figure(server: Live, name: str) -> float:
    text = httpx.get(server.url + "/metrics").raise_for_status().text
    [value] = re.findall(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(value)


def test_metrics_say_how_full_the_engine_is_and_how_requests_ended(tmp_path: Path) -> None:
    with live(Settings(state_dir=tmp_path)) as one:
        assert httpx.post(one.url + CHAT, json=BODY).status_code == 200
        assert httpx.post(one.url + CHAT, json={**BODY, "n": 99}).status_code == 400
        assert httpx.get(one.url + "/v1/models/nope").status_code == 404
        assert httpx.get(one.url + "/v1/nowhere").status_code == 404
        assert httpx.request("PROPFIND", one.url + "/health").status_code == 405
        assert figure(one, "pawl_engine_requests_waiting") == 3
        assert figure(one, "pawl_engine_requests_running") == 0
        assert figure(one, "pawl_engine_kv_cache_fraction") == 0.25
        for labels, n in (
            (f'method="POST",route="{CHAT}",status="200"', 1),
            (f'method="POST",route="{CHAT}",status="400"', 1),
            ('method="GET",route="/v1/models/{name}",status="404"', 1),
            ('method="other",route="/health",status="405"', 1),
        ):
            assert figure(one, f"pawl_http_requests_total{{{labels}}}") == n
        assert figure(one, 'pawl_requests_total{status="complete",version="base"}') == 1
        assert figure(one, 'pawl_requests_total{status="refused",version="none"}') == 1
        one.call(one.engine.stop())
        eventually(lambda: one.engine.state == "off", "it is off")
        assert math.isnan(figure(one, "pawl_engine_kv_cache_fraction"))
