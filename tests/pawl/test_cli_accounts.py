"""pawl accounts: passwords come from standard input, never from the line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from feedback.store import Store
from pawl.cli import cli
from pawl.errors import PawlError
from pawl.settings import Settings
from tests.adapters_for_tests import light_base

pytestmark = pytest.mark.slow

GOOD = "four words in a row"


def test_accounts_from_the_command_line(tmp_path: Path) -> None:
    base = light_base(tmp_path / "base")
    settings = Settings(state_dir=tmp_path / "state", model=str(base.model_dir))

    def typed(line: str, stdin: str = "") -> list[str]:
        result = CliRunner().invoke(
            cli, ["--state-dir", str(settings.state_dir), "--set", f"model={settings.model}",
                  *line.split()], input=stdin,
        )  # fmt: skip
        if result.exception is not None:
            raise result.exception
        return result.output.splitlines()

    added, first = typed("accounts add ann --role reviewer", f"{GOOD}\n")
    assert "'ann'" in added
    assert "everybody signs in" in first
    told, shown, password = typed("accounts add bob --one-time")
    assert "'bob'" in told
    assert "once" in shown
    assert len(password) == 19
    with pytest.raises(PawlError, match="not taken"):
        typed("accounts add joe", "short\n")
    typed("accounts role bob administrator")
    typed("accounts password ann", f"{GOOD}, another\n")
    typed("accounts remove ann")
    ann, bob = typed("accounts list")
    assert ann.split()[:2] == ["ann", "reviewer"]
    assert "removed" in ann
    assert "one-time password" in bob
    with Store.open(settings.database_path) as store:
        assert [one.name for one in store.access.accounts.all_accounts()] == ["ann", "bob"]
        assert GOOD not in str(store.access.audit(100))
