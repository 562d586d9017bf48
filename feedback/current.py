"""What counts of all that people said: one row for each person and answer.

Rows are appended and never edited, so what counts is a fold over a person's rows on an answer:

    each field   has the value of the newest row that gave one; a row that says nothing about
                 a field leaves it as it was, so a thumb never takes away a correction
    ``cleared``  names the fields that a row takes away (``"correction": ""``, ``"categories": []``)
    ``retract``  takes away all fields

``feedback_id``, ``idempotency_key``, ``created_at`` and ``source`` are those of the newest row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from feedback.tables import columns_of, record_from
from pawl.schemas import Feedback

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

CLEARABLE = ("categories", "comment", "correction", "preferred_over")

TEXTS = ("comment", "correction")
_ROWS_AT_ONCE = 1000  # are read; a correction may have 100,000 characters


def read_current(
    cursor: DuckDBPyConnection,
    clause: str,
    values: Sequence[Any],
    *,
    include_retracted: bool = False,
) -> list[Feedback]:
    """What counts, in the order of the newest rows; none where nothing is left (unless
    ``include_retracted``).

    Args:
        clause, values: a WHERE clause on the rows that are read, and what it asks for.
    """
    names = columns_of(Feedback)
    columns = ", ".join(f"{name}_at" if name in TEXTS else name for name in names)
    rows = cursor.execute(
        f"SELECT {columns} FROM ({current_feedback_sql(clause)}) WHERE NOT retracted OR ?"
        " ORDER BY seq",
        [*values, include_retracted],
    ).fetchall()
    places = [names.index(name) for name in TEXTS]
    wanted = sorted({row[place] for row in rows for place in places} - {None})
    texts: dict[int | None, tuple[str | None, ...]] = {None: (None,) * len(TEXTS)}
    for start in range(0, len(wanted), _ROWS_AT_ONCE):
        seqs = wanted[start : start + _ROWS_AT_ONCE]
        found = cursor.execute(
            f"SELECT seq, {', '.join(TEXTS)} FROM feedback WHERE seq BETWEEN ? AND ?"
            " AND seq IN (SELECT unnest(?::BIGINT[]))",
            [seqs[0], seqs[-1], seqs],
        ).fetchall()
        texts |= {seq: tuple(held) for seq, *held in found}
    told = []
    for row in rows:
        whole = list(row)
        for n, place in enumerate(places):
            whole[place] = texts[row[place]][n]
        told.append(record_from(Feedback, tuple(whole)))
    return told


def current_feedback_sql(clause: str = "") -> str:
    """A SELECT of what counts, in the columns of the ``feedback`` table, ``seq`` the newest row's.

    ``retracted`` is true where nothing is left of what a person said. Texts are not among them,
    since DuckDB can't spill what it folds: ``comment_at`` and ``correction_at`` are the numbers of
    the rows that have them, ``has_comment`` and ``has_correction`` say whether there are any.

    Args:
        clause: a WHERE clause on the rows that are read.
    """
    given = {
        "thumb": "thumb IS NOT NULL",
        "categories_json": f"categories_json != '[]' OR {_cleared('categories')}",
        "preferred_over": f"preferred_over IS NOT NULL OR {_cleared('preferred_over')}",
    }
    given["preferred_over_choice_index"] = given["preferred_over"]
    fields = [
        f"last({name} ORDER BY seq) FILTER ({rule}) AS {name}" for name, rule in given.items()
    ]
    for name in TEXTS:
        rule = f"{name} IS NOT NULL OR {_cleared(name)}"
        fields += [
            f"max(seq) FILTER ({rule}) AS {name}_at",
            f"coalesce(last({name} IS NOT NULL ORDER BY seq) FILTER ({rule}), false) AS has_{name}",
        ]
    newest = [
        f"last({name} ORDER BY seq) AS {name}"
        for name in ("feedback_id", "idempotency_key", "created_at", "source")
    ]
    return (
        "SELECT * REPLACE (coalesce(categories_json, '[]') AS categories_json,"
        " coalesce(preferred_over_choice_index, 0) AS preferred_over_choice_index),"
        " coalesce(thumb, preferred_over) IS NULL AND NOT (has_comment OR has_correction)"
        " AND coalesce(categories_json, '[]') = '[]' AS retracted, '[]' AS cleared_json"
        " FROM (SELECT rater_id, completion_id, choice_index, max(seq) AS seq,"
        f" {', '.join(newest + fields)} FROM (SELECT *, max(seq) FILTER (retracted) OVER"
        "  (PARTITION BY rater_id, completion_id, choice_index) AS retracted_at"
        f" FROM feedback{clause}) WHERE retracted_at IS NULL OR seq >= retracted_at"
        " GROUP BY rater_id, completion_id, choice_index)"
    )


def _cleared(field: str) -> str:
    return f"contains(cleared_json, '\"{field}\"')"
