"""docs/api.md and docs/journeys.md are true: routes, error codes and functions are those there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from pawl.settings import Settings
from serve.api.app import build_app
from serve.api.errors import STATUS_BY_CODE
from tests.adapters_for_tests import light_base
from tests.conftest import REPOSITORY

API = (REPOSITORY / "docs" / "api.md").read_text()
JOURNEYS = (REPOSITORY / "docs" / "journeys.md").read_text()


def test_every_route_is_listed(tmp_path: Path) -> None:
    base = light_base(tmp_path / "base")
    app = build_app(Settings(state_dir=tmp_path / "state"), None, base=base)
    try:
        paths = app.openapi()["paths"]
    finally:
        app.close()
    described = {f"{method.upper()} {path}" for path, one in paths.items() for method in one}
    assert set(re.findall(r"`((?:GET|POST) [^`]+)`", API)) == described


def test_every_error_code_has_its_status() -> None:
    listed = {
        code: int(status)
        for status, codes in re.findall(r"^\| (\d{3}) \| (.+) \|$", API, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", codes)
    }
    rest = {code: status for code, status in listed.items() if status in (400, 503)}
    assert {code: one for code, one in listed.items() if code not in rest} == STATUS_BY_CODE
    source = "".join(
        path.read_text() for room in ("pawl", "feedback", "serve")
        for path in (REPOSITORY / room).rglob("*.py")
    )  # fmt: skip
    assert [code for code in rest if f'"{code}"' not in source] == []


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`([\w/]+\.py:[\w.]+)`", JOURNEYS))))
def test_every_function_of_a_journey_exists(place: str) -> None:
    file, _, name = place.partition(":")
    nodes = ast.parse((REPOSITORY / file).read_text()).body
    for part in name.split("."):
        (found,) = (node for node in nodes if getattr(node, "name", None) == part)
        assert isinstance(found, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        nodes = found.body
