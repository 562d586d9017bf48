"""Settings come from flags, environment and file, in that order, and say all errors at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from pawl.errors import PawlError
from pawl.settings import load_settings


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_serve_the_embedded_model_on_loopback() -> None:
    settings = load_settings()
    assert settings.model == "pawl-mini"
    assert settings.host == "127.0.0.1"
    assert settings.state_dir.is_absolute()


def test_flags_win_over_environment_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pawl.toml").write_text("port = 1\n[engine]\nmax_loras = 5\nmax_lora_rank = 8\n")
    monkeypatch.setenv("PAWL_PORT", "2")
    monkeypatch.setenv("PAWL_ENGINE__MAX_LORAS", "6")
    settings = load_settings({"port": 3})
    assert (settings.port, settings.engine.max_loras, settings.engine.max_lora_rank) == (3, 6, 8)
    assert load_settings().port == 2


def test_unset_flags_change_nothing() -> None:
    assert load_settings({"port": None, "engine": {"max_loras": None}}).port == 8000


def test_all_errors_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pawl.toml").write_text("prot = 1\n[engine]\nmax_loras = 1\n[gate]\nalpa = 2\n")
    monkeypatch.setenv("PAWL_MODLE", "x")
    with pytest.raises(PawlError) as caught:
        load_settings({"port": "many"})
    for part in ("prot: no such", "engine.max_loras", "gate.alpa", "PAWL_MODLE", "port = 'many'"):
        assert part in str(caught.value)


def test_broken_file_is_named() -> None:
    Path("pawl.toml").write_text("port = ")
    with pytest.raises(PawlError, match=r"pawl\.toml is not TOML"):
        load_settings()


def test_a_file_asked_for_must_exist() -> None:
    with pytest.raises(PawlError, match=r"other\.toml is not there"):
        load_settings(config_path=Path("other.toml"))


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1  # type: ignore[misc]
