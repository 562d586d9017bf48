"""Verbs without a server: the store is held for a call only, and who only looks leaves no trace."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import click
import pytest
import uvicorn
from click.testing import CliRunner, Result
from pydantic import SecretStr

import pawl.cli.connect
from feedback.store import Store
from pawl.cli import cli, common_options
from pawl.cli.connect import connect, group_arguments, settings_beside_server
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.schedule import SCHEDULE_LOG, ScheduleLog
from pawl.schemas import utc_now
from pawl.settings import JudgeSettings, MonitoringSettings, Settings
from serve.api.app import build_app
from tests.adapters_for_tests import approved_run, light_adapter, light_base
from tests.serve.live import eventually
from tests.serve.toy_world import toy_settings


def type_in(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


@pytest.mark.slow
def test_between_its_calls_a_long_verb_leaves_the_store_to_others(tmp_path: Path) -> None:
    settings = toy_settings(tmp_path)
    night, other = connect(settings), connect(settings)
    night.post("/admin/runs", {"run_id": "r", "status": "training"})
    with Store.open(settings.database_path) as store:  # as 'pawl up' does
        assert store.champion() == "base"
    assert other.get("/admin/runs")[0]["run_id"] == "r"
    assert night.get("/admin/status")["champion"] == "base"


def test_a_call_waits_for_its_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = toy_settings(tmp_path)
    store = Store.open(settings.database_path)
    waits: list[float] = []

    def let_go(seconds: float) -> None:
        waits.append(seconds)
        store.close()

    monkeypatch.setattr(time, "sleep", let_go)
    assert connect(settings).get("/admin/status")["champion"] == "base"
    assert len(waits) == 1


def test_a_store_that_stays_held_is_said_with_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = toy_settings(tmp_path)
    monkeypatch.setattr(pawl.cli.connect, "TURN_SECONDS", 0.2)
    with (
        Store.open(settings.database_path),
        pytest.raises(PawlError, match=r"the store is in use \(process \d+"),
    ):
        connect(settings).get("/admin/status")


@pytest.mark.parametrize(
    "line", ["status", "history", "runs", "show r", "export x.jsonl", "--set model=a/b status"]
)
def test_who_only_looks_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    said = type_in(*line.split())
    assert isinstance(said.exception, PawlError)
    assert "there is nothing in" in str(said.exception)
    assert list(tmp_path.iterdir()) == []


def test_who_only_looks_fetches_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    said = type_in("--set", "model=owner/absent", "doctor")
    assert "model 'owner/absent' is not on this machine yet" in said.output
    assert said.exit_code == 1
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".pawl").mkdir()
    said = type_in("--set", "model=owner/absent", "status")
    assert "not on this machine yet" in str(said.exception)


def test_doctor_finds_a_spoilt_server_file(tmp_path: Path) -> None:
    settings = toy_settings(tmp_path)
    settings.state_dir.mkdir()
    settings.server_file.write_text("{")
    said = type_in("--state-dir", str(settings.state_dir), "--set", f"model={settings.model}",
                   "doctor")  # fmt: skip
    assert said.exit_code == 1
    (line,) = [one for one in said.output.splitlines() if " server " in one]
    assert line.startswith("MISSING")
    assert "Delete it" in line


@pytest.mark.parametrize("run", ["state/runs/r1", "./state/runs/r1/", "r1"])
def test_a_run_may_be_named_by_its_folder_as_one_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str
) -> None:
    settings = toy_settings(tmp_path)
    base = light_base(tmp_path / "base")
    approved_run(settings.runs_dir, "r1", light_adapter(tmp_path / "one", base, seed=1), "base")
    monkeypatch.chdir(tmp_path)
    said = type_in("--state-dir", "state", "--set", f"model={settings.model}", "promote", run)
    assert said.exit_code == 0, said.output
    assert "pawl@1 is next" in said.output


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Settings]:
    settings = toy_settings(tmp_path)
    gate = settings.gate.model_copy(update={"suite": "everyday", "alpha": 0.01})
    with serving(settings.model_copy(update={"gate": gate})) as served:
        yield served


@contextmanager
def serving(settings: Settings) -> Iterator[Settings]:
    """A server without an engine, as another program sees it; its settings."""
    app = build_app(settings, engine=None)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started, "the server listens", 30)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        write_json(settings.server_file, {"url": url, "pid": os.getpid(), "started_at": utc_now()})
        yield settings
    finally:
        server.should_exit = True
        thread.join()
        app.close()


def beside(line: str) -> tuple[Settings, list[str]]:
    """What ``pawl nightly`` with these options would run with, and what it would say."""
    found: list[Settings] = []
    lines: list[str] = []

    @click.command()
    @click.pass_context
    def night(ctx: click.Context) -> None:
        found.append(settings_beside_server(ctx, say=lines.append))

    group = click.Group(params=common_options(), commands={"night": night})
    answer = CliRunner().invoke(group, [*line.split(), "night"])
    if answer.exception is not None:
        raise answer.exception
    return found[0], lines


def test_a_night_beside_a_server_takes_its_settings(
    served: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAWL_GATE__ALPHA", "0.2")
    monkeypatch.setenv("PAWL_GATE__MARGIN", "0.2")
    settings, lines = beside(f"--state-dir {served.state_dir}")
    assert (settings.model, settings.gate, settings.train) == (
        served.model,
        served.gate,
        served.train,
    )
    assert settings.state_dir == served.state_dir
    assert lines == []


def test_a_night_without_the_key_of_the_servers_judge_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = JudgeSettings(url="http://judge.invalid/v1", model="large", api_key=SecretStr("s"))
    with serving(toy_settings(tmp_path).model_copy(update={"judge": judge})) as served:
        line = f"--state-dir {served.state_dir}"
        settings, lines = beside(line)  # a command that does not ask it
        assert (settings.judge.url, settings.judge.api_key, lines) == (judge.url, None, [])

        def refused(*words: str) -> bool:
            answer = type_in(*line.split(), *words)
            return "judge.api_key is not set here" in str(answer.exception)

        def left() -> list[str]:
            return [event.outcome for event in ScheduleLog(served.state_dir / SCHEDULE_LOG).read()]

        assert refused("nightly")
        assert left() == []
        assert refused("nightly", "--scheduled")  # as cron has it: nobody sees what it says
        assert left() == ["began", "failed"]
        log = (served.logs_dir / "nightly.log").read_text("utf-8")
        assert "failed: judge.api_key is not set here" in log
        quiet = ["--set", "schedule.quiet_hours=00:00-12:00,12:00-00:00",
                 "--set", "schedule.time_zone=UTC"]  # fmt: skip
        assert not refused(*quiet, "nightly", "--scheduled")
        assert left()[2:] == ["skipped"]
        other = "--set judge.url=http://other.invalid/v1 --set judge.model=small"
        assert not refused(*other.split(), "nightly")
        assert beside(f"{line} {other}")[0].judge.api_key is None
        monkeypatch.setenv("PAWL_JUDGE__API_KEY", "s")
        settings, lines = beside(line)
        assert (settings.judge, lines) == (judge, [])
        assert not refused("nightly")


def test_what_a_line_says_of_the_log_reaches_the_nights_of_its_server() -> None:
    found: list[list[str]] = []

    @click.command()
    @click.pass_context
    def up(ctx: click.Context) -> None:
        found.append(group_arguments(ctx))

    group = click.Group(params=common_options(), commands={"up": up})
    line = "--config a.toml --log-level debug --log-json --set port=1"
    for words in (line, "--state-dir x"):
        assert CliRunner().invoke(group, [*words.split(), "up"]).exception is None
    assert found == [line.split(), []]


def test_a_night_beside_a_server_reports_where_the_server_says(tmp_path: Path) -> None:
    told = MonitoringSettings(report_to=("wandb",))
    with serving(toy_settings(tmp_path).model_copy(update={"monitoring": told})) as served:
        settings, lines = beside(f"--state-dir {served.state_dir}")
    assert (settings.monitoring, lines) == (told, [])


def test_what_the_line_says_wins_over_the_server_and_is_named(served: Settings) -> None:
    settings, lines = beside(
        f"--state-dir {served.state_dir} --set gate.alpha=0.10 --set gate.suite=everyday"
    )
    assert (settings.gate.alpha, settings.gate.suite) == (0.1, "everyday")
    [line] = lines
    assert "gate.alpha = 0.1" in line
    assert "0.01" in line


def test_without_a_server_the_lines_own_settings_hold(tmp_path: Path) -> None:
    settings, lines = beside(f"--state-dir {tmp_path} --set gate.alpha=0.1")
    assert (settings.gate.alpha, lines) == (0.1, [])


@pytest.mark.parametrize("verb", ["curate", "curate --explain nothing", "promote nothing"])
def test_what_the_server_does_by_its_own_settings_is_named(served: Settings, verb: str) -> None:
    line = f"--state-dir {served.state_dir} --set curation.max_share"
    own = served.curation.max_share
    said = type_in(*f"{line}=0.5 --set curation.front_ends=ui {verb}".split()).stderr
    assert f"curation.max_share = 0.5 is ignored: the server does this, and has {own}" in said
    assert "curation.front_ends = ['ui'] is ignored: the server does this, and has []" in said
    assert "ignored" not in type_in(*f"{line}={own} {verb}".split()).stderr
    assert "ignored" not in type_in(*f"--set gate.alpha=0.2 {line}={own} {verb}".split()).stderr


def test_a_night_names_what_the_server_does_for_it(served: Settings) -> None:
    line = f"--state-dir {served.state_dir} --set promotion.approval=true"
    [said] = beside(line)[1]
    assert "promotion.approval = True is ignored: the server does this, and has False" in said


def test_a_verb_that_finds_no_server_obeys_the_line(tmp_path: Path) -> None:
    Store.open(toy_settings(tmp_path).database_path).close()
    line = ["--state-dir", str(tmp_path), "--set", "curation.max_share=0.5"]
    assert "ignored" not in type_in(*line, "curate").output
