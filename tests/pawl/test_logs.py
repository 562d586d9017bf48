"""What is logged goes to stderr and to a file, with the request's id, as text or as JSON."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pawl.cli import cli
from pawl.errors import PawlError
from pawl.logs import N_REPEATS, configure_logging, cut_log, request_id
from pawl.settings import LogSettings


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("pawl")
    before, level = list(root.handlers), own.level
    yield
    for handler in set(root.handlers) - set(before):
        root.removeHandler(handler)
        handler.close()
    own.setLevel(level)


@pytest.mark.parametrize("command", ["nightly", "train", "search"])
def test_a_command_that_logs_makes_a_state_folder_that_is_its_owners_alone(
    command: str, tmp_path: Path
) -> None:
    state_dir = tmp_path / "state"
    line = ["--state-dir", str(state_dir), "--set", "train.trainer=nowhere", command]
    before = os.umask(0o022)
    try:
        for mode in ("made", "opened"):
            ended = CliRunner().invoke(cli, line).exception  # after it opened its log
            assert isinstance(ended, PawlError), ended
            assert (state_dir / "logs" / "nightly.log").exists()
            assert state_dir.stat().st_mode & 0o777 == 0o700, mode
            state_dir.chmod(0o755)
    finally:
        os.umask(before)
    assert "is its owner's alone now" in (state_dir / "logs" / "nightly.log").read_text()


def log_some() -> None:
    log = logging.getLogger("pawl.tests")
    log.debug("d")
    log.info("i")
    token = request_id.set("req-1")
    log.warning("w")
    try:
        raise ValueError("broken")
    except ValueError:
        log.exception("e")
    request_id.reset(token)
    logging.getLogger("another.package").info("not ours")


def test_by_default_the_file_has_info_and_stderr_warnings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "logs" / "x.log"
    configure_logging(file=file)
    log_some()
    lines = file.read_text().splitlines()
    assert [line.split(" ", 1)[1] for line in lines if line.startswith("20")] == [
        "INFO pawl.tests: i", "WARNING pawl.tests [req-1]: w", "ERROR pawl.tests [req-1]: e",
    ]  # fmt: skip
    assert lines[-1] == "ValueError: broken"
    err = capfd.readouterr().err
    assert "pawl.tests [req-1]: w" in err
    assert "pawl.tests: i" not in err


def test_a_level_and_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(file=tmp_path / "replaced.log")
    configure_logging(LogSettings(level="debug", format="json"), file=tmp_path / "x.log")
    log_some()
    lines = [json.loads(line) for line in (tmp_path / "x.log").read_text().splitlines()]
    assert [(one["level"], one.get("request_id")) for one in lines] == [
        ("debug", None), ("info", None), ("warning", "req-1"), ("error", "req-1"),
    ]  # fmt: skip
    assert "ValueError: broken" in lines[-1]["error"]
    assert [json.loads(line) for line in capfd.readouterr().err.splitlines()] == lines
    assert (tmp_path / "replaced.log").read_text() == ""


def test_a_file_that_grows_is_put_aside(tmp_path: Path) -> None:
    configure_logging(file=tmp_path / "x.log", file_bytes=100)
    for n in range(20):
        logging.getLogger("pawl.tests").info("line %d", n)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "x.log", "x.log.1", "x.log.2", "x.log.3",
    ]  # fmt: skip
    assert "line 19" in (tmp_path / "x.log").read_text()


def test_a_log_of_other_processes_is_cut_while_they_write(tmp_path: Path) -> None:
    file = tmp_path / "engine.log"
    with file.open("ab", buffering=0) as writer:  # as the engine's leader has it open
        writer.write(b"x" * 99)
        cut_log(file, 100)
        assert file.stat().st_size == 99
        writer.write(b"y" * 99)
        cut_log(file, 100)
        assert file.stat().st_size == 0
        writer.write(b"after")
    assert file.read_bytes() == b"after"
    assert (tmp_path / "engine.log.1").stat().st_size == 198
    cut_log(tmp_path / "absent.log", 100)


def test_a_thousand_warnings_of_a_kind_are_a_few(tmp_path: Path) -> None:
    configure_logging(file=tmp_path / "x.log")
    log = logging.getLogger("pawl.tests")
    for n in range(1000):
        log.warning("client %d left", n)
        log.info("request %d", n)
    log.warning("another kind")
    text = (tmp_path / "x.log").read_text()
    assert text.count(" left") == N_REPEATS
    assert text.count("request ") == 1000
    assert "another kind" in text


def test_what_somebody_sent_is_one_line_of_text(tmp_path: Path) -> None:
    configure_logging(file=tmp_path / "x.log")
    text = "a\n2026-01-01T00:00:00.000Z INFO pawl.admin: forged\x1b[2J\u202e\ud800 漢"
    record = logging.makeLogRecord({"name": "pawl.tests", "levelno": logging.INFO, "msg": text})
    # Not by a logger: pytest would keep the text for its report, and xdist can't send "\ud800".
    logging.getLogger().handlers[-1].handle(record)
    (line,) = (tmp_path / "x.log").read_text("utf-8").splitlines()
    assert line.endswith("forged\\x1b[2J\\u202e\\ud800 漢")


def test_a_traceback_commands_no_terminal(tmp_path: Path) -> None:
    configure_logging(file=tmp_path / "x.log")
    try:
        raise ValueError("broken by \x1b[2J\u202e")
    except ValueError:
        logging.getLogger("pawl.tests").exception("e", stack_info=True)
    text = (tmp_path / "x.log").read_text("utf-8")
    assert "ValueError: broken by \\x1b[2J\\u202e\n" in text
    assert "\x1b" not in text
