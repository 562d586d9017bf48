"""When nights begin: due times of a cron expression, quiet hours, and what became of each due time.

``Schedule`` is the settings as times. ``ScheduleLog`` is ``schedule.jsonl`` in the state folder, a
line an event:

    {"due": "2026-03-29T03:00:00+02:00", "at": "...Z", "outcome": "ran", "reason": "...",
     "run_id": "run-..."}

``Scheduler`` decides what is to begin now, and sees to it that every due time gets one line with an
outcome of ``FINAL``. A due time is met late (after a downtime, quiet hours or another night) within
``schedule.catch_up_hours``, and not after the next one is due.

Times are compared in UTC. Where clocks change, fixed minutes and hours follow Debian's cron
(cronsim): a time that is skipped is met at the next that exists, a time that comes twice is met
once. Minutes or hours with a star (``*/30 2 * * *``) are met as the clock shows them.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from pawl.schemas import written

if TYPE_CHECKING:
    from pawl.settings import ScheduleSettings

SCHEDULE_LOG = "schedule.jsonl"  # in the state folder
NIGHTS_LOCK = "nightly.lock"  # beside it: of a night, pawl train and pawl search, one at a time
# set: from here on due times count, under the schedule that ``reason`` names. began: by a process
# that may have been killed since.
Outcome = Literal["set", "began", "ran", "no_run", "stopped", "failed", "skipped", "missed"]
FINAL = ("ran", "no_run", "stopped", "failed", "skipped", "missed")
NO_SERVER = "no server ran then"
GRACE = timedelta(minutes=5)  # between a due time and a look, on a machine that is busy
LOCAL_TIME = Path("/etc/localtime")
_QUIET = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")
_log = logging.getLogger("pawl.schedule")


def parse_cron(expression: str) -> str:
    """The expression with single blanks. Raises ValueError: cron would not take it, or no day ever
    meets it."""
    from cronsim import CronSim, CronSimError

    words = expression.split()
    if len(words) != 5:
        raise ValueError("five fields are needed: minute, hour, day, month, weekday: '17 2 * * *'")
    try:
        next(CronSim(expression, datetime(2026, 1, 1, tzinfo=UTC)))
    except CronSimError as err:
        raise ValueError(f"{err}; the fields are minute, hour, day, month, weekday") from err
    except StopIteration:
        raise ValueError("no day of the next 50 years meets it") from None
    return " ".join(words)


def parse_zone(name: str | None) -> tzinfo:
    """The time zone of an IANA name; None: the machine's, which is ``TZ`` (such a name, or the
    absolute path of a zone's file) or else ``/etc/localtime``. Raises ValueError: no such zone."""
    if name is not None:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError) as err:
            raise ValueError("it is no time zone of the IANA list, as 'Europe/Berlin' is") from err
    zone = os.environ.get("TZ", "").lstrip(":")
    if not zone and not LOCAL_TIME.exists():
        return UTC
    try:
        if zone and not zone.startswith("/"):
            return parse_zone(zone)
        with Path(zone or LOCAL_TIME).open("rb") as file:
            return ZoneInfo.from_file(file)
    except (ValueError, OSError) as err:
        source = f"TZ={zone}" if zone else str(LOCAL_TIME)
        raise ValueError(
            f"the machine's time zone, {source}, is neither of the IANA list nor the file of a "
            "zone; set schedule.time_zone, as 'Europe/Berlin'"
        ) from err


def parse_quiet(text: str) -> tuple[time, time]:
    """``22:00-06:30``: begin and end; over midnight where the end is not after the begin."""
    text = text.strip()
    found = _QUIET.fullmatch(text)
    if found is None or text[:5] == text[6:]:
        raise ValueError("quiet hours are of the form '07:00-19:30', two times of one day or night")
    hours = [int(word) for word in found.groups()]
    return time(hours[0], hours[1]), time(hours[2], hours[3])


class Schedule:
    """``schedule.*`` as times. All times in and out are aware; those out are in UTC."""

    def __init__(self, settings: ScheduleSettings) -> None:
        self.cron = settings.cron
        self.zone = parse_zone(settings.time_zone) if settings.has_times else UTC
        self.catch_up = timedelta(hours=settings.catch_up_hours)
        self._max_hours = settings.max_hours
        self._quiet = [parse_quiet(text) for text in settings.quiet_hours]
        self._zone_name = settings.time_zone or "the machine's time zone"

    def __str__(self) -> str:
        return f"'{self.cron}' in {self._zone_name}" if self.cron is not None else "no schedule"

    def due_after(self, after: datetime) -> Iterator[datetime]:
        """The due times after a time, for ever; none without a cron expression."""
        from cronsim import CronSim

        if self.cron is None:
            return
        last = after.astimezone(UTC)
        # Where clocks go back, local times before ``after`` come again; where they go forward, two
        # due times may become one.
        for due in CronSim(self.cron, after.astimezone(self.zone)):
            if (due_utc := due.astimezone(UTC)) > last:
                last = due_utc
                yield due_utc

    def quiet_until(self, now: datetime) -> datetime | None:
        """When the quiet hours end that ``now`` is in; None outside of them."""
        until = now
        while ends := [end for begin, end in self._spans(until) if begin <= until < end]:
            until = max(ends)
            if until - now > timedelta(days=1):  # all day long
                break
        return None if until == now else until

    def minutes(self, now: datetime) -> float | None:
        """How long a night may take that begins now; None: as long as it likes."""
        begins = [begin for begin, _ in self._spans(now) if begin > now]
        bounds = [(min(begins) - now) / timedelta(minutes=1)] if begins else []
        if self._max_hours is not None:
            bounds.append(60 * self._max_hours)
        return min(bounds, default=None)

    def local(self, at: datetime) -> str:
        """``2026-03-29T03:00:00+02:00``."""
        return at.astimezone(self.zone).isoformat(timespec="seconds")

    def _spans(self, around: datetime) -> Iterator[tuple[datetime, datetime]]:
        """Quiet hours that begin from the day before to the day after."""
        today = around.astimezone(self.zone).date()
        for day in (today + timedelta(days=n) for n in (-1, 0, 1)):
            for begin, end in self._quiet:
                over_midnight = timedelta(days=end <= begin)
                yield self._at(day, begin), self._at(day + over_midnight, end)

    def _at(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, self.zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the log. ``due``: None for a night that no due time asked for (cron, a person).
    ``at``: when it was written, UTC."""

    due: str | None
    at: str
    outcome: Outcome
    reason: str = ""
    run_id: str | None = None

    @property
    def due_at(self) -> datetime | None:
        return None if self.due is None else datetime.fromisoformat(self.due)


class ScheduleLog:
    """``schedule.jsonl``: appended to, a line at a time, by the server and by its nights."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, event: Event) -> None:
        """Write a line; it is on the disk when this returns."""
        line = json.dumps(asdict(event), ensure_ascii=False) + "\n"
        with self.path.open("a+b") as file:
            if file.tell() and not self._ends_a_line(file.fileno(), file.tell()):
                line = "\n" + line  # a kill left half a line
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        if event.outcome != "set":
            _log.info("night due %s: %s%s", event.due or "now", event.outcome,
                      f": {event.reason}" if event.reason else "")  # fmt: skip

    def read(self) -> list[Event]:
        """All lines, oldest first; half a line, which a kill left, is none, nor is one whose
        ``due`` is no time with its distance from UTC (the file was edited)."""
        events = []
        for line in self._lines():
            try:
                event = Event(**json.loads(line))
                if event.due_at is not None and event.due_at.utcoffset() is None:
                    raise ValueError(f"due {event.due} lacks its distance from UTC")
                events.append(event)
            except (ValueError, TypeError) as err:
                _log.warning("a line of %s can't be read: %s", self.path, err)
        return events

    def outcome_of(self, due: datetime) -> Event | None:
        """The final line of a due time, if it has one since due times count."""
        for event in reversed(self.read()):
            if event.outcome == "set":  # by a clock that was ahead it may have had one before
                break
            if event.due_at == due and event.outcome in FINAL:
                return event
        return None

    def _lines(self) -> Sequence[str]:
        if not self.path.exists():
            return []
        return [line for line in self.path.read_text("utf-8", "replace").split("\n") if line]

    @staticmethod
    def _ends_a_line(descriptor: int, size: int) -> bool:
        return os.pread(descriptor, 1, size - 1) == b"\n"


class Scheduler:
    """Decides which due time's night begins now. Not for several threads at once.

    Args:
        schedule: without a cron expression nothing is due; the log says so if it knows another.
        log: what became of earlier due times; what is decided is written there.
        now: when the scheduler starts. Under a schedule that the log does not know nothing is due
            before it.
    """

    def __init__(self, schedule: Schedule, log: ScheduleLog, now: datetime) -> None:
        self.schedule, self.log = schedule, log
        self.pending: datetime | None = None  # due, without a final line
        self.running: datetime | None = None
        self._hindrance = ""  # why the pending one did not begin
        events = [(event.due_at, event) for event in log.read() if event.due_at is not None]
        sets = [event.reason for _, event in events if event.outcome == "set"]
        # What stands before it was under another schedule, or by a clock that was ahead.
        newest_set = max((i for i, (_, e) in enumerate(events) if e.outcome == "set"), default=0)
        events = events[newest_set:]
        began = {due for due, event in events if event.outcome == "began"}
        if killed := began - {due for due, event in events if event.outcome in FINAL}:
            self.pending = max(killed)  # one at most: nights don't run side by side
            self._hindrance = "the server ended while it ran"
        self.next_due: datetime | None = None  # the first that nobody looked at yet
        self._count_from(max((due for due, _ in events), default=now))
        if (sets or schedule.cron is not None) and sets[-1:] != [str(schedule)]:
            if self.pending is not None:
                self._finish(now, "failed", f"{self._hindrance}; then the schedule was changed")
            self._begin_anew(now)

    def look(self, now: datetime, busy: str = "") -> datetime | None:
        """The due time whose night is to begin now; the caller begins it, or looks again later.

        Args:
            busy: why no night can begin now, though one may be due.
        """
        if self._last - now > timedelta(hours=2):  # no change of the clocks: UTC has none
            _log.warning("the clock went back behind %s; due times count from now on", self._last)
            self.pending = None
            self._begin_anew(now)
        while (due := self.next_due) is not None and due <= now:
            if self.pending is not None:
                self._finish_late(now, "until the next was due")
            self.pending, self._hindrance = due, ""
            self._count_from(due)
        if self.pending is None:
            return None
        if now - self.pending > self.schedule.catch_up + GRACE:
            hours = self.schedule.catch_up / timedelta(hours=1)
            self._finish_late(now, f"for {hours:g} hours (schedule.catch_up_hours)")
            return None
        if until := self.schedule.quiet_until(now):
            self._hindrance = f"quiet hours until {self.schedule.local(until)}"
        elif self.running is not None:
            self._hindrance = f"the night due {self.schedule.local(self.running)} was still running"
        elif busy:
            self._hindrance = busy
        elif self.log.outcome_of(self.pending) is not None:
            self.pending = None  # its process outlived the server that began it
        else:
            return self.pending
        return None

    def begin(self, due: datetime) -> None:
        """The night of the pending due time begins; its process writes the lines of it."""
        assert due == self.pending
        self.pending, self.running = None, due

    def end(self, now: datetime, problem: str) -> Event:
        """The night's process is over; what became of it: ``problem``, where it did not say."""
        assert self.running is not None
        due, self.running = self.running, None
        event = self.log.outcome_of(due)
        if event is None:
            event = self._event(due, now, "failed", problem)
            self.log.append(event)
        return event

    def _finish_late(self, now: datetime, how_long: str) -> None:
        if not self._hindrance:
            self._finish(now, "missed", f"{NO_SERVER}, {how_long}")
        else:
            self._finish(now, "skipped", f"{self._hindrance}, {how_long}")

    def _finish(self, now: datetime, outcome: Outcome, reason: str) -> None:
        assert self.pending is not None
        if self.log.outcome_of(self.pending) is None:  # as above
            self.log.append(self._event(self.pending, now, outcome, reason))
        self.pending = None

    def _begin_anew(self, now: datetime) -> None:
        self._count_from(now)
        self.log.append(self._event(now, now, "set", str(self.schedule)))

    def _count_from(self, last: datetime) -> None:
        self._last = last
        self.next_due = next(self.schedule.due_after(last), None)

    def _event(self, due: datetime, now: datetime, outcome: Outcome, reason: str) -> Event:
        return Event(self.schedule.local(due), written(now.astimezone(UTC)), outcome, reason)
