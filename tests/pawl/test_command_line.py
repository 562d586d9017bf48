"""The command line answers fast, imports nothing heavy, and says errors in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from click.testing import CliRunner

from feedback.store import Store
from pawl.cli import COMMANDS, cli
from pawl.files import hold_lock, write_json
from tests.feedback.examples import answered

HEAVY = ("torch", "trl", "lm_eval", "gradio", "transformers", "vllm", "duckdb", "datasets")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pawl.cli", *arguments],
        capture_output=True, text=True, cwd=cwd, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "statement", ["import pawl.cli", "import serve", "import feedback", "import evals",
                  "import refine", "import serve.api.completions", "import pawl.settings"]
)  # fmt: skip
def test_imports_stay_light(statement: str, tmp_path: Path) -> None:
    code = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_help_is_instant(tmp_path: Path) -> None:
    """The bar is 0.5 s on an idle machine; processor seconds are what noise leaves alone."""
    before = os.times()
    started = time.monotonic()
    answer = run("--help", cwd=tmp_path)
    after = os.times()
    used = after.children_user + after.children_system - before.children_user
    used -= before.children_system
    assert answer.returncode == 0
    assert used < 0.5, f"{used:.2f} s of processor, {time.monotonic() - started:.2f} s in all"
    for name in COMMANDS:
        assert name in answer.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output


def test_errors_print_as_one_line(tmp_path: Path) -> None:
    answer = run("--set", "no.such.key=1", "status", cwd=tmp_path)
    assert answer.returncode == 1
    assert answer.stderr.startswith("pawl: settings: ")
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_salvage_opens_a_store_that_is_refused(tmp_path: Path) -> None:
    path, copy = tmp_path / "state" / "pawl.duckdb", tmp_path / "copy"
    with Store.open(path) as store:
        answered(store)
        shutil.copytree(path.parent, copy)
    (copy / "pawl.duckdb.wal").unlink()
    refused = run("--state-dir", str(copy), "--set", "model=base", "doctor", cwd=tmp_path)
    assert "pawl salvage" in refused.stdout
    done = run("--state-dir", str(copy), "salvage", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "opens again" in done.stdout
    again = run("--state-dir", str(copy), "salvage", cwd=tmp_path)
    assert "is whole" in again.stdout


def test_wrong_command_is_a_usage_error(tmp_path: Path) -> None:
    answer = run("promot", cwd=tmp_path)
    assert answer.returncode == 2
    assert "No such command" in answer.stderr


def values_of(output: str) -> set[str]:
    """The lines of ``pawl settings`` without origin and meaning."""
    return {line.partition("  # ")[0] for line in output.splitlines()}


@pytest.mark.parametrize(
    "line",
    [
        "--state-dir {0}/a --set gate.alpha=0.1 --set port=1 settings",
        "settings --state-dir {0}/a --set gate.alpha=0.1 --set port=1",
        "--set gate.alpha=0.1 --state-dir {0}/b settings --set port=1 --state-dir {0}/a",
        "--config {0}/pawl.toml settings --state-dir {0}/a",
        "settings --config {0}/pawl.toml --state-dir {0}/a",
    ],
)
def test_options_stand_before_or_after_the_verb(tmp_path: Path, line: str) -> None:
    (tmp_path / "pawl.toml").write_text("port = 1\n[gate]\nalpha = 0.1\n")
    said = CliRunner().invoke(cli, line.format(tmp_path).split())
    assert said.exit_code == 0, said.output
    for expected in ("gate.alpha = 0.1", "port = 1", f"state_dir = '{tmp_path / 'a'}'"):
        assert expected in values_of(said.output)


def test_what_stands_last_wins() -> None:
    line = "--set port=1 --log-level debug settings --set port=2 --log-level error --log-json"
    values = values_of(CliRunner().invoke(cli, line.split()).output)
    assert {"port = 2", "log.level = 'error'", "log.format = 'json'"} <= values


def test_rows_are_not_ranked_while_somebody_is_erased(tmp_path: Path) -> None:
    """Their rows would come back into the report."""
    write_json(tmp_path / "runs" / "run-1" / "run.json", {})
    line = ["--state-dir", str(tmp_path), "--set", f"model={tmp_path / 'none'}", "why", "run-1"]
    with ThreadPoolExecutor(1) as thread:
        with hold_lock(tmp_path / "erasing.lock", "", ""):
            ranked = thread.submit(CliRunner().invoke, cli, line)
            assert not wait([ranked], timeout=0.5).done
        assert ranked.result(60).exit_code != 0  # this model is nowhere


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_takes_the_common_options(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"]).output
    for option in ("--state-dir", "--config", "--set KEY=VALUE", "--log-level"):
        assert option in shown
