"""The /admin/versions routes: every version that was brought in, and the flags that it learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query

from feedback.champion import BASE_VERSION, champion_stack
from feedback.lineage import brought_in, counts_of, flags, trained_versions
from feedback.moves import OPERATOR, moves_about, moves_of
from pawl.errors import PawlError
from pawl.schemas import (
    FlagOutcome,
    FlagPage,
    Promotion,
    Version,
    VersionCounts,
    VersionSettings,
    VersionState,
    VersionSummary,
)
from pawl.server import SERVER_CALLERS
from serve.api.bodies import JsonRoute

if TYPE_CHECKING:
    from feedback.store import Store


def version_routes(store: Store) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/admin/versions", route_class=JsonRoute, tags=["admin"])

    @router.get("")
    def list_versions() -> list[VersionSummary]:
        """Every version, the newest first, `base` last: its state, what its gate found of people's
        flags, and what moved it, when and by whom."""
        moves, champion = moves_of(store), store.champion()
        stack = champion_stack(store.promotions())
        known = {one.version: one for one in trained_versions(store)}
        snapshots = {version: one.snapshot_id for version, one in known.items()}
        counts = counts_of(store, list(known.values()))
        settings = {one.version: one for one in store.all_version_settings()}
        found = [
            VersionSummary(
                version=row.version,
                state=_state(row, champion, stack),
                run_id=row.run_id,
                at=row.created_at,
                previous_version=row.previous_version,
                reason=row.reason,
                snapshot_id=snapshots.get(row.version) or None,
                counts=counts.get(row.version, VersionCounts()),
                moves=moves_about(moves, [row.version]),
                **_asked_with(settings.get(row.version)),
            )
            for row in reversed(brought_in(store))
        ]
        state: VersionState = "champion" if champion == BASE_VERSION else "base"
        of_base = moves_about(moves, [BASE_VERSION])
        return [*found, VersionSummary(version=BASE_VERSION, state=state, moves=of_base)]

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
        known = trained_versions(store)
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


def _asked_with(settings: VersionSettings | None) -> dict[str, Any]:
    """What the summary says of a system prompt and sampling."""
    if settings is None:
        return {}
    told = settings.as_json()
    if settings.made_by in SERVER_CALLERS:  # as the moves beside it have it
        told["made_by"] = OPERATOR
    names = ("system_prompt", "sampling", "made_by", "fingerprint")
    on = settings.weights if settings.weights != settings.version else None
    return {"on": on, **{name: told[name] for name in names}}


def _state(row: Promotion, champion: str, stack: list[str]) -> VersionState:
    if row.version == champion:
        return "champion"
    if row.outcome != "live":
        return row.outcome
    return "before" if row.version in stack else "rolled_back"
