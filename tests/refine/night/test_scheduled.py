"""Nights of the schedule on real parts: what they keep to, and the lines that they leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from feedback.snapshots import ROWS
from pawl.cli import cli
from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.files import hold_lock, write_json
from pawl.schedule import NIGHTS_LOCK, SCHEDULE_LOG, Event, ScheduleLog
from pawl.settings import ScheduleSettings, Settings
from refine.night.budget import OUT_OF_TIME
from refine.night.nightly import run_night
from refine.night.scheduled import run_scheduled
from refine.night.state import RUN, RunState, newest_runs
from tests.refine.night.test_nightly import World, night_settings, where

pytestmark = pytest.mark.slow

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)


@pytest.fixture
def world(world_model: Path, tmp_path: Path) -> Iterator[World]:
    here = World(night_settings(world_model, tmp_path))
    yield here
    here.app.close()


def scheduled(world: World, **schedule: Any) -> list[Event]:
    """The lines that a night at noon leaves, with the settings of the schedule."""
    settings = world.settings.model_copy(
        update={"schedule": ScheduleSettings(time_zone="UTC", **schedule)}
    )
    log = ScheduleLog(settings.state_dir / SCHEDULE_LOG)
    n_before = len(log.read())
    run_scheduled(world.client, settings, due=NOON, now=NOON)
    return log.read()[n_before:]


def test_a_scheduled_night_leaves_its_lines(world: World) -> None:
    began, ended = scheduled(world)
    assert (began.outcome, ended.outcome) == ("began", "no_run")
    assert ended.due == "2026-05-10T12:00:00+00:00"
    assert "nothing to learn from" in ended.reason
    [run] = newest_runs(world.settings.runs_dir)
    assert ended.run_id == run.run_id
    [skipped] = scheduled(world, quiet_hours="09:00-17:00")
    assert (skipped.outcome, skipped.run_id) == ("skipped", None)
    assert "17:00" in skipped.reason
    lock = world.settings.state_dir / "nightly.lock"
    with hold_lock(lock, "held", ""), pytest.raises(PawlError):
        scheduled(world)
    log = ScheduleLog(world.settings.state_dir / SCHEDULE_LOG)
    assert log.read()[-1].outcome == "skipped"
    shown = CliRunner().invoke(cli, ["schedule", *where(world), "--set", "schedule.cron=5 4 * * *"])
    assert shown.exit_code == 0, shown.output
    assert "no_run" in shown.output
    assert shown.output.count("is due") == 3


@pytest.mark.parametrize("due", [NOON, None])
def test_a_night_that_finds_another_is_skipped_and_never_began(
    tmp_path: Path, due: datetime | None
) -> None:
    """Else it would stand there as one that was killed, once the other one is over."""
    nowhere, settings = Pawl("http://127.0.0.1:1"), Settings(state_dir=tmp_path)
    lock = tmp_path / NIGHTS_LOCK
    with hold_lock(lock, "held", ""), pytest.raises(PawlError, match="another night"):
        run_scheduled(nowhere, settings, due=due, now=NOON)
    [only] = ScheduleLog(tmp_path / SCHEDULE_LOG).read()
    assert (only.outcome, "another night is running" in only.reason) == ("skipped", True)


@pytest.mark.parametrize(("due", "left"), [(NOON, ["began"]), (None, ["began", "failed"])])
def test_a_night_of_a_server_that_is_gone_leaves_its_end_to_the_server(
    tmp_path: Path, due: datetime | None, left: list[str]
) -> None:
    """A server that stops hangs up before it ends its night."""
    nowhere = Pawl("http://127.0.0.1:1")
    with pytest.raises(PawlError) as error:
        run_scheduled(nowhere, Settings(state_dir=tmp_path), due=due, now=NOON)
    assert error.value.code == "unreachable"
    assert [event.outcome for event in ScheduleLog(tmp_path / SCHEDULE_LOG).read()] == left


def test_too_few_new_rows_or_too_little_time_train_nothing(world: World) -> None:
    world.complain(20)
    [_, few] = scheduled(world, min_new_rows=1000)
    assert (few.outcome, "schedule.min_new_rows" in few.reason) == ("no_run", True)
    [_, short] = scheduled(world, max_hours=0.05)
    assert (short.outcome, "schedule.max_hours" in short.reason) == ("no_run", True)
    runs = newest_runs(world.settings.runs_dir)
    assert not any((world.settings.runs_dir / run.run_id / "adapter").exists() for run in runs)
    # The snapshot of the last that trained is no longer whole.
    run_id, at = "run-20260101-000000-abcd", "2026-01-01T00:00:00Z"
    detail = {"outcome": "reject", "snapshot_id": "changed"}
    state = RunState(run_id, "finished", at, at, "base", world.base, detail=detail)
    write_json(world.settings.runs_dir / run_id / RUN, asdict(state))
    (world.settings.snapshots_dir / "changed").mkdir()
    (world.settings.snapshots_dir / "changed" / ROWS).write_text("{}\n", encoding="utf-8")
    [_, any_rows] = scheduled(world, max_hours=0.05)
    assert (any_rows.outcome, "schedule.max_hours" in any_rows.reason) == ("no_run", True)
    [_, few] = scheduled(world, min_new_rows=1000)
    assert (few.outcome, run_id in few.reason) == ("no_run", True)


# A file that the end of the time meets while it is opened is closed without its ``with``.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning"
)
def test_a_night_whose_time_is_over_is_carried_on(world: World) -> None:
    world.complain(20)
    with pytest.raises(PawlError) as stopped:
        scheduled(world, max_hours=1e-5)
    assert stopped.value.code == OUT_OF_TIME
    log = ScheduleLog(world.settings.state_dir / SCHEDULE_LOG)
    assert log.read()[-1].outcome == "stopped"
    assert run_night(world.client, world.settings, min_new_rows=1000).outcome == "no_run"
