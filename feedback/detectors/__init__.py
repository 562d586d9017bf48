"""Detectors: what may be wrong with an answer, each with a name, a score and a threshold.

``DETECTORS`` holds those that come with Pawl, ``detectors()`` adds those of installed packages: an
entry point of the group ``pawl.detectors`` that gives a :class:`Detector`. Two of them, personal
data and secrets, always keep an answer from being learned (``feedback.targets``); the others are
counted in the snapshot's card and reject where ``curation.reject`` names them. Their precision and
recall on labelled samples are in ``docs/measurements.md`` (``python -m benchmarks.targets``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from feedback.detectors import form, language, personal_data, secrets, style
from feedback.detectors.answer import Answer

GROUP = "pawl.detectors"


@dataclass(frozen=True, slots=True)
class Detector:
    """A kind of error. A score at or above ``threshold`` is a finding."""

    name: str
    reason: str  # in the words of a counted rejection
    score: Callable[[Answer], float]
    threshold: float
    unit: str  # of the score

    def finds(self, answer: Answer) -> bool:
        return self.score(answer) >= self.threshold


PERSONAL_DATA = Detector(
    "personal_data", "the answer holds personal data", personal_data.score, 1.0, "pieces found"
)
SECRETS = Detector("secrets", "the answer holds a secret", secrets.score, 1.0, "pieces found")
DETECTORS = (
    PERSONAL_DATA,
    SECRETS,
    Detector(
        "verbose", "the answer is verbose", style.verbosity, 2.0,
        "times as many words as answers to such prompts have",
    ),
    Detector(
        "repetitive", "the answer repeats itself", style.repetition, 0.4,
        "share of the text that stood before",
    ),
    Detector(
        "refusal", "the answer refuses", style.refusal, 1.0, "phrases of a refusal where it begins"
    ),
    Detector(
        "language", "the answer is in another language than the prompt", language.other_language,
        0.9, "probability of two different languages",
    ),
    Detector(
        "spelling", "the answer is misspelled", language.misspelling, 0.04,
        "share of words that are one slip away from a common one",
    ),
    Detector(
        "format", "the answer's format is broken", form.faults, 1.0, "faults"
    ),
)  # fmt: skip


@cache
def detectors() -> dict[str, Detector]:
    """All detectors by name: Pawl's and those of installed packages."""
    found = {detector.name: detector for detector in DETECTORS}
    for entry in entry_points(group=GROUP):
        detector: Detector = entry.load()
        found[detector.name] = detector
    return found
