"""What the pages show is typed, in bash, and does what it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.store import Store
from pawl.settings import Settings, load_settings
from tests import tiny_bases
from tests.adapters_for_tests import approved_run, light_adapter, light_base
from tests.bars.place import place
from tests.conftest import REPOSITORY
from tests.docs.shell import Shell
from tests.docs.steps import ALONE, BESIDE_A_SERVER, BY_ROOT, UP
from tests.feedback.examples import answered, said
from tests.refine.night.test_nightly import World
from tests.refine.tiny import shared_world_model

pytestmark = pytest.mark.slow

RATED = [
    {"prompt": f"What is {n} and {n}?", "chosen": f"It is {2 * n}.", "rejected": "I can't say."}
    for n in range(2, 10)
]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Shell]:
    """A terminal beside a server, three challengers that its gate let through, and people who said
    something before it was started."""
    settings = Settings(state_dir=tmp_path / ".pawl")
    with Store.open(settings.database_path) as store:
        for n, rater in enumerate(("ann", "front/ann", "front/cat")):
            one = answered(store, rater_id=rater, conversation_id=f"conv-{n + 5}f")
            said(store, one, rater_id=rater, correction="no")
    base = light_base(tmp_path / "base")
    for n in (1, 2, 3):
        adapter = light_adapter(tmp_path / f"adapter-{n}", base, seed=n)
        approved_run(settings.runs_dir, f"run-{n}", adapter, "base")
    (tmp_path / "ratings.json").write_text(json.dumps(RATED))
    (tmp_path / "house.txt").write_text("You answer in one short, friendly sentence.\n")
    for name in ("backups", "elsewhere"):
        (tmp_path / name).mkdir()
    surroundings = {"PAWL_ENGINE__REPLICAS": "2", "PAWL_PROMOTION__APPROVAL": "true"}
    with place(settings.state_dir, tmp_path / "base", **surroundings) as server:
        shell = Shell(tmp_path, str(server.client.base_url).rstrip("/"),
                      PAWL_MODEL=str(tmp_path / "base"))  # fmt: skip
        shell.facts["admin"] = (settings.state_dir / "admin.key").read_text().strip()
        yield shell


@pytest.fixture
def alone(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A terminal in a folder with settings and corrections, where no server runs."""
    world_model = shared_world_model(tmp_path_factory)
    gate = {"suite": "everyday", "n_items_per_benchmark": 20, "margin": 0.9, "margin_anchor": 0.9}
    train = {"n_epochs": 2, "learning_rate": 3e-3, "n_replay_rows": 30, "n_threads": 1}
    lines = [f'model = "{world_model}"', 'split_salt = "pawl"']
    for name, values in {"gate": gate, "train": train}.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(one)}" for key, one in values.items())]
    (tmp_path / "pawl.toml").write_text("\n".join(lines))
    world = World(load_settings({"state_dir": tmp_path / ".pawl"},
                                config_path=tmp_path / "pawl.toml"))  # fmt: skip
    world.complain(30)
    world.correct("loud", "Which colour has coal?", "COAL IS RED", "COAL IS BLACK", world.base)
    world.app.close()
    (tmp_path / "ratings.json").write_text(json.dumps(RATED))
    (tmp_path / "house.txt").write_text("Grass is green. Say so.\n")
    shell = Shell(tmp_path)
    shell.facts["model"] = str(world_model)
    return shell


def test_commands_without_a_server(alone: Shell) -> None:
    for step in ALONE:
        alone.type(step)


def test_commands_beside_a_server(served: Shell) -> None:
    for step in BESIDE_A_SERVER:
        served.type(step)


def test_commands_that_prepare_a_machine(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "deploy", tmp_path / "deploy")
    (tmp_path / "etc" / "systemd" / "system").mkdir(parents=True)
    shell = Shell(tmp_path)
    for step in BY_ROOT:
        shell.type(step)


@pytest.mark.engine
def test_servers_that_are_started(tmp_path: Path) -> None:
    model = str(tiny_bases.plain(tmp_path / "base"))
    shell = Shell(tmp_path, PAWL_PORT="0", PAWL_MODEL=model, HOME=str(tmp_path),
                  PAWL_ENGINE__KV_CACHE_GIB="0.25")  # fmt: skip
    shell.facts["gguf"] = str(tiny_bases.gguf(tmp_path / "file"))
    for step in UP:
        shell.type(step)
