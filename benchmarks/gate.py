"""Does the gate keep its promises? Nights simulated by the thousand, through the gate's own tests.

    python -m benchmarks.gate [--runs 1000] [--scores benchmarks/gate_scores.json]

**People's prompts.** An idle night's challenger is one more random change: it and the placebos are
drawn from the same adapters of noise. With ``--scores`` those are real ones, scored prompt by
prompt on the real model (``python -m benchmarks.noise`` writes the file); without the file they are
drawn from a model of them, and the section says so. A wrong promotion is one that people's prompts
let through, whatever the benchmarks would have said. A true fix adds to a random change that half
of the flagged prompts are answered rightly and their margin rises; of the answers that nobody
flagged it breaks 5 %, whatever the random change would have broken (real ones a third and more).

**Benchmarks.** Six of the official suite's sizes, items in a random order, batches of 50 for each
that is still open (``evals.sequential``), with a margin of 3 points. Six items in a hundred flip.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measurements import finish
from evals.evidence import (
    MAX_STEP,
    Changes,
    Clusters,
    against_placebos,
    people_test,
    prompt_weights,
)
from evals.sequential import EARLY_SHARE, first_rejection
from evals.statistics import Floats, alpha_of_attempt, difference_interval, p_above, p_below
from pawl.files import read_json
from pawl.settings import GateSettings

ALPHA = GateSettings().alpha
N_PLACEBOS = GateSettings().n_placebos
N_NIGHTS, N_FLAGGED = 30, 40
# Items of the official suite, and in how many of a hundred the challenger differs.
SIZES = {"arc_easy": 2376, "arc_challenge": 1172, "hellaswag": 10_042, "mmlu": 14_042,
         "truthfulqa_mc1": 817, "truthfulqa_mc2": 817}  # fmt: skip
FLIPS, MARGIN, BATCH = 0.06, 0.03, 50
SCORES = Path(__file__).with_name("gate_scores.json")


@dataclass(frozen=True, slots=True)
class Pool:
    """Random adapters' changes: ``margins`` and ``matches`` of flagged prompts (adapters, prompts),
    ``controls`` (adapters, answers); None: drawn from a model."""

    margins: Floats | None = None
    matches: Floats | None = None
    controls: Floats | None = None

    @property
    def n_placebos(self) -> int:
        """As many as in a night by the defaults, or all adapters but the challenger."""
        return N_PLACEBOS if self.margins is None else min(N_PLACEBOS, len(self.margins) - 1)

    def night(
        self, rng: np.random.Generator, n: int, n_controls: int, n_adapters: int
    ) -> list[Changes]:
        """Random adapters on one night's prompts."""
        if self.margins is None or self.matches is None or self.controls is None:
            return [_modelled(rng, n, n_controls) for _ in range(n_adapters)]
        who = rng.choice(len(self.margins), n_adapters, replace=False)
        flagged = rng.choice(self.margins.shape[1], n, replace=False)
        controls = rng.choice(self.controls.shape[1], n_controls, replace=True)
        return [
            Changes(
                np.concatenate([self.margins[k][flagged], np.zeros(n_controls)]),
                np.concatenate([self.matches[k][flagged], self.controls[k][controls]]),
            )
            for k in who
        ]


def _modelled(rng: np.random.Generator, n: int, n_controls: int) -> Changes:
    """One adapter of noise: a small common move and heavy tails of the margin, a rate of flips of
    its own. 6 % of flagged prompts are fixed, as 6.9 % of 116 were on the first stage's model
    (32 of 464, four adapters); of unflagged answers 2 % break and 0.3 % are fixed."""
    margins = 0.03 + rng.normal(0, 0.02) + 0.1 * rng.standard_t(5, n) / 1.29
    rate = np.exp(rng.normal(0, 0.4))
    matches = np.zeros(n + n_controls)
    matches[:n] = rng.random(n) < 0.06 * rate
    matches[n:] = (rng.random(n_controls) < 0.003) - 1.0 * (rng.random(n_controls) < 0.02 * rate)
    return Changes(np.concatenate([margins, np.zeros(n_controls)]), matches)


def _fixed(rng: np.random.Generator, change: Changes, n: int, *, free_text: bool) -> Changes:
    """``change`` with a true improvement: half of the flagged prompts fixed and 5 % of the controls
    broken; of free text no answer matches, and every margin rises by 0.1 nats."""
    margins, matches = change.margins.copy(), change.matches.copy()
    if free_text:
        margins[:n] += 0.1
        matches[:] = 0.0
    else:
        half = rng.random(n) < 0.5
        margins[:n] += half * rng.gamma(4, 0.25, n)  # on the real model the mean was 3 nats
        matches[:n] = np.maximum(matches[:n], half)
        matches[n:] = -1.0 * (rng.random(len(matches) - n) < 0.05)
    return Changes(margins, matches)


def promotes(
    challenger: Changes, placebos: list[Changes], weights: Floats, clusters: Clusters, level: float
) -> bool:
    """What the gate says. The cheap half first: only where it passes are signs flipped."""
    gain = float(weights @ challenger.scores() / weights.sum())
    if against_placebos(gain, placebos, clusters, weights)[1] > level:
        return False
    return people_test(challenger, placebos, clusters, weights).p <= level


@dataclass(frozen=True, slots=True)
class People:
    """``wrong``: share of runs with a wrong promotion in 30 idle nights; ``naive``: the same for a
    sign test of the flagged prompts at 5 % each night; ``found``: share of true fixes promoted, by
    the number of the look; ``free``: the same of free text at the first look."""

    wrong: float
    naive: float
    found: dict[int, float]
    free: float


def simulate_people(pool: Pool, per_flag: float, n_runs: int, seed: int) -> People:
    rng = np.random.default_rng(seed)
    n_controls = round(min(100, per_flag * N_FLAGGED))
    n = N_FLAGGED + n_controls
    weights = prompt_weights(
        [i >= N_FLAGGED for i in range(n)], [str(i) for i in range(n)], per_flag
    )
    clusters = Clusters((tuple(map(str, range(n))),))
    wrong = naive = 0
    for _ in range(n_runs):
        was_wrong = was_naive = False
        for attempt in range(1, N_NIGHTS + 1):
            challenger, *placebos = pool.night(rng, N_FLAGGED, n_controls, 1 + pool.n_placebos)
            level = alpha_of_attempt(attempt, ALPHA)
            was_wrong |= promotes(challenger, placebos, weights, clusters, level)
            was_naive |= _sign_test(challenger.scores()[:N_FLAGGED]) <= ALPHA
        wrong += was_wrong
        naive += was_naive
    found = {}
    for look in (1, 5, 15, 30):
        found[look] = _power(rng, pool, n_controls, weights, clusters, look, n_runs, False)
    free = _power(rng, pool, n_controls, weights, clusters, 1, n_runs, True)
    return People(wrong / n_runs, naive / n_runs, found, free)


def _power(
    rng: np.random.Generator, pool: Pool, n_controls: int, weights: Floats, clusters: Clusters,
    look: int, n_runs: int, free_text: bool,
) -> float:  # fmt: skip
    level, n_found, n_runs = alpha_of_attempt(look, ALPHA), 0, max(20, n_runs // 5)
    for _ in range(n_runs):
        change, *placebos = pool.night(rng, N_FLAGGED, n_controls, 1 + pool.n_placebos)
        real = _fixed(rng, change, N_FLAGGED, free_text=free_text)
        if free_text:
            placebos = [Changes(p.margins, np.zeros_like(p.matches)) for p in placebos]
        n_found += promotes(real, placebos, weights, clusters, level)
    return n_found / n_runs


def _sign_test(scores: Floats) -> float:
    """Normal approximation of the sign flip, good enough for a share of runs."""
    from scipy.stats import norm

    clipped = np.clip(scores, -MAX_STEP - 1, MAX_STEP + 1)
    return float(norm.sf(clipped.sum() / max(1e-12, np.sqrt((clipped**2).sum()))))


@dataclass(frozen=True, slots=True)
class Benchmarks:
    """``promoted``: share let through by the benchmarks; ``rejected``; ``items``: median share of
    all items that were scored before it was decided."""

    promoted: float
    rejected: float
    items: float


def simulate_benchmarks(losses: dict[str, float], n_runs: int, seed: int) -> Benchmarks:
    """Nights on six benchmarks, of which some lose (fractions, of all their items)."""
    rng = np.random.default_rng(seed)
    n_promoted = n_rejected = 0
    shares = []
    for _ in range(n_runs):
        ends: dict[str, int] = {}
        lost_at, is_open = [], False
        for name, size in SIZES.items():
            order = _items(rng, size, losses.get(name, 0.0))
            level = ALPHA * EARLY_SHARE
            passed = first_rejection(order, -MARGIN, level) or size + BATCH
            lost = first_rejection([-x for x in order], 0.0, level / len(SIZES)) or size + BATCH
            if min(passed, lost) > size:  # the test of all items, at what is left of alpha
                end = difference_interval(order, list(map(str, range(size))), alpha=ALPHA - level)
                passed = size if p_above(end, -MARGIN) <= ALPHA - level else passed
                lost = size if p_below(end, 0.0) <= (ALPHA - level) / len(SIZES) else lost
            ends[name] = min(passed, lost, size)
            is_open |= min(passed, lost) > size
            if lost < passed:
                lost_at.append(lost)
        stop = min(lost_at, default=max(SIZES.values()))
        rounds = -(-stop // BATCH) * BATCH
        shares.append(
            sum(min(-(-ends[name] // BATCH) * BATCH, rounds, size) for name, size in SIZES.items())
            / sum(SIZES.values())
        )
        n_rejected += bool(lost_at)
        n_promoted += not lost_at and not is_open
    return Benchmarks(n_promoted / n_runs, n_rejected / n_runs, float(np.median(shares)))


def _items(rng: np.random.Generator, size: int, loss: float) -> list[float]:
    """All items of a benchmark, whose mean is minus ``loss``, in a random order."""
    flips = max(FLIPS, loss)
    n_lost, n_won = round(size * (flips + loss) / 2), round(size * (flips - loss) / 2)
    values = np.zeros(size)
    values[:n_lost], values[n_lost : n_lost + n_won] = -1.0, 1.0
    return list(rng.permutation(values))


def read_pools(path: Path) -> dict[str, Pool]:
    """Real adapters' changes by their size; empty where the file is absent."""
    if not path.exists():
        return {}
    return {
        size: Pool(*(np.asarray(one[key], dtype=np.float64) for key in ("margins", "matches",
                                                                        "controls")))
        for size, one in read_json(path)["sizes"].items()
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--scores", type=Path, default=SCORES)
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    pools = {f"real adapters {k}": v for k, v in read_pools(args.scores).items()}
    pools |= {"modelled adapters": Pool()}
    figures, missed = {}, []
    started = time.monotonic()
    for name, pool in pools.items():
        for per_flag in (0.0, 1.0, 2.0):
            result = simulate_people(pool, per_flag, args.runs, seed=int(per_flag))
            where = f"{name}, {per_flag:g} unflagged for each flagged conversation"
            figures[f"30 idle nights, {where}"] = (
                f"wrongly promoted at least once in {result.wrong:.1%} of runs (a plain sign test "
                f"every night: {result.naive:.0%})"
            )
            figures[f"half of 40 fixed, 5 % of unflagged broken, {where}"] = (
                "promoted in "
                + ", ".join(f"{share:.0%} at look {look}" for look, share in result.found.items())
                + f"; free text moved by 0.1 nats: {result.free:.0%} at look 1"
            )
            if result.wrong > 0.05:
                missed.append(f"{result.wrong:.1%} wrong promotions ({where}), bar 5 %")
            if result.found[1] < 0.8:
                missed.append(f"{result.found[1]:.0%} of true fixes ({where}), bar 80 %")
            print(where, result, f"{time.monotonic() - started:.0f} s", flush=True)
    for label, losses, most in (
        ("nothing changed", {}, 0.25),
        *((f"{name} loses 3 points", {name: 0.03}, 0.10) for name in SIZES),
    ):
        found = simulate_benchmarks(losses, args.runs, seed=7)
        figures[f"benchmarks, {label}"] = (
            f"let through in {found.promoted:.1%}, rejected in {found.rejected:.1%}, decided with "
            f"{found.items:.1%} of the items (median)"
        )
        if losses and found.promoted > 0.02:
            missed.append(f"{label}: let through in {found.promoted:.1%}, bar 2 %")
        if found.items > most:
            missed.append(f"{label}: decided with {found.items:.1%} of the items, bar {most:.0%}")
        print(label, found, f"{time.monotonic() - started:.0f} s", flush=True)
    finish(
        "gate", "The gate, simulated", figures, missed=missed, keep=not args.no_record,
        note=f"{args.runs:,} runs each, true fixes a fifth of that; {N_FLAGGED} "
        f"flagged prompts a night, each in a conversation of its own; placebos "
        f"{', '.join(f'{pool.n_placebos} ({name})' for name, pool in pools.items())}; "
        f"alpha {ALPHA:g}. "
        + ("" if len(pools) > 1 else "No real adapters' scores were there (benchmarks.noise)."),
    )  # fmt: skip


if __name__ == "__main__":
    main()
