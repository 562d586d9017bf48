"""Mixtures: rows of several tasks, each with a set share of what is trained (``train.mixture``).

A row's task is what its import said (``task``), else the first of its categories that the mixture
names, else ``other``. The weights of a task's rows are scaled so that its share of the loss holds:
for SFT of the answers' tokens, for DPO and KTO of the rows. All rows are trained on in each epoch,
so none is repeated and none is left out. Liked and replayed answers, which hold the model where it
was, come on top.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pawl.errors import PawlError
from pawl.schemas import TrainingRow

OTHER = "other"


def task_of(row: TrainingRow, shares: Mapping[str, float]) -> str:
    """The name under which a row counts."""
    named = (name for name in (row.task, *row.categories) if name and name in shares)
    return next(named, OTHER)


def check_mixture(rows: Sequence[TrainingRow], shares: Mapping[str, float]) -> None:
    """Raises PawlError: of ``rows``, those that are trained on, a name has none, or some have no
    name, so the shares could not hold."""
    found = [task_of(row, shares) for row in rows]
    known = sorted({name for row in rows for name in (row.task, *row.categories) if name})
    lacking = [name for name in shares if name not in found]
    if lacking:
        raise PawlError(
            f"train.mixture gives {lacking[0]!r} a share of {shares[lacking[0]]:g}",
            f"none of the {len(rows)} training rows has it as its task or category; "
            f"they have: {', '.join(known) or 'none'}",
            "Import rows with that 'task', or take it out",
            code="mixture",
        )
    if OTHER not in shares and OTHER in found:
        raise PawlError(
            "train.mixture leaves rows without a share",
            f"{found.count(OTHER)} of the {len(rows)} training rows have none of its names as "
            "their task or category",
            f"Give '{OTHER}' a share",
            code="mixture",
        )


def mix(
    columns: Sequence[dict[str, Any]], rows: Sequence[TrainingRow], shares: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Scale ``weight`` of the columns, of one stage's training rows, so that the shares hold; their
    sum, over tokens or rows, stays. Of each task its rows, its share before, and the factor."""
    check_mixture(rows, shares)
    places: dict[str, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        places[task_of(row, shares)].append(i)
    mass = {
        name: sum(columns[i]["weight"] * _size(columns[i]) for i in found)
        for name, found in places.items()
    }
    whole = sum(mass.values())
    counts = {}
    for name, found in sorted(places.items()):
        factor = shares[name] * whole / mass[name]
        for i in found:
            columns[i]["weight"] *= factor
        counts[name] = {
            "rows": len(found),
            "share": shares[name],
            "share_before": round(mass[name] / whole, 4),
            "factor": round(factor, 4),
        }
    return counts


def _size(columns: Mapping[str, Any]) -> int:
    """What of a row the loss is summed over: SFT's labelled tokens, else the row."""
    return sum(label != -100 for label in columns["labels"]) if "labels" in columns else 1
