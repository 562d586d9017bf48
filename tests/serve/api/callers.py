"""A running application with keys of every role, for tests of who may do what."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from pawl.schemas import Account, Role, utc_now
from pawl.server import api_key_of
from pawl.settings import Settings
from tests.serve.pages.composed import Composed, composed

CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"


class Keyed:
    """The application, and a client for each key."""

    def __init__(self, server: Composed) -> None:
        self.server, self.state_dir = server, server.settings.state_dir
        self.admin_key = str(api_key_of(Settings(state_dir=self.state_dir)))
        self.secrets: dict[str, str] = {}
        self._clients: list[httpx.Client] = []

    def client(self, key: str | None, **headers: str) -> httpx.Client:
        """A client that sends this key; closed with the server."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        self._clients.append(httpx.Client(base_url=self.server.url, headers=headers, timeout=60))
        return self._clients[-1]

    def add(self, name: str, role: Role = Role.USER, may_name_raters: bool = False) -> httpx.Client:
        """Add a key; its client."""
        body = {"name": name, "role": role, "may_name_raters": may_name_raters}
        with self.client(self.admin_key) as operator:
            answer = operator.post("/admin/keys", json=body).raise_for_status()
        self.secrets[name] = answer.json()["key"]
        return self.client(self.secrets[name])

    def sign_in(
        self, name: str, role: Role = Role.USER, as_name: str | None = None
    ) -> httpx.Client:
        """Add an account; a client of a session of its, whose token is in ``secrets``."""
        now = utc_now()
        account = Account(name, role, "no hash", False, None, now, now)
        self.server.store.access.accounts.add(account)
        token = self.server.call(self.server.app.authenticator.sessions.begin(account))
        assert token is not None
        self.secrets[as_name or name] = token
        return self.client(token)

    def close(self) -> None:
        for client in self._clients:
            client.close()


@contextmanager
def keyed(state_dir: Path, **settings: Any) -> Iterator[Keyed]:
    with composed(Settings(state_dir=state_dir, **settings), pages=False) as server:
        one = Keyed(server)
        try:
            yield one
        finally:
            one.close()


def ask(client: httpx.Client, content: str = "hello", **headers: str) -> str:
    """Chat; the answer's id."""
    body = {"model": "pawl", "messages": [{"role": "user", "content": content}]}
    return str(client.post(CHAT, json=body, headers=headers).raise_for_status().json()["id"])
