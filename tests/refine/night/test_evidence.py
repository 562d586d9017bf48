"""What a night's gate gets beside the holdout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evals.regression import KEPT, benchmark_of
from feedback.splits import prompt_key
from pawl.adapters import MANIFEST
from pawl.files import write_json
from pawl.schemas import TrainingRow
from pawl.settings import Settings
from refine.night.evidence import best_champion, collect
from tests.adapters_for_tests import light_adapter, light_base
from tests.refine.tiny import ask, corrections, row, write_snapshot


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
                   {"anchor": [{"name": "arc", "difference": gain}]})  # fmt: skip
    client: Any = History("pawl@1", "pawl@2", "pawl@3", "pawl@4", "pawl@5")  # the last one is gone
    assert best_champion(client, settings, "pawl@4", ours.fingerprint) == "pawl@3"
    assert best_champion(client, settings, "pawl@3", ours.fingerprint) is None
    assert best_champion(client, settings, "base", theirs.fingerprint) == "pawl@1"
    (settings.adapters_dir / "pawl@3" / MANIFEST).write_text("{}")  # damaged, and nobody serves it
    assert best_champion(client, settings, "pawl@4", ours.fingerprint) == "pawl@2"


def test_the_best_is_compared_as_the_newest_was_measured(tmp_path: Path) -> None:
    """Another anchor, suite or audit moves every difference, and tells nothing of the versions."""
    settings = Settings(state_dir=tmp_path / "state")
    base = light_base(tmp_path / "base")
    client: Any = History("pawl@1", "pawl@2", "pawl@3", "pawl@4")

    def measure(version: str, gain: float, benchmark: str = "arc", anchor: str = "base") -> None:
        run_dir = settings.runs_dir / f"run-{version}"
        write_json(run_dir / "run.json", {"settings": {"gate": {"anchor": anchor}}})
        rows = [{"name": benchmark, "difference": gain}]
        write_json(run_dir / "verdict.json", {"suite": "everyday", "anchor": rows})

    for version, gain in (("pawl@1", 0.1), ("pawl@2", 0.3), ("pawl@3", 0.2)):
        light_adapter(settings.adapters_dir / version, base)
        measure(version, gain)
    light_adapter(settings.adapters_dir / "pawl@4", base)
    measure("pawl@4", 0.05)
    assert best_champion(client, settings, "pawl@4", base.fingerprint) == "pawl@2"
    measure("pawl@2", 0.9, anchor="pawl@0")
    assert best_champion(client, settings, "pawl@4", base.fingerprint) == "pawl@3"
    measure("pawl@3", 0.9, benchmark="bbq")
    assert best_champion(client, settings, "pawl@4", base.fingerprint) == "pawl@1"


class Traffic:
    """A server's answers: in 30 conversations nobody found fault, in none anybody did."""

    def __init__(self, *fixed: str, controls: Sequence[TrainingRow] = ()) -> None:
        self._controls = [asdict(one) for one in controls]
        self._look = {"run_id": "run-1", "created_at": "", "snapshot_id": "", "attempt": 1,
                      "alpha": 0.05, "outcome": "promote",
                      "prompts": dict.fromkeys(fixed, "fixed")}  # fmt: skip

    def get(self, path: str, query: Any = None) -> Any:
        counts = {"n_flagged": 0, "n_unflagged": 30, "attempt": 2}
        if path == "/admin/history":
            return []
        return {"looks": [self._look], "controls": self._controls, **counts}


def test_what_was_fixed_is_tested_as_it_was_and_what_nobody_flagged_counts(tmp_path: Path) -> None:
    rows = [*corrections(1), row("pair", "coal", 0, chosen="A.", rejected="B."),
            row("pair", "grass", 1, chosen="A.", rejected="B.")]  # fmt: skip
    manifest = {"snapshot_id": "s", "dir": str(write_snapshot(tmp_path / "snapshot", rows))}
    client: Any = Traffic(prompt_key(ask("grass", 0)), prompt_key(ask("coal", 0)))
    settings = Settings(state_dir=tmp_path)
    found, more = collect(client, settings, manifest, seed="", champion="base", base_fingerprint="")
    assert [(one.group_id, one.kind) for one in more] == [("grass-0", "regression"),
                                                          ("coal-0", "pair")]  # fmt: skip
    assert {benchmark_of(one) for one in more} == {KEPT}
    # Flags that came with an import or a choice are no conversation's.
    assert found.controls_per_flag == 30


def test_a_long_answer_is_no_control_in_any_language(tmp_path: Path) -> None:
    answers = {"coal": "Black.", "snow": "white " * 41, "ash": "灰烬是灰色的。",
               "chocolate": "巧克力是棕色的。" * 20, "blood": "เลือดเป็นสีแดง" * 20}  # fmt: skip
    controls = [row("sft", thing, 0, completion=answer) for thing, answer in answers.items()]
    manifest = {"snapshot_id": "s", "dir": str(write_snapshot(tmp_path / "snapshot", []))}
    client: Any = Traffic(controls=controls)
    settings = Settings(state_dir=tmp_path)
    _, more = collect(client, settings, manifest, seed="", champion="base", base_fingerprint="")
    assert {one.group_id for one in more} == {"coal-0", "ash-0"}
