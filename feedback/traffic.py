"""How often answers are flagged in traffic, and answers that nobody flagged, drawn at random."""

from __future__ import annotations

from feedback.changes import Read
from feedback.current import current_feedback_sql
from feedback.tables import COMPLETION_COLUMNS, record_from
from pawl.schemas import Completion

_FLAGGED = (
    "SELECT DISTINCT conversation_id FROM completions JOIN ("
    f"SELECT completion_id, choice_index FROM ({current_feedback_sql()}) WHERE NOT retracted"
    " AND (thumb = 'down' OR correction IS NOT NULL OR categories_json != '[]')"
    ") USING (completion_id, choice_index)"
)
# Chats whose answer came to its own end; one that calls a tool or is empty has nothing to compare.
_WHOLE = (
    "status = 'complete' AND finish_reason = 'stop' AND tool_calls_json = '[]'"
    " AND trim(completion, ' \t\r\n') != ''"
)


def traffic(read: Read, seed: str, n: int) -> tuple[int, int, list[Completion]]:
    """As ``Store.traffic``. A conversation is flagged when anybody found fault with any answer."""
    [(n_flagged, n_all)] = read(
        f"SELECT (SELECT count(*) FROM ({_FLAGGED})),"
        " (SELECT count(DISTINCT conversation_id) FROM completions WHERE status = 'complete')",
        [],
    )
    rows = read(
        f"SELECT {COMPLETION_COLUMNS} FROM (SELECT * FROM completions WHERE {_WHOLE}"
        f" AND conversation_id NOT IN ({_FLAGGED})"
        " QUALIFY row_number() OVER (PARTITION BY conversation_id ORDER BY seq DESC) = 1)"
        " ORDER BY md5(concat(?, conversation_id)) LIMIT ?",
        [seed, n],
    )
    found = [record_from(Completion, row) for row in rows]
    return int(n_flagged), max(0, int(n_all) - int(n_flagged)), found
