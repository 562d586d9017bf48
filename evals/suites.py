"""Which benchmarks a suite holds, where their data are, and which items are drawn.

Every benchmark is one of lm-eval's own tasks. The *mini* suite is the same task code on
own questions (``evals/mini/*.jsonl``); the *official* one takes the official data from
the hub or from a folder laid out like it. Nothing here imports lm-eval.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pawl.errors import PawlError
from pawl.files import sha256_file, sha256_json

SuiteName = Literal["mini", "official"]
MINI_DATA_DIR = Path(__file__).parent / "mini"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One benchmark of a suite.

    ``official_yaml`` is lm-eval's task file, relative to its folder of tasks; for MMLU it holds
    ``{subject}``. ``metric`` is the task's main one: ``acc_norm`` (log-probability divided by the
    answer's length in characters) for ARC-Challenge and HellaSwag, whose choices are sentences of
    unlike lengths and whose leaderboards report it, else ``acc``. ``hub_dir`` is the data's folder
    on the hub, ``split`` the one that is scored, ``mini_file`` the mini suite's data, a folder for
    MMLU.
    """

    name: str
    official_yaml: str
    metric: Literal["acc", "acc_norm"]
    hub_dir: str
    split: str
    mini_file: str = ""

    @property
    def by_subject(self) -> bool:
        """Whether the benchmark is a task for every subject (MMLU)."""
        return "{subject}" in self.official_yaml


_ARC, _TRUTH = "allenai/ai2_arc", "truthfulqa/truthful_qa"
_MMLU_YAML = "mmlu/default/mmlu_{subject}.yaml"

SUITES: dict[SuiteName, tuple[Benchmark, ...]] = {
    "official": (
        Benchmark("arc_easy", "arc/arc_easy.yaml", "acc", _ARC, "test"),
        Benchmark("arc_challenge", "arc/arc_challenge.yaml", "acc_norm", _ARC, "test"),
        Benchmark("hellaswag", "hellaswag/hellaswag.yaml", "acc_norm", "Rowan/hellaswag",
                  "validation"),
        Benchmark("mmlu", _MMLU_YAML, "acc", "cais/mmlu", "test"),
        Benchmark("truthfulqa_mc1", "truthfulqa/truthfulqa_mc1.yaml", "acc", _TRUTH, "validation"),
        Benchmark("truthfulqa_mc2", "truthfulqa/truthfulqa_mc2.yaml", "acc", _TRUTH, "validation"),
    ),
    "mini": (
        # The mini ARC's answers are a word or two, so the plain log-probability decides.
        Benchmark("mini_arc", "arc/arc_easy.yaml", "acc", _ARC, "test", "arc.jsonl"),
        Benchmark("mini_hellaswag", "hellaswag/hellaswag.yaml", "acc_norm", "Rowan/hellaswag",
                  "validation", "hellaswag.jsonl"),
        Benchmark("mini_mmlu", _MMLU_YAML, "acc", "cais/mmlu", "test", "mmlu"),
        Benchmark("mini_truthfulqa_mc1", "truthfulqa/truthfulqa_mc1.yaml", "acc", _TRUTH,
                  "validation", "truthfulqa.jsonl"),
        Benchmark("mini_truthfulqa_mc2", "truthfulqa/truthfulqa_mc2.yaml", "acc", _TRUTH,
                  "validation", "truthfulqa.jsonl"),
    ),
}  # fmt: skip


def benchmark(name: str) -> Benchmark:
    """The benchmark called ``name`` in any suite."""
    for suite in SUITES.values():
        for one in suite:
            if one.name == name:
                return one
    raise PawlError(
        f"benchmark {name!r} is not known",
        "known are " + ", ".join(b.name for s in SUITES.values() for b in s),
    )


def data_files(suite: SuiteName, data_dir: Path | None) -> list[Path]:
    """The files a suite reads, sorted; empty for official data that come from the hub.

    Raises:
        PawlError: a file that the suite needs is not there.
    """
    if suite == "official" and data_dir is None:
        return []
    root = data_dir or MINI_DATA_DIR
    files: set[Path] = set()
    for one in SUITES[suite]:
        place = root / (one.mini_file if suite == "mini" else one.hub_dir)
        found = (
            [place]
            if place.is_file()
            else sorted(
                path for path in place.rglob("*") if path.suffix in (".jsonl", ".parquet", ".json")
            )
        )
        if not found:
            raise PawlError(
                f"benchmark data {place} is not there",
                f"the {suite} suite scores {one.name} on it",
                "Point gate.data_dir (--data-dir) at a folder laid out as on the hub, "
                "or leave it out",
            )
        files.update(found)
    return sorted(files)


def data_hash(suite: SuiteName, data_dir: Path | None) -> str:
    """Hex SHA-256 over the suite's data files; ``hub`` where the hub holds them (items then carry
    the hash of their own text in their id, so a changed set is noticed all the same)."""
    files = data_files(suite, data_dir)
    if not files:
        return "hub"
    root = data_dir or MINI_DATA_DIR
    return sha256_json({str(path.relative_to(root)): sha256_file(path) for path in files})


def draw(counts: dict[str, int], n_items: int | None, seed: int) -> dict[str, list[int]]:
    """Draw ``n_items`` of one benchmark without replacement, spread over its tasks.

    Args:
        counts: items of each task (one task, or MMLU's subjects).
        n_items: how many in all; None or more than there are takes every item.
        seed: the same seed draws the same items for champion and challenger.

    Returns:
        For each task that got any, the **sorted** indices (lm-eval pairs the indices with the
        items in the data's order, so unsorted ones would name the wrong items). Each task's share
        is proportional to its size, by largest remainder.
    """
    total = sum(counts.values())
    if n_items is None or n_items >= total:
        return {task: list(range(n)) for task, n in counts.items() if n}
    exact = {task: n_items * n / total for task, n in counts.items()}
    share = {task: int(x) for task, x in exact.items()}
    rest = sorted(counts, key=lambda task: (share[task] - exact[task], task))
    for task in rest[: n_items - sum(share.values())]:
        share[task] += 1
    drawn = {}
    for task, n in share.items():
        if n:
            # A stream of its own for every task: adding a task does not shift the others' draws.
            name = hashlib.sha256(f"{seed}:{task}".encode()).digest()
            drawn[task] = sorted(random.Random(name).sample(range(counts[task]), n))
    return drawn
