"""The webhook and notifiers: tell others of complaints, promotions and rejections in the store.

A request is a POST of ``{"type", "timestamp", "data"}``, signed as standardwebhooks.com says:
``webhook-id``, ``webhook-timestamp`` and ``webhook-signature``, which is ``v1,`` and the base64 of
HMAC-SHA256 over ``id.timestamp.body``. Its id stays the same when it is sent again.

The store is the queue: one number, the last row that was told, is kept in a file beside it. So
nothing that people send waits for this, a kill loses nothing, what happened while no server ran is
told by the next, and there is nothing to overflow. A receiver that is down is tried again after
growing pauses until what there is to tell is ``MOST_AGE`` old; one that says no (a redirect, a
400) is asked ``MOST_REFUSALS`` times. Notifiers of installed packages are told the same, in this
process, each from a place of its own.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.plugins import Plugin, in_thread, place_of
from serve.api.auth import is_loopback
from serve.api.throttle import is_power_of_two

if TYPE_CHECKING:
    import aiohttp

    from feedback.changes import Change
    from feedback.store import Store
    from pawl.settings import WebhookSettings
    from serve.api.metrics import Metrics

POLL_SECONDS = 1.0
ANSWER_SECONDS = 10.0
MOST_PAUSE_SECONDS = 300.0
MOST_AGE = timedelta(days=3)
MOST_REFUSALS = 5
AT_ONCE = 100  # rows read from the store
_PASSING = (408, 425, 429)  # and all of 5xx
_log = logging.getLogger("pawl.webhook")


def _usual_pause(n_failures: int) -> float:
    return min(2.0 ** (n_failures - 1), MOST_PAUSE_SECONDS)


class Teller(ABC):
    """Tells one receiver, one change after the other, in their order.

    Args:
        name: of the receiver, in the log.
        store: what is told.
        file: keeps the row that was told last.
        outcomes: counts requests by what became of them.
        pause: seconds after the n-th failure, from 1.
    """

    def __init__(
        self, name: str, store: Store, file: Path, outcomes: Callable[[str], Any],
        pause: Callable[[int], float] = _usual_pause,
    ) -> None:  # fmt: skip
        self._name, self._store, self._file = name, store, file
        self._count, self._pause = outcomes, pause
        self._seq = self._last_told()

    @abstractmethod
    async def _send(self, change: Change) -> tuple[bool, str]:
        """Whether it was refused, and what went wrong; empty: nothing."""

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            try:
                if not await self._tell_all():
                    await asyncio.sleep(POLL_SECONDS)
            except (PawlError, OSError) as error:  # the store, or the disk
                _log.warning("%s waits: %s", self._name, error)
                await asyncio.sleep(10 * POLL_SECONDS)
            except Exception:  # a fault of ours must show, and not be the last that is told
                _log.exception("%s met an error", self._name)
                await asyncio.sleep(10 * POLL_SECONDS)

    async def _tell_all(self) -> int:
        """Tell what is new; how many rows that was."""
        changes = await asyncio.to_thread(self._store.changes_since, self._seq, AT_ONCE)
        for change in changes:
            if change.kind is not None:
                await self._try_to_tell(change)
            self._seq = change.seq
            if change.kind is not None or change is changes[-1]:
                await asyncio.to_thread(write_json, self._file, {"seq": self._seq})
        return len(changes)

    async def _try_to_tell(self, change: Change) -> None:
        """Tell it, or give it up where that fails as nobody foresaw: the others are told."""
        try:
            await self._tell(change)
        except (PawlError, OSError):
            raise
        except Exception:
            self._count("given_up")
            _log.exception("%s %s given up", change.kind, change.change_id)

    async def _tell(self, change: Change) -> None:
        """Send it until it is taken, or given up."""
        n_failures = n_refusals = 0
        told_until = datetime.fromisoformat(change.created_at) + MOST_AGE
        while True:
            is_refusal, problem = await self._send(change)
            if not problem:
                self._count("delivered")
                return
            self._count("failed")
            n_failures, n_refusals = n_failures + 1, n_refusals + is_refusal
            if n_refusals >= MOST_REFUSALS or datetime.now(UTC) > told_until:
                self._count("given_up")
                _log.error("%s: %s %s given up: %s",
                           self._name, change.kind, change.change_id, problem)  # fmt: skip
                return
            if is_power_of_two(n_failures):
                _log.warning("%s was not told of %s (%s); it is tried again",
                             self._name, change.kind, problem)  # fmt: skip
            await asyncio.sleep(self._pause(n_failures))

    async def _message(self, change: Change) -> dict[str, Any]:
        """``{"type", "timestamp", "data"}``: of feedback also which version answered, and in which
        conversation."""
        data = change.data
        if change.kind == "feedback.flagged":
            completion = await asyncio.to_thread(
                self._store.get_completion, data["completion_id"], data["choice_index"]
            )
            if completion is not None:
                data = {**data, "version": completion.version,
                        "conversation_id": completion.conversation_id}  # fmt: skip
        return {"type": change.kind, "timestamp": change.created_at, "data": data}

    def _last_told(self) -> int:
        """The row that was told last; the newest there is where nothing was ever told, or where the
        store is older than the file."""
        newest = self._store.newest_seq()
        told = int(read_json(self._file)["seq"]) if self._file.exists() else newest
        write_json(self._file, {"seq": min(told, newest)})
        return min(told, newest)


class Webhook(Teller):
    """Tells one address.

    Args:
        settings: with an address and a secret.
        store: what is told.
        state_dir: holds ``webhook.json``.
        pause: seconds after the n-th failure, from 1.
    """

    def __init__(
        self, settings: WebhookSettings, store: Store, state_dir: Path, metrics: Metrics,
        pause: Callable[[int], float] = _usual_pause,
    ) -> None:  # fmt: skip
        assert settings.url is not None
        assert settings.secret is not None
        self._url = settings.url.get_secret_value()
        secret = settings.secret.get_secret_value().removeprefix("whsec_")
        self._secret = base64.b64decode(secret)
        self._http: aiohttp.ClientSession | None = None
        super().__init__(
            urlsplit(self._url).hostname or "", store, state_dir / "webhook.json",
            lambda outcome: metrics.webhooks.labels(outcome).inc(), pause,
        )  # fmt: skip

    async def run(self) -> None:
        """Tell until cancelled."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        # Proxies of the environment stand before other machines only.
        trust_env = not is_loopback(self._name)
        async with aiohttp.ClientSession(timeout=timeout, trust_env=trust_env) as self._http:
            await super().run()

    async def _send(self, change: Change) -> tuple[bool, str]:
        import aiohttp

        assert self._http is not None
        body = json.dumps(await self._message(change)).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "pawl",
                   **signature(self._secret, change.change_id, int(time.time()), body)}  # fmt: skip
        try:
            async with self._http.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return False, type(error).__name__  # its text may hold the address
        if 200 <= status < 300:
            return False, ""
        return status < 500 and status not in _PASSING, f"it answered {status}"


class Notifier(Teller):
    """Tells a notifier of an installed package (``pawl/protocols.py``), in a thread.

    Args:
        plugin: the notifier.
        store: what is told.
        state_dir: holds ``notifier-NAME.json``.
        pause: seconds after the n-th failure, from 1.
    """

    def __init__(
        self, plugin: Plugin, store: Store, state_dir: Path, metrics: Metrics,
        pause: Callable[[int], float] = _usual_pause,
    ) -> None:  # fmt: skip
        self._notify = plugin.part.notify
        self._call: asyncio.Future[Any] | None = None  # until its end was seen
        self._told = ""  # of which change
        super().__init__(
            f"the notifier {plugin}", store, state_dir / f"notifier-{plugin.name}.json",
            lambda outcome: metrics.notifiers.labels(plugin.name, outcome).inc(), pause,
        )  # fmt: skip

    async def _send(self, change: Change) -> tuple[bool, str]:
        if self._call is None:
            message = {"id": change.change_id, **await self._message(change)}
            self._call, self._told = in_thread(self._notify, message), change.change_id
        # Waited for without cancelling it: done is what ended. A call that takes longer is waited
        # for again, and not made twice.
        await asyncio.wait({self._call}, timeout=ANSWER_SECONDS)
        if not self._call.done():
            is_of_this = self._told == change.change_id  # else it was not told yet
            return is_of_this, f"it takes more than {ANSWER_SECONDS:.0f} s"
        error, self._call = self._call.exception(), None
        if self._told != change.change_id:  # one that was given up
            return await self._send(change)
        return not isinstance(error, OSError), place_of(error) if error else ""


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers of standardwebhooks.com; ``timestamp`` in seconds since 1970."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    digest = base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp),
            "webhook-signature": f"v1,{digest}"}  # fmt: skip
