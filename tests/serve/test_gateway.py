"""Several gateways before one store: asked by turns, cut off, killed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from benchmarks.gateways import FAULTS, rounds
from pawl.schemas import KeyRequest, Role
from pawl.server import api_key_of
from pawl.settings import Settings
from serve.api.keys import new_key
from tests.serve.gateways import GatewayProcess, beside
from tests.serve.live import Live, Operator, eventually, fake_command, live, promotion
from tests.serve.pages.composed import Cable

pytestmark = pytest.mark.slow
CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"
APP = "https://app.example"
SLOWLY = ("--speed", "100", "0.02", "0")


def body(content: str, **more: object) -> dict[str, object]:
    return {"model": "pawl", "messages": [{"role": "user", "content": content}], **more}


class Asked:
    """Three ways to one store: ``urls``, of which the first is the server's own."""

    def __init__(self, server: Live, settings: Settings, gateways: list[GatewayProcess]) -> None:
        self.server, self.settings = server, settings
        self.urls = [server.url, *(one.url for one in gateways)]
        self.http = httpx.Client(timeout=60, auth=Operator(settings.state_dir))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("state"),
        limits={"requests_per_minute": 30},
        api={"allowed_origins": (APP,)},
    )
    with live(settings, command=fake_command(*SLOWLY)) as server:
        server.call(server.engine.load_adapter("pawl@1", Path("/adapters/pawl@1")))
        with (
            beside(server.url, settings) as first,
            beside(server.url, settings) as second,
        ):
            one = Asked(server, settings, [first, second])
            with one.http:
                yield one


def test_feedback_through_any_gateway_finds_an_answer_of_another(asked: Asked) -> None:
    for n, url in enumerate(asked.urls * 2):
        to = asked.urls[(n + 1) % 3]
        headers = {"X-Pawl-Rater": "ann"}
        sent = body("count 3", stream=n % 2 == 0, seed=n)
        answer = asked.http.post(url + CHAT, json=sent, headers=headers)
        completion_id = answer.headers["X-Pawl-Completion-Id"]
        feedback = {"completion_id": completion_id, "thumb": "down"}
        stored = asked.http.post(to + FEEDBACK, json=feedback, headers=headers)
        assert stored.status_code == 200, stored.text
        [row] = asked.server.store.completions(completion_ids=[completion_id])
        assert (row.rater_id, row.status, row.version) == ("ann", "complete", "base")
        assert row.sampling == {"seed": n}
        assert row.request_id == answer.headers["X-Request-Id"]
        assert row.n_completion_tokens == 3
    listed = asked.http.get(asked.urls[1] + "/admin/gateways").json()
    assert {one["url"] for one in listed} == set(asked.urls[1:])
    frames = asked.server.store.read("SELECT count(DISTINCT gateway_id) FROM gateway_frames")
    assert frames == [(2,)]  # both recorded answers of their own


@pytest.mark.parametrize("stream", [False, True])
def test_a_grant_that_comes_in_parts_stays_with_the_gateway(asked: Asked, stream: bool) -> None:
    long = "count 3 " + "\u0436" * 60_000  # twice in the grant, six bytes each: more than one read
    headers = {"X-Pawl-Rater": "long"}
    answer = asked.http.post(asked.urls[1] + CHAT, json=body(long, stream=stream), headers=headers)
    assert answer.status_code == 200, answer.text
    assert "grant" not in answer.text
    assert "Bearer" not in answer.text
    assert answer.headers["Content-Type"].startswith("text/event-stream") == stream
    ids = [answer.headers["X-Pawl-Completion-Id"]]
    stored = asked.server.store.completions
    [row] = eventually(lambda: stored(completion_ids=ids), "the gateway sends its row")
    assert (row.status, row.messages[-1]["content"]) == ("complete", long)


def test_a_name_is_the_same_whichever_way_it_comes(asked: Asked) -> None:
    for name in ("José".encode(), "José".encode("latin-1")):
        headers = {b"X-Pawl-Rater": name, b"X-Pawl-Conversation": name}
        for url in asked.urls[:2]:
            answer = asked.http.post(url + CHAT, json=body("count 1"), headers=headers)
            [row] = asked.server.rows(answer.headers["X-Pawl-Completion-Id"])
            assert (row.rater_id, row.conversation_id) == ("José", "José")


def test_a_move_holds_for_all_and_an_answer_keeps_its_version(asked: Asked) -> None:
    store, in_flight = asked.server.store, asked.server.in_flight
    began = threading.Event()

    def read_slowly() -> str:
        with asked.http.stream("POST", asked.urls[1] + CHAT, json=body("count 250", stream=True),
                               headers={"X-Pawl-Rater": "ben"}) as answer:  # fmt: skip
            text = ""
            for line in answer.iter_lines():
                if line.startswith("data: {"):
                    event = json.loads(line.removeprefix("data: "))
                    assert event["model"] == "base"
                    text += event["choices"][0]["delta"]["content"]
                    began.set()
        return text

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_slowly)
        assert began.wait(60)
        store.append_promotion(promotion("pawl@1")).result()
        for url in asked.urls:
            answer = asked.http.post(url + CHAT, json=body("count 1"),
                                     headers={"X-Pawl-Rater": "ben"})  # fmt: skip
            assert answer.headers["X-Pawl-Version"] == answer.json()["model"] == "pawl@1"
        assert in_flight.counts["base"] == 1  # so its weights would not be unloaded
        assert len(reading.result(60).split()) == 250
    eventually(lambda: not in_flight.counts["base"], "its weights are free")
    store.append_promotion(promotion("base", "pawl@1")).result()


def test_a_quota_is_one_for_all_gateways(asked: Asked) -> None:
    """30 at once and one more every two seconds, whatever way they come."""
    headers, began = {"X-Pawl-Rater": "carol"}, time.monotonic()
    for n_given in range(90):
        url = asked.urls[n_given % 3]
        answer = asked.http.post(url + CHAT, json=body("count 1"), headers=headers)
        if answer.status_code == 429:
            break
        assert answer.status_code == 200
    assert 30 <= n_given <= 31 + (time.monotonic() - began) / 2
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(answer.headers["Retry-After"]) >= 1


def test_who_hangs_up_frees_the_engine_and_what_came_is_recorded(asked: Asked) -> None:
    with asked.http.stream("POST", asked.urls[2] + CHAT, json=body("hold midway", stream=True),
                           headers={"X-Pawl-Rater": "dora"}) as answer:  # fmt: skip
        completion_id = answer.headers["X-Pawl-Completion-Id"]
        lines = answer.iter_lines()  # named: the connection ends with it
        next(lines)
        eventually(lambda: asked.server.gateway.admission.n_held == 1, "it holds a place")
    [row] = asked.server.rows(completion_id)
    assert (row.status, row.version) == ("cancelled", "base")
    eventually(lambda: not asked.server.seen()["n_running"], "the engine dropped it")
    eventually(lambda: not asked.server.gateway.admission.n_held, "its place is free")


def test_a_page_of_a_named_origin_may_read_every_gateways_answers(asked: Asked) -> None:
    names = {"access-control-allow-origin", "access-control-expose-headers", "vary"}
    for sent in (body("count 1"), body("count 1", stream=True), body("long " * 2000)):
        heads = []
        for url in asked.urls:
            answer = asked.http.post(url + CHAT, json=sent, headers={"Origin": APP})
            heads.append({name: answer.headers.get(name) for name in names})
        assert heads[0]["access-control-allow-origin"] == APP
        assert heads[1:] == heads[:1] * 2


def test_who_hangs_up_is_charged_by_any_gateway_as_by_the_server(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, limits={"tokens_per_minute": 300})
    sent = body("hold first", max_tokens=400)  # more than the quota, which takes one on credit
    with live(settings) as server, beside(server.url, settings) as one:
        for url, rater in ((server.url, "eva"), (one.url, "finn")):
            headers = {"X-Pawl-Rater": rater}
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(url + CHAT, json=sent, headers=headers, timeout=2)
            eventually(lambda: not server.gateway.admission.n_held, "its place is free")
            again = httpx.post(url + CHAT, json=body("count 1"), headers=headers, timeout=30)
            assert again.status_code == 429, rater


def test_what_a_gateway_could_not_record_is_counted_where_it_is_looked_for(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path)
    with live(settings) as server, beside(server.url, settings) as one:
        [journal] = (tmp_path / "gateways").glob("*.journal")
        journal.unlink()  # as a disk that fails: the next answer can't be recorded
        answer = httpx.post(one.url + CHAT, json=body("count 1"), timeout=60)
        assert answer.json()["error"]["code"] == "not_recorded"
        counted = "pawl_recording_failures_total 1.0"
        eventually(lambda: counted in httpx.get(server.url + "/metrics").text, "it is counted")
        eventually(journal.exists, "it is made anew")
        assert httpx.post(one.url + CHAT, json=body("count 1"), timeout=60).status_code == 200
        too_long = httpx.post(one.url + CHAT, json=body("too long"), timeout=60)
        assert too_long.status_code == 400  # by the engine, so there is nothing to record
        assert counted in httpx.get(server.url + "/metrics").text


def test_pages_and_admin_routes_are_the_servers(asked: Asked) -> None:
    paths = ("/v1/models", "/openapi.json", "/nowhere", "/v1/feedback/categories", "/metrics")
    for path in paths:
        theirs, ours = (asked.http.get(url + path) for url in asked.urls[:2])
        assert theirs.status_code == ours.status_code
        if path != "/metrics":
            assert theirs.content == ours.content
    whole = [httpx.Request("OPTIONS", url, extensions={"target": b"*"}) for url in asked.urls[:2]]
    assert [asked.http.send(one).status_code for one in whole] == [404, 404]
    operator = Operator(asked.settings.state_dir)
    added = httpx.post(asked.urls[1] + "/admin/gateways/short", json={}, auth=operator)
    assert added.status_code == 400
    assert httpx.get(asked.urls[1] + "/admin/gateways").status_code == 401


def test_cut_off_it_ends_what_it_began_and_a_kill_loses_none_of_it(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "server")
    with live(settings, command=fake_command(*SLOWLY)) as server:
        key = api_key_of(settings)
        cable = Cable(urlsplit(server.url).port or 0)
        url, state_dir = f"http://127.0.0.1:{cable.port}", tmp_path / "gateway"
        one = GatewayProcess(url, state_dir, key)
        try:
            with httpx.stream("POST", one.url + CHAT, json=body("count 100", stream=True),
                              timeout=60) as answer:  # fmt: skip
                completion_id = answer.headers["X-Pawl-Completion-Id"]
                lines = answer.iter_lines()
                next(lines)
                cable.cut()
                rest = [line for line in lines if line]
            assert rest[-1] == "data: [DONE]"
            eventually(lambda: httpx.get(one.url + "/health").status_code == 503, "it is cut off")
            refused = httpx.post(one.url + CHAT, json=body("count 1"))
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "owner_unreachable"
            assert httpx.get(one.url + "/health").json()["n_unsent"] == 1
            one.kill()
            assert server.store.completions(completion_ids=[completion_id]) == []
            cable.mend()
            one = GatewayProcess(url, state_dir, key)
            [row] = server.rows(completion_id)
            assert (row.status, len(row.completion.split())) == ("complete", 100)
            assert httpx.post(one.url + CHAT, json=body("count 1")).status_code == 200
        finally:
            assert one.stop() == 0
        assert list((state_dir / "gateways").iterdir()) == []
        assert state_dir.stat().st_mode & 0o077 == 0
        assert len(server.store.completions()) == 2


def test_another_store_at_the_servers_address_gets_nothing_of_the_first(tmp_path: Path) -> None:
    first, second = (Settings(state_dir=tmp_path / name) for name in ("first", "second"))
    with live(first, command=fake_command(*SLOWLY)) as server, live(second, wait=False) as other:
        cable = Cable(urlsplit(server.url).port or 0)
        url, state_dir = f"http://127.0.0.1:{cable.port}", tmp_path / "gateway"

        def starts_before(at: Live, settings: Settings) -> GatewayProcess:
            cable.cut()
            cable._target = "127.0.0.1", urlsplit(at.url).port or 0
            cable.mend()
            return GatewayProcess(url, state_dir, api_key_of(settings))

        def health() -> dict[str, object]:
            return dict(httpx.get(one.url + "/health").json())

        one = starts_before(server, first)
        try:
            with httpx.stream("POST", one.url + CHAT, json=body("count 250", stream=True),
                              timeout=60) as answer:  # fmt: skip
                completion_id = answer.headers["X-Pawl-Completion-Id"]
                cable.cut()
                assert [line for line in answer.iter_lines() if line][-1] == "data: [DONE]"
            one.kill()
            one = starts_before(other, second)
            eventually(lambda: health()["n_journals_of_other_stores"] == 1, "it is left as it is")
            assert httpx.get(one.url + "/v1/models").status_code == 200
            assert one.stop() == 0
            assert other.store.completions() == []
            one = starts_before(server, first)
            assert len(server.rows(completion_id)) == 1
        finally:
            one.stop()
        assert list((state_dir / "gateways").iterdir()) == []


def test_below_a_path_it_answers_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAWL_API__ROOT_PATH", "/pawl")
    settings = Settings(state_dir=tmp_path)
    with live(settings) as server, beside(server.url, settings) as one:
        for path in ("/pawl", ""):  # as proxies pass it on
            answer = httpx.post(one.url + path + CHAT, json=body("count 2"))
            server.rows(answer.headers["X-Pawl-Completion-Id"])
        assert httpx.get(one.url + "/pawl/health").json()["n_unsent"] == 0
        assert server.store.read("SELECT max(last) FROM gateway_frames") == [(2,)]


@pytest.mark.parametrize("what", FAULTS)
def test_whichever_side_ends_what_was_acknowledged_is_kept_once(tmp_path: Path, what: str) -> None:
    """One round of the benchmark, whose cut is by a proxy here."""
    figures, missed = rounds(tmp_path / "house", what, 1, seed=1, cuts=False)
    assert missed == [], figures
    assert not figures[f"{what}, 1 times: acknowledged answers, feedback"].startswith("0,")


def test_a_gateways_own_key_is_enough_until_it_is_revoked(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "server")
    with live(settings) as server:
        access = server.store.access
        keys = {
            role: new_key(access, KeyRequest(name=role, role=role))[1]
            for role in (Role.USER, Role.GATEWAY)
        }
        with pytest.raises(RuntimeError, match="pawl gateway ended"):
            GatewayProcess(server.url, tmp_path / "gateway", keys[Role.USER])
        one = GatewayProcess(server.url, tmp_path / "gateway", keys[Role.GATEWAY])
        try:
            users = {"Authorization": f"Bearer {keys[Role.USER]}"}
            answer = httpx.post(one.url + CHAT, json=body("count 3"), headers=users, timeout=60)
            [row] = server.rows(answer.headers["X-Pawl-Completion-Id"])
            assert row.rater_id == "user"
            assert server.store.read("SELECT max(last) FROM gateway_frames") == [(1,)]
            for key in (keys[Role.GATEWAY], "none"):
                headers = {"Authorization": f"Bearer {key}"}
                refused = httpx.post(one.url + CHAT, json=body("count 3"), headers=headers)
                assert refused.status_code in (401, 403), refused.text
            access.revoke_key("gateway")
            eventually(lambda: httpx.get(one.url + "/health").status_code == 503, "it is refused")
        finally:
            one.stop()


def test_a_gateway_without_a_right_key_does_not_start(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "server", api_key="sesame")
    with (
        live(settings, wait=False) as server,
        pytest.raises(RuntimeError, match="pawl gateway ended"),
    ):
        GatewayProcess(server.url, tmp_path / "gateway", "no-such-key")
