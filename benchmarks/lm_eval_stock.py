"""``lm_eval --model hf`` as anyone would type it, on the items that Pawl's scoring draws."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.suites import Suite, draw
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
    """The drawn items by lm-eval's task name.

    ``names`` gives Pawl's task name for each of lm-eval's, ``include_dir`` holds the task files of
    those that are not lm-eval's own.
    """

    samples: dict[str, list[int]]
    names: dict[str, str]
    include_dir: Path
    data_dir: Path | None


def drawn_tasks(
    suite: Suite, n_items: int | None, seed: int, data_dir: Path | None, work_dir: Path
) -> StockTasks:
    """Draw the items of every benchmark, as ``evals.score`` does.

    Benchmarks that are a task of lm-eval's as it is are run under lm-eval's own name; the others
    (own data, own task file, own number of examples) from the task files left in ``work_dir``.
    """
    os.environ["HF_DATASETS_CACHE"] = str(work_dir / "datasets")
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    if data_dir is not None or not suite.reads_hub():
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    from evals.tasks import load_tasks, member_of

    before = Path.cwd()
    if data_dir is not None:
        os.chdir(data_dir)
    try:
        loaded = load_tasks(suite, work_dir=work_dir / "tasks")
    finally:
        os.chdir(before)
    samples: dict[str, list[int]] = {}
    for benchmark in suite.benchmarks:
        samples |= draw(loaded.of(benchmark), n_items, seed)
    names: dict[str, str] = {}
    for name in samples:
        benchmark = loaded.benchmarks[name]
        is_stock = benchmark.task and benchmark.data is None and benchmark.num_fewshot is None
        names[(member_of(name) or benchmark.task or name) if is_stock else name] = name
    return StockTasks({stock: samples[name] for stock, name in names.items()}, names,
                      work_dir / "tasks", data_dir)  # fmt: skip


def command(
    tasks: StockTasks, model_dir: Path, adapter_dir: Path | None, out_dir: Path
) -> list[str]:
    """What to type. The items go in a file beside ``out_dir``."""
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    samples = out_dir.parent / f"{out_dir.name}.samples.json"
    samples.write_text(json.dumps(tasks.samples), "utf-8")
    model_args = f"pretrained={model_dir},dtype=float32"
    model_args += f",peft={adapter_dir}" if adapter_dir else ""
    argv = [
        sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", model_args,
        "--tasks", ",".join(tasks.samples), "--samples", str(samples), "--device", "cpu",
        "--batch_size", str(BATCH_SIZE), "--log_samples", "--output_path", str(out_dir),
    ]  # fmt: skip
    return [*argv, "--include_path", str(tasks.include_dir)]


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
    argv = command(tasks, model_dir, adapter_dir, out_dir)
    log_path = out_dir.parent / f"{out_dir.name}.log"
    with log_path.open("wb") as log:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                              env=environment, cwd=tasks.data_dir or out_dir.parent)  # fmt: skip
    if done.returncode != 0:
        raise PawlError("lm_eval failed", log_path.read_text("utf-8", errors="replace")[-2000:])
    return read_scores(out_dir, tasks)


def read_scores(out_dir: Path, tasks: StockTasks) -> Scores:
    """What lm-eval logged, item by item."""
    scores: Scores = {}
    for stock, name in tasks.names.items():
        (path,) = out_dir.rglob(f"samples_{stock}_20*.jsonl")
        for line in path.read_text("utf-8").splitlines():
            sample: dict[str, Any] = json.loads(line)
            logprobs = [float(response[0]) for response in sample["filtered_resps"]]
            metrics = {key: float(sample[key]) for key in sample["metrics"]}
            scores[name, int(sample["doc_id"])] = StockScore(logprobs, metrics)
    return scores
