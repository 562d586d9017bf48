"""Watches a running engine: does its process live, and do tokens come out of it?

vLLM answers ``/health`` for as long as its API process lives, also when its core or its worker is
frozen. So what counts as a sign of life is a token: one of somebody's answer, one that the
watchdog asks for itself when nothing else came for a while, or a rise of vLLM's own count of
tokens (a long answer that isn't streamed shows nothing until its end, and the watchdog's own token
may have to wait for memory).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

LOOK_SECONDS = 5.0  # between two looks
QUIET_SECONDS = 15.0  # without a sign of life before a token is asked for
TOKEN_BODY = {"model": "base", "prompt": [[0]], "max_tokens": 1, "temperature": 0}
_TOKEN_COUNTS = re.compile(
    r"^vllm:(?:prompt|generation)_tokens_total(?:\{[^}]*\})? (\S+)$", re.MULTILINE
)

Request = Callable[..., Coroutine[Any, Any, tuple[int, str]]]  # ``Engine.request``


@dataclass(slots=True)
class Activity:
    """What one life of the engine was asked by people, and what came out of it."""

    n_asked: int = 0
    n_answered: int = 0
    n_signs: int = 0  # anything that was generated
    _under_way: set[asyncio.Timeout] = field(default_factory=set)

    @contextlib.asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """A request to this engine. Raises ConnectionError: the engine was given up meanwhile.
        (A frozen process keeps its connections, and closing the client's end of one does not wake
        who reads from it.)"""
        try:
            async with asyncio.timeout(None) as until:
                self._under_way.add(until)
                try:
                    yield
                finally:
                    self._under_way.discard(until)
        except TimeoutError:
            if until.expired():
                raise ConnectionError("the engine was given up") from None
            raise

    def end(self) -> None:
        """Let every request under way fail now."""
        for until in self._under_way:
            until.reschedule(0)


async def watch(
    request: Request, activity: Activity, ended: Awaitable[int | str], stuck_seconds: float
) -> str:
    """Wait until the engine has ended, or nothing was generated for ``stuck_seconds`` though it
    was asked to; returns what happened.

    Args:
        request: asks the engine.
        activity: counts what comes out of it.
        ended: its exit code, or what happened to it in words, once it has ended.
        stuck_seconds: counted in steps of a look, so that a pause of this process (a suspended
            machine) is not taken for one of the engine.
    """
    look_seconds = min(LOOK_SECONDS, stuck_seconds / 4)
    exit_code = asyncio.ensure_future(ended)
    token: asyncio.Task[tuple[int, str]] | None = None
    n_signs, n_counted, silent_seconds = activity.n_signs, -1.0, 0.0
    try:
        while silent_seconds < stuck_seconds:
            began = time.monotonic()
            await asyncio.wait({exit_code}, timeout=look_seconds)
            if exit_code.done():
                result = exit_code.result()
                if isinstance(result, str):
                    return result
                return f"the engine ended with {_in_words(result)}"
            if activity.n_signs != n_signs:
                n_signs, silent_seconds = activity.n_signs, 0.0
                continue
            if silent_seconds >= min(QUIET_SECONDS, stuck_seconds / 4):
                if token is None or token.done():
                    token = asyncio.create_task(
                        request("POST", "/v1/completions", TOKEN_BODY, seconds=None)
                    )
                _, text = await request("GET", "/metrics", seconds=look_seconds)
                now_counted = sum(float(count) for count in _TOKEN_COUNTS.findall(text))
                if now_counted > n_counted >= 0:
                    silent_seconds = 0.0
                n_counted = now_counted
            silent_seconds += min(time.monotonic() - began, 2 * look_seconds)
        return f"the engine generated nothing for {silent_seconds:.0f} s"
    finally:
        exit_code.cancel()
        if token is not None:
            token.cancel()


def _in_words(exit_code: int) -> str:
    """ "exit code 137 (SIGKILL)": signals are negative, or above 128 as a shell has them."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    names = {member.value: member.name for member in signal.Signals}
    return f"exit code {exit_code}" + (f" ({names[number]})" if number in names else "")
