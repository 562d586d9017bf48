"""Metrics of the field: labelled answers (accuracy, precision, recall, F1) and free texts (ROUGE,
chrF), each with an interval.

Intervals are percentiles of the bootstrap over clusters of items (Efron and Tibshirani 1993,
chapter 13): a cluster is an item, or a group of items that are not independent. ROUGE is
Lin 2004 by Google's ``rouge-score``, chrF is Popović 2015 by ``sacrebleu``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

N_DRAWS = 1000
ROUGE = ("rouge1", "rouge2", "rougeL")
# Scripts without blanks between words: a token a character. Google's own tokenizer knows a to z.
_UNSPACED = "\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f"
_TOKEN = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure in [0, 1] with its bootstrap interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class ClassScores:
    """Of one label; ``support`` is how many items have it."""

    label: str
    support: int
    precision: Interval
    recall: Interval
    f1: Interval


@dataclass(frozen=True, slots=True)
class Classification:
    """``confusion[i][j]`` counts items of label ``i`` that were answered with label ``j``; the last
    column counts answers that are no label. The macro means are over ``labels``."""

    labels: tuple[str, ...]
    n: int
    accuracy: Interval
    macro_precision: Interval
    macro_recall: Interval
    macro_f1: Interval
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def classification(
    expected: Sequence[str],
    answered: Sequence[str | None],
    *,
    labels: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Classification:
    """Compare answered labels with the right ones.

    Args:
        expected: the right label of each item, at least one.
        answered: what was answered; anything that is no label counts as none of them.
        labels: all there are, in the order of the table; None: those of ``expected``, sorted.
        clusters: the group of each item; None: each its own.
        alpha: the interval leaves out half of it on either side.

    Raises:
        ValueError: no items, sequences of other lengths, or an expected label that is none.
    """
    names = tuple(sorted(set(expected)) if labels is None else labels)
    places = {name: i for i, name in enumerate(names)}
    if not expected or len(expected) != len(answered):
        raise ValueError(f"{len(expected)} labels and {len(answered)} answers")
    if unknown := set(expected) - set(names):
        raise ValueError(f"expected labels that are none: {sorted(unknown)}")
    k = len(names)
    groups = _groups(clusters, len(expected))
    cells = np.zeros((groups.max() + 1, k * (k + 1)))
    for group, right, said in zip(groups, expected, answered, strict=True):
        column = places.get(said, k) if said is not None else k
        cells[group, places[right] * (k + 1) + column] += 1
    whole = _scores(cells.sum(0)[None], k)[0]
    drawn = _scores(_draws(len(cells), seed) @ cells, k)
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2], axis=0)
    found = [Interval(*map(float, three)) for three in zip(whole, low, high, strict=True)]
    confusion = cells.sum(0).reshape(k, k + 1).astype(int)
    per_class = tuple(
        ClassScores(name, int(confusion[i].sum()), *(found[4 + i + k * j] for j in range(3)))
        for i, name in enumerate(names)
    )
    accuracy, precision, recall, f1 = found[:4]
    table = tuple(map(tuple, confusion.tolist()))
    return Classification(names, len(expected), accuracy, precision, recall, f1, per_class, table)


def rouge(
    expected: Sequence[str], answered: Sequence[str], *, alpha: float = 0.05, seed: int = 0
) -> dict[str, Interval]:
    """Mean F-measure of ROUGE-1, ROUGE-2 and ROUGE-L over the items, for texts of any script."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGE), tokenizer=_Tokenizer())
    scores = [scorer.score(right, said) for right, said in zip(expected, answered, strict=True)]
    return {
        name: mean([score[name].fmeasure for score in scores], alpha=alpha, seed=seed)
        for name in ROUGE
    }


def chrf(
    expected: Sequence[str], answered: Sequence[str], *, alpha: float = 0.05, seed: int = 0
) -> Interval:
    """chrF of the corpus (chrF2, as sacrebleu reports it), as a fraction; the bootstrap draws
    items anew and takes the corpus's figure of each draw."""
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    if not expected or len(expected) != len(answered):
        raise ValueError(f"{len(expected)} texts and {len(answered)} answers")
    # A figure of the corpus follows from the sum of the items' counts of n-grams.
    statistics = np.array(
        metric._extract_corpus_statistics(list(answered), [list(expected)]), dtype=float
    )

    def of(sums: Floats) -> float:
        return float(metric._compute_f_score(sums.tolist())) / 100

    draws = _draws(len(statistics), seed) @ statistics
    low, high = np.quantile([of(row) for row in draws], [alpha / 2, 1 - alpha / 2])
    return Interval(of(statistics.sum(0)), float(low), float(high))


def mean(values: Sequence[float], *, alpha: float = 0.05, seed: int = 0) -> Interval:
    """The mean of the items' scores, each in [0, 1]."""
    if not values:
        raise ValueError("no items")
    drawn = _draws(len(values), seed) @ np.asarray(values) / len(values)
    low, high = np.quantile(drawn, [alpha / 2, 1 - alpha / 2])
    return Interval(float(np.mean(values)), float(low), float(high))


class _Tokenizer:
    def tokenize(self, text: str) -> list[str]:
        return _TOKEN.findall(text.lower())


def _groups(clusters: Sequence[str] | None, n: int) -> NDArray[np.intp]:
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters of {n} items")
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def _draws(n: int, seed: int) -> Floats:
    """How often each of ``n`` clusters is in each of ``N_DRAWS`` samples of ``n``."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), size=N_DRAWS).astype(float)


def _scores(cells: Floats, k: int) -> Floats:
    """A row a table: accuracy, the three macro means, then precision, recall and F1 of each label.
    What has no item has a score of 0, as in scikit-learn."""
    tables = cells.reshape(-1, k, k + 1)
    right = np.diagonal(tables[:, :, :k], axis1=1, axis2=2)
    said, has = tables[:, :, :k].sum(1), tables.sum(2)

    def share(part: Floats, of: Floats) -> Floats:
        return np.divide(part, of, out=np.zeros_like(part, dtype=float), where=of > 0)

    three = [share(right, said), share(right, has), share(2 * right, said + has)]
    accuracy = share(right.sum(1), tables.sum((1, 2)))
    macro = [scores.mean(1) for scores in three]
    return np.column_stack([accuracy, *macro, *three])
