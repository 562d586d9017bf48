"""A Ray cluster of several nodes on this machine, each with a loopback address of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

REASON = "clusters are not tested: pip install 'pawl-chat[ray]'"


def node(host: str, n_cores: int = 1, **more: Any) -> dict[str, Any]:
    # Not 127.0.0.1, in whose place Ray takes the machine's own address.
    return {"num_cpus": n_cores, "node_ip_address": host, "include_dashboard": False, **more}


@contextmanager
def ray_cluster(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    head_cores: int = 1,
    others: Sequence[str] = ("127.0.0.3", "127.0.0.4"),
    **head: Any,
) -> Iterator[Any]:
    """A head at 127.0.0.2 and more nodes, until the block ends; skips where Ray is not."""
    ray = pytest.importorskip("ray", reason=REASON)
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # where nodes keep adapters
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    running = Cluster(initialize_head=True, head_node_args=node("127.0.0.2", head_cores, **head))
    try:
        for host in others:
            running.add_node(**node(host))
        yield running
    finally:
        ray.shutdown()
        running.shutdown()


def node_of(cluster: Any, module: str) -> Any:
    """A node on which a child of this module runs."""
    for process in psutil.process_iter(["cmdline"]):
        if module in (process.info["cmdline"] or []):
            above = {one.pid for one in process.parents()}
            for one in cluster.worker_nodes:
                if above & {info.process.pid for info in one.all_processes["raylet"]}:
                    return one
    return None
