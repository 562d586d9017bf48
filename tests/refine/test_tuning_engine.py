"""Each way of training on the real engine: trained, promoted, probed, asked, rolled back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from pawl.server import start_server, stop_server, wait_ready
from pawl.settings import load_settings
from refine import train
from tests.refine.test_train import job
from tests.refine.tiny import ask, corrections, shared_world_model
from tests.serve.live import Operator

pytestmark = pytest.mark.engine

WAYS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"tuning": "rslora", "learning_rate": 1e-3},
    "dora": {"tuning": "dora"},
    "full": {"tuning": "full", "learning_rate": 1e-3},
    "last layers": {"last_layers": 1},
}


def test_each_way_is_trained_promoted_probed_and_rolled_back(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    world_model = shared_world_model(tmp_path_factory, n_heads=2)
    adapters = {}
    for name, options in WAYS.items():
        options = {"n_replay_rows": 0, "method": "sft", "n_epochs": 40} | options
        task = job(world_model, tmp_path / name, corrections(8), **options)
        train.run(task)
        adapters[name] = task.out_dir
    settings = load_settings({"state_dir": tmp_path / "state", "model": str(world_model)})
    child = start_server(settings)
    try:
        url = wait_ready(settings, child).url
        with httpx.Client(base_url=url, timeout=120, auth=Operator(settings.state_dir)) as http:

            def says() -> str:
                body = {"model": "pawl", "messages": ask("grass"), "temperature": 0}
                answer = http.post("/v1/chat/completions", json=body | {"max_tokens": 24}).json()
                return str(answer["choices"][0]["message"]["content"]).strip()

            assert says() == "grass is red."
            for name, folder in adapters.items():
                body = {"adapter_dir": str(folder), "force": True}
                moved = http.post("/admin/promotions", json=body).json()
                assert moved["outcome"] == "live", (name, moved)
                distances = moved["probe"]["distances"]
                assert distances["live"] < 0.05 < distances["base"], name
                assert says() == "grass is green.", name
                http.post("/admin/rollback", json={"to": "base"}).raise_for_status()
                assert says() == "grass is red.", name
    finally:
        stop_server(child)
