"""Scoring on the nodes of a cluster: the same scores, also where a node is lost on the way."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from evals.cluster import _packed, _placed, _score, _versions, score_on_nodes
from evals.runner import score
from evals.score import ITEMS, read_watch, write_scores
from evals.suites import Suite
from pawl.cluster import work_folder
from pawl.errors import PawlError
from pawl.files import write_json
from pawl.models import BaseModel, resolve_model
from pawl.schemas import ItemScore
from tests.ray_cluster import REASON, node_of, ray_cluster
from tests.serve.live import REPOSITORY, eventually

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.mark.cluster
def test_scores_of_a_cluster_that_loses_a_node_are_those_of_one_machine(
    model: BaseModel, adapter_dir: Path, suite: Suite, snapshot_dir: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    model = resolve_model(str(model.model_dir), cache_dir=tmp_path)  # nodes check its fingerprint
    what: dict[str, Any] = {"suite": suite, "n_items": 20, "snapshot_dir": snapshot_dir,
                            "n_threads": 1, "placebo_of": "base", "n_placebos": 2}  # fmt: skip
    with ray_cluster(tmp_path, monkeypatch, head_cores=0) as cluster, ThreadPoolExecutor(1) as pool:
        there = pool.submit(
            score, model, adapter_dir, scores_dir=tmp_path / "there", **what,
            ray_address=cluster.address,
        )  # fmt: skip
        lost = eventually(lambda: node_of(cluster, "evals.score"), "a part is being scored", 120)
        cluster.remove_node(lost, allow_graceful=False)
        scores = there.result(400)
    here = score(model, adapter_dir, scores_dir=tmp_path / "here", **what)
    assert scores.items == here.items
    assert len({item.benchmark for item in scores.items}) == 8
    assert scores.manifest["parts"]["holdout"]["adapter_fingerprint"] is not None
    assert set(scores.manifest["parts"]) == {"benchmarks", "holdout"}


@pytest.mark.cluster
def test_a_cluster_that_is_not_there_is_worth_another_try(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason=REASON)
    with pytest.raises(PawlError, match=r"no Ray cluster answers at 127\.0\.0\.1:9") as caught:
        score_on_nodes("127.0.0.1:9", {"holdout": []}, tmp_path)
    assert caught.value.retryable


def test_a_node_is_sent_the_scores_that_a_watch_names(tmp_path: Path) -> None:
    server, node = tmp_path / "server", tmp_path / "node"
    items = [ItemScore("arc", f"{n}", n / 10, f"{n}") for n in range(5)]
    (server / "champion").mkdir(parents=True)
    write_scores(server / "champion", items, {})
    reference = {"items": str(server / "champion" / ITEMS), "margin": 0.1, "margins": {}}
    write_json(server / "watch.json", {"alpha": 0.05, "references": [reference]})
    arguments = ["--seed", "0", "--watch", str(server / "watch.json")]
    expected, sent = read_watch(server / "watch.json"), _packed(arguments)
    shutil.rmtree(server)  # which a node does not have
    placed = _placed(arguments, sent, node)
    assert placed[:3] == arguments[:3]
    assert read_watch(Path(placed[3])) == expected


def test_a_node_of_another_version_does_not_score() -> None:
    """Its scores would stand beside, and be kept as, those of this version."""
    arguments = ["--seed", "0"]
    with pytest.raises(PawlError, match=r"pawl .*, not 0\.0\.1. Install the same") as caught:
        _score(arguments, {}, 1, {**_versions(arguments), "pawl": "0.0.1"})
    assert caught.value.code == "other_version"
    assert not caught.value.retryable


def test_what_a_killed_task_left_on_a_node_goes_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code = (
        "import os\nfrom pawl.cluster import work_folder\n"
        "with work_folder('scoring') as work:\n"
        "    (work / 'holdout').write_text('a prompt')\n"
        "    os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == -9
    (left,) = (tmp_path / ".cache" / "pawl" / "scoring").glob("*/")
    with work_folder("scoring") as first, work_folder("scoring") as second:
        assert not left.exists()
        assert first.exists()
        assert second.exists()
    assert [one.name for one in left.parent.iterdir()] == ["lock"]


def test_tasks_that_begin_at_once_on_a_node_leave_each_other_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def begin(n: int) -> None:
        for _ in range(100):
            with work_folder("scoring") as work:
                (work / "holdout").write_text(str(n), encoding="utf-8")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(begin, range(4)))
    assert [one.name for one in (tmp_path / ".cache/pawl/scoring").iterdir()] == ["lock"]
