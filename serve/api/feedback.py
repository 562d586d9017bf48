"""The public routes of feedback and of conversations (``GET /v1/conversations/{id}``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from feedback.conversations import thread
from feedback.service import submit_feedback, submit_feedbacks
from pawl.errors import PawlError
from pawl.schemas import (
    Category,
    Conversation,
    ConversationMessage,
    Feedback,
    FeedbackBatch,
    FeedbackRequest,
    FeedbackResult,
    FeedbackResults,
    Role,
    StoredFeedback,
)
from serve.api.auth import caller_of, key_of
from serve.api.bodies import JsonRoute
from serve.api.errors import error_body, status_of
from serve.api.recording import rater_of

if TYPE_CHECKING:
    from feedback.store import Store


def feedback_routes(store: Store) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, tags=["feedback"])

    @router.post("/v1/feedback")
    def add_feedback(request: Request, body: FeedbackRequest) -> StoredFeedback:
        """Store what one person says about one answer; `duplicate` if it was stored before."""
        caller, headers = caller_of(request.scope), request.headers
        rater_id = _rater(request, body.user)
        source = "chat_page" if headers.get("x-pawl-source") == "chat_page" else "api"
        feedback, duplicate = submit_feedback(store, body, rater_id, source, caller.sees)
        return StoredFeedback(**feedback.as_json(), duplicate=duplicate)

    @router.post("/v1/feedback/batch")
    def add_feedback_batch(request: Request, body: FeedbackBatch) -> FeedbackResults:
        """Store feedback on several answers. Each counts for itself: one that is refused (its
        answer is not known) keeps none of the others out. Where the store fails, all of it is one
        error, and may be sent again under the same idempotency keys."""
        caller = caller_of(request.scope)
        sent = [(one, _rater(request, one.user)) for one in body.feedback]
        results = []
        for result in submit_feedbacks(store, sent, "api", caller.sees):
            if not isinstance(result, PawlError):
                feedback, duplicate = result
                stored = StoredFeedback(**feedback.as_json(), duplicate=duplicate)
                results.append(FeedbackResult(feedback=stored))
            elif status_of(result) >= 500:
                raise result
            else:
                results.append(FeedbackResult.model_validate(error_body(result)))
        n_stored = sum(one.feedback is not None for one in results)
        return FeedbackResults(
            results=results, n_stored=n_stored, n_refused=len(results) - n_stored
        )

    @router.get("/v1/feedback")
    def list_feedback(request: Request, completion_id: str) -> list[Feedback]:
        """What counts now on one completion: one row a person. A user's key gets what was said
        under it, on what was asked under it."""
        caller = caller_of(request.scope)
        completion = store.get_completion(completion_id)
        if completion is None or not caller.sees(completion.rater_id):
            raise PawlError(
                f"completion {completion_id!r} is not known",
                "it was never recorded here",
                "Check the id",
                code="completion_not_found",
                param="completion_id",
            )
        return [row for row in store.current_feedback(completion_id) if caller.sees(row.rater_id)]

    @router.get("/v1/conversations/{conversation_id:path}", response_model_exclude_unset=True)
    def show_conversation(conversation_id: str, request: Request) -> Conversation:
        """A conversation as it stands, for the person who took part in it; a reviewer who did not
        reads the newest person's part."""
        caller = caller_of(request.scope)
        reads_all = caller.role.includes(Role.REVIEWER) and not caller.is_everyone
        return read_conversation(store, conversation_id, _rater(request, None), reads_all)

    @router.get("/v1/feedback/categories")
    def list_categories() -> list[Category]:
        """What can be wrong with an answer."""
        return store.categories()

    return router


def _rater(request: Request, user: str | None) -> str:
    headers = request.headers
    caller = caller_of(request.scope)
    return rater_of(caller, headers.get("x-pawl-rater"), user, key_of(headers))


def read_conversation(
    store: Store, conversation_id: str, rater_id: str, reads_all: bool = False
) -> Conversation:
    """The conversation as it stands for one person; waits for the store. Only what is known of a
    message is set.

    Args:
        reads_all: where this person took no part, read the part of whoever was answered last.

    Raises:
        PawlError: this person has no answer in a conversation of that id
            (``conversation_not_found``).
    """
    completions = store.completions(conversation_id=conversation_id, rater_id=rater_id)
    if not completions and reads_all:
        everyones = store.completions(conversation_id=conversation_id)
        rater_id = everyones[-1].rater_id if everyones else rater_id
        completions = [row for row in everyones if row.rater_id == rater_id]
    if not completions:
        raise PawlError(
            f"conversation {conversation_id!r} is not known",
            "no answer to this person was recorded in it",
            "Check the id, and X-Pawl-Rater or the key",
            code="conversation_not_found",
            param="conversation_id",
        )
    ids = sorted({row.completion_id for row in completions})
    feedback = {
        (row.completion_id, row.choice_index): row for row in store.current_feedback(ids, rater_id)
    }
    messages = []
    for message, row in thread(completions):
        known: dict[str, Any] = {}
        if row is not None:
            known = {"completion_id": row.completion_id, "choice_index": row.choice_index,
                     "version": row.version, "status": row.status,
                     "feedback": feedback.get((row.completion_id, row.choice_index))}  # fmt: skip
        messages.append(ConversationMessage(**message, **known))
    return Conversation(conversation_id=conversation_id, messages=messages)
