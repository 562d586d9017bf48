"""What the gateway asks for: feedback checked and kept, a snapshot taken."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, wait
from typing import Any

from feedback.categories import check_categories
from feedback.curation import Curated, curate
from feedback.current import CLEARABLE
from feedback.erasing import MOST_SECONDS, while_reading
from feedback.fresh import next_attempt, prompts_of_looks
from feedback.rows import problem_of_prompt
from feedback.snapshots import freeze
from feedback.store import Store
from pawl.errors import PawlError
from pawl.files import hold_lock
from pawl.schemas import Feedback, FeedbackRequest, Traffic, TrainingRow, utc_now
from pawl.settings import Settings


def submit_feedback(
    store: Store,
    request: FeedbackRequest,
    rater_id: str,
    source: str = "api",
    sees: Callable[[str], bool] = lambda rater_id: True,
) -> tuple[Feedback, bool]:
    """Check and store one feedback; waits for the commit.

    Args:
        request: the body of ``POST /v1/feedback``; its ``user`` is left to the caller, who makes
            ``rater_id`` of it.
        source: ``api``, ``chat_page`` or ``import:<format>``.
        sees: whether whoever sends this may see the answers of a rater; the others are not known
            to them.

    Returns:
        The stored row and whether it was stored before: a repeated ``idempotency_key`` of this
        rater answers the first row.

    Raises:
        PawlError: what does not fit together (``invalid_feedback``), an unknown completion
            (``completion_not_found``), or a store that can't take it.
    """
    [result] = submit_feedbacks(store, [(request, rater_id)], source, sees)
    if isinstance(result, PawlError):
        raise result
    return result


def submit_feedbacks(
    store: Store,
    requests: Sequence[tuple[FeedbackRequest, str]],
    source: str = "api",
    sees: Callable[[str], bool] = lambda rater_id: True,
) -> list[tuple[Feedback, bool] | PawlError]:
    """Check and store several, each for itself, in few commits; waits for them.

    Args:
        requests: each with the person who says so; the rest is as in ``submit_feedback``.

    Returns:
        For each what ``submit_feedback`` answers or raises, in their order.
    """
    begun: list[tuple[Feedback, Future[Feedback]] | PawlError] = []
    pending: dict[str, Future[Feedback]] = {}  # by the completion that it is about
    for request, rater_id in requests:
        if request.completion_id in pending:  # what is checked next may depend on it
            wait([pending.pop(request.completion_id)])
        try:
            feedback = check_feedback(store, request, rater_id, source, sees)
        except PawlError as error:
            begun.append(error)
            continue
        future = pending[request.completion_id] = store.append_feedback(feedback)
        begun.append((feedback, future))
    results: list[tuple[Feedback, bool] | PawlError] = []
    for one in begun:
        if isinstance(one, PawlError):
            results.append(one)
            continue
        feedback, future = one
        try:
            stored = future.result()
            results.append((stored, stored.feedback_id != feedback.feedback_id))
        except PawlError as error:
            results.append(error)
    return results


def take_snapshot(
    store: Store,
    settings: Settings,
    without: Collection[str] = (),
    mended: Collection[str] = (),
) -> dict[str, Any]:
    """Curate all there is, freeze it and record it. Answers ``freeze``'s manifest.

    The same rows as before give the same snapshot, recorded once. One ``without`` some raters is
    that of a store that never had them, and is not recorded. ``mended``: see ``curate``. Waits for
    the end of an erasing, and of another snapshot.

    Raises:
        PawlError: that takes too long (``locked``).
    """
    lock = hold_lock(
        settings.state_dir / "snapshots.lock", "another snapshot is taken", "Wait for it to end",
        wait_seconds=MOST_SECONDS,
    )  # fmt: skip
    with while_reading(settings), lock:
        return _take_snapshot(store, settings, without, mended)


def _take_snapshot(
    store: Store, settings: Settings, without: Collection[str], mended: Collection[str]
) -> dict[str, Any]:
    curated = curate_for_night(store, settings, without, mended)
    if not without:
        places = {key: place.split for key, place in curated.places.items()}
        store.append_places(dict(places.items() - store.places().items())).result()
    manifest = freeze(curated, settings.snapshots_dir)
    if not without and all(
        one["snapshot_id"] != manifest["snapshot_id"] for one in store.snapshots()
    ):
        store.append_snapshot(manifest, curated.rows, curated.rejected).result()
    return manifest


def curate_for_night(
    store: Store,
    settings: Settings,
    without: Collection[str] = (),
    mended: Collection[str] = (),
) -> Curated:
    """All there is, curated, and on the sides on which a night has it."""
    known, learned = prompts_of_looks(store)
    return curate(store, settings, released=learned, without=without, mended=mended, known=known)


def traffic_of(
    store: Store, seed: str, n: int, base_fingerprint: str, n_newest: int = 0
) -> Traffic:
    """What the gate of a night asks: the ledger, how often answers are flagged, and up to ``n``
    controls: answers of unflagged conversations (``kind`` unpaired, ``label`` true). What domain
    weighting asks: the ``n_newest`` newest prompts that may be learned from."""
    n_flagged, n_unflagged, answers = store.traffic(seed, n)
    return Traffic(
        attempt=next_attempt(store, base_fingerprint),
        looks=store.looks(),
        n_flagged=n_flagged,
        n_unflagged=n_unflagged,
        of_other_bases=store.corrected_on_other_bases(base_fingerprint),
        controls=[
            TrainingRow(
                f"control-{one.completion_id}-{one.choice_index}",
                "unpaired",
                one.conversation_id,
                "holdout",
                one.messages,
                completion=one.completion,
                label=True,
                origin={"rater_id": one.rater_id, "completion_id": one.completion_id},
                tools=one.tools,
            )
            for one in answers
            if problem_of_prompt(one.messages) is None
        ],
        newest=[
            one.messages
            for one in (store.newest_prompts(n_newest) if n_newest else [])
            if problem_of_prompt(one.messages) is None
        ],
    )


def check_feedback(
    store: Store,
    request: FeedbackRequest,
    rater_id: str,
    source: str = "api",
    sees: Callable[[str], bool] = lambda rater_id: True,
) -> Feedback:
    """The row that a request asks for, not yet stored. Errors as ``submit_feedback``."""
    categories = list(dict.fromkeys(request.categories or ()))
    check_categories(categories, store.categories())
    comment, correction = _text(request.comment), _text(request.correction)
    preferred_over, retract = request.preferred_over or None, request.retract
    given = (request.thumb, categories, comment, correction, preferred_over)
    cleared = [name for name in CLEARABLE if _is_blank(getattr(request, name))]
    if retract and any(given):
        raise _refuse(
            "retract",
            "retract came with other feedback",
            "it takes back all that this person said about the answer",
            "Send retract alone, or the new feedback alone",
        )
    if not retract and not any(given) and not cleared:
        raise _refuse(
            None,
            "the feedback is empty",
            "it says nothing about the answer",
            "Send thumb, categories, comment, correction, preferred_over or retract",
        )
    completion_id, choice_index = request.completion_id, request.choice_index
    completion = store.get_completion(completion_id, choice_index)
    if completion is None or not sees(completion.rater_id):
        raise _not_found("completion_id", completion_id, choice_index)
    if cleared and not retract and not any(given):
        before = store.current_feedback(completion_id, rater_id)
        if not any(one.choice_index == choice_index for one in before):
            raise _refuse(
                None,
                "the feedback is empty",
                f"it takes away {', '.join(cleared)}, and nothing was said about this answer",
                "Send thumb, categories, comment, correction or preferred_over",
            )
    other_index = request.preferred_over_choice_index or 0
    if preferred_over is None and request.preferred_over_choice_index is not None:
        raise _refuse(
            "preferred_over_choice_index",
            "preferred_over_choice_index came alone",
            "it says which choice of the completion in preferred_over is the worse one",
            "Send preferred_over with it, or neither",
        )
    if preferred_over is not None:
        if (preferred_over, other_index) == (completion_id, choice_index):
            raise _refuse(
                "preferred_over",
                "an answer can't be preferred over itself",
                f"both are choice {choice_index} of this completion",
                "Name the other answer's completion id, or its preferred_over_choice_index",
            )
        other = store.get_completion(preferred_over, other_index)
        if other is None or not sees(other.rater_id):
            raise _not_found("preferred_over", preferred_over, other_index)
        if (other.messages, other.tools) != (completion.messages, completion.tools):
            raise _refuse(
                "preferred_over",
                "the two answers are to different prompts",
                "a preference compares answers to the same messages and tools",
            )
    return Feedback(
        feedback_id=f"fb-{uuid.uuid4().hex}",
        idempotency_key=request.idempotency_key or uuid.uuid4().hex,
        completion_id=completion_id,
        choice_index=choice_index,
        rater_id=rater_id,
        created_at=utc_now(),
        thumb=request.thumb,
        categories=categories,
        comment=comment,
        correction=correction,
        preferred_over=preferred_over,
        preferred_over_choice_index=other_index,
        retracted=retract,
        source=source,
        cleared=[] if retract else cleared,
    )


def _is_blank(value: str | list[str] | None) -> bool:
    """Whether a field was sent to take away what it held."""
    return value is not None and not (value.strip() if isinstance(value, str) else value)


def _text(value: str | None) -> str | None:
    return value if value and value.strip() else None


def _refuse(param: str | None, what: str, why: str, do: str = "") -> PawlError:
    return PawlError(what, why, do, code="invalid_feedback", param=param)


def _not_found(param: str, completion_id: str, choice_index: int) -> PawlError:
    choice = f" (choice {choice_index})" if choice_index else ""
    return PawlError(
        f"completion {completion_id!r}{choice} is not known",
        "no answer with this id was recorded here",
        "Send the id from the answer's body or its X-Pawl-Completion-Id header",
        code="completion_not_found",
        param=param,
    )
