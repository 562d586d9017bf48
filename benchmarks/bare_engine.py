"""vLLM alone, with the command and the environment that Pawl gives its child."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pawl.client import Pawl
from pawl.errors import PawlError
from serve.engine.launch import engine_environment
from serve.engine.session import end_session

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
        child = subprocess.Popen(command, env={**os.environ, **engine_environment("")},
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
