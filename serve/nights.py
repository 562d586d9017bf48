"""The nights that ``pawl up`` begins by ``schedule.cron``, each as ``pawl nightly`` in a child.

``pawl.schedule.Scheduler`` decides; here is what waits, starts the child and ends it with the
server. A night that runs when the server is told to stop gets no last line in ``schedule.jsonl``,
from neither of the two: the next start goes on with it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pawl.errors import PawlError
from pawl.files import is_locked
from pawl.jobs import child_environment, module_command
from pawl.schedule import NIGHTS_LOCK, SCHEDULE_LOG, Schedule, ScheduleLog, Scheduler
from pawl.settings import Settings

POLL_SECONDS = 20.0  # also how late a change of the machine's clock is seen
STOP_SECONDS = 20.0
OUTPUT = "night.out"  # in logs/: what the last night printed
BUSY = "another night or an erasing was running"
_log = logging.getLogger("pawl.nights")

CommandOf = Callable[[str], Sequence[str]]


class Nights:
    """Begins nights when they are due.

    Args:
        settings: without ``schedule.cron`` no night begins, and the log says from when on.
        arguments: options of the ``pawl`` group that the server was given, for its nights too.
        clock: the time now, aware.
        command: the night's command line for a due time; None: ``pawl nightly``.
        poll_seconds: between two looks.
    """

    def __init__(
        self,
        settings: Settings,
        arguments: Sequence[str] = (),
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        command: CommandOf | None = None,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._schedule = Schedule(settings.schedule)
        self._log_path = settings.state_dir / SCHEDULE_LOG
        self._lock = settings.state_dir / NIGHTS_LOCK
        self._output = settings.logs_dir / OUTPUT
        self._clock, self._poll_seconds = clock, poll_seconds
        night = [*module_command("pawl.cli"), "--state-dir", str(settings.state_dir), *arguments]
        self._command = command or (lambda due: [*night, "nightly", "--due", due])

    async def run(self) -> None:
        """Look until cancelled; a night that runs then is ended. Over at once without a cron
        expression."""
        scheduler: Scheduler | None = None
        while True:
            try:
                if scheduler is None:
                    scheduler = await asyncio.to_thread(self._start)
                    if self._schedule.cron is None:
                        return
                    _log.info("nights %s; the next is due %s", self._schedule,
                              self._next(scheduler))  # fmt: skip
                due = await asyncio.to_thread(scheduler.look, self._clock(), self._busy())
                if due is not None:
                    await self._work(scheduler, due)
            except (PawlError, OSError) as error:  # the disk
                _log.warning("the schedule waits: %s", error)
            except Exception:  # a fault of ours must show, and not be the last night
                _log.exception("the schedule met an error")
            await asyncio.sleep(self._poll_seconds)

    def _start(self) -> Scheduler:
        return Scheduler(self._schedule, ScheduleLog(self._log_path), self._clock())

    async def _work(self, scheduler: Scheduler, due: datetime) -> None:
        """One night, to its end; due times that pass meanwhile are seen."""
        scheduler.begin(due)
        problem = "it did not start"
        try:
            problem = await self._child(scheduler, self._schedule.local(due))
        except OSError as error:
            problem = f"it did not start: {error}"
        finally:
            if not _is_cancelled():
                await asyncio.to_thread(scheduler.end, self._clock(), problem)
        _log.info("the next night is due %s", self._next(scheduler))

    async def _child(self, scheduler: Scheduler, due: str) -> str:
        """Start the night and wait for its end; how it ended, in words."""
        self._output.parent.mkdir(parents=True, exist_ok=True)
        with self._output.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                *self._command(due),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=child_environment(),
                start_new_session=True,  # Ctrl-C reaches the server alone, which ends the night
            )
        _log.info("the night due %s begins, process %d", due, child.pid)
        ended = asyncio.create_task(child.wait())
        try:
            while not ended.done():
                await asyncio.wait({ended}, timeout=self._poll_seconds)
                if not ended.done():
                    await self._look_beside(scheduler)
        finally:
            if not ended.done():
                await _stop(child, ended)
        code = child.returncode or 0
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"its process ended with {how}: {self._last_words()}; see {self._output}"

    def _last_words(self) -> str:
        lines = self._output.read_text("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    async def _look_beside(self, scheduler: Scheduler) -> None:
        """A look that can't be written down must not end the night that runs; the next tries."""
        try:
            await asyncio.to_thread(scheduler.look, self._clock())
        except (PawlError, OSError) as error:
            _log.warning("the schedule waits: %s", error)

    def _busy(self) -> str:
        return BUSY if is_locked(self._lock) else ""

    def _next(self, scheduler: Scheduler) -> str:
        return "never" if scheduler.next_due is None else self._schedule.local(scheduler.next_due)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _stop(child: asyncio.subprocess.Process, ended: asyncio.Task[int]) -> None:
    """Ctrl-C, so that the night ends its own children; a kill if that takes long."""
    child.send_signal(signal.SIGINT)
    await asyncio.wait({ended}, timeout=STOP_SECONDS)
    if not ended.done():
        child.kill()
        await ended
