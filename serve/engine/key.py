"""Lets only the gateway ask the engine, under every path.

vLLM's process imports this module because of ``--middleware`` (see ``serve.engine.launch``).

vLLM itself wants its key under ``/v1`` and three more prefixes; ``/invocations`` answers as ``/v1``
does, to everybody who reaches the port. What is only read (health, metrics) is left open.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_READS = ("GET", "HEAD", "OPTIONS")


class KeyRequired:
    """ASGI middleware: 401 to what does more than read without the key of ``VLLM_API_KEY``; where
    that is not set, all may ask, as vLLM has it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._key = os.environ.get("VLLM_API_KEY", "")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._key or scope["type"] != "http" or scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(b"authorization", b"")
        if secrets.compare_digest(given, b"Bearer " + self._key.encode()):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"error": "Unauthorized"}'})
