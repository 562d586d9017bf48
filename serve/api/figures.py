"""The /admin routes of figures: what the dashboard shows, and what callers may use and used."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from feedback.dashboard import MOST_DAYS, dashboard
from feedback.review_queue import Queue
from pawl.schemas import CallerUse, Dashboard, Limit, Quotas, written
from serve.api.bodies import JsonRoute

if TYPE_CHECKING:
    from feedback.store import Store
    from pawl.settings import Settings

MOST_CALLERS = 50
OF_CALLER = (
    "requests_per_minute", "tokens_per_minute", "requests_at_once", "feedback_per_hour",
    "reads_per_minute", "caller_share",
)  # fmt: skip


def figure_routes(settings: Settings, store: Store) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/admin", route_class=JsonRoute, tags=["figures"])
    queue = Queue(store, settings)

    @router.get("/dashboard")
    def show_dashboard(days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = 30) -> Dashboard:
        """Answers, thumbs and flags of the last `days` days by time, version, category and word;
        what is complained about most; what waits for reviewers and for training."""
        found = dashboard(store, days)
        found.backlog = queue.backlog()
        return found

    @router.get("/quotas")
    def show_quotas() -> Quotas:
        """The quotas of each caller, and who used how much in the last 24 hours."""
        fields = type(settings.limits).model_fields
        limits = [
            Limit(key=f"limits.{name}", value=getattr(settings.limits, name),
                  meaning=fields[name].description or "")
            for name in OF_CALLER
        ]  # fmt: skip
        rows = store.read(
            "SELECT split_part(rater_id, '/', 1) AS name, count(*),"
            # Each choice has the count of its prompt.
            " sum(if(choice_index = 0, coalesce(n_prompt_tokens, 0), 0)"
            " + coalesce(n_completion_tokens, 0)) AS n_tokens"
            " FROM completions WHERE created_at >= ? GROUP BY name ORDER BY n_tokens DESC, name"
            f" LIMIT {MOST_CALLERS}",
            [written(datetime.now(UTC) - timedelta(days=1))],
        )
        callers = [CallerUse(name=name, n_answers=n, n_tokens=int(tokens or 0))
                   for name, n, tokens in rows]  # fmt: skip
        return Quotas(limits=limits, callers=callers)

    return router
