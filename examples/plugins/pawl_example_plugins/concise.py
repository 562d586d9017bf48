"""A judge: the answer with fewer words is better, where it says anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pawl.schemas import Message

LEAST = 0.1  # difference, as a share of the longer one


def compare(
    prompt: Sequence[Message], first: str, second: str
) -> Literal["first", "second", "tie"]:
    """Fewer words win; about as many are a tie, and an empty answer loses."""
    n_first, n_second = len(first.split()), len(second.split())
    if not n_first or not n_second:
        return "tie" if n_first == n_second else "first" if n_first else "second"
    if abs(n_first - n_second) <= LEAST * max(n_first, n_second):
        return "tie"
    return "first" if n_first < n_second else "second"
