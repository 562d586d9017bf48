"""The night's side of training: start the child, pass its progress on, say why it failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pawl.adapters import MANIFEST, AdapterManifest, read_manifest
from pawl.errors import PawlError
from pawl.models import BaseModel

# Measured beside a busy engine with 4 cores: 19.6 s with spinning threads on every core, 2.7 s so.
THREADS_BESIDE_ENGINE = 2
NICENESS = 10
LOG_TAIL_LINES = 15

OnEvent = Callable[[dict[str, Any]], None]


def train(
    *,
    snapshot_dir: Path,
    plan_path: Path,
    base: BaseModel,
    out_dir: Path,
    work_dir: Path,
    champion_dir: Path | None = None,
    n_threads: int | None = None,
    beside_engine: bool = False,
    on_event: OnEvent | None = None,
) -> AdapterManifest:
    """Train in a child process, or read the manifest of an adapter that is finished already.

    Args:
        champion_dir: an adapter folder that the probe record should tell the new one apart from.
        n_threads: None: 2 beside an engine, else as many as torch takes by itself.
        beside_engine: low priority, so that the server stays quick.
        on_event: called with every JSON line of the child (``refine/train.py`` shows them).

    Raises:
        PawlError: the child failed; ``retryable`` when training again may succeed.
    """
    if (out_dir / MANIFEST).exists():
        return read_manifest(out_dir)
    n_threads = n_threads or (THREADS_BESIDE_ENGINE if beside_engine else None)
    command = [
        sys.executable,
        "-m",
        "refine.train",
        "--snapshot",
        str(snapshot_dir),
        "--plan",
        str(plan_path),
        "--model",
        str(base.model_dir),
        "--out",
        str(out_dir),
        "--work",
        str(work_dir),
        "--base-name",
        base.name,
        "--base-fingerprint",
        base.fingerprint,
        "--parent-pid",
        str(os.getpid()),
    ]
    command += ["--base-revision", base.revision] if base.revision else []
    command += ["--champion", str(champion_dir)] if champion_dir else []
    command += ["--nice", str(NICENESS)] if beside_engine else []
    log_path = work_dir / "train.log"
    work_dir.mkdir(parents=True, exist_ok=True)
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=_environment(n_threads),
    )
    tail: deque[str] = deque(maxlen=LOG_TAIL_LINES)
    error: dict[str, Any] | None = None
    try:
        assert child.stdout is not None
        with log_path.open("w") as log, child.stdout:
            for line in child.stdout:
                log.write(line)
                log.flush()
                event = _event(line)
                if event is None:
                    tail.append(line.rstrip())
                elif "error" in event:
                    error = event
                elif on_event:
                    on_event(event)
        code = child.wait()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
    if error is not None:
        raise PawlError(
            "training failed",
            str(error["error"]),
            f"The log is {log_path}",
            retryable=bool(error["retryable"]),
            code=str(error["code"]),
        )
    if code != 0:
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        raise PawlError(
            f"training ended with {how}",
            "the end of its log:\n" + "\n".join(tail),
            f"The whole log is {log_path}",
            retryable=True,
            code="training_died",
        )
    return read_manifest(out_dir)


def _environment(n_threads: int | None) -> dict[str, str]:
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
    if n_threads:
        environment["OMP_NUM_THREADS"] = str(n_threads)
    root = str(Path(__file__).resolve().parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(
        filter(None, [root, environment.get("PYTHONPATH", "")])
    )
    return environment


def _event(line: str) -> dict[str, Any] | None:
    """The JSON object of a progress line; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
