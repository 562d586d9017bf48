"""Licences of the installed packages against the list in the repository."""

from __future__ import annotations

import runpy
import subprocess
import sys
from importlib.metadata import Distribution
from os import PathLike
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

SCRIPT = REPOSITORY / "requirements/licences.py"
ours = runpy.run_path(str(SCRIPT))
RULES = {
    "allowed": ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"],
    "named": {"silent": "MIT"},
    "exceptions": {"lesser": "used as it comes"},
}


class Package(Distribution):
    def __init__(self, metadata: str) -> None:
        self._text = metadata

    def read_text(self, filename: str) -> str | None:
        return self._text if filename == "METADATA" else None

    def locate_file(self, path: str | PathLike[str]) -> Any:
        return Path(path)


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT AND 0BSD\nLicense: other\n", "MIT AND 0BSD"),
        ("License: Apache 2.0\n", "Apache-2.0"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT"),
        ("License: BSD\nClassifier: License :: OSI Approved :: BSD License\n", "BSD"),
        ("License: GPL-3.0\nClassifier: License :: OSI Approved :: MIT License\n", "GPL-3.0"),
        ("License: Copyright 2020 somebody,\n        all of it.\n", ""),
        ("Classifier: License :: OSI Approved\n", ""),
    ],
)
def test_a_licence_is_read(metadata: str, licence: str) -> None:
    assert ours["licence_of"](Package(f"Name: one\nVersion: 1\n{metadata}")) == licence


def test_what_is_refused() -> None:
    right = {"a": "MIT", "b": "(MIT OR Apache-2.0) AND Apache-2.0 WITH LLVM-exception",
             "silent": "", "lesser": "LGPL-2.1-only"}  # fmt: skip
    assert ours["refusals"](right, RULES) == []
    wrong = {"c": "GPL-3.0", "d": "MIT AND GPL-3.0", "e": "", "lesser": "MIT", "silent": "MIT"}
    found = [line.split(":")[0] for line in ours["refusals"](wrong, RULES)]
    assert found == ["c", "d", "e", "lesser", "silent"]


def test_the_installed_packages_are_allowed() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout
