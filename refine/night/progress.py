"""Where a night is now, and how long it will take: ``runs/<run_id>/progress.json``.

The server and the command line show it; nothing in a night depends on it.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pawl.files import write_json
from pawl.runs import PROGRESS
from pawl.schemas import RunProgress, utc_now
from refine.night.budget import N_NIGHTS
from refine.night.state import RunState

WRITE_SECONDS = 1.0  # between two writes within a stage
LEAST_FRACTION = 0.05  # of a stage, from which on its rest is reckoned


class Progress:
    """Writes the file as the night goes on.

    Args:
        run_dir: the run's folder.
        usual: seconds of each step, of earlier nights (``usual_seconds``).
        until: when the night's time is over, on the monotonic clock; None: never.
    """

    def __init__(
        self, run_dir: Path, usual: Mapping[str, float], until: float | None = None
    ) -> None:
        self._path = run_dir / PROGRESS
        self._usual, self._until = usual, until
        self._step, self._began_at, self._stage = "", "", ""
        self._to_come: list[str] = []
        self._fraction: float | None = None
        self._step_began = self._stage_began = self._written = 0.0

    def begin(self, step: str, to_come: Sequence[str]) -> None:
        """A step begins, after which ``to_come`` are left."""
        self._step, self._began_at, self._to_come = step, utc_now(), list(to_come)
        self._stage, self._fraction = "", None
        self._step_began = self._stage_began = time.monotonic()
        self._write()

    def stage(self, stage: str, fraction: float | None) -> None:
        """A child's event."""
        now, before = time.monotonic(), self._fraction
        # Benchmarks come in rounds, each of which begins at 0 again.
        is_new = stage != self._stage or (fraction or 0.0) < (before or 0.0)
        if is_new:
            self._stage, self._stage_began = stage, now
        self._fraction = None if fraction is None else min(1.0, max(0.0, float(fraction)))
        if is_new or now - self._written >= WRITE_SECONDS:
            self._write()

    def seconds_left(self) -> float | None:
        """Of the night; None where no night has shown how long a training or scoring takes."""
        now = time.monotonic()
        left = self._rest_of_step(now)
        for step in self._to_come:
            usual = self._usual_of(step)
            if left is None or usual is None:
                return None
            left += usual
        return left if left is None or self._until is None else min(left, self._until - now)

    def _rest_of_step(self, now: float) -> float | None:
        usual, rest = self._usual_of(self._step), None
        if self._fraction is not None and self._fraction >= LEAST_FRACTION:
            rest = (now - self._stage_began) * (1 - self._fraction) / self._fraction
        if usual is None:
            return None
        return max(0.0, usual - (now - self._step_began), rest or 0.0)

    def _usual_of(self, step: str) -> float | None:
        """A scoring that no night had takes as long as the longest other; a small step no time."""
        if step in self._usual:
            return self._usual[step]
        if step.startswith("score "):
            scorings = [took for name, took in self._usual.items() if name.startswith("score ")]
            return max(scorings, default=None)
        return None if step == "train" else 0.0

    def _write(self) -> None:
        self._written = time.monotonic()
        progress = RunProgress(
            step=self._step, began_at=self._began_at, stage=self._stage, fraction=self._fraction,
            seconds_left=self.seconds_left(), at=utc_now(), pid=os.getpid(),
        )  # fmt: skip
        with contextlib.suppress(OSError):  # the night itself will say what is wrong
            write_json(self._path, progress.model_dump())


def usual_seconds(earlier: Iterable[RunState]) -> dict[str, float]:
    """The median of each step over the last ``N_NIGHTS`` nights that worked it.

    Args:
        earlier: runs on the same base, suite and items, newest first.
    """
    took: dict[str, list[float]] = {}
    for run in earlier:
        for name, figures in run.steps.items():
            took.setdefault(name, []).append(figures["seconds"])
    return {name: statistics.median(values[:N_NIGHTS]) for name, values in took.items()}
