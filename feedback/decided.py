"""What a reviewer decided, to look through: with the answers, and what nights made of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from feedback.lineage import outcomes
from feedback.review_filter import ReviewFilter
from feedback.review_queue import mark_of, parts_of
from feedback.store import Store
from pawl.schemas import (
    Completion,
    DecidedItem,
    DecidedPage,
    DecisionOutcome,
    Feedback,
    Review,
)


def decisions_of(
    store: Store, reviewer: str, only: ReviewFilter, offset: int, limit: int
) -> DecidedPage:
    """A reviewer's decisions that stand, skips aside, newest first; those that were made together
    are one."""
    batches: dict[str, list[Review]] = defaultdict(list)
    for one in store.reviews.current(reviewer=reviewer):
        if one.decision != "skip":
            batches[one.batch_id].append(one)
    answers = {
        (one.completion_id, one.choice_index): one
        for one in store.completions(
            completion_ids=[one.completion_id for batch in batches.values() for one in batch]
        )
    }
    marks = store.reviews.marks(set(answers))
    found: list[tuple[list[Review], list[Completion], list[Feedback]]] = []
    for batch in batches.values():
        keys = [(one.completion_id, one.choice_index) for one in batch]
        own = [answers[key] for key in keys if key in answers]  # others were deleted
        said = [mark for key in keys for mark in marks.get(key, ())]
        if any(only.holds(one, said, batch) for one in own):
            found.append((batch, own, said))
    found.sort(key=lambda one: one[0][0].created_at, reverse=True)
    page = found[offset : offset + limit]
    became = outcomes(store, [(batch[0].created_at, own) for batch, own, _ in page])
    return DecidedPage(
        n_found=len(found),
        decisions=[_item(*one, outcome) for one, outcome in zip(page, became, strict=True)],
    )


def _item(
    batch: Sequence[Review],
    answers: Sequence[Completion],
    said: Sequence[Feedback],
    outcome: DecisionOutcome,
) -> DecidedItem:
    decision, first = batch[0], answers[0]
    return DecidedItem(
        batch_id=decision.batch_id,
        created_at=decision.created_at,
        decision=decision.decision,
        reason=decision.reason,
        correction=decision.correction,
        categories=decision.categories,
        answers=parts_of(answers),
        messages=first.messages,
        completion=first.completion,
        version=first.version,
        answered_at=first.created_at,
        status=first.status,
        marks=[mark_of(one) for one in said],
        outcome=outcome,
    )  # fmt: skip
