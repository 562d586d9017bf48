"""Detectors: what may be wrong with an answer, each with a name, a score and a threshold.

``DETECTORS`` holds those that come with Pawl, ``detectors()`` adds those of installed packages that
``curation.detectors`` names (``pawl/plugins.py``). Two of them, personal
data and secrets, always keep an answer from being learned (``feedback.targets``); the others are
counted in the snapshot's card and reject where ``curation.reject`` names them. Their precision and
recall on labelled samples are in ``docs/measurements.md`` (``python -m benchmarks.targets``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache

from feedback.detectors import form, language, personal_data, secrets, style
from feedback.detectors.answer import Answer
from pawl import plugins

_log = logging.getLogger("pawl.plugins")


@dataclass(frozen=True, slots=True)
class Detector:
    """A kind of error. A score at or above ``threshold`` is a finding."""

    name: str
    reason: str  # in the words of a counted rejection
    score: Callable[[Answer], float]
    threshold: float
    unit: str  # of the score
    package: str = ""  # that brings it; empty: Pawl

    def finds(self, answer: Answer) -> bool:
        score = self.scored(answer)
        return score is not None and score >= self.threshold

    def scored(self, answer: Answer) -> float | None:
        """The score; None where a detector of another package failed on this answer."""
        if not self.package:
            return self.score(answer)
        try:
            score = float(self.score(answer))
        except (Exception, SystemExit) as err:
            _tell(self.name, self.package, plugins.place_of(err))
            return None
        if not plugins.is_number(score):
            _tell(self.name, self.package, f"a score of {score}")
            return None
        return score


@cache
def _tell(name: str, package: str, problem: str) -> None:
    """Once for each problem: it may be that of every answer."""
    _log.warning("the detector %s of %s fails on answers: %s", name, package, problem)


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


def detectors(more: Collection[str] = ()) -> dict[str, Detector]:
    """Pawl's detectors and ``more``, of installed packages, by name.

    Raises:
        PawlError: as :func:`pawl.plugins.load`.
    """
    found = {detector.name: detector for detector in DETECTORS}
    for plugin in plugins.load_all("detector", more):
        part = plugin.part
        found[plugin.name] = Detector(
            plugin.name, part.reason, part.score, part.threshold, part.unit, plugin.package
        )
    return found
