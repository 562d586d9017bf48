"""What the gateway asks for: feedback checked and kept, a snapshot taken."""

from __future__ import annotations

import uuid
from typing import Any

from feedback.categories import check_categories
from feedback.curation import curate
from feedback.current import CLEARABLE
from feedback.snapshots import freeze
from feedback.store import Store
from pawl.errors import PawlError, short
from pawl.schemas import Feedback, utc_now
from pawl.settings import Settings

MOST_COMMENT_CHARACTERS = 10_000
MOST_CORRECTION_CHARACTERS = 100_000
_MOST_KEY_CHARACTERS = 200
_FIELDS: dict[str, tuple[type, str]] = {
    "completion_id": (str, "a string"),
    "choice_index": (int, "a whole number"),
    "thumb": (str, '"up" or "down"'),
    "categories": (list, "a list of category keys"),
    "comment": (str, "a string"),
    "correction": (str, "a string"),
    "preferred_over": (str, "a completion id"),
    "preferred_over_choice_index": (int, "a whole number"),
    "retract": (bool, "true or false"),
    "user": (str, "a string"),
    "idempotency_key": (str, "a string"),
}


def submit_feedback(
    store: Store, body: Any, rater_id: str, source: str = "api"
) -> tuple[Feedback, bool]:
    """Check and store one feedback; waits for the commit.

    Args:
        body: the parsed JSON of ``POST /v1/feedback``. ``user`` is checked and left to the
            caller, who makes ``rater_id`` of it. A field that is absent or null leaves what this
            person said before; an empty text or list takes it away.
        source: ``api``, ``chat_page`` or ``import:<format>``.

    Returns:
        The stored row and whether it was stored before: a repeated ``idempotency_key`` of this
        rater answers the first row.

    Raises:
        PawlError: what is wrong with the body (400), an unknown completion (404,
            ``completion_not_found``), or a store that can't take it (503, 507).
    """
    feedback = check_feedback(store, body, rater_id, source)
    stored = store.append_feedback(feedback).result()
    return stored, stored.feedback_id != feedback.feedback_id


def take_snapshot(store: Store, settings: Settings) -> dict[str, Any]:
    """Curate all there is, freeze it and record it. Answers ``freeze``'s manifest.

    The same rows as before give the same snapshot, recorded once.
    """
    store.fix_split_salt(settings.split_salt)
    curated = curate(store, settings)
    manifest = freeze(curated, settings.snapshots_dir, settings)
    if all(one["snapshot_id"] != manifest["snapshot_id"] for one in store.snapshots()):
        store.append_snapshot(manifest, curated.rows, curated.rejected).result()
    return manifest


def check_feedback(store: Store, body: Any, rater_id: str, source: str = "api") -> Feedback:
    """The row that a body asks for, checked and not yet stored. Errors as ``submit_feedback``."""
    body = _check_types(body)
    thumb, categories = body.get("thumb"), list(dict.fromkeys(body.get("categories", [])))
    comment, correction = (
        _text(body, "comment", MOST_COMMENT_CHARACTERS),
        _text(body, "correction", MOST_CORRECTION_CHARACTERS),
    )
    preferred_over, retract = body.get("preferred_over") or None, body.get("retract", False)
    cleared = [name for name in CLEARABLE if name in body and _is_blank(body[name])]
    if thumb not in (None, "up", "down"):
        raise _refuse("thumb", f"thumb is {thumb!r}", 'it is "up" or "down"')
    check_categories(categories, store.categories())
    said = (thumb, categories, comment, correction, preferred_over)
    if retract and any(said):
        raise _refuse(
            "retract",
            "retract came with other feedback",
            "it takes back all that this person said about the answer",
            "Send retract alone, or the new feedback alone",
        )
    if not retract and not any(said) and not cleared:
        raise _refuse(
            None,
            "the feedback is empty",
            "it says nothing about the answer",
            "Send thumb, categories, comment, correction, preferred_over or retract",
        )
    completion_id, choice_index = body["completion_id"], body.get("choice_index", 0)
    completion = store.get_completion(completion_id, choice_index)
    if completion is None:
        raise _not_found("completion_id", completion_id, choice_index)
    if cleared and not retract and not any(said):
        before = store.current_feedback(completion_id, rater_id)
        if not any(one.choice_index == choice_index for one in before):
            raise _refuse(
                None,
                "the feedback is empty",
                f"it takes away {', '.join(cleared)}, and nothing was said about this answer",
                "Send thumb, categories, comment, correction or preferred_over",
            )
    other_index = body.get("preferred_over_choice_index", 0)
    if preferred_over is None and "preferred_over_choice_index" in body:
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
        if other is None:
            raise _not_found("preferred_over", preferred_over, other_index)
        if other.messages != completion.messages:
            raise _refuse(
                "preferred_over",
                "the two answers are to different prompts",
                "a preference compares answers to the same messages",
            )
    return Feedback(
        feedback_id=f"fb-{uuid.uuid4().hex}",
        idempotency_key=body.get("idempotency_key") or uuid.uuid4().hex,
        completion_id=completion_id,
        choice_index=choice_index,
        rater_id=rater_id,
        created_at=utc_now(),
        thumb=thumb,
        categories=categories,
        comment=comment,
        correction=correction,
        preferred_over=preferred_over,
        preferred_over_choice_index=other_index,
        retracted=retract,
        source=source,
        cleared=[] if retract else cleared,
    )


def _check_types(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise _refuse(
            None,
            f"feedback is a JSON object, not {short(body)}",
            "",
            'Send {"completion_id": ..., "thumb": "down", ...}',
        )
    unknown = sorted(set(body) - set(_FIELDS))
    if unknown:
        raise _refuse(
            unknown[0],
            f"unknown field {', '.join(map(repr, unknown))}",
            f"feedback has {', '.join(_FIELDS)}",
            "Remove it or mend its name",
        )
    body = {name: value for name, value in body.items() if value is not None}
    for name, value in body.items():
        kind, wanted = _FIELDS[name]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise _refuse(name, f"{name} is {short(value)}", f"it must be {wanted}")
        if isinstance(value, str):
            _check_unicode(name, value)
    for one in body.get("categories", []):
        if not isinstance(one, str):
            raise _refuse("categories", f"categories holds {one!r}", "it is a list of strings")
    if not body.get("completion_id"):
        raise _refuse(
            "completion_id",
            "completion_id is missing",
            "feedback is about one recorded answer",
            "Send the id from the answer's body or its X-Pawl-Completion-Id header",
        )
    for name in ("choice_index", "preferred_over_choice_index"):
        if not 0 <= body.get(name, 0) < 1000:
            raise _refuse(name, f"{name} is {body[name]}", "choices are counted from 0")
    if len(body.get("idempotency_key", "")) > _MOST_KEY_CHARACTERS:
        raise _refuse(
            "idempotency_key",
            "idempotency_key is too long",
            f"at most {_MOST_KEY_CHARACTERS} characters",
        )
    return body


def _check_unicode(name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as err:
        raise _refuse(
            name, f"{name} is not valid Unicode", f"half a surrogate pair at character {err.start}"
        ) from None


def _is_blank(value: Any) -> bool:
    return not (value.strip() if isinstance(value, str) else value)


def _text(body: dict[str, Any], name: str, most: int) -> str | None:
    text = str(body.get(name, ""))
    if len(text) > most:
        raise _refuse(
            name, f"{name} has {len(text):,} characters", f"at most {most:,} are kept", "Shorten it"
        )
    return text if text.strip() else None


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
