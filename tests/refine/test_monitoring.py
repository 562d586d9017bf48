"""What a training reports to, and that nothing of it leaves the machine by default."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from pawl.errors import PawlError
from pawl.jobs import child_environment
from pawl.settings import load_settings
from refine.monitoring import PACKAGES, check_packages, flatten

# A training's figures into both trackers, as the child has it; prints what was left.
REPORT = """
import os, sys
from pathlib import Path
from refine.monitoring import Reporting, set_environment
names, folder = sys.argv[1].split(","), Path(sys.argv[2])
set_environment(names, folder)
with Reporting(tuple(names), "run-1", {"snapshot": {"rows_sha256": "abc123"}}).of_stage("sft"):
    if "wandb" in names:
        import wandb
        assert wandb.run.settings.mode == "offline"
        wandb.log({"loss": 0.5})
    if "mlflow" in names:
        import mlflow
        mlflow.log_metric("loss", 0.5)
"""


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(PawlError, match=r"monitoring\.report_to"):
        load_settings({"monitoring": {"report_to": "comet"}}, only_flags=True)
    settings = load_settings({"monitoring": {"report_to": "wandb,mlflow"}}, only_flags=True)
    assert settings.monitoring.report_to == ("wandb", "mlflow")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_that_is_missing_is_named_with_its_command(name: str) -> None:
    if importlib.util.find_spec(PACKAGES[name][0]) is not None:
        pytest.skip(f"{name} is installed here")
    with pytest.raises(PawlError) as error:
        check_packages([name])
    assert f"pip install {PACKAGES[name][1]}" in error.value.do
    check_packages([])


def test_a_header_is_flat_for_trackers() -> None:
    assert dict(flatten({"a": {"b": {"c": 1}}, "d": [2]})) == {"a.b.c": 1, "d": [2]}


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_a_real_tracker_writes_beside_the_runs(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(PACKAGES[name][0]) is None:
        pytest.skip(f"{name} is not installed: pip install {PACKAGES[name][1]}")
    environment = {key: value for key, value in child_environment().items()
                   if not key.startswith(("WANDB_", "MLFLOW_"))}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-c", REPORT, name, str(tmp_path / "monitoring")],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["monitoring"]
    written = b"".join(p.read_bytes() for p in (tmp_path / "monitoring").rglob("*") if p.is_file())
    assert b"abc123" in written
