"""Which earlier version a night's challenger is compared with, beside the champion."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pawl.adapters import MANIFEST
from pawl.files import write_json
from pawl.settings import Settings
from refine.night.evidence import best_champion
from tests.adapters_for_tests import light_adapter, light_base


class History:
    """A server's answer about moves of the champion."""

    def __init__(self, *versions: str) -> None:
        self._moves = [{"version": one, "run_id": f"run-{one}", "outcome": "live",
                        "kind": "promote"} for one in versions]  # fmt: skip

    def get(self, path: str) -> list[dict[str, str]]:
        assert path == "/admin/history"
        return self._moves


def test_the_best_is_of_this_base(tmp_path: Path) -> None:
    """Another base's adapter fits no layer of this one, or, worse, fits."""
    settings = Settings(state_dir=tmp_path / "state")
    ours, theirs = light_base(tmp_path / "ours", 1), light_base(tmp_path / "theirs", 2)
    assert ours.fingerprint != theirs.fingerprint
    for version, base, gain in (
        ("pawl@1", theirs, 0.9), ("pawl@2", ours, 0.2), ("pawl@3", ours, 0.4), ("pawl@4", ours, 0.1)
    ):  # fmt: skip
        light_adapter(settings.adapters_dir / version, base, seed=1)
        write_json(settings.runs_dir / f"run-{version}" / "verdict.json",
                   {"anchor": [{"difference": gain}]})  # fmt: skip
    client: Any = History("pawl@1", "pawl@2", "pawl@3", "pawl@4", "pawl@5")  # the last one is gone
    assert best_champion(client, settings, "pawl@4", ours.fingerprint) == "pawl@3"
    assert best_champion(client, settings, "pawl@3", ours.fingerprint) is None
    assert best_champion(client, settings, "base", theirs.fingerprint) == "pawl@1"
    (settings.adapters_dir / "pawl@3" / MANIFEST).write_text("{}")  # damaged, and nobody serves it
    assert best_champion(client, settings, "pawl@4", ours.fingerprint) == "pawl@2"
