"""Wrong keys: which address they count for, how few are looked at, and bounded memory."""

from __future__ import annotations

import pytest

from pawl.errors import PawlError
from serve.api.throttle import (
    FREE_FAILURES,
    MOST_ADDRESSES,
    N_SLOTS,
    Throttle,
    address_of,
)


@pytest.mark.parametrize(
    ("client", "address"),
    [(("192.0.2.7", 1), "192.0.2.7"), (("::ffff:192.0.2.7", 1), "192.0.2.7"),
     (("2001:db8::1", 1), "2001:db8::/64"), (("2001:db8::2:3:4:5", 1), "2001:db8::/64"),
     (("fe80::1%eth0", 1), "fe80::/64"), (("\x1b[31m", 1), "unknown"), (None, "this process")],
)  # fmt: skip
def test_addresses(client: object, address: str) -> None:
    assert address_of({"client": client}) == address


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def is_looked_at(throttle: Throttle, address: str, caller: str | None = None) -> bool:
    try:
        with throttle.attempt(address, caller):
            return True
    except PawlError as err:
        refusal = err
    assert refusal.code == "too_many_failures"
    assert 1 <= (refusal.retry_after_seconds or 0) <= 8
    return False


def test_wrong_ones_gain_no_more_than_four_tries_in_eight_seconds() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)

    def n_looked_at(seconds: float) -> int:
        n, end = 0, clock.now + seconds
        while clock.now < end:
            while is_looked_at(throttle, "a"):
                throttle.failed("a")
                n += 1
            clock.now += 0.05
        return n

    assert n_looked_at(0.05) == FREE_FAILURES + N_SLOTS
    assert n_looked_at(30) <= 20
    assert n_looked_at(80) <= 40 + N_SLOTS
    assert is_looked_at(throttle, "b")


def test_what_is_right_waits_for_nothing_and_is_no_wrong_try() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    for _ in range(FREE_FAILURES + N_SLOTS - 1):
        throttle.failed("a")
    for _ in range(10):
        with throttle.attempt("a", None):
            assert not is_looked_at(throttle, "a")  # beside it: a slot is its own meanwhile
    throttle.succeeded("a", "bot")
    throttle.failed("a")
    assert not is_looked_at(throttle, "a")
    assert not is_looked_at(throttle, "a", "other")
    assert is_looked_at(throttle, "a", "bot")
    clock.now += 601
    assert is_looked_at(throttle, "a")


def test_guesses_at_who_was_right_from_there_are_counted_apart() -> None:
    throttle = Throttle(clock=Clock())
    throttle.succeeded("a", "ann")
    for _ in range(FREE_FAILURES + N_SLOTS):
        assert is_looked_at(throttle, "a", "ann")
        throttle.failed("a", "ann")
    assert not is_looked_at(throttle, "a", "ann")
    assert is_looked_at(throttle, "a", "bob")


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for n in range(3 * MOST_ADDRESSES):
        throttle.failed(f"a{n}")
        throttle.succeeded(f"a{n}", "bot")
    assert len(throttle._failures) == len(throttle._trusted) == MOST_ADDRESSES
