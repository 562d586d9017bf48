"""``lm_eval --model hf`` as anyone would type it, on the items that Pawl's scoring draws."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.suites import SUITES, SuiteName, draw
from pawl.errors import PawlError

BATCH_SIZE = 16  # as in Pawl's own scoring; lm-eval's default of 1 would be slower
Scores = dict[tuple[str, int], "StockScore"]


@dataclass(frozen=True, slots=True)
class StockScore:
    """One item as lm-eval logged it: log-probabilities of its choices, and its own metrics."""

    logprobs: list[float]
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True)
class StockTasks:
    """The drawn items by lm-eval's task name, and where tasks of our own are described.

    ``names`` gives Pawl's task name for each of lm-eval's (MMLU's subjects are spelled otherwise).
    """

    samples: dict[str, list[int]]
    names: dict[str, str]
    include_dir: Path | None
    data_dir: Path | None


def drawn_tasks(
    suite: SuiteName, n_items: int | None, seed: int, data_dir: Path | None, work_dir: Path
) -> StockTasks:
    """Draw the items of every benchmark, as ``evals.score`` does.

    The mini suite's YAML files (lm-eval's own with the data replaced) are left in ``work_dir``; the
    official suite is lm-eval's own tasks, found by their names.
    """
    os.environ["HF_DATASETS_CACHE"] = str(work_dir / "datasets")
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    if suite == "mini" or data_dir is not None:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    from evals.tasks import load_suite

    before = Path.cwd()
    if suite == "official" and data_dir is not None:
        os.chdir(data_dir)
    try:
        loaded = load_suite(suite, data_dir=data_dir, work_dir=work_dir / "tasks")
    finally:
        os.chdir(before)
    samples: dict[str, list[int]] = {}
    for one in SUITES[suite]:
        samples |= draw(loaded.of(one), n_items, seed)
    if suite == "mini":
        return StockTasks(samples, {name: name for name in samples}, work_dir / "tasks", None)
    names = {name.replace("__", "_"): name for name in samples}
    return StockTasks({stock: samples[name] for stock, name in names.items()}, names, None,
                      data_dir)  # fmt: skip


def command(
    tasks: StockTasks, model_dir: Path, adapter_dir: Path | None, out_dir: Path
) -> list[str]:
    """What to type. The items go in a file beside ``out_dir``."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    samples = out_dir.parent / f"{out_dir.name}.samples.json"
    samples.write_text(json.dumps(tasks.samples))
    model_args = f"pretrained={model_dir},dtype=float32"
    model_args += f",peft={adapter_dir}" if adapter_dir else ""
    typed = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", model_args,
        "--tasks", ",".join(tasks.samples), "--samples", str(samples), "--device", "cpu",
        "--batch_size", str(BATCH_SIZE), "--log_samples", "--output_path", str(out_dir),
    ]  # fmt: skip
    return typed + (["--include_path", str(tasks.include_dir)] if tasks.include_dir else [])


def run(
    tasks: StockTasks,
    model_dir: Path,
    adapter_dir: Path | None,
    out_dir: Path,
    *,
    n_threads: int | None,
) -> Scores:
    """Run it to its end; the scores by task (Pawl's name) and item.

    Args:
        n_threads: None leaves torch its default.

    Raises:
        PawlError: it ended with an error; with the end of its log.
    """
    environment = {**os.environ, "HF_DATASETS_CACHE": str(out_dir.parent / f"{out_dir.name}.data"),
                   "TOKENIZERS_PARALLELISM": "false"}  # fmt: skip
    if n_threads:
        environment["OMP_NUM_THREADS"] = str(n_threads)
    typed = command(tasks, model_dir, adapter_dir, out_dir)
    log_path = out_dir.parent / f"{out_dir.name}.log"
    with log_path.open("wb") as log:
        done = subprocess.run(typed, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                              env=environment, cwd=tasks.data_dir or out_dir.parent)  # fmt: skip
    if done.returncode != 0:
        raise PawlError("lm_eval failed", log_path.read_text(errors="replace")[-2000:])
    return read_scores(out_dir, tasks)


def read_scores(out_dir: Path, tasks: StockTasks) -> Scores:
    """What lm-eval logged, item by item."""
    scores: Scores = {}
    for stock, name in tasks.names.items():
        (path,) = out_dir.rglob(f"samples_{stock}_20*.jsonl")
        for line in path.read_text().splitlines():
            sample: dict[str, Any] = json.loads(line)
            logprobs = [float(response[0]) for response in sample["filtered_resps"]]
            metrics = {key: float(sample[key]) for key in sample["metrics"]}
            scores[name, int(sample["doc_id"])] = StockScore(logprobs, metrics)
    return scores
