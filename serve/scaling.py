"""Replicas by load: one more while answers wait, one fewer while it would not be missed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from pawl.errors import PawlError
from pawl.settings import EngineSettings
from serve.api.admission import Admission
from serve.engine.replicas import NOT_NEEDED, Replicas

LOOK_SECONDS = 1.0
RESTART_SECONDS = 60.0  # that one which died, or can't start, keeps others from being started
MOST_FILLED = 0.5  # of the places of one replica fewer, so that it is not missed at once
_log = logging.getLogger("pawl.engine")


class Scaling:
    """Keeps between ``engine.replicas`` and ``engine.max_replicas`` of them.

    A replica that an operator took out is left alone.

    Args:
        settings: the bounds, and how long answers wait, or few are there, before it acts.
        admission: the places and the queue before them.
        clock: seconds; tests give their own.
    """

    def __init__(
        self,
        settings: EngineSettings,
        replicas: Replicas,
        admission: Admission,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._replicas, self._admission = settings, replicas, admission
        self._clock = clock
        self._needed_at = clock()  # when all that serve were needed last
        self._restarting: dict[int, float] = {}  # since when, by number

    async def run(self) -> None:
        """Look and act until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception:  # the replicas that are there go on
                _log.exception("the number of replicas could not be changed")

    async def look(self) -> None:
        """Start or take out one replica, or none."""
        self._admission.look()  # one may have become ready
        now, replicas = self._clock(), self._replicas
        for one in replicas.replicas:
            if one.state == "restarting" and not one.is_out:
                self._restarting.setdefault(one.number, now)
            else:
                self._restarting.pop(one.number, None)
        room_of_fewer = self._settings.max_concurrent_requests * (replicas.n_serving - 1)
        if self._admission.longest_wait_seconds > self._settings.scale_up_seconds:
            self._needed_at = now
            await self._start_one()
        elif self._admission.n_held > MOST_FILLED * room_of_fewer:
            self._needed_at = now
        elif now - self._needed_at >= self._settings.scale_down_seconds:
            self._needed_at = now
            self._take_out_one()

    async def _start_one(self) -> None:
        replicas = self._replicas.replicas
        is_starting = any(one.state == "starting" and not one.is_out for one in replicas)
        if is_starting or any(
            self._clock() - since < RESTART_SECONDS for since in self._restarting.values()
        ):
            return
        spare = [one for one in replicas if one.out_why == NOT_NEEDED]
        if spare:  # one whose last answers still end is there at once
            one = min(spare, key=lambda one: one.state != "ready")
            _log.info("answers wait: replica %d is brought back", one.number)
            await self._replicas.bring_back(one.number)

    def _take_out_one(self) -> None:
        wanted = [one for one in self._replicas.replicas if not one.is_out]
        if len(wanted) > self._settings.replicas and self._replicas.n_serving > 1:
            try:
                last = self._replicas.drain(wanted[-1].number, NOT_NEEDED)
            except PawlError as error:
                _log.warning("%s", error)
            else:
                _log.info("replica %d is %s", last.number, NOT_NEEDED)
