"""The /admin/reviews routes: what reviewers look at, and what they decide."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import date
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Query, Request

from feedback.champion import BASE_VERSION
from feedback.decided import decisions_of
from feedback.review_filter import ReviewFilter
from feedback.review_queue import Queue
from feedback.reviews import decide, undo, unknown_answer
from feedback.rows import same_text
from pawl.errors import PawlError
from pawl.schemas import (
    PLAIN_ROLES,
    Agreement,
    Alternatives,
    AlternativesRequest,
    Category,
    CategoryRequest,
    DecidedPage,
    Review,
    ReviewQueue,
    ReviewRequest,
    UndoRequest,
)
from serve.api.admin import ready
from serve.api.auth import caller_of
from serve.api.bodies import JsonRoute
from serve.api.generate import GREEDY, generate

if TYPE_CHECKING:
    from feedback.store import Store
    from pawl.settings import Settings
    from serve.api.admission import Admission
    from serve.engine.replicas import AnyEngine


_Words = Annotated[str, Query(max_length=300)]


def _filter(
    search: _Words = "",
    category: _Words = "",
    version: _Words = "",
    rater: _Words = "",
    since: date | None = None,
    until: date | None = None,
) -> ReviewFilter:
    return ReviewFilter(search, category, version, rater, since, until)


Filter = Annotated[ReviewFilter, Depends(_filter)]


def review_routes(
    settings: Settings,
    store: Store,
    engine: AnyEngine | None,
    offered: Callable[[], Collection[str]],
    admission: Admission,
) -> APIRouter:
    """The routes.

    Args:
        offered: the versions that the engine has loaded.
    """
    router = APIRouter(prefix="/admin/reviews", route_class=JsonRoute, tags=["reviews"])
    queue = Queue(store, settings)

    @router.get("")
    def show_queue(
        request: Request,
        limit: Annotated[int, Query(ge=0, le=100)] = 10,
        skipped: bool = False,
        first: Annotated[str, Query(max_length=1000)] = "",
        answer: Annotated[str, Query(max_length=1000)] = "",
        *,
        only: Filter,
    ) -> ReviewQueue:
        """Flagged answers that wait for this reviewer, the most useful first; `skipped`: those
        that they left to others; `first`: an item to begin with; `answer`: the same, also where
        nobody flagged it or it was decided. Of those: `search` (words of the
        prompt's last message, the answer, comments, corrections, or an id), `category`, `version`,
        `rater` (who said something of it, or a part of the name), `since` and `until` (days on
        which it was answered, UTC)."""
        return queue.of(caller_of(request.scope).name, limit, skipped, first, only, answer)

    @router.get("/decisions")
    def show_decisions(
        request: Request,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
        *,
        only: Filter,
    ) -> DecidedPage:
        """What this reviewer decided, as it stands, the newest first, and what nights made of it
        since; of those: as for the queue."""
        return decisions_of(store, caller_of(request.scope).name, only, offset, limit)

    @router.post("")
    def add_decision(request: Request, body: ReviewRequest) -> list[Review]:
        """Decide on one answer or several that are nearly one. It counts in the next curation as
        this reviewer's word; a rejection for another reason than `fine` puts aside all that was
        said of the answers."""
        return decide(store, body, caller_of(request.scope).name)

    @router.post("/undo")
    def undo_decision(request: Request, body: UndoRequest) -> list[Review]:
        """Take back what this reviewer decided last, or the decision `batch_id` of theirs."""
        return undo(store, caller_of(request.scope).name, body.batch_id)

    @router.get("/agreement")
    def show_agreement() -> Agreement:
        """How far reviewers agree: Cohen's kappa of each two, Krippendorff's alpha of all."""
        return queue.agreement()

    @router.post("/alternatives")
    async def sample(body: AlternativesRequest) -> Alternatives:
        """Other answers to a recorded prompt, for a correction to be picked from. They are not
        recorded; a decision says which was picked (`origin`)."""
        answer = await asyncio.to_thread(
            store.get_completion, body.completion_id, body.choice_index
        )
        if answer is None:
            raise unknown_answer(body.completion_id)
        if any(message.get("role") in PLAIN_ROLES for message in answer.messages) or answer.tools:
            raise PawlError(
                "this prompt can't be asked again", "it is no chat, or it has tools",
                "Write a correction", code="invalid_value", param="completion_id",
            )  # fmt: skip
        champion = store.champion()
        version = champion if champion in offered() else BASE_VERSION
        settings = store.version_settings(version)
        messages = settings.asked(answer.messages) if settings else answer.messages
        found = await generate(
            ready(engine), [messages] * body.n, body.max_tokens, admission,
            model=store.weights_of(version), sampling={**GREEDY, "temperature": body.temperature},
        )  # fmt: skip
        texts = dict.fromkeys(one["text"] for one in found if one["is_finished"])
        others = [text for text in texts if text and not same_text(text, answer.completion)]
        return Alternatives(version=version, temperature=body.temperature, texts=others)

    @router.post("/categories")
    def set_category(body: CategoryRequest) -> list[Category]:
        """Add a category, or change what one says and what becomes of flags that name it; answers
        all of them. None is ever taken away: flags may name it."""
        store.append_category(Category(**body.model_dump())).result()
        return store.categories()

    return router
