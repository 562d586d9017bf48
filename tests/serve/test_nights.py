"""Nights that the server begins: a child for each due time, and what is left when it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pawl.files import hold_lock
from pawl.schedule import FINAL, SCHEDULE_LOG, Event, ScheduleLog
from pawl.settings import Settings, load_settings
from serve.nights import BUSY, Nights

# A night's process as small as can be: it says that it began, and how it ended.
SAYS = """
import json, sys
for outcome in ("began", "ran"):
    line = {"due": sys.argv[2], "at": "", "outcome": outcome, "reason": "promoted"}
    open(sys.argv[1], "a").write(json.dumps(line) + "\\n")
"""
FAILS = "import sys; print('no room'); sys.exit(3)"
WAITS = """
import json, os, sys, time
line = {"due": sys.argv[2], "at": "", "outcome": "began", "reason": str(os.getpid())}
open(sys.argv[1], "a").write(json.dumps(line) + "\\n")
time.sleep(600)
"""


class Machine:
    """A state folder, a clock that is set by hand, and nights of one kind of process."""

    def __init__(self, tmp_path: Path, script: str) -> None:
        self.settings: Settings = load_settings(
            {"state_dir": tmp_path, "schedule": {"cron": "30 2 * * *", "time_zone": "UTC"}},
            only_flags=True,
        )
        self.script = script
        self.log = ScheduleLog(tmp_path / SCHEDULE_LOG)
        self.n_looks = 0
        self.now = datetime(2026, 5, 10, 12, tzinfo=UTC)

    def clock(self) -> datetime:
        self.n_looks += 1
        return self.now

    def command(self, due: str) -> Sequence[str]:
        return [sys.executable, "-S", "-c", self.script, str(self.log.path), due]

    async def __aenter__(self) -> Machine:
        nights = Nights(self.settings, clock=self.clock, command=self.command, poll_seconds=0.01)
        self.task = asyncio.create_task(nights.run())
        await self.looked()
        return self

    async def __aexit__(self, *error: object) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})

    async def until(self, is_so: Callable[[list[Event]], bool]) -> list[Event]:
        async with asyncio.timeout(20):
            while not is_so(events := await asyncio.to_thread(self.log.read)):
                assert not self.task.done(), self.task
                await asyncio.sleep(0.01)
        return events

    async def looked(self) -> None:
        """Two looks began since: one of them is over."""
        n = self.n_looks + 2
        await self.until(lambda events: self.n_looks >= n)

    async def ended(self, n: int = 1) -> list[Event]:
        events = await self.until(lambda events: sum(e.outcome in FINAL for e in events) >= n)
        return [event for event in events if event.outcome in FINAL]


def test_a_night_begins_when_it_is_due_and_says_how_it_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Machine(tmp_path, SAYS) as machine:
            machine.now += timedelta(days=1)
            [event] = await machine.ended()
            assert (event.due, event.outcome) == ("2026-05-11T02:30:00+00:00", "ran")
            machine.now += timedelta(days=1)
            assert len(await machine.ended(2)) == 2

    asyncio.run(scenario())


def test_a_process_that_says_nothing_is_said_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Machine(tmp_path, FAILS) as machine:
            machine.now += timedelta(days=1)
            [event] = await machine.ended()
            assert event.outcome == "failed"
            assert "exit code 3: no room;" in event.reason
            assert (machine.settings.logs_dir / "night.out").read_text() == "no room\n"

    asyncio.run(scenario())


def test_a_server_that_ends_takes_its_night_along_and_the_next_start_goes_on(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        async with Machine(tmp_path, WAITS) as machine:
            machine.now += timedelta(days=1)
            await machine.until(lambda events: events[-1].outcome == "began")
            machine.now += timedelta(days=1)  # the next is due meanwhile
        assert [event.outcome for event in machine.log.read()] == ["set", "began"]
        async with Machine(tmp_path, SAYS) as again:
            again.now += timedelta(hours=20)
            [event] = await again.ended()
            assert (event.due, event.outcome) == ("2026-05-11T02:30:00+00:00", "ran")

    asyncio.run(scenario())


def test_a_disk_that_fails_ends_neither_the_nights_nor_the_night_that_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        disk = tmp_path / "disk"
        (tmp_path / SCHEDULE_LOG).symlink_to(disk / "log")
        async with Machine(tmp_path, WAITS) as machine:
            disk.mkdir()
            await machine.until(bool)
            machine.now += timedelta(days=1)
            events = await machine.until(lambda events: events[-1].outcome == "began")
            machine.now += timedelta(days=1)
            await machine.looked()
            disk.rename(tmp_path / "away")
            machine.now += timedelta(days=1)  # a due time that passed meanwhile gets its last line
            await machine.looked()
            (tmp_path / "away").rename(disk)
            [late] = await machine.ended()
            assert (late.due, late.outcome) == ("2026-05-12T02:30:00+00:00", "skipped")
            assert (Path("/proc") / events[-1].reason).exists()

    asyncio.run(scenario())


def test_a_server_without_a_schedule_says_so_where_one_was(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Machine(tmp_path, SAYS) as machine:
            pass
        settings = load_settings({"state_dir": tmp_path}, only_flags=True)
        await asyncio.wait_for(Nights(settings, clock=machine.clock).run(), 20)
        assert [event.outcome for event in machine.log.read()] == ["set", "set"]

    asyncio.run(scenario())


def test_a_night_waits_for_another(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Machine(tmp_path, SAYS) as machine:
            with hold_lock(tmp_path / "nightly.lock", "held", ""):
                machine.now += timedelta(hours=15)
                await machine.looked()
                machine.now += timedelta(days=1)
                [event] = await machine.ended()
                assert event.due == "2026-05-11T02:30:00+00:00"
                assert event.outcome == "skipped"
                assert BUSY in event.reason
            assert len(await machine.ended(2)) == 2

    asyncio.run(scenario())
