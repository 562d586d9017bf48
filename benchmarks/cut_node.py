"""A node of a Ray cluster behind a cable of its own, in a network namespace, for
``benchmarks.nodes`` and the tests: cut off and mended without a word to either side.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil

HEAD, HEAD_TOO, NODE = "10.77.0.1", "10.77.0.3", "10.77.0.2"
_NEW_NET = 0x40000000  # CLONE_NEWNET of unshare(2)
# As a service manager does, or Kubernetes: Ray on a node ends once its head has given the node up.
KEEPER = """
mkdir -p /tmp/ray && mount -t tmpfs none /tmp/ray
while :; do "$@"; sleep 1; done
"""


def own_network() -> bool:
    """Let this process and its children have a network of their own; whether that may be."""
    if ctypes.CDLL(None, use_errno=True).unshare(_NEW_NET) != 0:
        return False
    _run("ip link set lo up")
    return True


class CutNode:
    """The machine at ``NODE``; this one has ``HEAD`` and ``HEAD_TOO`` at the cable's other end.

    Args:
        folder: takes its home and the log of its Ray.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ray: subprocess.Popen[bytes] | None = None
        self._holder = subprocess.Popen(["unshare", "--net", "--mount", "sleep", "infinity"])
        own = self._network("thread-self")
        while self._network(self._holder.pid) == own:
            if self._holder.poll() is not None:
                raise RuntimeError("no network namespace may be made")
        pid = self._holder.pid
        _run(f"ip link add pawl0 type veth peer name pawl1 netns {pid}")
        for address in (HEAD, HEAD_TOO):
            _run(f"ip addr add {address}/24 dev pawl0")
        _run("ip link set pawl0 up")
        self._inside = ["nsenter", "--target", str(pid), "--net", "--mount"]
        for command in ("lo up", "pawl1 up"):
            _run(f"ip link set {command}", self._inside)
        _run(f"ip addr add {NODE}/24 dev pawl1", self._inside)

    def join(self, address: str) -> None:
        """Start Ray there, and again whenever it ends."""
        home = self._folder / "node"
        home.mkdir()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block",
                   f"--address={address}", f"--node-ip-address={NODE}", "--num-cpus=1",
                   "--object-store-memory=150000000"]  # fmt: skip
        with (self._folder / "node.log").open("ab") as log:
            self._ray = subprocess.Popen(
                [*self._inside, "bash", "-c", KEEPER, "keeper", *command],
                stdout=log, stderr=log, env={**os.environ, "HOME": str(home)},
            )  # fmt: skip

    def cut(self) -> None:
        _run("ip link set pawl1 down", self._inside)

    def mend(self) -> None:
        _run("ip link set pawl1 up", self._inside)

    @property
    def n_starts(self) -> int:
        """How often its Ray was started."""
        return (self._folder / "node.log").read_text("utf-8").count("Ray runtime started")

    def processes(self) -> list[psutil.Process]:
        """All that run there."""
        there, found = self._network(self._holder.pid), []
        for one in psutil.process_iter():
            with contextlib.suppress(OSError):
                if self._network(one.pid) == there and one.pid != self._holder.pid:
                    found.append(one)
        return found

    def close(self) -> None:
        """End all that runs there, and the network with it."""
        if self._ray is not None:
            self._ray.kill()
            self._ray.wait()
        while left := self.processes():
            for one in left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(left, 5)
        self._holder.kill()
        self._holder.wait()

    def _network(self, process: object) -> Path:
        return Path(f"/proc/{process}/ns/net").readlink()


@contextlib.contextmanager
def cut_node(folder: Path) -> Iterator[CutNode]:
    """One, until the block ends."""
    node = CutNode(folder)
    try:
        yield node
    finally:
        node.close()


def _run(command: str, inside: list[str] | None = None) -> None:
    subprocess.run([*(inside or []), *command.split()], check=True)
