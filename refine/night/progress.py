"""What a night says: a line at a time while it works, and how it ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Say = Callable[[str], None]

# What a stage of training does, for a reader who does not know its name.
WORDS = {
    "replay": "training: collecting the base's own answers, to keep the rest as it is",
    "sft": "training (SFT)",
    "dpo": "training (DPO)",
    "kto": "training (KTO)",
    "strength": "training: choosing how strong the adapter must be",
    "probe": "training: recording what the adapter says, to recognise it when it is live",
}


@dataclass(frozen=True, slots=True)
class NightResult:
    """How the night ended.

    ``outcome``: promote, reject, not_enough_evidence, no_verdict (the gate's), or no_run.
    ``promotion``: live, pending, indistinguishable, refused; None where nothing was promoted.
    """

    run_id: str
    run_dir: Path
    outcome: str
    reason: str
    promotion: str | None = None
    version: str | None = None

    def describe(self) -> str:
        """One line for a person."""
        what = {
            "no_run": "No training tonight",
            "promote": "The challenger passed the gate",
            "reject": "The challenger was rejected",
            "not_enough_evidence": "Not enough evidence to promote",
            "no_verdict": "No verdict",
        }[self.outcome]
        after = f" {self.version}: {self.promotion}." if self.version else ""
        report = self.run_dir / "report.html"
        where = f"\nReport: {report}" if report.exists() else ""
        return f"{what}: {self.reason.rstrip('.')}.{after}{where}"


class Progress:
    """Turns a child's progress into a line for every new stage and every tenth of it."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._seen: tuple[str, int] | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        if "stage" not in event:
            return
        stage = str(event["stage"])
        if "fraction" not in event and self._seen and self._seen[0] == stage:
            return
        tenths = int(float(event.get("fraction", 0.0)) * 10)
        if self._seen == (stage, tenths) or stage == "done":
            return
        self._seen = (stage, tenths)
        words = WORDS.get(stage, stage)
        self._say(f"{words}: {tenths * 10} %" if "fraction" in event else words)


def describe_counts(counts: dict[str, dict[str, int]]) -> str:
    parts = [
        f"{n} {kind} {split}" for split, kinds in counts.items() for kind, n in kinds.items() if n
    ]
    return ", ".join(parts) or "no rows"
