"""What whoever may chat can have kept by what is recorded: bodies and rows are bounded.

What administrators do is in ``test_keys.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Caller, Role
from serve.api.audit import Audit
from serve.api.auth import CALLER
from serve.api.bodies import MAX_BODY_BYTES, MAX_UNDER_WAY_BYTES_OF_CALLER
from tests.serve.api.callers import ask, keyed

ERASURES = "/v1/erasures"


def test_refused_erasings_of_ones_own_fill_no_disk(tmp_path: Path) -> None:
    with keyed(tmp_path / "state", limits={"feedback_per_hour": 3}) as server:
        user, admin = server.add("ann"), server.client(server.admin_key)
        ask(user)
        bodies: list[Any] = [{}, {"conversation_id": "nope"}, {"everything": True}, {}, {}, {}]
        answers = [user.post(ERASURES, json=body) for body in bodies]
        assert [one.status_code for one in answers] == [400, 404, 200, 429, 429, 429]
        assert answers[2].json()["n_conversations"] == 1  # the last of the quota erases everything
        found = admin.get("/admin/audit", params={"search": "erase own"}).json()
        assert [one["outcome"][:3] for one in found] == ["400", "404", "200"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "pawl.duckdb") as opened:
        yield opened


def test_bodies_that_are_recorded_come_out_of_their_senders_budget(store: Store) -> None:
    most = MAX_UNDER_WAY_BYTES_OF_CALLER // MAX_BODY_BYTES
    ended: list[str] = []

    async def route(scope: Scope, receive: Receive, send: Send) -> None:
        ended.append(scope[CALLER].name)

    async def send_slowly() -> list[str]:
        release, audit = asyncio.Event(), Audit(store.access)

        def begin(name: str) -> asyncio.Task[None]:
            parts = iter([b" " * MAX_BODY_BYTES, b""])

            async def receive() -> dict[str, Any]:
                part = next(parts)
                if not part:
                    await release.wait()
                return {"type": "http.request", "body": part, "more_body": bool(part)}

            async def send(message: Any) -> None:
                raise AssertionError(message)

            scope = {"type": "http", "method": "POST", "path": ERASURES, "headers": [],
                     "path_params": {}, CALLER: Caller(name, Role.USER)}  # fmt: skip
            return asyncio.create_task(audit.run(route, "erase own", scope, receive, send))

        held = [begin("ann") for _ in range(most + 5)]
        await asyncio.wait(held, timeout=0.5)
        refused = [task.exception() for task in held if task.done()]
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
        return [error.code for error in refused if isinstance(error, PawlError)]

    assert asyncio.run(send_slowly()) == ["rate_limit_exceeded"] * 5
    assert ended == []


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [(b" " * (MAX_BODY_BYTES + 1), {}, 413), (b"x", {"Content-Encoding": "br"}, 415)],
)
def test_a_body_that_cant_be_read_begins_nothing(
    tmp_path: Path, body: bytes, headers: dict[str, str], status: int
) -> None:
    with keyed(tmp_path / "state") as server:
        admin = server.client(server.admin_key)
        assert admin.post("/admin/rollback", content=body, headers=headers).status_code == status
        [entry] = admin.get("/admin/audit").json()
    assert (entry["caller"], entry["action"]) == ("admin.key", "refused")
    assert entry["outcome"].startswith(str(status))
