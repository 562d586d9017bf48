"""Which version answers: a rule over the recorded moves of the pointer."""

from __future__ import annotations

from collections.abc import Sequence

from pawl.schemas import Promotion

BASE_VERSION = "base"


def champion_of(promotions: Sequence[Promotion]) -> str:
    """The version of the newest move that went live; ``base`` when none did.

    A pending promotion waits for an engine to probe it, and moves nothing until then; a rollback
    without an engine is live at once, for its target has been live before. Promotions come oldest
    first.
    """
    return next(
        (one.version for one in reversed(promotions) if one.outcome == "live"), BASE_VERSION
    )


def number_of(version: str) -> int:
    """3 of ``pawl@3``; 0 of ``base``."""
    tail = version.rpartition("@")[2]
    return int(tail) if tail.isdecimal() and "@" in version else 0
