"""The files of a night over HTTP, and where a night is that runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from pawl.cli import cli
from pawl.files import hold_lock, write_json
from pawl.runs import PROGRESS
from pawl.schemas import RunProgress, utc_now
from pawl.settings import Settings
from tests.feedback.examples import make_completion, make_feedback
from tests.serve.console import Console
from tests.serve.pages.composed import composed
from tests.serve.pages.nights import rejected_night

RUN = "run-20260503-021700-abcd"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with composed(
        Settings(state_dir=tmp_path_factory.mktemp("runs") / "state"), pages=False
    ) as one:
        console = Console(one)
        yield console
        console.http.close()


def get(console: Console, path: str) -> httpx.Response:
    return console.http.get(f"/admin/runs/{path}")


def folder(console: Console, run_id: str = RUN) -> Path:
    """The folder of a run that the server knows."""
    console.post("/admin/runs", {"run_id": run_id, "status": "plan"}).raise_for_status()
    made = console.server.settings.runs_dir / run_id
    (made / "train").mkdir(parents=True, exist_ok=True)
    return made


def test_report_curves_and_logs(console: Console) -> None:
    assert get(console, f"{RUN}/report").status_code == 404
    run_dir = folder(console)
    assert get(console, f"{RUN}/report").json()["error"]["code"] == "not_found"
    assert get(console, f"{RUN}/curves").json() == []
    assert get(console, f"{RUN}/logs").json() == []
    (run_dir / "report.html").write_text("<!doctype html><script>alert(1)</script>")
    report = get(console, f"{RUN}/report")
    assert report.headers["content-type"].startswith("text/html")
    policy = report.headers["content-security-policy"]
    assert "sandbox;" in policy
    assert "allow-" not in policy
    assert "default-src 'none'" in policy
    steps = '{"stage": "sft", "step": 1, "loss": 2.5}\n{"stage": "sft", "step": 2, "loss": 1}\n{"st'
    (run_dir / "train" / "steps.jsonl").write_text(steps)
    [curve] = get(console, f"{RUN}/curves").json()
    assert (curve["metric"], curve["train"]) == ("loss", [[1.0, 2.5], [2.0, 1.0]])
    logs = console.server.settings.logs_dir
    logs.mkdir(exist_ok=True)
    (logs / "nightly.log").write_text(f"{RUN}: plan 0.1 s\nrun-other: plan 0.1 s\n")
    (run_dir / "train" / "train.log").write_text("x" * 200_000 + "\nthe end\n")
    night, training = get(console, f"{RUN}/logs").json()
    assert (night["text"], night["is_cut"]) == (f"{RUN}: plan 0.1 s", False)
    assert (training["text"], training["is_cut"]) == ("the end", True)
    assert training["name"] == f"runs/{RUN}/train/train.log"


def test_suspects_lead_to_the_answers_that_they_come_from(console: Console) -> None:
    store = console.server.store
    store.append_completion(make_completion(completion_id="c-1", choice_index=2)).result()
    store.append_feedback(make_feedback("c-1", feedback_id="fb-1", choice_index=2)).result()
    assert get(console, "run-5/suspects").status_code == 404
    folder(console, "run-5")
    assert get(console, "run-5/suspects").json()["rows"] == []
    rejected_night(console, "run-5", ["Worse."], ["fb-1", None, "fb-erased"])
    found = get(console, "run-5/suspects").json()
    assert [row["answer_id"] for row in found["rows"]] == ["c-1:2", None, None]
    assert (found["n_compared"], found["rows"][0]["item"]["benchmark"]) == (80, "people")
    path = console.server.settings.runs_dir / "run-5" / "suspects.json"
    write_json(path, {"note": "No item got worse."})
    assert get(console, "run-5/suspects").json()["note"] == "No item got worse."
    path.write_text("{")
    assert get(console, "run-5/suspects").json()["rows"] == []


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2fstate", "%2e%2e%2f%2e%2e%2fetc", "a%00b"])
def test_no_name_leads_out_of_the_folder(console: Console, name: str) -> None:
    for part in ("report", "curves", "logs", "suspects"):
        assert get(console, f"{name}/{part}").status_code in (400, 404)


def test_what_is_a_link_is_not_followed(console: Console, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("secret")
    linked = folder(console, "run-linked")
    (linked / "report.html").symlink_to(tmp_path / "report.html")
    assert get(console, "run-linked/report").status_code == 404
    (tmp_path / "suspects.json").write_text('{"note": "secret"}')
    (linked / "suspects.json").symlink_to(tmp_path / "suspects.json")
    assert get(console, "run-linked/suspects").json()["note"] == ""
    console.post("/admin/runs", {"run_id": "run-away", "status": "plan"}).raise_for_status()
    (console.server.settings.runs_dir / "run-away").symlink_to(tmp_path)
    for part in ("report", "curves", "logs", "suspects"):
        assert get(console, f"run-away/{part}").status_code == 404


def test_a_night_runs_while_its_process_holds_the_lock(console: Console) -> None:
    settings = console.server.settings
    run_dir = folder(console, "run-now")
    progress = RunProgress(
        step="train", began_at=utc_now(), stage="sft", fraction=0.25, seconds_left=600,
        at=utc_now(), pid=os.getpid(),
    )  # fmt: skip
    write_json(run_dir / PROGRESS, progress.model_dump())
    server = {"url": console.server.url, "pid": os.getpid(), "started_at": ""}
    write_json(settings.server_file, server)  # where the command finds it

    def newest() -> dict[str, Any]:
        [run] = console.http.get("/admin/runs", params={"limit": 1}).json()
        assert run["run_id"] == "run-now"
        return dict(run)

    def lines(*command: str) -> str:
        line = ["--state-dir", str(settings.state_dir), *command]
        return CliRunner().invoke(cli, line).output

    assert newest()["progress"] is None
    assert console.status()["night"] is None
    assert "run-now" in lines("runs")
    assert "interrupted after 'plan'" in lines("show", "run-now")
    with hold_lock(settings.state_dir / "nightly.lock", "", ""):
        told = newest()["progress"]
        assert (told["step"], told["fraction"]) == ("train", 0.25)
        assert 500 < told["seconds_left"] <= 600
        assert console.status()["night"]["run_id"] == "run-now"
        for output in (lines("status"), lines("runs"), lines("show", "run-now")):
            assert "running: train (SFT, 25 %)" in output
        write_json(run_dir / PROGRESS, {**progress.model_dump(), "pid": 1})  # of a killed night
        assert newest()["progress"] is None
        write_json(run_dir / PROGRESS, progress.model_dump())
        console.post("/admin/runs", {"run_id": "run-now", "status": "failed"})
        assert newest()["progress"] is None
