"""What all tests share: a clean environment, free ports, folders."""

from __future__ import annotations

import gc
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from tests.bars.place import Place

gc.disable()  # until all is imported; see pytest_collection_finish
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"  # lm-eval's metrics report home from this process
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # another takes the other core, and tiny models want one
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("KMP_BLOCKTIME", "0")
# Tests speak plain HTTP to this machine; a client that loads all the authorities of the web first
# costs more than its request. One is enough to satisfy the loaders.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("certificate.pem"))

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
# What is shared by the files of a group costs seconds.
TOGETHER = {
    "one running server": {
        "bars/test_bad_commands.py", "bars/test_bad_input.py", "pawl/test_client.py",
        "pawl/test_output.py",
        "serve/api/test_openapi.py",
    },
    "one trained world": {"refine/test_train.py", "refine/test_influence.py"},
    "one import of torch": {
        "evals/test_bias.py", "evals/test_prefix_tree.py", "evals/test_regression.py",
        "evals/test_tasks.py",
        "pawl/test_gguf.py", "refine/test_datasets.py", "refine/test_sft.py",
        "refine/test_weighted.py",
    },
}  # fmt: skip
# Begun first, so that no process of pytest-xdist sits alone over one of them at the end.
# What steps back for an engine (nice 10) is slow while others run, so it comes before all.
LONG = (
    "refine/test_training.py", "refine/night/test_beside", "evals/test_runner.py",
    "docs/test_typed.py", "refine/test_cross", "refine/test_resume.py", "refine/night",
    "refine/test_train.py", "refine/test_bad", "examples", "pawl/test_wheel.py", "refine",
    "serve/test_promotion_engine.py", "serve/pages", "bars/test_bad", "serve",
)  # fmt: skip


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


@pytest.fixture(scope="session")
def nobody() -> list[str]:
    """How to run a command as containers do: by a user that has a number and no name."""
    command = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT TESTED as a user without a name: no user namespace could be made")
    return command


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One ``pawl up`` before the fake engine for all tests that send it things (a start costs as
    much as fifty of them). Each leaves the base as champion."""
    from tests.bars.place import place

    root = tmp_path_factory.mktemp("running")
    with place(root / "state", root / "model") as server:
        yield server
    log = (server.state_dir / "logs" / "gateway.log").read_text()
    assert "Traceback" not in log, "something that came in broke a handler"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files in ``LONG`` first."""

    def begins(item: pytest.Item) -> int:
        path = item.path.relative_to(REPOSITORY / "tests").as_posix()
        return next((n for n, start in enumerate(LONG) if path.startswith(start)), len(LONG))

    items.sort(key=begins)


def pytest_collection_finish() -> None:
    """What the tests import stays: the collector need not look at it again and again."""
    gc.enable()
    gc.freeze()


class ByFile(LoadFileScheduling):  # type: ignore[misc]
    """pytest-xdist's processes: the tests of a file run in one, and so do the files of a group in
    ``TOGETHER``. (Its own ``loadgroup`` has no effect with pytest 9.2: it renames tests by an
    attribute that pytest reads no more.)"""

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid)).removeprefix("tests/")
        return next((name for name, files in TOGETHER.items() if file in files), file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)
