"""How often answers are flagged in traffic, and answers that nobody flagged, drawn at random."""

from __future__ import annotations

from feedback.changes import Read
from feedback.conversations import LEARNED
from feedback.current import current_feedback_sql
from feedback.tables import COMPLETION_COLUMNS, record_from
from pawl.schemas import Completion

IS_FLAG = "NOT retracted AND (thumb = 'down' OR has_correction OR categories_json != '[]')"
_FLAGGED = (
    f"SELECT DISTINCT conversation_id FROM (SELECT * FROM completions WHERE {LEARNED}) JOIN ("
    f"SELECT completion_id, choice_index FROM ({current_feedback_sql()}) WHERE {IS_FLAG}"
    ") USING (completion_id, choice_index)"
)
_LOOKED_AT = 4  # answers for each prompt that is wanted: some were asked several times
# Chats whose answer came to its own end; one that calls a tool or is empty has nothing to compare.
_WHOLE = (
    "status = 'complete' AND finish_reason = 'stop' AND tool_calls_json = '[]'"
    " AND trim(completion, ' \t\r\n') != ''"
)


def newest_prompts(read: Read, n: int) -> list[Completion]:
    """The newest ``n`` prompts that were answered, each once, newest first, with their answer; none
    that are not to be learned from."""
    rows = read(
        f"SELECT {COMPLETION_COLUMNS} FROM completions WHERE seq IN (SELECT max(seq)"
        " FROM completions WHERE seq IN (SELECT seq FROM completions WHERE status = 'complete'"
        f"  AND choice_index = 0 AND {LEARNED} ORDER BY seq DESC LIMIT ?)"
        "  GROUP BY sha256(messages_json) ORDER BY max(seq) DESC LIMIT ?) ORDER BY seq DESC",
        [_LOOKED_AT * n, n],
    )
    return [record_from(Completion, row) for row in rows]


def traffic(read: Read, seed: str, n: int) -> tuple[int, int, list[Completion]]:
    """As ``Store.traffic``. A conversation is flagged when anybody found fault with any answer; one
    that is not to be learned from counts nowhere."""
    [(n_flagged, n_all)] = read(
        f"SELECT (SELECT count(*) FROM ({_FLAGGED})),"
        " (SELECT count(DISTINCT conversation_id) FROM completions WHERE status = 'complete'"
        f" AND {LEARNED})",
        [],
    )
    rows = read(
        f"SELECT {COMPLETION_COLUMNS} FROM completions WHERE seq IN (SELECT max(seq)"
        f" FROM completions WHERE {_WHOLE} AND {LEARNED} AND conversation_id NOT IN ({_FLAGGED})"
        "  GROUP BY conversation_id ORDER BY md5(concat(?, conversation_id)) LIMIT ?)"
        " ORDER BY md5(concat(?, conversation_id))",
        [seed, n, seed],
    )
    found = [record_from(Completion, row) for row in rows]
    return int(n_flagged), max(0, int(n_all) - int(n_flagged)), found
