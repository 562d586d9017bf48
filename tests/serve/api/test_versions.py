"""The versions over HTTP, and two of them asked one's own prompts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner

from pawl.cli import cli
from pawl.client import Pawl
from pawl.files import write_json
from pawl.runs import move_line
from pawl.settings import Settings
from tests.serve.console import Console
from tests.serve.pages.composed import composed
from tests.serve.pages.nights import flagged_night


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("versions") / "state")
    with composed(settings, pages=False) as running:
        one = Console(running)
        yield one
        one.http.close()


def get(console: Console, path: str, **query: Any) -> Any:
    return console.http.get(f"/admin/versions{path}", params=query).json()


def test_each_version_has_its_state_and_its_flags(console: Console) -> None:
    [base] = get(console, "")
    assert (base["version"], base["state"], base["counts"]["n_trained"]) == ("base", "champion", 0)
    assert get(console, "/flags")["n_found"] == 0
    flagged_night(console, "run-1", "base", trained=["cup"], tested={"lamp": "fixed"})
    assert console.promote("run-1")["outcome"] == "live"
    flagged_night(console, "run-2", "pawl@1", trained=["cup", "lamp"], tested={"oven": "broken"})
    assert console.promote("run-2")["outcome"] == "live"
    two, one, base = get(console, "")
    assert [row["state"] for row in (two, one, base)] == ["champion", "before", "base"]
    assert (one["run_id"], one["counts"]["n_trained"], one["counts"]["n_fixed"]) == ("run-1", 1, 1)
    assert (two["counts"]["n_trained"], two["counts"]["n_broken"]) == (2, 1)
    console.post("/admin/rollback").raise_for_status()
    assert [row["state"] for row in get(console, "")] == ["rolled_back", "champion", "base"]
    [lamp] = get(console, "/flags", version="pawl@1", outcome="fixed")["flags"]
    assert (lamp["verdicts"][0]["version"], lamp["trained_since"]) == ("pawl@1", "pawl@2")
    assert get(console, "/flags", search="oven")["n_found"] == 1
    unknown = console.http.get("/admin/versions/flags", params={"version": "pawl@9"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_version")
    for wrong in ({"version": "../x"}, {"outcome": "odd"}, {"limit": 0}):
        assert console.http.get("/admin/versions/flags", params=wrong).status_code == 400


def test_each_move_says_when_and_by_whom_on_the_pages_and_in_the_terminal(
    console: Console,
) -> None:
    settings = console.server.settings
    write_json(settings.server_file, {"url": console.server.url, "pid": os.getpid()})
    key = console.post("/admin/keys", {"name": "olga", "role": "administrator"}).json()["key"]
    olga = Pawl(console.server.url, key)

    def lines(*command: str) -> list[str]:
        line = ["--state-dir", str(settings.state_dir), *command]
        return [one.strip() for one in CliRunner().invoke(cli, line).output.splitlines()]

    flagged_night(console, "run-3", console.status()["champion"], trained=["mug"], tested={})
    as_nights_do = {"run_dir": str(settings.runs_dir / "run-3"), "run_id": "run-3"}
    by_night = console.post("/admin/promotions", as_nights_do).json()
    version, before = by_night["version"], by_night["previous_version"]
    olga.rollback()
    olga.rollback(version)
    console.post("/admin/rollback").raise_for_status()
    told = [f"{version} promoted in place of {before}, by the nightly job",
            f"rolled back from {version} to {before}, by olga",
            f"rolled back from {before} to {version}, by olga",
            f"rolled back from {version} to {before}, by the operator's key"]  # fmt: skip
    shown = [move_line(one.model_dump()) for one in olga.run("run-3").moves]
    assert [line.partition(" UTC: ")[2] for line in shown] == told
    assert set(shown) <= set(lines("show", "run-3"))
    assert set(shown) <= set(lines("versions"))


def test_two_versions_answer_prompts_of_ones_own(console: Console) -> None:
    prompts = [[{"role": "user", "content": words}] for words in ("first words", "same", "third")]
    body = {"a": "base", "b": "pawl@1", "prompts": prompts}
    found = console.post("/admin/shadow", body).json()
    assert [one["prompt"] for one in found["differences"]] == ["first words", "same", "third"]
    assert [one["completion_id"] for one in found["differences"]] == [None] * 3
    assert found["differences"][0]["a"].split()[0] == "base"
    assert found["differences"][0]["b"].split()[0] == "pawl@1"
    assert console.server.store.completions(rater_id="anonymous") == []
    rows = console.http.get("/admin/audit").json()
    [entry] = [row for row in rows if row["action"] == "shadow"]
    assert "first words" not in entry["target"]
    for wrong in ([], prompts * 7, [[]], [[{"role": "user"}]]):
        assert console.post("/admin/shadow", {**body, "prompts": wrong}).status_code == 400
