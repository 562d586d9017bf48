"""A trainer: Adafactor, whose state takes a row and a column of a matrix instead of two matrices,
and a rate that stays at its peak."""

from __future__ import annotations

from typing import Any


def configure(kind: str, trainer: type, arguments: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    """The same trainer with another optimizer (transformers' own) and schedule."""
    return trainer, arguments | {
        "optim": "adafactor",
        "lr_scheduler_type": "constant_with_warmup",
    }
