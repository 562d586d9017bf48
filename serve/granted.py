"""What ``Gateway.answer`` asks for, where all of it was decided and granted by another server.

Stand-ins of another gateway's process (``serve.gateway``) for the store, the queue and the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pawl.schemas import Completion, Message
from serve.api.admission import Place
from serve.engine.watchdog import Activity
from serve.shipping import Outbox

if TYPE_CHECKING:
    import aiohttp


@dataclass(frozen=True, slots=True)
class Recorded:
    """Its store: takes answers, and knows the weights of the versions that were granted."""

    outbox: Outbox
    weights: dict[str, str] = field(default_factory=dict)
    taken: dict[str, list[Future[None]]] = field(default_factory=dict)

    def append_completion(self, completion: Completion) -> Future[None]:
        row = self.outbox.append_completion(completion)
        self.taken.setdefault(completion.completion_id, []).append(row)
        return row

    def has_taken(self, completion_id: str) -> bool:
        """Whether rows of it are in the journal, or may be yet; to be asked once, at its end."""
        rows = self.taken.pop(completion_id, [])
        return any(not row.done() or row.exception() is None for row in rows)

    def weights_of(self, version: str) -> str:
        return self.weights[version]


class Granted:
    """Its admission: the place is held on the server."""

    @contextlib.asynccontextmanager
    async def place(self, name: str, n_answers: int, n_tokens: int) -> AsyncIterator[Place]:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        yield Place(cast(Any, None), n_answers, n_tokens, granted, 0.0, state="held")


@dataclass(frozen=True, slots=True)
class GrantedRequest:
    """A request, as the server has read it."""

    model: str
    path: str
    id_prefix: str
    prompt_field: str
    stream: bool
    include_usage: bool
    n: int
    stop_token_ids: list[int] | None
    ignored: list[str]
    sent_prompts: list[list[Message]]
    fields: dict[str, Any]
    body: dict[str, Any]

    def prompts(self) -> list[list[Message]]:
        return self.sent_prompts

    def sampling(self) -> dict[str, Any]:
        return self.fields

    def for_engine(self) -> dict[str, Any]:
        return self.body


@dataclass(frozen=True, slots=True)
class With:
    """An HTTP client that sends these headers too."""

    session: aiohttp.ClientSession
    headers: dict[str, str]

    def post(
        self, url: str, *, data: bytes, headers: dict[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self.session.post(url, data=data, headers={**headers, **self.headers})


@dataclass(eq=False, slots=True)
class GrantedEngine:
    """The engine that was granted, for one answer."""

    base_url: str
    session: With
    weights: str
    number: int = 1
    state: str = "ready"
    start_seconds: float | None = None
    activity: Activity = field(default_factory=Activity)

    @property
    def replicas(self) -> tuple[GrantedEngine, ...]:
        return (self,)

    @property
    def loaded(self) -> Collection[str]:
        return (self.weights,)

    @contextmanager
    def routed(
        self, weights: str, key: str, n_answers: int = 1, avoid: Collection[int] = ()
    ) -> Iterator[GrantedEngine]:
        yield self
