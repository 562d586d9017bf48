"""An importer: flashcards as text, ``Q: ...`` and ``A: ...``, with a blank line between two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def records(raw: bytes, name: str) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    """Each card as a prompt with its completion, which Pawl reads as the format sft."""
    line = 1
    for card in raw.decode("utf-8").split("\n\n"):
        place, line = f"line {line}", line + card.count("\n") + 2
        question, found, answer = card.strip().partition("\nA:")
        if not card.strip():
            continue
        if not found or not question.startswith("Q:"):
            yield place, "no card of the form Q: ... A: ..."
        else:
            yield place, {"prompt": question.removeprefix("Q:").strip(),
                          "completion": answer.strip()}  # fmt: skip
