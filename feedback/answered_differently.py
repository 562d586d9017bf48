"""Said back: of what a person flagged, what a version that stands now was seen to answer otherwise.

Evidence are the scores of the run that brought a version in: its gate asked champion and challenger
the flagged prompt itself, at temperature 0, and kept both answers. A prompt that no gate asked says
nothing, and of a version that was rolled back nothing is told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from feedback.champion import champion_stack
from feedback.lineage import brought_in
from feedback.store import Store
from pawl.schemas import ChangedAnswer, Completion, Feedback, Promotion

MOST_BYTES = 16_000_000  # of flagged answers with their prompts, the newest ones
_ROLES = ("champion", "challenger")
# Of a gate's scores those of people's prompts (evals.regression names them), placebos aside.
_BENCHMARKS = ("holdout", "holdout__kept")


@dataclass(frozen=True, slots=True)
class _Answers:
    """What a run's two models answered to a prompt. ``detail``: of the challenger's score."""

    champion: str
    challenger: str
    detail: dict[str, Any]


def standing_versions(store: Store) -> list[Promotion]:
    """How the version that answers now, and those before it, came in; oldest first. Not those that
    were rolled back."""
    moves = {row.version: row for row in brought_in(store)}
    stack = champion_stack(store.promotions())
    return [moves[name] for name in stack if name in moves and moves[name].run_id]


def answered_differently(store: Store, rater_id: str) -> list[ChangedAnswer]:
    """What this person flagged of their own answers, and is known to be answered otherwise now; the
    newest flags first. Not what they dismissed, nor answers of conversations that were deleted; of
    very much (``MOST_BYTES``) the newest answers."""
    versions = standing_versions(store)
    flags = [one for one in store.current_feedback(rater_id=rater_id) if _is_flag(one)]
    if not versions or not flags:
        return []
    dismissed = store.conversations.dismissed(rater_id)
    answers = {
        (row.completion_id, row.choice_index): row
        for row in store.completions(
            completion_ids=[one.completion_id for one in flags],
            rater_id=rater_id,
            newest_bytes=MOST_BYTES,
        )
        if row.completion_id not in dismissed and row.completion and not row.tools
    }
    asked = _asked(store, versions, list(answers.values()))
    found = []
    for flag in sorted(flags, key=lambda one: (one.created_at, one.feedback_id), reverse=True):
        answer = answers.get((flag.completion_id, flag.choice_index))
        told = answer and _changed(flag, answer, versions, asked)
        if told:
            found.append(told)
    return found


def _is_flag(feedback: Feedback) -> bool:
    is_faulted = bool(feedback.correction or feedback.categories)
    return feedback.thumb == "down" or (feedback.thumb is None and is_faulted)


def _asked(
    store: Store, versions: Sequence[Promotion], answers: Sequence[Completion]
) -> dict[tuple[str, str], _Answers]:
    """By run and prompt, what both models answered to the prompts of these answers."""
    questions = [str(row.messages[-1].get("content") or "") for row in answers if row.messages]
    rows = store.read(
        "SELECT run_id, role, detail_json FROM scores"
        " WHERE run_id IN (SELECT unnest(?::VARCHAR[])) AND role IN (SELECT unnest(?::VARCHAR[]))"
        " AND benchmark IN (SELECT unnest(?::VARCHAR[]))"
        " AND (detail_json->>'$.prompt[#-1].content') IN (SELECT unnest(?::VARCHAR[]))"
        " ORDER BY seq",
        [[one.run_id for one in versions], list(_ROLES), list(_BENCHMARKS), questions],
    )
    by_role: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for run_id, role, text in rows:
        detail = json.loads(text)
        if detail.get("answer"):
            by_role.setdefault((run_id, _key(detail["prompt"])), {})[role] = detail
    return {
        key: _Answers(both["champion"]["answer"], both["challenger"]["answer"], both["challenger"])
        for key, both in by_role.items()
        if len(both) == len(_ROLES)
    }


def _changed(
    flag: Feedback,
    answer: Completion,
    versions: Sequence[Promotion],
    asked: dict[tuple[str, str], _Answers],
) -> ChangedAnswer | None:
    """What is told of a flag; None where no later version answered its prompt otherwise than the
    flagged answer and than the version before it, or the newest that was asked says the same
    again."""
    since: str | None = None
    newest: tuple[Promotion, _Answers] | None = None
    for version in versions:
        both = asked.get((version.run_id or "", _key(answer.messages)))
        if both is None or version.created_at < flag.created_at:
            continue
        if _folded(both.challenger) == _folded(answer.completion):
            since = None
        elif since is None and _folded(both.challenger) != _folded(both.champion):
            since = version.version
        newest = version, both
    if since is None or newest is None:
        return None
    version, both = newest
    is_own = bool(flag.correction) and both.detail.get("correction") == flag.correction
    return ChangedAnswer(
        completion_id=answer.completion_id,
        choice_index=answer.choice_index,
        conversation_id=answer.conversation_id,
        flagged_at=flag.created_at,
        question=str(answer.messages[-1].get("content") or ""),
        flagged=answer.completion,
        flagged_version=answer.version,
        correction=flag.correction,
        since=since,
        answer=both.challenger,
        answered_by=version.version,
        answered_at=version.created_at,
        is_whole=bool(both.detail.get("answer_is_whole", True)),
        says_the_correction=is_own and bool(both.detail.get("matches")),
    )


def _key(prompt: Sequence[dict[str, Any]]) -> str:
    return json.dumps([[one.get("role"), one.get("content")] for one in prompt])


def _folded(text: str) -> list[str]:
    """Words alone: another case or punctuation is no other answer."""
    return re.findall(r"\w+|[^\w\s.,;:!?]", text.casefold())
