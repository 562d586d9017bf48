"""The /admin/reviews routes: what reviewers look at, and what they decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request

from feedback.review_queue import Queue
from feedback.reviews import decide, undo
from pawl.schemas import Agreement, NoFields, Review, ReviewQueue, ReviewRequest
from serve.api.auth import caller_of
from serve.api.bodies import JsonRoute

if TYPE_CHECKING:
    from feedback.store import Store
    from pawl.settings import Settings


def review_routes(settings: Settings, store: Store) -> APIRouter:
    router = APIRouter(prefix="/admin/reviews", route_class=JsonRoute, tags=["reviews"])
    queue = Queue(store, settings)

    @router.get("")
    def show_queue(
        request: Request,
        limit: Annotated[int, Query(ge=0, le=100)] = 10,
        skipped: bool = False,
        first: Annotated[str, Query(max_length=1000)] = "",
    ) -> ReviewQueue:
        """Flagged answers that wait for this reviewer, the most useful first; `skipped`: those
        that they left to others; `first`: an item to begin with."""
        return queue.of(caller_of(request.scope).name, limit, skipped, first)

    @router.post("")
    def add_decision(request: Request, body: ReviewRequest) -> list[Review]:
        """Decide on one answer or several that are nearly one. It counts in the next curation as
        this reviewer's word; a rejection for another reason than `fine` puts aside all that was
        said of the answers."""
        return decide(store, body, caller_of(request.scope).name)

    @router.post("/undo")
    def undo_decision(request: Request, body: NoFields) -> list[Review]:
        """Take back what this reviewer decided last."""
        return undo(store, caller_of(request.scope).name)

    @router.get("/agreement")
    def show_agreement() -> Agreement:
        """How far reviewers agree: Cohen's kappa of each two, Krippendorff's alpha of all."""
        return queue.agreement()

    return router
