"""Names of versions: ``base``, and ``pawl@3`` for what was trained."""

from __future__ import annotations

BASE_VERSION = "base"


def number_of(version: str) -> int:
    """3 of ``pawl@3``; 0 of ``base``."""
    tail = version.rpartition("@")[2]
    return int(tail) if tail.isdecimal() and "@" in version else 0
