from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.store import Store
from pawl.settings import Settings
from tests.feedback.examples import SALT


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
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"NOT TESTED on a full disk: no tmpfs could be mounted ({made.stderr.strip()})")
    yield place
    subprocess.run(["umount", str(place)], check=True)
