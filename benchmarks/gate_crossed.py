"""Does the gate keep its promises where many people ask the same questions?

    python -m benchmarks.gate_crossed [--runs 200]

40 people flag three prompts each, in one conversation; each question is asked by two on average.
So prompts depend on each other by person and by question, and these cross.

**Noise.** Idle nights as in ``benchmarks.gate``: the challenger is one more random change. What
such a change does on a prompt follows from who asked, from what was asked, from both, or from
neither.

**The test against the champion alone**, without random changes beside: scores that are zero on
average, and depend likewise. It should pass 5 % of nights at 5 %. Beside it stands what would if
each way were tested by itself and the larger p-value counted. Also where few clusters are uneven:
long conversations, and questions that many ask.

**A true fix** answers half of the questions rightly, whoever asks them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, islice, repeat

import numpy as np
from numpy.typing import NDArray

from benchmarks.gate import ALPHA, N_NIGHTS, promotes
from benchmarks.measurements import finish
from evals.evidence import Changes, Clusters, prompt_weights
from evals.statistics import Floats, alpha_of_attempt
from pawl.settings import GateSettings

N_PLACEBOS = GateSettings().n_placebos
N_RATERS, PER_RATER, ASKED_BY = 40, 3, 2
FIXED, FLIPS = 0.5, 0.06  # of flagged prompts: by a true fix, by a random change
LOOKS = (1, 5, 15, 30)
BLOCKS = ((2, 12, 0), (2, 20, 3), (3, 5, 10), (5, 5, 0))
# How much of a prompt's change follows from its rater, its question and itself (variances).
SHARES = {
    "on nothing": (0.0, 0.0, 1.0),
    "on who asked": (0.8, 0.0, 0.2),
    "on what was asked": (0.0, 0.8, 0.2),
    "on both": (0.45, 0.45, 0.1),
}


@dataclass(frozen=True, slots=True)
class Night:
    """The flagged prompts: the numbers of their raters and questions, and what follows."""

    raters: NDArray[np.int64]
    questions: NDArray[np.int64]

    @classmethod
    def of(cls, rng: np.random.Generator, n_raters: int = N_RATERS) -> Night:
        raters = np.repeat(np.arange(n_raters), PER_RATER)
        return cls(raters, rng.integers(0, len(raters) // ASKED_BY, len(raters)))

    @classmethod
    def of_blocks(cls, n: int, size: int, n_apart: int) -> Night:
        """``n`` people with ``size`` questions each that nobody else asks, ``n`` questions that
        ``size`` others ask, and prompts that depend on none."""
        alone = np.arange(n * size + n_apart)
        blocks = np.repeat(np.arange(n), size) + len(alone)
        many, few = alone[: n * size], alone[n * size :]
        return cls(np.concatenate([blocks, many, few + 2 * len(alone)]),
                   np.concatenate([many, blocks, few + 2 * len(alone)]))  # fmt: skip

    @property
    def names(self) -> list[str]:
        return [f"p{i}" for i in self.raters]

    @property
    def clusters(self) -> Clusters:
        """Of fewer than 20 raters these are no way of their own; their conversations are."""
        questions = [[f"q{i}"] for i in self.questions]
        return Clusters.of([f"c{i}" for i in self.raters], questions, self.names, len(questions))

    @property
    def weights(self) -> Floats:
        return prompt_weights([False] * len(self.raters), self.names, 0.0)

    def drawn(self, rng: np.random.Generator, shares: tuple[float, float, float]) -> Floats:
        """One normal number for each prompt, of variance 1."""
        of_rater, of_question, own = np.sqrt(shares)
        by_rater = rng.standard_normal(self.raters.max() + 1)[self.raters]
        by_question = rng.standard_normal(self.questions.max() + 1)[self.questions]
        alone = rng.standard_normal(len(self.raters))
        return np.asarray(of_rater * by_rater + of_question * by_question + own * alone)

    def noise(self, rng: np.random.Generator, shares: tuple[float, float, float]) -> Changes:
        """A random change, as ``benchmarks.gate`` models it: a small common move of the margin, and
        a rate of flips of its own."""
        from scipy.stats import norm

        margins = 0.03 + rng.normal(0, 0.02) + 0.1 * self.drawn(rng, shares)
        rate = FLIPS * np.exp(rng.normal(0, 0.4))
        return Changes(margins, (norm.sf(self.drawn(rng, shares)) < rate).astype(np.float64))

    def fixed(self, rng: np.random.Generator, change: Changes) -> Changes:
        """``change`` with a true improvement of half of the questions."""
        half = (rng.random(len(self.raters)) < FIXED)[self.questions]
        margins = change.margins + half * rng.gamma(4, 0.25, len(half))
        return Changes(margins, np.maximum(change.matches, half))


def wrong_share(rng: np.random.Generator, shares: tuple[float, float, float], n_runs: int) -> float:
    """The share of runs with a wrong promotion in ``N_NIGHTS`` idle nights."""
    n_wrong = 0
    for _ in range(n_runs):
        night = Night.of(rng)
        clusters, weights = night.clusters, night.weights
        for attempt in range(1, N_NIGHTS + 1):
            change, *placebos = [night.noise(rng, shares) for _ in range(1 + N_PLACEBOS)]
            if promotes(change, placebos, weights, clusters, alpha_of_attempt(attempt, ALPHA)):
                n_wrong += 1
                break
    return n_wrong / n_runs


def sizes(
    rng: np.random.Generator, shares: tuple[float, float, float], nights: Iterable[Night],
    n_nights: int,
) -> tuple[str, list[str]]:  # fmt: skip
    """The share of nights on which scores of mean zero pass, at alpha and at the first look's
    level: the test, and each way by itself (by the normal approximation). What is missed: more
    than two standard errors above the level."""
    from scipy.stats import norm

    ps, each = [], []
    for night in islice(nights, n_nights):
        clusters, values = night.clusters, night.drawn(rng, shares)
        ps.append(clusters.p_above(values))
        each.append(norm.sf(values.sum() / np.sqrt(clusters.squares(values)[0])))
    told, missed = [], []
    for level in (ALPHA, alpha_of_attempt(1, ALPHA)):
        passed, alone = (float(np.mean(np.asarray(found) <= level)) for found in (ps, each))
        told.append(f"{passed:.2%} at {level:.2%} (each way by itself: {alone:.2%})")
        if passed > level + 2 * np.sqrt(level * (1 - level) / n_nights):
            missed.append(f"{passed:.2%} at {level:.2%} against the champion")
    return f"passed {', '.join(told)}", missed


def power(rng: np.random.Generator, n_raters: int, look: int, n_runs: int) -> float:
    """The share of true fixes that are promoted, at this look."""
    n_found = 0
    for _ in range(n_runs):
        night = Night.of(rng, n_raters)
        shares = SHARES["on both"]
        change, *placebos = [night.noise(rng, shares) for _ in range(1 + N_PLACEBOS)]
        n_found += promotes(night.fixed(rng, change), placebos, night.weights, night.clusters,
                            alpha_of_attempt(look, ALPHA))  # fmt: skip
    return n_found / n_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    figures, missed, started = {}, [], time.monotonic()
    for name, shares in SHARES.items():
        wrong = wrong_share(rng, shares, args.runs)
        figures[f"30 idle nights, changes depend {name}"] = (
            f"wrongly promoted at least once in {wrong:.1%} of runs"
        )
        if wrong > ALPHA:
            missed.append(f"{wrong:.1%} wrong promotions ({name}), bar {ALPHA:.0%}")
        nights: Iterable[Night] = (Night.of(rng) for _ in count())
        told, above = sizes(rng, shares, nights, 10 * args.runs)
        figures[f"against the champion alone, changes depend {name}"] = told
        missed += [f"{text} ({name})" for text in above]
        print(name, f"{time.monotonic() - started:.0f} s", flush=True)
    for n, size, n_apart in BLOCKS:
        name = f"{n} people with {size} prompts, {n} questions of {size} people, {n_apart} alone"
        nights = repeat(Night.of_blocks(n, size, n_apart))
        told, above = sizes(rng, SHARES["on both"], nights, 10 * args.runs)
        figures[f"against the champion alone, {name}"] = told
        missed += [f"{text} ({name})" for text in above]
        print(name, f"{time.monotonic() - started:.0f} s", flush=True)
    for n_raters in (15, 20, N_RATERS, 2 * N_RATERS):
        counts = [Night.of(rng, n_raters).clusters.count() for _ in range(20)]
        n_runs = max(20, args.runs // 5)
        found = {look: power(rng, n_raters, look, n_runs) for look in LOOKS}
        figures[f"half fixed, {n_raters} people"] = (
            f"{PER_RATER * n_raters} prompts, worth {np.mean(counts):.0f} independent ones; "
            "promoted in "
            + ", ".join(f"{share:.0%} at look {look}" for look, share in found.items())
        )
        if n_raters >= N_RATERS and found[1] < 0.8:
            missed.append(f"{found[1]:.0%} of true fixes ({n_raters} people), bar 80 %")
        print(n_raters, f"{time.monotonic() - started:.0f} s", flush=True)
    finish(
        "gate-crossed", "The gate, where many people ask the same questions", figures,
        missed=missed, keep=not args.no_record,
        note=f"{args.runs:,} runs of 30 nights, {10 * args.runs:,} nights against the champion "
        f"alone, true fixes {max(20, args.runs // 5)} each; {PER_RATER} prompts a person in one "
        f"conversation, each question asked by {ASKED_BY} on average, {N_RATERS} people where "
        f"nothing else is said; {N_PLACEBOS} random changes; alpha {ALPHA:g}.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
