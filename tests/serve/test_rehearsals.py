"""A rollback rehearsed, and two versions side by side: nothing moves, nothing is recorded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner, Result

from pawl.adapters import WEIGHTS
from pawl.cli import cli
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.schemas import ShadowRequest
from pawl.settings import Settings
from serve.api.shadow import difference, shadow
from tests.adapters_for_tests import light_adapter
from tests.serve.live import Operator, eventually
from tests.serve.pages.composed import Composed, composed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    """A server on which three adapters were promoted one after the other."""
    folder = tmp_path_factory.mktemp("rehearsals")
    with composed(Settings(state_dir=folder / "state"), pages=False) as one:
        assert post(one, "drill").json()["error"]["code"] == "no_earlier_champion"
        for seed in (1, 2, 3):
            adapter = light_adapter(folder / f"a{seed}", one.base, seed=seed)
            post(one, "promotions", adapter_dir=str(adapter), force=True)
        eventually(lambda: "pawl@1" not in one.engine.loaded, "pawl@1 left the engine")
        yield one


def post(server: Composed, route: str, **body: Any) -> httpx.Response:
    auth = Operator(server.settings.state_dir)
    return httpx.post(f"{server.url}/admin/{route}", json=body, auth=auth, timeout=60)


def test_a_drill_goes_back_and_forth_and_moves_nothing(server: Composed) -> None:
    moves = server.store.promotions()
    drill = post(server, "drill").json()
    assert drill["champion"] == "pawl@3"
    for name, version in (("back", "pawl@2"), ("forth", "pawl@3")):
        step = drill[name]
        assert (step["version"], step["is_whole"], step["answers"]) == (version, True, True)
        assert step["was_loaded"]
        assert 0 < step["seconds"] < 30
    assert server.store.promotions() == moves
    assert server.app.promoter.offered == {"pawl@2", "pawl@3"}


def test_two_versions_answer_the_newest_prompts(server: Composed) -> None:
    for words in ("one", "one", "two words", "call a"):
        chat(server, words)
    n_rows = len(server.store.completions())
    found = post(server, "shadow", a="base", b="pawl@1", last=3, show=1).json()
    assert (found["n_prompts"], found["n_same"], found["n_left_out"]) == (3, 0, 0)
    (first,) = found["differences"]
    # The fake engine's answers begin with the name of the version that answers.
    assert (first["a"].split()[0], first["b"].split()[0]) == ("base", "pawl@1")
    assert 0 < first["difference"] < 1
    chats = [body["messages"] for body in server.seen()["bodies"] if "messages" in body]
    asked = [messages[-1]["content"] for messages in chats[-6:]]
    assert sorted(asked) == ["call a", "call a", "one", "one", "two words", "two words"]
    assert len(server.store.completions()) == n_rows
    alike = post(server, "shadow", a="pawl@3", b="pawl@3", last=3).json()
    assert alike["n_same"] == 3
    # It was brought in for this alone, and nobody could ask for it.
    assert server.app.promoter.offered == {"pawl@2", "pawl@3"}
    eventually(lambda: set(server.engine.loaded) == {"pawl@2", "pawl@3"}, "pawl@1 left again")
    refused = post(server, "shadow", a="base", b="pawl@77").json()
    assert refused["error"]["code"] == "unknown_version"
    assert post(server, "shadow", a="base", b="../x").status_code == 400
    app, request = server.app, ShadowRequest(a="base", b="pawl@2")
    with pytest.raises(PawlError, match="--max-tokens"):
        server.call(shadow(server.engine, app.promoter, server.store, app.gateway.admission,
                           request, limit_seconds=0))  # fmt: skip


def test_what_is_borrowed_stays_when_a_rollback_to_it_is_refused(server: Composed) -> None:
    promoter, weights = server.app.promoter, server.settings.adapters_dir / "pawl@1" / WEIGHTS
    whole = weights.read_bytes()

    async def lend() -> None:
        async with promoter.borrowed("pawl@1"):
            weights.write_bytes(whole[:-100])
            assert (await promoter.rollback("pawl@1")).outcome == "refused"
            assert "pawl@1" in server.engine.loaded

    try:
        server.call(lend())
    finally:
        weights.write_bytes(whole)


def test_a_drill_says_that_the_files_are_broken(server: Composed) -> None:
    weights: Path = server.settings.adapters_dir / "pawl@2" / WEIGHTS
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-100])
    try:
        drill = post(server, "drill").json()
    finally:
        weights.write_bytes(whole)
    assert (drill["back"]["is_whole"], drill["back"]["answers"]) == (False, False)
    assert "has changed" in drill["back"]["reason"]
    assert drill["forth"]["answers"]


def test_the_commands_say_what_was_found(server: Composed) -> None:
    settings = server.settings
    write_json(settings.server_file, {"url": server.url, "pid": os.getpid(), "started_at": ""})

    def typed(*words: str) -> Result:
        flags = ["--state-dir", str(settings.state_dir), "--set", f"model={server.base.model_dir}"]
        return CliRunner().invoke(cli, [*flags, *words])

    drilled = typed("drill")
    assert drilled.exit_code == 0, drilled.output
    assert ["pawl@2" in line for line in drilled.output.splitlines()] == [True, False, False]
    compared = typed("shadow", "--last", "2", "--show", "1", "base", "pawl@3")
    assert compared.exit_code == 0, compared.output
    assert "pawl@3 heard" in compared.output
    assert "2 prompts, 0 answered alike" in compared.output


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("", "", 0), ("yes", "yes", 0), ("a  b", "a b", 0), ("yes", "no", 1), ("", "no", 1),
     ("abcd", "abcx", 0.5)],
)  # fmt: skip
def test_a_difference_is_between_none_and_all(a: str, b: str, expected: float) -> None:
    assert difference(a, b) == expected


def chat(server: Composed, words: str, **more: Any) -> None:
    body = {"model": "pawl", "messages": [{"role": "user", "content": words}], **more}
    httpx.post(f"{server.url}/v1/chat/completions", json=body, timeout=60).raise_for_status()
