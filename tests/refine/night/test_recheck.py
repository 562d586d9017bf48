"""Which corrections of another base's answers are asked about again; nights end for none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evals.regression import read_more_rows
from evals.suites import load
from feedback.erased_files import erase_scores
from pawl.errors import PawlError
from pawl.files import write_atomic, write_json
from pawl.models import resolve_model
from pawl.settings import Settings
from refine.night.budget import OUT_OF_TIME, ends_after
from refine.night.progress import Progress
from refine.night.recheck import MOST_ROWS, kept_answers, known_mended, mended_by_base
from refine.night.steps import Night, why
from refine.planner import Plan
from tests.adapters_for_tests import light_adapter, light_base
from tests.refine.tiny import row, write_snapshot

N_ROWS = MOST_ROWS + 5


class Server:
    """Says that all answers are another base's."""

    def get(self, path: str, query: Any = None) -> Any:
        return {"of_other_bases": [f"c{n}" for n in range(N_ROWS)]}

    def post(self, path: str, body: Any) -> Any:
        raise AssertionError(path)


def test_the_newest_are_asked_once_and_a_child_that_fails_ends_no_night(tmp_path: Path) -> None:
    light_base(tmp_path / "model")
    base = resolve_model(str(tmp_path / "model"), cache_dir=tmp_path)
    suite = replace(load("everyday"), folder=tmp_path / "none")  # which no child can load
    rows = []
    for n in range(N_ROWS):
        origin = {"completion_id": f"c{n}", "created_at": f"2026-01-01T00:{n // 60:02}:{n % 60:02}"}
        rows.append(row("pair", f"pair {n}", 0, chosen="a", rejected="b", origin=origin))
        rows.append(row("sft", f"pair {n}", 0, completion="a", origin=origin))
    snapshot = write_snapshot(tmp_path / "snapshot", rows)
    settings = Settings(state_dir=tmp_path / "state")
    lines: list[str] = []
    run: Any = SimpleNamespace(run_dir=tmp_path, state=SimpleNamespace(champion="base", today=None))
    night = Night(Server(), settings, run, base, suite, False, lines.append, Progress(tmp_path, {}))
    pairs = [one for one in rows if one.kind == "pair"]
    last = pairs[-1].row_id
    write_atomic(kept_answers(settings, base, None), f'{{"item_id": "{last}", "matches": true}}\n')
    assert known_mended(settings, base, None) == [last]
    assert known_mended(settings, base, "You are brief.") == []  # that may answer otherwise
    assert mended_by_base(night, {"dir": str(snapshot)}) == [last]
    asked = [one.row_id for one in read_more_rows(tmp_path / "recheck.jsonl")]
    assert asked == [one.row_id for one in pairs[-2 : -2 - MOST_ROWS : -1]]
    assert any("could not be asked" in line for line in lines)
    kept = kept_answers(settings, base, None).parent.name
    of_killed = settings.scores_dir / "scoring-x" / "out" / "items.jsonl"
    write_atomic(of_killed, f'{{"item_id": "{last}"}}\n')
    assert erase_scores(settings.scores_dir, {last}) == [kept, "scoring-x/out"]
    assert not of_killed.exists()


def test_steps_that_go_on_without_what_failed_end_with_the_time(tmp_path: Path) -> None:
    base = light_base(tmp_path / "model")
    pair = row("pair", "grass", 0, chosen="a", rejected="b", origin={"completion_id": "c0"})
    sft = row("sft", "grass", 0, completion="a")
    snapshot = {"dir": str(write_snapshot(tmp_path / "snapshot", [pair, sft]))}
    light_adapter(tmp_path / "adapter", base)
    for role in ("champion", "challenger"):
        write_json(tmp_path / "scores" / role / "manifest.json", {})
    write_json(tmp_path / "snapshot.json", snapshot)
    write_json(tmp_path / "plan.json", Plan("sft", "", {}).as_json())
    run: Any = SimpleNamespace(run_dir=tmp_path, state=SimpleNamespace(champion="base", today=None))
    settings = Settings(state_dir=tmp_path / "state")
    now = Progress(tmp_path, {})
    night = Night(Server(), settings, run, base, load("everyday"), False, lambda line: None, now)
    for step in (lambda: mended_by_base(night, snapshot), lambda: why(night)):
        with pytest.raises(PawlError) as error, ends_after(0.003):  # their child takes seconds
            step()
        assert error.value.code == OUT_OF_TIME
    assert not (tmp_path / "suspects.json").exists()
