"""``pawl import`` and ``pawl export``: any path of the user's, through the exchange folder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters_for_tests import light_base

pytestmark = pytest.mark.slow

ROWS = "".join(
    json.dumps({"prompt": f"What is {n} and {n}?", "completion": str(2 * n)}) + "\n"
    for n in range(9)
).encode()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    light_base(tmp_path / "model")
    return tmp_path


def pawl(place: Path, *line: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "pawl.cli", "--state-dir", str(place / "state")]
    command += ["--set", f"model={place / 'model'}", *line]
    done = subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)
    assert b"Traceback" not in done.stderr
    exchange = place / "state" / "exchange"
    assert not exchange.exists() or list(exchange.iterdir()) == []  # nothing is left there
    return done


def test_a_pipe_goes_in_and_a_file_comes_out(place: Path) -> None:
    done = pawl(place, "import", "/dev/stdin", given=ROWS)
    assert done.returncode == 0, done.stderr
    assert b"n_added: 9" in done.stdout
    target = place / "out put.jsonl"
    done = pawl(place, "export", str(target), "--format", "sft")
    assert done.returncode == 0, done.stderr
    assert f"path: {target}" in done.stdout.decode()
    assert len(target.read_text("utf-8").splitlines()) > 0
    before = target.read_bytes()
    for line in (target, place / "link", place / "absent" / "x.jsonl"):
        if line.name == "link":
            line.symlink_to(place / "elsewhere")
        done = pawl(place, "export", str(line), "--format", "sft")
        assert done.returncode == 1
    assert target.read_bytes() == before
    assert not (place / "elsewhere").exists()


def test_what_is_too_large_is_refused_while_it_is_read(place: Path) -> None:
    """A pipe without an end, too."""
    for source in ("/dev/stdin", "/dev/zero"):
        done = pawl(place, "--set", "exchange.max_file_bytes=100", "import", source, given=ROWS)
        assert done.returncode == 1
        assert b"too large" in done.stderr


def test_another_exchange_folder(place: Path) -> None:
    folder = place / "shared with others"
    line = ["--set", f"exchange.dir={folder}", "import", "/dev/stdin"]
    table = ["--map", "prompt=question, completion=answer", "--dry-run"]
    done = pawl(place, *line, *table, given=b"question;answer\nWhy?;So.\n")
    assert done.returncode == 0, done.stderr
    assert b"n_rows: 1\nn_added: 0" in done.stdout
    assert list(folder.iterdir()) == []
