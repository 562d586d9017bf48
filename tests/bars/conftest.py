"""One running server for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bars.place import Place, place


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("bars")
    with place(root / "state", root / "model") as one:
        yield one
    log = (one.state_dir / "logs" / "gateway.log").read_text()
    assert "Traceback" not in log, "something that came in broke a handler"
