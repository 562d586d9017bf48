"""What counts of all that people said: one row for each person and answer.

Rows are appended and never edited, so what counts is a fold over a person's rows on an answer:

    each field   has the value of the newest row that gave one; a row that says nothing about
                 a field leaves it as it was, so a thumb never takes away a correction
    ``cleared``  names the fields that a row takes away (``"correction": ""``, ``"categories": []``)
    ``retract``  takes away all fields

``feedback_id``, ``idempotency_key``, ``created_at`` and ``source`` are those of the newest row.
"""

from __future__ import annotations

CLEARABLE = ("categories", "comment", "correction", "preferred_over")


def current_feedback_sql(clause: str = "") -> str:
    """A SELECT of what counts, in the columns of the ``feedback`` table, ``seq`` the newest row's.

    ``retracted`` is true where nothing is left of what a person said.

    Args:
        clause: a WHERE clause on the rows that are read.
    """
    given = {
        "thumb": "thumb IS NOT NULL",
        "categories_json": f"categories_json != '[]' OR {_cleared('categories')}",
        "comment": f"comment IS NOT NULL OR {_cleared('comment')}",
        "correction": f"correction IS NOT NULL OR {_cleared('correction')}",
        "preferred_over": f"preferred_over IS NOT NULL OR {_cleared('preferred_over')}",
    }
    given["preferred_over_choice_index"] = given["preferred_over"]
    fields = [
        f"last({name} ORDER BY seq) FILTER ({rule}) AS {name}" for name, rule in given.items()
    ]
    newest = [
        f"last({name} ORDER BY seq) AS {name}"
        for name in ("feedback_id", "idempotency_key", "created_at", "source")
    ]
    return (
        "SELECT * REPLACE (coalesce(categories_json, '[]') AS categories_json,"
        " coalesce(preferred_over_choice_index, 0) AS preferred_over_choice_index),"
        " coalesce(thumb, comment, correction, preferred_over) IS NULL"
        " AND coalesce(categories_json, '[]') = '[]' AS retracted, '[]' AS cleared_json"
        " FROM (SELECT rater_id, completion_id, choice_index, max(seq) AS seq,"
        f" {', '.join(newest + fields)} FROM (SELECT *, max(seq) FILTER (retracted) OVER"
        "  (PARTITION BY rater_id, completion_id, choice_index) AS retracted_at"
        f" FROM feedback{clause}) WHERE retracted_at IS NULL OR seq >= retracted_at"
        " GROUP BY rater_id, completion_id, choice_index)"
    )


def _cleared(field: str) -> str:
    return f"contains(cleared_json, '\"{field}\"')"
