"""Names of versions: ``base``, and ``pawl@3`` for what was trained; and which of them stand."""

from __future__ import annotations

from collections.abc import Sequence

from pawl.schemas import Promotion

BASE_VERSION = "base"


def number_of(version: str) -> int:
    """3 of ``pawl@3``; 0 of ``base``."""
    tail = version.rpartition("@")[2]
    return int(tail) if tail.isdecimal() and "@" in version else 0


def champion_stack(promotions: Sequence[Promotion]) -> list[str]:
    """The champion (last) and those that rollbacks go to, ``base`` first. Pure.

    A promotion that went live goes on top. A rollback takes off all that is above its target; a
    target that was itself rolled back from goes on top again. So two rollbacks go two champions
    back, never forth and back between two.

    Args:
        promotions: every row, oldest first; only ``live`` ones move the champion.
    """
    stack = [BASE_VERSION]
    for row in promotions:
        if row.outcome != "live":
            continue
        if row.version in stack:
            del stack[stack.index(row.version) + 1 :]
        else:
            stack.append(row.version)
    return stack
