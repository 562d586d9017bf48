"""Slows addresses that send wrong keys or passwords, in bounded time and memory.

An address may be wrong ``FREE_FAILURES`` times. After that its requests wait before their key is
looked at, twice as long after each further failure, so that many guesses at once gain nothing. A
key that was right from an address before does not wait there: people behind one proxy share an
address with whoever guesses.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pawl.errors import PawlError

if TYPE_CHECKING:
    from starlette.types import Scope

FREE_FAILURES = 10
FIRST_SECONDS = 0.25  # the wait after them
MOST_SECONDS = 8.0
FORGET_SECONDS = 600.0  # after the last failure
MOST_WAITING_OF_ADDRESS = 4
MOST_WAITING = 64  # each holds a connection
MOST_ADDRESSES = 4096
_log = logging.getLogger("pawl.auth")


@dataclass(slots=True)
class _Failures:
    """Of one address. ``last_at`` is of the monotonic clock, in seconds."""

    n: int = 0
    n_waiting: int = 0
    last_at: float = 0.0

    @property
    def are_forgotten(self) -> bool:
        return time.monotonic() - self.last_at > FORGET_SECONDS


class Throttle:
    """Counts wrong keys by address. Used from one event loop at a time.

    Args:
        words: what is counted, before the address in the log.
    """

    def __init__(self, words: str = "wrong key from") -> None:
        self._words = words
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._trusted: OrderedDict[tuple[str, str], None] = OrderedDict()  # address, caller
        self._n_waiting = 0

    async def wait(self, address: str, caller: str | None) -> None:
        """Return when a key from ``address`` may be looked at; at once for most.

        Args:
            caller: whose key it is, where that is known already.

        Raises:
            PawlError: too many requests wait already (``too_many_failures``).
        """
        failures = self._failures.get(address)
        if failures is None or failures.n < FREE_FAILURES or failures.are_forgotten:
            return
        if caller is not None and (address, caller) in self._trusted:
            return
        if failures.n_waiting >= MOST_WAITING_OF_ADDRESS or self._n_waiting >= MOST_WAITING:
            raise PawlError(
                "too many wrong tries came from here",
                f"{failures.n_waiting} of them wait already",
                "Wait some seconds and try again",
                code="too_many_failures",
                retryable=True,
            )
        doublings = min(failures.n - FREE_FAILURES, 16)
        failures.n_waiting += 1
        self._n_waiting += 1
        try:
            await asyncio.sleep(min(FIRST_SECONDS * 2**doublings, MOST_SECONDS))
        finally:
            failures.n_waiting -= 1
            self._n_waiting -= 1

    def failed(self, address: str) -> None:
        """A key from there was wrong. Logged at each doubling, so that nobody can fill the log."""
        failures = self._failures.setdefault(address, _Failures())
        failures.n = 1 if failures.are_forgotten else failures.n + 1
        failures.last_at = time.monotonic()
        _keep_newest(self._failures, address)
        if is_power_of_two(failures.n):
            _log.warning("%s %s, %d so far", self._words, address, failures.n)

    def succeeded(self, address: str, caller: str) -> None:
        """A key from there was right."""
        self._trusted[address, caller] = None
        _keep_newest(self._trusted, (address, caller))


def is_power_of_two(n: int) -> bool:
    """Whether the n-th of many alike is worth a line."""
    return n & (n - 1) == 0


def address_of(scope: Scope) -> str:
    """Where a request comes from: an IPv4 address, or the network of an IPv6 address, of which one
    client has a whole /64."""
    client = scope.get("client")
    return _network(client[0]) if client else "this process"


@lru_cache(maxsize=MOST_ADDRESSES)
def _network(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "unknown"  # what a proxy's header says is any text
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


def _keep_newest(entries: OrderedDict[Any, Any], key: Any) -> None:
    entries.move_to_end(key)
    if len(entries) > MOST_ADDRESSES:
        entries.popitem(last=False)
