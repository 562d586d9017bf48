"""What the demonstration measured: answers before and after the night, compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refine.demo.people import Answer

FIXED_SHARE = 2 / 3  # of a fact's unused phrasings that must be right


def interval(n: int, n_all: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    from scipy.stats import binomtest

    if n_all == 0:
        return 0.0, 1.0
    bounds = binomtest(n, n_all).proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


def compare_topics(before: Sequence[Answer], after: Sequence[Answer]) -> dict[str, Any]:
    """Facts or behaviours, each asked about in phrasings that no feedback used.

    A topic counts as fixed when fewer than ``FIXED_SHARE`` of its phrasings were right before the
    night and at least that share is now; as still wrong when it was not right before and is not
    now.

    Returns:
        ``{"n", "n_fixed", "n_right_before", "fixed_interval", "n_phrasings",
        "n_phrasings_right_before", "n_phrasings_right", "topics": {id:
        {"n", "n_before", "n_after", "was_right", "is_right", "is_fixed", "answers": [{"question",
        "before", "after", "is_right"}]}}}``
    """
    topics: dict[str, dict[str, Any]] = {}
    for old, new in zip(before, after, strict=True):
        topic = topics.setdefault(
            old.ask.topic, {"n": 0, "n_before": 0, "n_after": 0, "answers": []}
        )
        topic["n"] += 1
        topic["n_before"] += old.is_right
        topic["n_after"] += new.is_right
        topic["answers"].append({**_change(old, new), "is_right": new.is_right})
    for topic in topics.values():
        topic["was_right"] = topic["n_before"] >= FIXED_SHARE * topic["n"]
        topic["is_right"] = topic["n_after"] >= FIXED_SHARE * topic["n"]
        topic["is_fixed"] = topic["is_right"] and not topic["was_right"]
    n_fixed = sum(bool(topic["is_fixed"]) for topic in topics.values())
    return {
        "n": len(topics),
        "n_fixed": n_fixed,
        "n_right_before": sum(bool(topic["was_right"]) for topic in topics.values()),
        "fixed_interval": interval(n_fixed, len(topics)),
        "n_phrasings": len(after),
        "n_phrasings_right_before": sum(answer.is_right for answer in before),
        "n_phrasings_right": sum(answer.is_right for answer in after),
        "topics": topics,
    }


def compare_everyday(before: Sequence[Answer], after: Sequence[Answer]) -> dict[str, Any]:
    """The questions that nobody gave feedback on.

    Returns:
        ``{"n", "n_right_before", "n_right", "broken": [{"question", "before", "after"}],
        "newly_right": [...]}``
    """
    pairs = list(zip(before, after, strict=True))
    return {
        "n": len(pairs),
        "n_right_before": sum(old.is_right for old, _ in pairs),
        "n_right": sum(new.is_right for _, new in pairs),
        "broken": [_change(a, b) for a, b in pairs if a.is_right and not b.is_right],
        "newly_right": [_change(a, b) for a, b in pairs if b.is_right and not a.is_right],
    }


def _change(old: Answer, new: Answer) -> dict[str, str]:
    return {"question": old.ask.text, "before": old.text, "after": new.text}
