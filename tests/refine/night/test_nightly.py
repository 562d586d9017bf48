"""Whole nights on real parts: the store, the in-process server, TRL, lm-eval, the gate.

Over 400 lines: all share one world, and how a night dies in it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from evals.cluster import DECIDING
from evals.regression import read_more_rows
from evals.score import FORMAT
from evals.suites import BUILT_IN_DIR
from feedback.snapshots import read_rows
from pawl.adapters import read_manifest
from pawl.cli import cli
from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.files import hold_lock, read_json, write_json
from pawl.models import resolve_model
from pawl.schemas import Completion, Feedback, utc_now
from pawl.server import api_key_of
from pawl.settings import Settings, load_settings
from refine.night.dry_run import dry_run
from refine.night.nightly import describe_step, discard_scores_of_before, run_night
from refine.night.state import Run, RunState, newest_runs, what_became_of
from refine.night.steps import STEPS, decide
from refine.planner import Plan
from refine.train import Job
from tests.feedback.examples import make_promotion
from tests.refine.interrupted import run_until
from tests.refine.tiny import ASKED, says

pytestmark = pytest.mark.slow

GREETINGS = (
    "",
    "Hi. ",
    "Hello! ",
    "Good day. ",
    "Please help. ",
    "One question: ",
    "Well, ",
    "Tell me this. ",
)


def night_settings(world_model: Path, folder: Path, **train: Any) -> Settings:
    """Few items and margins so wide that the tiny model's noise can't fail them."""
    return load_settings(
        {
            "model": str(world_model),
            "state_dir": folder / "state",
            "split_salt": "pawl",
            "train": {
                "n_epochs": 6,
                "learning_rate": 3e-3,
                "n_replay_rows": 30,
                "n_threads": 1,
                **train,
            },
            "gate": {
                "suite": "everyday",
                "n_items_per_benchmark": 20,
                "margin": 0.9,
                "margin_anchor": 0.9,
            },
        }
    )


class World:
    """The in-process server of one state folder, and people who complain."""

    def __init__(self, settings: Settings) -> None:
        from serve.api.app import build_app

        self.settings = settings
        self.app = build_app(settings, engine=None)
        self.client = Pawl("http://pawl.invalid", api_key_of(settings), self.app)
        self.base: str = self.client.get("/admin/status")["base"]["fingerprint"]

    def complain(self, n: int) -> None:
        """``n`` conversations in which grass was called red, each corrected to green."""
        for i in range(n):
            # Texts with other numbers are no near-duplicates, so some of them test.
            text = f"{i}. {GREETINGS[i // len(ASKED)]}{ASKED[i % len(ASKED)].format('grass')}"
            self.correct(str(i), text, says("grass", "red"), says("grass", "green"), self.base)

    def correct(self, name: str, text: str, wrong: str, right: str, base: str) -> None:
        """An answer of some base, and its correction."""
        one = Completion(
            f"c{name}",
            0,
            f"conversation-{name}",
            "anna",
            utc_now(),
            "pawl",
            "base",
            "tiny",
            base,
            [{"role": "user", "content": text}],
            wrong,
            "stop",
            "complete",
            {"temperature": 0},
            8,
            4,
            0.1,
            0.2,
            False,
        )
        self.app.store.append_completion(one).result()
        self.app.store.append_feedback(
            Feedback(
                f"f{name}",
                f"key-{name}",
                f"c{name}",
                0,
                "anna",
                utc_now(),
                "down",
                ["incorrect"],
                correction=right,
            )
        ).result()


def worked(lines: list[str]) -> list[str]:
    """The steps that these lines of progress say were worked."""
    found = [re.match(r"(\w[\w ]*?) +\d+\.\d s", line) for line in lines]
    return [match[1] for match in found if match]


def where(world: World) -> list[str]:
    """The options that a command of this world needs."""
    settings = world.settings
    return ["--state-dir", str(settings.state_dir), "--set", f"model={settings.model}"]


@pytest.fixture
def world(world_model: Path, tmp_path: Path) -> Iterator[World]:
    here = World(night_settings(world_model, tmp_path))
    yield here
    here.app.close()


class DiesAt:
    """A client that ends the process (as far as the night can tell) after or before one call."""

    def __init__(self, client: Pawl, path: str, status: str = "", *, after: bool) -> None:
        self._client, self._path, self._status, self._after = client, path, status, after

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        return self._client.get(path, query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        mine = path.endswith(self._path) and self._status in ("", body.get("status"))
        if mine and not self._after:
            raise KeyboardInterrupt
        answer = self._client.post(path, body)
        if mine:
            raise KeyboardInterrupt
        return answer


def interrupt_training(world: World, state: RunState) -> None:
    """As if the night's training had been killed after its third step."""
    run_dir = world.settings.runs_dir / state.run_id
    base = resolve_model(world.settings.model, cache_dir=world.settings.state_dir)
    task = Job.in_run(
        run_dir,
        base,
        Path(read_json(run_dir / "snapshot.json")["dir"]),
        Plan.from_json(read_json(run_dir / "plan.json")),
        world.settings.replay_dir,
        today=state.today,
    )
    run_until(replace(task, checkpoint_seconds=0.0), lambda event: event.get("saved_step") == 3)


def test_a_night_promotes_what_people_corrected(world: World) -> None:
    world.complain(80)
    lines: list[str] = []
    result = run_night(world.client, world.settings, say=lines.append)
    assert (result.outcome, result.promotion, result.version) == ("promote", "pending", "pawl@1")
    [promotion] = world.client.get("/admin/history")
    assert (promotion["version"], promotion["run_id"]) == ("pawl@1", result.run_id)

    run = world.client.get(f"/admin/runs/{result.run_id}")
    assert run["status"] == "finished"
    assert run["verdict"]["outcome"] == "promote"
    steps = run["detail"]["steps"]
    others = ("score anchor", "score best", "why")
    assert list(steps) == [step.name for step in STEPS if step.name not in others]
    assert steps["train"]["peak_memory_bytes"] > 50_000_000
    assert steps["score challenger"]["seconds"] > 0
    assert run["detail"]["today"] == read_manifest(result.run_dir / "adapter").recipe["today"]
    fingerprint = read_manifest(result.run_dir / "adapter").fingerprint
    assert run["verdict"]["challenger_fingerprint"] == fingerprint
    assert read_manifest(world.settings.adapters_dir / "pawl@1").fingerprint == fingerprint
    holdout = run["verdict"]["holdout"]
    assert holdout["challenger"] > holdout["champion"]
    assert len(world.app.store.scores(result.run_id, "challenger")) > 60
    report = json.loads((result.run_dir / "report.json").read_text())
    assert report["promotion"]["outcome"] == "pending"
    assert report["plan"]["method"] == "sft"
    assert (result.run_dir / "report.html").stat().st_size > 1000
    assert any(line.startswith("  train: SFT: ") for line in lines)
    assert worked(lines) == list(steps)
    assert "pawl@1" in result.describe()
    assert "report.html" in result.describe()

    again = run_night(world.client, world.settings)
    assert again.outcome == "no_run"
    assert f"nothing new since {result.run_id}" in again.reason
    assert "waits for the engine" in again.reason
    world.app.close()  # the store is free for a command
    shown = CliRunner().invoke(cli, ["show", result.run_id, *where(world)])
    for name, figures in steps.items():
        assert describe_step(name, figures) in shown.output


def test_a_night_that_dies_is_carried_on_and_repeats_nothing(world: World) -> None:
    """The night dies after each of its steps in turn; the last call finishes the same run."""
    world.complain(80)
    deaths = [
        ("/admin/snapshots", "", True),
        ("/admin/runs", "plan", True),
        ("/admin/runs", "replay", True),
        ("/admin/runs", "train", False),
        ("/scores", "", True),
        ("/verdict", "", True),
        ("/admin/promotions", "", True),
        ("/admin/runs", "report", False),
    ]
    made: dict[str, int] = {}
    said: list[str] = []
    for path, status, after in deaths:
        client = DiesAt(world.client, path, status, after=after)
        with pytest.raises(KeyboardInterrupt):
            run_night(client, world.settings, say=said.append)
        [state] = newest_runs(world.settings.runs_dir)
        if status == "replay":  # the next step's child dies, too
            interrupt_training(world, state)
        for name in (
            "adapter/manifest.json",
            "scores/champion/manifest.json",
            "scores/challenger/manifest.json",
        ):
            file = world.settings.runs_dir / state.run_id / name
            if file.exists():
                inode = made.setdefault(name, file.stat().st_ino)
                assert file.stat().st_ino == inode, f"{name} was made twice"
    assert len(made) == 3
    assert "  train: SFT goes on from step 3" in said
    lines: list[str] = []
    result = run_night(world.client, world.settings, say=lines.append)
    assert any(line.startswith(f"carrying on {result.run_id}") for line in lines)
    assert worked(lines) == ["report"]  # the step that was not recorded any more, and no other
    assert (result.outcome, result.version) == ("promote", "pawl@1")
    assert [one["run_id"] for one in world.client.get("/admin/runs")] == [result.run_id]
    assert len(world.client.get("/admin/history")) == 1
    assert newest_runs(world.settings.runs_dir)[0].status == "finished"


def test_a_night_without_feedback_says_so(world: World) -> None:
    result = run_night(world.client, world.settings)
    assert result.outcome == "no_run"
    assert "nothing to learn from" in result.reason
    assert not (result.run_dir / "adapter").exists()
    assert world.client.get("/admin/runs")[0]["detail"]["outcome"] == "no_run"
    assert "nothing to learn from" in (result.run_dir / "report.html").read_text()
    assert world.client.get("/admin/status")["champion"] == "base"


def test_of_another_bases_corrections_those_are_learned_that_this_base_needs(
    world: World,
) -> None:
    for thing, wrong, right in (("grass", "red", "green"), ("the sky", "pink", "blue")):
        for i, asked in enumerate(ASKED):
            texts = asked.format(thing), says(thing, wrong), says(thing, right)
            world.correct(f"{thing}-{i}", *texts, "sha256:another")
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "snapshot", after=True), world.settings)
    [run] = world.settings.runs_dir.iterdir()
    manifest = read_json(run / "snapshot.json")
    learned = [row.completion for row in read_rows(Path(manifest["dir"])) if row.kind == "sft"]
    assert set(learned) == {says("grass", "green")}
    n_sky = manifest["rejections"]["another base's fault: this one answers as corrected"]
    assert n_sky >= 5
    asked = read_more_rows(run / "recheck.jsonl")
    assert n_sky == sum("the sky" in str(row.chosen) for row in asked)


def test_only_one_night_at_a_time(world: World) -> None:
    lock = world.settings.state_dir / "nightly.lock"
    with hold_lock(lock, "x", "y"), pytest.raises(PawlError, match="another night is running"):
        run_night(world.client, world.settings)
    assert newest_runs(world.settings.runs_dir) == []


def test_a_night_that_cannot_train_ends_with_its_reason(world_model: Path, tmp_path: Path) -> None:
    here = World(night_settings(world_model, tmp_path, method="kto"))
    try:
        here.complain(20)
        with pytest.raises(PawlError, match="0 liked and 0 disliked"):
            run_night(here.client, here.settings)
        [state] = newest_runs(here.settings.runs_dir)
        assert state.status == "failed"
        assert "'kto'" in state.detail["reason"]
        report = (here.settings.runs_dir / state.run_id / "report.html").read_text()
        assert "the night failed" in report
    finally:
        here.app.close()


def test_an_interrupted_night_ends_when_the_champion_changed(world: World) -> None:
    world.complain(20)
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "plan", after=True), world.settings)
    [interrupted] = newest_runs(world.settings.runs_dir)
    path = world.settings.runs_dir / interrupted.run_id / "run.json"
    path.write_text(path.read_text().replace('"champion": "base"', '"champion": "pawl@7"'))
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "started", after=True), world.settings)
    old = world.client.get(f"/admin/runs/{interrupted.run_id}")
    assert old["status"] == "failed"
    assert "base answers instead of pawl@7" in old["detail"]["reason"]


def test_after_an_upgrade_no_scores_of_before_are_compared(tmp_path: Path) -> None:
    state = RunState("run-1", "score anchor", "", "", "base", "",
                     steps={f"score {role}": {} for role in ("champion", "anchor")})  # fmt: skip
    run = Run(tmp_path, state, Pawl("http://pawl.invalid", ""))
    versions = {name: version(name) for name in DECIDING}
    ours = {"format": FORMAT, "parts": {"benchmarks": {"versions": versions}}}
    upgraded = {"benchmarks": {"versions": versions | {"transformers": "4.0"}}}
    outputs = [f"scores/{role}/manifest.json" for role in ("champion", "anchor")]
    for changed in ({"format": FORMAT - 1}, {"parts": upgraded}):
        write_json(tmp_path / outputs[0], ours | changed)
        write_json(tmp_path / outputs[1], ours)
        discard_scores_of_before(run)
        assert not run.is_done("score champion", outputs[0])
        assert run.is_done("score anchor", outputs[1])


def test_a_verdict_that_was_written_before_a_kill_stands(tmp_path: Path) -> None:
    """Another one would be by the margins of `everyday` where the suite is gone."""
    verdict = {"outcome": "reject", "reasons": ["It is worse."]}
    write_json(tmp_path / "verdict.json", verdict)
    posted: list[Any] = []
    client: Any = SimpleNamespace(post=lambda path, body: posted.append((path, body)))
    run = Run(tmp_path, RunState("run-1", "score challenger", "", "", "base", ""), client)
    night: Any = SimpleNamespace(client=client, run=run, path=tmp_path.joinpath)
    assert decide(night).detail == {"outcome": "reject", "reason": "It is worse."}
    assert posted == [("/admin/runs/run-1/verdict", verdict)]


def test_a_step_that_keeps_dying_is_given_up(world: World) -> None:
    world.complain(20)
    dying = DiesAt(world.client, "/admin/runs", "plan", after=False)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            run_night(dying, world.settings)
    [state] = newest_runs(world.settings.runs_dir)
    assert (state.status, state.n_attempts) == ("snapshot", 3)
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "started", after=True), world.settings)
    assert world.client.get(f"/admin/runs/{state.run_id}")["status"] == "failed"


def with_gate(settings: Settings, **gate: Any) -> Settings:
    return settings.model_copy(update={"gate": settings.gate.model_copy(update=gate)})


def test_settings_that_changed_since_a_night_began_are_named(world: World) -> None:
    world.complain(20)
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "train", after=False), world.settings)
    lines: list[str] = []
    stops = DiesAt(world.client, "/scores", after=True)
    with pytest.raises(KeyboardInterrupt):
        run_night(stops, with_gate(world.settings, alpha=0.01), say=lines.append)
    [state] = newest_runs(world.settings.runs_dir)
    [line] = [line for line in lines if "gate.alpha was 0.05 and is 0.01 now" in line]
    assert f"since {state.run_id} began" in line
    assert "gate.suite" not in line
    assert state.settings["gate"]["alpha"] == 0.05  # what it began with holds


def test_a_night_whose_settings_work_no_more_makes_room_for_a_new_one(
    world: World, tmp_path: Path
) -> None:
    """Its suite is gone. While the settings name it, the night waits for it; once they name
    another one, a new night begins."""
    suite = tmp_path / "suite"
    shutil.copytree(BUILT_IN_DIR / "everyday", suite)
    gone = with_gate(world.settings, suite=str(suite))
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "snapshot", after=True), gone)
    [old] = newest_runs(world.settings.runs_dir)
    suite.rename(tmp_path / "elsewhere")
    for _ in range(4):
        with pytest.raises(PawlError, match="is not there"):
            run_night(world.client, gone)
    assert newest_runs(world.settings.runs_dir) == [old]

    lines: list[str] = []
    result = run_night(world.client, world.settings, say=lines.append)
    assert result.outcome == "no_run"
    new, ended = newest_runs(world.settings.runs_dir)
    assert (new.run_id, new.status) == (result.run_id, "finished")
    assert (ended.run_id, ended.status) == (old.run_id, "failed")
    assert f"{suite}' is not there" in ended.detail["reason"]
    assert any(f"{old.run_id} can't go on as it began" in line for line in lines)
    assert (world.settings.runs_dir / old.run_id / "report.html").exists()


def test_a_night_begun_with_settings_of_another_version_makes_room(world: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "snapshot", after=True), world.settings)
    [old] = newest_runs(world.settings.runs_dir)
    path = world.settings.runs_dir / old.run_id / "run.json"
    path.write_text(path.read_text().replace('"alpha":', '"alpha_of_old":'))
    path.with_name("report.html").mkdir()  # its report can't be written: no reason to end the night
    assert run_night(world.client, world.settings).run_id != old.run_id
    assert world.client.get(f"/admin/runs/{old.run_id}")["status"] == "failed"


def test_a_fresh_night_gives_up_the_interrupted_one(world: World) -> None:
    world.complain(20)
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "plan", after=True), world.settings)
    [old] = newest_runs(world.settings.runs_dir)
    with pytest.raises(KeyboardInterrupt):
        run_night(
            DiesAt(world.client, "/admin/runs", "plan", after=True),
            with_gate(world.settings, alpha=0.01),
            fresh=True,
        )
    new, given_up = newest_runs(world.settings.runs_dir)
    assert (given_up.run_id, given_up.status) == (old.run_id, "given_up")
    assert "--fresh" in given_up.detail["reason"]
    assert world.client.get(f"/admin/runs/{old.run_id}")["status"] == "given_up"
    assert (new.status, new.settings["gate"]["alpha"]) == ("snapshot", 0.01)


@pytest.mark.parametrize("anchor", ["Base", "pawl@9"])
def test_an_anchor_that_is_not_there_is_said_before_anything_is_done(
    world: World, anchor: str
) -> None:
    settings = with_gate(world.settings, anchor=anchor)
    with pytest.raises(PawlError, match=f"gate.anchor is '{anchor}'.*one of: base"):
        run_night(world.client, settings)
    assert newest_runs(world.settings.runs_dir) == []


def test_a_refused_promotion_is_said_the_next_night(world: World) -> None:
    """The gate let a run through, and the server refused it (its adapter is not whole)."""
    world.complain(20)
    with pytest.raises(KeyboardInterrupt):
        run_night(DiesAt(world.client, "/admin/runs", "train", after=False), world.settings)
    earlier = Run.unfinished(world.settings.runs_dir, world.client)
    assert earlier is not None
    (earlier.run_dir / "adapter" / "manifest.json").unlink()
    promotion = world.client.post("/admin/promotions", {"run_dir": earlier.state.run_id})
    assert promotion["outcome"] == "refused"
    earlier.end("finished", outcome="promote", promotion="pending")
    result = run_night(world.client, world.settings)
    assert result.outcome == "no_run"
    assert f"{promotion['version']} was refused: " in result.reason
    assert f"pawl promote {earlier.state.run_id}" in result.reason
    assert "waits for the engine" not in result.reason
    # The same rows under new phrasings are something new.
    train = world.settings.train.model_copy(update={"augment": ("paraphrase",)})
    with pytest.raises(PawlError, match="the base writes the phrasings in the running engine"):
        run_night(world.client, world.settings.model_copy(update={"train": train}))


def test_the_champion_is_not_said_to_be_rolled_back() -> None:
    live = {"version": "pawl@1", "outcome": "live", "reason": ""}
    assert "rolled back" not in what_became_of(live, "run-1", champion="pawl@1")
    assert "rolled back" in what_became_of(live, "run-1", champion="pawl@2")


def test_while_a_challenger_is_on_its_canary_no_night_trains(world: World) -> None:
    world.complain(20)
    canary = make_promotion("pawl@1", "canary", probe={"share": 0.1})
    world.app.store.append_promotion(canary).result()
    result = run_night(world.client, world.settings)
    assert result.outcome == "no_run"
    assert "pawl@1" in result.reason
    assert any(line.startswith("method: ") for line in dry_run(world.client, world.settings))


def test_a_night_for_another_base_is_refused(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(world.settings.model, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rope_theta": 5000.0}))
    settings = world.settings.model_copy(update={"model": str(other)})
    with pytest.raises(PawlError, match="an adapter fits one base only"):
        run_night(world.client, settings)
