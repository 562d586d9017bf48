"""The client reaches the server itself, and says in plain words when no answer came."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from pawl.client import Pawl, parsed
from pawl.errors import PawlError
from pawl.settings import Settings
from pawl.tls import trusted
from serve.api.errors import error_body, status_of
from tests.bars.place import Place
from tests.conftest import REPOSITORY
from tests.deploy.proxies import make_certificate
from tests.serve.live import Live, live


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
    with serving() as url:
        yield url


@contextmanager
def serving(certificate: tuple[Path, Path] | None = None) -> Iterator[str]:
    Handler.over.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
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
    assert Pawl(url).get("/admin/status") == {"path": "/admin/status"}


def test_an_authority_of_ones_own_is_taken_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    with serving(certificate) as url:
        with pytest.raises(PawlError, match="CERTIFICATE_VERIFY_FAILED"):
            Pawl(url).get("/admin/status")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens there
        assert Pawl(url).get("/admin/status") == {"path": "/admin/status"}


def test_a_file_of_certificates_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "authority.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    for _ in range(2):
        with pytest.raises(PawlError, match=r"SSL_CERT_FILE=.*authority\.pem can't be read"):
            Pawl("HTTPS://127.0.0.1:9")
        path.write_text("no certificate")
    assert trusted("http://127.0.0.1:9") is False


def test_a_slow_answer_is_no_absent_server(url: str) -> None:
    with pytest.raises(PawlError, match=r"may still be at it.*pawl status") as caught:
        Pawl(url, timeout_seconds=0.2).post("/admin/promotions", {})
    assert caught.value.code == "no_answer_yet"
    with pytest.raises(PawlError, match="Is 'pawl up' running there"):
        Pawl("http://127.0.0.1:9").get("/health")


@pytest.mark.parametrize(
    ("code", "retryable"), [("store_damaged", False), ("not_recorded", True), ("locked", True)]
)
def test_the_server_says_whether_trying_again_can_help(code: str, retryable: bool) -> None:
    error = PawlError("it failed", code=code, retryable=retryable)
    answer = httpx.Response(status_of(error), json=error_body(error))
    with pytest.raises(PawlError) as caught:
        parsed(answer)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


@pytest.mark.parametrize(
    ("status", "body", "retryable"),
    [
        (503, {"error": {"message": "busy"}}, True),
        (400, {"error": {"message": "busy"}}, False),
        (502, {"error": "busy"}, True),
        (500, ["busy"], False),
    ],
)
def test_errors_that_others_wrote_are_read_too(status: int, body: object, retryable: bool) -> None:
    with pytest.raises(PawlError, match="busy") as caught:
        parsed(httpx.Response(status, json=body))
    assert caught.value.retryable is retryable


# -- the typed calls, against a gateway


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(Settings(state_dir=tmp_path_factory.mktemp("state"), api_key="secret")) as running:
        yield running


@pytest.fixture
def pawl(server: Live) -> Pawl:
    return Pawl(server.url, "secret")


def test_chat_and_feedback(server: Live, pawl: Pawl) -> None:
    answer = pawl.chat("hello", conversation_id="c-1", rater_id="ann", temperature=0.5)
    assert answer.text == "base heard 5 characters."
    assert answer.model == "base"
    (row,) = server.rows(answer.id)
    assert (row.conversation_id, row.rater_id, row.sampling) == ("c-1", "ann", {"temperature": 0.5})
    stored = pawl.feedback(answer.id, thumb="down", correction="No.", rater_id="ann")
    assert (stored.thumb, stored.correction, stored.duplicate) == ("down", "No.", False)
    stored = pawl.feedback(answer.id, correction="", rater_id="ann")
    (counts,) = pawl.feedback_on(answer.id)
    assert (counts.thumb, counts.correction) == ("down", None)
    read = pawl.conversation("c-1", "ann")
    assert [message.content for message in read.messages] == ["hello", answer.text]
    assert read.messages[1].feedback is not None
    assert read.messages[1].feedback.thumb == "down"


def test_a_stream_comes_in_pieces_and_is_recorded_when_it_ends(server: Live, pawl: Pawl) -> None:
    with pawl.stream([{"role": "user", "content": "hello"}], n=1) as pieces:
        assert pieces.version == "base"
        assert list(pieces) == ["base ", "heard ", "5 ", "characters", "."]
    assert (
        server.store.get_completion(pieces.completion_id).completion == "base heard 5 characters."
    )


def test_leaving_a_stream_early_hangs_up(server: Live, pawl: Pawl) -> None:
    with pawl.stream("hold midway") as pieces:
        assert next(iter(pieces)) == "base "
    (row,) = server.rows(pieces.completion_id)
    assert row.status == "cancelled"


def test_errors_carry_the_servers_code(server: Live, pawl: Pawl) -> None:
    for call, code, retryable in (
        (lambda: pawl.chat("hello", model="gpt-4"), "model_not_found", False),
        (lambda: pawl.chat("hello", temperature=9), "invalid_value", False),
        (lambda: pawl.feedback("nope", thumb="up"), "completion_not_found", False),
        (lambda: Pawl(server.url, "wrong").chat("hello"), "invalid_api_key", False),
    ):
        with pytest.raises(PawlError) as caught:
            call()
        assert (caught.value.code, caught.value.retryable) == (code, retryable)


@pytest.mark.parametrize(
    ("prompt", "code", "retryable"),
    [("break", "engine_lost", True), ("too long", "context_length_exceeded", False)],
)
def test_a_stream_that_fails_is_an_error(
    pawl: Pawl, prompt: str, code: str, retryable: bool
) -> None:
    with pytest.raises(PawlError) as caught, pawl.stream(prompt) as pieces:
        list(pieces)
    assert (caught.value.code, caught.value.retryable) == (code, retryable)


def test_the_example_runs(running: Place) -> None:
    key = (running.state_dir / "admin.key").read_text().strip()
    done = subprocess.run(
        [sys.executable, "examples/client.py", str(running.client.base_url)],
        cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PAWL_API_KEY": key},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "ann says down: Canberra." in done.stdout
