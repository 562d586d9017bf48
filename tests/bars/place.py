"""A running ``pawl up`` with the fake engine, and the proof that nothing was lost."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from pawl.files import read_json
from tests.adapters_for_tests import light_base
from tests.conftest import REPOSITORY
from tests.serve.live import Operator, eventually

CHAT, TEXT, FEEDBACK = "/v1/chat/completions", "/v1/completions", "/v1/feedback"


def chat(content: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "pawl", "messages": [{"role": "user", "content": content}], **more}


@dataclass
class Place:
    """A server with one recorded answer, on which ann has said something."""

    state_dir: Path
    model_dir: Path
    client: httpx.Client
    completion_id: str = ""
    said: dict[str, Any] | None = None

    def ask(self) -> str:
        """Chat as everybody does; the answer's id."""
        answer = self.client.post(CHAT, json=chat())
        assert answer.status_code == 200, answer.text
        value = answer.json()
        assert value["choices"][0]["message"]["content"] == "base heard 5 characters."
        return str(value["id"])

    def begin(self) -> None:
        """Record what must never be lost."""
        self.completion_id = self.ask()
        body = {"completion_id": self.completion_id, "thumb": "down", "user": "ann",
                "correction": "It heard six.", "idempotency_key": "ann-1"}  # fmt: skip
        answer = self.client.post(FEEDBACK, json=body)
        assert answer.status_code == 200, answer.text
        self.said = {key: value for key, value in answer.json().items() if key != "duplicate"}

    def n_recorded(self) -> tuple[int, int]:
        """Rows of completions and of feedback in the store."""
        counts = self.client.get("/admin/status").json()["counts"]
        return counts["completions"], counts["feedback_rows"]

    def check_unharmed(self) -> None:
        """It answers a normal chat, and what was recorded before is still there."""
        self.ask()
        listed = self.client.get(FEEDBACK, params={"completion_id": self.completion_id})
        assert listed.json() == [self.said]


@contextmanager
def place(
    state_dir: Path,
    model_dir: Path,
    api_key: str | None = None,
    prefix: Sequence[str] = (),
    **environment: str,
) -> Iterator[Place]:
    """Start it and wait until it answers; stop it with the block. ``environment`` is added to this
    process's, ``prefix`` stands before the command."""
    headers = {}
    if api_key is not None:
        environment["PAWL_API_KEY"] = api_key
        headers["Authorization"] = f"Bearer {api_key}"
    light_base(model_dir)
    command = [
        *prefix,
        sys.executable,
        "-m",
        "tests.serve.run_up",
        str(state_dir),
        str(model_dir),
        "0",
    ]
    # With a salt of the store's own a test's only row stands in the holdout once in ten runs.
    environment.setdefault("PAWL_SPLIT_SALT", "pawl")
    output = model_dir.parent / "up.log"
    with (
        output.open("wb") as log,
        subprocess.Popen(
            command, cwd=REPOSITORY, stdout=log, stderr=log, env=os.environ | environment
        ) as child,
    ):
        try:
            eventually(lambda: (state_dir / "server.json").exists() or child.poll() is not None,
                       "the server listens", 120)  # fmt: skip
            assert child.poll() is None, output.read_text()
            url = read_json(state_dir / "server.json")["url"]
            operator = None if api_key is not None else Operator(state_dir)
            with httpx.Client(
                base_url=url, timeout=60, headers=headers, auth=operator, trust_env=False
            ) as client:
                eventually(lambda: client.get("/health").json()["engine"]["state"] == "ready",
                           "the engine is ready", 120)  # fmt: skip
                one = Place(state_dir, model_dir, client)
                one.begin()
                yield one
        finally:
            child.terminate()
            code = child.wait(180)  # it ends the page's building first, slow on a busy machine
    assert code == 0, output.read_text()
