"""A detector: an answer that is written in capitals."""

from __future__ import annotations

from pawl.protocols import Answer

reason = "the answer shouts"
unit = "share of words in capitals"
threshold = 0.5


def score(answer: Answer) -> float:
    """Of the words with three letters or more; abbreviations alone (NATO, HTML) are few of them."""
    words = [word for word in answer.text.split() if sum(map(str.isalpha, word)) >= 3]
    return sum(map(str.isupper, words)) / max(1, len(words))
