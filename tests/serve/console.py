"""An operator at a running server: its admin routes, and challengers that passed the gate."""

from __future__ import annotations

from typing import Any

import httpx

from tests.adapters_for_tests import approved_run, light_adapter
from tests.serve.live import Operator
from tests.serve.pages.composed import Composed


class Console:
    """What an operator does to ``server``. Close ``http`` at the end."""

    def __init__(self, server: Composed) -> None:
        self.server = server
        self.http = httpx.Client(
            base_url=server.url, timeout=60, auth=Operator(server.settings.state_dir)
        )

    def passed(self, run_id: str, champion: str) -> None:
        """A run whose adapter the gate let through."""
        folder = self.server.settings.state_dir.parent / f"trained-{run_id}"
        light_adapter(folder, self.server.base, seed=sum(run_id.encode()))
        approved_run(self.server.settings.runs_dir, run_id, folder, champion)
        self.post("/admin/runs", {"run_id": run_id, "status": "finished"})

    def promote(self, run_id: str, **more: Any) -> dict[str, Any]:
        return dict(self.post("/admin/promotions", {"run_dir": run_id, **more}).json())

    def post(self, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        return self.http.post(path, json=body or {})

    def status(self) -> dict[str, Any]:
        return dict(self.http.get("/admin/status").json())
