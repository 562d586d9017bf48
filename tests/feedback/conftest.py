from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.store import Store
from pawl.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with Store.open(settings.database_path) as opened:
        yield opened
