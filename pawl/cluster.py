"""The connection to a Ray cluster, for engines, scoring and training that run on its nodes; what a
node has of its own, and what is sent to it.

This machine has to be one of the nodes. Ray is an extra, imported here alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from pawl.adapters import MANIFEST
from pawl.errors import PawlError
from pawl.files import PRIVATE, hold_lock, is_locked, write_atomic
from pawl.models import resolve_model

CONNECT_SECONDS = 5.0
LOOK_SECONDS = 2.0  # between two looks at what runs on nodes
BEGIN_SECONDS = 60.0  # that one task waits while others tidy up and begin
N_RETRIES = 3  # of work whose node is lost
CACHE = Path("~/.cache/pawl")  # of a node: the hashes of its base's files, what tasks work with
_log = logging.getLogger("pawl.cluster")
Files = dict[str, bytes]  # of a folder, by path; of a file alone, under ""


def connect(address: str) -> Any:
    """The module ``ray``, connected.

    Args:
        address: ``auto`` (that of this machine's own Ray), or ``HOST:PORT`` of the head.

    Raises:
        ConnectionError: nothing answers there, or this machine is no node of it.
        PawlError: Ray is not installed.
    """
    # Without a head for a minute Ray would end this process.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(7 * 86_400))
    try:
        import ray
    except ImportError as error:
        raise PawlError(
            "Ray is not installed, and an address of a Ray cluster is set",
            str(error),
            "pip install 'pawl-chat[ray]', here and on each node",
            code="engine_failed",
        ) from error
    try:
        if address.rpartition(":")[2].isdecimal():
            _reach(address)  # Ray itself would try for minutes, and could not be stopped
        if threading.current_thread() is threading.main_thread():
            with ThreadPoolExecutor(1) as pool:  # in the main thread Ray takes SIGTERM for itself
                pool.submit(_init, ray, address).result()
        else:
            _init(ray, address)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConnectionError(str(error).split("\n")[0]) from error
    return ray


def head_of(ray: Any) -> Literal["there", "away", "another"]:
    """Whether the head that this process is connected to is there.

    To be asked before a call of Ray's: where the head is away they wait for it and can't be
    stopped, and where another cluster's is at its address (a head that was started again) they end
    this process.
    """
    address = ray.get_runtime_context().gcs_address
    try:
        _reach(address)
    except OSError:
        return "away"
    from ray._raylet import GcsClient

    own = ray._private.worker.global_worker.gcs_client.cluster_id
    return "there" if GcsClient(address=address).cluster_id == own else "another"


def end_actor(ray: Any, actor: Any) -> None:
    """End an actor that nobody else holds; in a thread, as it may wait. Where its head is away Ray
    does so itself later. (``ray.kill`` returned at once where the head's process had been killed;
    it may wait where the link is cut.)"""
    try:
        if (head := head_of(ray)) == "there":
            ray.kill(actor)
        else:
            _log.warning("an actor was left to Ray: its head is %s", head)
    except Exception as error:  # the connection to the cluster has ended
        _log.warning("an actor was left to Ray: %.200r", error)


def check_same_base(model_dir: Path, fingerprint: str, cache_dir: Path) -> None:
    """Make sure that a folder of this node holds the base that the server has there.

    Args:
        fingerprint: the base's.
        cache_dir: remembers the hashes of large files.

    Raises:
        PawlError: it holds another one.
    """
    if fingerprint.startswith("sha256:"):  # a path of the hub's or a GGUF file's says which it is
        found = resolve_model(str(model_dir), cache_dir=cache_dir).fingerprint
        if found != fingerprint:
            raise other_base(model_dir, found, fingerprint)


def own_host() -> str:
    """The address of the node on which this task runs."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    return next(str(one["NodeManagerAddress"]) for one in ray.nodes() if one["NodeID"] == own)


def check_there(path: Path, code: str) -> None:
    """Raises PawlError, with ``code``: a node lacks what lies under the same path on each."""
    if not path.exists():
        raise PawlError(
            f"{path} is not on {socket.gethostname()}",
            "the base and the benchmarks' data lie under the same path on each node",
            "Copy it there, or share the folder",
            code=code,
        )


@contextmanager
def work_folder(kind: str) -> Iterator[Path]:
    """A folder of a node until the block ends. Those that killed tasks of this kind left, with what
    people asked in them, go first."""
    folder = CACHE.expanduser() / kind
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    what = (f"{kind} begins", "Start it again")
    with ExitStack() as around:
        # One at a time: a folder whose lock is about to be taken looks as if it was left.
        with hold_lock(folder / "lock", *what, wait_seconds=BEGIN_SECONDS):
            for lock in folder.glob("*/lock"):
                if not is_locked(lock):
                    shutil.rmtree(lock.parent, ignore_errors=True)
            work = Path(tempfile.mkdtemp(dir=folder))
            around.enter_context(hold_lock(work / "lock", *what))
            around.callback(shutil.rmtree, work, ignore_errors=True)  # before the lock is let go
        yield work


def read_files(path: Path) -> Files:
    """What is sent of a file or a folder."""
    if path.is_file():
        return {"": path.read_bytes()}
    found = (one for one in path.rglob("*") if one.is_file())
    return {str(one.relative_to(path)): one.read_bytes() for one in found}


def write_files(files: Files, path: Path) -> None:
    """Write a file, or a folder with its manifest last."""
    for name in sorted(files, key=lambda one: one == MANIFEST):
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, files[name])


def other_base(model_dir: Path, found: str, expected: str) -> PawlError:
    """Of a node whose base is not the server's, by their fingerprints."""
    return PawlError(
        f"the base is another one on {socket.gethostname()}",
        f"{found[:19]} is not {expected[:19]}",
        f"Put {model_dir} of the server on that node, under the same path",
        code="other_base",
    )


def _reach(address: str) -> None:
    """Raises OSError: nothing takes connections at ``HOST:PORT``."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _init(ray: Any, address: str) -> None:
    if not ray.is_initialized():
        ray.init(address, namespace="pawl", log_to_driver=False, configure_logging=False)
