"""What DPO and KTO learn of real preferences: are rows that were not trained on told apart?

    python -m benchmarks.preferences [--part dpo|kto] [--tokens 512]

On the real model, with ``../shared/feedback``: pairs of which people preferred one answer, and
answers that got a thumb up or down, one of each cluster of like prompts. The rows are dealt into
two folds; each is trained on with the defaults, and the other one scored, so that every row is
held out once. Two figures, in percent, with 95 % intervals (bootstrap over rows):

- pairs: of how many is the preferred answer ranked above the other one;
- thumbs: of how many couples, one liked and one disliked, is the liked one ranked above (the area
  under the ROC curve).

Before: ranked by what the base takes for likely, log p a token. After: by the reward that training
fits, log p less the base's. There is no bar but that both are measured. About 20 minutes a part on
2 cores that are fast in bf16.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.measurements import finish
from benchmarks.search import FEEDBACK, clustered, job_of, real_rows
from pawl.models import BaseModel, resolve_model
from pawl.settings import DEFAULT_MODEL
from refine.cross_validation import Folds
from refine.held_out import Answers, log_prob
from refine.train import prepare_process
from refine.weights import load_base

N_FOLDS = 2
N_RESAMPLES = 2_000
PARTS = {"dpo": "pair", "kto": "unpaired"}
Rank = Callable[[np.ndarray, np.ndarray], float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=list(PARTS), help="default: both")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--tokens", type=int, default=512, help="of the longest row")
    args = parser.parse_args()
    if not FEEDBACK.is_dir():
        sys.exit(f"{FEEDBACK} is absent: nothing was measured on real data.")
    prepare_process()
    figures: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="pawl-preferences-") as temporary:
        work = Path(temporary)
        base = resolve_model(args.model, cache_dir=work)
        for method in [args.part] if args.part else PARTS:
            figures |= measured(base, work, method, args.tokens)
    note = (
        f"Rows of up to {args.tokens} tokens, one of each cluster of like prompts; {N_FOLDS} "
        "folds, the defaults of train. By chance: 50 %."
    )
    key = "preferences" + (f"-{args.part}" if args.part else "")
    finish(key, "Held-out preferences of people, before and after", figures, note=note)


def measured(base: BaseModel, work: Path, method: str, n_tokens: int) -> dict[str, str]:
    """The figures of one method."""
    rows = clustered([row for row in real_rows() if row.kind == PARTS[method]])
    options = {"method": method, "max_length_tokens": n_tokens}
    job = job_of(base, work / method, work, rows, options)
    folds = Folds(job, N_FOLDS, job.plan.n_replay_rows)
    signs, before = as_likely(base, [row for fold in folds.encoded for row in fold if row])
    results = []
    for fold in range(N_FOLDS):
        print(f"{method}: fold {fold + 1} of {N_FOLDS} ...", file=sys.stderr, flush=True)
        results.append(folds(job.plan, fold, math.inf))
    losses = [loss for result in results for loss in result.losses]
    after = signs * np.array([reward(loss) for loss in losses])
    rank = share_above if method == "dpo" else area
    name = f"{method.upper()}, {len(losses)} " + (
        "pairs" if method == "dpo" else f"answers, {int((signs > 0).sum())} of them liked"
    )
    (low, high), (less, more) = intervals(rank, signs, before, after)
    then, now = rank(signs, before), rank(signs, after)
    return {
        name: f"{then:.1%} ranked right before, {now:.1%} ({low:.1%} to {high:.1%}) after: "
        f"{100 * (now - then):+.1f} points ({100 * less:+.1f} to {100 * more:+.1f})",
        f"{method.upper()}, held-out loss, nats": f"{np.mean(losses):.4f} (the base: 0.6931)",
        f"{method.upper()}, minutes": ", ".join(f"{one.seconds / 60:.1f}" for one in results),
    }


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
    return -math.log(math.expm1(max(loss, 1e-300)))


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
            continue
        now = rank(signs[drawn], after[drawn])
        nows.append(now)
        gains.append(now - rank(signs[drawn], before[drawn]))
    (low, high), (less, more) = (np.quantile(some, [0.025, 0.975]) for some in (nows, gains))
    return (float(low), float(high)), (float(less), float(more))


if __name__ == "__main__":
    main()
