"""Each detector on labelled samples: precision and recall stay what they were."""

from __future__ import annotations

import pytest

from feedback.detectors import DETECTORS, detectors
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
