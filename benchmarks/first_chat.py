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
from pathlib import Path
from typing import Any

from benchmarks.measurements import record
from pawl.client import HttpClient
from pawl.errors import PawlError
from pawl.server import running_server, start_server, stop_server
from pawl.settings import Settings, load_settings

LIMIT_SECONDS = 300
QUESTION = {"messages": [{"role": "user", "content": "What is 2 + 3?"}], "max_tokens": 8}


def until(what: Any, started: float) -> float:
    """Seconds from ``started`` until ``what()`` is true."""
    while time.monotonic() - started < LIMIT_SECONDS:
        if what():
            return time.monotonic() - started
        time.sleep(0.05)
    raise TimeoutError(f"not within {LIMIT_SECONDS} s")


def answers(url: str, model: str) -> bool:
    try:
        HttpClient(url).post("/v1/chat/completions", {**QUESTION, "model": model})
    except PawlError:
        return False
    return True


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
            command = HttpClient(server.url).get("/admin/status")["engine"]["command"]
        finally:
            stop_server(child)
    return page_seconds, chat_seconds, command


def engine_round(command: list[str]) -> float:
    """Seconds to the first answer of the bare engine with the same options."""
    port = command[command.index("--port") + 1]
    environment = {
        **os.environ,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True",
        "HF_HUB_OFFLINE": "1",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    started = time.monotonic()
    child = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        return until(lambda: answers(f"http://127.0.0.1:{port}", "base"), started)
    finally:
        child.terminate()
        child.wait(timeout=60)


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
    ratio = statistics.median(c / e for c, e in zip(chats, engines, strict=True))
    record(
        "first-chat", "From `pawl up` to the page and the first answer",
        f"python -m benchmarks.first_chat --rounds {rounds}",
        {
            "page there": f"{statistics.median(pages):.1f} s (slowest {max(pages):.1f}; bar 10)",
            "first chat answered": f"{statistics.median(chats):.1f} s "
            f"(slowest {max(chats):.1f}; bar 90)",
            "bare engine, same options, first answer": f"{statistics.median(engines):.1f} s",
            "ratio, median of the rounds": f"{ratio:.2f}",
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
