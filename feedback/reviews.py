"""Reviewers' decisions, as the store keeps them, and how they count.

A decision is a row of ``reviews`` and, in the same transaction, what makes it count in the next
curation: the reviewer's own word on the answer, a row of ``feedback`` with the source ``review``.
There a reviewer's word outweighs others' (``feedback.raters``), so accepting a flag, correcting and
finding an answer fine need no rule of their own. A rejection for another reason is no word about
the answer: it puts aside all that was said of it (``Reviews.put_aside``).
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from feedback.agreement import label_of
from feedback.categories import check_categories
from feedback.current import CLEARABLE, read_current
from feedback.rows import same_text
from feedback.stories import folded
from feedback.tables import REVIEW_COLUMNS, latest, record_from, row_of, where
from feedback.writer import GroupWriter, Write
from pawl.errors import PawlError
from pawl.schemas import Completion, Feedback, RejectReason, Review, ReviewRequest, utc_now

if TYPE_CHECKING:
    from feedback.database import Database
    from feedback.forgotten import Forgotten
    from feedback.store import Store

SOURCE = "review"  # of feedback that is a decision
Answered = tuple[str, int]  # completion_id, choice_index
REASONS: dict[str, str] = {
    "unclear": "it can't be judged",
    "not_meant": "nobody meant it",
    "private": "it holds what is private",
}
_CURRENT = latest(
    "reviews",
    "reviewer, completion_id, choice_index",
    " WHERE decision <> 'undo' AND batch_id NOT IN"
    " (SELECT undoes FROM reviews WHERE undoes IS NOT NULL)",
)


class Reviews:
    """The decisions of one store."""

    def __init__(self, database: Database, writer: GroupWriter, forgotten: Forgotten) -> None:
        self._database, self._writer, self._forgotten = database, writer, forgotten
        self.deciding = threading.Lock()  # a decision rests on those before it

    def current(self, **conditions: str | Sequence[str]) -> list[Review]:
        """Each reviewer's newest decision on each answer that was not undone, skips too, in the
        order of the rows.

        Args:
            conditions: ``reviewer``, ``completion_id``: one, or any of several.
        """
        clause, values = where(**conditions)
        sql = f"SELECT {REVIEW_COLUMNS} FROM ({_CURRENT}){clause} ORDER BY seq"
        return self._read(sql, values)

    def history(self) -> list[Review]:
        """Every row, in order."""
        return self._read(f"SELECT {REVIEW_COLUMNS} FROM reviews ORDER BY seq", [])

    def batch(self, reviewer: str, batch_id: str | None = None) -> list[Review]:
        """The decisions that a reviewer made last and did not undo, or those of a batch; none where
        there are none."""
        return self._read(
            f"SELECT {REVIEW_COLUMNS} FROM reviews WHERE batch_id = (SELECT batch_id FROM reviews"
            " WHERE reviewer = ? AND decision <> 'undo' AND batch_id NOT IN (SELECT undoes FROM"
            " reviews WHERE undoes IS NOT NULL) AND batch_id = coalesce(?::VARCHAR, batch_id)"
            " ORDER BY seq DESC LIMIT 1) ORDER BY seq",
            [reviewer, batch_id],
        )

    def decided(self) -> dict[Answered, dict[str, Review]]:
        """The decisions on each answer, by reviewer; skips are none."""
        found: dict[Answered, dict[str, Review]] = defaultdict(dict)
        for one in self.current():
            if one.decision != "skip":
                found[one.completion_id, one.choice_index][one.reviewer] = one
        return dict(found)

    def put_aside(self) -> dict[Answered, tuple[RejectReason, str]]:
        """The answers of which nothing is learned, with the reason and by whom: more reviewers say
        so than say anything else. What one of them finds private is, whatever others say."""
        aside: dict[Answered, tuple[RejectReason, str]] = {}
        for answer, by in self.decided().items():
            reasons: Counter[RejectReason] = Counter(
                one.reason for one in by.values() if label_of(one) == "aside" and one.reason
            )
            if sum(reasons.values()) * 2 > len(by):
                reason: RejectReason = reasons.most_common(1)[0][0]
                if "private" in reasons:
                    reason = "private"
                aside[answer] = reason, f"by {', '.join(sorted(by))}"
        return aside

    def marks(
        self, answers: Collection[Answered], rater_id: str | None = None
    ) -> dict[Answered, list[Feedback]]:
        """What people, or one of them, say of answers beside decisions, in the order of their
        newest rows: a reviewer's own, too, which their decision may repeat or cover."""
        ids = sorted({completion_id for completion_id, _ in answers})
        clause, values = where(completion_id=ids, rater_id=rater_id)
        marks: dict[Answered, list[Feedback]] = defaultdict(list)
        with self._database.reading() as cursor:
            found = read_current(cursor, f"{clause} AND source <> '{SOURCE}'", values)
        for mark in found:
            marks[mark.completion_id, mark.choice_index].append(mark)
        return dict(marks)

    def standing(
        self, reviewer: str, answers: Sequence[Answered], without: str
    ) -> dict[Answered, Review]:
        """A reviewer's decisions on answers as they are once the batch ``without`` is undone."""
        clause, values = where(
            reviewer=reviewer, completion_id=[completion_id for completion_id, _ in answers]
        )
        rows = self._read(
            f"SELECT {REVIEW_COLUMNS} FROM reviews{clause} AND decision <> 'undo' AND batch_id <> ?"
            " AND batch_id NOT IN (SELECT undoes FROM reviews WHERE undoes IS NOT NULL)"
            " ORDER BY seq",
            [*values, without],
        )
        return {(one.completion_id, one.choice_index): one for one in rows}

    def append(
        self, reviews: Sequence[Review], said: Sequence[Feedback], standing: Iterable[Review]
    ) -> None:
        """Keep decisions with the words that they are, all or none; waits for the commit.

        Args:
            reviews: with a ``created_at`` from before anything of them was read.
            standing: the decisions whose words ``said`` are.

        Raises:
            PawlError: the reviewer, an answer or who wrote a correction that is taken over was
                erased meanwhile (``completion_not_found``), or the store can't take it.
        """
        begun_at = reviews[0].created_at
        for one in (*reviews, *standing):
            ids = (one.reviewer, one.completion_id, one.origin.get("rater_id"))
            if self._forgotten.holds(begun_at, *ids):
                raise unknown_answer(one.completion_id)
        rows = {"reviews": [row_of(one) for one in reviews],
                "feedback": [row_of(one) for one in said]}  # fmt: skip
        self._writer.submit(
            Write({table: found for table, found in rows.items() if found})
        ).result()

    def _read(self, sql: str, values: Sequence[object]) -> list[Review]:
        with self._database.reading() as cursor:
            rows = cursor.execute(sql, list(values)).fetchall()
        return [record_from(Review, row) for row in rows]


def decide(store: Store, request: ReviewRequest, reviewer: str) -> list[Review]:
    """Check and keep a reviewer's decision; waits for the commit.

    Raises:
        PawlError: what does not fit together (``invalid_review``), an unknown category or answer,
            or a store that can't take it.
    """
    _check(store, request)
    batch, now = f"batch-{uuid.uuid4().hex}", utc_now()
    answers = list(dict.fromkeys((one.completion_id, one.choice_index) for one in request.answers))
    found = {(one.completion_id, one.choice_index): one for one in store.completions(
        completion_ids=[completion_id for completion_id, _ in answers])}  # fmt: skip
    for completion_id, choice_index in answers:
        if (completion_id, choice_index) not in found:
            raise unknown_answer(completion_id)
    marks = store.reviews.marks(answers)
    with store.reviews.deciding:
        reviews = [_review(request, found[one], marks.get(one, ()), reviewer, batch, now)
                   for one in answers]  # fmt: skip
        standing = dict(zip(answers, reviews, strict=True))
        said = _words(store, reviewer, reviews, standing)
        store.reviews.append(reviews, said, standing.values())
    return reviews


def undo(store: Store, reviewer: str, batch_id: str | None = None) -> list[Review]:
    """Take back what a reviewer decided last, or the decisions of a batch of theirs; the rows that
    say so. Waits for the commit.

    Raises:
        PawlError: there is nothing to undo (``nothing_to_undo``).
    """
    batch, now = f"batch-{uuid.uuid4().hex}", utc_now()
    with store.reviews.deciding:
        undone = store.reviews.batch(reviewer, batch_id)
        if not undone:
            raise PawlError(
                "there is nothing to undo",
                f"no decision of {reviewer!r} stands" + (f" as {batch_id!r}" if batch_id else ""),
                code="nothing_to_undo",
            )
        rows = [
            Review(f"review-{uuid.uuid4().hex}", batch, now, reviewer, one.completion_id,
                   one.choice_index, "undo", undoes=one.batch_id)
            for one in undone
        ]  # fmt: skip
        answers = [(one.completion_id, one.choice_index) for one in rows]
        standing = store.reviews.standing(reviewer, answers, without=undone[0].batch_id)
        said = _words(store, reviewer, rows, standing)
        store.reviews.append(rows, said, standing.values())
    return rows


def _check(store: Store, request: ReviewRequest) -> None:
    check_categories(request.categories or (), store.categories())
    wants = {"correct": "correction", "reject": "reason"}
    for decision, name in wants.items():
        value = getattr(request, name)
        is_given = bool(value and value.strip())
        if is_given != (request.decision == decision):
            raise PawlError(
                f"{name} came with {request.decision!r}" if is_given else f"{name} is missing",
                f"{decision!r} takes it, and nothing else does",
                code="invalid_review",
                param=name,
            )
    if request.origin is not None and request.decision != "correct":
        raise PawlError("origin came without a correction", "it says where one comes from",
                        code="invalid_review", param="origin")  # fmt: skip


def _review(
    request: ReviewRequest,
    answer: Completion,
    marks: Sequence[Feedback],
    reviewer: str,
    batch: str,
    now: str,
) -> Review:
    correction: str | None = request.correction
    origin: dict[str, Any] = {}
    categories = request.categories
    marks = [mark for mark in marks if mark.thumb != "up"]
    if request.decision == "correct":
        if same_text(correction or "", answer.completion):
            raise PawlError(
                "the correction equals the answer", "so nothing can be learned from it",
                "Reject the flag as 'fine', or change the text",
                code="invalid_review", param="correction",
            )  # fmt: skip
        given = request.origin.model_dump(exclude_none=True) if request.origin else {}
        origin = given or {"how": "written"}
        if origin["how"] == "written":  # the editor begins with what somebody wrote
            theirs = [one for one in marks if same_text(one.correction or "", correction or "")]
            origin = _taken_over(theirs[-1]) if theirs else origin
    elif request.decision == "accept":
        backed = leading_correction(marks)
        if backed is not None:
            correction, origin = backed.correction, _taken_over(backed)
    if request.decision not in ("accept", "correct"):
        categories = []
    elif categories is None:
        categories = list(dict.fromkeys(name for mark in marks for name in mark.categories))
    return Review(f"review-{uuid.uuid4().hex}", batch, now, reviewer, answer.completion_id,
                  answer.choice_index, request.decision, request.reason, correction,
                  list(dict.fromkeys(categories)), origin)  # fmt: skip


def _taken_over(mark: Feedback) -> dict[str, Any]:
    return {"how": "accepted", "feedback_id": mark.feedback_id, "rater_id": mark.rater_id}


def leading_correction(marks: Sequence[Feedback]) -> Feedback | None:
    """The correction that most people wrote, of equals the newest."""
    written = [one for one in marks if one.correction]
    backers = Counter(folded(one.correction) for one in written)
    return max(
        written, key=lambda one: (backers[folded(one.correction)], one.created_at), default=None
    )


def _words(
    store: Store, reviewer: str, rows: Sequence[Review], standing: Mapping[Answered, Review]
) -> list[Feedback]:
    """The rows of feedback that let decisions count: all of it of what the reviewer says of these
    answers now. Where no decision stands, what they had said as anybody may.

    Args:
        standing: the reviewer's decisions on these answers that count from now on.
    """
    answers = [(one.completion_id, one.choice_index) for one in rows]
    own = store.reviews.marks(answers, reviewer)
    ids = sorted({completion_id for completion_id, _ in answers})
    now = {(one.completion_id, one.choice_index): one
           for one in store.current_feedback(ids, reviewer)}  # fmt: skip
    said = []
    for row, answer in zip(rows, answers, strict=True):
        blank = Feedback(f"fb-{uuid.uuid4().hex}", uuid.uuid4().hex, *answer, reviewer,
                         row.created_at, source=SOURCE)  # fmt: skip
        word = _word(standing.get(answer), blank)
        if word is None and answer in own:
            [before] = own[answer]
            word = replace(
                before, feedback_id=blank.feedback_id, source=SOURCE,
                idempotency_key=blank.idempotency_key, created_at=row.created_at,
            )  # fmt: skip
        if word is not None:
            said.append(replace(word, cleared=[n for n in CLEARABLE if not getattr(word, n)]))
        elif answer in now:
            said.append(replace(blank, retracted=True))
    return said


def _word(review: Review | None, blank: Feedback) -> Feedback | None:
    """What a decision says of the answer; None: nothing."""
    label = label_of(review) if review is not None else None
    if review is not None and label == "wrong":
        return replace(blank, thumb="down", categories=review.categories,
                       correction=review.correction)  # fmt: skip
    return replace(blank, thumb="up") if label == "fine" else None


def unknown_answer(completion_id: str) -> PawlError:
    """The refusal of an answer that is not recorded."""
    return PawlError(
        f"completion {completion_id!r} is not known",
        "no answer with this id was recorded here, or it or its correction was erased",
        "Reload the queue",
        code="completion_not_found",
        param="answers",
    )
