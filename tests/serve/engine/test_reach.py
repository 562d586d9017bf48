"""A node that can't be reached: seen, and given up where that lasts. Real packets are lost."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cut_node import NODE, CutNode, cut_node, own_network
from pawl.errors import PawlError
from serve.engine import reach
from serve.engine.reach import Reach, is_reachable

PORT = 9  # where nobody listens: the machine refuses, so it is there


def cut_off(tmp_path: Path, scenario: Callable[[CutNode], Coroutine[Any, Any, None]]) -> None:
    """Run it in a thread of its own, which has a network of its own."""
    problems: list[BaseException] = []
    made: list[bool] = []

    def run() -> None:
        try:
            made.append(own_network())
            if made[0]:
                with cut_node(tmp_path) as node:
                    asyncio.run(scenario(node))
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if problems:
        raise problems[0]
    if not made[0]:
        pytest.skip("NOT TESTED a node that is cut off: no network namespace may be made here")


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - looks have no event
            await asyncio.sleep(0.05)


@pytest.mark.slow
def test_a_short_cut_is_seen_and_a_long_one_ends_what_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(node: CutNode) -> None:
        monkeypatch.setattr(reach, "CUT_OFF_SECONDS", 60)
        looked = Reach(NODE, PORT)
        waits = asyncio.ensure_future(looked.unless_cut_off(asyncio.Event().wait()))
        await asyncio.sleep(1.5)
        assert not looked.is_away
        node.cut()
        await until(lambda: looked.is_away)
        node.mend()
        await until(lambda: not looked.is_away)
        assert not waits.done()
        assert await looked.unless_cut_off(asyncio.sleep(0, "answered")) == "answered"
        monkeypatch.setattr(reach, "CUT_OFF_SECONDS", 5)
        node.cut()
        with pytest.raises(PawlError, match=f"node {NODE} was lost") as caught:
            await asyncio.wait_for(waits, 20)
        assert caught.value.code == "node_lost"
        assert looked.is_away
        with pytest.raises(PawlError, match="was lost"):  # what is asked later doesn't wait
            await asyncio.wait_for(looked.unless_cut_off(asyncio.Event().wait()), 1)
        await looked.close()

    cut_off(tmp_path, scenario)


def test_a_fault_of_this_machine_is_none_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_file(host: str, port: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    assert asyncio.run(is_reachable("127.0.0.1", PORT))  # refused
    monkeypatch.setattr(asyncio, "open_connection", no_file)
    assert asyncio.run(is_reachable("127.0.0.1", PORT))
