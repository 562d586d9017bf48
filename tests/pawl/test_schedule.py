"""A year of schedules in seconds: changes of the clocks, downtime, overlaps, kills, quiet hours."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import TZPATH

import pytest

from pawl.errors import PawlError
from pawl.schedule import SCHEDULE_LOG, Event, Schedule, ScheduleLog, Scheduler
from pawl.settings import ScheduleSettings, load_settings
from tests.pawl.simulated_schedule import PLACES, finals, simulate


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def make(tmp_path: Path, now: str, **settings: object) -> Scheduler:
    schedule = Schedule(ScheduleSettings(**{"cron": "30 2 * * *", "time_zone": "UTC"} | settings))
    return Scheduler(schedule, ScheduleLog(tmp_path / SCHEDULE_LOG), at(now))


def dues(count: int, after: str, **settings: str) -> list[str]:
    schedule = Schedule(ScheduleSettings(**settings))
    times = schedule.due_after(at(after))
    return [schedule.local(next(times)) for _ in range(count)]


@pytest.mark.parametrize(
    ("zone", "quiet"), [PLACES[0], *(pytest.param(*p, marks=pytest.mark.slow) for p in PLACES[1:])]
)
def test_in_a_year_each_due_time_ran_once_or_says_why_not(
    tmp_path: Path, zone: str, quiet: tuple[str, ...]
) -> None:
    found = simulate(tmp_path, zone, quiet)
    assert found.problems == []
    assert set(found.outcomes) == {"ran", "no_run", "failed", "skipped", "missed"}


def test_a_local_time_that_is_skipped_is_met_later_one_that_comes_twice_once() -> None:
    berlin = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
    assert dues(2, "2026-03-28T12:00:00", **berlin) == [
        "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",
    ]  # fmt: skip
    assert dues(2, "2026-10-24T12:00:00", **berlin) == [
        "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00",
    ]  # fmt: skip
    # Begun between the two 02:30 of that night: the second is none.
    assert dues(1, "2026-10-25T01:10:00", **berlin) == ["2026-10-26T02:30:00+01:00"]
    # Two due times of which the change makes one.
    assert dues(2, "2026-03-28T12:00:00", **berlin | {"cron": "0,30 2 * * *"}) == [
        "2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00",
    ]  # fmt: skip


def test_a_new_schedule_owes_nothing_from_before(tmp_path: Path) -> None:
    scheduler = make(tmp_path, "2026-05-10T12:00")
    assert scheduler.look(at("2026-05-10T12:00")) is None
    again = make(tmp_path, "2026-05-20T12:00", cron="0 4 * * *")
    assert again.look(at("2026-05-20T12:00")) is None
    assert not finals(again.log)
    assert again.next_due == at("2026-05-21T04:00")


def test_after_a_downtime_the_last_is_met_late_and_the_others_say_why(tmp_path: Path) -> None:
    make(tmp_path, "2026-05-10T12:00")
    scheduler = make(tmp_path, "2026-05-13T08:00")
    assert scheduler.look(at("2026-05-13T08:00")) == at("2026-05-13T02:30")
    found = finals(scheduler.log)
    assert [(due.day, events[0].outcome) for due, events in found.items()] == [
        (11, "missed"), (12, "missed"),
    ]  # fmt: skip
    too_late = make(tmp_path, "2026-05-13T20:00")
    assert too_late.look(at("2026-05-13T20:00")) is None
    assert finals(too_late.log)[at("2026-05-13T02:30")][0].outcome == "missed"


def test_a_night_that_was_killed_with_the_server_goes_on(tmp_path: Path) -> None:
    scheduler = make(tmp_path, "2026-05-10T12:00")
    due = scheduler.look(at("2026-05-11T02:30"))
    assert due is not None
    scheduler.begin(due)
    scheduler.log.append(Event(scheduler.schedule.local(due), "", "began"))
    with scheduler.log.path.open("ab") as file:
        file.write(b'{"due": "2026-05-11T02:3')  # and half a line
    again = make(tmp_path, "2026-05-11T04:00")
    assert again.look(at("2026-05-11T04:00")) == due
    again.begin(due)
    assert again.end(at("2026-05-11T05:00"), "signal 9").outcome == "failed"
    assert [event.outcome for event in again.log.read()] == ["set", "began", "failed"]


def test_a_night_that_outlived_its_server_is_not_begun_again(tmp_path: Path) -> None:
    scheduler = make(tmp_path, "2026-05-10T12:00")
    due = scheduler.look(at("2026-05-11T02:30"))
    assert due is not None
    name = scheduler.schedule.local(due)
    scheduler.log.append(Event(name, "", "began"))
    again = make(tmp_path, "2026-05-11T02:40")
    late = make(tmp_path, "2026-05-11T02:40")
    for server in (again, late):
        assert server.look(at("2026-05-11T02:40"), busy="another night was running") is None
    again.log.append(Event(name, "", "ran", "promoted"))
    assert again.look(at("2026-05-11T02:50")) is None
    assert late.look(at("2026-05-11T20:00")) is None
    assert [event.outcome for event in again.log.read()] == ["set", "began", "ran"]
    assert again.look(at("2026-05-12T02:30")) is not None


def test_quiet_hours_put_a_night_off_and_bound_its_time(tmp_path: Path) -> None:
    scheduler = make(tmp_path, "2026-05-10T12:00", quiet_hours="22:00-06:00,06:00-07:00")
    assert scheduler.look(at("2026-05-11T02:30")) is None
    assert scheduler.schedule.quiet_until(at("2026-05-11T02:30")) == at("2026-05-11T07:00")
    assert scheduler.look(at("2026-05-11T07:00")) == at("2026-05-11T02:30")
    assert scheduler.schedule.minutes(at("2026-05-11T07:00")) == 15 * 60
    bounded = Schedule(ScheduleSettings(max_hours=2, quiet_hours="22:00-06:00", time_zone="UTC"))
    assert bounded.minutes(at("2026-05-11T07:00")) == 120
    assert bounded.minutes(at("2026-05-11T21:30")) == 30
    assert Schedule(ScheduleSettings()).minutes(at("2026-05-11T21:30")) is None


def test_due_times_while_the_server_ran_without_a_schedule_are_not_missed(tmp_path: Path) -> None:
    make(tmp_path, "2026-05-10T12:00", cron=None)
    assert not (tmp_path / SCHEDULE_LOG).exists()
    make(tmp_path, "2026-05-10T12:00")
    for _ in range(2):
        assert make(tmp_path, "2026-05-12T12:00", cron=None).next_due is None
    again = make(tmp_path, "2026-05-20T12:00")
    assert again.look(at("2026-05-20T12:00")) is None
    assert not finals(again.log)
    assert [event.outcome for event in again.log.read()] == ["set"] * 3
    assert again.next_due == at("2026-05-21T02:30")


def test_lines_with_unusable_due_times_are_left_out(tmp_path: Path) -> None:
    scheduler = make(tmp_path, "2026-05-10T12:00")
    scheduler.log.append(Event("2026-05-11T02:30:00+00:00", "", "ran", "a separator: \u2028."))
    for due in ("2026-05-12T02:30:00", "12 May", "2026-05-12"):
        scheduler.log.append(Event(due, "", "ran"))
    with scheduler.log.path.open("ab") as file:
        file.write(b'{"due": 3, "at": "", "outcome": "ran"}\n[]\n')
    assert [event.outcome for event in scheduler.log.read()] == ["set", "ran"]
    again = make(tmp_path, "2026-05-12T03:00")
    assert again.look(at("2026-05-12T03:00")) == at("2026-05-12T02:30")


def test_the_zone_of_the_machine_is_that_of_tz(monkeypatch: pytest.MonkeyPatch) -> None:
    berlin = {"cron": "30 2 * * *"}
    [file] = [path for path in (Path(root) / "Europe/Berlin" for root in TZPATH) if path.exists()]
    for zone in ("Europe/Berlin", ":Europe/Berlin", str(file), f":{file}"):
        monkeypatch.setenv("TZ", zone)
        assert dues(1, "2026-05-10T12:00", **berlin) == ["2026-05-11T02:30:00+02:00"]
    for zone in ("UTC0", "CET-1CEST,M3.5.0,M10.5.0/3", "/nowhere", __file__):
        monkeypatch.setenv("TZ", zone)
        for setting in ({"cron": "30 2 * * *"}, {"quiet_hours": "07:00-19:30"}):
            with pytest.raises(PawlError) as error:
                load_settings({"schedule": setting}, only_flags=True)
            assert f"TZ={zone}" in str(error.value)
        load_settings({"schedule": {**setting, "time_zone": "Europe/Berlin"}}, only_flags=True)
        bounded = load_settings({"schedule": {"max_hours": 2}}, only_flags=True).schedule
        assert Schedule(bounded).minutes(at("2026-05-11T07:00")) == 120


def test_a_clock_that_was_wrong_does_not_stop_the_schedule(tmp_path: Path) -> None:
    scheduler = make(tmp_path, "2031-01-01T12:00")
    assert scheduler.look(at("2026-05-10T12:00")) is None
    assert scheduler.look(at("2026-05-11T02:31")) == at("2026-05-11T02:30")


def test_a_clock_that_was_wrong_once_is_forgotten_by_the_next_server(tmp_path: Path) -> None:
    scheduler = make(tmp_path, "2026-05-10T12:00")
    assert scheduler.look(at("2026-06-20T03:00")) is not None  # a month ahead, for a minute
    assert scheduler.look(at("2026-05-10T12:01")) is None
    again = make(tmp_path, "2026-05-11T04:00")  # no server ran at 02:30
    due = again.look(at("2026-05-11T04:00"))
    assert due == at("2026-05-11T02:30")
    again.begin(due)
    again.log.append(Event(again.schedule.local(due), "", "began"))
    killed = make(tmp_path, "2026-05-11T05:00")
    assert killed.look(at("2026-05-11T05:00")) == due


@pytest.mark.parametrize(
    "setting",
    [{"cron": "30 2 * *"}, {"cron": "99 2 * * *"}, {"cron": "0 0 31 2 *"}, {"cron": "0 0 2 * * *"},
     {"time_zone": "Europe/Nowhere"}, {"quiet_hours": "7-19"}, {"quiet_hours": "07:00-07:00"},
     {"max_hours": 0}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(PawlError) as error:
        load_settings({"schedule": setting}, only_flags=True)
    assert f"schedule.{next(iter(setting))}" in str(error.value)
