"""The locks, the extras and the README agree with each other."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from refine.weights import BITSANDBYTES
from tests.conftest import REPOSITORY

UNLOCKED = {"ray", "qlora"}  # what one machine does not need, and has a file of its own
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


def lock(name: str) -> dict[str, Version]:
    pins = {}
    for line in (REPOSITORY / "requirements" / f"{name}.txt").read_text().splitlines():
        text = line.split("#")[0].strip()
        if text:
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^ ;]+)", text)
            assert match, f"{name}.txt: {line!r} is no plain pin"
            pins[canonicalize_name(match[1])] = Version(match[2])
    return pins


@pytest.mark.parametrize(("name", "other"), [("cpu", "gpu"), ("gpu", "cpu")])
def test_lock_satisfies_every_extra(name: str, other: str) -> None:
    pins = lock(name)
    wanted = list(PROJECT["dependencies"])
    for extra, requirements in PROJECT["optional-dependencies"].items():
        wanted += requirements if extra not in {other, *UNLOCKED} else []
    for text in wanted:
        requirement = Requirement(text)
        pin = pins.get(canonicalize_name(requirement.name))
        assert pin is not None, f"{text} is not in {name}.txt"
        assert requirement.specifier.contains(pin, prereleases=True), f"{text}: locked at {pin}"


@pytest.mark.parametrize("extra", sorted(UNLOCKED))
def test_what_no_lock_has_is_pinned_by_itself(extra: str) -> None:
    pins = lock(extra)
    for requirement in map(Requirement, PROJECT["optional-dependencies"][extra]):
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_the_command_for_bitsandbytes_is_the_extra() -> None:
    assert PROJECT["optional-dependencies"]["qlora"] == [BITSANDBYTES]


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_lock_leaves_out_what_breaks_torch(name: str) -> None:
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(lock(name))


def test_every_direct_dependency_has_its_reason() -> None:
    reasons = (REPOSITORY / "docs" / "dependencies.md").read_text()
    for group in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]:
        for text in group:
            name = Requirement(text).name
            assert re.search(rf"\b{re.escape(name)}\b", reasons), f"{name} has no line"
