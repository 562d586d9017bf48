"""What others may want to be told of: complaints, moves of the champion, rejected challengers.

They are read from the rows that the store keeps of them, in the order of those, so whoever tells
others needs to remember one number: the ``seq`` that was told last.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.tables import FEEDBACK_COLUMNS, PROMOTION_COLUMNS, Row, record_from
from pawl.schemas import Feedback, Promotion

Read = Callable[[str, Sequence[Any]], list[Row]]
_MOVES = {
    ("live", "promote"): "version.promoted",
    ("live", "rollback"): "version.rolled_back",
    ("refused", "promote"): "challenger.rejected",
    ("indistinguishable", "promote"): "challenger.rejected",
    ("waiting", "promote"): "challenger.waiting",
    ("canary", "promote"): "challenger.canary",
}


@dataclass(frozen=True, slots=True)
class Change:
    """``kind``: ``feedback.flagged``, ``version.promoted``, ``version.rolled_back``,
    ``challenger.rejected``, ``challenger.waiting``, ``challenger.canary``; None: nothing to tell.
    ``data``: the row."""

    seq: int
    change_id: str  # the same whenever it is read
    kind: str | None
    created_at: str
    data: dict[str, Any]


def changes_since(read: Read, seq: int, until: int, limit: int) -> list[Change]:
    """The first ``limit`` rows after ``seq`` of the tables concerned, in their order.

    Args:
        until: ``Store.newest_seq`` of before. What comes while the tables are read, one after the
            other, is left for the next time: a row of the first would be passed over for a newer
            one of the last.
    """

    def rows(columns: str, table: str) -> list[Row]:
        return read(
            f"SELECT seq, {columns} FROM {table} WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            [seq, until, limit],
        )

    changes = [_of_feedback(*row) for row in rows(FEEDBACK_COLUMNS, "feedback")]
    changes += [_of_move(*row) for row in rows(PROMOTION_COLUMNS, "promotions")]
    changes += [_of_verdict(*row) for row in rows("run_id, created_at, verdict_json", "verdicts")]
    return sorted(changes, key=lambda one: one.seq)[:limit]


def _of_feedback(seq: int, *row: Any) -> Change:
    feedback = record_from(Feedback, row)
    is_flag = feedback.thumb == "down" or feedback.categories or feedback.correction
    # A reviewer's decision is no new complaint.
    kind = "feedback.flagged" if is_flag and feedback.source != "review" else None
    return Change(seq, feedback.feedback_id, kind, feedback.created_at, feedback.as_json())


def _of_move(seq: int, *row: Any) -> Change:
    move = record_from(Promotion, row)
    kind = _MOVES.get((move.outcome, move.kind))
    # A promotion has a row for each step, so its own id would be told more than once.
    return Change(seq, f"{move.promotion_id}-{seq}", kind, move.created_at, move.as_json())


def _of_verdict(seq: int, run_id: str, created_at: str, text: str) -> Change:
    verdict = json.loads(text)
    kind = "challenger.rejected" if verdict["outcome"] == "reject" else None
    data = {"run_id": run_id, "verdict": verdict}
    return Change(seq, f"verdict-{run_id}-{seq}", kind, created_at, data)
