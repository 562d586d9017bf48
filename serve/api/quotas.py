"""Bounds of what may be asked of the server: quotas, and turns at work that takes long.

Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from pawl.errors import PawlError

TIDY_SECONDS = 60.0
MOST_WAITING = 256  # of a caller; each holds a connection


@dataclass(slots=True)
class Quota:
    """So many in so many seconds, filled evenly; whoever took more waits until the debt is filled
    up."""

    what: str  # as a refusal calls it: "requests a minute"
    most: float
    seconds: float
    level: float
    at: float  # seconds, when ``level`` was right

    @classmethod
    def full(cls, what: str, most: float, seconds: float, now: float) -> Quota:
        return cls(what, most, seconds, most, now)

    def check(self, now: float, least: int = 1) -> None:
        """Raises PawlError: fewer than ``least`` are left (``rate_limit_exceeded``)."""
        self._fill(now)
        if self.level < least:
            seconds = (1 - self.level) * self.seconds / self.most
            raise quota_used_up(f"{self.most:,.0f} {self.what}", seconds)

    def is_full(self, now: float) -> bool:
        """Whether it can be forgotten."""
        self._fill(now)
        return self.level >= self.most

    def _fill(self, now: float) -> None:
        self.level = min(self.most, self.level + (now - self.at) * self.most / self.seconds)
        self.at = now


class CallerQuotas:
    """The same quota for each caller; it is forgotten once it is full again.

    Args:
        what, most, seconds: see ``Quota``.
        clock: seconds; tests give their own.
    """

    def __init__(
        self, what: str, most: float, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what, self._most, self._seconds, self._clock = what, most, seconds, clock
        self._quotas: dict[str, Quota] = {}
        self._tidied_at = clock()

    def charge(self, caller: str, n: int = 1, is_let_in: bool = False) -> None:
        """Raises PawlError: it is used up (``rate_limit_exceeded``); for more of what ``is_let_in``
        only where others, let in at the same moment, have used more than there was."""
        now = self._clock()
        if now > self._tidied_at + TIDY_SECONDS:
            self._tidied_at = now
            for name in [name for name, quota in self._quotas.items() if quota.is_full(now)]:
                del self._quotas[name]
        full = Quota.full(self._what, self._most, self._seconds, now)
        quota = self._quotas.setdefault(caller, full)
        quota.check(now, 0 if is_let_in else 1)
        quota.level -= n


class Turns:
    """Lets each caller do ``n`` things at once; its others wait, first come, first served, and are
    refused beyond ``MOST_WAITING``."""

    def __init__(self, n: int) -> None:
        self._n = n
        self._lines: WeakValueDictionary[str, _Line] = WeakValueDictionary()

    @contextlib.asynccontextmanager
    async def of(self, caller: str) -> AsyncIterator[None]:
        """Wait for a turn of this caller's; it lasts while the block runs.

        Raises:
            PawlError: too many wait already (``rate_limit_exceeded``).
        """
        line = self._lines.get(caller)
        if line is None:
            line = self._lines[caller] = _Line(asyncio.Semaphore(self._n))
        if line.n_here >= self._n + MOST_WAITING:
            raise quota_used_up(f"{MOST_WAITING} such requests at once", 1.0)
        line.n_here += 1
        try:
            async with line.turns:
                yield
        finally:
            line.n_here -= 1


class OneByOne:
    """Lets one thing be done at once, whoever asks: argon2 takes a core and its memory.

    Args:
        most: that are here, the one that is done and those that wait.
        what: a refusal says of more than that, "too many keys wait to be checked".
    """

    def __init__(self, most: int, what: str) -> None:
        self._most, self._what = most, what
        self._turn = asyncio.Semaphore()
        self._n_here = 0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the turn; it lasts while the block runs.

        Raises:
            PawlError: too many wait already (``too_many_failures``).
        """
        if self._n_here >= self._most:
            raise PawlError(
                self._what,
                f"{self._most} are checked one after the other",
                "Try again in some seconds",
                code="too_many_failures",
                retryable=True,
            )
        self._n_here += 1
        try:
            async with self._turn:
                yield
        finally:
            self._n_here -= 1


@dataclass(eq=False)
class _Line:
    turns: asyncio.Semaphore
    n_here: int = 0


def quota_used_up(quota: str, seconds: float) -> PawlError:
    """The refusal of a request beyond a quota, ``seconds`` before it would be taken."""
    return PawlError(
        "you have used up your share of this server",
        f"{quota} are allowed",
        f"Ask again in {seconds:.0f} s" if seconds >= 1 else "Ask again in a moment",
        retryable=True,
        retry_after_seconds=max(1.0, seconds),
        code="rate_limit_exceeded",
    )
