"""What fits into a night's time, from what earlier nights took; planned before it trains.

The steps that score take what they take: as long as in the slowest of the last nights on the same
suite. What is left is the training's, up to ``train.max_minutes``; what that leaves is for ranking
suspect rows, up to ``gate.suspects_minutes``. A night whose scoring leaves the training less than
``LEAST_SHARE`` of its time does not begin.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from pawl.errors import PawlError
from pawl.settings import Settings
from refine.night.state import RunState

N_NIGHTS = 5  # measured ones that are looked at; scores that were taken over take no time
MARGIN = 1.2  # of the slowest of them
LEAST_SHARE = 0.25  # of train.max_minutes
OUT_OF_TIME = "out_of_time"  # code of the PawlError that ends a night, wherever it is
REST_MINUTES = 1.0  # loading, deciding, promoting, the report


class TimeIsOver(KeyboardInterrupt):
    """The alarm that ends a night. It rings once, wherever the night is, so it is what Ctrl-C is:
    code that goes on after an error, as an event loop does after any in a callback, lets it by."""

    retryable = True


@contextmanager
def ends_after(minutes: float | None) -> Iterator[None]:
    """Ends the block when the time is over, wherever it waits: what a step left undone is as after
    a kill, and its child dies with it.

    Raises:
        PawlError: the time is over; code ``OUT_OF_TIME``. Within the block it is a ``TimeIsOver``.
    """
    if minutes is None:
        yield
        return
    said = f"the night was stopped: its time of {minutes:.0f} minutes is over"
    rang = False

    def end(number: int, frame: object) -> None:
        nonlocal rang
        rang = True
        raise TimeIsOver(said)

    before = signal.signal(signal.SIGALRM, end)
    try:
        signal.setitimer(signal.ITIMER_REAL, 60 * minutes)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt as over:
        if not rang:
            raise
        raise PawlError(  # also where a library (Ray) raised a KeyboardInterrupt of its own instead
            said,
            do="The next night carries it on; give it more with schedule.max_hours",
            retryable=True,
            code=OUT_OF_TIME,
        ) from over
    finally:
        signal.signal(signal.SIGALRM, before)


@dataclass(frozen=True, slots=True)
class Budget:
    """Minutes of the parts of a night. ``problem``: why it does not fit; empty when it does.
    ``measured``: the run that the times of scoring are from; None: no night has shown them."""

    total: float
    scoring: float
    train: float
    suspects: float
    measured: str | None
    problem: str = ""

    def __str__(self) -> str:
        if self.measured is None:
            return (
                f"of {self.total:.0f} minutes up to {self.train:.0f} for training; no night has "
                "shown yet how long scoring takes. What is not done in time is carried on later"
            )
        ranking = f", {self.suspects:.0f} for suspect rows if it is not promoted"
        return (
            f"of {self.total:.0f} minutes {self.scoring:.0f} for scoring (as {self.measured} took, "
            f"and a fifth), up to {self.train:.0f} for training" + ranking * (self.suspects >= 1)
        )

    def applied(self, settings: Settings) -> Settings:
        """The settings of a training that keeps to it."""
        train = settings.train.model_copy(update={"max_minutes": self.train})
        return settings.model_copy(update={"train": train})


def plan_time(
    minutes: float, settings: Settings, steps: Sequence[str], earlier: Iterable[RunState]
) -> Budget:
    """Share ``minutes`` among the steps that are to be worked.

    Args:
        minutes: left from now on.
        steps: names of the steps that apply.
        earlier: runs on the same suite and items, newest first.
    """
    scoring = [name for name in steps if name.startswith("score ")]
    nights = [run for run in earlier if any(name in run.steps for name in scoring)][:N_NIGHTS]
    seconds, measured = _slowest(scoring, nights)
    needed = MARGIN * seconds / 60 + REST_MINUTES
    wanted = settings.train.max_minutes
    left = minutes - needed
    train = float(int(min(wanted, left))) if min(wanted, left) >= 1 else min(wanted, left)
    suspects = max(0.0, min(settings.gate.suspects_minutes, left - train))
    problem = ""
    if train < LEAST_SHARE * wanted:
        took = f"scoring took {seconds / 60:.0f} in {measured}, " if measured else ""
        problem = (
            f"{minutes:.0f} minutes are too few: {took}training wants {wanted:g} "
            "(schedule.max_hours, schedule.quiet_hours, train.max_minutes, "
            "gate.n_items_per_benchmark)"
        )
    return Budget(minutes, needed, max(0.0, train), suspects, measured, problem)


def _slowest(scoring: Sequence[str], nights: Sequence[RunState]) -> tuple[float, str | None]:
    """Seconds of all steps in the slowest of the nights, and its run. A step that a night did not
    work is taken to last as long as its slowest other."""
    found: tuple[float, str | None] = (0.0, None)
    for run in nights:
        known = [run.steps[name]["seconds"] for name in scoring if name in run.steps]
        total = sum(known) + (len(scoring) - len(known)) * max(known)
        found = max(found, (total, run.run_id), key=lambda each: each[0])
    return found
