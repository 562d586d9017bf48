"""Nights and versions of a system prompt: one is tested without training, one is the champion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.regression import Asking
from evals.runner import read_scores, score
from evals.suites import load
from pawl.adapters import read_manifest
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.models import resolve_model
from pawl.schemas import utc_now
from refine.night.dry_run import dry_run
from refine.night.nightly import run_night
from refine.night.state import newest_runs
from tests.feedback.examples import make_completion, make_promotion
from tests.refine.night.test_nightly import World, night_settings, worked
from tests.refine.tiny import ask, says

pytestmark = pytest.mark.slow

PROMPT = "Grass is green. Say so."


@pytest.fixture
def world(world_model: Path, tmp_path: Path) -> Iterator[World]:
    here = World(night_settings(world_model, tmp_path, n_epochs=1))
    yield here
    here.app.close()


def chat(world: World, n: int) -> None:
    """Answers that nobody flagged."""
    for i, word in enumerate(("snow", "milk", "coal", "sky", "sun", "sand", "rust", "ice")[:n]):
        world.app.store.append_completion(
            make_completion(
                completion_id=f"fine-{i}", conversation_id=f"fine-{i}", completion=f"A {word}.",
                messages=[{"role": "user", "content": f"Name a thing like {word}?"}],
                base_fingerprint=world.base, created_at=utc_now(),
            )
        ).result()  # fmt: skip


def scores(run_dir: Path, role: str) -> dict[str, dict[str, Any]]:
    """By benchmark and item, what scoring found of a model."""
    items = read_scores(run_dir / "scores" / role).items
    return {f"{one.benchmark} {one.item_id}": {**one.detail, "score": one.score} for one in items}


def test_a_prompt_is_tested_as_it_is_served_and_nothing_is_trained(world: World) -> None:
    world.complain(40)
    chat(world, 8)
    made = world.client.promote(system_prompt=PROMPT, temperature=0.2)
    cooler = world.client.promote(temperature=0.1)
    with pytest.raises(PawlError, match="by its sampling alone"):
        run_night(world.client, world.settings, challenger=cooler.version)
    with pytest.raises(PawlError, match="no version of a system prompt"):
        run_night(world.client, world.settings, challenger="pawl@9")
    lines: list[str] = []
    result = run_night(world.client, world.settings, challenger=made.version, say=lines.append)
    assert worked(lines)[:3] == ["retention", "snapshot", "score champion"]
    assert not {"train", "plan", "replay", "why"} & set(worked(lines))
    champion, challenger = (scores(result.run_dir, role) for role in ("champion", "challenger"))
    flagged = [name for name in challenger if name.startswith("holdout ")]
    assert flagged
    assert any(name.startswith("holdout__controls ") for name in challenger)
    for name in flagged:
        assert challenger[name]["prompt"] == champion[name]["prompt"]
        assert challenger[name]["correction_logprob"] != champion[name]["correction_logprob"]
    placebos = {name: one for name, one in champion.items() if name.startswith("holdout__placebo")}
    assert len({one["correction_logprob"] for name, one in placebos.items()
                if name.endswith(flagged[0].split()[1])}) > 2  # fmt: skip
    # Of the benchmarks nothing was scored anew: the weights are the same.
    manifest = read_scores(result.run_dir / "scores" / "challenger").manifest
    assert "benchmarks" in manifest["reused"]
    verdict = read_json(result.run_dir / "verdict.json")
    summary = {row["version"]: row for row in world.client.get("/admin/versions")}
    assert verdict["challenger_fingerprint"] == summary[made.version]["fingerprint"]
    assert verdict["champion_version"] == "base"
    assert all(row["difference"] == 0 for row in verdict["benchmarks"])
    page = (result.run_dir / "report.html").read_text()
    assert PROMPT in page
    assert "they say nothing of the challenger" in page
    # It was no training, after which a night would look for something new.
    _, planned = run_until_planned(world)
    assert "nothing new" not in planned


def run_until_planned(world: World) -> tuple[str, str]:
    """The outcome and the reason of the next night, which has no time to train."""
    result = run_night(world.client, world.settings, minutes=0.5)
    return result.outcome, result.reason


def test_without_answers_that_nobody_flagged_a_prompt_is_not_let_through(world: World) -> None:
    world.complain(40)
    made = world.client.promote(system_prompt=PROMPT)
    result = run_night(world.client, world.settings, challenger=made.version)
    assert result.outcome in ("not_enough_evidence", "reject")
    if result.outcome == "not_enough_evidence":
        assert "nothing says that the rest is unharmed" in result.reason
    assert result.version is None


def test_what_a_night_trains_keeps_the_champions_prompt(world: World) -> None:
    world.complain(40)
    for n in range(4):  # of another base's answers, at least one is learned from
        asked = ask("coal", n)[0]["content"]
        world.correct(f"old-{n}", asked, says("coal", "red"), says("coal", "black"), "sha256:old")
    made = world.client.promote(system_prompt=PROMPT, temperature=0.2)
    world.app.store.append_promotion(make_promotion(made.version, "live")).result()
    assert any("keeps the system prompt" in line for line in dry_run(world.client, world.settings))
    result = run_night(world.client, world.settings)
    assert result.outcome != "no_run", result.reason
    recipe = read_manifest(result.run_dir / "adapter").recipe
    assert recipe["system_prompt"] == PROMPT
    # Whether the base needs the corrections of another one was asked so, too.
    again = score(
        resolve_model(world.settings.model, cache_dir=world.settings.state_dir), None,
        suite=load("everyday"), scores_dir=world.settings.scores_dir, benchmarks=False,
        more_rows=result.run_dir / "recheck.jsonl", asking=Asking(PROMPT),
    )  # fmt: skip
    assert again.manifest["reused"] == ["holdout"]
    champion, challenger = (scores(result.run_dir, role) for role in ("champion", "challenger"))
    assert champion.keys() >= challenger.keys()
    about = read_json(result.run_dir / "challenger.json")
    assert about["settings_of"] == made.version
    verdict = read_json(result.run_dir / "verdict.json")
    assert verdict["champion_fingerprint"] == about["asked"]["champion"]["fingerprint"]
    assert [one.detail.get("challenger") for one in newest_runs(world.settings.runs_dir)] == [None]
    # Whatever the gate said, the server brings it in with the prompt.
    write_json(result.run_dir / "verdict.json", verdict | {"outcome": "promote"})
    moved = world.client.promote(result.run_id)
    assert moved.outcome == "pending", moved.reason
    kept = world.app.store.version_settings(moved.version)
    assert kept is not None
    assert (kept.weights, kept.system_prompt) == (moved.version, PROMPT)
    assert kept.sampling == {"temperature": 0.2}
