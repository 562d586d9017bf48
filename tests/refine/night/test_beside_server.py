"""``pawl nightly`` beside a running ``pawl up`` whose engine is a fake one: real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pawl.client import Pawl
from pawl.files import read_json
from pawl.jobs import child_environment, module_command
from pawl.server import api_key_of
from pawl.settings import Settings
from tests.conftest import REPOSITORY
from tests.refine.night.test_nightly import GREETINGS, worked
from tests.refine.tiny import ASKED, says, shared_world_model
from tests.serve.live import eventually

pytestmark = pytest.mark.slow
SHORT = ("gate.suite=everyday", "gate.n_items_per_benchmark=20", "train.n_epochs=1")


@pytest.fixture
def served(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pawl]:
    """A server that was started with the tiny model; nothing of that is said again."""
    world_model = shared_world_model(tmp_path_factory, n_heads=2)
    state_dir, log_path = tmp_path / "state", tmp_path / "up.log"
    command = [sys.executable, "-m", "tests.serve.run_up", str(state_dir), str(world_model), "0"]
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            command,
            cwd=REPOSITORY,
            stdout=log,
            stderr=log,
            env=os.environ | {"PAWL_SPLIT_SALT": "pawl"},
        ) as child,  # fmt: skip
    ):
        try:
            found = state_dir / "server.json"
            eventually(lambda: found.exists() or child.poll() is not None, "the server", 120)
            assert child.poll() is None, log_path.read_text()
            client = Pawl(read_json(found)["url"], api_key_of(Settings(state_dir=state_dir)))
            eventually(lambda: client.status().engine.state == "ready", "the engine", 120)
            yield client
        finally:
            child.terminate()
            child.wait(180)


def nightly(state_dir: Path, cwd: Path) -> subprocess.Popen[str]:
    """A night that Ctrl-C ends, also where the tests run in the background and ignore it."""
    options = [word for text in SHORT for word in ("--set", text)]
    return subprocess.Popen(
        [*module_command("pawl.cli"), "nightly", "--state-dir", str(state_dir), *options],
        cwd=cwd, env=child_environment() | {"HF_HUB_OFFLINE": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def complain(client: Pawl, first: int, n: int) -> None:
    for i in range(first, first + n):
        question = f"{i}. {GREETINGS[i // len(ASKED)]}{ASKED[i % len(ASKED)].format('grass')}"
        answer = client.chat(question, conversation_id=f"c{i}")
        client.feedback(answer.id, thumb="down", correction=says("grass", "green"))


@pytest.mark.timeout(2400)  # jobs step back for the engine, and so for all other tests
def test_two_nights_beside_a_server(served: Pawl, tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    complain(served, 0, 30)
    with nightly(state_dir, tmp_path) as night:
        said = night.communicate()[1]
    assert night.returncode == 0, said
    lines = said.splitlines()
    assert {"snapshot", "plan", "replay", "train", "score challenger", "report"} <= set(
        worked(lines)
    ), said
    [named] = [line for line in lines if "train.n_epochs" in line]
    assert "the server has None" in named
    [first] = served.runs()
    assert first.status == "finished"
    figures = first.detail["steps"]
    for step in ("train", "score champion", "score challenger"):
        assert figures[step]["peak_memory_bytes"] > 50_000_000
    replay_file = state_dir / "runs" / first.run_id / "replay.json"
    assert read_json(replay_file)["n_generated"] > 8  # by the server's engine
    assert "replay" in (state_dir / "logs" / "nightly.log").read_text()

    complain(served, 30, 1)
    with nightly(state_dir, tmp_path) as night:

        def again() -> set[Path]:
            assert night.poll() is None, night.communicate()[1]
            return set((state_dir / "runs").glob("*/replay.json")) - {replay_file}

        [second] = eventually(again, "the second night's replay", 600)
        night.send_signal(signal.SIGINT)
        said = night.communicate()[1]
    assert night.returncode == 130, said
    assert read_json(second)["n_generated"] <= 1  # the rest was kept
