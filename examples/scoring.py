"""Scores of a use case's answers, by libraries, with intervals; the first figure is the main one.

    labels    macro F1, accuracy, confusion matrix (scikit-learn's definitions, evals/metrics.py)
    keywords  F1 of the keywords, mean over the rows; macro F1 of the topics (scikit-learn)
    facts     share of answers that say what the right one says (evals/matching.py); ROUGE-L
    rouge     ROUGE-L, ROUGE-1, ROUGE-2 (rouge-score)
    fields    share of fields whose value is exactly right; of records; of answers that are JSON
    tone      share of answers that have all ``signs`` of the house's tone, and chrF
    chrf      chrF of the corpus (sacrebleu)

The interval of a gain is the percentile bootstrap over test rows, paired (scipy).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.forms import json_value
from evals.matching import match
from evals.metrics import Classification, Interval, chrf, classification, mean, rouge
from examples.use_case import UseCase

N_RESAMPLES = 1000
ALPHA = 0.05
Statistic = Callable[[NDArray[np.intp]], float]
"""The main figure of the test rows with these indices."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures in [0, 1] by name, the main one first. ``table``: of labelled answers."""

    figures: dict[str, Interval]
    statistic: Statistic = field(compare=False)
    table: Classification | None = None

    @property
    def main(self) -> str:
        return next(iter(self.figures))


def score(case: UseCase, answers: Sequence[str]) -> Scores:
    """Score answers to the test rows, in their order."""
    if len(answers) != len(case.test):
        raise ValueError(f"{len(answers)} answers to {len(case.test)} rows")
    return _METRICS[case.description.metric](case, list(answers))


def gain(before: Scores, after: Scores, n_rows: int) -> Interval:
    """By how much the main figure rose, on the same rows."""
    from scipy.stats import bootstrap

    def difference(indices: NDArray[np.intp]) -> float:
        return after.statistic(indices) - before.statistic(indices)

    rows = np.arange(n_rows)
    found = bootstrap(
        (rows,), difference, n_resamples=N_RESAMPLES, vectorized=False, method="percentile",
        confidence_level=1 - ALPHA, rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Interval(difference(rows), float(found.low), float(found.high))


def label_in(answer: str, labels: Sequence[str]) -> str | None:
    """The one label that an answer names; None if it names none or several."""
    named = [name for name in labels if re.search(rf"\b{re.escape(name)}\b", answer, re.I)]
    return named[0] if len(named) == 1 else None


def topic_and_keywords(answer: str) -> tuple[str, frozenset[str]]:
    """Of "Topic: delivery\\nKeywords: parcel, courier"."""
    found = re.split(r"\bkeywords?\s*:", answer, maxsplit=1, flags=re.I)
    topic = re.sub(r"^\s*topic\s*:", "", found[0], flags=re.I).strip(" \n.,;*|")
    listed = re.split(r"[,;\n]", found[1]) if len(found) == 2 else []
    words = (word.strip(" .*-\"'").casefold() for word in listed)
    return topic.casefold(), frozenset(word for word in words if word)


def _labels(case: UseCase, answers: list[str]) -> Scores:
    from sklearn.metrics import f1_score

    labels = case.description.labels
    expected = [row.answer for row in case.test]
    answered = [label_in(answer, labels) for answer in answers]
    table = classification(expected, answered, labels=labels, alpha=ALPHA)
    right, said = np.array(expected), np.array([one or "" for one in answered])

    def macro_f1(indices: NDArray[np.intp]) -> float:
        return float(f1_score(right[indices], said[indices], labels=list(labels), average="macro",
                              zero_division=0))  # fmt: skip

    figures = {"macro F1": table.macro_f1, "accuracy": table.accuracy}
    return Scores(figures, macro_f1, table)


def _keywords(case: UseCase, answers: list[str]) -> Scores:
    from sklearn.metrics import f1_score
    from sklearn.preprocessing import MultiLabelBinarizer

    expected = [topic_and_keywords(row.answer) for row in case.test]
    answered = [topic_and_keywords(answer) for answer in answers]
    words = MultiLabelBinarizer().fit([both[1] for both in expected + answered])
    right, said = (words.transform([both[1] for both in side]) for side in (expected, answered))
    each = [
        float(f1_score(right[i : i + 1], said[i : i + 1], average="samples", zero_division=0))
        for i in range(len(expected))
    ]
    topics = sorted({topic for topic, _ in expected})
    table = classification(
        [topic for topic, _ in expected],
        [label_in(topic, topics) for topic, _ in answered],
        labels=topics,
        alpha=ALPHA,
    )
    figures = {"F1 of keywords": mean(each, alpha=ALPHA), "macro F1 of topics": table.macro_f1}
    return Scores(figures, _mean_of(each), table)


def _facts(case: UseCase, answers: list[str]) -> Scores:
    pairs = list(zip(case.test, answers, strict=True))
    each = [float(match(answer, row.answer, "", row.text).matches) for row, answer in pairs]
    texts = rouge([row.answer for row in case.test], answers, alpha=ALPHA)
    figures = {"right answers": mean(each, alpha=ALPHA), "ROUGE-L": texts["rougeL"]}
    return Scores(figures, _mean_of(each))


def _rouge(case: UseCase, answers: list[str]) -> Scores:
    expected = [row.answer for row in case.test]
    found = rouge(expected, answers, alpha=ALPHA)
    each = [rouge([a], [b])["rougeL"].value for a, b in zip(expected, answers, strict=True)]
    names = {"ROUGE-L": "rougeL", "ROUGE-1": "rouge1", "ROUGE-2": "rouge2"}
    return Scores({shown: found[name] for shown, name in names.items()}, _mean_of(each))


def _fields(case: UseCase, answers: list[str]) -> Scores:
    shares: list[float] = []
    are_json: list[float] = []
    for row, answer in zip(case.test, answers, strict=True):
        expected = _record(row.answer)
        # Also one between other words, or in a fence.
        found = json_value(answer[answer.find("{") : answer.rfind("}") + 1])
        fields = found if isinstance(found, dict) else {}
        right = sum(key in fields and fields[key] == value for key, value in expected.items())
        # A field too many is wrong as well: it would be taken for something that was said.
        shares.append(right / len(expected.keys() | fields.keys()))
        are_json.append(float(isinstance(json_value(answer), dict)))
    figures = {
        "exact fields": mean(shares, alpha=ALPHA),
        "exact records": mean([float(share == 1) for share in shares], alpha=ALPHA),
        "answers that are JSON and nothing else": mean(are_json, alpha=ALPHA),
    }
    return Scores(figures, _mean_of(shares))


def _record(answer: str) -> dict[str, Any]:
    value = json_value(answer)
    if not isinstance(value, dict) or not value:
        raise ValueError(f"no JSON object: {answer!r}")
    return value


def _tone(case: UseCase, answers: list[str]) -> Scores:
    signs = [re.compile(sign) for sign in case.description.signs.values()]
    each = [float(all(sign.search(answer) for sign in signs)) for answer in answers]
    expected = [row.answer for row in case.test]
    figures = {"in the house's tone": mean(each, alpha=ALPHA), "chrF": chrf(expected, answers)}
    return Scores(figures, _mean_of(each))


def _chrf(case: UseCase, answers: list[str]) -> Scores:
    from sacrebleu.metrics import CHRF

    metric = CHRF()
    expected = [row.answer for row in case.test]

    def of_corpus(indices: NDArray[np.intp]) -> float:
        said = [answers[i] for i in indices]
        return metric.corpus_score(said, [[expected[i] for i in indices]]).score / 100

    return Scores({"chrF": chrf(expected, answers, alpha=ALPHA)}, of_corpus)


def _mean_of(each: Sequence[float]) -> Statistic:
    values = np.asarray(each)
    return lambda indices: float(values[indices].mean())


_METRICS: dict[str, Callable[[UseCase, list[str]], Scores]] = {
    "labels": _labels, "keywords": _keywords, "facts": _facts, "rouge": _rouge,
    "fields": _fields, "tone": _tone, "chrf": _chrf,
}  # fmt: skip
