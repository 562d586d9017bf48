"""The application without a server: what command-line verbs call in their own process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.server import api_key_of
from pawl.settings import Settings
from serve.api.app import build_app
from tests.conftest import REPOSITORY


def test_verbs_work_without_an_engine_and_completions_say_that_there_is_none(
    tmp_path: Path,
) -> None:
    model_dir = tmp_path / "model"
    model_dir.mkdir()
    (model_dir / "config.json").write_text(json.dumps({"architectures": ["FakeForCausalLM"]}))
    (model_dir / "model.safetensors").write_bytes(b"weights")
    (model_dir / "chat_template.jinja").write_text("{{ messages }}")
    settings = Settings(state_dir=tmp_path / "state", model=str(model_dir))
    app = build_app(settings, None)
    try:
        client = Pawl("http://pawl.invalid", api_key_of(settings), app)
        assert client.get("/health")["engine"]["state"] == "off"
        assert client.get("/admin/status")["champion"] == "base"
        assert [one["id"] for one in client.get("/v1/models")["data"]] == ["pawl", "base"]
        hello = [{"role": "user", "content": "hi"}]
        with pytest.raises(PawlError, match="Start one with 'pawl up'") as caught:
            client.post("/v1/chat/completions", {"model": "pawl", "messages": hello})
        assert (caught.value.retryable, caught.value.code) == (True, "engine_off")
    finally:
        app.close()


def test_importing_the_serving_parts_loads_nothing_heavy() -> None:
    code = (
        "import sys, serve, serve.api.app, serve.engine.supervisor, serve.api.completions\n"
        "print([name for name in ('torch', 'vllm', 'trl', 'lm_eval', 'gradio', 'transformers',"
        " 'duckdb', 'opentelemetry.sdk') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, text=True,
                          capture_output=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "[]"
