"""How far reviewers agree: Cohen's kappa of two, Krippendorff's alpha of any number.

Both are for labels without an order. Written here, since the one library with alpha for missing
labels (``krippendorff``) would be a dependency for ten lines; tests hold kappa to scikit-learn's
and alpha to a published example.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from pawl.schemas import Agreement, PairAgreement, Review


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | None:
    """Cohen's kappa (Cohen 1960, "A coefficient of agreement for nominal scales"): (p_o - p_e) /
    (1 - p_e), with p_o the share of units with the same label and p_e what chance gives by each
    rater's own shares. None without units, and where chance alone agrees on all (p_e = 1).

    Args:
        first, second: the labels of the same units by two raters.
    """
    n = len(first)
    observed = sum(one == other for one, other in zip(first, second, strict=True))
    ours, theirs = Counter(first), Counter(second)
    by_chance = sum(count * theirs[label] for label, count in ours.items())
    if n == 0 or by_chance == n * n:
        return None
    return (observed * n - by_chance) / (n * n - by_chance)


def krippendorff_alpha(units: Sequence[Sequence[str]]) -> float | None:
    """Krippendorff's alpha for nominal labels: 1 - observed / expected disagreement, from the
    coincidences of labels within units (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability", section B). None where no two labels differ, or none can be paired.

    Args:
        units: the labels of each unit, one a rater who gave one.
    """
    coincidences: dict[tuple[str, str], float] = defaultdict(float)
    for labels in units:
        if len(labels) < 2:
            continue
        counts = Counter(labels)
        for one, n_one in counts.items():
            for other, n_other in counts.items():
                n_pairs = n_one * (n_other - (one == other))
                coincidences[one, other] += n_pairs / (len(labels) - 1)
    totals: dict[str, float] = defaultdict(float)
    for (one, _), count in coincidences.items():
        totals[one] += count
    n = sum(totals.values())
    differing = sum(count for (one, other), count in coincidences.items() if one != other)
    expected = sum(
        totals[one] * totals[other] for one in totals for other in totals if one != other
    )
    return 1 - (n - 1) * differing / expected if expected else None


def label_of(review: Review) -> str:
    """What a decision says: the answer is ``wrong``, ``fine``, put ``aside``; or ``skip``."""
    if review.decision == "reject":
        return "fine" if review.reason == "fine" else "aside"
    return "skip" if review.decision == "skip" else "wrong"


def agreement(decided: Mapping[tuple[str, int], Mapping[str, Review]]) -> Agreement:
    """How far reviewers agree.

    Args:
        decided: by answer, the current decision of each reviewer who made one (no skips).
    """
    labels = {
        answer: {reviewer: label_of(one) for reviewer, one in by.items()}
        for answer, by in decided.items()
        if len(by) > 1
    }
    names = sorted({reviewer for by in labels.values() for reviewer in by})
    pairs = []
    for one, other in combinations(names, 2):
        both = [(by[one], by[other]) for by in labels.values() if one in by and other in by]
        if both:
            first, second = [a for a, _ in both], [b for _, b in both]
            n_same = sum(a == b for a, b in both)
            pairs.append(PairAgreement(reviewers=[one, other], n_answers=len(both), n_same=n_same,
                                       kappa=cohen_kappa(first, second)))  # fmt: skip
    alpha = krippendorff_alpha([list(by.values()) for by in labels.values()])
    n_decided = Counter(reviewer for by in decided.values() for reviewer in by)
    return Agreement(n_answers=len(labels), alpha=alpha, pairs=pairs, n_decided=n_decided)
