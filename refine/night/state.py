"""The state of one nightly run: ``runs/<run_id>/run.json``, and the same posted to the server."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.schemas import utc_now

Status = Literal[
    "started", "snapshot", "planned", "trained", "scored", "decided", "finished", "failed"
]
ORDER: tuple[Status, ...] = ("started", "snapshot", "planned", "trained", "scored", "decided")
ENDED: tuple[Status, ...] = ("finished", "failed")
RUN = "run.json"


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run is and how far it came. ``detail`` grows: snapshot_dir, method, outcome...

    ``n_attempts`` counts how often the step after ``status`` was begun.
    """

    run_id: str
    status: Status
    created_at: str
    at: str
    champion: str
    base_fingerprint: str
    n_attempts: int = 1
    detail: dict[str, Any] = field(default_factory=dict)


class Run:
    """A run's folder and its current state; every change is posted, then written."""

    def __init__(self, run_dir: Path, state: RunState, client: Client) -> None:
        self.run_dir = run_dir
        self.state = state
        self._client = client

    @classmethod
    def start(cls, runs_dir: Path, client: Client, *, champion: str, base_fingerprint: str) -> Run:
        """Begin a run under a name that sorts by time."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        now = utc_now()
        run_id = f"run-{stamp}-{os.urandom(2).hex()}"
        state = RunState(run_id, "started", now, now, champion, base_fingerprint)
        run = cls(runs_dir / run_id, state, client)
        run.move("started")
        return run

    @classmethod
    def unfinished(cls, runs_dir: Path, client: Client) -> Run | None:
        """The newest run, if it has not come to an end."""
        newest = newest_runs(runs_dir)
        if not newest or newest[0].status in ENDED:
            return None
        return cls(runs_dir / newest[0].run_id, newest[0], client)

    def move(self, status: Status, **detail: Any) -> None:
        """Go to a status; ``detail`` is added to what is there.

        Posted first: of a night killed in between, the server may know a status twice, but it
        never misses the last one.
        """
        state = replace(
            self.state,
            status=status,
            at=utc_now(),
            n_attempts=1,
            detail={**self.state.detail, **detail},
        )
        self._client.post(
            "/admin/runs",
            {"run_id": state.run_id, "status": status, "at": state.at, "detail": state.detail},
        )
        self.state = state
        self._write()

    def is_before(self, status: Status) -> bool:
        """Has the run not come to ``status`` yet?"""
        return ORDER.index(self.state.status) < ORDER.index(status)

    def keep(self, **changes: Any) -> None:
        """Change fields of the state without moving on."""
        self.state = replace(self.state, **changes)
        self._write()

    def _write(self) -> None:
        write_json(self.run_dir / RUN, asdict(self.state))


def newest_runs(runs_dir: Path) -> list[RunState]:
    """The states of all runs, newest first. A folder without run.json never became a run."""
    states = []
    for path in runs_dir.glob(f"*/{RUN}"):
        try:
            states.append(RunState(**read_json(path)))
        except TypeError as err:
            raise PawlError(
                f"{path} has another shape", str(err), "Move that folder out of the way"
            ) from err
    return sorted(states, key=lambda state: (state.created_at, state.run_id), reverse=True)


def promotion_of(client: Client, run_id: str) -> dict[str, Any] | None:
    """The newest promotion of this run's adapter as it stands now, if there is any."""
    history: list[dict[str, Any]] = client.get("/admin/history")
    return next((one for one in reversed(history) if one.get("run_id") == run_id), None)


def what_became_of(promotion: dict[str, Any], run_id: str) -> str:
    """Why a run that the gate let through changes nothing tonight either."""
    version, outcome = promotion["version"], promotion["outcome"]
    if outcome == "pending":
        return "its adapter waits for the engine's next start"
    if outcome == "live":
        return f"{version} answered for a time and was rolled back"
    return (
        f"{version} was {outcome}: {str(promotion['reason']).rstrip('.')}; "
        f"'pawl promote {run_id}' tries again"
    )
