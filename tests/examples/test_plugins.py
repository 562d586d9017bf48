"""The example plugins, installed as a package of their own, each at work in Pawl's processes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pawl.client import Pawl
from pawl.files import read_json
from pawl.server import api_key_of
from pawl.settings import Settings
from tests.adapters_for_tests import light_base
from tests.conftest import REPOSITORY
from tests.refine.night.test_nightly import GREETINGS, World, night_settings
from tests.refine.tiny import ASKED, shared_world_model
from tests.serve.live import eventually

pytestmark = pytest.mark.slow
PACKAGE = "pawl-example-plugins 1.0"
CARDS = """Q: How tall is the tower?
A: 57 m

Q: Who built it?
A: THE GUILD OF MASONS BUILT IT

a line of no card
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package was installed into, by pip."""
    folder = tmp_path_factory.mktemp("plugins")
    # pip builds in the folder that it is given.
    source = shutil.copytree(REPOSITORY / "examples" / "plugins", folder / "source")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--target", str(folder / "site"), str(source)],
        check=True,
    )  # fmt: skip
    return folder / "site"


@pytest.fixture
def environment(installed: Path) -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY), str(installed)])
    return os.environ | {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def pawl(environment: dict[str, str], state_dir: Path, *line: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pawl.cli", "--state-dir", str(state_dir), *line],
        env=environment, cwd=state_dir.parent, capture_output=True, text=True, timeout=1000,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_all_are_listed_and_none_is_used_by_itself(
    environment: dict[str, str], tmp_path: Path
) -> None:
    rows = json.loads(pawl(environment, tmp_path / "state", "plugins", "--json"))
    assert {row["kind"]: row["name"] for row in rows} == {
        "detector": "shouting", "matcher": "lengths", "judge": "concise", "suite": "conversions",
        "trainer": "frugal", "importer": "flashcards", "notifier": "to-file",
    }  # fmt: skip
    assert {row["package"] for row in rows} == {PACKAGE}
    assert not any(row["used"] for row in rows)


def test_importer_and_detector(environment: dict[str, str], tmp_path: Path) -> None:
    """Cards come in; the one that shouts is not learned, and the card of the data says why."""
    state_dir, cards = tmp_path / "state", tmp_path / "cards.txt"
    light_base(tmp_path / "model")
    cards.write_text(CARDS)
    environment |= {
        "PAWL_MODEL": str(tmp_path / "model"),
        "PAWL_EXCHANGE__IMPORTERS": "flashcards",
        "PAWL_CURATION__DETECTORS": "shouting",
    }
    said = pawl(environment, state_dir, "import", str(cards), "--format", "flashcards")
    assert "n_added: 2" in said
    assert "skipped: no card of the form Q: ... A: ...: 1" in said
    said = pawl(environment, state_dir, "curate", "--json")
    [snapshot] = (state_dir / "snapshots").iterdir()
    card = json.loads(pawl(environment, state_dir, "snapshot", "card", snapshot.name, "--json"))
    assert card["detectors"]["shouting"] == {
        "package": PACKAGE, "n_found": 1, "n_scored": 2, "n_failed": 0, "threshold": 0.5,
        "unit": "share of words in capitals",
        "row_ids": card["detectors"]["shouting"]["row_ids"],
    }  # fmt: skip
    assert card["sources"] == {"import:flashcards": 2}
    environment["PAWL_CURATION__REJECT"] = "shouting"
    pawl(environment, state_dir, "curate")
    [_, after] = sorted((state_dir / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime)
    assert read_json(after / "manifest.json")["rejections"] == {"the answer shouts": 1}


@pytest.fixture
def told(environment: dict[str, str], tmp_path: Path) -> Iterator[Pawl]:
    """A server whose notifier writes into ``told.jsonl``."""
    state_dir = tmp_path / "state"
    light_base(tmp_path / "model")
    command = [sys.executable, "-m", "tests.serve.run_up", str(state_dir)]
    with (
        (tmp_path / "up.log").open("wb") as log,
        subprocess.Popen(
            [*command, str(tmp_path / "model"), "0"],
            cwd=REPOSITORY, stdout=log, stderr=log,
            env=environment | {"PAWL_WEBHOOK__NOTIFIERS": "to-file",
                               "EXAMPLE_NOTIFIER_FILE": str(tmp_path / "told.jsonl")},
        ) as child,
    ):  # fmt: skip
        try:
            found = state_dir / "server.json"
            eventually(lambda: found.exists() or child.poll() is not None, "the server", 120)
            assert child.poll() is None, (tmp_path / "up.log").read_text()
            client = Pawl(read_json(found)["url"], api_key_of(Settings(state_dir=state_dir)))
            eventually(lambda: client.status().engine.state == "ready", "the engine", 120)
            yield client
        finally:
            child.terminate()
            child.wait(60)


def test_notifier(told: Pawl, tmp_path: Path) -> None:
    answer = told.chat("How tall is the tower?")
    told.feedback(answer.id, thumb="down", comment="Not so tall.")
    lines = tmp_path / "told.jsonl"
    eventually(lambda: lines.exists() and lines.read_text(), "it is told")
    [message] = map(json.loads, lines.read_text().splitlines())
    assert message["type"] == "feedback.flagged"
    assert (message["data"]["comment"], message["data"]["version"]) == ("Not so tall.", "base")


def test_a_server_with_a_plugin_that_is_not_there_does_not_start(
    environment: dict[str, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.serve.run_up", str(tmp_path / "state"), "model", "0"]
    environment["PAWL_GATE__MATCHERS"] = "lengths,widths"
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "gate.matchers names the matcher 'widths'" in done.stderr
    assert "there are: lengths" in done.stderr
    assert not (tmp_path / "state").exists()


def test_a_night_with_trainer_suite_matcher_and_judge(
    environment: dict[str, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model = shared_world_model(tmp_path_factory)
    settings = night_settings(model, tmp_path)
    world = World(settings)
    for i in range(30):
        text = f"{i}. {GREETINGS[i // len(ASKED)]}{ASKED[i % len(ASKED)].format('grass')}"
        world.correct(str(i), text, "7 km", "5 km", world.base)
    world.app.close()
    environment |= {
        "PAWL_MODEL": str(model), "PAWL_SPLIT_SALT": "pawl",
        "PAWL_TRAIN__N_EPOCHS": "3", "PAWL_TRAIN__LEARNING_RATE": "0.003",
        "PAWL_TRAIN__N_THREADS": "1", "PAWL_TRAIN__N_REPLAY_ROWS": "30",
        "PAWL_GATE__N_PLACEBOS": "2",
        "PAWL_GATE__MARGIN": "0.9", "PAWL_GATE__MARGIN_ANCHOR": "0.9",
        "PAWL_GATE__SUITE": "conversions", "PAWL_GATE__MATCHERS": "lengths",
        "PAWL_JUDGE__PLUGIN": "concise", "PAWL_TRAIN__TRAINER": "frugal",
    }  # fmt: skip
    said = pawl(environment, settings.state_dir, "nightly")
    assert f"conversions ({PACKAGE}), as set by gate.suite" in said
    [run_dir] = settings.runs_dir.glob("run-*")
    report = read_json(run_dir / "report.json")
    assert report["plan"]["trainer"] == "frugal"
    assert report["recipe"]["plugins"] == {"trainer": f"frugal ({PACKAGE})"}
    steps = map(json.loads, (run_dir / "train" / "steps.jsonl").read_text().splitlines())
    rates = [row["learning_rate"] for row in steps if "learning_rate" in row]
    assert rates.count(max(rates)) >= 5  # a cosine is at its peak once
    assert report["scoring"]["challenger"]["suite"] == "conversions"
    assert report["scoring"]["challenger"]["n_items"]["lengths"] == 24
    assert set(report["complaints"]["compared"]) == {"lengths"}
    assert report["judge"]["model"] == f"concise ({PACKAGE})"
    page = (run_dir / "report.html").read_text()
    assert f"Trained by the plugin frugal ({PACKAGE})" in page
    assert f"concise ({PACKAGE}) was first given" in page
