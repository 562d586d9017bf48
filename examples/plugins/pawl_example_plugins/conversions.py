"""A suite: conversions of units, in the folder beside this module."""

from __future__ import annotations

from pathlib import Path

folder = Path(__file__).parent / "suite"
