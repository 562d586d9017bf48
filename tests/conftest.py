"""What all tests share: a clean environment, free ports, folders."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # lm-eval's metrics report home from this process
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("KMP_BLOCKTIME", "0")

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No PAWL_* setting of the person who runs the tests leaks into them."""
    for key in list(os.environ):
        if key.upper().startswith("PAWL_"):
            monkeypatch.delenv(key)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real data beside the repository; tests that need it are skipped without."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: NOT TESTED on the real benchmarks and feedback files")
    return SHARED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file share its fixtures, and all that need vLLM one engine: each such group runs
    in one of pytest-xdist's processes (``--dist loadgroup``)."""
    for item in items:
        group = "engine" if item.get_closest_marker("engine") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
