"""Two versions that answer at the same time: their conversations, and which of them went wrong."""

from __future__ import annotations

from dataclasses import dataclass

from feedback.changes import Read
from feedback.current import current_feedback_sql
from feedback.traffic import IS_FLAG

ASKED = "pawl"  # who asks for an exact version is no part of a comparison
# An answer is slow that takes longer than so many of the newest ones before the comparison.
SLOW_QUANTILE, N_BEFORE, FEWEST_BEFORE = 0.95, 1000, 100


@dataclass(frozen=True, slots=True)
class Arms:
    """``n_conversations``: by version. ``wrong``: for ``flagged``, ``failed`` and ``slow`` a pair
    for each conversation: the version that answered, and who flagged it first, or asked."""

    n_conversations: dict[str, int]
    raters: set[str]
    wrong: dict[str, list[tuple[str, str]]]


def arms(read: Read, champion: str, challenger: str, since: str) -> Arms:
    """What both answered to the name ``pawl`` from a time on (as the records write times)."""
    answers = (
        "SELECT * FROM completions WHERE asked_model = ? AND created_at >= ? AND version IN (?, ?)"
    )
    values = [ASKED, since, champion, challenger]
    talked = read(
        f"SELECT version, rater_id, count(DISTINCT conversation_id) FROM ({answers}) GROUP BY ALL",
        values,
    )
    n_conversations = dict.fromkeys((champion, challenger), 0)
    for version, _, n in talked:
        n_conversations[version] += int(n)

    def wrong(who: str, more: str, *bounds: float) -> list[tuple[str, str]]:
        rows = read(
            f"SELECT arg_min(a.version, {who}.seq), arg_min({who}.rater_id, {who}.seq)"
            f" FROM ({answers}) a {more} GROUP BY a.conversation_id",
            [*values, *bounds],
        )
        return [(version, rater_id) for version, rater_id in rows]

    feedback = f"SELECT * FROM ({current_feedback_sql()}) WHERE {IS_FLAG}"
    return Arms(
        n_conversations,
        {rater_id for _, rater_id, _ in talked},
        {
            "flagged": wrong("f", f"JOIN ({feedback}) f USING (completion_id, choice_index)"),
            "failed": wrong("a", "WHERE a.status = 'error'"),
            "slow": wrong("a", "WHERE a.total_seconds > ?", _slow_seconds(read, since)),
        },
    )


def _slow_seconds(read: Read, since: str) -> float:
    """Beyond which an answer is slow, by those before; infinite where they are too few."""
    [(seconds, n)] = read(
        f"SELECT quantile_cont(total_seconds, {SLOW_QUANTILE}), count(*) FROM ("
        "SELECT total_seconds FROM completions WHERE asked_model = ? AND created_at < ?"
        " AND status = 'complete' ORDER BY seq DESC LIMIT ?)",
        [ASKED, since, N_BEFORE],
    )
    return float(seconds) if n >= FEWEST_BEFORE else float("inf")
