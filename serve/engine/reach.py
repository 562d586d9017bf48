"""Whether a node of a Ray cluster can be reached from here.

Ray said of a node whose link was down for 50 s nothing before it was up again, and whoever asks an
actor waits as long. So the port of the node's Ray is looked at from here; who refuses a connection
is there, too.
"""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Awaitable
from typing import TypeVar

from pawl.errors import PawlError

LOOK_SECONDS = 1.0  # between two looks
REACH_SECONDS = 2.0  # of a look
CUT_OFF_SECONDS = 10.0  # without reaching it: it is given up
_AWAY = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN}
_T = TypeVar("_T")


async def is_reachable(host: str, port: int) -> bool:
    """Whether a machine answers, be it by a refusal. What fails on this one (no more files may be
    opened) says nothing about it."""
    try:
        async with asyncio.timeout(REACH_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno not in _AWAY
    writer.close()
    return True


class Reach:
    """Looks at one node until it is closed, or was given up.

    ``is_away``: it could not be reached at the last look.
    """

    def __init__(self, host: str, port: int) -> None:
        self.is_away = False
        self._host, self._port = host, port
        self._looking = asyncio.create_task(self._look_on())

    async def _look_on(self) -> None:
        """Return once it was not reached for ``CUT_OFF_SECONDS``; a pause of this process counts
        for one look."""
        away_seconds = 0.0
        while away_seconds < CUT_OFF_SECONDS:
            began = time.monotonic()
            self.is_away = not await is_reachable(self._host, self._port)
            await asyncio.sleep(LOOK_SECONDS)
            looked = min(time.monotonic() - began, LOOK_SECONDS + REACH_SECONDS)
            away_seconds = away_seconds + looked if self.is_away else 0.0

    async def unless_cut_off(self, call: Awaitable[_T]) -> _T:
        """What a call to the node returns.

        Raises:
            PawlError: the node was given up meanwhile (``code="node_lost"``).
        """
        calling = asyncio.ensure_future(call)
        try:
            await asyncio.wait({calling, self._looking}, return_when=asyncio.FIRST_COMPLETED)
            if calling.done():
                return calling.result()
        finally:
            calling.cancel()
        raise PawlError(
            f"node {self._host} was lost",
            f"it could not be reached for {CUT_OFF_SECONDS:.0f} s",
            retryable=True,
            code="node_lost",
        )

    async def close(self) -> None:
        self._looking.cancel()
        await asyncio.wait({self._looking})
