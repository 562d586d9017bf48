"""pawl status says what people complain about, pawl settings where a value comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from feedback.store import Store
from pawl.cli import cli
from pawl.settings import Settings
from tests.adapters_for_tests import light_base
from tests.feedback.examples import make_completion, make_feedback, wait_all

pytestmark = pytest.mark.slow


def typed(*words: str) -> list[str]:
    result = CliRunner().invoke(cli, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_status_names_the_top_complaints(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    base = light_base(tmp_path / "base")
    line = ("--state-dir", str(settings.state_dir), "--set", f"model={base.model_dir}", "status")
    with Store.open(settings.database_path) as store:
        asked = [f"Where does the red harbour kettle stand{'?' * n}\x1b[1m" for n in range(3)]
        rows = [
            make_completion(rater_id=f"r{n}", messages=[{"role": "user", "content": text}])
            for n, text in enumerate(asked)
        ]
        wait_all(store.append_completion(row) for row in rows)
    assert not any("complaints" in one for one in typed(*line))
    with Store.open(settings.database_path) as store:
        wait_all(
            store.append_feedback(
                make_feedback(one, rater_id=one.rater_id, categories=["incorrect"])
            )
            for one in rows[:2]
        )
    told = typed(*line)
    [head] = [n for n, one in enumerate(told) if one.startswith("complaints in 30 days")]
    assert "2 of 3 answers flagged, 666.67 per 1,000" in told[head]
    assert told[head + 1].split() == ["incorrect", "2"]
    assert told[head + 2].strip().startswith("2 times by 2: Where does the red harbour kettle")
    assert "\x1b" not in "".join(told)
    assert "2 flagged answers wait for a reviewer" in told


def test_settings_say_their_origin_and_meaning(tmp_path: Path) -> None:
    config = tmp_path / "own.toml"
    config.write_text("api_key = 'sesame'\n[engine]\nmax_loras = 5\n")
    told = {
        line.partition(" = ")[0]: line
        for line in typed("--config", str(config), "--set", "port=1", "settings")
    }
    assert told["port"].startswith("port = 1  # from the command line: of API and pages")
    assert "5  # from own.toml: adapters live at once" in told["engine.max_loras"]
    assert "None  # default: of one caller" in told["limits.tokens_per_minute"]
    assert "sesame" not in "".join(told.values())
