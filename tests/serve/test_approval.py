"""Where a person must sign, a challenger that passed the gate waits until one does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from pawl.cli import cli
from pawl.schemas import Promotion
from pawl.settings import Settings
from tests.adapters_for_tests import approved_run, light_adapter
from tests.serve.live import Operator
from tests.serve.pages.composed import Composed, composed


class Console:
    """An operator at a running server: its admin routes, and challengers that passed the gate."""

    def __init__(self, server: Composed) -> None:
        self.server = server
        self.http = httpx.Client(
            base_url=server.url, timeout=60, auth=Operator(server.settings.state_dir)
        )
        self._n_adapters = 0

    def passed(self, run_id: str, champion: str) -> None:
        """A run whose adapter the gate let through."""
        self._n_adapters += 1
        folder = self.server.settings.state_dir.parent / f"trained-{self._n_adapters}"
        light_adapter(folder, self.server.base, seed=self._n_adapters)
        approved_run(self.server.settings.runs_dir, run_id, folder, champion)
        self.post("/admin/runs", {"run_id": run_id, "status": "finished"})

    def promote(self, run_id: str, **more: Any) -> dict[str, Any]:
        return dict(self.post("/admin/promotions", {"run_dir": run_id, **more}).json())

    def post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return self.http.post(path, json=body or {})

    def status(self) -> dict[str, Any]:
        return dict(self.http.get("/admin/status").json())


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("approval")
    settings = Settings(state_dir=folder / "state", promotion={"approval": True})
    with composed(settings, pages=False) as server:
        console = Console(server)
        yield console
        console.http.close()


def test_a_challenger_waits_until_somebody_signs_or_refuses(console: Console) -> None:
    champion = console.status()["champion"]
    for run_id in ("first", "second"):
        console.passed(run_id, champion)
        assert console.promote(run_id)["outcome"] == "waiting"
    version = console.promote("first")["version"]  # asked again, it is the same one
    status = console.status()
    assert status["champion"] == champion
    assert [row["run_id"] for row in status["waiting"]] == ["first", "second"]
    runs = {run["run_id"]: run["promotion"] for run in console.http.get("/admin/runs").json()}
    assert {runs[name]["outcome"] for name in ("first", "second")} == {"waiting"}
    assert console.post("/admin/runs/nope/approve").json()["error"]["code"] == "not_waiting"

    moved = console.post("/admin/runs/first/approve").json()
    assert (moved["outcome"], moved["version"]) == ("live", version)
    assert console.status()["champion"] == version
    # The other one was compared with a champion that is none any more.
    assert console.status()["waiting"] == []
    assert console.post("/admin/runs/second/approve").status_code == 409

    console.passed("third", version)
    console.promote("third")
    assert console.post("/admin/runs/third/reject").json()["outcome"] == "refused"
    assert console.status()["champion"] == version
    actions = [one["action"] for one in console.http.get("/admin/audit").json()]
    assert {"approve", "reject"} <= set(actions)
    told = [change.kind for change in console.server.store.changes_since(0, 100)]
    assert "challenger.waiting" in told


def test_force_signs(console: Console) -> None:
    console.passed("urgent", "another")
    moved = console.promote("urgent", force=True)
    assert (moved["outcome"], console.status()["champion"]) == ("live", moved["version"])


def test_one_that_was_compared_with_another_champion_is_refused(console: Console) -> None:
    """As a kill between two rows may leave it: the champion moved, the challenger still waits."""
    champion = console.status()["champion"]
    console.passed("late", champion)
    waiting = console.promote("late")
    store = console.server.store
    store.append_promotion(Promotion(**{**waiting, "previous_version": "pawl@99"})).result()
    assert console.post("/admin/runs/late/approve").json()["outcome"] == "refused"
    assert console.status()["champion"] == champion


def test_signed_without_a_server_it_is_probed_by_the_next_start(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state", promotion={"approval": True})
    flags = ["--state-dir", str(settings.state_dir), "--set", f"model={tmp_path / 'base'}"]
    with composed(settings, pages=False) as server:
        console = Console(server)
        console.passed("r1", "base")
        assert console.promote("r1")["outcome"] == "waiting"
        console.http.close()
    listed = CliRunner().invoke(cli, [*flags, "runs"])
    assert "pawl approve r1" in listed.output
    signed = CliRunner().invoke(cli, [*flags, "approve", "r1"])
    assert signed.exit_code == 0, signed.output
    with composed(settings, pages=False) as server:
        assert server.store.champion() == "pawl@1"
        assert json.loads(httpx.get(f"{server.url}/health").text)["champion_served"]
