"""Talks to Pawl's HTTP API: a running server's, or the same app called in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from pawl.errors import PawlError

ANSWER_SECONDS = 600.0  # a promotion loads and probes before it answers


class Client(Protocol):
    """What the command line and the nightly run need of a server."""

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any: ...
    def post(self, path: str, body: Mapping[str, Any]) -> Any: ...


class HttpClient:
    """JSON over HTTP.

    Args:
        url: ``http://127.0.0.1:8000``.
        api_key: sent as a bearer token when the server asks for one.
        app: an ASGI application to call in this process instead of the network.
    """

    def __init__(self, url: str, api_key: str | None = None, app: Any = None) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._app = app

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """Answer of ``GET path``, parsed. Raises PawlError with the server's own words."""
        return asyncio.run(self._send("GET", path, query, None))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Answer of ``POST path``, parsed. Raises PawlError with the server's own words."""
        return asyncio.run(self._send("POST", path, None, dict(body)))

    async def _send(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Any
    ) -> Any:
        import httpx

        transport = httpx.ASGITransport(self._app) if self._app is not None else None
        try:
            async with httpx.AsyncClient(
                base_url=self.url, headers=self._headers, timeout=ANSWER_SECONDS,
                transport=transport, trust_env=False,  # loopback is not behind HTTP_PROXY
            ) as client:  # fmt: skip
                query = {k: v for k, v in (query or {}).items() if v is not None}
                answer = await client.request(method, path, params=query, json=body)
        except httpx.ReadTimeout as err:
            raise PawlError(
                f"{method} {path} was not answered within {ANSWER_SECONDS:.0f} s",
                "the server may still be at it",
                "Look with 'pawl status' and 'pawl history' before asking again",
                retryable=True,
                code="no_answer_yet",
            ) from err
        except httpx.TransportError as err:
            raise PawlError(
                f"the server at {self.url} did not answer",
                str(err) or type(err).__name__,
                "Is 'pawl up' running there?",
                retryable=True,
                code="unreachable",
            ) from err
        try:
            value = answer.json()
        except ValueError:
            raise PawlError(
                f"{method} {path} answered {answer.status_code} without JSON",
                answer.text[:200],
                "Look at the server's log",
                retryable=answer.status_code >= 500,
            ) from None
        if answer.status_code >= 400:
            error = value.get("error", {}) if isinstance(value, dict) else {}
            raise PawlError(
                str(error.get("message") or value),
                retryable=answer.status_code >= 500,
                code=str(error.get("code") or "error"),
                param=error.get("param"),
            )
        return value
