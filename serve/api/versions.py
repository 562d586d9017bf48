"""The /admin/versions routes: every version that was brought in, and the flags that it learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query

from feedback.champion import BASE_VERSION, number_of
from feedback.lineage import Trained, counts_of, flags
from pawl.errors import PawlError
from pawl.schemas import (
    FlagOutcome,
    FlagPage,
    Promotion,
    Version,
    VersionCounts,
    VersionState,
    VersionSummary,
)
from serve.api.bodies import JsonRoute
from serve.champion import champion_stack
from serve.promotion import Promoter

if TYPE_CHECKING:
    from feedback.store import Store


def version_routes(store: Store, promoter: Promoter) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/admin/versions", route_class=JsonRoute, tags=["admin"])

    def trained() -> list[Trained]:
        """The versions whose night is known, oldest first."""
        snapshots = {
            run["run_id"]: str(run["detail"].get("snapshot_id") or "") for run in store.runs()
        }
        return [
            Trained(row.version, row.run_id or "", snapshots[row.run_id or ""])
            for row in _brought_in(promoter)
            if snapshots.get(row.run_id or "")
        ]

    @router.get("")
    def list_versions() -> list[VersionSummary]:
        """Every version, the newest first, `base` last: its state, and what its gate found of
        people's flags."""
        moves, champion = store.promotions(), store.champion()
        stack = champion_stack(moves)
        known = {one.version: one for one in trained()}
        counts = counts_of(store, list(known.values()))
        found = [
            VersionSummary(
                version=row.version,
                state=_state(row, champion, stack),
                run_id=row.run_id,
                at=row.created_at,
                previous_version=row.previous_version,
                reason=row.reason,
                snapshot_id=known[row.version].snapshot_id if row.version in known else None,
                counts=counts.get(row.version, VersionCounts()),
            )
            for row in reversed(_brought_in(promoter))
        ]
        state: VersionState = "champion" if champion == BASE_VERSION else "base"
        return [*found, VersionSummary(version=BASE_VERSION, state=state)]

    @router.get("/flags")
    def list_flags(
        version: Version | None = None,
        outcome: FlagOutcome | None = None,
        search: Annotated[str, Query(max_length=300)] = "",
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
    ) -> FlagPage:
        """Flags that nights took up, the newest first, each with the version that answered, the
        first that was trained on it, and what gates found of it. `version`: of its snapshot
        alone."""
        known = trained()
        of = [one for one in known if version in (None, one.version)]
        if version is not None and not of:
            raise PawlError(
                f"{version} was made by no night that is known",
                do="'pawl history' lists the versions",
                code="unknown_version",
                param="version",
            )
        return flags(
            store, known, of=of, outcome=outcome, search=search, offset=offset, limit=limit
        )

    return router


def _brought_in(promoter: Promoter) -> list[Promotion]:
    """The move that brought each version in, as it stands now, oldest first."""
    rows = {row.version: row for row in promoter.history() if row.kind == "promote"}
    return sorted(rows.values(), key=lambda row: number_of(row.version))


def _state(row: Promotion, champion: str, stack: list[str]) -> VersionState:
    if row.version == champion:
        return "champion"
    if row.outcome != "live":
        return row.outcome
    return "before" if row.version in stack else "rolled_back"
