"""Weights of rows in training, so that neither the many nor the loud drown the rest.

A row weighs less the more rows share its cluster, its conversation, its owner and its categories
(by the square root of how many), and half for each year that its feedback is older than the newest.
The weights of a kind in a split are 1 on average, and between ``LEAST`` and ``MOST`` before that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pawl.schemas import TrainingRow

LEAST, MOST = 0.5, 2.0
HALF_LIFE_DAYS = 365.0


def weighted(rows: Sequence[TrainingRow], owners: Sequence[str | None]) -> list[TrainingRow]:
    """The rows with their weights.

    Args:
        owners: the one client behind each row; None where several are.
    """
    groups: dict[Any, list[int]] = defaultdict(list)
    for i, row in enumerate(rows):
        groups[row.split, row.kind].append(i)
    ages = _ages_in_days(rows)
    weighted_rows = list(rows)
    for places in groups.values():
        weights = [2 ** (-ages[i] / HALF_LIFE_DAYS) for i in places]
        for name_of in (
            lambda i: rows[i].cluster or None,
            lambda i: rows[i].group_id,
            lambda i: owners[i],
            lambda i: tuple(sorted(rows[i].categories)) or None,
        ):
            names = [name_of(i) for i in places]
            counts = Counter(name for name in names if name is not None)
            typical = len(names) / max(1, len(counts))
            for j, name in enumerate(names):
                if name is not None:
                    weights[j] *= (typical / counts[name]) ** 0.5
        weights = [min(MOST, max(LEAST, weight)) for weight in weights]
        mean = sum(weights) / len(weights)
        for i, weight in zip(places, weights, strict=True):
            weighted_rows[i] = replace(rows[i], weight=round(weight / mean, 3))
    return weighted_rows


def _ages_in_days(rows: Sequence[TrainingRow]) -> list[float]:
    """How much older than the newest each row's feedback is; 0 where no day is known."""
    times = [
        datetime.fromisoformat(at).timestamp() if (at := row.origin.get("created_at")) else None
        for row in rows
    ]
    newest = max((at for at in times if at is not None), default=0.0)
    return [(newest - at) / 86_400 if at is not None else 0.0 for at in times]
