"""File systems of their own for tests: small ones, and ones that take no writes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, options: str, untested: str) -> Iterator[Path]:
    """A tmpfs at ``place`` with these options of mount, for the time of the block; where none can
    be mounted the test is skipped, and says what was not tested."""
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)],
                          capture_output=True, text=True, check=False)  # fmt: skip
    if made.returncode != 0:
        pytest.skip(f"NOT TESTED {untested}: no tmpfs could be mounted ({made.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
