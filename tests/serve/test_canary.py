"""A challenger that passed waits for a signature, then answers a share of the conversations."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from feedback.arms import takes_part
from pawl.adapters import WEIGHTS
from pawl.cli import cli
from pawl.files import write_json
from pawl.schemas import Promotion
from pawl.settings import Settings
from serve.canary import WHAT, Canary, decide
from tests.adapters_for_tests import approved_run, light_adapter, light_base
from tests.feedback.examples import make_promotion
from tests.serve.console import Console
from tests.serve.live import eventually
from tests.serve.pages.composed import Composed, composed

SHARE = 0.5
_names = itertools.count()

# ---- the test, simulated ----

RATES = {"flagged": 0.1, "failed": 0.02, "slow": 0.05}  # of the champion's conversations
N_CONVERSATIONS, N_CLIENTS, LOOK_EVERY = 4000, 60, 200


def simulated(seed: int, ratio: float = 1.0, flags_ours: bool = False) -> str:
    """How a canary with a fifth of the conversations ends. Clients ask as often as their rank says
    (Zipf's law); ``ratio``: how much oftener the challenger's conversations are flagged;
    ``flags_ours``: the busiest client flags all of them, and none of the champion's."""
    rng, share = np.random.default_rng(seed), 0.2
    weights = 1 / np.arange(1, N_CLIENTS + 1)
    clients = rng.choice(N_CLIENTS, N_CONVERSATIONS, p=weights / weights.sum())
    ours = rng.random(N_CONVERSATIONS) < share
    wrong = {}
    for name, rate in RATES.items():
        rates = np.where(ours & (name == "flagged"), rate * ratio, rate)
        wrong[name] = rng.random(N_CONVERSATIONS) < rates
    if flags_ours:
        wrong["flagged"][clients == 0] = ours[clients == 0]
    for n in range(LOOK_EVERY, N_CONVERSATIONS + 1, LOOK_EVERY):
        counts = {}
        for name, is_wrong in wrong.items():
            arms = [np.bincount(clients[:n][is_wrong[:n] & arm[:n]], minlength=N_CLIENTS).tolist()
                    for arm in (ours, ~ours)]  # fmt: skip
            counts[name] = list(zip(*arms, strict=True))
        outcome, _ = decide(counts, N_CLIENTS, share, age=float(n == N_CONVERSATIONS))
        if outcome != "canary":
            return outcome
    raise AssertionError("it goes on after its time")


def test_an_equal_challenger_is_seldom_taken_back_and_one_twice_as_bad_is_found() -> None:
    equal = [simulated(seed) for seed in range(200)]
    assert equal.count("refused") <= 0.05 * len(equal)
    assert equal.count("live") >= 0.9 * len(equal)
    bad = [simulated(seed, ratio=2) for seed in range(100)]
    assert bad.count("live") <= 0.05 * len(bad)
    assert bad.count("refused") >= 0.9 * len(bad)


def test_one_client_who_flags_every_answer_of_the_challenger_does_not_decide() -> None:
    ends = [simulated(seed, flags_ours=True) for seed in range(100)]
    assert ends.count("refused") <= 0.1 * len(ends)
    assert ends.count("live") >= 0.8 * len(ends)


def test_the_bound_of_a_client_holds_where_there_are_others() -> None:
    def ends(n_against: int, what: str, n_clients: int = 50, **more: Any) -> str:
        wrong: dict[str, list[tuple[int, int]]] = {name: [] for name in WHAT}
        wrong[what] = [(1000, 0)] * n_against
        return decide(wrong, n_clients, 0.1, **more)[0]

    for what in WHAT:
        found = [ends(n, what) for n in (0, 1, 4, 5)]
        assert found == ["canary", "canary", "canary", "refused"]
        # What could not be shown is no reason to let it in: a person looks.
        found = [ends(n, what, age=1) for n in (0, 1, 2, 4, 5)]
        assert found == ["live", "live", "waiting", "waiting", "refused"]
        found = [ends(0, what, age=age, has_enough=False) for age in (1, 2.9, 3)]
        assert found == ["canary", "canary", "waiting"]
    assert ends(1, "flagged", 4) == "refused"  # in a small house everybody knows who said what


def test_it_is_let_in_early_by_several_and_after_enough_conversations() -> None:
    def ends(n_for: int, **more: Any) -> str:
        wrong: dict[str, list[tuple[int, int]]] = {name: [] for name in WHAT}
        wrong["flagged"] = [(0, 1000)] * n_for
        return decide(wrong, 50, 0.1, **more)[0]

    assert [ends(n) for n in (1, 4, 5)] == ["canary", "canary", "live"]
    assert ends(5, has_enough=False) == "canary"


def test_a_share_is_what_it_says_and_stays() -> None:
    names = [f"conversation-{n}" for n in range(4000)]
    for share in (0.0, 0.1, 0.5):
        chosen = [name for name in names if takes_part("p-1", share, name)]
        assert abs(len(chosen) / len(names) - share) <= 0.025
        assert chosen == [name for name in names if takes_part("p-1", share, name)]
    ours = {name for name in names if takes_part("p-1", 0.1, name)}
    assert ours != {name for name in names if takes_part("p-2", 0.1, name)}


# ---- a server ----


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("canary")
    with composed(settings_in(folder), pages=False) as server:
        console = Console(server)
        yield console
        console.http.close()


def settings_in(folder: Any, **promotion: Any) -> Settings:
    promotion = {"approval": True, "canary_share": SHARE, **promotion}
    return Settings(state_dir=folder / "state", promotion=promotion)


def begin(console: Console, run_id: str) -> Promotion:
    """Promote a challenger; its canary."""
    console.passed(run_id, console.status()["champion"])
    assert console.promote(run_id)["outcome"] == "waiting"
    moved = console.post(f"/admin/runs/{run_id}/approve").json()
    assert moved["outcome"] == "canary", moved
    return Promotion(**moved)


def conversations(row: Promotion, is_theirs: bool) -> Iterator[str]:
    """New ids of conversations that the challenger, or the champion, answers."""
    for n in _names:
        if takes_part(row.promotion_id, SHARE, f"c-{n}") == is_theirs:
            yield f"c-{n}"


def chat(console: Console, conversation_id: str, rater: str = "ann", model: str = "pawl") -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    headers = {"X-Pawl-Conversation": conversation_id, "X-Pawl-Rater": rater}
    return console.http.post("/v1/chat/completions", json=body, headers=headers).json()


def flag(console: Console, row: Promotion, rater: str, n: int) -> None:
    """``n`` conversations of this rater with the challenger, each flagged."""
    for conversation_id in itertools.islice(conversations(row, True), n):
        answer = chat(console, conversation_id, rater)
        assert answer["model"] == row.version
        body = {"completion_id": answer["id"], "thumb": "down", "user": rater}
        console.post("/v1/feedback", body).raise_for_status()


def look(server: Composed) -> Promotion | None:
    canary = Canary(server.settings, server.store, server.app.promoter)
    return server.call(canary.look())


def test_a_challenger_waits_until_somebody_signs_or_refuses(console: Console) -> None:
    champion = console.status()["champion"]
    for run_id in ("first", "second"):
        console.passed(run_id, champion)
        assert console.promote(run_id)["outcome"] == "waiting"
    version = console.promote("first")["version"]  # asked again, it is the same one
    status = console.status()
    assert status["champion"] == champion
    assert [row["run_id"] for row in status["waiting"]] == ["first", "second"]
    runs = {run["run_id"]: run["promotion"] for run in console.http.get("/admin/runs").json()}
    assert {runs[name]["outcome"] for name in ("first", "second")} == {"waiting"}
    assert console.post("/admin/runs/nope/approve").json()["error"]["code"] == "not_waiting"

    signed = console.post("/admin/runs/first/approve").json()
    assert (signed["outcome"], signed["version"]) == ("canary", version)
    second = console.post("/admin/runs/second/approve").json()  # one canary at a time
    assert second["error"]["code"] == "canary_runs"
    for run_id in ("first", "second"):
        assert console.post(f"/admin/runs/{run_id}/reject").json()["outcome"] == "refused"
    assert console.status()["waiting"] == []
    actions = [one["action"] for one in console.http.get("/admin/audit").json()]
    assert {"approve", "reject"} <= set(actions)
    told = [change.kind for change in console.server.store.changes_since(0, 100)]
    assert {"challenger.waiting", "challenger.canary"} <= set(told)


def test_a_person_ends_a_canary_and_a_rollback_says_how(console: Console) -> None:
    row = begin(console, "liked")
    refused = console.post("/admin/rollback")
    assert refused.json()["error"]["code"] == "canary_runs"
    assert "pawl reject liked" in refused.json()["error"]["message"]
    assert console.status()["champion"] == row.previous_version
    approved = console.post("/admin/runs/liked/approve").json()
    assert (approved["outcome"], approved["promotion_id"]) == ("live", row.promotion_id)
    for is_theirs in (True, False):
        assert chat(console, next(conversations(row, is_theirs)))["model"] == row.version
    assert console.post("/admin/rollback").json()["version"] == row.previous_version


@pytest.mark.slow
def test_a_canary_that_left_the_engine_is_not_let_in_and_who_waited_for_it_is_answered(
    console: Console,
) -> None:
    row = begin(console, "gone")
    server = console.server
    admission, promoter = server.app.gateway.admission, server.app.promoter
    places = AsyncExitStack()

    async def fill() -> None:
        for n in range(admission.n_places + admission.n_reserved):
            await places.enter_async_context(admission.place(f"{n}", 1, 1))

    server.call(fill())
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(chat, console, next(conversations(row, True)))
        eventually(lambda: admission.n_waiting == 1, "a request waits")
        server.call(server.engine.unload_adapter(row.version))  # as when an engine comes again
        assert server.call(promoter.end_canary(row.promotion_id, "live", "")) is None
        assert promoter.canary == row
        console.post("/admin/runs/gone/reject").raise_for_status()
        server.call(places.aclose())
        assert waiting.result()["model"] == row.previous_version


def test_a_canary_has_its_share_and_goes_when_several_complain(console: Console) -> None:
    row = begin(console, "bad")
    champion = row.previous_version
    (ours, theirs) = (next(conversations(row, is_theirs)) for is_theirs in (True, False))
    for conversation_id, version in ((ours, row.version), (theirs, champion), (ours, row.version)):
        assert chat(console, conversation_id)["model"] == version
    assert chat(console, ours, model=champion)["model"] == champion
    cards = {card["id"]: card["version"] for card in console.http.get("/v1/models").json()["data"]}
    assert cards["pawl"] == champion

    for n in range(5):
        chat(console, theirs, f"quiet-{n}")
    flag(console, row, "troll", 12)
    assert look(console.server) is None
    for n in range(5):
        flag(console, row, f"person-{n}", 4)
    status = console.status()["canary"]
    assert (status["version"], status["share"], status["outcome"]) == (
        row.version,
        SHARE,
        "refused",
    )
    assert status["wrong"]["flagged"] == {"challenger": 32, "champion": 0}
    settings = console.server.settings
    started = {"url": console.server.url, "pid": os.getpid(), "started_at": ""}
    write_json(settings.server_file, started)
    told = CliRunner().invoke(cli, ["--state-dir", str(settings.state_dir), "status"])
    assert "flagged 32 (champion 0)" in told.output, told.output
    ended = look(console.server)
    assert ended is not None
    assert (ended.outcome, ended.promotion_id) == ("refused", row.promotion_id)
    assert chat(console, ours)["model"] == champion
    assert console.status()["canary"] is None
    eventually(lambda: row.version not in console.server.engine.loaded, "it left the engine")


def test_another_champion_ends_all_that_was_compared_with_the_one_before(console: Console) -> None:
    row = begin(console, "late")
    for run_id in ("later", "urgent"):
        console.passed(run_id, row.previous_version)
    assert console.promote("later")["outcome"] == "waiting"
    forced = console.promote("urgent", force=True)  # which signs, too
    assert forced["outcome"] == "live"
    status = console.status()
    assert (status["canary"], status["waiting"]) == (None, [])
    assert chat(console, next(conversations(row, True)))["model"] == forced["version"]
    # As a kill between two rows may leave it: the champion moved, the challenger still waits.
    console.passed("latest", forced["version"])
    waiting = {**console.promote("latest"), "previous_version": "pawl@99"}
    console.server.store.append_promotion(Promotion(**waiting)).result()
    assert console.post("/admin/runs/latest/approve").json()["outcome"] == "refused"
    row = begin(console, "stale")
    back = make_promotion("base", "live", kind="rollback", previous_version=row.previous_version)
    console.server.store.append_promotion(back).result()
    assert chat(console, next(conversations(row, True)))["model"] == "base"
    ended = look(console.server)
    assert ended is not None
    assert (ended.outcome, ended.version) == ("refused", row.version)


def test_force_lets_in_what_waits_or_is_on_its_canary(console: Console) -> None:
    console.passed("waits", console.status()["champion"])
    waiting = console.promote("waits")
    assert waiting["outcome"] == "waiting"
    forced = console.promote("waits", force=True)
    assert (forced["outcome"], forced["version"]) == ("live", waiting["version"])
    row = begin(console, "answers some")
    forced = console.promote("answers some", force=True)
    assert (forced["outcome"], forced["promotion_id"]) == ("live", row.promotion_id)
    assert console.status()["canary"] is None
    # A version of a system prompt that a night tested, by the version's own name.
    made = console.post("/admin/promotions", {"system_prompt": "Tested."}).json()["version"]
    run_dir = console.server.settings.runs_dir / "prompt"
    [fingerprint] = [one["fingerprint"] for one in console.http.get("/admin/versions").json()
                     if one["version"] == made]  # fmt: skip
    write_json(run_dir / "challenger.json", {"version": made, "settings_of": None})
    write_json(run_dir / "verdict.json", {"outcome": "promote", "champion_version": row.version,
                                          "challenger_fingerprint": fingerprint})  # fmt: skip
    assert console.promote("prompt")["outcome"] == "waiting"
    forced = console.post("/admin/promotions", {"version": made, "force": True}).json()
    assert (forced["outcome"], forced["version"], forced["run_id"]) == ("live", made, "prompt")
    assert chat(console, "anyone")["model"] == made


@pytest.mark.slow
def test_a_canary_whose_files_broke_is_taken_back_when_the_engine_comes_again(
    console: Console,
) -> None:
    row = begin(console, "broken")
    weights = console.server.settings.adapters_dir / row.version / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    promoter = console.server.app.promoter
    console.server.call(promoter.finish_pending())
    assert promoter.canary is None
    assert row.version not in promoter.offered
    assert console.server.store.promotions()[-1].outcome == "refused"


@pytest.mark.slow
def test_signature_and_canary_survive_restarts(tmp_path: Path) -> None:
    """Promoted and signed without a server, tried by the next, signed once more at the last."""
    settings, base = settings_in(tmp_path), light_base(tmp_path / "base")
    approved_run(settings.runs_dir, "good", light_adapter(tmp_path / "good", base), "base")
    flags = ["--state-dir", str(settings.state_dir), "--set", f"model={base.model_dir}",
             "--set", "promotion.approval=true"]  # fmt: skip
    assert "waits for approval" in CliRunner().invoke(cli, [*flags, "promote", "good"]).output
    assert "pawl approve good" in CliRunner().invoke(cli, [*flags, "status"]).output
    signed = CliRunner().invoke(cli, [*flags, "approve", "good"])
    assert signed.exit_code == 0, signed.output
    with composed(settings, base=base, pages=False) as server:
        console = Console(server)
        row = server.app.promoter.canary
        assert row is not None
        conversation_id = next(conversations(row, True))
        assert chat(console, conversation_id)["model"] == row.version == "pawl@1"
        console.http.close()
    hurried = settings_in(tmp_path, canary_hours=1e-9, canary_conversations=2)
    with composed(hurried, base=base, pages=False) as server:
        console = Console(server)
        assert chat(console, conversation_id)["model"] == row.version
        ended = look(server)  # one conversation alone, and its time is over three times
        assert ended is not None
        assert (ended.outcome, ended.version) == ("waiting", row.version)
        assert chat(console, conversation_id)["model"] == "base"
        signed = console.post("/admin/runs/good/approve").json()  # it had its canary
        assert (signed["outcome"], signed["version"]) == ("live", row.version)
        for is_theirs in (True, False):
            answer = chat(console, next(conversations(row, is_theirs)))
            assert answer["model"] == row.version
        console.http.close()
