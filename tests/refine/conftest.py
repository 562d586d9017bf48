from __future__ import annotations

from pathlib import Path

import pytest

from tests.refine.tiny import make_world_model, shared_world_model


@pytest.fixture(scope="session")
def world_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that knows the colours of a few things."""
    return shared_world_model(tmp_path_factory)


@pytest.fixture(scope="session")
def untrained_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same before it learned anything: its tokenizer and shapes."""
    return make_world_model(tmp_path_factory.mktemp("untrained") / "tiny", n_steps=0)
