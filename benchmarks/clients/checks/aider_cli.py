"""aider on the command line: a question, and an edit that it asks for."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cells import BASE, KEY, LONG, MODEL, WRONG_KEY, feature, need, overflow, run, wrong_key

AIDER = str(Path(sys.executable).with_name("aider"))


def aider(message: str, *args: str, key: str = KEY) -> str:
    """What it printed, in a folder of its own with one file."""
    with tempfile.TemporaryDirectory(prefix="aider-") as folder:
        (Path(folder) / "hello.py").write_text("print('hello')\n", "utf-8")
        done = subprocess.run(
            [AIDER, "--model", f"openai/{MODEL}", "--openai-api-base", BASE, "--openai-api-key",
             key, "--message", message, "--yes-always", "--no-git", "--no-auto-commits",
             "--no-check-update", "--analytics-disable", "--no-show-model-warnings",
             "--no-pretty", "--no-fancy-input", "--no-show-release-notes", "--no-detect-urls",
             "--timeout", "120", *args, "hello.py"],
            cwd=folder, capture_output=True, encoding="utf-8", env={**os.environ, "HOME": folder},
            stdin=subprocess.DEVNULL, timeout=240, check=False,
        )  # fmt: skip
    return done.stdout + done.stderr


@feature("chat")
def chat() -> str:
    text = aider("What does it print?", "--chat-mode", "ask", "--no-stream")
    need("Tokens:" in text and "received" in text, text[-500:])
    return text[text.index("Tokens:") :].splitlines()[0].rstrip(".")


@feature("stream")
def stream() -> str:
    """Its default. The model is too small to write an edit; aider shows the answer and says so."""
    text = aider("Print goodbye instead.", "--edit-format", "whole")
    need("Tokens:" in text and "received" in text, text[-500:])
    return text[text.index("Tokens:") :].splitlines()[0].rstrip(".")


@feature("overflow")
def too_long() -> str:
    def call() -> None:
        text = aider(LONG, "--chat-mode", "ask")
        if "context length" in text or "context window" in text or "token limit" in text:
            raise RuntimeError("maximum context length " + text[-500:])
        raise AssertionError(text[-1000:])

    overflow(call, RuntimeError)
    return "its advice on the token limit"


@feature("key")
def key() -> str:
    def call() -> None:
        text = aider("What does it print?", key=WRONG_KEY)
        need("AuthenticationError" in text, text[-500:])
        raise PermissionError(text[-200:])

    wrong_key(call, PermissionError)
    return "AuthenticationError"


run("aider-chat")
