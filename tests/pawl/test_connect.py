"""Verbs without a server: the store is held for a call only, and who only looks leaves no trace."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import pawl.cli.connect
from feedback.store import Store
from pawl.cli import cli
from pawl.cli.connect import connect
from pawl.errors import PawlError
from tests.adapters_for_tests import approved_run, light_adapter, light_base
from tests.serve.toy_world import toy_settings


def type_in(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_between_its_calls_a_long_verb_leaves_the_store_to_others(tmp_path: Path) -> None:
    settings = toy_settings(tmp_path)
    night, other = connect(settings), connect(settings)
    night.post("/admin/runs", {"run_id": "r", "status": "training"})
    with Store.open(settings.database_path) as store:  # as 'pawl up' does
        assert store.champion() == "base"
    assert other.get("/admin/runs")[0]["run_id"] == "r"
    assert night.get("/admin/status")["champion"] == "base"


def test_a_call_waits_for_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = toy_settings(tmp_path)
    store = Store.open(settings.database_path)
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        store.close()

    monkeypatch.setattr(time, "sleep", let_go)
    assert connect(settings).get("/admin/status")["champion"] == "base"
    assert len(waits) == 1


def test_a_store_that_stays_held_is_said_with_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = toy_settings(tmp_path)
    monkeypatch.setattr(pawl.cli.connect, "TURN_SECONDS", 0.2)
    with (
        Store.open(settings.database_path),
        pytest.raises(PawlError, match=r"the store is in use \(process \d+"),
    ):
        connect(settings).get("/admin/status")


@pytest.mark.parametrize(
    "line", ["status", "history", "runs", "show r", "export x.jsonl", "--set model=a/b status"]
)
def test_who_only_looks_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = type_in(*line.split())
    assert isinstance(said.exception, PawlError)
    assert "there is nothing in" in str(said.exception)
    assert list(tmp_path.iterdir()) == []


def test_who_only_looks_fetches_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    said = type_in("--set", "model=owner/absent", "doctor")
    assert "model 'owner/absent' is not on this machine yet" in said.output
    assert said.exit_code == 1
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".pawl").mkdir()
    said = type_in("--set", "model=owner/absent", "status")
    assert "not on this machine yet" in str(said.exception)


def test_doctor_finds_a_spoilt_server_file(tmp_path: Path) -> None:
    settings = toy_settings(tmp_path)
    settings.state_dir.mkdir()
    settings.server_file.write_text("{")
    said = type_in("--state-dir", str(settings.state_dir), "--set", f"model={settings.model}",
                   "doctor")  # fmt: skip
    assert said.exit_code == 1
    (line,) = [one for one in said.output.splitlines() if " server " in one]
    assert line.startswith("MISSING")
    assert "Delete it" in line


@pytest.mark.parametrize("run", ["state/runs/r1", "./state/runs/r1/", "r1"])
def test_a_run_may_be_named_by_its_folder_as_one_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    settings = toy_settings(tmp_path)
    base = light_base(tmp_path / "base")
    approved_run(settings.runs_dir, "r1", light_adapter(tmp_path / "one", base, seed=1), "base")
    monkeypatch.chdir(tmp_path)
    said = type_in("--state-dir", "state", "--set", f"model={settings.model}", "promote", run)
    assert said.exit_code == 0, said.output
    assert "pawl@1 is next" in said.output
