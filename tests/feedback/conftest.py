from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.store import Store
from pawl.settings import Settings
from tests.feedback.examples import SALT
from tests.mounts import mounted


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", split_salt=SALT)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with all migrations done: a copy opens in half the time of a new one."""
    path = tmp_path_factory.mktemp("empty") / "pawl.duckdb"
    Store.open(path).close()
    return path


@pytest.fixture
def store(settings: Settings, empty_store: Path) -> Iterator[Store]:
    settings.state_dir.mkdir(exist_ok=True)
    shutil.copy(empty_store, settings.database_path)
    with Store.open(settings.database_path) as opened:
        yield opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    with mounted(tmp_path / "small", "size=24m", "on a full disk") as folder:
        yield folder
