"""The public routes of what is said back: flagged answers that a newer version gives otherwise."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from feedback.answered_differently import answered_differently
from pawl.errors import PawlError
from pawl.schemas import AnsweredDifferently, DismissRequest
from serve.api.bodies import JsonRoute
from serve.api.conversations import rater_named_by, share_named_by
from serve.api.quotas import Turns

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.admission import Admission

AT_ONCE = 4  # requests of a caller; all have 40 threads
MOST = 50


def answered_differently_routes(store: Store, admission: Admission) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, tags=["feedback"])
    turns = Turns(AT_ONCE)

    async def in_turn(
        request: Request, work: Callable[[], AnsweredDifferently]
    ) -> AnsweredDifferently:
        async with turns.of(share_named_by(request)):
            return await run_in_threadpool(work)

    @router.get("/v1/answered-differently")
    async def list_answered_differently(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 5,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> AnsweredDifferently:
        """What whoever asks flagged of their own answers, and a version that stands now was seen to
        answer otherwise, when its gate asked it that prompt. Who names nobody gets nothing."""
        rater_id = rater_named_by(request)
        return await in_turn(request, partial(_page, store, rater_id, limit, offset))

    @router.post("/v1/answered-differently")
    async def dismiss_answered_differently(
        request: Request, body: DismissRequest
    ) -> AnsweredDifferently:
        """Say nothing of this answer any more; what is left is answered."""
        admission.charge_feedback(share_named_by(request), 1)
        rater_id = rater_named_by(request)

        def dismiss() -> AnsweredDifferently:
            own = store.completions(completion_ids=[body.completion_id], rater_id=rater_id)
            if not own:
                raise PawlError(
                    f"completion {body.completion_id!r} is not known",
                    "no answer with this id was given to whoever asks",
                    "Check the id, and X-Pawl-Rater or the key",
                    code="completion_not_found",
                    param="completion_id",
                )
            store.conversations.dismiss(own[0])
            return _page(store, rater_id, MOST, 0)

        return await in_turn(request, dismiss)

    return router


def _page(store: Store, rater_id: str, limit: int, offset: int) -> AnsweredDifferently:
    found = [] if rater_id == "anonymous" else answered_differently(store, rater_id)
    return AnsweredDifferently(answers=found[offset : offset + limit], n_found=len(found))
