"""Who may ask at all: without a key this machine alone, and no web page that points a name here."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from pawl.schemas import KeyRequest, Role
from pawl.settings import Settings
from serve.api.app import PawlApp, build_app
from serve.api.auth import is_loopback
from serve.api.keys import new_key
from tests.adapters_for_tests import light_base

JOIN = "/gradio_api/queue/join"


def ask(app: Starlette, method: str, path: str, **headers: str) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(once())


def password(secret: str) -> str:
    """What a browser sends for a key that was typed as password."""
    return "Basic " + base64.b64encode(f"any:{secret}".encode()).decode()


@contextmanager
def page(tmp_path: Path, **settings: Any) -> Iterator[PawlApp]:
    """The pages as the server mounts them; Gradio is never built, so what passes answers 503."""
    base = light_base(tmp_path / "base")
    app = build_app(Settings(state_dir=tmp_path / "state", **settings), None, base=base, pages=True)
    yield app
    app.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_a_name_made_to_point_here_reaches_neither_page_nor_api(tmp_path: Path, host: str) -> None:
    evil = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}
    places = [("POST", JOIN), ("GET", "/"), ("GET", "/config"), ("GET", "/v1/models")]
    with page(tmp_path, host=host) as app:
        for method, path in places:
            answer = ask(app, method, path, **evil)
            assert answer.status_code == 403, path
            assert "evil.example" in answer.text
        for own in ("localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
            assert ask(app, "GET", "/", Host=own).status_code == 200
            assert ask(app, "POST", JOIN, Host=own, Origin=f"http://{own}").status_code == 503


def test_with_a_key_any_name_will_do_but_other_origins_post_nothing(tmp_path: Path) -> None:
    key = {"Authorization": "Bearer sesame", "Host": "chat.example"}
    with page(tmp_path, host="0.0.0.0", api_key="sesame") as app:
        assert ask(app, "GET", "/v1/models", **key).status_code == 200
        assert ask(app, "GET", "/sign-in", Host="chat.example").status_code == 200
        foreign = {"Host": "chat.example", "Origin": "http://evil.example"}
        for path in (JOIN, "/sign-in", "/sign-out", "/account"):
            assert ask(app, "POST", path, **foreign).status_code == 403, path


def test_a_page_is_opened_by_no_key_and_the_api_by_no_password(tmp_path: Path) -> None:
    with page(tmp_path) as app:
        assert ask(app, "GET", "/").status_code == 200
        _, secret = new_key(app.store.access, KeyRequest(name="ann", role=Role.USER))
        bearer = {"Authorization": f"Bearer {secret}"}
        for headers in ({}, {"Authorization": password(secret)}, bearer):
            refused = ask(app, "GET", "/", **headers)
            assert (refused.status_code, refused.headers["Location"]) == (303, "/sign-in")
            posted = ask(app, "POST", JOIN, **headers)
            assert posted.status_code == 401
            assert "WWW-Authenticate" not in posted.headers
        basic = {"Authorization": password(secret)}
        assert ask(app, "GET", "/v1/models", **basic).status_code == 401
        assert ask(app, "GET", "/v1/models", **bearer).status_code == 200


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.9.9.9", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.evil.example", False),
     ("", False)],
)  # fmt: skip
def test_what_counts_as_this_machine(host: str, own: bool) -> None:
    assert is_loopback(host) is own
