"""What ``pawl doctor`` says about the store that lies there, and about a base."""

from __future__ import annotations

import secrets
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from feedback.store import Store
from pawl.cli import cli, doctor
from pawl.cli.doctor import Finding, examine
from pawl.settings import Settings, load_settings
from tests.adapters_for_tests import light_base
from tests.feedback.examples import make_completion, said, wait_all
from tests.tiny_bases import KINDS


def _settings(tmp_path: Path) -> Settings:
    light_base(tmp_path / "base")
    return load_settings(
        flags={"state_dir": str(tmp_path / "state"), "model": str(tmp_path / "base")}
    )


def _said_of_store(settings: Settings) -> Finding | None:
    return next((one for one in examine(settings) if one.name == "store"), None)


def _filled(settings: Settings, n_answers: int) -> None:
    one = make_completion()
    with Store.open(settings.database_path) as store:
        wait_all(
            store.append_completion(
                replace(one, completion_id=f"chatcmpl-x{n}", completion=secrets.token_hex(4_000))
            )
            for n in range(n_answers)
        )
        said(store, "chatcmpl-x0", thumb="up")


def test_no_store_is_made(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    assert _said_of_store(settings) is None
    assert not settings.database_path.exists()


def test_a_library_that_the_engine_lacks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(tmp_path)
    monkeypatch.setattr(doctor, "NUMA", "libabsent.so.1")
    [found] = [one for one in examine(settings) if one.name == "libnuma"]
    assert (found.state, found.do) == ("missing", "apt-get install libnuma1")
    assert "libabsent.so.1" in found.found


def test_a_whole_store_is_read_and_let_go(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    _filled(settings, 3)
    for _ in range(2):
        found = _said_of_store(settings)
        assert found is not None
        assert (found.state, found.found) == ("ok", "whole: 3 answers, 1 pieces of feedback")


def test_a_store_in_use_is_left_alone(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    with Store.open(settings.database_path):
        found = _said_of_store(settings)
    assert found is not None
    assert found.state == "limited"
    assert "in use" in found.found


@pytest.mark.slow
def test_a_damaged_block_is_found(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    _filled(settings, 300)
    path = settings.database_path
    raw = bytearray(path.read_bytes())
    place = 12_288 + (len(raw) - 12_288) // 262_144 // 2 * 262_144 + 100_000  # in a middle block
    raw[place : place + 64] = bytes(byte ^ 255 for byte in raw[place : place + 64])
    path.write_bytes(raw)
    found = _said_of_store(settings)
    assert found is not None
    assert found.state == "missing"
    assert "checksum" in found.found


@pytest.mark.parametrize(
    ("kind", "name", "state"),
    [
        ("missing_shard", "weights", "missing"),  # no server could start with it
        ("thought", "thoughts", "limited"),  # a night could not train it
        ("no_system", "roles", "limited"),
        ("other_end", "end of turn", "ok"),
        ("fused", "layers", "ok"),
    ],
)
def test_a_base_is_checked_line_by_line(tmp_path: Path, kind: str, name: str, state: str) -> None:
    folder = KINDS[kind](tmp_path / kind)
    settings = load_settings({"state_dir": str(tmp_path / "state"), "model": str(folder)})
    found = {each.name.strip(): each for each in examine(settings)}
    assert found["model"].state == "ok"
    assert found[name].state == state
    assert "\n" not in found[name].found


def test_doctor_takes_the_model_to_check(tmp_path: Path) -> None:
    folder = KINDS["cut_off"](tmp_path / "cut_off")
    arguments = ["--state-dir", str(tmp_path / "state"), "doctor", "--model", str(folder)]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    (line,) = [line for line in result.output.splitlines() if "cut off" in line]
    assert line.startswith("MISSING")
