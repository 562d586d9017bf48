"""What is logged goes to stderr and to a file, with the request's id, as text or as JSON."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from pawl.logs import configure_logging, request_id
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
