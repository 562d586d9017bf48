"""Versions of a system prompt and sampling: made, asked, promoted, rolled back, recorded.

Over 400 lines: making, serving and moving such versions, on one server.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from feedback.curation import curate
from feedback.erasing import forget
from feedback.store import Store
from pawl.cli import cli
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.schemas import Completion, PromotionRequest
from pawl.settings import Settings
from pawl.sse import EventParser
from serve.version_settings import made_of
from tests.adapters_for_tests import light_base
from tests.feedback.examples import answered
from tests.serve.console import Console
from tests.serve.live import eventually
from tests.serve.pages.composed import composed

PROMPT = "You answer for a bakery. Be brief."
HELLO = {"role": "user", "content": "Hello"}


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("house") / "state", limits={"answer_tokens": 200}
    )
    with composed(settings, pages=False) as running:
        one = Console(running)
        yield one
        one.http.close()


def make(console: Console, status: int = 200, **body: Any) -> dict[str, Any]:
    answer = console.post("/admin/promotions", body)
    assert answer.status_code == status, answer.text
    return dict(answer.json() if status == 200 else answer.json()["error"])


def ask(
    console: Console, model: str = "pawl", path: str = "/v1/chat/completions", **body: Any
) -> httpx.Response:
    body = {"model": model, **({} if "prompt" in body else {"messages": [HELLO]}), **body}
    return httpx.post(console.server.url + path, json=body, timeout=60)


def asked(console: Console) -> dict[str, Any]:
    """What the engine was asked last."""
    return dict(console.server.seen()["bodies"][-1])


def recorded(console: Console, answer: httpx.Response) -> Completion:
    completion_id = answer.headers["X-Pawl-Completion-Id"]
    row = eventually(
        lambda: console.server.store.get_completion(completion_id), "the answer is recorded"
    )
    assert isinstance(row, Completion)
    return row


def roles(body: dict[str, Any]) -> list[str]:
    return [message["role"] for message in body["messages"]]


def test_a_prompt_is_made_a_version_asked_for_by_name_promoted_and_rolled_back(
    console: Console,
) -> None:
    made = make(console, system_prompt=f" {PROMPT}\n", temperature=0.2, max_tokens=50)
    version = made["version"]
    assert (made["outcome"], made["previous_version"]) == ("made", "base")
    assert make(console, system_prompt=PROMPT, temperature=0.2, max_tokens=50) == made
    assert console.status()["champion"] == "base"
    assert version in [one["id"] for one in console.http.get("/v1/models").json()["data"]]
    answer = ask(console, version)
    assert (answer.json()["model"], answer.headers["X-Pawl-Version"]) == (version, version)
    assert asked(console) | {"stream": None} == {
        "model": "base", "temperature": 0.2, "max_tokens": 50, "stream": None,
        "messages": [{"role": "system", "content": PROMPT}, HELLO],
    }  # fmt: skip
    row = recorded(console, answer)
    assert (row.version, row.asked_model, row.messages) == (version, version, [HELLO])
    assert row.system_prompt_sha256 == hashlib.sha256(PROMPT.encode()).hexdigest()
    assert row.sampling == {"temperature": 0.2, "max_tokens": 50}
    error = make(console, 400, version=version)
    assert error["param"] == "force"
    live = make(console, version=version, force=True)
    assert (live["outcome"], live["version"]) == ("live", version), live
    assert ask(console).headers["X-Pawl-Version"] == version
    assert roles(asked(console)) == ["system", "user"]
    assert make(console, 409, system_prompt=PROMPT, temperature=0.2, max_tokens=50, force=True)[
        "code"
    ] == "already_champion"  # fmt: skip
    summary = console.http.get("/admin/versions").json()[0]
    assert (summary["version"], summary["state"], summary["on"]) == (version, "champion", "base")
    assert (summary["system_prompt"], summary["made_by"]) == (PROMPT, "the operator's key")
    assert summary["fingerprint"].startswith("sha256:")
    assert console.post("/admin/rollback").json()["version"] == "base"
    row = recorded(console, ask(console))
    assert (row.version, row.system_prompt_sha256) == ("base", None)
    assert roles(asked(console)) == ["user"]
    assert console.post("/admin/rollback", {"to": version}).json()["outcome"] == "live"
    assert console.post("/admin/drill").json()["forth"]["answers"] is True
    assert console.post("/admin/rollback").json()["version"] == "base"


def test_what_the_client_says_wins(console: Console) -> None:
    version = make(console, system_prompt="Say who you are.", temperature=0, top_p=0.5)["version"]
    for role, content in (("system", "Mine."), ("developer", "Mine."), ("system", "")):
        answer = ask(console, version, messages=[{"role": role, "content": content}, HELLO])
        assert asked(console)["messages"][0] == {"role": "system", "content": content}
        assert recorded(console, answer).system_prompt_sha256 is None
    late = [HELLO, {"role": "assistant", "content": "Hi"}, {"role": "system", "content": "Mine."}]
    ask(console, version, messages=[*late, HELLO])
    assert roles(asked(console)) == ["user", "assistant", "system", "user"]
    ask(console, version, temperature=1.5, max_completion_tokens=7)
    assert asked(console).items() >= {"temperature": 1.5, "top_p": 0.5}.items()
    assert "max_tokens" not in asked(console)
    answer = ask(console, version, n=2)  # at temperature 0 the engine would refuse it
    assert answer.status_code == 200
    assert "temperature" not in asked(console)
    assert asked(console)["max_tokens"] == 200  # the server's, as ever
    completion_id = answer.headers["X-Pawl-Completion-Id"]
    rows = [console.server.store.get_completion(completion_id, index) for index in (0, 1)]
    assert len({row.system_prompt_sha256 for row in rows if row is not None}) == 1


def test_every_way_of_asking(console: Console) -> None:
    made = make(console, system_prompt="Every way.", max_tokens=9)
    version = made["version"]
    stream = ask(console, version, messages=[{"role": "user", "content": "count 4"}], stream=True)
    events = [json.loads(one) for one in EventParser().feed(stream.content) if one != b"[DONE]"]
    assert {one["model"] for one in events} == {version}
    assert "".join(one["choices"][0]["delta"]["content"] for one in events) == "0 1 2 3 "
    assert stream.text.rstrip().endswith("[DONE]")
    plain = ask(console, version, "/v1/completions", prompt="Once")
    assert (asked(console)["prompt"], asked(console)["max_tokens"]) == ("Once", 9)
    assert plain.json()["model"] == version
    assert recorded(console, plain).system_prompt_sha256 is None
    anthropic = ask(console, version, "/v1/messages", max_tokens=5)
    assert anthropic.json()["model"] == version
    assert roles(asked(console)) == ["system", "user"]
    ask(console, version, "/v1/messages", max_tokens=5, system="Mine.")
    assert asked(console)["messages"][0]["content"] == "Mine."
    ask(console, version, "/v1/messages/count_tokens")
    assert (asked(console)["model"], roles(asked(console))) == ("base", ["system", "user"])
    httpx.post(
        console.server.url + "/v1/responses", json={"model": version, "input": "Hello"}, timeout=60
    ).raise_for_status()
    assert roles(asked(console)) == ["system", "user"]
    compared = console.post(
        "/admin/shadow", {"a": "base", "b": version, "prompts": [[HELLO]]}
    ).json()  # fmt: skip
    assert compared["n_prompts"] == 1
    assert roles(asked(console)) == ["system", "user"]


def test_one_that_was_let_go_is_made_again_and_can_be_asked_for(console: Console) -> None:
    made = make(console, system_prompt="Made anew.")
    version = made["version"]
    for body in ({"version": version}, {"system_prompt": "Two."}, {"system_prompt": "Three."}):
        assert make(console, **body, force=True)["outcome"] == "live"
    console.post("/admin/rollback", {"to": "base"}).raise_for_status()
    assert make(console, system_prompt="Four.", force=True)["outcome"] == "live"
    assert ask(console, version).status_code == 404
    again = make(console, system_prompt="Made anew.")
    assert (again["outcome"], again["version"]) == ("made", version)
    assert again["promotion_id"] != made["promotion_id"]
    assert ask(console, version).status_code == 200
    assert make(console, system_prompt="Made anew.") == again
    console.post("/admin/rollback", {"to": "base"}).raise_for_status()


def test_the_one_to_go_back_to_stays_in_the_engine_when_it_is_made_again(tmp_path: Path) -> None:
    with composed(Settings(state_dir=tmp_path / "state"), pages=False) as running:
        one = Console(running)
        adapter = running.promote()
        body = {"system_prompt": "The one before.", "on": adapter}
        version = make(one, **body, force=True)["version"]
        make(one, system_prompt="The one after.", force=True)
        assert make(one, **body)["outcome"] == "made"
        assert ask(one, version).status_code == 200
        for words in ("Away one.", "Away two."):
            make(one, system_prompt=words, force=True)
        eventually(lambda: adapter not in running.engine.loaded, "the adapter is unloaded")
        away = make(one, system_prompt="Not there.", on=adapter)
        assert "is not in the engine" in away["reason"]
        assert ask(one, away["version"]).status_code == 404
        one.post("/admin/rollback", {"to": adapter}).raise_for_status()
        assert ask(one, away["version"]).status_code == 200  # its weights came back
        one.http.close()


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        ({"system_prompt": " \n"}, 400, "system_prompt", "empty"),
        ({"system_prompt": "\u200b\u200d \ufeff"}, 400, "system_prompt", "nothing to be seen"),
        ({"system_prompt": "x<|end|>y"}, 400, "system_prompt", "control token"),
        ({"system_prompt": "<|im_start|>system"}, 400, "system_prompt", "control token"),
        ({"system_prompt": "long " * 300}, 400, "system_prompt", "of a context of 512"),
        ({"max_tokens": 513}, 400, "max_tokens", "context has 512"),
        ({"max_tokens": 512}, 400, "max_tokens", "context has 512"),
        ({"system_prompt": "Hi", "max_tokens": 511}, 400, "max_tokens", "system prompt takes"),
        ({"temperature": 3}, 400, "temperature", ""),
        ({"on": "pawl@1"}, 400, None, ""),
        ({"system_prompt": "Hi", "on": "pawl@99"}, 404, "on", "no version that stands"),
        ({"version": "base", "force": True}, 404, "version", ""),
        ({"version": "pawl@99", "force": True}, 404, "version", ""),
        ({"system_prompt": "Hi", "run_dir": "x"}, 400, None, "either"),
    ],
)
def test_what_can_be_no_version_is_refused_and_leaves_no_trace(
    console: Console, body: dict[str, Any], status: int, param: str | None, words: str
) -> None:
    before = len(console.http.get("/admin/history").json())
    error = make(console, status, **body)
    assert error["param"] == param
    assert words in error["message"]
    assert len(console.http.get("/admin/history").json()) == before


def test_a_version_on_an_adapter_shares_its_weights_and_keeps_them_in_the_engine(
    console: Console,
) -> None:
    adapter = console.server.promote()
    made = make(console, system_prompt="On an adapter.", on=adapter)
    version = made["version"]
    answer = ask(console, version)
    assert (asked(console)["model"], answer.json()["model"]) == (adapter, version)
    assert make(console, version=version, force=True)["outcome"] == "live"
    hotter = make(console, temperature=1.1, on=version)["version"]  # keeps the prompt
    ask(console, hotter)
    assert asked(console).items() >= {"model": adapter, "temperature": 1.1}.items()
    assert roles(asked(console)) == ["system", "user"]
    # An answer that is under way keeps the weights, whichever version it was asked of.
    began, released = threading.Event(), threading.Event()

    def hold() -> None:
        body = {"model": version, "stream": True,
                "messages": [{"role": "user", "content": "hold midway"}]}  # fmt: skip
        url = console.server.url + "/v1/chat/completions"
        with httpx.stream("POST", url, json=body, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            began.set()
            released.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert began.wait(60)
    console.post("/admin/rollback", {"to": "base"}).raise_for_status()
    console.passed("later", "base")
    assert console.promote("later")["outcome"] == "live"
    assert ask(console, version).status_code == 404
    assert adapter in console.server.engine.loaded
    released.set()
    holder.join()
    eventually(lambda: adapter not in console.server.engine.loaded, "the adapter is unloaded")
    found = console.post("/admin/shadow", {"a": "base", "b": version, "prompts": [[HELLO]]}).json()
    assert found["n_prompts"] == 1  # brought in again for the comparison
    assert console.post("/admin/rollback", {"to": version}).json()["outcome"] == "live"
    assert ask(console).json()["model"] == version
    console.post("/admin/rollback", {"to": "base"}).raise_for_status()


def test_what_a_gate_tested_is_let_in_as_it_was_tested(console: Console) -> None:
    version = make(console, system_prompt="Tested.", temperature=0.4)["version"]
    fingerprint = console.http.get("/admin/versions").json()[0]["fingerprint"]
    run_dir = console.server.settings.runs_dir / "prompt-run"
    write_json(run_dir / "challenger.json", {"version": version, "settings_of": None})
    verdict = {"outcome": "promote", "challenger_fingerprint": "sha256:another", "reasons": [],
               "champion_version": "base"}  # fmt: skip
    write_json(run_dir / "verdict.json", verdict)
    tested = {"challenger": version, "snapshot_id": "s-of-others"}
    body = {"run_id": "prompt-run", "status": "finished", "detail": tested}
    console.post("/admin/runs", body).raise_for_status()
    moved = console.promote("prompt-run")
    assert (moved["outcome"], moved["version"]) == ("refused", version)
    assert "another adapter" in moved["reason"]
    write_json(run_dir / "verdict.json", verdict | {"challenger_fingerprint": fingerprint})
    moved = console.promote("prompt-run")
    assert (moved["outcome"], moved["version"]) == ("live", version), moved
    summary = console.http.get("/admin/versions").json()[0]
    assert (summary["run_id"], summary["snapshot_id"]) == ("prompt-run", None)  # nothing learned
    error = make(console, 409, run_id="prompt-run", force=True)
    assert error["code"] == "already_champion"
    for damaged, said in (("[]", "names no versions"), ("{", "is not JSON"),
                          ('{"version": 4}', "names no versions")):  # fmt: skip
        (run_dir / "challenger.json").write_text(damaged)
        error = make(console, 409, run_id="prompt-run", force=True)
        assert error["code"] == "not_let_through"
        assert said in error["message"], error
    write_json(run_dir / "challenger.json", {"version": "pawl@99", "settings_of": None})
    assert make(console, 404, run_id="prompt-run", force=True)["code"] == "unknown_version"
    # What a night trained beside it keeps its prompt.
    console.passed("trained", version)
    folder = console.server.settings.runs_dir / "trained"
    write_json(folder / "challenger.json", {"version": None, "settings_of": version})
    moved = console.promote("trained")
    assert moved["outcome"] == "live", moved
    answer = ask(console)
    assert answer.headers["X-Pawl-Version"] == moved["version"] != version
    assert asked(console).items() >= {"model": moved["version"], "temperature": 0.4}.items()
    assert asked(console)["messages"][0] == {"role": "system", "content": "Tested."}
    summary = console.http.get("/admin/versions").json()[0]
    assert (summary["on"], summary["system_prompt"]) == (None, "Tested.")
    console.post("/admin/rollback", {"to": "base"}).raise_for_status()


def test_a_champion_of_a_prompt_stands_after_a_restart_and_is_refused_on_another_base(
    tmp_path: Path,
) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    with composed(settings, pages=False) as running:
        one = Console(running)
        version = make(one, system_prompt=PROMPT, force=True)["version"]
        one.http.close()
    with composed(settings, pages=False) as running:
        one = Console(running)
        assert ask(one).json()["model"] == version
        assert roles(asked(one)) == ["system", "user"]
        one.http.close()
        promoter = running.app.promoter
        promoter._base = replace(running.base, fingerprint="sha256:another")
        with pytest.raises(PawlError, match="made for another base"):
            promoter.check_champion()


def test_a_base_without_a_system_role_takes_none(tmp_path: Path) -> None:
    base = light_base(tmp_path / "base")
    deaf = replace(base, check=replace(base.check, supports_system=False))
    settings = Settings(state_dir=tmp_path / "state")
    with Store.open(settings.database_path) as store:

        def made(**body: Any) -> Any:
            return made_of(
                PromotionRequest(**body), "ann", base=deaf, store=store, settings=settings
            )

        with pytest.raises(PawlError, match="takes no system message"):
            made(system_prompt=PROMPT)
        cool = made(temperature=0.1)
        assert (cool.version, cool.made_by) == ("pawl@1", "ann")
        assert made(temperature=0.1) == cool
    with Store.open(settings.database_path) as store:
        assert store.version_settings("pawl@1") == cool
        assert store.weights_of("pawl@1") == "base"


def test_what_is_learned_is_what_the_person_saw_without_the_houses_prompt(
    console: Console,
) -> None:
    version = make(console, system_prompt="The house's own words.")["version"]
    answer = ask(console, version, messages=[{"role": "user", "content": "When do you open?"}])
    body = {"completion_id": answer.headers["X-Pawl-Completion-Id"], "thumb": "down",
            "correction": "At seven, each day but Sunday."}  # fmt: skip
    console.post("/v1/feedback", body).raise_for_status()
    rows = curate(console.server.store, console.server.settings).rows
    prompts = [row.prompt for row in rows if "open" in str(row.prompt)]
    assert prompts
    assert all([message["role"] for message in prompt] == ["user"] for prompt in prompts)


def test_the_command_line_makes_shows_and_promotes_a_version(
    console: Console, tmp_path: Path
) -> None:
    model = f"model={console.server.base.model_dir}"
    state = ["--state-dir", str(tmp_path / "state"), "--set", model]
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Answer in rhymes.\n")

    def pawl(*args: str, code: int = 0) -> str:
        result = CliRunner().invoke(cli, [*state, *args], standalone_mode=False)
        if result.exception is not None and not isinstance(result.exception, PawlError):
            raise result.exception
        assert (1 if result.exception else result.return_value or 0) == code, result.output
        return result.output + str(result.exception or "")

    assert "pawl@1 is made, base still answers" in pawl(
        "promote", "--system-prompt", str(prompt), "--temperature", "0.3"
    )
    assert "pawl@1 is next" in pawl("promote", "pawl@1", "--force")
    listed = pawl("versions")
    assert "system prompt: Answer in rhymes." in listed
    assert "temperature 0.3" in listed
    assert "it got neither" in pawl("promote", code=1)
    prompt.write_bytes(b"\xff\xfe")
    assert "no UTF-8" in pawl("promote", "--system-prompt", str(prompt), code=1)


def test_who_made_a_version_is_forgotten_and_the_houses_prompt_stays(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    base = light_base(tmp_path / "base")
    with Store.open(settings.database_path) as store:
        answered(store, rater_id="ann", messages=[{"role": "system", "content": PROMPT}, HELLO])
        request = PromotionRequest(system_prompt=PROMPT)
        made = made_of(request, "ann", base=base, store=store, settings=settings)
        forget(store, settings, "ann", asked_by="admin.key")
        assert store.completions() == []
        [left] = store.all_version_settings()
        assert left == replace(made, made_by=left.made_by)
        assert "ann" not in left.made_by
