"""The vLLM child: started, watched, started again after growing pauses; its log file.

States: ``off`` (not started, or stopped), ``starting``, ``ready``, ``restarting`` (it died and
comes back), ``failed`` (given up; ``failure`` says why, with the command and the log's tail).
Over 400 lines, as all that changes the state is one class.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shlex
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from feedback.champion import BASE_VERSION
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine.child import Child, CommandMaker, Start, Starter, start_local
from serve.engine.launch import NO_REASON, EngineLog, vllm_command
from serve.engine.watchdog import TOKEN_BODY, Activity, watch

if TYPE_CHECKING:
    import aiohttp

State = Literal["starting", "ready", "restarting", "failed", "off"]

# Of an engine that never worked, or that ends at its first request each time; another is tried for
# ever.
N_FAILURES_TO_GIVE_UP = 5
STEADY_SECONDS = 60.0  # an engine that lived this long, or answered, starts the count anew
BACKOFF_SECONDS = (0.5, 2.0, 8.0, 30.0, 120.0)
POLL_SECONDS = 0.1
HEALTH_SECONDS = 5.0
ADAPTER_SECONDS = 120.0
_log = logging.getLogger("pawl.engine")


class Engine:
    """One vLLM child and the adapters that it holds.

    Args:
        settings: where the state folder is, and the engine's own settings.
        model: the base model, served as ``base``.
        command: makes the command line; a test gives one that starts something smaller.
        backoff_seconds: how long to wait before the first restart, the second, and so on; the
            last one holds for the rest.
        number: from 1 on, where there are several (``serve.engine.replicas``).
        start: starts the process, on this machine or on another one.
    """

    def __init__(
        self,
        settings: Settings,
        model: BaseModel,
        *,
        command: CommandMaker = vllm_command,
        backoff_seconds: Sequence[float] = BACKOFF_SECONDS,
        number: int = 1,
        start: Starter = start_local,
    ) -> None:
        self.number = number
        # Awaited after every start, before the state is ``ready``, and when it is brought back
        # without one: loads the adapters that it lacks.
        self.on_ready: Callable[[], Awaitable[object]] | None = None
        self.state: State = "off"
        self.detail = "not started"
        self.progress_fraction = 0.0
        self.failure: PawlError | None = None
        self.n_restarts = 0
        self.loaded: dict[str, Path] = {}
        self.activity = Activity()  # of its present life
        self.is_ready = False  # it answers; ``state`` follows once the adapters are in
        self.out_why = ""  # where it was taken out: it gets no new requests (``Replicas.drain``)
        self._moving = asyncio.Lock()  # held while it stops, or is started, to be out or back
        self.n_answers = 0  # under way
        self.start_seconds: float | None = None
        self.base_url = ""
        # Without the key whoever reaches its port could ask vLLM behind the gateway's back.
        self._start = Start(settings, model, command, secrets.token_hex(16), number)
        self.log_path = self._start.log_path
        self._start_child = start
        self._settings = settings
        self._backoff = backoff_seconds
        self.command: list[str] = []
        self._child: Child | None = None
        self._task: asyncio.Task[None] | None = None
        self._session: aiohttp.ClientSession | None = None
        self._engine_log = EngineLog(self.log_path)
        self._changed = asyncio.Event()

    # -- what others ask of it

    @property
    def replicas(self) -> tuple[Engine, ...]:
        """Itself: one is what several are, but for their number."""
        return (self,)

    @property
    def is_out(self) -> bool:
        """Whether it was taken out, for ``out_why``."""
        return bool(self.out_why)

    @property
    def is_serving(self) -> bool:
        """Whether it takes requests: its adapters are in, and it was not taken out."""
        return self.state == "ready" and not self.is_out

    @property
    def n_serving(self) -> int:
        """Engines that share the requests; a single one has them all, whatever its state."""
        return 1

    @property
    def is_away(self) -> bool:
        """Whether its machine can't be reached now; it is given up where that lasts."""
        return self._child is not None and self._child.is_away

    @contextlib.contextmanager
    def routed(
        self, weights: str, key: str, n_answers: int = 1, avoid: Collection[int] = ()
    ) -> Iterator[Engine]:
        """Itself: see ``Replicas.routed``."""
        self.n_answers += n_answers
        try:
            yield self
        finally:
            self.n_answers -= n_answers

    @property
    def pid(self) -> int | None:
        """Process id of the child that holds the engine, None while there is none."""
        return self._child.pid if self._child is not None else None

    @property
    def key(self) -> str:
        """What whoever asks it has to send as a bearer token."""
        return self._start.key

    @property
    def session(self) -> aiohttp.ClientSession:
        """The HTTP client to the engine, which takes no others; made on first use."""
        import aiohttp

        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
                auto_decompress=False,
                headers={"Authorization": f"Bearer {self._start.key}"},
            )
        return self._session

    async def request(
        self, method: str, path: str, body: Any = None, *, seconds: float | None
    ) -> tuple[int, str]:
        """Ask the engine: status and text of its answer; 0 and what happened when none came."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=seconds)
        try:
            async with (
                self.activity.under_way(),
                self.session.request(
                    method, self.base_url + path, json=body, timeout=timeout
                ) as answer,
            ):
                text = await answer.text()
                self.activity.n_signs += path.endswith("/completions") and answer.status == 200
                return answer.status, text
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return 0, f"{type(error).__name__} {error}".strip()

    async def start(self) -> None:
        """Begin to start the child, and return; ``wait_ready`` waits for it."""
        if self._task is not None:
            raise RuntimeError("this engine was started before")
        self._set("starting", "starting", 0.0)
        self._task = asyncio.create_task(self._supervise(), name=self._start.name)

    async def wait_ready(
        self, timeout_seconds: float | None = None, weights: str = BASE_VERSION
    ) -> None:
        """Wait until it is ready; it holds then what it can.

        Raises:
            PawlError: it failed, or did not come up in time.
        """
        limit = timeout_seconds or self._settings.engine.start_timeout_seconds
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while self.state in ("starting", "restarting"):
                    self._changed.clear()
                    await self._changed.wait()
        if self.state == "ready":
            return
        raise self.failure or self.unavailable()

    def unavailable(self) -> PawlError:
        """Why a request can't be answered now, for people."""
        if self.state == "failed":
            return PawlError(
                "the engine is not running",
                self.detail,
                f"Look at {self.log_path}, then start Pawl again",
                retryable=True,
                code="engine_failed",
            )
        return PawlError(
            f"the engine is {self.state}",
            f"{self.detail} ({self.progress_fraction:.0%})",
            "Ask again in a few seconds",
            retryable=True,
            code="engine_not_ready",
        )

    async def load_adapter(self, version: str, adapter_dir: Path) -> None:
        """Serve the adapter in ``adapter_dir`` under the name ``version``.

        Raises:
            PawlError: the engine is not ready, or refused (``code="adapter_not_loaded"``).
        """
        if not self.is_ready:
            raise self.unavailable()
        assert self._child is not None
        path = await self._child.bring(adapter_dir, list(self.loaded.values()))
        await self._change_adapter("load", version, lora_path=str(path))
        self.loaded[version] = adapter_dir

    async def unload_adapter(self, version: str) -> None:
        """Serve it no longer. Its folder may go only after this. Where the engine did not say that
        it did, it may have: a later load asks it again."""
        if self.loaded.pop(version, None) is not None and self.is_ready:
            await self._change_adapter("unload", version)

    async def drain(self, why: str) -> None:
        """Take no new requests, and stop once the answers under way have ended; ``bring_back``
        ends the wait for them, or starts it again."""
        self.out_why = self.out_why or why
        while self.n_answers and self.is_out:  # noqa: ASYNC110 - either may end it
            await asyncio.sleep(POLL_SECONDS)
        async with self._moving:
            if self.is_out:
                await self.stop()
                self._set("off", self.out_why, 0.0)

    async def bring_back(self) -> None:
        """Take requests again; a stop that is under way ends first."""
        self.out_why = ""
        async with self._moving:
            if self.is_out:
                return
            if self._task is None or self._task.done():
                self._task = None
                await self.start()
            elif self.state == "ready":  # moves of the champion have passed it by
                await self._load_adapters()

    async def stop(self) -> None:
        """End the child and everything it started; takes a few seconds at most."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):  # the latter is logged
                await self._task
            self._task = None
        await self._end_child()
        self.loaded.clear()
        if self._session is not None:
            await self._session.close()
        if self.state != "failed":
            self._set("off", "stopped", 0.0)

    # -- its life

    async def _supervise(self) -> None:
        n_failures = n_fruitless = 0
        ever_ready = False
        try:
            while True:
                ready_at, self.activity = None, Activity()
                try:
                    child = await self._launch()
                    ever_ready, ready_at = True, time.monotonic()
                    stuck_seconds = self._settings.engine.stuck_seconds
                    ended = self._ended(child)
                    reason = await watch(self.request, self.activity, ended, stuck_seconds)
                    self._tell_people(reason)
                except PawlError as error:
                    self.failure, reason = error, error.what
                except OSError as error:  # a full disk, no room for another process
                    reason = f"the engine could not be started ({error})"
                    self.failure = PawlError(reason, retryable=True, code="engine_failed")
                lost = self.failure is not None and self.failure.code == "node_lost"
                lost |= self._child is not None and isinstance(self._child.ended, str)
                await self._end_child()
                self.loaded.clear()
                lived = time.monotonic() - ready_at if ready_at is not None else 0.0
                worked = lived > STEADY_SECONDS or self.activity.n_answered > 0
                n_failures = 1 if worked else n_failures + 1
                if worked:
                    n_fruitless = 0
                elif self.activity.n_asked and not lost:
                    n_fruitless += 1
                if n_fruitless >= N_FAILURES_TO_GIVE_UP:
                    self.failure = self._explain(
                        f"the engine ended at its first request, {n_fruitless} times over"
                    )
                    self._set("failed", f"{self.failure.what}: {self.failure.why}", 0.0)
                    return
                # What never worked once has a lasting cause, a model that vLLM does not serve; but
                # another program may have taken the port between our look and vLLM's, or its
                # machine have gone.
                if (
                    not ever_ready
                    and not lost
                    and (
                        n_failures >= N_FAILURES_TO_GIVE_UP
                        or "address already in use" not in self._engine_log.text().lower()
                    )
                ):
                    self.failure = self.failure or self._explain(reason)
                    self._set("failed", reason, 0.0)
                    return
                self.n_restarts += 1
                pause = self._backoff[min(n_failures, len(self._backoff)) - 1]
                self._set("restarting", f"{reason}; it starts again", 0.0)
                await asyncio.sleep(pause)
        except Exception as error:  # a fault of ours must show in the status, not vanish
            self.failure = PawlError(
                f"the engine's supervision broke: {error!r}", retryable=True, code="engine_failed"
            )
            self._set("failed", str(self.failure), 0.0)
            _log.exception("the engine's supervision broke")
            raise

    async def _launch(self) -> Child:
        """Start the child and wait until it answers and holds its adapters; returns it."""
        self.failure = None
        self._engine_log.begin()
        child = self._child = await self._start_child(
            self._start, lambda text: self._set(self.state, text, 0.0)
        )
        began = time.monotonic()
        self.base_url, self.command = child.base_url, child.command
        deadline = began + self._settings.engine.start_timeout_seconds
        while not await self._answers():
            if (ended := child.ended) is not None:
                code = f"the engine ended with exit code {ended}"
                raise self._explain(f"{ended if isinstance(ended, str) else code} while it started")
            if time.monotonic() > deadline:
                raise self._explain(
                    "the engine was not ready after "
                    f"{self._settings.engine.start_timeout_seconds:.0f} s"
                )
            self.detail, self.progress_fraction = max(
                (self.detail, self.progress_fraction), self._engine_log.stage(), key=itemgetter(1)
            )
            await asyncio.sleep(POLL_SECONDS)
        self._set(self.state, "generating a first token", 0.98)
        await self._generate_one_token(deadline)
        self.is_ready = True
        self._set(self.state, "loading the adapters", 0.99)
        await self._load_adapters()
        self.start_seconds = time.monotonic() - began
        until = time.monotonic() + 2 * HEALTH_SECONDS  # beyond that, ``watch`` says what it is
        while not await self._answers() and time.monotonic() < until:
            if child.ended is not None:  # by an adapter: it was never ready, and its end is noticed
                return child
            await asyncio.sleep(POLL_SECONDS)
        self._set("ready", "ready", 1.0)
        return child

    async def _load_adapters(self) -> None:
        if self.on_ready is not None:
            try:
                await self.on_ready()
            except Exception:  # the base serves all the same; 'pawl' answers 503 without its own
                _log.exception("the adapters could not be loaded")

    def _tell_people(self, reason: str) -> None:
        """Let nobody wait for an engine that is dead or stuck: what is under way fails now."""
        self.is_ready = False
        self.loaded.clear()
        cause = self._engine_log.reason() or NO_REASON
        _log.error("%s: %s; %s", self._start.name, reason, cause)
        self._set("restarting", f"{reason}; it starts again", 0.0)
        self.activity.end()

    async def _ended(self, child: Child) -> int | str:
        """How the child ended. Where its machine is about to go, new requests wait or go to others,
        and it has ended with its last answer."""
        waiting, leaving = asyncio.create_task(child.wait()), asyncio.create_task(child.leaving())
        try:
            await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                self._set("restarting", "its node is about to go; its answers end", 0.0)
                while self.n_answers and not waiting.done():  # noqa: ASYNC110 - either may end it
                    await asyncio.sleep(POLL_SECONDS)
            return waiting.result() if waiting.done() else "its node is about to go"
        finally:
            waiting.cancel()
            leaving.cancel()

    async def _end_child(self) -> None:
        self.is_ready = False
        if self._child is not None:  # until it has ended: ``stop`` may interrupt this, and ends it
            await self._child.end()
            self._child = None

    async def _answers(self) -> bool:
        return (await self.request("GET", "/health", seconds=HEALTH_SECONDS))[0] == 200

    async def _generate_one_token(self, deadline: float) -> None:
        """Raises PawlError: the engine answers ``/health`` but can't generate."""
        seconds = max(1.0, deadline - time.monotonic())
        status, text = await self.request("POST", "/v1/completions", TOKEN_BODY, seconds=seconds)
        if status != 200:
            problem = f"it answered {status}: {text[:300]}" if status else text
            raise self._explain("the engine started, but its first token failed", problem)

    async def _change_adapter(self, verb: str, version: str, **paths: str) -> None:
        path, body = f"/v1/{verb}_lora_adapter", {"lora_name": version, **paths}
        status, text = await self.request("POST", path, body, seconds=ADAPTER_SECONDS)
        if status != 200 and "already been loaded" not in text:
            raise PawlError(
                f"the engine did not {verb} {version}",
                text[:500],
                f"Look at {self.log_path}",
                retryable=True,
                code="adapter_not_loaded",
            )

    # -- what it says about itself

    def _set(self, state: State, detail: str, progress_fraction: float) -> None:
        if state != self.state:
            died = state in ("restarting", "failed")
            level = logging.WARNING if died else logging.INFO
            _log.log(level, "%s %s: %s", self._start.name, state, detail)
        self.state, self.detail = state, detail
        self.progress_fraction = progress_fraction
        self._changed.set()

    def _explain(self, what: str, otherwise: str = NO_REASON) -> PawlError:
        """``what`` happened, with the reason in the log (or ``otherwise``), the exact command and
        the log's tail."""
        return PawlError(
            what,
            self._engine_log.reason() or otherwise,
            f"Command: {shlex.join(self.command)}\n  {self._engine_log.tail()}",
            retryable=True,
            code="engine_failed",
        )
