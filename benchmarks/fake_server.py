"""``pawl up`` before the tests' small engine, for the benchmarks of overload."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx

from pawl.files import read_json

REPOSITORY = Path(__file__).resolve().parent.parent
START_SECONDS = 120.0


@contextlib.contextmanager
def fake_server(
    folder: Path,
    options: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    n_files: int | None = None,
    model_dir: Path | None = None,
) -> Iterator[str]:
    """Start it, wait until its engine is ready; the address. Its state is in ``folder/state``.

    Args:
        folder: takes the state folder and a base.
        options: of the engine (``tests/serve/fake_vllm.py``).
        settings: by their full keys: ``{"engine.max_concurrent_requests": 16}``.
        n_files: that the server may have open.
        model_dir: its base; None: one is made.
    """
    from tests import tiny_bases

    model_dir, state_dir = model_dir or tiny_bases.plain(folder / "model"), folder / "state"
    command = [sys.executable, "-m", "tests.serve.run_up", str(state_dir), str(model_dir), "0"]
    named = {
        f"PAWL_{key.upper().replace('.', '__')}": str(value)
        for key, value in (settings or {}).items()
    }

    def limit_files() -> None:
        if n_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (n_files, n_files))

    with (folder / "server.log").open("wb") as log:
        child = subprocess.Popen(
            [*command, *options], cwd=REPOSITORY, env={**os.environ, **named}, stdout=log,
            stderr=log, preexec_fn=limit_files,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if child.poll() is not None:
                raise RuntimeError((folder / "server.log").read_text("utf-8")[-2000:])
            if (state_dir / "server.json").exists():
                url = str(read_json(state_dir / "server.json")["url"])
                if httpx.get(url + "/health", timeout=60).json()["engine"]["state"] == "ready":
                    break
            time.sleep(0.1)
        else:
            raise TimeoutError("the server was not ready in time")
        yield url
    finally:
        child.terminate()
        child.wait(60)
