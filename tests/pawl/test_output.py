"""What others wrote does nothing to the terminal that it is printed on."""

from __future__ import annotations

import unicodedata
from typing import Any

import pytest
from click.testing import CliRunner

from pawl.cli import cli
from pawl.cli.output import one_line
from pawl.text import shown
from tests.bars.place import Place

ODD = "a\x1b[2J\x07b\u202ec\u2066d\u200fe\u2028f\x9bg\rh\x08i\ufeffj\U000e0041k"


def test_control_characters_and_direction_marks_are_escaped() -> None:
    line = shown(ODD)
    assert line.isprintable()
    assert "\\x1b[2J" in line
    assert "\\u202e" in line
    for harmless in ("Größe 漢字 👩\u200d👩 می\u200cخواهم", "two\n\tlines", ""):
        assert shown(harmless) == harmless
    assert shown("\ud800") == "\\ud800"


def test_a_value_of_a_line_stays_one_line() -> None:
    assert one_line("a\nb\r\nc\u2028d\te") == "a b c d\\te"


@pytest.mark.parametrize("verb", ["runs", "show night-odd"])
def test_what_a_run_says_of_itself(running: Place, verb: str) -> None:
    body: dict[str, Any] = {
        "run_id": "night-odd", "status": ODD, "at": ODD,
        "detail": {"reason": ODD + "\nnight-2  forged", "steps": {ODD: {"seconds": 1.0}}},
    }  # fmt: skip
    assert running.client.post("/admin/runs", json=body).status_code == 200
    line = ["--state-dir", str(running.state_dir), *verb.split()]
    output = CliRunner().invoke(cli, line).output
    assert "night-odd" in output
    for char in output.replace("\n", ""):
        assert unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp")
    assert not any(text.startswith("night-2") for text in output.splitlines())
