"""Scoring a model, against ``lm_eval --model hf`` on the same items.

    python -m benchmarks.scoring [--items 150] [--rounds 3] [--threads 4]
    python -m benchmarks.scoring --suite official --data-dir ../shared/benchmarks/hub --items 300
    python -m benchmarks.scoring --suite benchmarks/mmlu_5shot --data-dir ... --adapter DIR

Both arms are a process from its start to its end, in float32 with as many threads, with an empty
datasets cache. The rounds take the arms in turn, the first one changing. What they measure must be
the same: 99.9 % of the items' scores equal, every log-probability within 1e-3; else the command
fails. With ``--adapter`` both arms score the base and then the adapter, and Pawl scores the adapter
once more as a night does, which knows the base's scores and stops where the test is sure.

Bars (issue 12): 6 times lm_eval for the official suite, 10 times for MMLU with 5 examples, 25 times
for the night's way.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import lm_eval_stock
from benchmarks.figures import ratio_in_words
from benchmarks.measurements import finish
from evals.gate import gate_rules
from evals.runner import Scores, score
from evals.score import write_scores
from evals.suites import Suite, choose, load
from pawl.models import BaseModel, resolve_model
from pawl.settings import GateSettings
from refine.night.evidence import write_watch

# Nats of an answer's sum. Two sums in float32, added in another order, were up to 2e-4 apart.
TOLERANCE = 1e-3
MOST_OTHER_SCORES = 0.001
BARS = {"official": 6.0, "mmlu_5shot": 10.0, "mmlu_5shot_subject": 10.0}
NIGHT_BAR = 25.0


@dataclass
class Difference:
    """How far the two arms' results are apart."""

    n_items: int = 0
    n_scores: int = 0  # items whose score differs
    largest: float = 0.0  # of all log-probabilities, nats
    missing: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        few = self.n_scores <= MOST_OTHER_SCORES * self.n_items
        return not self.missing and few and self.largest <= TOLERANCE


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
    parser.add_argument("--adapter", type=Path, help="folder of one; scored after the base")
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
    bench = Bench(suite, data_dir, args.items, args.seed, args.threads, args.adapter)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # lm-eval's side runs on the CPU
    with tempfile.TemporaryDirectory(prefix="pawl-scoring-") as temporary:
        bench.run(Path(temporary), args.model, args.rounds)
    figures, missed = bench.figures()
    finish(
        f"scoring-{suite.name}", f"Scoring against lm_eval --model hf: {suite.name}", figures,
        missed=missed,
        note=f"Whole processes, {args.threads} threads, float32, batches of "
        f"{lm_eval_stock.BATCH_SIZE}, {Path(args.model).name}. lm_eval reads the descriptions "
        "of all its tasks at its start, about 9 s, Pawl only those it scores; both import "
        "torch, transformers and lm-eval.",
        keep=not args.no_record,
    )  # fmt: skip


@dataclass
class Bench:
    """The arms, and what they took."""

    suite: Suite
    data_dir: Path | None
    n_items: int
    seed: int
    n_threads: int
    adapter: Path | None
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    differences: list[Difference] = field(default_factory=list)
    phases: dict[str, float] = field(default_factory=dict)  # of Pawl's last full scoring, seconds
    n_night: int = 0  # items of the last round's night

    def run(self, folder: Path, model: str, n_rounds: int) -> None:
        base = resolve_model(model, cache_dir=folder)
        tasks = lm_eval_stock.drawn_tasks(
            self.suite, self.n_items, self.seed, self.data_dir, folder
        )
        adapters = [None, self.adapter] if self.adapter else [None]
        for n in range(n_rounds):
            ours: list[Scores] = []
            theirs: list[lm_eval_stock.Scores] = []
            for arm in ("pawl", "lm_eval") if n % 2 == 0 else ("lm_eval", "pawl"):
                with self._timed(arm):
                    for i, adapter in enumerate(adapters):
                        if arm == "pawl":
                            ours.append(self._score(base, adapter, folder / f"ours-{n}"))
                        else:
                            out = folder / f"theirs-{n}-{i}"
                            theirs.append(lm_eval_stock.run(
                                tasks, base.model_dir, adapter, out, n_threads=self.n_threads
                            ))  # fmt: skip
            self.phases = ours[-1].manifest["parts"]["benchmarks"]["seconds"]
            self.differences += [
                compare(self.suite, one, other) for one, other in zip(ours, theirs, strict=True)
            ]
            if self.adapter:
                self._night(base, ours[0], folder / f"night-{n}")

    def _night(self, base: BaseModel, champion: Scores, folder: Path) -> None:
        """The adapter against what is known of the base, as far as the test needs."""
        write_scores(folder / "scores" / "champion", champion.items, {})
        watch = write_watch(folder, gate_rules(GateSettings(), self.suite), [])
        with self._timed("night"):
            scores = self._score(base, self.adapter, folder / "kept", watch)
        self.n_night = len(scores.items)

    def _score(
        self, base: BaseModel, adapter: Path | None, scores_dir: Path, watch: Path | None = None
    ) -> Scores:
        return score(
            base, adapter, suite=self.suite, scores_dir=scores_dir, n_items=self.n_items,
            seed=self.seed, data_dir=self.data_dir, n_threads=self.n_threads, watch=watch,
        )  # fmt: skip

    @contextmanager
    def _timed(self, arm: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[arm].append(time.monotonic() - began)
        print(f"round {len(self.seconds[arm])}: {arm} {self.seconds[arm][-1]:.1f} s", flush=True)

    def figures(self) -> tuple[dict[str, object], list[str]]:
        """And what was missed."""
        seconds, phases = self.seconds, self.phases
        worst = max(self.differences, key=lambda d: (len(d.missing), d.n_scores, d.largest))
        same = all(difference.same for difference in self.differences)
        missed = [] if same else [f"the results differ: {worst}"]
        figures: dict[str, object] = {
            "scored": "the base, then an adapter" if self.adapter else "the base",
            "Pawl's scoring": f"{statistics.median(seconds['pawl']):.1f} s, of which in the last "
            f"{phases['loading']:.1f} s imports and loading, {phases['benchmarks']:.1f} s tasks, "
            "requests and scores",
            "lm_eval --model hf": f"{statistics.median(seconds['lm_eval']):.1f} s",
            "seconds of lm_eval / Pawl": ratio_in_words(seconds["lm_eval"], seconds["pawl"]),
        }
        ratio = statistics.median(seconds["lm_eval"]) / statistics.median(seconds["pawl"])
        bar = BARS.get(self.suite.name, 0.0)
        if ratio < bar:
            missed.append(f"{ratio:.2f} times instead of {bar:g}")
        if seconds["night"]:
            figures["Pawl's scoring in a night"] = (
                f"{statistics.median(seconds['night']):.1f} s, {self.n_night:,} items"
            )
            figures["seconds of lm_eval / Pawl in a night"] = ratio_in_words(
                seconds["lm_eval"], seconds["night"]
            )
            ratio = statistics.median(seconds["lm_eval"]) / statistics.median(seconds["night"])
            if bar and ratio < NIGHT_BAR:
                missed.append(f"a night's way {ratio:.1f} times instead of {NIGHT_BAR:g}")
        figures |= {
            "items": f"{worst.n_items:,} of {len(self.suite.benchmarks)} benchmarks "
            f"({self.suite.name})",
            "same results": f"{'yes' if same else 'NO'}: {worst.n_scores} items with another "
            f"score, {len(worst.missing)} unmatched; log-probabilities at most "
            f"{worst.largest:.1e} apart",
        }
        return figures, missed


if __name__ == "__main__":
    main()
