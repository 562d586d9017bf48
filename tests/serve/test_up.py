"""``pawl up`` as a process: one per state folder, one per port, and nothing left when it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from feedback.store import Store
from pawl.files import read_json
from pawl.schedule import FINAL, SCHEDULE_LOG, Event, Schedule, ScheduleLog
from pawl.settings import ScheduleSettings, Settings
from serve.engine import session as processes
from serve.up import addresses, listen
from tests import tiny_bases
from tests.docs.commands import tutorial_blocks
from tests.serve.live import REPOSITORY, Operator, eventually
from tests.serve.pages.composed import composed

pytestmark = pytest.mark.slow


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """A base that passes the checks; the fake engine reads none of it."""
    return tiny_bases.plain(tmp_path / "model")


def command(state_dir: Path, model_dir: Path, port: int = 0, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.serve.run_up", str(state_dir), str(model_dir), str(port),
            *options]  # fmt: skip


@contextmanager
def up(state_dir: Path, model_dir: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command(state_dir, model_dir, 0, *options), cwd=REPOSITORY, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:  # fmt: skip
        try:
            yield child
        finally:
            child.kill()


def url_of(state_dir: Path) -> str:
    eventually((state_dir / "server.json").exists, "the server listens", 60)
    return str(read_json(state_dir / "server.json")["url"])


def state_of(url: str) -> str:
    return str(httpx.get(url + "/health").json()["engine"]["state"])


def refused(*arguments: object) -> str:
    done = subprocess.run(command(*arguments), cwd=REPOSITORY, text=True, capture_output=True,  # type: ignore[arg-type]
                          timeout=60, check=False)  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stderr


def test_the_tutorials_commands_do_what_it_says(tmp_path: Path, model_dir: Path) -> None:
    """But for make and the demo."""
    blocks = tutorial_blocks()
    pawl = tmp_path / ".venv" / "bin" / "pawl"
    pawl.parent.mkdir(parents=True)
    pawl.write_text(f'#!/bin/sh\nexec {sys.executable} -m pawl.cli --set model={model_dir} "$@"\n')
    pawl.chmod(0o755)
    path = blocks[0].splitlines()[0]
    said = []
    with up(tmp_path / ".pawl", model_dir):
        url = url_of(tmp_path / ".pawl")
        eventually(lambda: state_of(url) == "ready", "the engine is ready", 60)
        for block in blocks:
            script = f"{path}\n{block}".replace("http://127.0.0.1:8000", url)
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, text=True, timeout=120,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, script + done.stdout + done.stderr
            said.append(done.stdout.replace('": "', '":"'))
    status, asked, night, promoted, again, back = said
    assert "champion  base" in status
    assert '"model":"base"' in asked
    assert "method: none" in night
    assert "base -> pawl@1  live" in promoted
    assert '"model":"pawl@1"' in again
    assert re.search("pawl@1 .*friendly", back)


def test_it_answers_shows_a_page_and_stops_cleanly(tmp_path: Path, model_dir: Path) -> None:
    """By Ctrl-C; ``tests/bars/place.py`` ends every server by SIGTERM."""
    state_dir = tmp_path / "state"
    with up(state_dir, model_dir) as child:
        url = url_of(state_dir)
        page = httpx.get(url + "/")
        assert page.status_code == 200
        assert "<html" in page.text.lower()
        eventually(lambda: state_of(url) == "ready", "the engine is ready", 60)
        body = {"model": "pawl", "messages": [{"role": "user", "content": "hi"}]}
        answer = httpx.post(url + "/v1/chat/completions", json=body)
        assert answer.json()["choices"][0]["message"]["content"] == "base heard 2 characters."
        status = httpx.get(url + "/admin/status", auth=Operator(state_dir)).json()
        assert status["champion"] == "base"
        assert (state_dir / "admin.key").stat().st_mode & 0o777 == 0o600
        nowhere = httpx.get(url + "/v1/engines")
        assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")
        session = int(read_json(state_dir / "engine.json")["pid"])
        assert len(processes.members(session)) == 3
        began = time.monotonic()
        child.send_signal(signal.SIGINT)
        output, _ = child.communicate(timeout=60)
        assert child.returncode == 0, output
        assert time.monotonic() - began < 30
        assert processes.members(session) == []
        assert f"Pawl is at {url}" in output
        assert not (state_dir / "server.json").exists()


def test_a_stop_that_cuts_answers_writes_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = {"hold midway": True, "hold first": False}
    with ThreadPoolExecutor(2) as pool:
        with composed(Settings(state_dir=tmp_path / "state"), pages=False) as server:
            asked = [pool.submit(comes, server.url, *one) for one in held.items()]
            eventually(lambda: server.app.gateway.admission.n_held == 2, "both are under way")
        assert [one.result() for one in asked] == [False, False]
    told = [one for one in caplog.records if one.name.startswith("uvicorn")]
    assert [one.getMessage().partition(",")[0] for one in told] == ["Cancel 2 running task(s)"]


def comes(url: str, text: str, stream: bool) -> bool:
    """Whether an answer comes, and whole."""
    body = {"model": "pawl", "stream": stream, "messages": [{"role": "user", "content": text}]}
    try:
        return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    ("host", "shown", "local"),
    [
        ("0.0.0.0", "0.0.0.0", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("::", "[::]", "[::1]"),
    ],
)
def test_commands_ask_at_the_loopback_address(host: str, shown: str, local: str) -> None:
    """Else ``api.allowed_hosts`` would refuse them where the server listens on all addresses."""
    with listen(host, 0) as listener:
        port = listener.getsockname()[1]
        assert addresses(listener) == (f"http://{shown}:{port}", f"http://{local}:{port}")
        socket.create_connection((local.strip("[]"), port)).close()


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Accepted connections take the option over from the socket that listens."""
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_killed_server_leaves_no_engine_and_no_lock(tmp_path: Path, model_dir: Path) -> None:
    state_dir = tmp_path / "state"
    with up(state_dir, model_dir) as child:
        url = url_of(state_dir)
        eventually(lambda: state_of(url) == "ready", "the engine is ready", 60)
        body = {"model": "pawl", "messages": [{"role": "user", "content": "hi"}]}
        answer = httpx.post(url + "/v1/chat/completions", json=body)
        session = int(read_json(state_dir / "engine.json")["pid"])
        child.kill()
        child.wait(10)
        eventually(lambda: not processes.members(session), "the engine is gone", 10)
    (state_dir / "server.json").unlink()
    with up(state_dir, model_dir):
        url = url_of(state_dir)
        eventually(lambda: state_of(url) == "ready", "the next start works", 60)
        completion_id = answer.headers["X-Pawl-Completion-Id"]
        kept = httpx.get(url + "/v1/feedback", params={"completion_id": completion_id})
        assert kept.status_code == 200


def test_a_stop_that_reaches_the_night_too_leaves_it_to_the_next_start(
    tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """systemctl stop signals all processes of the service, and the drain takes its time."""
    state_dir = tmp_path / "state"
    state_dir.mkdir()
    monkeypatch.setenv("PAWL_SCHEDULE__CRON", "* * * * *")
    monkeypatch.setenv("PAWL_SCHEDULE__TIME_ZONE", "UTC")
    log = ScheduleLog(state_dir / SCHEDULE_LOG)
    schedule = Schedule(ScheduleSettings(cron="* * * * *", time_zone="UTC"))
    before = schedule.local(datetime.now(UTC) - timedelta(minutes=2))
    log.append(Event(before, "", "set", str(schedule)))
    with up(state_dir, model_dir, "--never-ready") as child:  # the night waits for the engine
        url = url_of(state_dir)
        lock = state_dir / "nightly.lock"
        eventually(lambda: log.read()[-1].outcome == "began", "a night runs")
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as slow:
            slow.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                         b"Content-Type: application/json\r\nContent-Length: 9\r\n"
                         b"Expect: 100-continue\r\n\r\n")  # fmt: skip
            assert b"100" in slow.recv(100)  # the server waits for the body
            child.send_signal(signal.SIGTERM)
            os.kill(int(lock.read_text()), signal.SIGTERM)
            output, _ = child.communicate(timeout=60)
    assert child.returncode == 0, output
    events = log.read()
    [began] = [event.due for event in events if event.outcome == "began"]
    assert began not in [event.due for event in events if event.outcome in FINAL]


def test_a_start_waits_for_a_command_that_holds_the_store(tmp_path: Path, model_dir: Path) -> None:
    """A night without a server opens the store for each of its calls."""
    state_dir = tmp_path / "state"
    store = Store.open(state_dir / "pawl.duckdb")
    with up(state_dir, model_dir) as child:
        assert child.stdout is not None
        assert any("the store is in use" in child.stdout.readline() for _ in range(2))
        store.close()
        assert httpx.get(url_of(state_dir) + "/health").status_code == 200


def test_a_webhook_without_its_secret_is_refused_before_anything_starts(
    tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAWL_WEBHOOK__URL", "http://127.0.0.1:1/hook")
    said = refused(tmp_path / "state", model_dir, 0)
    assert "webhook.url needs webhook.secret: nobody could tell who sends it" in said
    assert not (tmp_path / "state").exists()


def test_a_base_that_cannot_be_served_is_refused_before_anything_starts(tmp_path: Path) -> None:
    said = refused(tmp_path / "state", tiny_bases.missing_shard(tmp_path / "model"), 0)
    assert "model-00002-of-00003.safetensors is missing" in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "state" / "engine.json").exists()
    assert not (tmp_path / "state" / "pawl.duckdb").exists()
