"""Who asks, by a request's head, and what of theirs waits for the store: a little at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from serve.api.admission import share_of
from serve.api.auth import caller_of, key_of
from serve.api.quotas import Turns
from serve.api.recording import rater_of

AT_ONCE = 4  # requests of a caller, by whichever routes; all have 40 threads
T = TypeVar("T")


def rater_named_by(request: Request, user: str | None = None) -> str:
    """Who asks, as rows are recorded."""
    headers = request.headers
    return rater_of(caller_of(request.scope), headers.get("x-pawl-rater"), user, key_of(headers))


def share_named_by(request: Request) -> str:
    """Who is charged: the key or account, else the rater that the head names, else the address."""
    return share_of(request.scope, key_of(request.headers), rater_named_by(request))


class StoreTurns:
    """Work that waits for the store, in threads, ``AT_ONCE`` of a caller's, so that nobody takes
    all threads. The routes of one application share one."""

    def __init__(self) -> None:
        self._turns = Turns(AT_ONCE)

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """What ``work`` answers or raises.

        Raises:
            PawlError: too many requests of this caller wait (429).
        """
        async with self._turns.of(share_named_by(request)):
            return await run_in_threadpool(work)
