"""The audit log of administration: who did what, when, to what, and how it ended.

An action is recorded before it begins, and is refused when it can't be; its outcome follows before
the answer leaves. What is refused is recorded at each doubling of its number, so that nobody fills
the disk with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
import uuid
from collections import OrderedDict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from pawl.errors import PawlError
from pawl.logs import request_id
from pawl.schemas import AuditEntry, utc_now
from serve.api.auth import caller_of
from serve.api.bodies import LARGE_BYTES, MAX_BODY_BYTES, Readers, read_body, replayed
from serve.api.errors import status_of
from serve.api.throttle import MOST_ADDRESSES, address_of, is_power_of_two

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from feedback.access import Access

MOST_TARGET_CHARACTERS = 1_000
MOST_REFUSED_A_MINUTE = 60
# Of a body; all but the first are to be forgotten, or may hold what is.
_SECRET = ("password", "user", "conversation_id", "prompts")
# Of an answer.
_TOLD = ("outcome", "version", "snapshot_id", "n_added", "n_written", "erasure_id", "n_answers")
_log = logging.getLogger("pawl.audit")


class Audit:
    """Records what administrators do, and what others try."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._minute, self._n_in_minute = time.monotonic(), 0
        self._n_refused: OrderedDict[tuple[str, str], int] = OrderedDict()  # by caller, address

    async def run(
        self, app: ASGIApp, action: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Call a route's application, recording it.

        Raises:
            PawlError: the body can't be read, or the log can't be written; nothing was done.
        """
        caller = caller_of(scope).name
        try:
            scope, receive, target = await _read(scope, receive)
        except PawlError as error:
            await self.refused(scope, caller, error)
            raise
        entry = _entry(scope, caller, action, target, "begun")
        await asyncio.wrap_future(self._access.record(entry))
        start: Message | None = None

        async def send_recorded(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message  # kept back until the outcome is written down
                return
            if start is not None:
                begun, start = start, None
                await self._end(entry, _outcome(begun["status"], message.get("body", b"")))
                await send(begun)
            await send(message)

        try:
            await app(scope, receive, send_recorded)
        except Exception as error:
            status = status_of(error) if isinstance(error, PawlError) else 500
            await self._end(entry, f"{status} {getattr(error, 'code', type(error).__name__)}")
            raise

    async def refused(self, scope: Scope, caller: str, error: PawlError) -> None:
        """Record that administration was refused."""
        who = (caller, address_of(scope))
        n = self._n_refused[who] = self._n_refused.get(who, 0) + 1
        self._n_refused.move_to_end(who)
        if len(self._n_refused) > MOST_ADDRESSES:
            self._n_refused.popitem(last=False)
        if is_power_of_two(n) and self._has_room():
            target = _json({"route": f"{scope['method']} {scope['path'][:200]}", "n_refused": n})
            outcome = f"{status_of(error)} {error.code}"
            await self._append(_entry(scope, caller, "refused", target, outcome))

    def _has_room(self) -> bool:
        """Whether one more may be recorded: somebody may have any number of addresses."""
        if time.monotonic() - self._minute > 60:
            self._minute, self._n_in_minute = time.monotonic(), 0
        self._n_in_minute += 1
        return self._n_in_minute <= MOST_REFUSED_A_MINUTE

    async def note(self, scope: Scope, caller: str, action: str, outcome: str) -> None:
        """Record what somebody did on a page."""
        await self._append(_entry(scope, caller, action, "{}", outcome))

    async def _end(self, entry: AuditEntry, outcome: str) -> None:
        if self._access.forgotten.holds(entry.created_at, entry.caller):  # whoever erased themself
            entry = replace(entry, caller="erased", address="")
        _log.info("%s by %s: %s", entry.action, entry.caller, outcome)
        await self._append(replace(entry, created_at=utc_now(), outcome=outcome))

    async def _append(self, entry: AuditEntry) -> None:
        try:
            await asyncio.wrap_future(self._access.record(entry))
        except PawlError as error:
            _log.error("the audit log lacks %s by %s: %s", entry.action, entry.caller, error)


def _entry(scope: Scope, caller: str, action: str, target: str, outcome: str) -> AuditEntry:
    return AuditEntry(
        audit_id=uuid.uuid4().hex, created_at=utc_now(), caller=caller, address=address_of(scope),
        action=action, target=target, outcome=outcome, request_id=request_id.get(),
    )  # fmt: skip


async def _read(scope: Scope, receive: Receive) -> tuple[Scope, Receive, str]:
    """A request whose body was read and is read again, so that what is recorded is what will be
    done; and what it is about. Raises PawlError: as ``read_body``."""
    body = await read_body(Request(scope, receive), MAX_BODY_BYTES)
    find = partial(_target, scope["path_params"], body)
    if len(body) > LARGE_BYTES:
        readers: Readers = scope["app"].state.readers
        target = await readers.read(scope, len(body), find)
    else:
        target = find()
    headers = [pair for pair in scope["headers"] if pair[0] != b"content-encoding"]
    return {**scope, "headers": headers}, replayed(body, receive), target


def _target(path_params: dict[str, Any], body: bytes) -> str:
    """The path's parameters and the body's fields, but for secrets, as JSON in ASCII."""
    try:
        sent = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        sent = None
    if not isinstance(sent, dict):
        # What is no JSON can't be told from a secret; elsewhere its beginning is told.
        told = "" if b"password" in body else body[:200].decode(errors="replace")
        sent = {"body": told}
    told_of = {name: value for name, value in sent.items() if name not in _SECRET}
    return _json({**path_params, **told_of})


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value)[:MOST_TARGET_CHARACTERS]


def _outcome(status: int, body: bytes) -> str:
    """The status, an error's code, and of an answer what it came to; never a secret in it."""
    try:
        answer = json.loads(body)
        error = answer.get("error") or {}
        told = [error.get("code"), *(answer.get(name) for name in _TOLD)]
    except (ValueError, AttributeError):
        told = []
    return " ".join([str(status), *(str(value) for value in told if value is not None)])[:200]
