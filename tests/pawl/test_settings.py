"""Settings come from flags, environment and file, in that order, and say all errors at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pawl.errors import PawlError
from pawl.settings import Settings, load_settings, origins, shared_settings


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_defaults_serve_the_embedded_model_on_loopback() -> None:
    settings = load_settings()
    assert settings.model == "smollm2-135m"
    assert settings.host == "127.0.0.1"
    assert settings.state_dir.is_absolute()


def test_flags_win_over_environment_over_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pawl.toml").write_text(
        "port = 1\n[engine]\nmax_loras = 5\nmax_lora_rank = 64\n", encoding="utf-8"
    )
    monkeypatch.setenv("PAWL_PORT", "2")
    monkeypatch.setenv("PAWL_ENGINE__MAX_LORAS", "6")
    settings = load_settings({"port": 3})
    assert (settings.port, settings.engine.max_loras, settings.engine.max_lora_rank) == (3, 6, 64)
    assert load_settings().port == 2


def test_where_each_value_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pawl.toml").write_text(
        "port = 1\nhost = '::1'\n[engine]\nmax_loras = 5\nmax_lora_rank = 64\n", encoding="utf-8"
    )
    monkeypatch.setenv("PAWL_ENGINE__MAX_LORAS", "6")
    monkeypatch.setenv("PAWL_GATE", '{"alpha": 0.1}')
    assert origins({"port": 3, "log": {"level": None}}) == {
        "port": "the command line", "host": "pawl.toml", "engine.max_lora_rank": "pawl.toml",
        "engine.max_loras": "PAWL_ENGINE__MAX_LORAS", "gate.alpha": "PAWL_GATE__ALPHA",
    }  # fmt: skip


def test_every_setting_says_what_it_means() -> None:
    for name, about in Settings.model_fields.items():
        parts = getattr(about.annotation, "model_fields", None) or {name: about}
        assert [key for key, part in parts.items() if not part.description] == [], name


def test_unset_flags_change_nothing() -> None:
    assert load_settings({"port": None, "engine": {"max_loras": None}}).port == 8000


def test_all_errors_come_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pawl.toml").write_text(
        "prot = 1\n[engine]\nmax_loras = 1\n[gate]\nalpa = 2\n", encoding="utf-8"
    )
    monkeypatch.setenv("PAWL_MODLE", "x")
    with pytest.raises(PawlError) as caught:
        load_settings({"port": "many"})
    for part in ("prot: no such", "engine.max_loras", "gate.alpa", "PAWL_MODLE", "port = 'many'"):
        assert part in str(caught.value)


def test_broken_file_is_named() -> None:
    Path("pawl.toml").write_text("port = ", encoding="utf-8")
    with pytest.raises(PawlError, match=r"pawl\.toml is not TOML"):
        load_settings()


def test_a_file_asked_for_must_exist() -> None:
    with pytest.raises(PawlError, match=r"other\.toml is not there"):
        load_settings(config_path=Path("other.toml"))


def test_a_folder_that_may_not_be_entered_has_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an administrator runs a command as the server's user from his own home."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o000)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(PermissionError):
            Path("pawl.toml").exists()
        assert load_settings({"state_dir": "/srv/pawl"}).state_dir == Path("/srv/pawl")
        with pytest.raises(PawlError, match=r"pawl\.toml can't be read: Permission denied"):
            load_settings(config_path=Path("pawl.toml"))
    finally:
        os.seteuid(user)
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("text", ["ops, admins", " ops ,,admins, ", '["ops", "admins"]'])
def test_blanks_around_commas_are_in_no_name(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_OIDC__ADMINISTRATORS", text)
    settings = load_settings({"curation": {"front_ends": "web, app"}})
    assert settings.oidc.administrators == ("ops", "admins")
    assert settings.curation.front_ends == ("web", "app")


@pytest.mark.parametrize("hours", ["22:00-06:00, 07:00-07:00", [" 07:00-07:00"]])
def test_quiet_hours_that_end_as_they_begin_are_refused(hours: object) -> None:
    with pytest.raises(PawlError, match=r"schedule\.quiet_hours"):
        load_settings({"schedule": {"quiet_hours": hours}})


@pytest.mark.parametrize(
    ("name", "value"), [("PAWL_LOG", "debug"), ("PAWL_ENGINE", ""), ("PAWL_JUDGE", "open-sesame")]
)
def test_a_variable_that_names_a_group_is_said(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("PAWL_NOTHING", "1")
    with pytest.raises(PawlError, match=f"{name}: .*{name}__NAME; PAWL_NOTHING") as caught:
        load_settings()
    assert "sesame" not in str(caught.value)
    monkeypatch.delenv("PAWL_NOTHING")
    monkeypatch.setenv(name, "{}")
    assert load_settings() == load_settings(only_flags=True)


def test_a_home_is_found_without_a_server_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    gate = {"suite": "~/suite", "data_dir": "~/hub"}
    folders = {"state_dir": "~/state", "gate": gate, "exchange": {"dir": "~/rows"}}
    settings = load_settings(folders)
    assert settings.gate.suite == "/home/ann/suite"
    assert settings.gate.data_dir == Path("/home/ann/hub")
    assert settings.state_dir == Path("/home/ann/state")
    assert settings.exchange_dir == Path("/home/ann/rows")
    assert load_settings({"gate": {"suite": "everyday"}}).gate.suite == "everyday"


@pytest.mark.parametrize(
    ("key", "settings"),
    [
        ("state_dir", {"state_dir": "~nobody-here/x"}),
        ("model", {"model": "~nobody-here/x"}),
        ("gate.suite", {"gate": {"suite": "~nobody-here/x"}}),
        ("gate.data_dir", {"gate": {"data_dir": "~nobody-here/x"}}),
        ("exchange.dir", {"exchange": {"dir": "~nobody-here/x"}}),
    ],
)
def test_the_home_of_nobody_is_said(key: str, settings: dict[str, Any]) -> None:
    with pytest.raises(PawlError, match=f"{key} = .*no home folder of '~nobody-here'"):
        load_settings(settings)


def test_a_webhooks_secret_is_needed_only_by_what_sends() -> None:
    """It stands where only the service reads it; commands typed by others work without."""
    settings = load_settings({"webhook": {"url": "https://a.example/hook"}})
    with pytest.raises(PawlError, match=r"webhook\.url needs webhook\.secret: nobody could tell"):
        settings.webhook.check()
    secret = "whsec_" + "YWJj" * 8
    load_settings({"webhook": {"url": "https://a.example/hook", "secret": secret}}).webhook.check()


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        load_settings().port = 1  # type: ignore[misc]


@pytest.mark.parametrize("key", ["", " ", "two words", "schl\u00fcssel", "line\n"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_said_back(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("PAWL_API_KEY", key)
    with pytest.raises(PawlError, match="api_key: a key is one or more printable") as caught:
        load_settings()
    assert "= " not in str(caught.value)


def test_a_secret_is_in_no_message() -> None:
    Path("pawl.toml").write_text("api_key = 12345678\n[train]\nlora_rank = 32\n", encoding="utf-8")
    with pytest.raises(PawlError, match="api_key") as caught:
        load_settings()
    assert "12345678" not in str(caught.value)
    Path("pawl.toml").write_text(
        'api_key = "open-sesame"\n[train]\nlora_rank = 32\n', encoding="utf-8"
    )
    with pytest.raises(PawlError, match="lora_rank") as caught:
        load_settings()
    assert "sesame" not in str(caught.value)
    assert load_settings({"train": {"lora_rank": 8}}).api_key is not None


@pytest.mark.parametrize(
    "group",
    [
        {"oidc": {"issuer": "https://id.example", "client_secret": "open-sesame"}},
        {"oidc": {"client_id": "pawl", "client_secret": ["open-sesame"]}},
        {"webhook": {"url": "https://sesame@a.example", "secret": "open-sesame"}},
        {"judge": {"url": "https://a.example/v1", "api_key": "open-sesame"}},
        {"tracing": {"endpoint": "ftp://ann:open-sesame@a.example"}},
    ],
)
def test_a_group_with_a_secret_is_in_no_message(group: dict[str, Any]) -> None:
    [name] = group
    with pytest.raises(PawlError, match=name) as caught:
        load_settings(group)
    assert "sesame" not in str(caught.value)


def test_an_adapter_that_the_engine_would_refuse_is_not_trained() -> None:
    with pytest.raises(PawlError, match=r"train\.lora_rank = 32 is above engine\.max_lora_rank"):
        load_settings({"train": {"lora_rank": 32}})
    assert load_settings({"train": {"lora_rank": 32}, "engine": {"max_lora_rank": 32}})
    with pytest.raises(PawlError, match=r"engine\.max_lora_rank = 513"):
        load_settings({"engine": {"max_lora_rank": 513}})


def test_what_a_night_takes_over_holds_no_secret_and_no_relative_path() -> None:
    Path("hub").mkdir()
    judge = {"url": "https://judge.example/v1", "model": "large", "api_key": "open-sesame"}
    settings = {"api_key": "open-sesame", "gate": {"data_dir": "hub"}, "judge": judge}
    shared = shared_settings(load_settings(settings))
    assert "sesame" not in str(shared)
    assert (shared["judge"]["model"], "api_key" in shared["judge"]) == ("large", False)
    assert shared["judge"]["has_api_key"] is True
    assert shared_settings(load_settings())["judge"]["has_api_key"] is False
    assert shared["gate"]["data_dir"] == str(Path("hub").absolute())
    assert shared["gate"]["suite"] == "auto"


def test_flags_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("pawl.toml").write_text("port = 1\n[gate]\nmargin = 0.1\n", encoding="utf-8")
    monkeypatch.setenv("PAWL_GATE__ALPHA", "0.2")
    settings = load_settings({"gate": {"margin": None}}, only_flags=True)
    assert (settings.port, settings.gate.margin, settings.gate.alpha) == (8000, None, 0.05)
