"""Connections that send nothing, too little or read nothing are closed; others are served."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from pawl.settings import Settings
from serve.connections import prepare
from serve.up import listen
from tests import tiny_bases
from tests.serve.live import REPOSITORY, Live, eventually, live

pytestmark = pytest.mark.slow


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Live]:
    limits = {"request_seconds": 1, "idle_seconds": 2, "unread_seconds": 1, "max_connections": 16}
    with live(Settings(state_dir=tmp_path, limits=limits)) as one:
        yield one


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((str(parts.hostname), int(parts.port or 0)), timeout=20)


def seconds_until_closed(connection: socket.socket) -> float:
    began = time.monotonic()
    with contextlib.suppress(ConnectionResetError):
        while connection.recv(65536):
            pass
    return time.monotonic() - began


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n",
        b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
    ids=["nothing", "half a head", "half a body", "half a second request", "one request"],
)
def test_who_lets_the_server_wait_is_cut_off(impatient: Live, sent: bytes) -> None:
    with connect(impatient.url) as connection:
        connection.sendall(sent)
        assert 0.5 < seconds_until_closed(connection) < 5


def test_who_does_not_read_is_cut_off(impatient: Live) -> None:
    with connect(impatient.url) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        body = b'{"model": "pawl", "messages": [{"role": "user", "content": "count 100000"}]}'
        request = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                   b"Content-Length: %d\r\n\r\n%b" % (len(body), body))  # fmt: skip
        with contextlib.suppress(OSError):
            for _ in range(50):
                connection.send(request, socket.MSG_DONTWAIT)
        metrics = impatient.url + "/metrics"
        eventually(
            lambda: 'pawl_connections_cut_total{reason="unread"} 1.0' in httpx.get(metrics).text,
            "it is cut off",
        )


def test_who_sends_requests_ahead_of_their_answers_fills_no_memory(impatient: Live) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(impatient.url) as connection:
        connection.sendall(request * 9 + request[:-2] + b"Connection: close\r\n\r\n")
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answers.count(b"HTTP/1.1 200 ") == 10
    with connect(impatient.url) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(request * 1_000)
        answers = b"".join(iter(lambda: connection.recv(65536), b""))
        assert answers.count(b"HTTP/1.1 200 ") < 100
    metrics = httpx.get(impatient.url + "/metrics").text
    assert 'pawl_connections_cut_total{reason="requests ahead"} 1.0' in metrics


def test_a_running_answer_is_not_cut_for_its_silence(impatient: Live) -> None:
    body = {"model": "pawl", "messages": [{"role": "user", "content": "hold first"}]}
    with pytest.raises(httpx.ReadTimeout):  # and not a connection that was closed
        httpx.post(impatient.url + "/v1/chat/completions", json=body, timeout=4)


def test_newcomers_get_the_place_of_who_sends_nothing(impatient: Live) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(connect(impatient.url))
        assert httpx.get(impatient.url + "/health").status_code == 200
        assert "pawl_connections 16.0" in httpx.get(impatient.url + "/metrics").text


def test_when_all_have_requests_under_way_the_next_is_told_to_wait(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, limits={"max_connections": 16})
    body = b'{"model": "pawl", "messages": [{"role": "user", "content": "hold first"}]}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    with live(settings) as one, contextlib.ExitStack() as stack:
        for _ in range(16):
            connection = stack.enter_context(connect(one.url))
            connection.sendall(head % len(body) + body)
        eventually(lambda: one.gateway.admission.n_held == 16, "all are under way")
        refused = httpx.get(one.url + "/health")
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0


def test_accepted_connections_send_at_once_and_notice_a_dead_end() -> None:
    with listen("127.0.0.1", 0) as listener:
        prepare(listener)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


def test_a_websocket_is_refused_as_any_route_that_is_not_there(impatient: Live) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
               "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}  # fmt: skip
    assert httpx.get(impatient.url + "/v1/realtime", headers=headers).status_code == 404


@pytest.mark.parametrize("n_parts", [1, 2])
def test_a_request_that_offers_another_protocol_keeps_its_body(
    impatient: Live, n_parts: int
) -> None:
    """As Java's client sends them, which would speak HTTP/2."""
    body = b'{"model": "pawl", "messages": [{"role": "user", "content": "a\\nUpgrade: b"}]}'
    head = (b"POST /v1/chat/completions HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Content-Length: %d\r\nHost: localhost\r\nHTTP2-Settings: AAEAAEAA\r\n"
            b"Upgrade: h2c\r\n\r\n" % len(body))  # fmt: skip
    with connect(impatient.url) as connection:
        for _ in range(2):
            for part in [head + body] if n_parts == 1 else [head, body]:
                connection.sendall(part)
                time.sleep(0.1)
            answer = b""
            while b"characters." not in answer:
                part = connection.recv(65536)
                assert part, answer
                answer += part
            assert answer.startswith(b"HTTP/1.1 200 ")


def test_more_connections_than_files_neither_shut_it_nor_fill_its_log(tmp_path: Path) -> None:
    """``benchmarks/half_open.py`` measures it for longer, with twice as many."""
    model_dir, state_dir = tiny_bases.plain(tmp_path / "model"), tmp_path / "state"
    command = [sys.executable, "-m", "tests.serve.run_up", str(state_dir), str(model_dir), "0"]
    environment = {**os.environ, "PAWL_API_KEY": "right"}
    with (
        subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)),
        ) as child,
        contextlib.ExitStack() as stack,
    ):  # fmt: skip
        stack.callback(child.kill)
        eventually((state_dir / "server.json").exists, "it listens")
        url = httpx.Response(200, content=(state_dir / "server.json").read_bytes()).json()["url"]
        headers = {"Authorization": "Bearer right"}
        for n in range(1100):
            connection = stack.enter_context(connect(url))
            if n % 2:
                connection.sendall(b"GET / HTTP/1.1\r\n")
            if n % 100 == 99:
                began = time.monotonic()
                assert httpx.get(url + "/v1/models", headers=headers, timeout=5).is_success
                assert time.monotonic() - began < 5
        log = (state_dir / "logs" / "gateway.log").read_text()
        assert len(log) < 100_000
        assert "Traceback" not in log


@pytest.mark.parametrize(
    ("head", "more"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n", b"X-A: " + b"a" * 2000 + b"\r\n"),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"a" * 2000),
        (b"GET /", b"a" * 2000),
    ],
    ids=["many headers", "one header", "an address"],
)
def test_a_head_without_end_is_refused(impatient: Live, head: bytes, more: bytes) -> None:
    """The parser would keep all of it, before any key is looked at."""
    with connect(impatient.url) as connection:
        connection.sendall(head)
        answer, n_sent = b"", 0
        with contextlib.suppress(ConnectionError):
            while n_sent < 20_000_000:
                connection.sendall(more)
                n_sent += len(more)
        with contextlib.suppress(ConnectionError):
            answer = connection.recv(65536)
    assert n_sent < 10_000_000
    assert not answer or answer.startswith(b"HTTP/1.1 431 ")


def test_many_small_headers_are_refused(impatient: Live) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
    with connect(impatient.url) as connection:
        connection.sendall(head + b"ab:cd\r\n" * 200 + b"\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    with connect(impatient.url) as connection:
        connection.sendall(head + b"ab:cd\r\n" * 300)
        assert connection.recv(65536).startswith(b"HTTP/1.1 431 ")


def test_a_body_may_come_in_chunks_of_one_and_what_follows_it_is_bounded(impatient: Live) -> None:
    body = b'{"model": "pawl", "messages": [{"role": "user", "content": "' + b"a" * 9_000 + b'"}]}'
    head = (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n")  # fmt: skip
    chunks = b"".join(b"1;a=bcde\r\n%c\r\n" % byte for byte in body)
    with connect(impatient.url) as connection:
        connection.sendall(head + chunks + b"0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    with connect(impatient.url) as connection:
        connection.sendall(head + b"2\r\n{}\r\n0\r\n")
        with pytest.raises(ConnectionError):
            connection.sendall((b"X-A: " + b"a" * 2000 + b"\r\n") * 10_000)
    large, answer = b"f4240\r\n" + b"a" * 1_000_000 + b"\r\n0\r\n", b""
    with connect(impatient.url) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(head + large + (b"X-A: " + b"a" * 2000 + b"\r\n") * 1_000 + b"\r\n")
        answer = connection.recv(65536)
    assert not answer  # headers after a large body are no more of it than after a small one
