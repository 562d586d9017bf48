"""Engines on the nodes of a Ray cluster: an actor on a node runs the unmodified engine there.

The gateway's supervisor watches it as it does one of its own machine, and asks it directly, by HTTP
and with the engine's key: Ray starts it, says when its node is lost, and carries adapters. Those go
through Ray's object store to a folder of the node named by their content's hash. A node holds as
many replicas as it has GPUs, or one; none where it has neither GPU nor core for others (``ray start
--num-cpus=0``). Where none has room, a replica waits for one that joins.

An actor ends when the gateway does, or its node's Ray; the engine's session ends with it. Where a
node is about to go, a file ``leaving`` beside an engine's adapters says so (Kubernetes' preStop):
the engine ends with its last answer, and starts on another node.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import shutil
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pawl.adapters import FILES, MANIFEST, read_manifest
from pawl.cluster import check_same_base, connect, end_actor, head_of, other_base
from pawl.errors import PawlError
from pawl.files import PRIVATE, sha256_file, write_atomic
from pawl.logs import FILE_BYTES
from pawl.models import BaseModel, resolve_model
from pawl.settings import EngineSettings, Settings
from serve.engine.child import Child, CommandMaker, LocalChild, Start, start_local
from serve.engine.reach import Reach, is_reachable

WAIT_SECONDS = 2.0  # between two looks for a node
LOG_SECONDS = 0.5  # between two looks at a log
END_SECONDS = 15.0  # for an engine to end
N_ON_NODE = 16  # adapters that stay on a node, those used last
N_KEPT = 4  # adapters that stay in the object store: champion, challenger, previous, canary
LEAVING = "leaving"  # a file that says so
MOST_LOG_BYTES = 1_000_000  # of one look
_log = logging.getLogger("pawl.engine")


class NodeActor:
    """Runs on a node; holds one engine.

    Args:
        folder: of the node, for the engine's log and adapters.
        engine: its settings.
    """

    def __init__(self, folder: str, engine: EngineSettings) -> None:
        os.environ.pop("OMP_NUM_THREADS", None)  # Ray's 1, which is not the engine's
        home = Path(folder).expanduser()
        home.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        (home / LEAVING).unlink(missing_ok=True)  # of an earlier one
        # The node is the replica's alone, or a GPU of it, which Ray has chosen.
        alone = engine.model_copy(update={"replicas": 1, "max_replicas": None})
        self._settings = Settings.model_construct(state_dir=home, engine=alone)
        self._child: LocalChild | None = None
        self._log_path, self._n_logged = Path(), 0

    async def start(
        self, model: BaseModel, command: CommandMaker, key: str, number: int, host: str
    ) -> tuple[str, list[str], int]:
        """Start the engine; its address, its command and its process id.

        Raises:
            PawlError: the base is not on this node, or another one is.
        """
        model = await asyncio.to_thread(self._model, model)
        start = Start(self._settings, model, command, key, number)
        self._log_path = start.log_path
        start.log_path.parent.mkdir(parents=True, exist_ok=True)
        start.log_path.write_bytes(b"")
        self._child = await start_local(start, host=host)
        return self._child.base_url, self._child.command, self._child.pid

    def _model(self, wanted: BaseModel) -> BaseModel:
        cache_dir = self._settings.state_dir
        if wanted.model_dir.exists():
            check_same_base(wanted.model_dir, wanted.fingerprint, cache_dir)
            return wanted
        found = resolve_model(wanted.name, cache_dir=cache_dir)
        if found.fingerprint != wanted.fingerprint:
            raise other_base(wanted.model_dir, found.fingerprint, wanted.fingerprint)
        return replace(wanted, model_dir=found.model_dir)

    async def wait(self) -> int:
        """The engine's exit code, once it has ended."""
        assert self._child is not None
        return await self._child.wait()

    async def end(self) -> None:
        if self._child is not None:
            await self._child.end()

    async def is_leaving(self) -> bool:
        """Whether this node is about to go."""
        return (self._settings.state_dir / LEAVING).exists()

    async def log(self) -> bytes:
        """What the engine has written since the last call, up to a bound."""
        with self._log_path.open("rb") as file:
            file.seek(self._n_logged)
            data = file.read(MOST_LOG_BYTES)
        self._n_logged += len(data)
        if self._n_logged > FILE_BYTES and len(data) < MOST_LOG_BYTES:
            os.truncate(self._log_path, 0)
            self._n_logged = 0
        return data

    async def keep(
        self, name: str, files: dict[str, bytes] | None, held: Sequence[str] = ()
    ) -> str | None:
        """The folder of an adapter that is here, or was sent (``files``); None: send it. Those that
        the engine holds (``held``) stay.

        Raises:
            PawlError: it did not arrive as it was sent.
        """
        return await asyncio.to_thread(self._keep, name, files, held)

    def _keep(
        self, name: str, files: dict[str, bytes] | None, held: Sequence[str] = ()
    ) -> str | None:
        folder = self._settings.state_dir / "adapters" / name
        if not (folder / MANIFEST).exists():
            if files is None:
                return None
            folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
            for file in FILES:  # the manifest last
                write_atomic(folder / file, files[file])
        damaged = None if _has(folder, MANIFEST, name) else MANIFEST
        if damaged is None:
            hashes = read_manifest(folder).files_sha256
            damaged = next((one for one in hashes if not _has(folder, one, hashes[one])), None)
        if damaged is not None:
            (folder / MANIFEST).unlink()
            raise PawlError(
                f"{damaged} of an adapter is damaged on {socket.gethostname()}",
                "its hash is not the one that was sent",
                "It is sent again the next time",
                retryable=True,
                code="adapter_not_loaded",
            )
        for one in (*held, name):
            with contextlib.suppress(FileNotFoundError):
                os.utime(folder.parent / one / MANIFEST)
        manifests = folder.parent.glob(f"*/{MANIFEST}")
        oldest_last = sorted(manifests, key=lambda one: one.stat().st_mtime_ns, reverse=True)
        n_kept = max(N_ON_NODE, 2 * self._settings.engine.max_loras)  # vLLM may read one again
        for manifest in oldest_last[n_kept:]:
            shutil.rmtree(manifest.parent)
        return str(folder)


class RayNodes:
    """Starts engines on the nodes of one cluster; ``start`` is a ``Starter``.

    Args:
        settings: the cluster's address, the engine's settings, and the state folder, whose name
            keeps several servers apart on a node.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ray: Any = None
        self._connecting = asyncio.Lock()
        self._node_of: dict[int, str] = {}  # by replica
        self.leaving: set[str] = set()  # nodes that are about to go
        self._kept: dict[str, Any] = {}  # adapters in the object store, the newest last

    async def start(self, start: Start, say: Callable[[str], None]) -> Child:
        """See ``Starter``. Waits for a node that has room."""
        self.leave(start.number)
        while True:
            async with self._connecting:
                await self._connected(say)
                if (node := await self._node(start.number)) is not None:
                    break
            say("waiting for a node of the Ray cluster")
            await asyncio.sleep(WAIT_SECONDS)
        ray = self._ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        host = node["NodeManagerAddress"]
        _log.info("%s starts on node %s", start.name, host)
        say(f"starting on node {host}")
        affinity = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        options = {"num_cpus": 0, "num_gpus": 1 if _n_gpus(node) else 0, "max_restarts": 0,
                   "scheduling_strategy": affinity}  # fmt: skip
        actor = ray.remote(NodeActor).options(**options).remote(
            self._folder(start.number), self._settings.engine
        )  # fmt: skip
        # No settings but the engine's go to a node: others hold secrets.
        starting = actor.start.remote(start.model, start.command, start.key, start.number, host)
        reach, answer = Reach(*_place(node)), None
        try:
            answer = await reach.unless_cut_off(starting)
        except ray.exceptions.RayTaskError as error:
            await asyncio.to_thread(end_actor, ray, actor)
            raise error.cause if isinstance(error.cause, PawlError) else PawlError(
                f"{start.name} could not be started on node {host}", str(error.cause),
                retryable=True, code="engine_failed",
            ) from error  # fmt: skip
        except ray.exceptions.RayError as error:
            raise PawlError(
                f"node {host} was lost", type(error).__name__, retryable=True, code="node_lost"
            ) from error
        except BaseException:
            await asyncio.to_thread(end_actor, ray, actor)
            raise
        finally:
            if answer is None:
                self.leave(start.number)
                await reach.close()
        return _RayChild(self, ray, actor, start, node, reach, *answer)

    async def _connected(self, say: Callable[[str], None]) -> None:
        """Return once this machine is a living node of the cluster."""
        head = None
        while (
            self._ray is not None
            and (head := await asyncio.to_thread(head_of, self._ray)) == "away"
        ):
            say("waiting for the head of the Ray cluster")
            await asyncio.sleep(WAIT_SECONDS)
        if head == "another" or (head and not await asyncio.to_thread(self._is_node)):
            _log.warning("this is no node of the Ray cluster any more: it connects again")
            await asyncio.to_thread(self._ray.shutdown)
            self._ray = None
            self._kept.clear()
        address = str(self._settings.engine.ray_address)
        while self._ray is None:
            say("connecting to the Ray cluster")
            try:
                self._ray = await asyncio.to_thread(connect, address)
            except ConnectionError as error:
                say(f"no Ray cluster answers at {address}: {error}")
                await asyncio.sleep(WAIT_SECONDS)

    def _is_node(self) -> bool:
        own = self._ray.get_runtime_context().get_node_id()
        return any(one["NodeID"] == own and one["Alive"] for one in self._ray.nodes())

    async def _node(self, number: int) -> dict[str, Any] | None:
        """A node with room that lives and can be reached; it is the replica's from now on."""
        nodes = [one for one in await asyncio.to_thread(self._ray.nodes) if one["Alive"]]
        has_gpus = any(map(_n_gpus, nodes))
        kind = "GPU" if has_gpus else "CPU"
        nodes = [one for one in nodes if one["Resources"].get(kind, 0)]
        nodes = [one for one in nodes if one["NodeID"] not in self.leaving]
        used = Counter(self._node_of.values())
        free = [one for one in nodes if used[one["NodeID"]] < max(1, _n_gpus(one))]
        for node in sorted(free, key=lambda one: (used[one["NodeID"]], one["NodeID"])):
            if await is_reachable(*_place(node)):
                self._node_of[number] = node["NodeID"]
                return node
        return None

    def leave(self, number: int) -> None:
        """A replica's node has room for another one."""
        self._node_of.pop(number, None)

    def _folder(self, number: int) -> str:
        """Of a replica on its node; the same each time, so that adapters are still there."""
        name = f"{socket.gethostname()}:{self._settings.state_dir}"
        server = hashlib.sha256(name.encode()).hexdigest()[:12]
        return str(Path("~/.cache/pawl/replicas") / f"{server}-{number}")

    async def bring(self, actor: Any, adapter_dir: Path, held: Sequence[Path]) -> Path:
        """Bring an adapter to an actor's node, beside those that its engine holds."""
        name = await asyncio.to_thread(_name_of, adapter_dir)
        stays = await asyncio.to_thread(lambda: [_name_of(one) for one in held if one.exists()])
        path = await actor.keep.remote(name, None, stays)
        if path is None:
            if name not in self._kept:
                self._kept[name] = await asyncio.to_thread(self._put, adapter_dir)
                while len(self._kept) > N_KEPT:
                    del self._kept[next(iter(self._kept))]
            path = await actor.keep.remote(name, self._kept[name], stays)
        return Path(path)

    def _put(self, adapter_dir: Path) -> Any:
        return self._ray.put({file: (adapter_dir / file).read_bytes() for file in FILES})


class _RayChild:
    """See ``Child``."""

    def __init__(
        self, nodes: RayNodes, ray: Any, actor: Any, start: Start, node: dict[str, Any],
        reach: Reach, base_url: str, command: list[str], pid: int,
    ) -> None:  # fmt: skip
        self.base_url, self.command, self.pid = base_url, command, pid
        self.ended: int | str | None = None
        self._nodes, self._ray, self._actor, self._reach = nodes, ray, actor, reach
        self._node_id, self._host = node["NodeID"], node["NodeManagerAddress"]
        self._name, self._log_path, self._number = start.name, start.log_path, start.number
        self._leaves = asyncio.Event()
        self._waiting = asyncio.create_task(self._wait())
        self._following = asyncio.create_task(self._follow_log())

    async def _wait(self) -> int | str:
        try:
            self.ended = await self._reach.unless_cut_off(self._wait_there())
        except (PawlError, self._ray.exceptions.RayError):
            self.ended = f"node {self._host} was lost"
        return self.ended

    async def _wait_there(self) -> int:
        code = int(await self._actor.wait.remote())
        with contextlib.suppress(OSError):  # a full disk here
            await self._bring_log()
        return code

    @property
    def is_away(self) -> bool:
        return self._reach.is_away

    async def _follow_log(self) -> None:
        """Bring the engine's log here, where people look for it; and see whether its node goes."""
        while True:
            try:
                await self._bring_log()
                if not self._leaves.is_set() and await self._actor.is_leaving.remote():
                    self._nodes.leaving.add(self._node_id)
                    self._leaves.set()
            # A full disk here, perhaps; that the node is lost is seen by ``wait``.
            except Exception as error:
                _log.warning("the log of %s on %s: %.200r", self._name, self._host, error)
            await asyncio.sleep(LOG_SECONDS)

    async def _bring_log(self) -> None:
        if data := await self._actor.log.remote():
            with self._log_path.open("ab") as file:
                file.write(data)

    async def wait(self) -> int | str:
        return await asyncio.shield(self._waiting)

    async def leaving(self) -> None:
        await self._leaves.wait()

    async def end(self) -> None:
        try:
            if not isinstance(self.ended, str):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._actor.end.remote(), END_SECONDS)
        except Exception as error:  # its node went away
            _log.warning("%s did not end on node %s: %.200r", self._name, self._host, error)
        await asyncio.to_thread(end_actor, self._ray, self._actor)
        self._nodes.leave(self._number)
        for task in (self._waiting, self._following):
            task.cancel()
        await asyncio.gather(self._waiting, self._following, return_exceptions=True)
        await self._reach.close()

    async def bring(self, adapter_dir: Path, held: Sequence[Path]) -> Path:
        try:
            return await self._reach.unless_cut_off(
                self._nodes.bring(self._actor, adapter_dir, held)
            )
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, PawlError) else PawlError(
                f"{adapter_dir.name} could not be written on node {self._host}", str(error.cause),
                retryable=True, code="adapter_not_loaded",
            ) from error  # fmt: skip
        except self._ray.exceptions.RayError as error:
            raise PawlError(
                f"node {self._host} was lost", type(error).__name__, retryable=True,
                code="adapter_not_loaded",
            ) from error  # fmt: skip


def _name_of(adapter_dir: Path) -> str:
    """Of an adapter's content."""
    return sha256_file(adapter_dir / MANIFEST)


def _has(folder: Path, file: str, sha256: str) -> bool:
    return (folder / file).is_file() and sha256_file(folder / file) == sha256


def _place(node: dict[str, Any]) -> tuple[str, int]:
    """Where a node's Ray takes connections."""
    return node["NodeManagerAddress"], node["NodeManagerPort"]


def _n_gpus(node: dict[str, Any]) -> int:
    return int(node["Resources"].get("GPU", 0))
