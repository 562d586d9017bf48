"""The trainer without the night: an adapter and its report, and no run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pawl.adapters import read_manifest
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json
from refine.alone import train_alone
from refine.night.state import newest_runs
from tests.refine.night.test_nightly import World, night_settings

pytestmark = pytest.mark.slow


@pytest.fixture
def world(world_model: Path, tmp_path: Path) -> Iterator[World]:
    here = World(night_settings(world_model, tmp_path))
    yield here
    here.app.close()


def test_it_leaves_an_adapter_and_a_report_and_promotes_nothing(world: World) -> None:
    with pytest.raises(PawlError, match="nothing to train"):
        train_alone(world.client, world.settings)
    world.complain(20)
    with pytest.raises(PawlError, match="is not there"):
        train_alone(world.client, world.settings, snapshot_id="none")
    lock = world.settings.state_dir / "nightly.lock"
    with hold_lock(lock, "held", ""), pytest.raises(PawlError, match="a night is running"):
        train_alone(world.client, world.settings)
    run_dir, manifest = train_alone(world.client, world.settings)
    assert read_manifest(run_dir / "adapter") == manifest
    report = read_json(run_dir / "report.json")
    assert (report["outcome"], bool(report["training"])) == ("trained", True)
    assert newest_runs(world.settings.runs_dir) == []
    assert world.client.get("/admin/status")["champion"] == "base"
