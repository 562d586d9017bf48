"""The connection to a Ray cluster, for engines and scoring that run on its nodes.

This machine has to be one of the nodes. Ray is an extra, imported here alone.
"""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from pawl.errors import PawlError

CONNECT_SECONDS = 5.0


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
    host, _, port = address.rpartition(":")
    try:
        if port.isdecimal():  # Ray itself would try for minutes, and could not be stopped
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
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
    from ray._raylet import GcsClient

    address = ray.get_runtime_context().gcs_address
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except OSError:
        return "away"
    own = ray._private.worker.global_worker.gcs_client.cluster_id
    return "there" if GcsClient(address=address).cluster_id == own else "another"


def _init(ray: Any, address: str) -> None:
    if not ray.is_initialized():
        ray.init(address, namespace="pawl", log_to_driver=False, configure_logging=False)
