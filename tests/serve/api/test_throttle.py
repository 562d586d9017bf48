"""Wrong keys: which address they count for, and that neither time nor memory is without bound."""

from __future__ import annotations

import asyncio
import time

import pytest

from pawl.errors import PawlError
from serve.api.throttle import (
    FREE_FAILURES,
    MOST_ADDRESSES,
    MOST_WAITING,
    MOST_WAITING_OF_ADDRESS,
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


async def seconds_of(throttle: Throttle, address: str, caller: str | None = None) -> float:
    began = time.monotonic()
    await throttle.wait(address, caller)
    return time.monotonic() - began


def test_an_address_waits_twice_as_long_after_each_failure_and_others_do_not() -> None:
    async def test() -> None:
        throttle = Throttle()
        throttle.succeeded("a", "bot")
        for _ in range(FREE_FAILURES):
            assert await seconds_of(throttle, "a") < 0.1
            throttle.failed("a")
        first = await seconds_of(throttle, "a")
        throttle.failed("a")
        second = await seconds_of(throttle, "a")
        assert 0.25 <= first < second
        assert second >= 0.5
        assert await seconds_of(throttle, "b") < 0.1
        assert await seconds_of(throttle, "a", "bot") < 0.1  # was right from there before
        assert await seconds_of(throttle, "a", "other") >= 0.5

    asyncio.run(test())


def test_few_wait_at_a_time_and_the_rest_are_told_to() -> None:
    async def test() -> None:
        throttle = Throttle()
        addresses = [f"a{n}" for n in range(MOST_WAITING)]
        for address in addresses:
            for _ in range(FREE_FAILURES):
                throttle.failed(address)

        async def wait(address: str) -> str:
            try:
                await throttle.wait(address, None)
            except PawlError as err:
                return err.code
            return "waited"

        of_one = [wait("a0") for _ in range(MOST_WAITING_OF_ADDRESS + 3)]
        of_all = [wait(address) for address in addresses]
        codes = await asyncio.gather(*of_one, *of_all)
        assert codes[: len(of_one)].count("too_many_failures") == 3
        assert codes.count("waited") == MOST_WAITING
        assert await wait("a1") == "waited"

    asyncio.run(test())


def test_memory_is_bounded() -> None:
    throttle = Throttle()
    for n in range(3 * MOST_ADDRESSES):
        throttle.failed(f"a{n}")
        throttle.succeeded(f"a{n}", "bot")
    assert len(throttle._failures) == len(throttle._trusted) == MOST_ADDRESSES
