"""Each detector on labelled samples: precision and recall stay what they were."""

from __future__ import annotations

import time

import pytest

from feedback.detectors import DETECTORS, detectors
from feedback.detectors.answer import Answer
from tests.feedback.detector_samples.load import names, samples

# Lowest precision and recall; what was measured stands in docs/measurements.md.
FLOORS = {
    "format": (0.9, 0.9),
    "language": (0.9, 0.85),
    "personal_data": (0.95, 0.8),
    "refusal": (0.9, 0.85),
    "repetitive": (0.9, 0.9),
    "secrets": (0.95, 0.9),
    "spelling": (0.9, 0.8),
    "verbose": (0.9, 0.9),
}


def test_every_detector_has_samples() -> None:
    assert names() == sorted(FLOORS) == sorted(detector.name for detector in DETECTORS)
    for name in names():
        labels = [sample.label for sample in samples(name)]
        assert len(labels) >= 100
        assert 0.4 <= sum(labels) / len(labels) <= 0.6


@pytest.mark.parametrize("name", sorted(FLOORS))
def test_precision_and_recall(name: str) -> None:
    detector = detectors()[name]
    found = [(sample, detector.finds(sample.answer)) for sample in samples(name)]
    n_right = sum(sample.label for sample, is_found in found if is_found)
    precision = n_right / sum(is_found for _, is_found in found)
    recall = n_right / sum(sample.label for sample, _ in found)
    wrong = [sample.answer.text for sample, is_found in found if is_found != sample.label]
    assert precision >= FLOORS[name][0], wrong
    assert recall >= FLOORS[name][1], wrong


@pytest.mark.parametrize(
    "text", ["a" * 50_000, "{" * 50_000, "password" * 6_000, f"```json\n{'[' * 50_000}\n```"]
)
def test_no_answer_takes_a_detector_long(text: str) -> None:
    """Also what a model that got stuck wrote; a pattern that is tried at each character of it in
    vain took half a minute."""
    for detector in DETECTORS:
        detector.score(Answer("A sentence that lets dictionaries be read."))
    began = time.process_time()
    scores = {one.name: one.score(Answer(text, "Answer in JSON")) for one in DETECTORS}
    assert time.process_time() - began < 5
    assert scores["format"] >= 1  # none of them is JSON
