"""A night of the schedule: ``pawl nightly --scheduled``, by the server, by cron or by a timer.

It keeps ``schedule.quiet_hours``, ``schedule.min_new_rows`` and ``schedule.max_hours``, and leaves
lines in ``schedule.jsonl``: that it began, and how it ended.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pawl.client import Client
from pawl.errors import PawlError
from pawl.schedule import SCHEDULE_LOG, Event, Outcome, Schedule, ScheduleLog
from pawl.schemas import utc_now
from pawl.settings import Settings
from refine.night.budget import OUT_OF_TIME
from refine.night.nightly import run_night
from refine.night.steps import Say


def run_scheduled(
    client: Client,
    settings: Settings,
    *,
    due: datetime | None = None,
    say: Say = lambda line: None,
    now: datetime | None = None,
) -> str:
    """Run a night as ``schedule.*`` has it; what became of it, in words.

    Args:
        due: the due time that the server begins it for. Such a night leaves no last line when it is
            interrupted, or when what failed may succeed later: the server decides, and when that
            is stopping its next start carries the night on.
        now: when it begins; None: now.

    Raises:
        PawlError: as :func:`refine.night.nightly.run_night`.
    """
    schedule = Schedule(settings.schedule)
    log = ScheduleLog(settings.state_dir / SCHEDULE_LOG)
    now = now or datetime.now(UTC)

    def write(outcome: Outcome, reason: str = "", run_id: str | None = None) -> None:
        name = None if due is None else schedule.local(due)
        log.append(Event(name, utc_now(), outcome, reason, run_id))

    if until := schedule.quiet_until(now):
        reason = f"quiet hours until {schedule.local(until)}"
        write("skipped", reason)
        return f"No night now: {reason}."
    try:
        result = run_night(
            client,
            settings,
            minutes=schedule.minutes(now),
            min_new_rows=settings.schedule.min_new_rows,
            say=say,
            on_begin=lambda: write("began"),
        )
    except PawlError as err:
        outcomes: dict[str, Outcome] = {"locked": "skipped", OUT_OF_TIME: "stopped"}
        if err.code in outcomes or due is None or not err.retryable:
            write(outcomes.get(err.code, "failed"), str(err))
        raise
    except BaseException as err:
        if due is None and isinstance(err, KeyboardInterrupt):
            write("stopped", "it was interrupted; the next night carries it on")
        elif due is None:
            write("failed", f"{type(err).__name__}: {err}")
        raise
    ran: Outcome = "no_run" if result.outcome == "no_run" else "ran"
    write(ran, result.describe().partition("\n")[0], result.run_id)
    return result.describe()
