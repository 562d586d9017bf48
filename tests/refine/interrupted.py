"""Trainings that end before they are done, in this process, and the rows that they take."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from pawl.schemas import TrainingRow
from refine import train
from tests.refine.tiny import corrections, row, says

Event = dict[str, Any]
RIGHT = {"grass": "green", "ash": "white", "coal": "blue"}


class Interrupted(BaseException):
    """As a kill: nothing of the training's own catches it."""


def run_until(task: train.Job, is_end: Callable[[Event], bool]) -> list[Event]:
    """Train up to the first event of a kind, and no further; the events."""
    events: list[Event] = []

    def report(event: Event) -> None:
        events.append(event)
        if is_end(event):
            raise Interrupted

    with contextlib.suppress(Interrupted):
        train.run(task, report)
    return events


def rows_of(method: str) -> list[TrainingRow]:
    """12 corrections and 18 for validation, which is enough for DPO to be evaluated each epoch and
    keep the best; for KTO 42 rated answers and 18."""
    if method != "kto":
        return [
            one
            for thing, right in RIGHT.items()
            for one in corrections(10, thing=thing, right=right, n_validation=6)
        ]
    return [
        row(
            "unpaired",
            thing,
            i,
            "validation" if i > 6 else "train",
            completion=says(thing, colour),
            label=label,
        )
        for thing, right in RIGHT.items()
        for i in range(10)
        for colour, label in ((right, True), ("yellow", False))
    ]
