"""Several engines with the same model behind one gateway, each supervised as a single one is.

A request goes to a replica that holds the weights that are to answer, so whatever a replica lacks
is never asked of it. Of those it goes to the conversation's own, whose cache has its prefix:
rendezvous hashing (Thaler and Ravishankar 1998) with bounded loads (Mirrokni et al. 2018), which
goes on to the conversation's next replica where one has ``MOST_OF_MEAN`` times the mean load and
``SLACK`` answers more. A replica that joins or leaves moves only the conversations that it has.

One can be taken out: it gets no new requests, and stops when its answers have ended. Those beyond
``engine.replicas``, up to ``engine.max_replicas``, are out until load brings them in
(``serve.scaling``).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

from feedback.champion import BASE_VERSION
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine.child import CommandMaker, Starter, start_local
from serve.engine.launch import vllm_command
from serve.engine.nodes import RayNodes
from serve.engine.supervisor import BACKOFF_SECONDS, Engine, State

MOST_OF_MEAN = 1.25
NOT_NEEDED = "not needed now"
SLACK = 2.0  # answers; two in a batch cost less than a long prompt that is read again
_BEST_FIRST: tuple[State, ...] = ("ready", "starting", "restarting", "failed", "off")


class Replicas:
    """``engine.replicas`` engines; what they have in common with one is asked in the same way.

    Args:
        settings: how many, and what each has.
        model: the base model of all.
        command: makes each command line.
        backoff_seconds, start: see ``Engine``.
    """

    def __init__(
        self,
        settings: Settings,
        model: BaseModel,
        *,
        command: CommandMaker = vllm_command,
        backoff_seconds: Sequence[float] = BACKOFF_SECONDS,
        start: Starter = start_local,
    ) -> None:
        self.replicas = tuple(
            Engine(
                settings,
                model,
                command=command,
                backoff_seconds=backoff_seconds,
                number=n,
                start=start,
            )
            for n in range(1, settings.engine.most_replicas + 1)
        )
        for one in self.replicas[settings.engine.replicas :]:
            one.out_why = one.detail = NOT_NEEDED
        self.champion: Callable[[], str] = lambda: BASE_VERSION  # its weights
        self._draining: set[asyncio.Task[None]] = set()

    # -- which one answers

    @contextlib.contextmanager
    def routed(
        self, weights: str, key: str, n_answers: int = 1, avoid: Collection[int] = ()
    ) -> Iterator[Engine]:
        """The replica that answers a request, which counts as its load while the block runs.

        Args:
            weights: that are to answer.
            key: what stays the same where a prefix does: the conversation.
            n_answers: that the request asks for.
            avoid: numbers of replicas that were tried, where there are others.

        Raises:
            PawlError: no replica that is ready holds these weights.
        """
        chosen = self._choose(weights, key, avoid)
        with chosen.routed(weights, key, n_answers):
            yield chosen

    def _choose(self, weights: str, key: str, avoid: Collection[int]) -> Engine:
        holders = self._holders(weights)
        if not holders:
            if not self._serving:
                raise self.unavailable()
            raise PawlError(
                f"no replica of the engine holds {weights}",
                "those that did went away",
                "Ask again in a few seconds",
                retryable=True,
                code="engine_lost",
            )
        holders = [one for one in holders if not one.is_away] or holders
        holders = [one for one in holders if one.number not in avoid] or holders
        loads = {one.number: one.n_answers for one in holders}
        most = MOST_OF_MEAN * sum(loads.values()) / len(holders) + SLACK
        holders.sort(key=lambda one: _weight(key, one.number))
        return next(one for one in holders if loads[one.number] <= most)

    def _holders(self, weights: str) -> list[Engine]:
        return [one for one in self._serving if weights == BASE_VERSION or weights in one.loaded]

    # -- taken out, and in again

    def drain(self, number: int, why: str = "taken out") -> Engine:
        """Take a replica out: from now on others get new requests, and it stops when its answers
        have ended. One that is out already is out for ``why`` from now on. Returns at once.

        Raises:
            PawlError: there is no such replica, or no other one takes requests, or holds the
                champion.
        """
        replica = self._numbered(number)
        if not replica.is_out:
            others = [one for one in self._serving if one is not replica]
            holders = self._holders(self.champion())
            if not others or holders == [replica]:
                why = f"holds the champion's {self.champion()}" if others else "takes requests"
                raise PawlError(
                    f"replica {number} can't be taken out",
                    f"no other one {why}",
                    "Start one that lacks it again ('pawl engines drain', then 'return')"
                    if others
                    else "Wait until another one is ready ('pawl engines list')",
                    code="last_replica",
                )
            task = asyncio.create_task(replica.drain(why))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)
        replica.out_why = why  # as it stops, too: load starts again what it took out itself
        if replica.state == "off":
            replica.detail = why
        return replica

    async def bring_back(self, number: int) -> Engine:
        """Let a replica take requests again; one that has stopped starts, and loads what the
        others serve before it answers.

        Raises:
            PawlError: there is no such replica.
        """
        replica = self._numbered(number)
        if replica.is_out:
            await replica.bring_back()
        return replica

    def _numbered(self, number: int) -> Engine:
        if not 1 <= number <= len(self.replicas):
            raise PawlError(
                f"there is no replica {number}",
                f"they have the numbers 1 to {len(self.replicas)}",
                "See 'pawl engines list'",
                code="not_found",
            )
        return self.replicas[number - 1]

    @property
    def _wanted(self) -> list[Engine]:
        """Those that were not taken out; all, where none is left."""
        return [one for one in self.replicas if not one.is_out] or list(self.replicas)

    # -- what is asked of one engine, too

    @property
    def _serving(self) -> list[Engine]:
        """Those that take requests: their adapters are in."""
        return [one for one in self.replicas if one.is_serving]

    @property
    def _best(self) -> Engine:
        """The one that is nearest to answering."""
        return min(
            self._wanted, key=lambda one: (_BEST_FIRST.index(one.state), -one.progress_fraction)
        )

    @property
    def n_serving(self) -> int:
        return len(self._serving)

    @property
    def state(self) -> State:
        """The best of them: ``ready`` where one answers."""
        return self._best.state

    @property
    def is_ready(self) -> bool:
        return bool(self._serving)

    @property
    def detail(self) -> str:
        """How many answer, and what is the matter with the others."""
        serving = self._serving
        if not serving:
            return self._best.detail
        everywhere = self.loaded
        told = [
            f"replica {one.number} is {one.state}: {one.detail}"
            for one in self._wanted
            if one not in serving
        ]
        told += [
            f"replica {one.number} is taken out, {one.n_answers} answers end"
            if one.state != "off"
            else f"replica {one.number} is {one.detail}"
            for one in self.replicas
            if one.is_out
        ]
        told += [
            f"replica {one.number} lacks {', '.join(sorted(lacking))}"
            for one in serving
            if (lacking := everywhere - one.loaded.keys())
        ]
        return "; ".join([f"{len(serving)} of {len(self._wanted)} replicas answer", *told])

    @property
    def progress_fraction(self) -> float:
        return self._best.progress_fraction

    @property
    def loaded(self) -> frozenset[str]:
        """Adapters that one of them holds that takes requests."""
        return frozenset().union(*(one.loaded for one in self._serving))

    @property
    def n_restarts(self) -> int:
        return sum(one.n_restarts for one in self.replicas)

    @property
    def start_seconds(self) -> float | None:
        return self._best.start_seconds

    @property
    def pid(self) -> int | None:
        return self._best.pid

    @property
    def command(self) -> list[str]:
        return self._best.command

    def unavailable(self) -> PawlError:
        """Why a request can't be answered now, for people."""
        return self._best.unavailable()

    async def start(self) -> None:
        """Begin to start all of them, and return."""
        for one in self._wanted:
            await one.start()

    async def wait_ready(
        self, timeout_seconds: float | None = None, weights: str = BASE_VERSION
    ) -> None:
        """Wait until one is ready that holds these weights, or all are that can be.

        Raises:
            PawlError: none came up.
        """
        waiting = {asyncio.create_task(one.wait_ready(timeout_seconds)) for one in self._wanted}
        problem: BaseException | None = None
        try:
            while waiting:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                problems = [found for task in done if (found := task.exception())]
                problem = problems[0] if problems else problem
                if self._holders(weights):
                    return
            if self._serving:
                return
        finally:
            for task in waiting:
                task.cancel()
        raise problem or self.unavailable()

    async def stop(self) -> None:
        """End all of them and everything that they started."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*(one.stop() for one in self.replicas))


AnyEngine: TypeAlias = Engine | Replicas


def make_engine(
    settings: Settings, model: BaseModel, *, command: CommandMaker = vllm_command
) -> AnyEngine:
    """One engine, or as many as the settings say, on this machine or on a cluster's."""
    kind = Engine if settings.engine.most_replicas == 1 else Replicas
    on_nodes = settings.engine.ray_address is not None
    start: Starter = RayNodes(settings).start if on_nodes else start_local
    return kind(settings, model, command=command, start=start)


def _weight(key: str, number: int) -> bytes:
    """Of a replica for a key: each order of the replicas is as likely as any other."""
    return hashlib.blake2b(f"{number} {key}".encode(), digest_size=8).digest()
