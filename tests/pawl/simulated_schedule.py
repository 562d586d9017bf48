"""A simulated year of a schedule: a server that is up or down, its nights, and a clock."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from pawl.schedule import FINAL, SCHEDULE_LOG, Event, Outcome, Schedule, ScheduleLog, Scheduler
from pawl.settings import ScheduleSettings

HOUR = timedelta(hours=1)
LOOK = timedelta(minutes=20)
YEAR = 2026
# Europe, where clocks change in the hour of the due time; America, on other days; half an hour.
PLACES = (
    ("Europe/Berlin", ("07:00-22:00",)),
    ("America/New_York", ()),
    ("Australia/Lord_Howe", ()),
)


def finals(log: ScheduleLog) -> dict[datetime, list[Event]]:
    found: dict[datetime, list[Event]] = {}
    for event in log.read():
        if event.outcome in FINAL and event.due_at is not None:
            found.setdefault(event.due_at, []).append(event)
    return found


class House:
    """A server that is up or down, its nights, and a clock, for a simulated time.

    A night takes ``hours``, does what its process does to the log, and may be killed.
    """

    def __init__(self, log: ScheduleLog, schedule: Schedule, seed: int) -> None:
        self.log, self.schedule, self.random = log, schedule, random.Random(seed)
        self.scheduler: Scheduler | None = None
        self.ends: datetime | None = None
        self.nights: list[tuple[datetime, datetime, datetime]] = []  # due, began, to end

    def step(self, now: datetime, is_up: bool, busy: str = "") -> None:
        if not is_up:  # a night of the server ends with it, without a word
            self.scheduler = self.ends = None
            return
        if self.scheduler is None:
            self.scheduler = Scheduler(self.schedule, self.log, now)
        if self.scheduler.running is not None and self.ends is not None and now >= self.ends:
            self._end(now)
        due = self.scheduler.look(now, busy)
        if due is not None:
            self._begin(due, now)

    def _begin(self, due: datetime, now: datetime) -> None:
        assert self.scheduler is not None
        self.scheduler.begin(due)
        self.log.append(Event(self.schedule.local(due), now.isoformat(), "began"))
        hours = self.random.choice([1, 2, 3, 30])  # the last runs into the next due time
        minutes = self.schedule.minutes(now)
        self.ends = now + min(hours * HOUR, timedelta(minutes=minutes or 1e6))
        self.nights.append((due, now, self.ends))

    def _end(self, now: datetime) -> None:
        assert self.scheduler is not None
        due = self.scheduler.running
        assert due is not None
        outcomes: list[Outcome | None] = ["ran", "ran", "no_run", None]
        outcome = self.random.choice(outcomes)  # None: a crash, which says nothing
        if outcome is not None:
            reason = "3 new rows, 20 are needed" if outcome == "no_run" else "promoted"
            self.log.append(Event(self.schedule.local(due), now.isoformat(), outcome, reason))
        event = self.scheduler.end(now, "it ended with signal 9")
        assert (event.outcome == "failed") == (outcome is None)
        self.ends = None


@dataclass(frozen=True, slots=True)
class Simulated:
    """``outcomes`` of the due times of the year by name; ``problems``: what must not be."""

    outcomes: Counter[str]
    problems: list[str]


def simulate(folder: Path, zone: str, quiet: tuple[str, ...], seed: int = 0) -> Simulated:
    """A year of ``30 2 * * *``: downtimes of hours and days, nights that run into the next due
    time, that crash, that are killed with the server or find too few rows, and other nights."""
    schedule = Schedule(ScheduleSettings(
        cron="30 2 * * *", time_zone=zone, quiet_hours=quiet, catch_up_hours=24
    ))  # fmt: skip
    log = ScheduleLog(folder / SCHEDULE_LOG)
    house, rng = House(log, schedule, seed), random.Random(f"{zone} {seed}")
    here = ZoneInfo(zone)
    begin, end = (datetime(year, 1, 1, tzinfo=here).astimezone(UTC) for year in (YEAR, YEAR + 1))
    now, changes, is_up, busy_until = begin, begin + 40 * HOUR, True, begin
    while now < end + 60 * HOUR:  # the last due time may be met late, and take long
        if now >= changes and now < end:
            is_up = not is_up
            hours = rng.choice([30, 90, 300] if is_up else [1, 5, 20, 90])
            changes = now + hours * HOUR
        if rng.random() < 0.002:
            busy_until = now + rng.choice([1, 30]) * HOUR
        busy = "another night was running" if now < busy_until else ""
        house.step(now, is_up or now >= end, busy)
        now += LOOK
    met = {due: events for due, events in finals(log).items() if begin <= due < end}
    return Simulated(
        Counter(events[0].outcome for events in met.values()), list(_problems(house, met, here))
    )


def _problems(house: House, met: dict[datetime, list[Event]], here: ZoneInfo) -> Iterator[str]:
    days = [due.astimezone(here).date() for due in sorted(met)]
    every = [date(YEAR, 1, 1) + timedelta(days=n) for n in range(365)]
    if days != every:
        yield f"not met: {sorted(set(every) - set(days))}, twice: {Counter(days) - Counter(every)}"
    for due, events in met.items():
        if len(events) != 1 or not events[0].reason:
            yield f"{due}: {events}"
    for (due, _, ends), (next_due, began, _) in pairwise(house.nights):
        whole = due in met and met[due][0].outcome in ("ran", "no_run")  # not killed before its end
        if whole and began < ends and next_due != due:
            yield f"the night due {next_due} began before the one due {due} ended"
    for due, began, _ in house.nights:
        if house.schedule.quiet_until(began) is not None:
            yield f"the night due {due} began in quiet hours"
