"""vLLM's command line, and what is read out of its log."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from pawl.engine_support import multiplies_bf16, runs_on_cpu
from pawl.jobs import n_cores
from pawl.settings import Settings
from serve.engine.key import KeyRequired
from serve.engine.launch import MANY_CORES, engine_environment, reason_in_log, vllm_command
from tests.serve.live import FAKE_BASE, FAKE_TOOL_BASE, REPOSITORY


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
            "  Value error, The checkpoint has model type `bogus` [type=value_error]\n"
            "    For further information visit https://errors.pydantic.dev",
            "The checkpoint has model type `bogus` [type=value_error]",
        ),
        (
            "(EngineCore pid=9) ValueError: No available memory for the cache blocks.\n"
            "(APIServer pid=8) RuntimeError: Engine core initialization failed. See root cause.",
            "ValueError: No available memory for the cache blocks.",
        ),
        (
            "(Worker pid=7) ERROR 11-26 00:10:15 [executor.py:9] Traceback (most\n"
            "(Worker pid=7) ERROR 11-26 00:10:15 [executor.py:9] ValueError: heads of 24\n"
            "(EngineCore pid=9) ERROR 11-26 00:10:16 [core.py:1510] Exception: WorkerProc "
            "initialization failed due to an exception in a background process. "
            "See stack trace for root cause.\n"
            "(EngineCore pid=9) RuntimeError: cancelled\n"
            "(APIServer pid=8) RuntimeError: Engine core initialization failed. See root cause.",
            "ValueError: heads of 24",
        ),
        (
            "(Worker pid=7)     assert n == 3\n(Worker pid=7) AssertionError\n"
            "(APIServer pid=8) RuntimeError: Engine core initialization failed. See root cause.",
            "AssertionError",
        ),
        ("(APIServer pid=8) INFO started\nall is well", None),
    ],
)
def test_the_reason_is_the_root_and_not_its_consequence(log: str, reason: str | None) -> None:
    assert reason_in_log(log.splitlines()) == reason


def test_the_command_keeps_to_loopback_and_rounds_the_rank_up(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, engine={"max_lora_rank": 20, "max_loras": 5})
    command = vllm_command(settings, FAKE_BASE, 1234)
    text = " ".join(command)
    assert "--host 127.0.0.1 --port 1234" in text
    assert "--max-lora-rank 32" in text
    assert "--max-loras 5" in text
    assert "--served-model-name base" in text
    assert "--enable-lora" in command
    assert "--trust-remote-code" not in text
    assert "--tool-call-parser" not in text
    assert ("UniProcExecutor" in text) == (n_cores() < MANY_CORES)
    text = " ".join(vllm_command(settings, FAKE_TOOL_BASE, 1234))
    assert "--enable-auto-tool-choice --tool-call-parser hermes" in text


@pytest.mark.parametrize(
    ("cpu", "n_bytes", "setting", "taken"),
    [
        ("flags : fma avx2", 1000, "auto", "float32"),
        ("flags : fma avx512_bf16", 1000, "auto", "auto"),
        ("flags : fma avx2", 1000, "bfloat16", "bfloat16"),
        ("flags : fma avx2", 10**13, "auto", "auto"),  # of a sparse file
        ("Features : fp asimd bf16", 1000, "auto", "auto"),
        ("processor : 0", 1000, "auto", "auto"),
    ],
)
def test_float32_where_the_cpu_has_no_bf16(
    cpu: str, n_bytes: int, setting: str, taken: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    (tmp_path / "cpuinfo").write_text(cpu)
    monkeypatch.setattr("pawl.engine_support.CPUINFO", tmp_path / "cpuinfo")
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(n_bytes)
    base = replace(FAKE_BASE, model_dir=tmp_path)
    settings = Settings(state_dir=tmp_path, engine={"dtype": setting})
    command = vllm_command(settings, base, 1234)
    expected = taken if runs_on_cpu() else setting
    assert command[command.index("--dtype") + 1] == expected
    (tmp_path / "cpuinfo").unlink()
    assert multiplies_bf16()


@pytest.mark.parametrize(
    ("limit", "n_replicas", "taken"),
    [("max\n", 1, "float32"), ("max\n", 3, "auto"), ("7999999\n", 1, "auto"),
     ("8000000\n", 1, "float32"), ("8000000\n", 2, "auto"), ("16000000\n", 2, "float32")],
)  # fmt: skip
def test_float32_where_all_engines_have_the_memory(
    limit: str, n_replicas: int, taken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pawl.engine_support.CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("pawl.engine_support.MEMORY_LIMIT", tmp_path / "memory.max")
    (tmp_path / "cpuinfo").write_text("flags : fma avx2")
    (tmp_path / "memory.max").write_text(limit)
    n_bytes = 1_000_000 if limit != "max\n" else int(psutil.virtual_memory().total / 8)
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(n_bytes)
    settings = Settings(state_dir=tmp_path, engine={"replicas": n_replicas})
    command = vllm_command(settings, replace(FAKE_BASE, model_dir=tmp_path), 1234)
    assert command[command.index("--dtype") + 1] == (taken if runs_on_cpu() else "auto")


def test_the_engine_is_asked_with_its_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    async def told(request: Request) -> PlainTextResponse:
        return PlainTextResponse("told")

    monkeypatch.setenv("VLLM_API_KEY", "key")
    routes = [Route(path, told, methods=["GET", "POST"]) for path in ("/invocations", "/metrics")]
    client = TestClient(Starlette(routes=routes, middleware=[Middleware(KeyRequired)]))
    for headers in ({}, {"Authorization": "Bearer guess"}, {"Authorization": b"Bearer \xff"}):
        assert client.post("/invocations", headers=headers).status_code == 401
    assert client.post("/invocations", headers={"Authorization": "Bearer key"}).text == "told"
    assert client.get("/metrics").text == "told"


def test_replicas_share_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(state_dir=tmp_path, engine={"replicas": 3})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-a")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = [engine_environment(settings, "key", number) for number in (1, 2, 3)]
    if runs_on_cpu():
        n_threads = {int(one["OMP_NUM_THREADS"]) for one in found}
        assert len(n_threads) == 1
        assert 1 <= n_threads.pop() <= max(1, n_cores() // 3)
        assert "UniProcExecutor" in " ".join(vllm_command(settings, FAKE_BASE, 1234))
    else:
        assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["5", "GPU-a", "5"]
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert "CUDA_VISIBLE_DEVICES" not in engine_environment(settings, "key", 1)


def test_sockets_lie_in_a_short_folder(tmp_path: Path) -> None:
    """A socket's path has 107 bytes at most, whatever the temporary folder is called."""
    code = (
        "from pawl.settings import Settings\n"
        "from serve.engine.launch import engine_environment\n"
        "print(engine_environment(Settings(), 'key').get('VLLM_RPC_BASE_PATH'))"
    )
    long = tmp_path / ("t" * 100)
    long.mkdir()
    for folder, expected in ((long, "/tmp"), (Path("/tmp"), "None")):
        printed = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=True, cwd=REPOSITORY,
            env=os.environ | {"TMPDIR": str(folder)},
        )  # fmt: skip
        assert printed.stdout.decode().strip() == expected
