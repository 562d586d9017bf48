"""What a reviewer should look at next: flagged answers, the most useful first.

Answers to nearly the same prompt that say nearly the same (``feedback.near_duplicates``) are one
item and decided together. An item's priority is severity + repetition + 2 * uncertainty:

    severity      3 for a category that is for review (unsafe, biased) or a secret in the answer,
                  1 for any other category, 0.5 for none
    repetition    log2(1 + people who flagged one of its answers)
    uncertainty   1 where reviewers disagree, else how evenly people do (1: as many like it), at
                  least 0.5 where nobody said what is wrong

An answer waits for a reviewer who has not decided it, until as many reviewers as are asked for have
and most of them agree.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.agreement import agreement, label_of
from feedback.conversations import LEARNED
from feedback.current import current_feedback_sql
from feedback.detectors import SECRETS, detectors
from feedback.detectors.answer import Answer
from feedback.near_duplicates import clusters, comparable
from feedback.review_filter import EVERYTHING, ReviewFilter
from feedback.reviews import SOURCE, Answered
from feedback.rows import problem_of_prompt
from feedback.splits import question_of
from feedback.store import Store
from feedback.traffic import IS_FLAG
from pawl.schemas import (
    Agreement,
    Completion,
    Feedback,
    Review,
    ReviewBacklog,
    ReviewFinding,
    ReviewItem,
    ReviewMark,
    ReviewPart,
    ReviewQueue,
)
from pawl.settings import Settings

# The newest that wait are grouped, ordered and kept in memory; the others follow them. Bytes of
# answers with their prompts.
MOST_ANSWERS, MOST_BYTES = 2_000, 64_000_000
MOST_PARTS = 50  # of an item that are shown and decided at once
NOT_CATEGORISED, CATEGORISED, SEVERE = 0.5, 1.0, 3.0
LONE_THUMB = 0.5
_NOT_CLOSED = (
    "(completion_id, choice_index) NOT IN (SELECT (unnest(?::VARCHAR[]), unnest(?::BIGINT[])))"
)


@dataclass(slots=True)
class Group:
    """Answers that are decided together, the first flagged one first, and what people said."""

    answers: list[Completion]
    marks: list[Feedback]
    severity: float
    repetition: float
    doubt: float

    def priority(self, disputed: bool) -> float:
        return self.severity + self.repetition + 2 * (1.0 if disputed else self.doubt)


class Queue:
    """The queue of one store; keeps its groups until people say something new, or rows go."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings
        self._grouping = threading.Lock()
        self._groups: tuple[Any, list[Group]] = (None, [])
        self._left_out: set[Answered] = set()  # closed answers, of which no group was made

    def of(
        self,
        reviewer: str,
        limit: int,
        skipped: bool = False,
        first: str = "",
        only: ReviewFilter = EVERYTHING,
        answer: str = "",
    ) -> ReviewQueue:
        """What waits for a reviewer, or with ``skipped`` what they left to others.

        Args:
            limit: items in the answer; all are counted.
            first: the item that comes first whatever its priority, by the id of one of its answers
                (``ReviewItem.item_id``), and is in it whatever ``only`` says.
            only: items of which an answer meets these conditions.
            answer: as ``first``, and if this answer does not wait, it comes first all the same,
                alone and not counted.
        """
        first = first or answer
        n_reviewers = self._settings.review.reviewers
        decided = self._store.reviews.decided()
        own = {
            (one.completion_id, one.choice_index): one.decision
            for one in self._store.reviews.current(reviewer=reviewer)
        }
        closed = {answer for answer, by in decided.items() if _is_closed(by.values(), n_reviewers)}
        found: list[tuple[float, Group, list[Completion]]] = []
        n_other = n_waiting = 0
        versions: set[str] = set()
        for group in self._grouped(closed):
            waits = [one for one in group.answers if _key(one) not in closed]
            mine = [one for one in waits if _key(one) not in own]
            left = [one for one in waits if own.get(_key(one)) == "skip"]
            n_other += bool(mine if skipped else left)
            chosen = left if skipped else mine
            n_waiting += bool(chosen)
            versions.update(one.version for one in chosen)
            if any(_id(one) == first or only.holds(one, group.marks) for one in chosen):
                disputed = _is_disputed(chosen, decided)
                found.append((group.priority(disputed), group, chosen))
        found.sort(
            key=lambda one: (
                all(_id(answer) != first for answer in one[2]), -one[0], one[2][0].created_at,
            )
        )  # fmt: skip
        items = [
            self._item(group, answers, priority, decided, reviewer, n_reviewers)
            for priority, group, answers in found[:limit]
        ]
        named = {_id(one) for _, _, chosen in found[:1] for one in chosen}
        if answer and answer not in named and (alone := self._alone(answer)) is not None:
            of_it = self._item(alone, alone.answers, 0.0, decided, reviewer, n_reviewers)
            items = [of_it.model_copy(update={"waits": False}), *items][:limit]
        n_open, n_skipped = (n_other, n_waiting) if skipped else (n_waiting, n_other)
        n_decided = sum(decision != "skip" for decision in own.values())
        return ReviewQueue(
            items=items, n_found=len(found), n_open=n_open, n_skipped=n_skipped,
            n_decided=n_decided, n_reviewers=n_reviewers, versions=sorted(versions),
            guidelines=self._settings.review.guidelines,
        )  # fmt: skip

    def agreement(self) -> Agreement:
        """How far reviewers agree so far."""
        return agreement(self._store.reviews.decided())

    def backlog(self) -> ReviewBacklog:
        """How many flagged answers wait, whoever looks at them."""
        decided = self._store.reviews.decided()
        n_reviewers = self._settings.review.reviewers
        closed = [one for one, by in decided.items() if _is_closed(by.values(), n_reviewers)]
        words = current_feedback_sql(f" WHERE source <> '{SOURCE}'")
        [(n_waiting, oldest)] = self._store.read(
            "SELECT count(*), min(flagged_at) FROM (SELECT completion_id, choice_index,"
            f" min(created_at) AS flagged_at FROM ({words}) WHERE {IS_FLAG} AND {_NOT_CLOSED}"
            " GROUP BY ALL) JOIN (SELECT completion_id, choice_index FROM completions"
            f" WHERE {LEARNED}) USING (completion_id, choice_index)",
            [[completion_id for completion_id, _ in closed], [choice for _, choice in closed]],
        )
        return ReviewBacklog(n_waiting=n_waiting, oldest_at=oldest, n_decided=len(closed),
                             n_begun=len(decided) - len(closed),
                             n_reviewers=n_reviewers)  # fmt: skip

    def _grouped(self, closed: Collection[Answered]) -> list[Group]:
        """The groups of the newest flagged answers that are not closed."""
        with self._grouping:
            [newest] = self._store.read(
                f"SELECT (SELECT coalesce(max(seq), 0) FROM feedback WHERE source <> '{SOURCE}'),"
                " (SELECT coalesce(max(seq), 0) FROM conversation_notes)"
            )
            known, groups = self._groups
            treatments = {one.key: one.treatment for one in self._store.categories()}

            def state() -> Any:
                # Decisions close answers one by one; beyond the bounds others follow, now and then.
                n_answers = sum(len(group.answers) for group in groups)
                return (self._store.rewriter.n_rewrites, newest, tuple(treatments.items()),
                        len(closed) // max(1, n_answers // 4))  # fmt: skip

            is_open_again = not self._left_out <= set(closed)  # undone, or contradicted
            if known != state() or is_open_again:
                groups, self._left_out = self._group(closed, treatments), set(closed)
                self._groups = (state(), groups)
            return groups

    def _group(self, closed: Collection[Answered], treatments: dict[str, str]) -> list[Group]:
        ids = [completion_id for completion_id, _ in closed]
        choices = [choice_index for _, choice_index in closed]
        words = current_feedback_sql(f" WHERE source <> '{SOURCE}'")
        flagged = self._store.read(
            f"SELECT completion_id, choice_index FROM ({words}) JOIN (SELECT completion_id,"
            f" choice_index FROM completions WHERE {LEARNED}) USING (completion_id, choice_index)"
            f" WHERE {IS_FLAG} AND {_NOT_CLOSED} GROUP BY ALL ORDER BY max(seq) DESC LIMIT ?",
            [ids, choices, MOST_ANSWERS],
        )
        wanted = {(str(completion_id), int(choice)) for completion_id, choice in flagged}
        completion_ids = sorted({completion_id for completion_id, _ in wanted})
        found = self._store.completions(completion_ids=completion_ids, newest_bytes=MOST_BYTES)
        answers = [one for one in found if _key(one) in wanted]
        marks = self._store.reviews.marks(wanted)
        groups = []
        for together in _near_duplicates(answers):
            said = [mark for one in together for mark in marks.get(_key(one), ())]
            groups.append(_weighed(together, said, treatments))
        return groups

    def _alone(self, item_id: str) -> Group | None:
        """An answer whatever was said or decided of it; None where there is none to look at."""
        completion_id, _, choice = item_id.rpartition(":")
        if not (choice.isdecimal() and len(choice) < 4):
            return None
        answer = self._store.get_completion(completion_id, int(choice))
        kept_out = self._store.conversations.unlearned()
        if answer is None or (answer.conversation_id, answer.rater_id) in kept_out:
            return None
        marks = self._store.reviews.marks([_key(answer)]).get(_key(answer), [])
        treatments = {one.key: one.treatment for one in self._store.categories()}
        return _weighed([answer], marks, treatments)

    def _item(
        self,
        group: Group,
        answers: Sequence[Completion],
        priority: float,
        decided: dict[Answered, dict[str, Review]],
        reviewer: str,
        n_reviewers: int,
    ) -> ReviewItem:
        answers = answers[:MOST_PARTS]
        first = answers[0]
        decisions: list[Review] = []
        n_hidden = 0
        for one in answers:
            by = decided.get(_key(one), {})
            # A second opinion is asked for, not an echo.
            shows = len(by) >= n_reviewers or reviewer in by
            decisions += by.values() if shows else ()
            n_hidden += 0 if shows else len(by)
        disputed = _is_disputed(answers, decided)
        return ReviewItem(
            item_id=_id(first),
            answers=parts_of(answers),
            messages=first.messages,
            completion=first.completion,
            version=first.version,
            created_at=first.created_at,
            conversation_id=first.conversation_id,
            status=first.status,
            marks=[mark_of(one) for one in group.marks],
            findings=findings(first, self._settings),
            decisions=decisions,
            n_hidden_decisions=n_hidden,
            severity=group.severity,
            repetition=round(group.repetition, 2),
            uncertainty=1.0 if disputed else round(group.doubt, 2),
            priority=round(priority, 2),
        )  # fmt: skip


def findings(answer: Completion, settings: Settings) -> list[ReviewFinding]:
    """What the detectors find in an answer."""
    own = settings.curation
    public = frozenset(contact.strip().lower() for contact in own.public_contacts)
    told = Answer(answer.completion, asked(answer), None, public, own.phone_regions)
    found = []
    for name, detector in detectors(own.detectors).items():
        score = detector.scored(told)
        if score is not None and score >= detector.threshold:
            found.append(
                ReviewFinding(name=name, reason=detector.reason, score=round(score, 3),
                              threshold=detector.threshold, unit=detector.unit)
            )  # fmt: skip
    return found


def _is_closed(decisions: Iterable[Review], n_reviewers: int) -> bool:
    """Whether enough reviewers decided, and most of them alike."""
    votes = Counter(label_of(one) for one in decisions)
    n = sum(votes.values())
    return n >= n_reviewers and (n == 1 or max(votes.values()) * 2 > n)


def _is_disputed(
    answers: Iterable[Completion], decided: Mapping[Answered, Mapping[str, Review]]
) -> bool:
    """Whether reviewers decided differently about one of the answers."""
    by_answer = (decided.get(_key(one), {}).values() for one in answers)
    return any(len({label_of(one) for one in by}) > 1 for by in by_answer)


def _near_duplicates(answers: Sequence[Completion]) -> list[list[Completion]]:
    """Answers grouped by prompt and text, each nearly that of another of its group."""
    prompts = clusters([_question(one) for one in answers])
    texts = clusters([comparable(one.completion) for one in answers])
    groups: dict[tuple[int, int], list[Completion]] = defaultdict(list)
    for answer, prompt, text in zip(answers, prompts, texts, strict=True):
        groups[prompt, text].append(answer)
    return list(groups.values())


def _question(answer: Completion) -> str:
    if problem_of_prompt(answer.messages) is None:
        return question_of(answer.messages)
    return comparable(asked(answer))


def _weighed(answers: list[Completion], marks: list[Feedback], treatments: dict[str, str]) -> Group:
    bad = [one for one in marks if one.thumb == "down" or one.categories or one.correction]
    good = [one for one in marks if one.thumb == "up" and one not in bad]
    wanted = {treatments.get(key, "review") for one in bad for key in one.categories}
    severity = NOT_CATEGORISED
    if wanted:
        severity = SEVERE if "review" in wanted else CATEGORISED
    if any(SECRETS.finds(Answer(one.completion)) for one in answers[:MOST_PARTS]):
        severity = SEVERE
    flaggers = {one.rater_id for one in bad}
    likers = {one.rater_id for one in good}
    doubt = 2 * min(len(flaggers), len(likers)) / max(1, len(flaggers) + len(likers))
    if not any(one.categories or one.correction or one.comment for one in bad):
        doubt = max(doubt, LONE_THUMB)
    return Group(answers, marks, severity, math.log2(1 + len(flaggers)), doubt)


def mark_of(mark: Feedback) -> ReviewMark:
    """What a person said of an answer, as reviewers see it."""
    names = ReviewMark.model_fields
    return ReviewMark(**{name: value for name, value in mark.as_json().items() if name in names})


def _key(answer: Completion) -> Answered:
    return answer.completion_id, answer.choice_index


def _id(answer: Completion) -> str:
    return f"{answer.completion_id}:{answer.choice_index}"


def parts_of(answers: Sequence[Completion]) -> list[ReviewPart]:
    """Answers that are decided together, as reviewers see them."""
    return [
        ReviewPart(completion_id=one.completion_id, choice_index=one.choice_index,
                   prompt=asked(one), completion=one.completion)
        for one in answers
    ]  # fmt: skip


def asked(answer: Completion) -> str:
    """The last message of an answer's prompt."""
    return str(answer.messages[-1].get("content") or "") if answer.messages else ""
