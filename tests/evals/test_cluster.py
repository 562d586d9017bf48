"""Scoring on the nodes of a cluster: the same scores, also where a node is lost on the way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from evals.cluster import score_on_nodes
from evals.runner import score
from evals.suites import Suite
from pawl.errors import PawlError
from pawl.models import BaseModel
from tests.ray_cluster import REASON, ray_cluster
from tests.serve.live import eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def node_of_a_task(cluster: Any) -> Any:
    """The node on which a scoring child runs."""
    for process in psutil.process_iter(["cmdline"]):
        if "evals.score" in (process.info["cmdline"] or []):
            above = {one.pid for one in process.parents()}
            for one in cluster.worker_nodes:
                if above & {info.process.pid for info in one.all_processes["raylet"]}:
                    return one
    return None


def test_scores_of_a_cluster_that_loses_a_node_are_those_of_one_machine(
    model: BaseModel, adapter_dir: Path, suite: Suite, snapshot_dir: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    what: dict[str, Any] = {"suite": suite, "n_items": 20, "snapshot_dir": snapshot_dir,
                            "n_threads": 1, "placebo_of": "base", "n_placebos": 2}  # fmt: skip
    with ray_cluster(tmp_path, monkeypatch, head_cores=0) as cluster, ThreadPoolExecutor(1) as pool:
        there = pool.submit(
            score, model, adapter_dir, scores_dir=tmp_path / "there", **what,
            ray_address=cluster.address,
        )  # fmt: skip
        lost = eventually(lambda: node_of_a_task(cluster), "a part is being scored", 120)
        cluster.remove_node(lost, allow_graceful=False)
        scores = there.result(400)
    here = score(model, adapter_dir, scores_dir=tmp_path / "here", **what)
    assert scores.items == here.items
    assert len({item.benchmark for item in scores.items}) == 8
    assert scores.manifest["parts"]["holdout"]["adapter_fingerprint"] is not None
    assert set(scores.manifest["parts"]) == {"benchmarks", "holdout"}


def test_a_cluster_that_is_not_there_is_worth_another_try(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=REASON)
    with pytest.raises(PawlError, match=r"no Ray cluster answers at 127\.0\.0\.1:9") as caught:
        score_on_nodes("127.0.0.1:9", {"holdout": []}, tmp_path)
    assert caught.value.retryable
