"""Scoring a model, against ``lm_eval --model hf`` on the same items.

    python -m benchmarks.scoring [--items 150] [--rounds 3] [--threads 4]
    python -m benchmarks.scoring --suite official --data-dir ../shared/benchmarks/hub --items 50

Both arms are a process from its start to its end, in float32 with as many threads, with an empty
datasets cache. The rounds take the arms in turn, the first one changing. What they measure must be
the same: every item's score equal, every log-probability within 1e-4; else the command fails.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import lm_eval_stock
from benchmarks.figures import ratio_in_words
from benchmarks.measurements import finish
from evals.runner import Scores, score
from evals.suites import Suite, choose, load
from pawl.models import resolve_model
from pawl.settings import GateSettings

TOLERANCE = 1e-4  # nats; ours are written with six decimals


@dataclass
class Difference:
    """How far the two arms' results are apart."""

    n_items: int = 0
    n_scores: int = 0  # items whose score differs
    largest: float = 0.0  # of all log-probabilities, nats
    missing: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        return not self.missing and self.n_scores == 0 and self.largest <= TOLERANCE


def compare(suite: Suite, ours: Scores, theirs: lm_eval_stock.Scores) -> Difference:
    """Item by item. MC2's score is a share of probability: equal within the tolerance."""
    found = Difference(n_items=len(ours.items))
    left = dict(theirs)
    metrics = {benchmark.name: benchmark.metric for benchmark in suite.benchmarks}
    for item in ours.items:
        member, _, rest = item.item_id.rpartition("/")
        task = f"{item.benchmark}__{member}" if member else item.benchmark
        stock = left.pop((task, int(rest.partition("-")[0])), None)
        if stock is None or item.score is None:
            found.missing.append(f"{item.benchmark} {item.item_id}")
            continue
        allowed = 0.0 if item.score in (0.0, 1.0) else TOLERANCE
        found.n_scores += abs(item.score - stock.metrics[metrics[item.benchmark]]) > allowed
        apart = [abs(a - b) for a, b in
                 zip(item.detail["logprobs"], stock.logprobs, strict=True)]  # fmt: skip
        found.largest = max(found.largest, *apart)
    found.missing += [f"{task} {index}" for task, index in left]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--suite", default="auto", help="name, folder, or auto as the gate's")
    parser.add_argument("--data-dir", type=Path, help="benchmark data laid out as the hub")
    parser.add_argument("--items", type=int, default=150, help="random items per benchmark")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    data_dir = args.data_dir.resolve() if args.data_dir else None
    if args.suite == "auto":
        suite, why = choose(GateSettings(data_dir=data_dir))
        print(why)
    else:
        suite = load(args.suite)
    seconds: dict[str, list[float]] = {"pawl": [], "lm_eval": []}
    differences: list[Difference] = []
    manifest: dict[str, float] = {}
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # lm-eval's side runs on the CPU
    with tempfile.TemporaryDirectory(prefix="pawl-scoring-") as temporary:
        folder = Path(temporary)
        base = resolve_model(args.model, cache_dir=folder)
        tasks = lm_eval_stock.drawn_tasks(suite, args.items, args.seed, data_dir, folder)
        for n in range(args.rounds):
            ours: Scores | None = None
            theirs: lm_eval_stock.Scores = {}
            for arm in ("pawl", "lm_eval") if n % 2 == 0 else ("lm_eval", "pawl"):
                began = time.monotonic()
                if arm == "pawl":
                    ours = score(base, None, suite=suite, scores_dir=folder / f"ours-{n}",
                                 n_items=args.items, seed=args.seed, data_dir=data_dir,
                                 n_threads=args.threads)  # fmt: skip
                else:
                    theirs = lm_eval_stock.run(tasks, base.model_dir, None, folder / f"theirs-{n}",
                                               n_threads=args.threads)  # fmt: skip
                seconds[arm].append(time.monotonic() - began)
                print(f"round {n + 1}: {arm} {seconds[arm][-1]:.1f} s", flush=True)
            assert ours is not None
            manifest = ours.manifest["parts"]["benchmarks"]["seconds"]
            differences.append(compare(suite, ours, theirs))
    same = all(difference.same for difference in differences)
    worst = max(differences, key=lambda d: (len(d.missing), d.n_scores, d.largest))
    figures = {
        "Pawl's scoring": f"{statistics.median(seconds['pawl']):.1f} s, of which in the last round "
        f"{manifest['loading']:.1f} s imports and loading, {manifest['benchmarks']:.1f} s tasks, "
        "requests and scores",
        "lm_eval --model hf": f"{statistics.median(seconds['lm_eval']):.1f} s",
        "seconds of lm_eval / Pawl": ratio_in_words(seconds["lm_eval"], seconds["pawl"]),
        "items": f"{worst.n_items:,} of {len(suite.benchmarks)} benchmarks ({suite.name})",
        "same results": f"{'yes' if same else 'NO'}: {worst.n_scores} items with another score, "
        f"{len(worst.missing)} unmatched; log-probabilities at most {worst.largest:.1e} apart",
    }
    finish(
        f"scoring-{suite.name}", "Scoring against lm_eval --model hf", figures,
        missed=[] if same else [f"the results differ: {worst}"],
        note=f"Whole processes, {args.threads} threads, float32, batches of "
        f"{lm_eval_stock.BATCH_SIZE}, {Path(args.model).name}. lm_eval reads the descriptions "
        "of all its tasks at its start, about 9 s, Pawl only those it scores; both import "
        "torch, transformers and lm-eval.",
        keep=not args.no_record,
    )  # fmt: skip


if __name__ == "__main__":
    main()
