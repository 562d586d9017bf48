"""Crafted events are refused before Gradio sees them: no file is copied, no traceback printed."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from starlette.applications import Starlette

from pawl.errors import PawlError
from serve.pages.events import EventShape, checked_event
from serve.pages.mount import Pages
from serve.pages.navigation import PEOPLE
from tests.bars.place import Place, place
from tests.serve.live import eventually

FILE = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
SHAPES = {
    0: EventShape(("textbox", "state", "browserstate", "dropdown"), False),
    1: EventShape(("state", "browserstate"), True),
    2: EventShape(("checkboxgroup",), False),
}
ASK: dict[str, Any] = {"fn_index": 0, "session_hash": "abc", "trigger_id": 7, "event_data": None,
                       "data": ["hello", None, "page-1", "pawl"]}  # fmt: skip


def test_what_a_page_sends_goes_through_and_nothing_else_of_it() -> None:
    raw = json.dumps({**ASK, "request": {"headers": {}}, "batched": True}).encode()
    assert checked_event(raw, SHAPES) == ASK
    like = {"fn_index": 1, "session_hash": "abc", "data": [None, None],
            "event_data": {"index": [3, None], "liked": True, "value": ["text"]}}  # fmt: skip
    passed = checked_event(json.dumps(like).encode(), SHAPES)
    assert passed["event_data"] == like["event_data"]


@pytest.mark.parametrize(
    "changed",
    [
        {"fn_index": 99}, {"fn_index": -1}, {"fn_index": "0"}, {"fn_index": None},
        {"session_hash": None}, {"session_hash": "../x"}, {"session_hash": "a" * 65},
        {"data": "x"}, {"data": []}, {"data": [*ASK["data"], 1]},
        {"data": [FILE, None, None, "pawl"]}, {"data": ["x", FILE, None, "pawl"]},
        {"data": ["x", [{"a": [FILE]}], None, "pawl"]}, {"data": ["x", {"path": 3}, None, "pawl"]},
        {"data": ["x", None, 7, "pawl"]}, {"data": [None, None, None, "pawl"]},
        {"data": ["x", None, None, ["pawl"]]}, {"event_data": {"value": FILE}},
        {"fn_index": 1, "data": [None, None]},
        {"fn_index": 1, "data": [None, None], "event_data": {"index": -2}},
        {"fn_index": 1, "data": [None, None], "event_data": {"index": "2"}},
        {"fn_index": 1, "data": [None, None], "event_data": {"index": []}},
        {"fn_index": 2, "data": ["x"]}, {"fn_index": 2, "data": [[{"a": 1}]]},
    ],
)  # fmt: skip
def test_crafted_events_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(PawlError):
        checked_event(json.dumps({**ASK, **changed}).encode(), SHAPES)


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"data": ' * 50_000]
)
def test_bodies_that_are_no_events(raw: bytes) -> None:
    with pytest.raises(PawlError):
        checked_event(raw, SHAPES)


def test_nesting_is_bounded() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    with pytest.raises(PawlError):
        checked_event(json.dumps({**ASK, "data": ["x", deep, None, "pawl"]}).encode(), SHAPES)


# ---- a server with its page ----


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gradio")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("events")
    (root / "model").mkdir()
    with place(root / "state", root / "model", GRADIO_TEMP_DIR=str(cache)) as running:
        eventually(lambda: "gradio" in running.client.get("/").text, "the page is built", 120)
        yield running
        output = (root / "up.log").read_text() + (root / "state/logs/gateway.log").read_text()
    assert "Traceback" not in output
    assert len(output) < 100_000


@pytest.mark.slow
def test_no_event_writes_a_file(server: Place, cache: Path) -> None:
    events = server.client.get("/config").json()["dependencies"]
    join = "/gradio_api/queue/join"
    for event in events:
        for value in (FILE, [FILE], {"path": "x", "meta": 3}, {"file": FILE}, {"a": {"b": FILE}}):
            body = {"fn_index": event["id"], "session_hash": "crafted",
                    "data": [value] * len(event["inputs"]),
                    "event_data": {"index": [0, 0], "value": value}}  # fmt: skip
            answer = server.client.post(join, json=body)
            assert answer.status_code == 400, answer.text
    assert server.client.post(join, content=b"x" * 5_000_000).status_code == 413
    gzip = {"Content-Encoding": "gzip"}
    assert server.client.post(join, content=b"x", headers=gzip).status_code == 400
    assert [path for path in cache.rglob("*") if path.is_file()] == []


@pytest.mark.slow
def test_odd_requests_end_in_4xx(server: Place) -> None:
    paths = ["/", "/config", "/gradio_api/queue/join", "/gradio_api/queue/data", "/nowhere",
             "/gradio_api/queue/data?session_hash=unknown", "/gradio_api/cancel", "/assets/..%2f",
             "/gradio_api/reset", "/static/none.js", "/gradio_api/heartbeat", "/theme.css/x",
             "/gradio_api/file=/etc/passwd", "/%00", "/gradio_api/queue/data?session_hash=%00",
             "/gradio_api/startup-events/x", "/gradio_api/upload"]  # fmt: skip
    for path in paths:
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "FOO"):
            answer = server.client.request(method, path, json={"a": 1}, timeout=10)
            # Gradio tells its page within a stream that its session is gone.
            fine = method == "GET" and path.startswith(("/config", "/gradio_api/queue/data?"))
            fine = fine or (method, path) == ("GET", "/")
            assert fine or 400 <= answer.status_code < 500, (method, path, answer.status_code)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["/", "/v1/chat/completions", "/gradio_api/queue/join", "/nope"])
def test_websockets_are_refused(server: Place, path: str) -> None:
    address = urlsplit(str(server.client.base_url))
    with socket.create_connection((str(address.hostname), int(address.port or 0)), 10) as wire:
        wire.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: "
            "Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        status = int(wire.recv(100).split()[1])
    # HTTP lets a server answer as if no upgrade was asked for: the page itself is sent.
    assert status == 200 if path == "/" else 400 <= status < 500


@pytest.mark.slow
def test_polling_an_unknown_session_writes_little(server: Place) -> None:
    for _ in range(30):
        answer = server.client.get("/gradio_api/queue/data", params={"session_hash": "gone"})
        assert answer.text.count("session_not_found") == 1


def _loads(server: Place, session_hash: str) -> list[dict[str, Any]]:
    """The events of a page that is loaded, as its script posts them."""
    config = server.client.get("/config").json()
    kinds = {part["id"]: part["type"] for part in config["components"]}
    empty = {"dropdown": "pawl", "textbox": ""}
    return [
        {"fn_index": event["id"], "session_hash": session_hash, "event_data": None,
         "data": [empty.get(kinds[one]) for one in event["inputs"]], "trigger_id": None}
        for event in config["dependencies"]
        if any(name == "load" for _, name in event["targets"])
    ]  # fmt: skip


@pytest.mark.slow
def test_the_page_still_answers(server: Place) -> None:
    """The events of a visit, as its script posts them, are let through."""
    for body in _loads(server, "visit"):
        answer = server.client.post("/gradio_api/queue/join", json=body)
        assert answer.status_code == 200, answer.text
    server.check_unharmed()


@pytest.mark.slow
def test_the_pages_calls_share_connections(server: Place) -> None:
    n_before, loads = _ended_connections(server), _loads(server, "shares")
    for body in loads * 5:
        server.client.post("/gradio_api/queue/join", json=body).raise_for_status()
    path, query = "/gradio_api/queue/data", {"session_hash": "shares"}
    with server.client.stream("GET", path, params=query, timeout=60) as stream:
        said = list(stream.iter_lines())
    assert sum('"process_completed"' in line for line in said) == 5 * len(loads)
    assert _ended_connections(server) - n_before < 5


def _ended_connections(server: Place) -> int:
    """To the server, that their clients have ended: the kernel keeps them for a minute."""
    port = server.client.base_url.port
    return sum(
        one.status == psutil.CONN_TIME_WAIT and bool(one.raddr) and one.raddr.port == port
        for one in psutil.net_connections("tcp")
    )


@pytest.mark.slow  # Gradio takes seconds to import
def test_pages_that_nobody_uses_leave_the_loop_alone() -> None:
    """Gradio looks for events each millisecond, for each page."""

    async def timers_set(seconds: float) -> int:
        loop, n_set = asyncio.get_running_loop(), 0
        call_at = loop.call_at

        def counted(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
            nonlocal n_set
            n_set += 1
            return call_at(*args, **kwargs)

        pages = Pages()
        async with pages.lifespan(Starlette()):
            while not pages.shapes(PEOPLE.path):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.5)
            loop.call_at = counted  # type: ignore[method-assign]
            await asyncio.sleep(seconds)
            return n_set

    assert asyncio.run(timers_set(2.0)) < 2 * 6 * 60
