"""What a reviewer looks for among flagged answers: by words, category, version, person and day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from pawl.schemas import Completion, Feedback, Review


@dataclass(frozen=True, slots=True)
class ReviewFilter:
    """Conditions that all must hold; an empty one always does.

    ``search``: words, in any case and order, of the prompt's last message, the answer, comments,
    corrections or an id. ``category``: of a mark, or of a decision. ``version``: that answered.
    ``rater``: one who said something of it, or a part of the name. ``since``, ``until``: the first
    and the last day (UTC) on which it was answered.
    """

    search: str = ""
    category: str = ""
    version: str = ""
    rater: str = ""
    since: date | None = None
    until: date | None = None

    def holds(
        self, answer: Completion, marks: Sequence[Feedback], decisions: Iterable[Review] = ()
    ) -> bool:
        """Whether an answer with what people and reviewers said of it is looked for."""
        day = answer.created_at[:10]
        said: list[Feedback | Review] = [*marks, *decisions]
        return (
            self.version in ("", answer.version)
            and (self.since is None or day >= self.since.isoformat())
            and (self.until is None or day <= self.until.isoformat())
            and (not self.category or any(self.category in one.categories for one in said))
            and (
                not self.rater
                or any(self.rater.casefold() in one.rater_id.casefold() for one in marks)
            )
            and self._finds(answer, marks, said)
        )

    def _finds(
        self, answer: Completion, marks: Sequence[Feedback], said: Sequence[Feedback | Review]
    ) -> bool:
        if not self.search.strip():
            return True
        texts = [answer.completion, answer.completion_id, answer.conversation_id]
        texts += [str(one.get("content") or "") for one in answer.messages[-1:]]
        texts += [one.correction or "" for one in said]
        texts += [one.comment or "" for one in marks]
        whole = "\n".join(texts).casefold()
        return all(word in whole for word in self.search.casefold().split())


EVERYTHING = ReviewFilter()
