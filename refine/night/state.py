"""The state of one nightly run: ``runs/<run_id>/run.json``, and the same posted to the server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.runs import ENDED
from pawl.schemas import utc_now
from pawl.settings import GateSettings, Settings, TrainSettings, flat
from refine.checkpoints import discard

RUN = "run.json"


@dataclass(frozen=True, slots=True)
class RunState:
    """What a run is and how far it came.

    ``status`` is ``started``, the name of the last step that was done, or one of ``ENDED``.
    ``n_attempts`` counts how often the step after it was begun. ``settings`` holds ``train`` and
    ``gate`` as they were when the run began; they hold to its end. ``steps`` has an entry for
    every step that was done: ``{"seconds": ..., "peak_memory_bytes": ... (of its child)}``.
    ``detail`` grows: snapshot_id, method, outcome, reason...
    """

    run_id: str
    status: str
    created_at: str
    at: str
    champion: str
    base_fingerprint: str
    n_attempts: int = 0
    settings: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, float]] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def today(self) -> str | None:
        """The date that chat templates write to its end; None: the clock's, as for a run that an
        older version began."""
        today: str | None = self.detail.get("today")
        return today


class Run:
    """A run's folder and its current state; every change of status is posted, then written."""

    def __init__(self, run_dir: Path, state: RunState, client: Client) -> None:
        self.run_dir = run_dir
        self.state = state
        self._client = client

    @classmethod
    def start(
        cls,
        settings: Settings,
        client: Client,
        *,
        champion: str,
        base_fingerprint: str,
        suite: str,
        **detail: Any,
    ) -> Run:
        """Begin a run under a name that sorts by time; ``suite`` is the folder of its suite, which
        stands in its ``detail`` beside the rest and the date on which it began."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        now = utc_now()
        run_id = f"run-{stamp}-{os.urandom(2).hex()}"
        state = RunState(
            run_id, "started", now, now, champion, base_fingerprint, settings=_deciding(settings)
        )
        run = cls(settings.runs_dir / run_id, state, client)
        # Before it is posted, so that a kill leaves no run that the server knows and no night
        # carries on.
        today = datetime.now().date().isoformat()  # of the clock that templates read
        run._write(detail={"suite": suite, "today": today, **detail})
        run._move("started")
        return run

    @classmethod
    def unfinished(cls, runs_dir: Path, client: Client) -> Run | None:
        """The newest run, if it has not come to an end."""
        newest = newest_runs(runs_dir)
        if not newest or newest[0].status in ENDED:
            return None
        return cls(runs_dir / newest[0].run_id, newest[0], client)

    def begin_step(self) -> None:
        """Count an attempt at the next step."""
        self._write(n_attempts=self.state.n_attempts + 1)

    def is_done(self, name: str, output: str) -> bool:
        """The one rule for done: the step was recorded, and what it left is there."""
        return name in self.state.steps and (self.run_dir / output).exists()

    def finish_step(self, name: str, figures: Mapping[str, float], detail: dict[str, Any]) -> None:
        """Record a step as done; ``detail`` is added to what is there."""
        self._move(name, steps={**self.state.steps, name: dict(figures)}, **detail)

    def end(self, status: str, **detail: Any) -> None:
        """Come to one of ``ENDED``; what its training would go on from goes."""
        self._move(status, **detail)
        discard(self.run_dir / "train")

    def _move(self, status: str, steps: dict[str, Any] | None = None, **detail: Any) -> None:
        """Posted first: of a night killed in between, the server may know a status twice, but it
        never misses the last one."""
        steps = self.state.steps if steps is None else steps
        at, detail = utc_now(), {**self.state.detail, **detail}
        posted = {**detail, "settings": self.state.settings, "steps": steps}
        self._client.post(
            "/admin/runs",
            {"run_id": self.state.run_id, "status": status, "at": at, "detail": posted},
        )
        self._write(status=status, at=at, n_attempts=0, steps=steps, detail=detail)

    def _write(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
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


def as_begun(state: RunState, settings: Settings) -> tuple[Settings, list[str]]:
    """The settings with those that the run began with, and what differs: ``gate.margin was 0.05
    and is 0.1 now``."""
    try:
        begun = settings.model_copy(
            update={
                "train": TrainSettings(**state.settings["train"]),
                "gate": GateSettings(**state.settings["gate"]),
            }
        )
    except (ValidationError, KeyError) as err:
        raise PawlError(
            f"{state.run_id} was begun with settings that this version does not know",
            str(err).partition("\n")[0],
            "Give it up with 'pawl nightly --fresh'",
        ) from err
    then, now = dict(flat(_deciding(begun))), dict(flat(_deciding(settings)))
    return begun, [
        f"{key} was {then[key]!r} and is {now[key]!r} now" for key in now if then[key] != now[key]
    ]


def _deciding(settings: Settings) -> dict[str, Any]:
    """The settings that decide how a night ends."""
    return {name: getattr(settings, name).model_dump(mode="json") for name in ("train", "gate")}


def promotion_of(client: Client, run_id: str) -> dict[str, Any] | None:
    """The newest promotion of this run's adapter as it stands now, if there is any."""
    history: list[dict[str, Any]] = client.get("/admin/history")
    return next((row for row in reversed(history) if row.get("run_id") == run_id), None)


def what_became_of(promotion: dict[str, Any], run_id: str, champion: str = "") -> str:
    """Why a run that the gate let through changes nothing tonight either."""
    version, outcome = promotion["version"], promotion["outcome"]
    if version == champion:
        return f"{version} answers since then"
    if outcome == "pending":
        return "its adapter waits for the engine's next start"
    if outcome == "waiting":
        return f"{version} waits for approval: 'pawl approve {run_id}'"
    if outcome == "canary":
        return f"{version} answers a share of the conversations first"
    if outcome == "live":
        return f"{version} answered for a time and was rolled back"
    return (
        f"{version} was {outcome}: {str(promotion['reason']).rstrip('.')}; "
        f"'pawl promote {run_id}' tries again"
    )
