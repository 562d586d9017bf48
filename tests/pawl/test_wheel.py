"""The wheel, installed into an environment of its own and run from a folder with hostile packages.

Nothing is downloaded: what Pawl depends on is read from the environment that runs the tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pawl.client import Pawl
from pawl.files import read_json
from pawl.server import api_key_of
from pawl.settings import Settings
from tests.conftest import REPOSITORY
from tests.refine.tiny import ASKED, says, shared_world_model
from tests.serve.live import eventually

DEAD = "http://127.0.0.1:9"  # nothing listens on the discard port
ROOMS = ("pawl", "feedback", "serve", "evals", "refine")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git tracks, so that nothing is left in the repository."""
    folder = tmp_path_factory.mktemp("build")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (REPOSITORY / name).is_file() and name.split("/")[0] not in ("tests", "docs"):
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((REPOSITORY / name).read_bytes())
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation",
         "--quiet", "--wheel-dir", str(folder)],
        cwd=folder / "source", check=True,
    )  # fmt: skip
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it; its ``bin``."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install",
         "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True,
    )  # fmt: skip
    [site] = folder.glob("lib/python*/site-packages")
    # A folder named in a .pth file is searched last, and .pth files in it are not read: the
    # repository that is installed there for the tests stays out.
    (site / "tests-environment.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A current folder with packages named as ours; who imports one of them ends."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in ROOMS:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('the wrong package')\n")
    return folder


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_world_model(tmp_path_factory, n_heads=2)


def environment() -> dict[str, str]:
    """Without what leads to the repository."""
    ours = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return ours | {"HF_HUB_OFFLINE": "1"}


def pawl(installed: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(installed / "pawl"), *arguments], cwd=cwd, env=environment(), text=True,
        capture_output=True, timeout=1000, check=False,
    )  # fmt: skip


def write_feedback(path: Path) -> Path:
    """Corrections of one fact in many words."""
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"{i}. {ASKED[i % len(ASKED)].format('grass')}"},
                {"role": "assistant", "content": says("grass", "green")},
            ]
        }
        for i in range(30)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_wheel_holds_every_file_that_is_not_python(wheel: Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", *ROOMS], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.split()
    assert {name for name in tracked if (REPOSITORY / name).exists()} <= packed
    data = {name for name in packed if not name.endswith(".py") and ".dist-info/" not in name}
    assert {"refine/replay_prompts.jsonl", "evals/suites/everyday/suite.yaml"} <= data
    assert not [name for name in packed if name.startswith(("tests/", "benchmarks/"))]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["settings"], ["doctor", "--help"]])
def test_commands_answer_from_a_hostile_folder(
    installed: Path, hostile: Path, arguments: list[str]
) -> None:
    done = pawl(installed, hostile, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


@pytest.mark.slow
def test_doctor_looks_at_the_installation(
    installed: Path, hostile: Path, model_dir: Path, tmp_path: Path
) -> None:
    done = pawl(
        installed, hostile, "doctor", "--state-dir", str(tmp_path), "--model", str(model_dir)
    )
    assert "wrong package" not in done.stdout + done.stderr
    lines = {line.split()[1]: line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert lines["model"] == "ok"


@pytest.mark.slow
def test_a_night_and_an_evaluation_from_a_hostile_folder(
    installed: Path, hostile: Path, model_dir: Path, tmp_path: Path
) -> None:
    """Their children too are those of the wheel."""
    here = ["--state-dir", str(tmp_path / "state"), "--set", f"model={model_dir}",
            "--set", "split_salt=pawl"]  # fmt: skip
    done = pawl(installed, hostile, "import", str(write_feedback(tmp_path / "rows.jsonl")), *here)
    assert done.returncode == 0, done.stderr
    short = ["gate.suite=everyday", "gate.n_items_per_benchmark=20", "train.n_epochs=1",
             "train.n_replay_rows=4"]  # fmt: skip
    done = pawl(installed, hostile, "nightly", *here, *(w for one in short for w in ("--set", one)))
    assert done.returncode == 0, done.stderr
    for step in ("train ", "score challenger ", "decide ", "report "):
        assert [line for line in done.stderr.splitlines() if line.startswith(step)], done.stderr
    done = pawl(
        installed, hostile, "eval", str(model_dir), "--suite", "everyday", "--limit", "20",
        "--state-dir", str(tmp_path / "state"), "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["benchmarks"]) >= 4


@pytest.fixture
def served(
    installed: Path, hostile: Path, model_dir: Path, tmp_path: Path, nobody: list[str]
) -> Iterator[Pawl]:
    """``pawl up`` with the real engine, typed in the hostile folder by a user without a name or a
    home, with a temporary path longer than a socket's may be (107 bytes), dead proxies and a
    terminal of another encoding."""
    state_dir, log_path = tmp_path / "state", tmp_path / "up.log"
    long = tmp_path / ("t" * 100) / ("u" * 100)
    long.mkdir(parents=True)
    command = ["env", "-u", "HOME", *nobody, str(installed / "pawl"), "up", "--model",
               str(model_dir), "--port", "0", "--state-dir", str(state_dir)]  # fmt: skip
    surroundings = {"TMPDIR": str(long), "HTTP_PROXY": DEAD, "http_proxy": DEAD, "NO_PROXY": "",
                    "PYTHONUTF8": "0", "PYTHONIOENCODING": "gbk"}  # fmt: skip
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            command, cwd=hostile, env=environment() | surroundings, stdout=log, stderr=log
        ) as child,  # fmt: skip
    ):
        try:
            found = state_dir / "server.json"
            eventually(lambda: found.exists() or child.poll() is not None, "the server", 120)
            assert child.poll() is None, log_path.read_text()
            client = Pawl(read_json(found)["url"], api_key_of(Settings(state_dir=state_dir)))
            eventually(lambda: client.status().engine.state == "ready", "the engine", 300)
            yield client
        finally:
            child.send_signal(signal.SIGINT)
            child.wait(120)


@pytest.mark.engine
def test_a_server_from_a_hostile_folder(served: Pawl) -> None:
    answer = served.chat(ASKED[0].format("grass"), temperature=0)
    assert answer.text == says("grass", "red")
    assert answer.model == "base"
    assert served.chat("Grüße 漢字 🙂 ไทย", max_tokens=4).model == "base"
