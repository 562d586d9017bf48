"""Which version answers: a rule over the recorded moves of the pointer."""

from __future__ import annotations

from collections.abc import Sequence

from pawl.records import Promotion

BASE_VERSION = "base"


def champion_of(promotions: Sequence[Promotion]) -> str:
    """The version of the newest promotion that is live or pending; ``base`` when none is.

    A pending one (no engine ran to probe it) stops counting once its version was found refused
    or indistinguishable. Promotions come oldest first.
    """
    failed: set[str] = set()
    for one in reversed(promotions):
        if one.outcome == "live" or (one.outcome == "pending" and one.version not in failed):
            return one.version
        if one.outcome in ("refused", "indistinguishable"):
            failed.add(one.version)
    return BASE_VERSION


def number_of(version: str) -> int:
    """3 of ``pawl@3``; 0 of ``base``."""
    tail = version.rpartition("@")[2]
    return int(tail) if tail.isdecimal() and "@" in version else 0
