"""A page of another origin in a real chromium: it chats where it is named, and reads nothing where
it is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from pawl.settings import Settings
from tests.serve.live import live

pytestmark = pytest.mark.browser
CHAT = """async ([url, stream]) => {
  try {
    const answer = await fetch(url + "/v1/chat/completions", {method: "POST",
      headers: {"Content-Type": "application/json", "Authorization": "Bearer sesame"},
      body: JSON.stringify({model: "pawl", stream, nonsense: 1,
                            messages: [{role: "user", content: "hello"}]})});
    return {status: answer.status, text: await answer.text(),
            ignored: answer.headers.get("X-Pawl-Ignored"),
            id: answer.headers.get("X-Request-Id")};
  } catch (error) { return {refused: String(error)}; }
}"""


@pytest.fixture
def elsewhere() -> Iterator[str]:
    """Another server with a page: its origin."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Another server's page</title>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("is_named", [True, False])
def test_a_page_of_another_origin(
    browser: Browser, elsewhere: str, tmp_path: Path, is_named: bool
) -> None:
    api: dict[str, Any] = {"allowed_origins": (elsewhere,)} if is_named else {}
    with live(Settings(state_dir=tmp_path, api_key="sesame", api=api)) as server:
        page = browser.new_page()
        page.goto(elsewhere)
        whole, stream = (page.evaluate(CHAT, [server.url, one]) for one in (False, True))
        page.close()
        if is_named:
            for answer in (whole, stream):
                assert (answer["status"], answer["ignored"]) == (200, "nonsense")
                assert answer["id"]
            assert "base heard 5 characters." in whole["text"]
            assert stream["text"].endswith("data: [DONE]\n\n")
        else:
            assert "Failed to fetch" in whole["refused"]
            assert "Failed to fetch" in stream["refused"]
        n_answers = server.store.counts()["completions"]
        assert n_answers == (2 if is_named else 0)  # the preflight keeps the request away
