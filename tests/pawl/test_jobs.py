"""One runner for child jobs: events, errors that say why, nothing that outlives its parent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

import evals
from pawl.errors import PawlError
from pawl.jobs import run_job


def run(what: str, folder: Path, **options: Any) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    run_job(
        "tests.pawl.child_job", [what], name="work", log_path=folder / "logs" / "work.log",
        on_event=events.append, **options,
    )  # fmt: skip
    return events


def test_events_come_and_the_rest_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    begun, done, memory = run("go", tmp_path)
    assert begun == {"stage": "begun", "fraction": 0.0}
    assert done["parent"] == os.getpid()
    assert done["OMP_NUM_THREADS"] is None
    assert 5_000_000 < memory["peak_memory_bytes"] < 2_000_000_000
    assert (tmp_path / "logs" / "work.log").read_text() == "a library prints this\n"


def test_beside_an_engine_a_job_steps_back(tmp_path: Path) -> None:
    done = run("go", tmp_path, beside_engine=True)[1]
    assert done["niceness"] == min(19, os.nice(0) + 10)
    assert (done["OMP_NUM_THREADS"], done["GOMP_SPINCOUNT"]) == ("2", "10000")
    assert run("go", tmp_path, beside_engine=True, n_threads=1)[1]["OMP_NUM_THREADS"] == "1"


def test_a_childs_own_error_keeps_its_code(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="the store is in use") as caught:
        run("refuse", tmp_path)
    assert (caught.value.code, caught.value.retryable) == ("locked", True)
    assert str(tmp_path / "logs" / "work.log") in str(caught.value)


def test_an_unforeseen_error_gives_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="exit code 1") as caught:
        run("break", tmp_path)
    assert "ValueError: nobody expected this" in str(caught.value)
    assert "before the end" in str(caught.value)
    assert caught.value.code == "work_died"


def test_a_killed_child_is_said(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="signal 9") as caught:
        run("die", tmp_path)
    assert caught.value.retryable


def test_a_child_ends_with_its_job(tmp_path: Path) -> None:
    def interrupt(event: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job("tests.pawl.child_job", ["wait"], name="work", log_path=tmp_path / "work.log",
                on_event=interrupt)  # fmt: skip
    children = [" ".join(one.cmdline()) for one in psutil.Process().children()]
    assert not [one for one in children if "child_job" in one]


def test_a_hostile_folder_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("evals", "pawl", "feedback"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('the wrong package')")
    monkeypatch.chdir(tmp_path)
    assert run("go", tmp_path)[1]["evals"] == evals.__file__


def test_a_user_without_a_name_and_a_home_gets_both() -> None:
    user = ["env", "-u", "HOME", "unshare", "--user", "--map-user=54321", "--map-group=54321"]
    if subprocess.run([*user, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("NOT TESTED as a user without a name: no user namespace could be made")
    code = (
        "import getpass, json, os, pathlib; from pawl.jobs import user_environment as found\n"
        "first = found(); os.environ |= first\n"
        "folder = pathlib.Path.home()\n"
        "print(json.dumps([getpass.getuser(), str(folder), folder.stat().st_mode & 0o777,"
        " found()]))"
    )
    done = subprocess.run([*user, sys.executable, "-c", code], capture_output=True, check=True)
    name, folder, mode, then = json.loads(done.stdout)
    assert (name, mode, then) == ("user-54321", 0o700, {})
    assert not Path(folder).exists()  # it went with the process
