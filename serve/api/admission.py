"""Who may go to the engine, and when: quotas, and a bounded queue that is fair between callers.

The engine has ``n_places``, one for each answer that it generates; its replicas have theirs
together. When none is free, requests wait, and the next place goes to the caller who has had the
fewest tokens (start-time fair queueing, Goyal et al. 1996: prompt and ``max_tokens`` are charged at
the start, and corrected by what was used at the end). So a caller's share does not grow with the
number of its requests.

A streaming engine can't slow one stream down for another, so places are kept free beforehand:

- while other callers are there (under way, or within ``ACTIVE_SECONDS``), one holds at most
  ``caller_share`` of the places, or one request of ``MOST_OF_PROMPT`` answers; a request for more
  waits until they are gone;
- ``n_reserved`` places more are for callers who hold none.

When the queue is full, the newest request of the caller with the most waiting is refused, so one
caller can't fill it. Used from the event loop only.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pawl.errors import PawlError
from pawl.settings import EngineSettings, LimitSettings
from serve.api.auth import CALLER
from serve.api.quotas import CallerQuotas, Quota, quota_used_up
from serve.api.throttle import address_of

if TYPE_CHECKING:
    from serve.api.requests import CompletionRequest

ACTIVE_SECONDS = 60.0
LOOK_SECONDS = 2.0  # between looks for whether others are still there
DEFAULT_MAX_TOKENS = 256  # charged at first for an answer without max_tokens
BYTES_PER_TOKEN = 4  # of a request's body, at first
MAX_RETRY_SECONDS = 60.0
MOST_OF_PROMPT = 4  # answers to one prompt: nobody could ask a small engine for them otherwise
FEEDBACK_SECONDS = 3600.0


def share_of(scope: Mapping[str, Any], key: str | None, rater_id: str) -> str:
    """Whose share a request comes out of: the account or key that was recognised, else the
    key as sent (``serve.api.auth.key_of``), else the rater, else the client's address."""
    recognised = scope.get(CALLER)
    if recognised is not None and not recognised.is_everyone:
        return f"account {recognised.name}"
    if key:
        return f"key {hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if rater_id != "anonymous":
        return f"rater {rater_id}"
    return f"address {address_of(scope)}"


def sent_tokens(n_bytes: int) -> int:
    """What a prompt has by the size of its request."""
    return n_bytes // BYTES_PER_TOKEN


def expected_tokens(request: CompletionRequest, n_bytes: int, context: int) -> int:
    """What a request is charged before it is known: its body's size, and all that it may get.
    ``context``: tokens that the model's holds."""
    n_answers = request.n * len(request.prompts())
    return sent_tokens(n_bytes) + n_answers * min(
        request.most_tokens() or DEFAULT_MAX_TOKENS, context
    )


@dataclass(slots=True, eq=False)
class Caller:
    """What one caller has under way, and how much it has had."""

    name: str
    is_ours: bool = False  # the server itself: without quota, never refused
    n_had: float = 0.0  # tokens, on the scale of ``Admission.turn``
    n_held: int = 0  # places
    n_requests: int = 0  # waiting and under way
    seen_at: float = 0.0
    waiting: deque[Place] = field(default_factory=deque)
    requests: Quota | None = None
    tokens: Quota | None = None


@dataclass(slots=True, eq=False)
class Place:
    """A request that waits for its places in the engine, then holds them.

    ``n_used_tokens`` is set by who holds it, as soon as it is known.
    """

    caller: Caller
    n_places: int
    n_tokens: int  # expected
    granted: asyncio.Future[None]
    came_at: float
    waited_seconds: float = 0.0
    n_used_tokens: int | None = None
    state: str = "waiting"  # then "held", at last "left"


class Admission:
    """The places of one engine, and the queue before them.

    Args:
        engine: its number of places.
        limits: bounds of the queue, and the quotas.
        clock: seconds; tests give their own.
        n_engines: how many there are now with the engine's number of places each.
    """

    def __init__(
        self,
        engine: EngineSettings | None = None,
        limits: LimitSettings | None = None,
        clock: Callable[[], float] = time.monotonic,
        n_engines: Callable[[], int] = lambda: 1,
    ) -> None:
        engine = engine or EngineSettings()
        self._n_engines = n_engines
        self._n_places_each = engine.max_concurrent_requests
        self._n_reserved_each = engine.n_reserved_places
        self.n_held = 0
        self.n_waiting = 0
        self.turn = 0.0  # tokens that the caller had whose request was last let in
        self._limits = limits or LimitSettings()
        self._clock = clock
        self._callers: dict[str, Caller] = {}  # the one seen last stands last
        self._backlogged: dict[str, Caller] = {}
        self._feedback = CallerQuotas(
            "rows of feedback an hour", self._limits.feedback_per_hour, FEEDBACK_SECONDS, clock
        )
        self._reads = CallerQuotas(
            "GET requests a minute", self._limits.reads_per_minute, 60, clock
        )
        self._n_busy = 0  # callers with requests
        self._mean_seconds = 1.0  # that a place is held
        self._tidied_at = clock()

    @property
    def n_places(self) -> int:
        return self._n_places_each * self._n_engines()

    @property
    def n_reserved(self) -> int:
        return self._n_reserved_each * self._n_engines()

    @property
    def _share(self) -> int:
        return max(1, int(self.n_places * self._limits.caller_share))

    @property
    def longest_wait_seconds(self) -> float:
        """Of the requests that wait because all places are taken; 0 where some are free."""
        if self.n_held < self.n_places or not self._backlogged:
            return 0.0
        return self._clock() - min(one.waiting[0].came_at for one in self._backlogged.values())

    def look(self) -> None:
        """To be called where there may be more engines than before."""
        self._let_in()

    @contextlib.asynccontextmanager
    async def place(
        self, name: str, n_answers: int, n_tokens: int, *, is_ours: bool = False
    ) -> AsyncIterator[Place]:
        """Wait for room in the engine; it is held while the block runs.

        Args:
            name: the caller (``share_of``).
            n_answers: that the engine generates for this request.
            n_tokens: expected, of prompt and answers.
            is_ours: of the server itself: without quota, and never refused.

        Raises:
            PawlError: more answers than the engine has places (``invalid_value``), a quota is used
                up (``rate_limit_exceeded``), the queue is full, or it took too long
                (``overloaded``).
        """
        place = self._enter(name, n_answers, n_tokens, is_ours)
        try:
            try:
                await self._wait(place)
            except BaseException:  # who hangs up as the place is granted has asked nothing either
                place.n_used_tokens = 0
                raise
            yield place
        finally:
            self._leave(place)

    def charge_request(self, name: str) -> None:
        """Count a request against its caller's quotas, before any work is done for it.

        Raises:
            PawlError: one of them is used up (``rate_limit_exceeded``).
        """
        now = self._clock()
        self._tidy(now)
        caller = self._caller(name, now)
        self._check_quotas(caller, now)
        if caller.requests is not None:
            caller.requests.check(now)
            caller.requests.level -= 1

    def charge_feedback(self, name: str, n_rows: int, *, is_let_in: bool = False) -> None:
        """Count rows of feedback against their caller's quota.

        Raises:
            PawlError: it is used up (``rate_limit_exceeded``); not for more of what ``is_let_in``.
        """
        self._feedback.charge(name, n_rows, is_let_in)

    def charge_read(self, name: str) -> None:
        """Count a GET request against its caller's quota.

        Raises:
            PawlError: it is used up (``rate_limit_exceeded``).
        """
        self._reads.charge(name)

    # -- in and out

    async def _wait(self, place: Place) -> None:
        limit = None if place.caller.is_ours else self._limits.max_wait_seconds
        is_large = place.n_places > self._share
        try:
            async with asyncio.timeout(None if place.granted.done() else limit):
                while is_large and not place.granted.done():  # others leave without a word
                    await asyncio.wait({place.granted}, timeout=LOOK_SECONDS)
                    self._let_in()
                await place.granted
        except TimeoutError:
            why = f"it has waited {limit:.0f} s"
            if is_large:
                why += (f" for {place.n_places} places at once, of which a caller gets "
                        f"{self._share} while others are there")  # fmt: skip
            raise self._overloaded(why) from None
        place.waited_seconds = self._clock() - place.came_at

    def _enter(self, name: str, n_answers: int, n_tokens: int, is_ours: bool) -> Place:
        now = self._clock()
        self._tidy(now)
        caller = self._caller(name, now, is_ours)
        if n_answers > self._n_places_each:
            raise PawlError(
                f"the request asks for {n_answers} answers",
                f"the engine gives at most {self._n_places_each} at once (prompts times n)",
                "Send fewer prompts, or a smaller n",
                code="invalid_value",
            )
        self._check_quotas(caller, now)
        granted = asyncio.get_running_loop().create_future()
        place = Place(caller, n_answers, n_tokens, granted, now)
        self._n_busy += caller.n_requests == 0
        caller.n_requests += 1
        if caller.tokens is not None:
            caller.tokens.level -= n_tokens
        if not caller.waiting:  # nobody saves up turns while it asks for nothing
            caller.n_had = max(caller.n_had, self.turn)
        caller.waiting.append(place)
        self._backlogged[name] = caller
        self.n_waiting += 1
        self._let_in()
        if place.state == "waiting" and self.n_waiting > self._limits.max_queued_requests:
            self._refuse_one(caller)
        return place

    def _leave(self, place: Place) -> None:
        if place.state == "left":
            return
        caller, now = place.caller, self._clock()
        if place.state == "waiting":
            self._unqueue(place)
            n_used = 0
        else:
            caller.n_held -= place.n_places
            self.n_held -= place.n_places
            n_used = place.n_tokens if place.n_used_tokens is None else place.n_used_tokens
            caller.n_had += n_used - place.n_tokens
            held_seconds = now - place.came_at - place.waited_seconds
            self._mean_seconds += (held_seconds - self._mean_seconds) / 16
        if caller.tokens is not None:
            caller.tokens.level += place.n_tokens - n_used
        place.state = "left"
        caller.n_requests -= 1
        self._caller(caller.name, now)  # seen now
        self._n_busy -= caller.n_requests == 0
        self._let_in()

    def _unqueue(self, place: Place) -> None:
        caller = place.caller
        caller.waiting.remove(place)
        if not caller.waiting:
            del self._backlogged[caller.name]
        self.n_waiting -= 1

    def _let_in(self) -> None:
        """Grant places as long as there are any for somebody who waits."""
        while (place := self._next()) is not None:
            caller = place.caller
            self._unqueue(place)
            place.state = "held"
            self.turn = max(self.turn, caller.n_had)
            caller.n_had += place.n_tokens
            caller.n_held += place.n_places
            self.n_held += place.n_places
            if not place.granted.done():  # else its client has just hung up, and it leaves now
                place.granted.set_result(None)

    def _next(self) -> Place | None:
        """Whose turn it is, of those for whom there is room."""
        n_free = self.n_places - self.n_held
        if n_free + self.n_reserved <= 0:
            return None
        is_blocked = False
        for caller in sorted(self._backlogged.values(), key=lambda one: one.n_had):
            place = caller.waiting[0]
            if caller.n_held == 0 and place.n_places == 1:
                return place
            if caller.n_held + place.n_places > self._most_places(caller):
                continue
            if place.n_places <= n_free and not is_blocked:
                return place
            is_blocked = True  # only who holds no place may overtake it
        return None

    def _most_places(self, caller: Caller) -> int:
        share = self._share if caller.n_held else max(self._share, MOST_OF_PROMPT)
        if self._n_busy > 1:
            return share
        since = self._clock() - ACTIVE_SECONDS
        newest = next((one for one in reversed(self._callers.values()) if one is not caller), None)
        return share if newest is not None and newest.seen_at > since else self.n_places

    def _refuse_one(self, newcomer: Caller) -> None:
        """The queue is too long: its longest part, one caller's, loses its newest request."""
        callers = [one for one in self._backlogged.values() if not one.is_ours]
        if callers:
            longest = max(callers, key=lambda one: (len(one.waiting), one is newcomer))
            place = longest.waiting[-1]
            if not place.granted.done():
                place.granted.set_exception(self._overloaded(f"{self.n_waiting} requests wait"))
                place.granted.exception()  # its client may hang up before it is told
            self._leave(place)

    # -- refusals

    def _overloaded(self, why: str) -> PawlError:
        seconds = (self.n_waiting + 1) * self._mean_seconds / self.n_places
        return PawlError(
            "the engine has more to do than it can",
            why,
            "Ask again later",
            retryable=True,
            retry_after_seconds=min(MAX_RETRY_SECONDS, max(1.0, seconds)),
            code="overloaded",
        )

    def _check_quotas(self, caller: Caller, now: float) -> None:
        limits = self._limits
        if caller.is_ours:
            return
        if limits.requests_at_once and caller.n_requests >= limits.requests_at_once:
            seconds = min(MAX_RETRY_SECONDS, max(1.0, self._mean_seconds))
            raise quota_used_up(f"{limits.requests_at_once} requests at once", seconds)
        if caller.tokens is not None:
            caller.tokens.check(now)

    # -- who is there

    def _caller(self, name: str, now: float, is_ours: bool = False) -> Caller:
        caller = self._callers.pop(name, None)
        if caller is None:
            caller, limits = Caller(name, is_ours), self._limits
            if (most := limits.requests_per_minute) and not is_ours:
                caller.requests = Quota.full("requests a minute", most, 60, now)
            if (most := limits.tokens_per_minute) and not is_ours:
                caller.tokens = Quota.full("tokens a minute", most, 60, now)
        self._callers[name] = caller
        caller.seen_at = now
        return caller

    def _tidy(self, now: float) -> None:
        """Forget who has not been seen for a while and whose quotas are full again."""
        if now < self._tidied_at + ACTIVE_SECONDS:
            return
        self._tidied_at = now
        for caller in list(self._callers.values()):
            quotas = (caller.requests, caller.tokens)
            owes = any(quota is not None and not quota.is_full(now) for quota in quotas)
            if not caller.n_requests and not owes and now - caller.seen_at > ACTIVE_SECONDS:
                del self._callers[caller.name]
