"""Names of versions: ``base``, and ``pawl@3`` for what was trained; and which of them stand."""

from __future__ import annotations

from collections.abc import Sequence

from pawl.errors import PawlError
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


def standing_runs(promotions: Sequence[Promotion]) -> set[str]:
    """The runs that made the champion and those that rollbacks go to. Pure."""
    stack = champion_stack(promotions)
    return {
        row.run_id
        for row in promotions
        if row.run_id and (row.outcome, row.kind) == ("live", "promote") and row.version in stack
    }


def rollback_target(promotions: Sequence[Promotion], to: str | None) -> str:
    """The version that a rollback goes to: the champion before this one, or ``to``. Pure.

    Raises:
        PawlError: there is nothing to go back to, or ``to`` is the champion or never was.
    """
    stack = champion_stack(promotions)
    if to is None and len(stack) == 1:
        raise PawlError(
            "there is nothing to roll back to",
            "the base is the champion",
            "See 'pawl history'",
            code="no_earlier_champion",
        )
    target = to or stack[-2]
    if target == stack[-1]:
        raise PawlError(
            f"{target} is the champion already",
            do="See 'pawl history'",
            code="already_champion",
            param="to",
        )
    if target not in {BASE_VERSION, *(row.version for row in promotions if row.outcome == "live")}:
        raise PawlError(
            f"{target} was never champion",
            "a rollback goes to one that was",
            "See 'pawl history'",
            code="unknown_version",
            param="to",
        )
    return target
