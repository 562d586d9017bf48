"""pawl keys and pawl audit, without a server and beside one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from pawl.cli import cli
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.settings import Settings
from tests.adapters_for_tests import light_base
from tests.serve.api.callers import ask
from tests.serve.pages.composed import composed

pytestmark = pytest.mark.slow


def typed(settings: Settings, line: str) -> list[str]:
    """The lines that ``pawl`` prints, those on stderr too."""
    result = CliRunner().invoke(
        cli, ["--state-dir", str(settings.state_dir), "--set", f"model={settings.model}",
              *line.split()],
    )  # fmt: skip
    if result.exception is not None:
        raise result.exception
    return result.output.splitlines()


def test_a_key_added_without_a_server_is_asked_for_by_the_next_one(tmp_path: Path) -> None:
    base = light_base(tmp_path / "base")
    settings = Settings(state_dir=tmp_path / "state", model=str(base.model_dir))
    told, secret, first = typed(settings, "keys add bot")
    assert "'bot', user" in told
    assert "everybody needs a key" in first
    with pytest.raises(PawlError, match="there is a key 'bot' already"):
        typed(settings, "keys add bot")
    with composed(settings, base=base, pages=False) as server:
        write_json(settings.server_file, {"url": server.url, "pid": os.getpid(), "started_at": ""})
        headers = {"Authorization": f"Bearer {secret}"}
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as bot:
            row = server.store.get_completion(ask(bot))
            assert row is not None
            assert row.rater_id == "bot"
            assert httpx.get(server.url + "/v1/models").status_code == 401
            typed(settings, "keys add front --role reviewer --may-name-raters")
            lines = typed(settings, "keys list")
            assert [line.split()[:2] for line in lines] == [["bot", "user"], ["front", "reviewer"]]
            assert secret not in "".join(lines)
            typed(settings, "keys revoke bot")
            assert bot.get("/v1/models").status_code == 401
            assert "revoked" in typed(settings, "keys list")[0]
        settings.server_file.unlink()
    lines = typed(settings, "audit")
    assert [line.split("  ")[1:3] for line in lines] == [
        ["admin.key (127.0.0.1)", action] for action in ("add key", "add key", "add key",
                                                         "revoke key")
    ]  # fmt: skip
    assert [line.split()[-1] for line in lines] == ["200", "key_exists", "200", "200"]
    assert typed(settings, "audit --limit 1") == lines[-1:]


def test_categories_are_changed_by_a_file(tmp_path: Path) -> None:
    base = light_base(tmp_path / "base")
    settings = Settings(state_dir=tmp_path / "state", model=str(base.model_dir))
    path = tmp_path / "categories.yaml"
    rude = {"key": "rude", "definition": "Is rude.", "example": "No.", "treatment": "review"}
    path.write_text("\n".join(["- " + "\n  ".join(f"{k}: {v}" for k, v in rude.items())]))
    *lines, last = typed(settings, f"categories --from {path}")
    assert any(line.startswith("* rude") for line in lines)
    assert last.startswith("1 changed")
    assert json.loads("\n".join(typed(settings, "categories --json")))[-1] == rude
    assert typed(settings, f"categories --from {path}")[-1].startswith("0 changed")
    path.write_text("rude: yes")
    with pytest.raises(PawlError, match="no list of categories"):
        typed(settings, f"categories --from {path}")
