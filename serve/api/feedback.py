"""The public routes of feedback.

What waits for the store is done beside little other of the same caller's, so that nobody takes all
threads; feedback has a quota.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request

from feedback.service import submit_feedback, submit_feedbacks
from pawl.errors import PawlError
from pawl.schemas import (
    Category,
    Feedback,
    FeedbackBatch,
    FeedbackRequest,
    FeedbackResult,
    FeedbackResults,
    StoredFeedback,
)
from serve.api.auth import caller_of
from serve.api.bodies import JsonRoute
from serve.api.errors import error_body, status_of
from serve.api.turns import StoreTurns, rater_named_by, share_named_by

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.admission import Admission
    from serve.api.gateways import Gateways


def feedback_routes(
    store: Store, admission: Admission, turns: StoreTurns, gateways: Gateways
) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, tags=["feedback"])

    @router.post("/v1/feedback")
    async def add_feedback(request: Request, body: FeedbackRequest) -> StoredFeedback:
        """Store what one person says about one answer; `duplicate` if it was stored before."""
        caller, headers = caller_of(request.scope), request.headers
        rater_id = rater_named_by(request, body.user)
        source = "chat_page" if headers.get("x-pawl-source") == "chat_page" else "api"
        admission.charge_feedback(share_named_by(request), 1)
        await gateways.arrived(body.completion_id, body.preferred_over)
        try:
            feedback, duplicate = await turns.run(
                request, partial(submit_feedback, store, body, rater_id, source, caller.sees)
            )
        except PawlError as error:
            raise gateways.explained(error, body.completion_id, body.preferred_over) from None
        return StoredFeedback(**feedback.as_json(), duplicate=duplicate)

    @router.post("/v1/feedback/batch")
    async def add_feedback_batch(request: Request, body: FeedbackBatch) -> FeedbackResults:
        """Store feedback on several answers. Each counts for itself: one that is refused (its
        answer is not known, its person can't be) keeps none of the others out. Where the store
        fails, all of it is one error, and may be sent again under the same idempotency keys."""
        caller = caller_of(request.scope)
        admission.charge_feedback(share_named_by(request), len(body.feedback))
        sent, refused = [], {}
        for place, one in enumerate(body.feedback):
            try:
                sent.append((one, rater_named_by(request, one.user)))
            except PawlError as error:
                refused[place] = error
        await gateways.arrived(
            *(name for one in body.feedback for name in (one.completion_id, one.preferred_over))
        )
        results = []
        told_of = iter(
            await turns.run(request, partial(submit_feedbacks, store, sent, "api", caller.sees))
        )
        for place, one in enumerate(body.feedback):
            result = refused.get(place) or next(told_of)
            if not isinstance(result, PawlError):
                feedback, duplicate = result
                stored = StoredFeedback(**feedback.as_json(), duplicate=duplicate)
                results.append(FeedbackResult(feedback=stored))
            elif status_of(result) >= 500:
                raise result
            else:
                told = gateways.explained(result, one.completion_id, one.preferred_over)
                results.append(FeedbackResult.model_validate(error_body(told)))
        n_stored = sum(one.feedback is not None for one in results)
        return FeedbackResults(
            results=results, n_stored=n_stored, n_refused=len(results) - n_stored
        )

    @router.get("/v1/feedback")
    async def list_feedback(request: Request, completion_id: str) -> list[Feedback]:
        """What counts now on one completion: one row a person. A user's key gets what was said
        under it, on what was asked under it."""
        caller = caller_of(request.scope)
        await gateways.arrived(completion_id)

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

        try:
            rows = await turns.run(request, read)
        except PawlError as error:
            raise gateways.explained(error, completion_id) from None
        return [row for row in rows if caller.sees(row.rater_id)]

    @router.get("/v1/feedback/categories")
    async def list_categories(request: Request) -> list[Category]:
        """What can be wrong with an answer."""
        return await turns.run(request, store.categories)

    return router
