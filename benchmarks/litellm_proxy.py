"""LiteLLM's proxy, to measure the gateway against: in an environment of its own, for this alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from pawl.errors import PawlError
from pawl.files import sha256_file, write_atomic

REPOSITORY = Path(__file__).resolve().parent.parent
PINS = Path(__file__).parent / "litellm.txt"
ENVIRONMENT_DIR = REPOSITORY / ".venv-litellm"
ENVIRONMENT: Mapping[str, str] = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it asks the network at every start
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "PYTHONPATH": "",  # nothing of ours
}


def install(environment_dir: Path = ENVIRONMENT_DIR) -> Path:
    """Make the environment on first use, or when the pins changed; its ``litellm`` command.

    Raises:
        PawlError: it could not be made; with the end of what pip said.
    """
    stamp, wanted = environment_dir / ".installed", sha256_file(PINS)
    command = environment_dir / "bin" / "litellm"
    if stamp.exists() and stamp.read_text("utf-8") == wanted and command.exists():
        return command
    print(f"Installing LiteLLM into {environment_dir} (a minute or two)...", file=sys.stderr)
    python = environment_dir / "bin" / "python"
    steps = [[str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(PINS)]]
    if not python.exists():
        steps.insert(0, [sys.executable, "-m", "venv", str(environment_dir)])
    for step in steps:
        done = subprocess.run(step, capture_output=True, encoding="utf-8", check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PawlError("LiteLLM could not be installed", "\n".join(said[-5:]),
                            "Let pip reach a registry, or run with --no-litellm")  # fmt: skip
    write_atomic(stamp, wanted)
    return command


def version() -> str:
    """The pinned version."""
    lines = PINS.read_text("utf-8").splitlines()
    return next(line.removeprefix("litellm==") for line in lines if line.startswith("litellm=="))


def proxy_command(litellm: Path, folder: Path, port: int, upstream: str) -> list[str]:
    """The command that proxies ``upstream`` as an OpenAI-compatible server on ``port``."""
    config = {
        "model_list": [{
            "model_name": "base",
            "litellm_params": {"model": "openai/base", "api_base": f"{upstream}/v1",
                               "api_key": "none",
                               # the fake engine names its answers by it, as every arm has it do
                               "extra_headers": {"X-Request-Id": "bench"}},
        }],
        "litellm_settings": {"telemetry": False, "num_retries": 0},
        # No arm asks for a key: what is compared is the way of a request, on loopback.
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }  # fmt: skip
    path = folder / "litellm.yaml"
    write_atomic(path, json.dumps(config))  # JSON is YAML
    return [str(litellm), "--config", str(path), "--host", "127.0.0.1", "--port", str(port),
            "--num_workers", "1", "--telemetry", "False"]  # fmt: skip
