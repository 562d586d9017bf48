"""The client reaches the server itself, and says in plain words when no answer came."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import pawl.client
from pawl.client import HttpClient
from pawl.errors import PawlError


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with its path; a POST never."""

    over = threading.Event()

    def do_GET(self) -> None:
        body = json.dumps({"path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.over.wait(60)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Handler.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Handler.over.set()
        server.shutdown()
        thread.join()


def test_a_proxy_of_the_environment_does_not_stand_before_this_machine(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert HttpClient(url).get("/admin/status") == {"path": "/admin/status"}


def test_a_slow_answer_is_no_absent_server(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pawl.client, "ANSWER_SECONDS", 0.2)
    with pytest.raises(PawlError, match=r"may still be at it.*pawl status") as caught:
        HttpClient(url).post("/admin/promotions", {})
    assert caught.value.code == "no_answer_yet"
    with pytest.raises(PawlError, match="Is 'pawl up' running there"):
        HttpClient("http://127.0.0.1:9").get("/health")
