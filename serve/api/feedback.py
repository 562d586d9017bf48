"""The public routes of feedback and of conversations (``GET /v1/conversations/{id}``).

What waits for the store is done beside little other of the same caller's, so that nobody takes all
threads; feedback has a quota.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from feedback.conversations import thread
from feedback.service import submit_feedback, submit_feedbacks
from pawl.errors import PawlError
from pawl.schemas import (
    Category,
    Completion,
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
from serve.api.admission import share_of
from serve.api.auth import caller_of, key_of
from serve.api.bodies import JsonRoute
from serve.api.errors import error_body, status_of
from serve.api.quotas import Turns
from serve.api.recording import rater_of

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.admission import Admission

AT_ONCE = 4  # requests of a caller; all have 40 threads
MOST_BYTES = 16_000_000  # of a conversation's answers with their prompts, the newest ones
T = TypeVar("T")


def feedback_routes(store: Store, admission: Admission) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, tags=["feedback"])
    turns = Turns(AT_ONCE)

    async def in_turn(request: Request, work: Callable[[], T]) -> T:
        async with turns.of(_share(request)):
            return await run_in_threadpool(work)

    @router.post("/v1/feedback")
    async def add_feedback(request: Request, body: FeedbackRequest) -> StoredFeedback:
        """Store what one person says about one answer; `duplicate` if it was stored before."""
        caller, headers = caller_of(request.scope), request.headers
        rater_id = _rater(request, body.user)
        source = "chat_page" if headers.get("x-pawl-source") == "chat_page" else "api"
        admission.charge_feedback(_share(request), 1)
        feedback, duplicate = await in_turn(
            request, partial(submit_feedback, store, body, rater_id, source, caller.sees)
        )
        return StoredFeedback(**feedback.as_json(), duplicate=duplicate)

    @router.post("/v1/feedback/batch")
    async def add_feedback_batch(request: Request, body: FeedbackBatch) -> FeedbackResults:
        """Store feedback on several answers. Each counts for itself: one that is refused (its
        answer is not known) keeps none of the others out. Where the store fails, all of it is one
        error, and may be sent again under the same idempotency keys."""
        caller = caller_of(request.scope)
        sent = [(one, _rater(request, one.user)) for one in body.feedback]
        admission.charge_feedback(_share(request), len(sent))
        results = []
        for result in await in_turn(
            request, partial(submit_feedbacks, store, sent, "api", caller.sees)
        ):
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
    async def list_feedback(request: Request, completion_id: str) -> list[Feedback]:
        """What counts now on one completion: one row a person. A user's key gets what was said
        under it, on what was asked under it."""
        caller = caller_of(request.scope)

        def read() -> list[Feedback]:
            completion = store.get_completion(completion_id)
            if completion is None or not caller.sees(completion.rater_id):
                raise PawlError(
                    f"completion {completion_id!r} is not known",
                    "it was never recorded here",
                    "Check the id",
                    code="completion_not_found",
                    param="completion_id",
                )
            return store.current_feedback(completion_id)

        return [row for row in await in_turn(request, read) if caller.sees(row.rater_id)]

    @router.get("/v1/conversations/{conversation_id:path}", response_model_exclude_unset=True)
    async def show_conversation(conversation_id: str, request: Request) -> Conversation:
        """A conversation as it stands, for the person who took part in it; a reviewer who did not
        reads the newest person's part. Of a very long one (16 MB of prompts and answers) the
        earliest answers come without their ids."""
        caller, rater_id = caller_of(request.scope), _rater(request, None)
        reads_all = caller.role.includes(Role.REVIEWER) and not caller.is_everyone
        return await in_turn(
            request, partial(read_conversation, store, conversation_id, rater_id, reads_all)
        )

    @router.get("/v1/feedback/categories")
    async def list_categories(request: Request) -> list[Category]:
        """What can be wrong with an answer."""
        return await in_turn(request, store.categories)

    return router


def _rater(request: Request, user: str | None) -> str:
    headers = request.headers
    caller = caller_of(request.scope)
    return rater_of(caller, headers.get("x-pawl-rater"), user, key_of(headers))


def _share(request: Request) -> str:
    """Who is charged: the key or account, else the rater that the head names, else the address."""
    return share_of(request.scope, key_of(request.headers), _rater(request, None))


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

    def answers_to(rater_id: str) -> list[Completion]:
        return store.completions(
            conversation_id=conversation_id, rater_id=rater_id, newest_bytes=MOST_BYTES
        )

    completions = answers_to(rater_id)
    if not completions and reads_all:
        for last in store.completions(conversation_id=conversation_id, newest_bytes=1):
            rater_id, completions = last.rater_id, answers_to(last.rater_id)
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
