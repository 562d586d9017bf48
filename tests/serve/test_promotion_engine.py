"""Promotions on the real engine: challengers that must not pass, then moves under load.

One server, started by ``pawl up`` as a child, goes through the whole story; the tests look at what
it left.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from feedback.store import Store
from pawl.adapters import PROBE, read_manifest, write_manifest
from pawl.server import start_server, stop_server, wait_ready
from pawl.settings import Settings, load_settings
from tests.adapters_for_tests import (
    marker_adapter,
    real_base,
    with_nan,
    with_truncated_weights,
    with_wrong_base,
    with_wrong_shape,
)
from tests.serve.live import Operator
from tests.serve.promotions_under_load import Load, Moves, check, drive, make_adapters

pytestmark = pytest.mark.engine
N_MOVES, N_STREAMS = 8, 4
SPOILING = {
    "nan": with_nan,
    "shape": with_wrong_shape,
    "base": with_wrong_base,
    "truncated": with_truncated_weights,
}


@dataclass
class Story:
    """What happened. ``tried`` holds the promotion and the answer after it, by challenger."""

    settings: Settings
    tried: dict[str, tuple[dict[str, Any], httpx.Response]]
    load: Load
    moves: Moves
    faults: list[str]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder = tmp_path_factory.mktemp("promotions")
    base = real_base(folder / "model")
    settings = load_settings({"state_dir": folder / "state", "model": base.name})
    adapters = make_adapters(folder / "adapters", base)
    challengers: dict[str, Path] = {}
    for name, spoil in SPOILING.items():
        challengers[name] = Path(shutil.copytree(adapters["x"], folder / name))
        spoil(challengers[name])
    challengers["newborn"] = marker_adapter(folder / "newborn", base, "n", n_steps=0)
    challengers["impostor"] = Path(shutil.copytree(adapters["x"], folder / "impostor"))
    shutil.copy(adapters["y"] / PROBE, challengers["impostor"] / PROBE)  # says that it is y
    write_manifest(challengers["impostor"], base_model=base.name,
                   base_fingerprint=base.fingerprint, recipe={})  # fmt: skip
    tried = {}
    child = start_server(settings)
    try:
        url = wait_ready(settings, child).url
        with httpx.Client(base_url=url, timeout=120, auth=Operator(settings.state_dir)) as http:
            for name, adapter_dir in challengers.items():
                force = name != "newborn"
                if not force:  # let through by a gate, as far as anyone can tell
                    run_dir = settings.runs_dir / name
                    shutil.copytree(adapter_dir, run_dir / "adapter")
                    verdict = {
                        "outcome": "promote",
                        "champion_version": "base",
                        "challenger_fingerprint": read_manifest(adapter_dir).fingerprint,
                    }
                    (run_dir / "verdict.json").write_text(json.dumps(verdict))
                where = {"adapter_dir": str(adapter_dir)} if force else {"run_dir": name}
                moved = http.post("/admin/promotions", json={**where, "force": force}).json()
                tried[name] = (moved, http.post("/v1/chat/completions", json={
                    "model": "pawl", "max_tokens": 8,
                    "messages": [{"role": "user", "content": "Hello?"}]}))  # fmt: skip
        load, moves = asyncio.run(drive(url, settings, adapters, N_MOVES, N_STREAMS))
    finally:
        stop_server(child)
    return Story(settings, tried, load, moves, check(load, moves, settings))


@pytest.mark.parametrize(("name", "outcome", "words"), [
    ("nan", "refused", "NaN"), ("shape", "refused", "the base needs"),
    ("base", "refused", "it was trained on another"), ("truncated", "refused", "safetensors"),
    ("impostor", "refused", "something else answers"),
    ("newborn", "indistinguishable", "like the base"),
])  # fmt: skip
def test_a_challenger_that_must_not_pass_does_not(
    story: Story, name: str, outcome: str, words: str
) -> None:
    moved, after = story.tried[name]
    assert moved["outcome"] == outcome, moved
    assert words in moved["reason"]
    assert after.status_code == 200, after.text
    assert after.headers["X-Pawl-Version"] == "base"


def test_the_champion_moved_under_load_and_no_answer_was_harmed(story: Story) -> None:
    assert story.faults == []
    assert len(story.moves.done) == N_MOVES
    assert {one["kind"] for one in story.moves.done} == {"promote", "rollback"}
    assert len({version for version, _ in story.load.answers.values()}) >= 4
    assert story.load.n_across_a_move > 0


def test_the_probe_found_the_engine_as_near_to_training_as_the_design_says(story: Story) -> None:
    with Store.open(story.settings.database_path) as store:
        probes = [one.probe["distances"] for one in store.promotions()
                  if one.outcome == "live" and "distances" in one.probe]  # fmt: skip
    assert probes
    for distances in probes:
        assert distances["live"] < 0.05
        assert distances["noise"] < 0.01
        assert distances["base"] > 10 * distances["live"]
