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

from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import KeyRequest, Role
from pawl.settings import Settings
from serve.api.app import PawlApp, build_app
from serve.api.auth import is_loopback
from serve.api.keys import new_key
from serve.up import run_server
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
        assert ask(app, "GET", "/", **key).status_code == 200
        assert ask(app, "POST", JOIN, **key, Origin="http://evil.example").status_code == 403


def test_once_there_are_keys_the_page_asks_for_one_as_its_password(tmp_path: Path) -> None:
    with page(tmp_path) as app:
        assert ask(app, "GET", "/").status_code == 200
        _, secret = new_key(app.store.access, KeyRequest(name="ann", role=Role.USER))
        refused = ask(app, "GET", "/")
        assert refused.status_code == 401
        assert refused.headers["WWW-Authenticate"].startswith("Basic")
        assert ask(app, "POST", JOIN, Authorization=password(secret[:-1])).status_code == 401
        right = {"Authorization": password(secret), "Host": "chat.example"}
        assert ask(app, "GET", "/", **right).status_code == 200
        assert ask(app, "POST", JOIN, **right).status_code == 503  # Gradio is never built
        foreign = {**right, "Origin": "http://evil.example"}
        assert ask(app, "POST", JOIN, **foreign).status_code == 403
        assert ask(app, "GET", "/v1/models", **right).status_code == 401
        assert ask(app, "GET", "/v1/models", Authorization=f"Bearer {secret}").status_code == 200
        app.store.access.revoke_key("ann")
        assert ask(app, "GET", "/", **right).status_code == 401


def test_where_others_can_ask_a_store_without_keys_is_not_served(tmp_path: Path) -> None:
    base = light_base(tmp_path / "base")
    settings = Settings(
        state_dir=tmp_path / "state", host="0.0.0.0", port=0, model=str(base.model_dir)
    )
    Store.open(settings.database_path).close()
    with pytest.raises(PawlError, match="pawl keys add"):
        run_server(settings)
    assert not settings.server_file.exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "my-machine"])
def test_without_a_key_only_this_machine_is_listened_to(tmp_path: Path, host: str) -> None:
    state_dir = tmp_path / "state"
    with pytest.raises(PawlError, match=r"without an api_key.*PAWL_API_KEY"):
        run_server(Settings(state_dir=state_dir, host=host, port=0))
    assert not state_dir.exists()


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("::1", True), ("localhost", True), ("127.9.9.9", True),
     ("0.0.0.0", False), ("::", False), ("10.0.0.1", False), ("localhost.evil.example", False),
     ("", False)],
)  # fmt: skip
def test_what_counts_as_this_machine(host: str, own: bool) -> None:
    assert is_loopback(host) is own
