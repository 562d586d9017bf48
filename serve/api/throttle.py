"""Slows addresses that send wrong keys or passwords, in bounded memory.

An address may be wrong ``FREE_FAILURES`` times. After that each wrong try takes one of a few slots
for some time, twice as long after each further failure; while all are taken, nothing that comes
from there is looked at, be it right or wrong. So guesses gain no more than if each had waited that
time before it was looked at, and what is right waits for nothing. Who was right from an
address before is counted apart there: people behind one proxy share an address with whoever
guesses.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from pawl.errors import PawlError

if TYPE_CHECKING:
    pass

FREE_FAILURES = 10
FIRST_SECONDS = 0.25  # of the failure after them
MOST_SECONDS = 8.0
FORGET_SECONDS = 600.0  # after the last failure
N_SLOTS = 4
MOST_ADDRESSES = 4096
_log = logging.getLogger("pawl.auth")


@dataclass(slots=True)
class _Failures:
    """Of one address; times are of the throttle's clock."""

    n: int = 0
    last_at: float = 0.0
    n_tries: int = 0  # that are looked at now
    ends: list[float] = field(default_factory=list)  # of the slots that failures took


class Throttle:
    """Counts wrong keys by address. Used from one event loop at a time.

    Args:
        words: what is counted, before the address in the log.
        n_slots: of one address.
        clock: seconds.
    """

    def __init__(
        self,
        words: str = "wrong key from",
        n_slots: int = N_SLOTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._words, self._n_slots, self._clock = words, n_slots, clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._trusted: OrderedDict[tuple[str, str], None] = OrderedDict()  # address, caller

    @contextlib.contextmanager
    def attempt(self, address: str, caller: str | None) -> Iterator[None]:
        """A key from ``address`` is looked at while the block runs.

        Args:
            caller: whose key it is or would be, where that is known.

        Raises:
            PawlError: too many wrong ones came from there just now (``too_many_failures``).
        """
        failures, now = self._failures.get(self._key(address, caller)), self._clock()
        if (
            failures is None
            or failures.n < FREE_FAILURES
            or now - failures.last_at > FORGET_SECONDS
        ):
            yield
            return
        failures.ends = [end for end in failures.ends if end > now]
        if failures.n_tries + len(failures.ends) >= self._n_slots:
            raise PawlError(
                "too many wrong tries came just now",
                f"no other is looked at while {self._n_slots} of them count",
                "Wait some seconds and try again",
                code="too_many_failures",
                retryable=True,
                retry_after_seconds=max(1.0, min(failures.ends, default=now) - now),
            )
        failures.n_tries += 1
        try:
            yield
        finally:
            failures.n_tries -= 1

    def failed(self, address: str, caller: str | None = None) -> None:
        """A key from there was wrong. Logged at each doubling, so that nobody can fill the log."""
        key, now = self._key(address, caller), self._clock()
        failures = self._failures.setdefault(key, _Failures())
        failures.n = 1 if now - failures.last_at > FORGET_SECONDS else failures.n + 1
        failures.last_at = now
        if failures.n > FREE_FAILURES:
            doublings = min(failures.n - FREE_FAILURES - 1, 16)
            failures.ends.append(now + min(FIRST_SECONDS * 2**doublings, MOST_SECONDS))
        _keep_newest(self._failures, key)
        if is_power_of_two(failures.n):
            _log.warning("%s %s, %d so far", self._words, key, failures.n)

    def succeeded(self, address: str, caller: str) -> None:
        """A key from there was right."""
        self._trusted[address, caller] = None
        _keep_newest(self._trusted, (address, caller))

    def _key(self, address: str, caller: str | None) -> str:
        """What failures are counted under."""
        is_trusted = caller is not None and (address, caller) in self._trusted
        return f"{address} {caller}" if is_trusted else address


def is_power_of_two(n: int) -> bool:
    """Whether the n-th of many alike is worth a line."""
    return n & (n - 1) == 0


def address_of(scope: Mapping[str, Any]) -> str:
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
