"""requirements/install.sh on a machine where an earlier installation ended in its midst."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.conftest import REPOSITORY


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def test_an_environment_without_pip_is_made_anew(tmp_path: Path) -> None:
    """Debian's Python without its venv module leaves one, and says what to install; so does a kill
    while it is made."""
    shutil.copytree(REPOSITORY / "requirements", tmp_path / "requirements")
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    program(tmp_path / ".venv/bin/python", "echo 'No module named pip' >&2; exit 1")
    # Makes no environment: what was asked of it ends the installation.
    program(tmp_path / "bin/python3.11", '[ "$1" = -c ] && exit 0; echo "asked: $*"; exit 7')
    place = {**os.environ, "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(
        [tmp_path / "requirements/install.sh", "cpu"], env=place, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (7, "asked: -m venv .venv\n"), done.stderr
