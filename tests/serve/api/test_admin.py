"""The /admin routes over HTTP: what they answer, and that nonsense is answered in plain words."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from pawl.schemas import ItemScore
from pawl.settings import load_settings
from serve.api.app import PawlApp, build_app
from tests.adapters_for_tests import SPOILT, approved_run, light_adapter, light_base
from tests.serve.live import Operator
from tests.serve.toy_world import toy_settings, toy_world


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 120))


@asynccontextmanager
async def admin(tmp_path: Path, api_key: str | None = None) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app as command-line verbs call it: in this process, without an engine."""
    settings = toy_settings(tmp_path)
    if api_key is not None:
        settings = load_settings(
            {"state_dir": settings.state_dir, "model": settings.model, "api_key": api_key}
        )
    app = build_app(settings, None)
    try:
        async with client_of(app) as client:
            yield client
    finally:
        app.close()


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PawlApp]:
    """One app for all that changes nothing in it."""
    app = build_app(toy_settings(tmp_path_factory.mktemp("idle")), None)
    yield app
    app.close()


@asynccontextmanager
async def client_of(app: PawlApp) -> AsyncIterator[httpx.AsyncClient]:
    transport, auth = httpx.ASGITransport(app), Operator(app.store._database.path.parent)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://pawl.invalid", auth=auth
    ) as client:
        yield client


@asynccontextmanager
async def served(tmp_path: Path, *options: str) -> AsyncIterator[tuple[Any, httpx.AsyncClient]]:
    """The app with a toy engine that is ready."""
    async with toy_world(tmp_path, *options) as world:
        app = build_app(
            world.settings, world.engine, base=world.base, store=world.store, pages=False
        )
        async with client_of(app) as client:
            yield world, client
        await app.promoter.close()


def error_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "retryable"}
    assert error["message"].endswith((".", "!", "?"))
    return error


def test_status_says_who_answers_and_what_runs(tmp_path: Path) -> None:
    async def test() -> None:
        async with admin(tmp_path) as client:
            status = (await client.get("/admin/status")).json()
        assert status["champion"] == "base"
        assert status["engine"]["state"] == "off"
        assert status["base"]["fingerprint"] == light_base(tmp_path / "base").fingerprint
        assert status["base"]["dir"] == str(tmp_path / "base")
        assert status["adapters"] == []
        assert status["counts"]["completions"] == 0
        assert status["url"] is None

    run(test())


def test_promote_rollback_history_over_http(tmp_path: Path) -> None:
    async def test() -> None:
        async with served(tmp_path) as (world, client):
            for n in (1, 2):
                made = world.adapter(f"a{n}", n)
                champion = world.store.champion()
                approved_run(world.settings.runs_dir, f"run-{n}", made, champion)
                body = {"run_dir": f"run-{n}"}
                moved = (await client.post("/admin/promotions", json=body)).json()
                assert (moved["outcome"], moved["version"]) == ("live", f"pawl@{n}"), moved
                assert moved["run_id"] == f"run-{n}"
            status = (await client.get("/admin/status")).json()
            assert (status["champion"], status["adapters"]) == ("pawl@2", ["pawl@1", "pawl@2"])
            assert status["engine"]["state"] == "ready"
            back = (await client.post("/admin/rollback")).json()
            assert (back["kind"], back["version"]) == ("rollback", "pawl@1")
            base = (await client.post("/admin/rollback", json={"to": "base"})).json()
            assert base["version"] == "base"
            error = error_of(await client.post("/admin/rollback", json={}), 409)
            assert error["code"] == "no_earlier_champion"
            history = (await client.get("/admin/history")).json()
            assert [(one["kind"], one["version"], one["outcome"]) for one in history] == [
                ("promote", "pawl@1", "live"),
                ("promote", "pawl@2", "live"),
                ("rollback", "pawl@1", "live"),
                ("rollback", "base", "live"),
            ]

    run(test())


def test_a_spoilt_challenger_over_http_changes_nothing_and_the_server_answers(
    tmp_path: Path,
) -> None:
    """Two of them; all: ``tests/serve/test_promotion.py``."""

    async def test() -> None:
        async with served(tmp_path) as (world, client):
            good = approved_run(world.settings.runs_dir, "good", world.adapter("good", 1), "base")
            await client.post("/admin/promotions", json={"run_dir": str(good)})
            for seed, name in enumerate(("nan", "truncated"), start=2):
                spoil, words = SPOILT[name]
                bad = world.adapter(name, seed)
                spoil(bad)
                approved_run(world.settings.runs_dir, name, bad, "pawl@1")
                moved = (await client.post("/admin/promotions", json={"run_dir": name})).json()
                assert moved["outcome"] == "refused", name
                assert words in moved["reason"], name
                assert (await client.get("/admin/status")).json()["champion"] == "pawl@1"
                answer = await client.post(
                    "/v1/completions",
                    json={"model": "pawl", "prompt": "hello", "max_tokens": 3, "stream": True},
                )
                assert answer.status_code == 200, answer.text
                assert answer.headers["x-pawl-version"] == "pawl@1"
                assert answer.text.rstrip().endswith("data: [DONE]")

    run(test())


def test_an_adapter_promoted_without_a_server_waits(tmp_path: Path) -> None:
    async def test() -> None:
        settings = toy_settings(tmp_path)
        made = light_adapter(tmp_path / "one", light_base(tmp_path / "base"))
        async with admin(tmp_path) as client:
            moved = (
                await client.post(
                    "/admin/promotions",
                    json={"adapter_dir": str(made), "force": True, "run_id": "by hand"},
                )
            ).json()
            assert (moved["outcome"], moved["run_id"]) == ("pending", "by hand")
            assert (await client.get("/admin/status")).json()["champion"] == "base"
        assert (settings.adapters_dir / "pawl@1" / "manifest.json").exists()

    run(test())


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/admin/promotions", {}, 400, None),
        ("/admin/promotions", {"run_dir": "none"}, 404, "run_dir"),
        ("/admin/promotions", {"adapter_dir": "/nowhere"}, 400, "force"),
        ("/admin/promotions", {"colour": 1}, 400, "colour"),
        ("/admin/rollback", {"to": 3}, 400, "to"),
        ("/admin/rollback", {"back": "pawl@1"}, 400, "back"),
        ("/admin/rollback", {"to": "pawl@1"}, 404, "to"),
        ("/admin/runs", {"run_id": "r"}, 400, "status"),
        ("/admin/runs", {"run_id": "../r", "status": "training"}, 400, "run_id"),
        ("/admin/runs", {"run_id": "r", "status": "training", "detail": "x"}, 400, "detail"),
        ("/admin/runs/r/scores", {"role": "judge", "dir": "/tmp"}, 400, "role"),
        ("/admin/runs/r/scores", {"role": "anchor", "dir": "/etc"}, 400, "dir"),
        ("/admin/runs/r/scores", {"role": "anchor", "dir": "/a\0b"}, 400, "dir"),
        ("/admin/runs/r/scores", {"role": "anchor", "dir": "scores"}, 400, "dir"),
        ("/admin/import", {"path": "/a\0b"}, 400, "path"),
        ("/admin/promotions", {"run_dir": 7}, 400, "run_dir"),
        ("/admin/promotions", {"run_dir": "a\0b"}, 400, "run_dir"),
        ("/admin/promotions", {"run_dir": "x" * 256}, 400, "run_dir"),
        ("/admin/promotions", {"adapter_dir": "/ä" * 1200, "force": True}, 400, "adapter_dir"),
        ("/admin/runs/r/scores", {"role": "anchor", "dir": f"/{'x' * 256}"}, 400, "dir"),
        ("/admin/promotions", {"adapter_dir": "good", "force": True}, 400, "adapter_dir"),
        ("/admin/runs/r/verdict", {"reasons": []}, 400, "outcome"),
        ("/admin/snapshots", {"all": True}, 400, "all"),
        ("/admin/import", {"path": "/etc/passwd"}, 400, "path"),
        ("/admin/import", {"path": "../pawl.duckdb"}, 400, "path"),
        ("/admin/import", {"path": "absent.json"}, 404, "path"),
        ("/admin/export", {"path": "/tmp/x", "format": "sft"}, 400, "path"),
        ("/admin/export", {"path": "../pawl.duckdb", "format": "sft"}, 400, "path"),
        ("/admin/export", {"path": "", "format": "sft"}, 400, "path"),
        ("/admin/rollback", {"to": ""}, 400, "to"),
        ("/admin/import", {}, 400, "path"),
        ("/admin/export", {"path": "x.jsonl"}, 400, "format"),
    ],
)
def test_requests_that_make_no_sense(
    path: str, body: dict[str, Any], status: int, param: str | None, idle: PawlApp
) -> None:
    async def test() -> None:
        async with client_of(idle) as client:
            error = error_of(await client.post(path, json=body), status)
            assert error["param"] == param
            assert not re.search(r"\b(str|dict|bool)\b", error["message"])  # Python's own words

    run(test())


@pytest.mark.parametrize("raw", [b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b"NaN"])
def test_bodies_that_are_no_json_objects(raw: bytes, idle: PawlApp) -> None:
    async def test() -> None:
        async with client_of(idle) as client:
            for path in ("/admin/promotions", "/admin/rollback", "/admin/runs"):
                answer = await client.post(path, content=raw)
                assert error_of(answer, 400)["code"] == "invalid_json"
            assert (await client.get("/admin/history")).json() == []

    run(test())


def test_a_body_that_is_too_large_is_refused(idle: PawlApp) -> None:
    async def test() -> None:
        async with client_of(idle) as client:
            answer = await client.post("/admin/runs", content=b" " * 10_000_000)
            assert error_of(answer, 413)["code"] == "request_too_large"

    run(test())


@pytest.mark.parametrize("left", ['{"url": "http://127.0.0.1:1", "pid": 1}', "[]", "{"])
def test_status_shows_no_address_of_a_server_that_is_gone(tmp_path: Path, left: str) -> None:
    async def test() -> None:
        async with admin(tmp_path) as client:
            toy_settings(tmp_path).server_file.write_text(left)
            answer = await client.get("/admin/status")
            assert (answer.status_code, answer.json()["url"]) == (200, None)

    run(test())


def test_the_key_guards_the_admin_routes(tmp_path: Path) -> None:
    async def test() -> None:
        async with admin(tmp_path, api_key="sesame") as client:
            wrong = {"Authorization": "Bearer sesame!"}
            refused = await client.get("/admin/status", headers=wrong)
            assert error_of(refused, 401)["code"] == "invalid_api_key"
            assert (await client.post("/admin/rollback", headers=wrong)).status_code == 401
            right = {"Authorization": "Bearer sesame"}
            assert (await client.get("/admin/status", headers=right)).status_code == 200

    run(test())


def test_a_nights_states_scores_and_verdict_are_kept(tmp_path: Path) -> None:
    async def test() -> None:
        settings = toy_settings(tmp_path)
        scores_dir = settings.runs_dir / "night-1" / "scores" / "challenger"
        scores_dir.mkdir(parents=True)
        items = [ItemScore("everyday_arc", f"i{n}", n % 2, f"i{n}") for n in range(5)]
        (scores_dir / "items.jsonl").write_text(
            "".join(json.dumps(asdict(one)) + "\n" for one in items)
        )
        async with admin(tmp_path) as client:
            for status in ("training", "scoring"):
                answer = await client.post(
                    "/admin/runs",
                    json={"run_id": "night-1", "status": status, "detail": {"step": status}},
                )
                assert answer.status_code == 200
            path = "/admin/runs/night-1/scores"
            body = {"role": "challenger", "dir": str(scores_dir)}
            assert error_of(await client.post(path, json=body), 404)["param"] == "dir"
            (scores_dir / "manifest.json").write_text("{}")
            assert (await client.post(path, json=body)).json()["n_items"] == 5
            verdict = {"outcome": "reject", "reasons": ["worse"], "benchmarks": []}
            answer = await client.post("/admin/runs/night-1/verdict", json=verdict)
            assert answer.json() == {"run_id": "night-1", "outcome": "reject"}
            (one,) = (await client.get("/admin/runs")).json()
            assert (one["run_id"], one["status"]) == ("night-1", "scoring")
            shown = (await client.get("/admin/runs/night-1")).json()
            assert shown["detail"] == {"step": "scoring"}
            assert shown["verdict"]["reasons"] == ["worse"]
            assert error_of(await client.get("/admin/runs/night-2"), 404)["code"] == "unknown_run"
            for spoilt in (b'{"benchmark": "x"}\n', b"\xff\n"):
                (scores_dir / "items.jsonl").write_bytes(spoilt)
                assert "line 1" in error_of(await client.post(path, json=body), 400)["message"]
            (scores_dir / "items.jsonl").unlink()
            assert "items.jsonl" in error_of(await client.post(path, json=body), 404)["message"]
        from feedback.store import Store

        with Store.open(settings.database_path) as store:
            assert store.scores("night-1", "challenger") == items

    run(test())


def test_a_snapshot_of_nothing_is_a_snapshot_and_the_same_one_each_time(tmp_path: Path) -> None:
    async def test() -> None:
        async with admin(tmp_path) as client:
            first = (await client.post("/admin/snapshots", json={})).json()
            again = (await client.post("/admin/snapshots", json={})).json()
            assert first["snapshot_id"] == again["snapshot_id"]
            assert (Path(first["dir"]) / "rows.jsonl").exists()
            assert (await client.get("/admin/status")).json()["counts"]["snapshots"] == 1
            without = await client.post("/admin/snapshots", json={"without": ["ann"]})
            assert without.json()["snapshot_id"] == first["snapshot_id"]

    run(test())


def test_imported_rows_come_out_again(tmp_path: Path) -> None:
    async def test() -> None:
        rows = [
            {
                "prompt": [{"role": "user", "content": f"What is {n} and {n}?"}],
                "chosen": [{"role": "assistant", "content": str(2 * n)}],
                "rejected": [{"role": "assistant", "content": "No idea."}],
            }
            for n in range(40)
        ]
        async with admin(tmp_path) as client:
            folder = Path((await client.get("/admin/status")).json()["exchange_dir"])
            folder.mkdir()
            (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            body = {"path": "in.jsonl", "format": "preference"}
            answer = await client.post("/admin/import", json=body)
            assert answer.status_code == 200, answer.text
            body = {"path": "out.jsonl", "format": "preference"}
            answer = await client.post("/admin/export", json=body)
            assert answer.status_code == 200, answer.text
            assert answer.json()["path"] == str(folder / "out.jsonl")
            again = error_of(await client.post("/admin/export", json=body), 409)
            assert again["code"] == "file_exists"
        out = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
        assert 0 < len(out) <= 40
        assert all("chosen" in row and "rejected" in row for row in out)

    run(test())
