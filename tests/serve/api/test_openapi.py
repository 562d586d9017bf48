"""``/openapi.json`` and ``/docs`` are true: every route is in them, and answers as they say."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pawl import __version__
from pawl.schemas import ItemScore
from tests.adapters_for_tests import light_adapter, light_base
from tests.bars.place import CHAT, FEEDBACK, TEXT, Place, chat
from tests.serve.live import eventually


def routes_of(app: Any) -> set[tuple[str, str]]:
    """Every method and path that programs can call."""
    return {
        (method, route.path_format)
        for route in app.routes
        if route.path.startswith(("/v1", "/admin", "/health", "/metrics"))
        for method in route.methods
    }


def test_every_route_is_described_and_answers_as_described(running: Place) -> None:
    openapi = running.client.get("/openapi.json").json()
    described = {(method.upper(), path) for path, one in openapi["paths"].items() for method in one}
    called = set()

    def call(
        method: str, path: str, body: Any = None, status: int = 200, **path_fields: str
    ) -> Any:
        answer = running.client.request(method, path.format(**path_fields), json=body)
        assert answer.status_code == status, answer.text
        route = openapi["paths"][path.partition("?")[0]][method.lower()]
        content = route["responses"][str(status)]["content"]
        called.add((method, path.partition("?")[0]))
        if "application/json" not in answer.headers["content-type"]:
            assert answer.headers["content-type"].partition(";")[0] in content
            return answer.text
        schema = {**content["application/json"]["schema"], "components": openapi["components"]}
        Draft202012Validator(schema).validate(answer.json())
        assert ("requestBody" in route) == (body is not None)
        if body is not None and status == 200:
            schema = route["requestBody"]["content"]["application/json"]["schema"]
            Draft202012Validator({**schema, "components": openapi["components"]}).validate(body)
        return answer.json()

    state_dir = running.state_dir
    base = light_base(state_dir.parent / "model")
    adapter = light_adapter(state_dir.parent / "adapter", base, seed=1)
    scores = state_dir / "runs" / "r" / "scores"
    scores.mkdir(parents=True)
    (scores / "items.jsonl").write_text(
        json.dumps(ItemScore("arc", "1", 1.0, "1").as_json()) + "\n"
    )
    (scores / "manifest.json").write_text("{}")
    (state_dir / "exchange" / "rows.jsonl").write_text(
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )

    answer = call("POST", CHAT, chat(user="forgotten", temperature=0.5, stop=["x"]))
    call("POST", CHAT, chat(stream=True))
    call(
        "POST",
        CHAT,
        chat(
            top_k=5,
            unknown=1,
            messages=[
                {"role": "developer", "content": "a"},
                {"role": "user", "content": "b", "id": "m"},
            ],
        ),
    )
    call("POST", CHAT, chat(temperature=9), status=400)
    for prompt in ("once", ["once"], [1, 2], [[1, 2], [3]]):
        call("POST", TEXT, {"model": "base", "prompt": prompt, "max_tokens": 3})
    messages = chat()["messages"]
    call("POST", "/v1/responses", {"model": "pawl", "input": messages, "tools": None, "seed": 1})
    call("POST", "/v1/responses", {"model": "pawl", "input": "a", "background": True}, status=400)
    call("POST", "/v1/messages", {"model": "pawl", "max_tokens": 3, "messages": messages})
    call("POST", "/v1/messages", {"model": "pawl", "messages": messages}, status=400)
    call("POST", "/v1/messages/count_tokens", {"model": "pawl", "messages": messages})
    call("GET", "/v1/models")
    call("GET", "/v1/models/{name}", name="pawl")
    call("GET", "/v1/models/{name}", name="nope", status=404)
    call("POST", FEEDBACK, {"completion_id": answer["id"], "thumb": "down", "user": "forgotten"})
    call("POST", FEEDBACK, {"completion_id": "nope", "thumb": "down"}, status=404)
    batch = [{"completion_id": answer["id"], "thumb": "down", "user": "forgotten"},
             {"completion_id": "nope", "thumb": "up"}]  # fmt: skip
    call("POST", "/v1/feedback/batch", {"feedback": batch})
    call("GET", FEEDBACK + "?completion_id=" + answer["id"])
    call("GET", "/v1/feedback/categories")
    headers = {"X-Pawl-Rater": "forgotten", "X-Pawl-Conversation": "c"}
    running.client.post(CHAT, json=chat(), headers=headers).raise_for_status()
    running.client.headers["X-Pawl-Rater"] = "forgotten"
    call("GET", "/v1/conversations?limit=3")
    call("GET", "/v1/conversations/{conversation_id}", conversation_id="c")
    call("GET", "/v1/conversations/{conversation_id}?format=markdown", conversation_id="c")
    call("POST", "/v1/conversations/{conversation_id}", {"pinned": True}, conversation_id="c")
    call("GET", "/v1/answered-differently?limit=3")
    call("POST", "/v1/answered-differently", {"completion_id": "nope"}, status=404)
    call("POST", "/v1/presets", {"name": "short", "settings": {"temperature": 0.5}})
    call("GET", "/v1/presets")
    call("POST", "/v1/erasures", {"conversation_id": "nope"}, status=404)
    running.client.headers["X-Pawl-Rater"] = "nobody"
    call("POST", "/v1/erasures", {"everything": True})
    del running.client.headers["X-Pawl-Rater"]
    call("GET", "/health")
    call("GET", "/metrics")
    call("GET", "/admin/status")
    moved = call("POST", "/admin/promotions", {"adapter_dir": str(adapter), "force": True})
    call("POST", "/admin/replicas/{number}/drain", {}, status=409, number="1")
    call("POST", "/admin/replicas/{number}/return", {}, status=409, number="1")
    assert call("POST", "/admin/drill", {})["back"]["version"] == "base"
    call("POST", "/admin/shadow", {"a": "base", "b": moved["version"], "last": 5, "max_tokens": 3})
    call("GET", "/admin/versions")
    call("GET", "/admin/versions/flags?search=x")
    call("GET", "/admin/versions/flags?version=pawl@99", status=404)
    call("POST", "/admin/runs/{run_id}/approve", {}, status=409, run_id="none")
    call("POST", "/admin/runs/{run_id}/reject", {}, status=409, run_id="none")
    call("POST", "/admin/rollback", {})
    call("POST", "/admin/rollback", {}, status=409)
    assert call("GET", "/admin/history")
    call("POST", "/admin/runs", {"run_id": "r", "status": "training", "detail": {"a": 1}})
    assert call("GET", "/admin/runs")
    call("POST", "/admin/runs/{run_id}/scores", {"role": "anchor", "dir": str(scores)}, run_id="r")
    call("POST", "/admin/runs/{run_id}/verdict", {"outcome": "reject", "reasons": []}, run_id="r")
    call("GET", "/admin/runs/{run_id}", run_id="r")
    call("GET", "/admin/runs/{run_id}/report", status=404, run_id="r")
    (state_dir / "runs" / "r" / "report.html").write_text("<!doctype html>")
    (state_dir / "runs" / "r" / "train").mkdir()
    steps = state_dir / "runs" / "r" / "train" / "steps.jsonl"
    steps.write_text('{"stage": "sft", "step": 1, "loss": 2.5}')
    call("GET", "/admin/runs/{run_id}/report", run_id="r")
    assert call("GET", "/admin/runs/{run_id}/curves", run_id="r")
    call("GET", "/admin/runs/{run_id}/logs", run_id="r")
    call("GET", "/admin/runs/{run_id}/suspects", run_id="r")
    # A key that is added is asked for from then on; tests/serve/api/test_keys.py adds some.
    call("POST", "/admin/keys", {"name": "a/b", "role": "user"}, status=400)
    call("POST", "/admin/keys/{name}/revoke", {}, status=404, name="nobody")
    assert call("GET", "/admin/keys") == []
    call("POST", "/admin/accounts", {"name": "a/b", "role": "user"}, status=400)
    call("POST", "/admin/accounts/{name}", {"role": "user"}, status=404, name="nobody")
    call("POST", "/admin/accounts/{name}/remove", {}, status=404, name="nobody")
    assert call("GET", "/admin/accounts") == []
    assert call("GET", "/admin/audit")
    call("POST", "/admin/gateways/{gateway_id}", {"version": __version__}, gateway_id="0" * 32)
    call("POST", "/admin/gateways/{gateway_id}", {}, status=400, gateway_id="x")
    assert call("GET", "/admin/gateways")
    assert call("GET", "/admin/dashboard?days=3")["total"]["n_answers"]
    call("GET", "/admin/quotas")
    call("POST", "/admin/snapshots", {})
    assert call("GET", "/admin/traffic?seed=a&n=2&newest=2")["newest"]
    assert call("GET", "/admin/explain?id=" + answer["id"])["kind"] == "completion"
    reviewed = {"answers": [{"completion_id": answer["id"]}], "decision": "accept"}
    assert call("POST", "/admin/reviews", reviewed)
    assert call("GET", "/admin/reviews?skipped=true")["n_found"] == 0
    assert call("GET", "/admin/reviews/decisions?since=2026-01-31")["n_found"] == 1
    assert call("POST", "/admin/reviews/undo", {})
    call("POST", "/admin/reviews/undo", {}, status=409)
    assert call("GET", "/admin/reviews/agreement")
    call("POST", "/admin/reviews/alternatives", {"completion_id": answer["id"]})
    rude = {"key": "rude", "definition": "Is rude.", "example": "", "treatment": "train"}
    assert call("POST", "/admin/reviews/categories", rude)
    call("POST", "/admin/import", {"path": "rows.jsonl"})
    call("POST", "/admin/export", {"path": "out.jsonl", "format": "sft"})
    call("POST", "/admin/generate", {"prompts": [chat()["messages"]], "max_tokens": 3})
    call("POST", "/admin/retention", {})
    call("POST", "/admin/backup", {})
    call("POST", "/admin/erasures/preview", {"conversation_id": "c"})
    call("POST", "/admin/erasures", {"user": "forgotten"})
    call("POST", "/admin/erasures", {"user": "forgotten"}, status=404)
    assert call("GET", "/admin/erasures")
    assert "forgotten" not in str(call("GET", "/admin/audit"))
    assert called == described
    running.check_unharmed()


def test_the_apps_routes_are_those_that_are_described(running: Place) -> None:
    from pawl.settings import Settings
    from serve.api.app import build_app

    base = light_base(running.state_dir.parent / "model")
    app = build_app(Settings(state_dir=running.state_dir.parent / "other"), None, base=base)
    try:
        described = {
            (method.upper(), path) for path, one in app.openapi()["paths"].items() for method in one
        }
        assert routes_of(app) == described
    finally:
        app.close()


def test_the_page_of_the_routes_loads_nothing(running: Place) -> None:
    answer = running.client.get("/docs")
    assert answer.status_code == 200
    assert not re.search(r"<script|<link|<img|https?://|@import|url\(", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for path in running.client.get("/openapi.json").json()["paths"]:
        assert path in answer.text
    for target in set(re.findall(r"href='#([^']+)'", answer.text)):
        assert f"id='{target}'" in answer.text


@pytest.mark.parametrize(
    ("offered", "taken"),
    [("req-1:a.b_C", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("", False)],
)
def test_a_request_has_one_id_in_reply_row_and_log(
    running: Place, offered: str, taken: bool
) -> None:
    headers = {"X-Request-Id": offered} if offered else {}
    answer = running.client.post(CHAT, json=chat(), headers=headers)
    request_id = answer.headers["X-Request-Id"]
    assert (request_id == offered) is taken
    assert re.fullmatch(r"[\w:.-]{1,64}", request_id)
    log, line = running.state_dir / "logs" / "gateway.log", f"[{request_id}]: POST {CHAT} 200"
    eventually(lambda: line in log.read_text("utf-8"), line)  # written after the answer has left
    refused = running.client.post(CHAT, json=chat(n=9), headers=headers)
    assert (refused.headers["X-Request-Id"] == offered) is taken
