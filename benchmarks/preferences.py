"""What DPO and KTO learn of real preferences: are rows that were not trained on told apart?

    python -m benchmarks.preferences [--part dpo|kto] [--rows 500] [--tokens 512] [--work FOLDER]

On the real model, with ``../shared/feedback``: pairs of which people preferred one answer, and
answers that got a thumb up or down, one of each cluster of like prompts. The rows are dealt into
two folds; each is trained on with the defaults, and the other one scored, so that every row is
held out once. Two figures, in percent, with 95 % intervals (bootstrap over rows):

- pairs: of how many is the preferred answer ranked above the other one;
- thumbs: of how many couples, one liked and one disliked, is the liked one ranked above (the area
  under the ROC curve).

Before: ranked by what the base takes for likely, log p a token. After: by the reward that training
fits, log p less the base's. Bar: after training the interval lies above 50 %, which is chance.

252 of the 507 pairs and 148 of the 297 thumbs have 512 tokens at most, 172,600 in all. About 20
minutes a part on 2 cores that are fast in bf16; about 70 minutes for pairs (16 seconds each) and 25
for thumbs (10 each) on 2 cores without, where a forward pass of 1,000 tokens takes 7.6 CPU seconds
beside other work. These are estimates; each of the trainings ends after 20 minutes by default.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measurements import MISSED, finish
from benchmarks.search import FEEDBACK, clustered, job_of, real_rows
from pawl.errors import PawlError
from pawl.files import read_json, sha256_json, write_json
from pawl.models import BaseModel, resolve_model
from pawl.schemas import TrainingRow
from pawl.settings import DEFAULT_MODEL
from refine.cross_validation import FoldResult, Folds
from refine.held_out import Answers, log_prob
from refine.train import prepare_process
from refine.weights import load_base

N_FOLDS = 2
N_RESAMPLES = 2_000
PARTS = {"dpo": "pair", "kto": "unpaired"}
Rank = Callable[[np.ndarray, np.ndarray], float]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preferences", description=__doc__)
    parser.add_argument("--part", choices=list(PARTS), help="default: both")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rows", type=int, help="of a part, drawn at random; default: all")
    parser.add_argument("--tokens", type=int, default=512, help="of the longest row")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of train")
    parser.add_argument("--work", type=Path, help="kept: a fold is not done again")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args(arguments)
    if args.rows is not None and args.rows < N_FOLDS:
        parser.error(f"--rows {args.rows}: each of {N_FOLDS} folds holds a row out, so {N_FOLDS}")
    if wrong := [option for option in args.set if "=" not in option]:
        parser.error(f"--set {wrong[0]}: give NAME=VALUE")
    if not FEEDBACK.is_dir():
        sys.exit(f"{FEEDBACK} is absent: nothing was measured on real data.")
    prepare_process()
    options: dict[str, Any] = {"max_length_tokens": args.tokens}
    options |= dict(option.split("=", 1) for option in args.set)
    code = 0
    with tempfile.TemporaryDirectory(prefix="pawl-preferences-") as temporary:
        work = args.work or Path(temporary)
        for method in [args.part] if args.part else PARTS:
            try:
                base = resolve_model(args.model, cache_dir=work)
                rows = clustered([row for row in real_rows() if row.kind == PARTS[method]])
                if args.rows is not None:
                    rows = random.Random(0).sample(rows, min(args.rows, len(rows)))
                figures, missed, note = measured(base, work, rows, options | {"method": method})
            except PawlError as error:
                sys.exit(str(error))
            try:
                finish(f"preferences-{method}", f"Held-out preferences, {method.upper()}", figures,
                       missed=missed, note=note, keep=not args.no_record)  # fmt: skip
            except SystemExit:
                code = MISSED
    sys.exit(code)


def measured(
    base: BaseModel, work: Path, rows: Sequence[TrainingRow], options: dict[str, Any]
) -> tuple[dict[str, str], list[str], str]:
    """The figures of a method on rows of its kind, what was missed, and what to know of them.

    Args:
        options: settings of train; its method is dpo or kto.
    """
    method = options["method"]
    key = sha256_json([[row.as_json() for row in rows], options, base.fingerprint])
    folder = work / f"{method}-{key[:12]}"
    job = job_of(base, folder, work, rows, options)
    folds = Folds(job, N_FOLDS, job.plan.n_replay_rows)
    encoded = [row for fold in folds.encoded for row in fold if row]
    if method == "kto" and len({sign for row in encoded for _, _, sign in row.encoded}) < 2:
        raise PawlError(
            "the rows are all liked or all disliked",
            f"one is ranked against the other, and {len(encoded)} rows fit --tokens",
            "Raise --rows or --tokens",
        )
    signs, before = as_likely(base, encoded)
    results = []
    for fold in range(N_FOLDS):
        print(f"{method}: fold {fold + 1} of {N_FOLDS} ...", file=sys.stderr, flush=True)
        kept = folder / f"fold-{fold}.json"
        if not kept.exists():
            write_json(kept, folds(job.plan, fold, math.inf).as_json())
        results.append(FoldResult(**read_json(kept)))
    losses = [loss for result in results for loss in result.losses]
    after = signs * np.array([reward(loss) for loss in losses])
    rank = share_above if method == "dpo" else area
    (low, high), (less, more) = intervals(rank, signs, before, after)
    then, now = rank(signs, before), rank(signs, after)
    n_left_out = sum(result.n_left_out for result in results)
    figures = {
        "rows": f"{len(losses)} pairs"
        if method == "dpo"
        else f"{len(losses)} answers, {int((signs > 0).sum())} of them liked",
        "left out": f"{n_left_out} rows, too long or refused by the chat template",
        "ranked right by the base": f"{then:.1%}",
        "ranked right after training": f"{now:.1%} ({low:.1%} to {high:.1%})",
        "change": f"{100 * (now - then):+.1f} points ({100 * less:+.1f} to {100 * more:+.1f})",
        "held-out loss": f"{np.mean(losses):.4f} nats (the base: {math.log(2):.4f})",
        "minutes of the folds": ", ".join(f"{one.seconds / 60:.1f}" for one in results),
    }
    missed = [] if low > 0.5 else [f"the interval begins at {low:.1%}, chance is 50 %"]
    note = (
        f"Settings of train beside the defaults: {json.dumps(options)}; one row of each cluster of "
        f"like prompts, {N_FOLDS} folds, a training of {job.plan.max_minutes:g} minutes at most."
    )
    return figures, missed, note


def as_likely(base: BaseModel, rows: Sequence[Answers]) -> tuple[np.ndarray, np.ndarray]:
    """Of each row its sign (1; of a disliked answer -1), and what the base thinks of it: of a pair
    how much likelier the preferred answer is, else how likely the answer is; nats a token."""
    import torch

    model = load_base(base.model_dir, torch.float32)
    signs, found = [], []
    with torch.no_grad():
        for row in rows:
            each = [
                (sign, log_prob(model, ids, n_prompt) / (len(ids) - n_prompt))
                for ids, n_prompt, sign in row.encoded
            ]
            is_pair = len(each) == 2
            signs.append(1.0 if is_pair else each[0][0])
            found.append(sum(sign * nats for sign, nats in each) if is_pair else each[0][1])
    return np.array(signs), np.array(found)


def reward(loss: float) -> float:
    """What ``refine.held_out.loss_of`` takes the softplus of, with the other sign: beta times the
    margin."""
    loss = max(loss, 1e-300)
    return -(loss + math.log(-math.expm1(-loss)))  # log(exp(loss) - 1), which may be too large


def share_above(_: np.ndarray, margins: np.ndarray) -> float:
    """Of pairs; equals count half."""
    return float(np.mean((margins > 0) + 0.5 * (margins == 0)))


def area(signs: np.ndarray, values: np.ndarray) -> float:
    """Under the ROC curve, of the liked against the disliked."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(signs > 0, values))


def intervals(
    rank: Rank, signs: np.ndarray, before: np.ndarray, after: np.ndarray
) -> tuple[tuple[float, float], tuple[float, float]]:
    """95 % of the share after, and of after less before, over the same rows."""
    random = np.random.default_rng(0)
    nows: list[float] = []
    gains: list[float] = []
    while len(nows) < N_RESAMPLES:
        drawn = random.integers(0, len(signs), len(signs))
        if rank is area and len(set(signs[drawn])) < 2:
            continue  # of one kind, which has no area
        now = rank(signs[drawn], after[drawn])
        nows.append(now)
        gains.append(now - rank(signs[drawn], before[drawn]))
    (low, high), (less, more) = (np.quantile(some, [0.025, 0.975]) for some in (nows, gains))
    return (float(low), float(high)), (float(less), float(more))


if __name__ == "__main__":
    main()
