"""From ``pawl up`` to the page and to the first answer, against the engine's own start.

    python -m benchmarks.first_chat [--rounds 3]

Each round starts ``pawl up`` on an empty state folder, then the bare vLLM server with the same
options, and waits for the first chat answer of each: the ratio is what Pawl adds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import ratio_in_words
from benchmarks.measurements import finish
from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.server import api_key_of, running_server, start_server, stop_server
from pawl.settings import Settings, load_settings
from serve.engine.launch import engine_environment
from serve.engine.session import end_session

PAGE_SECONDS, CHAT_SECONDS = 10, 90  # the bars
LIMIT_SECONDS = 300
QUESTION = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 8}


def until(what: Callable[[], bool], started: float) -> float:
    """Seconds from ``started`` (``time.monotonic``) until ``what()`` is true."""
    while time.monotonic() - started < LIMIT_SECONDS:
        if what():
            return time.monotonic() - started
        time.sleep(0.05)
    raise TimeoutError(f"not within {LIMIT_SECONDS} s")


def answers(url: str, model: str) -> bool:
    """Whether a chat with ``model`` is answered at this address."""
    try:
        Pawl(url).post("/v1/chat/completions", {**QUESTION, "model": model})
    except PawlError:
        return False
    return True


@contextmanager
def bare_engine(command: Sequence[str], log_path: Path) -> Iterator[str]:
    """Start the engine's command, give its address, end it with everything it started.

    It does not wait for the first answer: ``until(lambda: answers(...), started)`` does.
    """
    port = command[command.index("--port") + 1]
    with log_path.open("ab") as log:
        child = subprocess.Popen(command, env={**os.environ, **engine_environment(Settings(), "")},
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                 start_new_session=True)  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        try:
            child.wait(timeout=60)
        finally:
            end_session(child.pid)
            child.wait()


def page_is_there(settings: Settings) -> bool:
    import httpx

    server = running_server(settings)
    if server is None:
        return False
    try:
        return httpx.get(server.url + "/", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def pawl_round() -> tuple[float, float, list[str]]:
    """Seconds to the page, seconds to the first answer, the engine's command."""
    with tempfile.TemporaryDirectory(prefix="pawl-first-") as folder:
        settings = load_settings({"state_dir": Path(folder)})
        started = time.monotonic()
        child = start_server(settings)
        try:
            page_seconds = until(lambda: page_is_there(settings), started)
            server = running_server(settings)
            assert server is not None
            chat_seconds = until(lambda: answers(server.url, "pawl"), started)
            status = Pawl(server.url, api_key_of(settings)).get("/admin/status")
            command = status["engine"]["command"]
        finally:
            stop_server(child)
    return page_seconds, chat_seconds, command


def engine_round(command: list[str]) -> float:
    """Seconds to the first answer of the bare engine with the same options and environment."""
    with tempfile.TemporaryDirectory(prefix="pawl-engine-") as folder:
        started = time.monotonic()
        with bare_engine(command, Path(folder) / "engine.log") as url:
            return until(lambda: answers(url, "base"), started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    pages, chats, engines = [], [], []
    for n in range(rounds):
        page_seconds, chat_seconds, command = pawl_round()
        engine_seconds = engine_round(command)
        print(
            f"round {n + 1}: page {page_seconds:.1f} s, first chat {chat_seconds:.1f} s, "
            f"bare engine {engine_seconds:.1f} s",
            flush=True,
        )
        pages.append(page_seconds)
        chats.append(chat_seconds)
        engines.append(engine_seconds)
    missed = []
    if max(pages) > PAGE_SECONDS:
        missed.append(f"the page took {max(pages):.1f} s once")
    if max(chats) > CHAT_SECONDS:
        missed.append(f"the first chat took {max(chats):.1f} s once")
    finish(
        "first-chat", "From `pawl up` to the page and the first answer",
        {
            "page there": f"{statistics.median(pages):.1f} s "
            f"(slowest {max(pages):.1f}; bar {PAGE_SECONDS})",
            "first chat answered": f"{statistics.median(chats):.1f} s "
            f"(slowest {max(chats):.1f}; bar {CHAT_SECONDS})",
            "bare engine, same options, first answer": f"{statistics.median(engines):.1f} s",
            "first chat / bare engine": ratio_in_words(chats, engines),
        },
        missed=missed,
    )  # fmt: skip


if __name__ == "__main__":
    main()
