"""What the review page says in words: what a key has done, and why an item comes now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serve.pages.markdown import plain_line

MOST_CHARACTERS = 60  # of a question in a line about it
DONE = {"accept": "Accepted", "correct": "Corrected", "skip": "Skipped, left to others"}
SEVERE = 3.0  # as feedback.review_queue counts a category that is for review, or a secret


def done(
    item: Mapping[str, Any], answers: Sequence[Mapping[str, Any]], decision: str, reason: str
) -> str:
    """What was just decided, on which question.

    Args:
        answers: those of the item that were decided.
        reason: of a rejection, as the page names it.
    """
    words = DONE.get(decision) or f"Rejected, {reason[:1].lower()}{reason[1:]}"
    others = len(answers) - 1
    also = f" and {others} near-duplicate{'s' if others > 1 else ''}" if others else ""
    return f"{words}: {about(item)}{also}."


def about(item: Mapping[str, Any]) -> str:
    """An item by its question."""
    return f"“{plain_line(item['answers'][0]['prompt'], MOST_CHARACTERS)}”"


def offered(texts: Sequence[str]) -> str:
    """What came of asking the model again."""
    if not texts:
        return "The model says the same again, or finds no end."
    return "The model's other answers stand below: take one to put it into the editor."


def opened_by_link(item: Mapping[str, Any] | None, named: str) -> str:
    """What is said where the page's address names an answer."""
    if item is None or not holds(item, named):
        return "The answer that the link names is not here: it was erased, or is not to be learned."
    if item["waits"]:
        return "Opened by a link."
    return "Opened by a link. It does not wait for you: decide on it, or skip it to go on."


def holds(item: Mapping[str, Any], named: str) -> bool:
    """Whether an answer, by its id and choice, is one of an item's."""
    return named in [f"{one['completion_id']}:{one['choice_index']}" for one in item["answers"]]


def why_now(item: Mapping[str, Any], me: str = "") -> str:
    """Why an item comes where it comes in the queue, by what ``feedback.review_queue`` counts.

    Args:
        me: who looks at it; a flag of theirs is said to be.
    """
    if not item["waits"]:
        return "Here because a link led to it."
    bad = [one for one in item["marks"]
           if one["thumb"] == "down" or one["categories"] or one["correction"]]  # fmt: skip
    n_bad = len({one["rater_id"] for one in bad})
    n_good = len({one["rater_id"] for one in item["marks"] if one not in bad and one["thumb"]})
    told = [f"{n_bad} {'person' if n_bad == 1 else 'people'} flagged it"]
    if n_good:
        told.append(f"{n_good} like{'s' if n_good == 1 else ''} it")
    if item["severity"] >= SEVERE:
        secret = any(one["name"] == "secrets" for one in item["findings"])
        told.insert(0, "it may hold a secret" if secret else "what it is flagged as is severe")
    if item["uncertainty"] == 1 and not n_good:
        told.append("reviewers disagree")
    if not any(one["categories"] or one["correction"] or one["comment"] for one in bad):
        told.append("nobody said what is wrong")
    own = "Your own flag. " if me in [one["rater_id"] for one in bad] else ""
    return f"{own}Why now: {', '.join(told)}. First comes what is severe, repeated or in doubt."
