"""Where one answer, feedback or row went: into which rows, or which rule put it aside, and why.

Curated anew, as a night would now: what is said here is what a snapshot of this moment holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from feedback.curation import Curated
from feedback.rows import problem_of_prompt
from feedback.service import curate_for_night
from feedback.splits import prompt_key
from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Completion, Explanation, Feedback, Message
from pawl.settings import Settings

TEXT_CHARACTERS = 300
_ORIGIN = ("feedback_id", "completion_id", "rater_id", "source", "created_at", "file", "place")


def explain(store: Store, settings: Settings, row_or_id: str) -> Explanation:
    """Explain the id of an answer, of feedback, or of a row of any snapshot.

    Raises:
        PawlError: nothing is called so (``not_found``).
    """
    curated = curate_for_night(store, settings)
    ids = {row_or_id}
    answers = store.completions(completion_ids=[row_or_id])
    history = store.feedback_history(row_or_id) or store.feedback_history(feedback_id=row_or_id)
    recorded = store.recorded_row(row_or_id)
    note = ""
    if answers:
        kind = "completion"
        if not history:
            note = "nobody said anything about it, so nothing is learned from it"
    elif history:
        kind = "feedback"
        answers = store.completions(completion_ids=[history[0].completion_id])
        newest = _newest(store, history[0])
        if newest is not None and newest.feedback_id != row_or_id:
            ids = {newest.feedback_id}
            note = f"{newest.feedback_id} is what counts: later words of the same rater on it"
    elif (
        recorded is not None
        or any(row.row_id == row_or_id for row in curated.rows)
        or any(origin.get("row_id") == row_or_id for _, origin in curated.rejected)
    ):
        kind = "row"
        if recorded is not None and (source := recorded.origin.get("feedback_id")):
            ids.add(str(source))  # it may be another row by now, or none
    else:
        raise PawlError(
            f"{row_or_id!r} is not known",
            "no answer, feedback or row of a snapshot has this id",
            "'pawl snapshot diff', a report or the rows of a snapshot name them",
            code="not_found",
        )
    return _explained(store, curated, row_or_id, kind, ids, _prompt(answers, recorded), note)


def _explained(
    store: Store,
    curated: Curated,
    name: str,
    kind: str,
    ids: set[str],
    prompt: list[Message],
    note: str,
) -> Explanation:
    rows = [
        row for row in curated.rows if row.row_id in ids or not ids.isdisjoint(_ids_of(row.origin))
    ]
    left_out = [
        {"reason": reason, "found": origin.get("found", ""), **_some(origin)}
        for reason, origin in curated.rejected
        if not ids.isdisjoint(_ids_of(origin))
    ]
    if not prompt and rows:
        prompt = rows[0].prompt
    key = prompt_key(prompt) if problem_of_prompt(prompt) is None else ""
    place, story = curated.places.get(key), curated.stories.get(key)
    snapshots = store.snapshots_of([row.row_id for row in rows] + [name])
    return Explanation(
        id=name,
        kind=kind,
        note=note,
        prompt=str(prompt[-1].get("content") or "")[:TEXT_CHARACTERS] if prompt else "",
        side=(place.split or "none") if place else "",
        cluster=place.cluster if place else "",
        n_cluster=sum(row.cluster == place.cluster for row in curated.rows) if place else 0,
        story=[
            {**votes, "text": votes["text"][:TEXT_CHARACTERS]}
            for votes in (story.votes() if story else [])
        ],
        rows=[
            {
                "row_id": row.row_id,
                "kind": row.kind,
                "split": row.split,
                "weight": row.weight,
                "cluster": row.cluster,
                "categories": row.categories,
                "snapshots": snapshots.get(row.row_id, []),
                **_some(row.origin),
            }
            for row in rows
        ],
        left_out=left_out,
        snapshots=snapshots.get(name, []),
    )


def _newest(store: Store, feedback: Feedback) -> Feedback | None:
    """What counts now of a rater's words on an answer."""
    current = store.current_feedback(
        feedback.completion_id, feedback.rater_id, include_retracted=True
    )
    return next((one for one in current if one.choice_index == feedback.choice_index), None)


def _prompt(answers: Sequence[Completion], recorded: Any) -> list[Message]:
    if answers:
        return answers[0].messages
    return recorded.prompt if recorded is not None else []


def _ids_of(origin: dict[str, Any]) -> set[str]:
    return {str(origin[key]) for key in ("feedback_id", "completion_id", "row_id") if key in origin}


def _some(origin: dict[str, Any]) -> dict[str, Any]:
    return {key: origin[key] for key in _ORIGIN if key in origin}
