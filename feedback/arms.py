"""Two versions that answer at the same time: their conversations, and which of them went wrong."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from feedback.changes import Read
from feedback.current import current_feedback_sql
from feedback.traffic import IS_FLAG
from pawl.schemas import Promotion, written

ASKED = "pawl"  # who asks for an exact version is no part of a comparison
HOUSE_DAYS = 30  # before the comparison: whoever asked since then is of the house
# An answer is slow whose tokens take twice as long as in so many of the newest ones before the
# comparison: any adapter costs some time, compared with the base.
SLOW_QUANTILE, SLOW_FACTOR, N_BEFORE, FEWEST_BEFORE = 0.95, 2.0, 1000, 100
# What an answer costs before its first token counts as some tokens, so that length says nothing.
_TOKEN_SECONDS = "total_seconds / (n_completion_tokens + 20)"


@dataclass(frozen=True, slots=True)
class Arms:
    """``n_conversations``: by version. ``raters``: who asked, since the comparison began or in the
    ``HOUSE_DAYS`` before it. ``wrong``: for ``flagged``, ``failed`` and ``slow`` a pair for each
    conversation: the version that answered, and who flagged it first, or asked."""

    n_conversations: dict[str, int]
    raters: set[str]
    wrong: dict[str, list[tuple[str, str]]]


def takes_part(promotion_id: str, share: float, conversation_id: str) -> bool:
    """Whether a conversation is the challenger's; the same whenever one asks."""
    drawn = hashlib.sha256(f"{promotion_id} {conversation_id}".encode()).hexdigest()
    return drawn[:16] < _bound(share)


def _bound(share: float) -> str:
    """The numbers of 16 hexadecimal digits below it are this share of all."""
    return f"{int(share * 2**64):016x}"


def arms(read: Read, canary: Promotion) -> Arms:
    """What the canary and the champion beside it answered to the name ``pawl`` since it began.

    Left out are answers of a version that the conversation was not drawn for: while the challenger
    was away the champion answered in its place.
    """
    champion, challenger = canary.previous_version, canary.version
    since = canary.created_at
    answers = (
        "SELECT * FROM completions WHERE asked_model = ? AND created_at >= ? AND version ="
        " CASE WHEN sha256(concat(?, ' ', conversation_id))[:16] < ? THEN ? ELSE ? END"
    )
    share = float(canary.probe["share"])
    values = [ASKED, since, canary.promotion_id, _bound(share), challenger, champion]
    talked = read(
        f"SELECT version, count(DISTINCT conversation_id) FROM ({answers}) GROUP BY ALL", values
    )
    house = datetime.fromisoformat(since) - timedelta(days=HOUSE_DAYS)
    raters = read(
        "SELECT DISTINCT rater_id FROM completions WHERE asked_model = ? AND created_at >= ?",
        [ASKED, written(house)],
    )

    def wrong(who: str, more: str, *bounds: float) -> list[tuple[str, str]]:
        rows = read(
            f"SELECT arg_min(a.version, {who}.seq), arg_min({who}.rater_id, {who}.seq)"
            f" FROM ({answers}) a {more} GROUP BY a.conversation_id",
            [*values, *bounds],
        )
        return [(version, rater_id) for version, rater_id in rows]

    feedback = f"SELECT * FROM ({current_feedback_sql()}) WHERE {IS_FLAG}"
    return Arms(
        dict.fromkeys((champion, challenger), 0) | {version: int(n) for version, n in talked},
        {rater_id for (rater_id,) in raters},
        {
            "flagged": wrong("f", f"JOIN ({feedback}) f USING (completion_id, choice_index)"),
            "failed": wrong("a", "WHERE a.status = 'error'"),
            "slow": wrong(
                "a",
                f"WHERE a.status = 'complete' AND {_TOKEN_SECONDS} > ?",
                _slow_seconds(read, since),
            ),
        },
    )


def _slow_seconds(read: Read, since: str) -> float:
    """A token beyond which an answer is slow, by those before; infinite where they are too few."""
    [(seconds, n)] = read(
        f"SELECT quantile_cont(seconds, {SLOW_QUANTILE}), count(*) FROM ("
        f"SELECT {_TOKEN_SECONDS} AS seconds FROM completions WHERE asked_model = ?"
        " AND created_at < ? AND status = 'complete' AND n_completion_tokens > 0"
        " ORDER BY seq DESC LIMIT ?)",
        [ASKED, since, N_BEFORE],
    )
    return SLOW_FACTOR * float(seconds) if n >= FEWEST_BEFORE else float("inf")
