"""The public routes of what is said back: flagged answers that a newer version gives otherwise."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request

from feedback.answered_differently import answered_differently
from pawl.errors import PawlError
from pawl.schemas import AnsweredDifferently, DismissRequest
from serve.api.bodies import JsonRoute
from serve.api.turns import StoreTurns, rater_named_by, share_named_by

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.admission import Admission

MOST = 50


def answered_differently_routes(store: Store, admission: Admission, turns: StoreTurns) -> APIRouter:
    router = APIRouter(route_class=JsonRoute, tags=["feedback"])

    @router.get("/v1/answered-differently")
    async def list_answered_differently(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=MOST)] = 5,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
    ) -> AnsweredDifferently:
        """What whoever asks flagged of their own answers, and a version that stands now was seen to
        answer otherwise, when its gate asked it that prompt. Who names nobody gets nothing."""
        rater_id = rater_named_by(request)
        return await turns.run(request, partial(_page, store, rater_id, limit, offset))

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

        return await turns.run(request, dismiss)

    return router


def _page(store: Store, rater_id: str, limit: int, offset: int) -> AnsweredDifferently:
    found = [] if rater_id == "anonymous" else answered_differently(store, rater_id)
    return AnsweredDifferently(answers=found[offset : offset + limit], n_found=len(found))
