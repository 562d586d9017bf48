"""LiteLLM's proxy, to measure the gateway against: in an environment of its own, for this alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks import environments
from pawl.files import write_atomic

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
    """Its ``litellm`` command. Raises PawlError: it could not be installed."""
    do = "Let pip reach a registry, or run with --no-litellm"
    return environments.install("LiteLLM", PINS, environment_dir, do) / "litellm"


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
