"""Metrics of labelled answers and of free texts, against scikit-learn and the libraries' own."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
)

from evals.metrics import chrf, classification, rouge

LABELS = ["bad", "good", "mixed"]
RIGHT = ["good"] * 6 + ["bad"] * 5 + ["mixed"] * 3
SAID = ["good", "good", "good", "bad", "mixed", "good", "bad", "bad", "good", "bad", "bad",
        "good", "mixed", "bad"]  # fmt: skip


def test_scores_are_scikit_learns() -> None:
    found = classification(RIGHT, SAID)
    assert found.labels == tuple(LABELS)
    theirs = precision_recall_fscore_support(RIGHT, SAID, labels=LABELS)
    for i, one in enumerate(found.classes):
        ours = [one.precision.value, one.recall.value, one.f1.value, one.support]
        assert ours == pytest.approx([column[i] for column in theirs])
    macro = precision_recall_fscore_support(RIGHT, SAID, labels=LABELS, average="macro")[:3]
    ours = [found.macro_precision.value, found.macro_recall.value, found.macro_f1.value]
    assert ours == pytest.approx(macro)
    assert found.accuracy.value == pytest.approx(accuracy_score(RIGHT, SAID))
    table = np.array(found.confusion)
    assert (table[:, :3] == confusion_matrix(RIGHT, SAID, labels=LABELS)).all()
    assert table[:, 3].tolist() == [0, 0, 0]


def test_an_answer_that_is_no_label_is_wrong_and_counted() -> None:
    said = [*SAID[:-2], None, "I think it is good"]
    found = classification(RIGHT, said, labels=[*LABELS, "never seen"])
    others = [word if word in LABELS else "?" for word in map(str, said)]
    theirs = precision_recall_fscore_support(
        RIGHT, others, labels=LABELS, average=None, zero_division=0
    )
    assert [one.f1.value for one in found.classes[:3]] == pytest.approx(theirs[2])
    assert found.confusion[2] == (0, 1, 0, 0, 2)
    assert found.classes[3].f1.value == 0
    assert found.accuracy.value == accuracy_score(RIGHT, others)


def test_intervals_hold_the_value_and_grow_with_clusters() -> None:
    right, said = RIGHT * 10, SAID * 10
    alone = classification(right, said)
    grouped = classification(right, said, clusters=[str(i % 7) for i in range(len(right))])
    for one in (alone, grouped):
        for interval in (one.accuracy, one.macro_f1, one.classes[0].f1):
            assert interval.lower < interval.value < interval.upper
    # The binomial's: 1.96 standard errors.
    share = alone.accuracy.value
    error = 1.96 * (share * (1 - share) / len(right)) ** 0.5
    assert alone.accuracy.upper - share == pytest.approx(error, rel=0.15)
    ten_each = classification(right, said, clusters=[str(i // 20) for i in range(len(right))])
    assert ten_each.accuracy.upper != alone.accuracy.upper
    with pytest.raises(ValueError, match="expected labels"):
        classification(RIGHT, SAID, labels=["good"])
    with pytest.raises(ValueError, match="13 answers"):
        classification(RIGHT, SAID[1:])


def test_rouge_is_googles_and_knows_other_scripts() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    right = ["The library opens at nine, except on Mondays.", "Ask Room 4."]
    said = ["On Mondays the library stays closed.", "Ask in room 4!"]
    theirs = RougeScorer(["rougeL"])
    scores = [theirs.score(a, b)["rougeL"].fmeasure for a, b in zip(right, said, strict=True)]
    found = rouge(right, said)["rougeL"]
    assert found.value == pytest.approx(np.mean(scores))
    assert found.lower <= found.value <= found.upper
    assert rouge(["图书馆九点开门"], ["图书馆十点开门"])["rouge1"].value == pytest.approx(6 / 7)


def test_chrf_is_sacrebleus() -> None:
    from sacrebleu.metrics import CHRF

    right = ["The library opens at nine.", "Ask Room 4.", "Grüße aus Köln"]
    said = ["The library is open at nine.", "Room 5", "Gruß aus Köln"]
    found = chrf(right, said)
    assert found.value == pytest.approx(CHRF().corpus_score(said, [right]).score / 100)
    assert found.lower < found.value < found.upper
    assert chrf(right, right).value == 1
