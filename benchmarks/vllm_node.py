"""A real vLLM on a node of a Ray cluster: started, asked, a version promoted.

    python -m benchmarks.vllm_node [--minutes 10] [--no-record]

Where Ray is installed (``make cluster`` says how). ``pawl up`` with the base that comes with Pawl
is on the head, which takes no engine; the engine starts on the other node, at an address of its
own on this machine. An answer is streamed through the gateway, a version of a system prompt is
promoted, and the answer is another one then, by name and by its words.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fake_server import REPOSITORY
from benchmarks.measurements import finish
from pawl.files import read_json
from pawl.server import api_key_of
from pawl.settings import Settings
from tests.ray_cluster import node

HOST = "127.0.0.3"  # of the node that takes the engine
QUESTION = "Which colour is a ripe banana?"
PROMPT = "Whatever you are asked, answer with the one word: pawl."
SETTINGS = ("engine.max_model_len_tokens=1024", "engine.kv_cache_gib=0.25",
            "engine.max_concurrent_requests=8")  # fmt: skip


@contextlib.contextmanager
def started(folder: Path, address: str, minutes: float) -> Iterator[tuple[str, Settings, float]]:
    """``pawl up``, once its engine answers: its address, its settings, and the seconds it took."""
    settings = Settings(state_dir=folder / "state")
    command = [sys.executable, "-m", "pawl.cli", "up", "--port", "0",
               "--state-dir", str(settings.state_dir)]  # fmt: skip
    for one in (*SETTINGS, f"engine.ray_address={address}"):
        command += ["--set", one]
    began = time.monotonic()
    with (folder / "server.log").open("wb") as log:
        child = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
    try:
        engine: dict[str, Any] = {}
        while engine.get("state") != "ready":
            seconds = time.monotonic() - began
            if (
                child.poll() is not None
                or engine.get("state") == "failed"
                or seconds > 60 * minutes
            ):
                text = (folder / "server.log").read_text("utf-8")[-3000:]
                sys.exit(f"No engine on the node after {seconds:.0f} s: {engine}\n{text}")
            time.sleep(1)
            if (settings.state_dir / "server.json").exists():
                url = str(read_json(settings.state_dir / "server.json")["url"])
                engine = httpx.get(url + "/health", timeout=60).json()["engine"]
        yield url, settings, time.monotonic() - began
    finally:
        child.terminate()
        child.wait(120)


def ask(url: str) -> tuple[str, str, float]:
    """Version, text, and the seconds that it took."""
    body = {"model": "pawl", "stream": True, "max_tokens": 24, "temperature": 0,
            "messages": [{"role": "user", "content": QUESTION}]}  # fmt: skip
    began, text = time.monotonic(), ""
    with httpx.stream("POST", url + "/v1/chat/completions", json=body, timeout=300) as answer:
        lines = [line for line in answer.iter_lines() if line.startswith("data: ")]
    if answer.status_code != 200 or lines[-1] != "data: [DONE]":
        sys.exit(f"The answer ended with status {answer.status_code}: {lines[-1:]}")
    for line in lines[:-1]:
        for choice in json.loads(line[6:])["choices"]:
            text += choice["delta"].get("content") or ""
    return answer.headers["X-Pawl-Version"], text, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="that the engine may take")
    parser.add_argument("--no-record", action="store_true")
    args = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=node("127.0.0.2", 0))
    try:
        cluster.add_node(**node(HOST, 2))
        with (
            tempfile.TemporaryDirectory() as name,
            started(Path(name), cluster.address, args.minutes) as (url, settings, seconds),
        ):
            before, text, answer_seconds = ask(url)
            headers = {"Authorization": f"Bearer {api_key_of(settings)}"}
            [replica] = settings.state_dir.glob("logs/engine.log")
            began = time.monotonic()
            body = {"system_prompt": PROMPT, "force": True}
            moved = httpx.post(
                url + "/admin/promotions", json=body, headers=headers, timeout=300
            ).json()
            move_seconds = time.monotonic() - began
            after, other, _ = ask(url)
            is_vllm = "vLLM" in replica.read_text("utf-8")
    finally:
        cluster.shutdown()
    figures = {
        "started by Pawl until it answers": f"{seconds:.0f} s",
        f"{before}, 24 tokens at most": f"{answer_seconds:.1f} s: {' '.join(text.split())}",
        "a version of a system prompt, promoted": f"{moved.get('outcome')}, {move_seconds:.1f} s",
        f"{after}, asked the same": " ".join(other.split()),
    }
    missed = [] if is_vllm else ["the engine's log doesn't name vLLM"]
    missed += [] if moved.get("outcome") == "live" else [f"the move ended {moved}"]
    missed += [] if after == moved.get("version") != before else [f"{after} answered"]
    missed += [] if other != text else ["the answer is the same"]
    note = (
        "The base that comes with Pawl, 1,024 tokens at most. Head and node are on one machine, at "
        "two addresses."
    )
    finish("vllm-node", "A real vLLM on a node of a Ray cluster", figures, missed=missed,
           note=note, keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
