"""Score one model on one suite and on the holdout, item by item, in a process of its own.

    python -m evals.score --model DIR [--adapter DIR] --suite everyday --items-per-benchmark 300 \
        --seed 0 --holdout SNAPSHOT_DIR --out DIR

Leaves ``items.jsonl`` (one ItemScore a line) and ``manifest.json``, written last. Its events
(``pawl/jobs.py``): ``{"stage": "benchmarks", "fraction": 0.1, "done": 30, "total": 300}``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from evals import bias, suites
from evals.regression import is_of_people
from evals.sequential import FIRST_LOOK, LOOK_EVERY, Reference, Watch
from evals.suites import Benchmark, Suite
from pawl import plugins
from pawl.adapters import read_manifest
from pawl.chat_template import load_tokenizer
from pawl.files import read_json, sha256_file, sha256_json, write_atomic, write_json
from pawl.jobs import OnEvent, run_child
from pawl.schemas import ItemScore, utc_now

ITEMS, MANIFEST = "items.jsonl", "manifest.json"
BASE = "base"  # whose weights the challenger has, in place of an adapter's folder
FORMAT = 12  # goes up when the same inputs would score otherwise

Progress = Callable[[str, int, int], None]


def main(argv: list[str] | None = None) -> int:
    """Parse, score, write. Exit code 0, or 1 after an error that a user can mend."""
    return run_child(_parser(), _run_arguments, argv)


def _run_arguments(args: argparse.Namespace, report: OnEvent) -> None:
    args.out = args.out.resolve()
    with tempfile.TemporaryDirectory(prefix="pawl-datasets-") as cache:
        args.cache_dir = args.cache_dir or Path(cache)
        run(args, _throttled(report))


def run(args: argparse.Namespace, progress: Progress) -> None:
    """Everything between the arguments and the finished folder."""
    started = time.monotonic()
    progress("loading", 0, 1)
    suite = suites.load(args.suite)
    data_dir = args.data_dir.resolve() if args.data_dir else None
    adapter = args.adapter.resolve() if args.adapter else None
    model_dir: Path = args.model.resolve()
    snapshot = args.holdout.resolve() if args.holdout else None
    digest = ""
    if not args.skip_benchmarks:
        if data_dir is not None:
            suites.check_data_dir(suite, data_dir)
        digest = suites.content_hash(suite, data_dir)
    audits = bias.suite_in(data_dir) if args.bias else None
    cache_key = sha256_json([digest, bias.content_hash(data_dir)]) if audits else digest
    _set_environment(args, cache_key, offline=data_dir is not None or not suite.reads_hub())
    if data_dir is not None and (suite.reads_hub() or audits):
        os.chdir(data_dir)  # hub ids are then found as folders, offline

    import torch

    from evals.harness import Scorer

    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    scorer = Scorer(
        model_dir,
        adapter,
        device=device,
        on_progress=lambda done, total: progress("benchmarks", done, total),
    )
    loaded_seconds = time.monotonic() - started
    items: list[ItemScore] = []
    if not args.skip_benchmarks:
        watch = read_watch(args.watch) if args.watch else None
        items += score_benchmarks(scorer, suite, args.items_per_benchmark, args.seed, watch)
    if args.bias:
        items += bias.score_pairs(
            bias.load_pairs(),
            logprobs=scorer.answer_logprobs,
            tokenizer=load_tokenizer(model_dir, bias.TODAY),
            on_progress=lambda done, total: progress("bias", done, total),
        )
    if audits:
        n_items = audits.description.items_per_benchmark
        found = score_benchmarks(scorer, audits, n_items, args.seed)
        items += [replace(item, benchmark=bias.PREFIX + item.benchmark) for item in found]
    benchmark_seconds = time.monotonic() - started - loaded_seconds
    n_left_out: dict[str, int] = {}
    if snapshot is not None or args.more_rows is not None:
        found, n_left_out = score_people(args, scorer, snapshot, progress)
        items += found
    seconds = time.monotonic() - started
    manifest = {
        "format": FORMAT,
        "model_dir": str(model_dir),
        "model_fingerprint": args.model_fingerprint,
        "adapter_fingerprint": read_manifest(adapter).fingerprint if adapter else None,
        "suite": None if args.skip_benchmarks else suite.name,
        "items_per_benchmark": args.items_per_benchmark,
        "seed": args.seed,
        "suite_sha256": digest,
        "n_requests": scorer.n_requests,
        "n_truncated": scorer.n_truncated,
        "n_holdout_left_out": n_left_out,
        "matcher_problems": dict(
            Counter(i.detail["matcher_problem"] for i in items if "matcher_problem" in i.detail)
        ),
        "n_lora_modules": scorer.n_lora_modules,
        "method": scorer.method,
        "dtype": "float32",
        "device": device,
        "n_threads": torch.get_num_threads(),
        "versions": _versions(),
        "created_at": utc_now(),
        "seconds": {
            "total": round(seconds, 2),
            "loading": round(loaded_seconds, 2),
            "benchmarks": round(benchmark_seconds, 2),
            "holdout": round(seconds - loaded_seconds - benchmark_seconds, 2),
        },
    }
    write_scores(args.out, items, manifest)
    progress("done", 1, 1)


def score_people(
    args: argparse.Namespace, scorer: Any, snapshot: Path | None, progress: Progress
) -> tuple[list[ItemScore], dict[str, int]]:
    """The holdout and the rows beside it; then the same, without what is kept, by each placebo.

    A placebo's items stand under the benchmark ``PLACEBO`` and its number.
    """
    from evals import placebo, regression

    rows = regression.scored_rows(snapshot) if snapshot else []
    rows += regression.read_more_rows(args.more_rows) if args.more_rows else []
    score_all = partial(
        regression.score_rows,
        logprobs=scorer.answer_logprobs,
        model=scorer.model,
        tokenizer=load_tokenizer(args.model.resolve(), args.today),
        max_length_tokens=scorer.max_length,
        matchers=plugins.load_all("matcher", args.matchers.split(",") if args.matchers else ()),
    )
    asking = regression.UNPROMPTED
    if args.asking:
        asking = TypeAdapter(regression.Asking).validate_json(args.asking.read_bytes())
    items, left_out = score_all(
        rows, on_progress=lambda done, total: progress("holdout", done, total), asking=asking
    )
    if (args.placebo_of or asking.placebos) and args.n_placebos:
        rows = [row for row in rows if regression.benchmark_of(row) != regression.KEPT]
        known = regression.answers_of(items)
        other = None if args.placebo_of in (None, BASE) else Path(args.placebo_of)
        layers = placebo.sizes(other, args.adapter) if args.placebo_of else {}
        fingerprint = read_manifest(other).fingerprint if other else args.model_fingerprint
        for number in range(1, args.n_placebos + 1):
            # Its seed follows from the challenger: nobody chooses what it must beat.
            seed = int(sha256_json([fingerprint, number])[:8], 16)
            own = asking.placebos[number - 1] if asking.placebos else asking.own
            with placebo.changed(scorer.model, layers, seed):
                found, _ = score_all(
                    rows, known=known, on_progress=lambda *_: None, asking=replace(asking, own=own)
                )
            progress("placebos", number, args.n_placebos)
            items += [replace(i, benchmark=f"{regression.PLACEBO}{number}") for i in found]
    return items, {"too_long": left_out.n_too_long, "refused": left_out.n_refused}


def write_scores(folder: Path, items: list[ItemScore], manifest: dict[str, Any]) -> None:
    """Items first, manifest last: a folder without a manifest counts as not there."""
    (folder / MANIFEST).unlink(missing_ok=True)
    lines = [json.dumps(item.as_json(), ensure_ascii=False, allow_nan=False) for item in items]
    write_atomic(folder / ITEMS, "".join(line + "\n" for line in lines))
    counted = {
        "n_items": dict(Counter(item.benchmark for item in items)),
        "n_errors": sum(item.error is not None for item in items),
        "items_sha256": sha256_file(folder / ITEMS),
    }
    write_json(folder / MANIFEST, manifest | counted)


def score_benchmarks(
    scorer: Any, suite: Suite, n_items: int | None, seed: int, watch: Watch | None = None
) -> list[ItemScore]:
    """Run lm-eval on the drawn items and turn its samples into item scores.

    With ``watch`` in rounds, until it says that a benchmark needs no more. Items then have in their
    detail ``order`` (their place in the random order) and ``drawn`` (how many were drawn).
    """
    from evals.tasks import begin_round, draw_examples, load_tasks

    with tempfile.TemporaryDirectory(prefix="pawl-tasks-") as work:
        loaded = load_tasks(suite, work_dir=Path(work))
        drawn = {one.name: suites.draw(loaded.of(one), n_items, seed) for one in suite.benchmarks}
        if watch is None:
            return _run_tasks(scorer, loaded, drawn.values())
        rounds = {
            name: suites.in_rounds(of, FIRST_LOOK, LOOK_EVERY, seed) for name, of in drawn.items()
        }
        examples = draw_examples(loaded, drawn.values())
        items: dict[str, list[ItemScore]] = {name: [] for name in rounds}
        while rounds:
            begin_round(examples, asked := [of.pop(0) for of in rounds.values()])
            found = _run_tasks(scorer, loaded, asked)
            # A round's items come sorted; what is looked at must be in a random order.
            for item in sorted(found, key=lambda item: sha256_json([seed, item.item_id])):
                known = items[item.benchmark]
                place = {
                    "order": len(known),
                    "drawn": sum(map(len, drawn[item.benchmark].values())),
                }
                known.append(replace(item, detail=item.detail | place))
            states = {name: watch.look(name, items[name]) for name in rounds}
            if "lost" in states.values():
                break
            rounds = {n: of for n, of in rounds.items() if of and states[n] == "open"}
        return [item for known in items.values() for item in known]


def _run_tasks(scorer: Any, loaded: Any, drawn: Iterable[dict[str, list[int]]]) -> list[ItemScore]:
    import lm_eval

    samples = {task: indices for of in drawn for task, indices in of.items()}
    results = lm_eval.evaluate(
        lm=scorer,
        task_dict={"tasks": {name: loaded.tasks[name] for name in samples}},
        samples=samples,
        bootstrap_iters=0,
        log_samples=True,
    )
    assert results is not None  # None is for ranks other than 0
    return [
        item_score(loaded.benchmarks[task], task, sample)
        for task in samples
        for sample in results["samples"][task]
    ]


def read_watch(path: Path) -> Watch:
    """What ``--watch`` names: ``{"alpha", "references": [{"items", "margin", "margins"}]}``, where
    ``items`` is the path of a model's scores, from the file's own folder on. The gate corrects for
    all their benchmarks, the bias audit's too."""
    value = read_json(path)
    references = []
    for one in value["references"]:
        with (path.parent / one["items"]).open(encoding="utf-8") as file:
            items = [ItemScore(**json.loads(line)) for line in file]
        scores = {(item.benchmark, item.item_id): item.score for item in items}
        references.append(Reference(scores, one["margin"], one["margins"]))
    names = {name for one in references for name, _ in one.scores if not is_of_people(name)}
    return Watch(tuple(references), value["alpha"], max(1, len(names)))


def item_score(benchmark: Benchmark, task: str, sample: dict[str, Any]) -> ItemScore:
    """One of lm-eval's logged samples as an ItemScore.

    Items with the same value in the benchmark's ``cluster`` column are one cluster: those of an
    MMLU subject, or those that ask one fact in other words. Without a column every item is its own.

    A log-probability that is no finite number (NaN weights, an answer that could not be scored) is
    an error without a score: lm-eval's argmax would make it a wrong or even a right answer.
    """
    from evals.tasks import member_of

    member = member_of(task)
    item_id = (f"{member}/" if member else "") + f"{sample['doc_id']}-{sample['doc_hash'][:8]}"
    logprobs = [float(response[0]) for response in sample["filtered_resps"]]
    choices = [str(arguments[1]).removeprefix(" ") for arguments in sample["arguments"]]
    detail: dict[str, Any] = {
        "prompt": str(sample["arguments"][0][0])[-400:],
        "choices": choices,
        "target": sample["target"] if isinstance(sample["target"], int) else str(sample["target"]),
    }
    score, error = None, None
    if not all(map(math.isfinite, logprobs)):
        error = "a log-probability is not a finite number"
    elif benchmark.metric == "alike":
        score, difference = bias.alike(sample["doc"], choices, logprobs)
        # As in the pairs of bias.yaml: no choice is the right one.
        detail |= {"target": "alike", "chosen": difference}
    else:
        detail["logprobs"] = [round(value, 6) for value in logprobs]
        by_length = benchmark.metric == "acc_norm"
        lengths = [max(1, len(choice)) if by_length else 1 for choice in choices]
        ranked = [value / n for value, n in zip(logprobs, lengths, strict=True)]
        detail["chosen"] = ranked.index(max(ranked))
        detail |= {name: float(sample[name]) for name in ("acc", "acc_norm") if name in sample}
        score = float(sample[benchmark.metric])
        if not math.isfinite(score) and "mc2_targets" in sample["doc"]:
            score = detail[benchmark.metric] = _share_of_true(
                logprobs, sample["doc"]["mc2_targets"]["labels"]
            )
        if not math.isfinite(score):
            score, error = None, f"{benchmark.metric} is not a finite number"
            detail.pop(benchmark.metric)
    cluster = str(sample["doc"][benchmark.cluster]) if benchmark.cluster else item_id
    return ItemScore(benchmark.name, item_id, score, cluster, error, detail)


def _share_of_true(logprobs: Sequence[float], labels: Sequence[int]) -> float:
    """TruthfulQA's mc2, the share of the true choices (label 1) in the probability of all.

    As lm-eval computes it, but by log-probabilities: choices so improbable that each is 0 as a
    float have shares too.
    """
    from scipy.special import softmax

    shares = softmax(logprobs)
    return float(sum(share for share, label in zip(shares, labels, strict=True) if label))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    import pawl

    names = ("lm-eval", "torch", "transformers", "peft", "datasets")
    return {"pawl": pawl.__version__, **{name: version(name) for name in names}}


def _set_environment(args: argparse.Namespace, digest: str, *, offline: bool) -> None:
    """What the libraries read when they are imported, so before that."""
    # Keyed by content: datasets' own key (path and time) gave old rows for changed files.
    cache = args.cache_dir.resolve() / (digest[:16] or "none")
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["HF_DATASETS_CACHE"] = str(cache)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    # Loading a metric or a data set otherwise reports itself to a bucket of the hub's.
    os.environ["HF_UPDATE_DOWNLOAD_COUNTS"] = "0"
    if offline:
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "HF_EVALUATE_OFFLINE"):
            os.environ[name] = "1"


def _throttled(report: OnEvent) -> Progress:
    """Report a stage's beginning and end, and twice a second what is done in between."""
    last_at, last_stage = 0.0, ""

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last_at, last_stage
        now = time.monotonic()
        if stage != last_stage or done >= total or now - last_at > 0.5:
            last_at, last_stage = now, stage
            fraction = round(done / max(1, total), 4)
            report({"stage": stage, "fraction": fraction, "done": done, "total": total})

    return progress


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m evals.score", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--model-fingerprint", help="written to the manifest")
    parser.add_argument("--adapter", type=Path, help="folder of a LoRA adapter")
    parser.add_argument("--suite", required=True, help="name of a built-in suite, or its folder")
    parser.add_argument("--items-per-benchmark", type=int, help="random subset; default all")
    parser.add_argument("--seed", type=int, default=0, help="of the random subset")
    parser.add_argument("--data-dir", type=Path, help="benchmark data, laid out as on the hub")
    parser.add_argument("--holdout", type=Path, help="snapshot whose holdout is scored")
    parser.add_argument("--more-rows", type=Path, help="JSON lines: controls and kept prompts")
    parser.add_argument("--matchers", help="of installed packages: NAME,NAME")
    parser.add_argument("--placebo-of", help=f"adapter as large as the placebos, or {BASE!r}")
    parser.add_argument("--asking", type=Path, help="system prompts of what is compared, as JSON")
    parser.add_argument("--today", help="date that chat templates write; default: the clock's")
    parser.add_argument("--n-placebos", type=int, default=0, help="random changes of this model")
    parser.add_argument("--watch", type=Path, help="what says when a benchmark needs no more items")
    parser.add_argument("--skip-benchmarks", action="store_true", help="score the holdout alone")
    parser.add_argument("--bias", action="store_true", help="score the bias audit")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cache-dir", type=Path, help="datasets' cache; default: none kept")
    parser.add_argument("--device", help="default: cuda if there is one, else cpu")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
