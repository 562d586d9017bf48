"""Simon Willison's llm, on the command line, as its documentation sets up such a server."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cells import (
    ASK, BASE, KEY, KNOWS_TOOLS, LONG, MAX_TOKENS, MODEL, NO_TOOLS, SCHEMA, WRONG_KEY, Refused,
    feature, feedback, is_weather, need, overflow, recorded, refusal, run, wrong_key,
)  # fmt: skip

HOME = Path(tempfile.mkdtemp(prefix="llm-"))
LLM = str(Path(sys.executable).with_name("llm"))
MODELS = [
    {"model_id": name, "model_name": MODEL, "api_base": BASE, "api_key_name": "pawl",
     "supports_tools": True, "supports_schema": True, **more}
    for name, more in (("pawl", {}), ("pawl-responses", {"responses": True}))
]  # fmt: skip
(HOME / "extra-openai-models.yaml").write_text(json.dumps(MODELS), "utf-8")  # JSON is YAML


def llm(*args: str, key: str = KEY, stdin: str | None = None) -> str:
    """Its output.

    Raises:
        RuntimeError: it failed; with what it wrote to stderr.
    """
    done = subprocess.run(
        [LLM, *args, "--key", key] if args[0] != "logs" else [LLM, *args], input=stdin,
        capture_output=True, encoding="utf-8", env={**os.environ, "LLM_USER_PATH": str(HOME)},
        timeout=120, check=False, stdin=None if stdin is not None else subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def ask(*args: str, model: str = "pawl", **more) -> str:
    return llm("prompt", "-m", model, "-o", "max_tokens", str(MAX_TOKENS), *args, **more)


def last() -> dict:
    [row] = json.loads(llm("logs", "-n", "1", "--json"))
    return row


def last_id() -> str:
    row = last()
    return (row.get("response_json") or {}).get("id")


@feature("chat")
def chat() -> str:
    text = ask(ASK, "--no-stream")
    recorded(last_id(), text.removesuffix("\n"))
    return "llm -m pawl"


@feature("stream")
def stream() -> str:
    text = ask(ASK)
    need(text.strip() == last()["response"].strip(), text)
    need(text.strip(), "no answer")
    return "its default"


@feature("turns")
def turns() -> str:
    ask(ASK, "--no-stream")
    text = ask("And by day?", "-c", "--no-stream")
    recorded(last_id(), text.removesuffix("\n"))
    return "-c"


@feature("json")
def structured() -> str:
    return "--schema " + is_weather(ask(ASK, "--schema", json.dumps(SCHEMA)))


@feature("tools")
def tools() -> str | Refused:
    def call() -> str:
        return ask(ASK, "--functions", "def weather(city: str) -> str:\n    return 'rain'",
                   "--chain-limit", "2")  # fmt: skip

    if not KNOWS_TOOLS:
        return refusal(call, NO_TOOLS)
    need(call() is not None, "no answer")
    return "--functions taken; it can't force a call"


@feature("overflow")
def too_long() -> str:
    return overflow(lambda: ask(stdin=LONG), RuntimeError).replace("RuntimeError", "its message")


@feature("key")
def key() -> str:
    return wrong_key(lambda: ask(ASK, key=WRONG_KEY), RuntimeError).replace(
        "RuntimeError", "its message"
    )


@feature("feedback")
def by_id() -> str:
    ask(ASK, "--no-stream")
    return feedback(last_id())


@feature("responses")
def responses() -> str:
    need(ask(ASK, model="pawl-responses").strip(), "no answer")
    return "responses: true"


run("llm")
