"""Every route by every role, allowed and forbidden, over HTTP."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter

from pawl.schemas import PERSONS_ROLES, Role
from serve.api.app import make_app
from serve.api.bodies import JsonRoute
from serve.api.roles import RULES, Rule
from tests.serve.api.callers import CHAT, FEEDBACK, Keyed, keyed

API_KEY = "sesame"
HELLO = {"model": "pawl", "messages": [{"role": "user", "content": "hello"}]}
SCORES = {"role": "anchor", "dir": "/elsewhere"}
# A request to each route, and how it is answered to whoever may send it.
REQUESTS: dict[str, tuple[str, Any, int]] = {
    "GET /docs": ("/docs", None, 200),
    "GET /health": ("/health", None, 200),
    "GET /openapi.json": ("/openapi.json", None, 200),
    "GET /metrics": ("/metrics", None, 200),
    "GET /v1/answered-differently": ("/v1/answered-differently?limit=3", None, 200),
    "POST /v1/answered-differently": ("/v1/answered-differently", {"completion_id": "nope"}, 404),
    "GET /v1/conversations": ("/v1/conversations?search=x", None, 200),
    "POST /v1/conversations/{conversation_id}": ("/v1/conversations/a/b", {"title": "x"}, 404),
    "POST /v1/erasures": ("/v1/erasures", {"conversation_id": "nope"}, 404),
    "GET /v1/conversations/{conversation_id}": ("/v1/conversations/a/b", None, 404),
    "GET /v1/presets": ("/v1/presets", None, 200),
    "POST /v1/presets": ("/v1/presets", {"name": "nope", "deleted": True}, 404),
    "GET /v1/feedback": ("/v1/feedback?completion_id=nope", None, 404),
    "GET /v1/feedback/categories": ("/v1/feedback/categories", None, 200),
    "GET /v1/models": ("/v1/models", None, 200),
    "GET /v1/models/{name}": ("/v1/models/base", None, 200),
    "POST /v1/chat/completions": (CHAT, HELLO, 200),
    "POST /v1/completions": ("/v1/completions", {"model": "base", "prompt": "hello"}, 200),
    "POST /v1/feedback": (FEEDBACK, {"completion_id": "nope", "thumb": "up"}, 404),
    "POST /v1/feedback/batch": (
        "/v1/feedback/batch", {"feedback": [{"completion_id": "nope", "thumb": "up"}]}, 200,
    ),
    "POST /v1/messages": ("/v1/messages", {**HELLO, "max_tokens": 9}, 200),
    "POST /v1/messages/count_tokens": ("/v1/messages/count_tokens", HELLO, 200),
    "POST /v1/responses": ("/v1/responses", {"model": "pawl", "input": "hello"}, 200),
    "GET /admin/dashboard": ("/admin/dashboard?days=2", None, 200),
    "GET /admin/history": ("/admin/history", None, 200),
    "GET /admin/reviews": ("/admin/reviews", None, 200),
    "GET /admin/reviews/agreement": ("/admin/reviews/agreement", None, 200),
    "GET /admin/reviews/decisions": ("/admin/reviews/decisions?search=x", None, 200),
    "POST /admin/reviews": (
        "/admin/reviews", {"answers": [{"completion_id": "nope"}], "decision": "accept"}, 404,
    ),
    "POST /admin/reviews/alternatives": (
        "/admin/reviews/alternatives", {"completion_id": "nope"}, 404,
    ),
    "POST /admin/reviews/categories": ("/admin/reviews/categories", {
        "key": "rude", "definition": "Is rude.", "example": "", "treatment": "train",
    }, 200),
    "POST /admin/reviews/undo": ("/admin/reviews/undo", {}, 409),
    "GET /admin/runs": ("/admin/runs", None, 200),
    "GET /admin/runs/{run_id}": ("/admin/runs/nope", None, 404),
    "GET /admin/runs/{run_id}/curves": ("/admin/runs/nope/curves", None, 404),
    "GET /admin/runs/{run_id}/logs": ("/admin/runs/nope/logs", None, 404),
    "GET /admin/runs/{run_id}/report": ("/admin/runs/nope/report", None, 404),
    "GET /admin/runs/{run_id}/suspects": ("/admin/runs/nope/suspects", None, 404),
    "GET /admin/accounts": ("/admin/accounts", None, 200),
    "GET /admin/audit": ("/admin/audit", None, 200),
    "GET /admin/erasures": ("/admin/erasures", None, 200),
    "GET /admin/gateways": ("/admin/gateways", None, 200),
    "GET /admin/explain": ("/admin/explain?id=nothing", None, 404),
    "GET /admin/keys": ("/admin/keys", None, 200),
    "GET /admin/quotas": ("/admin/quotas", None, 200),
    "GET /admin/status": ("/admin/status", None, 200),
    "GET /admin/versions": ("/admin/versions", None, 200),
    "GET /admin/versions/flags": ("/admin/versions/flags?search=x", None, 200),
    "GET /admin/traffic": ("/admin/traffic?seed=r&n=9", None, 200),
    "POST /admin/accounts": ("/admin/accounts", {"name": "x", "role": "user", "password": ""}, 400),
    "POST /admin/accounts/{name}": ("/admin/accounts/nobody", {"role": "user"}, 404),
    "POST /admin/accounts/{name}/remove": ("/admin/accounts/nobody/remove", {}, 404),
    "POST /admin/backup": ("/admin/backup", {}, 200),
    "POST /admin/drill": ("/admin/drill", {}, 409),
    "POST /admin/erasures": ("/admin/erasures", {"user": "nobody"}, 404),
    "POST /admin/erasures/preview": ("/admin/erasures/preview", {"user": "nobody"}, 404),
    "POST /admin/export": ("/admin/export", {"path": "/nowhere/x", "format": "nope"}, 400),
    "POST /admin/gateways/{gateway_id}": (f"/admin/gateways/{'0' * 32}", {}, 409),
    "POST /admin/generate": (
        "/admin/generate", {"prompts": [HELLO["messages"]], "max_tokens": 3}, 200,
    ),
    "POST /admin/import": ("/admin/import", {"format": "sft"}, 400),
    "POST /admin/keys": ("/admin/keys", {"name": "a/b", "role": "user"}, 400),
    "POST /admin/keys/{name}/revoke": ("/admin/keys/nobody/revoke", {}, 404),
    "POST /admin/promotions": ("/admin/promotions", {"adapter_dir": "/nowhere"}, 400),
    "POST /admin/replicas/{number}/drain": ("/admin/replicas/1/drain", {}, 409),
    "POST /admin/replicas/{number}/return": ("/admin/replicas/1/return", {}, 409),
    "POST /admin/retention": ("/admin/retention", {}, 200),
    "POST /admin/rollback": ("/admin/rollback", {}, 409),
    "POST /admin/runs": ("/admin/runs", {"run_id": "r", "status": "training"}, 200),
    "POST /admin/runs/{run_id}/approve": ("/admin/runs/nope/approve", {}, 409),
    "POST /admin/runs/{run_id}/reject": ("/admin/runs/nope/reject", {}, 409),
    "POST /admin/runs/{run_id}/scores": ("/admin/runs/r/scores", SCORES, 400),
    "POST /admin/runs/{run_id}/verdict": ("/admin/runs/r/verdict", {"outcome": "reject"}, 200),
    "POST /admin/shadow": ("/admin/shadow", {"a": "base", "b": "base", "last": 2}, 200),
    "POST /admin/snapshots": ("/admin/snapshots", {}, 200),
}  # fmt: skip
# Callers by the keys they bring, and what role those have (None: the request is not let in).
CLOSED = {"no key": None, "wrong": None, "unknown id": None, "basic": None, "user": Role.USER,
          "reviewer": Role.REVIEWER, "administrator": Role.ADMINISTRATOR, "gateway": Role.GATEWAY,
          "api_key": Role.ADMINISTRATOR, "admin.key": Role.ADMINISTRATOR,
          "session of user": Role.USER, "session of reviewer": Role.REVIEWER,
          "session of administrator": Role.ADMINISTRATOR, "session of a removed one": None,
          "session that was ended": None, "session in a cookie": None}  # fmt: skip
ADDRESSES = itertools.count(10 * 2**24)  # from 10.0.0.0 on
OPEN = {"no key": Role.USER, "wrong": Role.USER, "admin.key": Role.ADMINISTRATOR}


@contextmanager
def closed_server(state_dir: Path) -> Iterator[Keyed]:
    """A server with an ``api_key``, and a key and a session of each role."""
    with keyed(state_dir, api_key=API_KEY) as one:
        for role in Role:
            one.add(role.value, role)
        for role in PERSONS_ROLES:
            one.sign_in(f"{role.value}.1", role, as_name=f"session of {role}")
        one.sign_in("gone", Role.ADMINISTRATOR, as_name="session of a removed one")
        one.server.store.access.accounts.remove("gone")
        one.sign_in("out", Role.ADMINISTRATOR, as_name="session that was ended")
        sessions = one.server.app.authenticator.sessions
        one.server.call(sessions.end(one.secrets["session that was ended"]))
        yield one


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    with closed_server(tmp_path_factory.mktemp("closed") / "state") as one:
        yield one


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    """A server on loopback that asks for no key."""
    with keyed(tmp_path_factory.mktemp("opened") / "state") as one:
        yield one


def headers_of(server: Keyed, caller: str) -> dict[str, str]:
    basic = base64.b64encode(f"x:{API_KEY}".encode()).decode()
    values = {"no key": None, "wrong": "Bearer sk-wrong", "basic": f"Basic {basic}",
              "unknown id": f"Bearer pawl_{'0' * 12}_{'0' * 64}", "api_key": f"Bearer {API_KEY}",
              "admin.key": f"Bearer {server.admin_key}"}  # fmt: skip
    cookie = {}
    if caller == "session in a cookie":  # which any page can make a browser send
        values[caller] = None
        cookie = {"Cookie": f"pawl_session={server.secrets['session of administrator']}"}
    value = values.get(caller, f"Bearer {server.secrets.get(caller)}")
    # As through a proxy, each from an address of its own: one that is often wrong is slowed.
    address = ".".join(map(str, next(ADDRESSES).to_bytes(4, "big")))
    return {"X-Forwarded-For": address} | cookie | ({"Authorization": value} if value else {})


def routes_of(app: Any) -> set[str]:
    return {
        f"{one} {route.path_format}" for route in app.routes for one in route.methods - {"HEAD"}
    }


def test_every_route_stands_in_the_table(closed: Keyed) -> None:
    assert routes_of(closed.server.app) == set(RULES) == set(REQUESTS)


def test_a_route_without_a_rule_stops_the_start(closed: Keyed) -> None:
    router = APIRouter(route_class=JsonRoute)

    @router.post("/v1/new")
    def new() -> dict[str, str]:
        return {}

    with pytest.raises(RuntimeError, match="POST /v1/new has no rule"):
        make_app(closed.server.settings, closed.server.app.gateway, router)


def check(server: Keyed, route: str, rule: Rule, caller: str, role: Role | None) -> None:
    path, body, status = REQUESTS[route]
    answer = httpx.request(route.partition(" ")[0], server.server.url + path, json=body,
                           headers=headers_of(server, caller), timeout=60)  # fmt: skip
    if rule.role is None or (role is not None and role.includes(rule.role)):
        assert answer.status_code == status, (caller, answer.text)
        return
    known = role is not None and caller in server.secrets
    expected = (403, "forbidden") if known else (401, "invalid_api_key")
    assert (answer.status_code, answer.json()["error"]["code"]) == expected, caller


@pytest.mark.parametrize("route", sorted(RULES))
def test_every_role_at_every_route(closed: Keyed, route: str) -> None:
    for caller, role in CLOSED.items():
        check(closed, route, RULES[route], caller, role)


@pytest.mark.parametrize("route", sorted(RULES))
def test_without_keys_everybody_here_chats_and_nobody_operates(opened: Keyed, route: str) -> None:
    for caller, role in OPEN.items():
        check(opened, route, RULES[route], caller, role)


def test_unknown_paths_say_so_only_to_those_who_may_ask(closed: Keyed) -> None:
    for path in ("/v1/nowhere", "/admin/nowhere", "/v1", "/admin//keys", "/admin/keys/"):
        assert httpx.get(closed.server.url + path).status_code == 401
        user = headers_of(closed, "user")
        assert httpx.get(closed.server.url + path, headers=user).status_code == 404


def test_a_gateways_key_does_what_a_gateway_needs_and_nothing_else(closed: Keyed) -> None:
    allowed = {route for route, rule in RULES.items() if rule.role is not None}
    allowed = {one for one in allowed if Role.GATEWAY.includes(RULES[one].role or Role.USER)}
    assert allowed == {"POST /admin/gateways/{gateway_id}"}
    operator = closed.client(closed.admin_key)
    for path, body, param in (
        ("/admin/accounts", {"name": "gw", "role": "gateway", "password": ""}, "role"),
        ("/admin/accounts/user.1", {"role": "gateway"}, "role"),
        (
            "/admin/keys",
            {"name": "gw", "role": "gateway", "may_name_raters": True},
            "may_name_raters",
        ),
    ):
        refused = operator.post(path, json=body)
        assert refused.status_code == 400, refused.text
        assert refused.json()["error"]["param"] == param
    assert closed.server.store.access.accounts.account("user.1").role is Role.USER  # type: ignore[union-attr]


def test_the_least_role_of_each_kind_of_route() -> None:
    for route, rule in RULES.items():
        if route == "POST /admin/gateways/{gateway_id}":
            assert rule.role is Role.GATEWAY
        elif "/admin/" in route:
            assert rule.role in (Role.REVIEWER, Role.ADMINISTRATOR), route
            is_reviewing = route.startswith(("GET", "POST /admin/reviews"))
            assert rule.role is Role.ADMINISTRATOR or is_reviewing, route
        elif "/v1/" in route:
            assert rule.role is Role.USER, route
