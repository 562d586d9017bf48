"""The /admin routes: what an operator, the command line and the nightly run ask of a server."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Annotated, Any, cast

from fastapi import APIRouter, Query, Request

import pawl
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import (
    Account,
    AccountChange,
    AccountInfo,
    AccountRequest,
    AuditEntry,
    BaseStatus,
    ChangedAccount,
    Drill,
    EngineStatus,
    Explanation,
    ExportCounts,
    ExportRequest,
    GeneratedAnswers,
    GenerateRequest,
    ImportCounts,
    ImportRequest,
    Key,
    KeyInfo,
    KeyRequest,
    NewKey,
    NoFields,
    Promotion,
    PromotionRequest,
    ReplicaHealth,
    RollbackRequest,
    Shadow,
    ShadowRequest,
    SnapshotManifest,
    SnapshotRequest,
    Status,
    Traffic,
)
from pawl.server import running_server
from pawl.settings import Settings, shared_settings
from serve.api.accounts import change_account, new_account
from serve.api.accounts import remove_account as remove_account_of
from serve.api.auth import caller_of
from serve.api.bodies import JsonRoute
from serve.api.errors import engine_off
from serve.api.generate import generate
from serve.api.keys import new_key
from serve.api.runs import running_night
from serve.api.shadow import shadow
from serve.canary import Canary
from serve.drill import drill
from serve.promotion import Promoter

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.admission import Admission
    from serve.engine.replicas import AnyEngine, Replicas

_log = logging.getLogger("pawl.admin")


def admin_routes(
    settings: Settings,
    base: BaseModel,
    store: Store,
    engine: AnyEngine | None,
    promoter: Promoter,
    admission: Admission,
) -> APIRouter:
    router = APIRouter(prefix="/admin", route_class=JsonRoute, tags=["admin"])
    canary = Canary(settings, store, promoter)

    # ---- the champion ----

    @router.get("/status")
    def status() -> Status:
        """Which version answers, how the engine is, what is in the store."""
        server, on_canary = None, promoter.canary
        if engine is not None:  # else a file that is there was left by a server that was killed
            with contextlib.suppress(PawlError):
                server = running_server(settings)
        return Status(
            version=pawl.__version__,
            base=BaseStatus(name=base.name, fingerprint=base.fingerprint, dir=str(base.model_dir)),
            champion=store.champion(),
            engine=EngineStatus.model_validate(engine or EngineStatus(), from_attributes=True),
            adapters=sorted(promoter.offered),
            waiting=[row for row in promoter.history() if row.outcome == "waiting"],
            canary=canary.status(on_canary) if on_canary is not None else None,
            night=running_night(settings, store),
            counts=store.counts(),
            url=server.url if server else None,
            exchange_dir=str(settings.exchange_dir),
            settings=shared_settings(settings),
        )

    @router.get("/history")
    def history() -> list[Promotion]:
        """Every promotion and rollback, oldest first, each as it stands now."""
        return promoter.history()

    @router.post("/promotions")
    async def promote(request: Request, body: PromotionRequest) -> Promotion:
        """Bring an adapter in, or make a version of a system prompt and sampling; the answer says
        what became of it."""
        return await promoter.promote(body, caller_of(request.scope).name)

    @router.post("/rollback")
    async def roll_back(body: RollbackRequest) -> Promotion:
        """Make an earlier champion the champion again."""
        return await promoter.rollback(body.to)

    @router.post("/drill")
    async def rehearse(body: NoFields) -> Drill:
        """Rehearse a rollback and the way back in the engine; the champion stays."""
        ready(engine)
        return await drill(promoter, store)

    @router.post("/replicas/{number}/drain")
    async def drain_replica(number: int, body: NoFields) -> ReplicaHealth:
        """Take a replica out: others get new requests, and it stops when its answers have ended.
        Answers at once."""
        return ReplicaHealth.model_validate(several(engine).drain(number), from_attributes=True)

    @router.post("/replicas/{number}/return")
    async def bring_back_replica(number: int, body: NoFields) -> ReplicaHealth:
        """Bring a replica back, which starts where it has stopped."""
        found = await several(engine).bring_back(number)
        return ReplicaHealth.model_validate(found, from_attributes=True)

    @router.post("/shadow")
    async def compare(body: ShadowRequest) -> Shadow:
        """Let two versions answer the newest recorded prompts; where they differ most. The
        answers are not recorded."""
        return await shadow(ready(engine), promoter, store, admission, body)

    # ---- who may do what ----

    @router.get("/keys")
    def list_keys() -> list[KeyInfo]:
        """Every key, the revoked ones too, oldest first; without their secrets."""
        return [KeyInfo(**_told(key)) for key in store.access.all_keys()]

    @router.post("/keys")
    def add_key(body: KeyRequest) -> NewKey:
        """Make a key; the answer holds its secret, which is not kept."""
        key, secret = new_key(store.access, body)
        return NewKey(**_told(key), key=secret)

    @router.post("/keys/{name}/revoke")
    def revoke_key(name: str, body: NoFields) -> KeyInfo:
        """Refuse a key from now on."""
        return KeyInfo(**_told(store.access.revoke_key(name)))

    @router.get("/accounts")
    def list_accounts() -> list[AccountInfo]:
        """Every account, the removed ones too, oldest first; without their passwords."""
        return [AccountInfo(**_told(account)) for account in store.access.accounts.all_accounts()]

    @router.post("/accounts")
    def add_account(body: AccountRequest) -> ChangedAccount:
        """Make an account, or bring a removed one back; without a password the answer has one that
        works once."""
        account, password = new_account(store.access.accounts, body)
        return ChangedAccount(**_told(account), one_time_password=password)

    @router.post("/accounts/{name}")
    def change(name: str, body: AccountChange) -> ChangedAccount:
        """Change an account's role or password; a password ends its sessions, and an empty one
        makes one that works once. The last administrator's account keeps its role."""
        account, password = change_account(store.access.accounts, name, body)
        return ChangedAccount(**_told(account), one_time_password=password)

    @router.post("/accounts/{name}/remove")
    def remove_account(name: str, body: NoFields) -> AccountInfo:
        """Let nobody sign in under this name from now on, and end its sessions; not the last
        administrator's."""
        return AccountInfo(**_told(remove_account_of(store.access.accounts, name)))

    @router.get("/audit")
    def show_audit(
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
        search: Annotated[str, Query(max_length=200)] = "",
    ) -> list[AuditEntry]:
        """What administrators did, and who was refused: the newest entries, oldest first, but for
        the `offset` newest, of those that hold `search`."""
        return store.access.audit(limit, offset, search)

    # ---- rows ----

    @router.get("/traffic")
    def show_traffic(
        seed: Annotated[str, Query(max_length=200)] = "",
        n: Annotated[int, Query(ge=0, le=10_000)] = 0,
        newest: Annotated[int, Query(ge=0, le=10_000)] = 0,
    ) -> Traffic:
        """The ledger of the gate, how often answers are flagged, up to `n` answers that nobody
        flagged, drawn by `seed`, and the `newest` newest prompts."""
        from feedback.service import traffic_of

        return traffic_of(store, seed, n, base.fingerprint, newest)

    @router.post("/snapshots")
    def snapshot(body: SnapshotRequest) -> SnapshotManifest:
        """Curate what was said so far and freeze it; answers the snapshot's manifest. One `without`
        some raters is not the store's: no night learns from it."""
        from feedback.service import take_snapshot

        taken = take_snapshot(store, settings, body.without, body.mended)
        manifest = SnapshotManifest(**taken)
        _log.info("snapshot %s: %s", manifest.snapshot_id, manifest.counts)
        return manifest

    @router.get("/explain")
    def explain_id(
        id_: Annotated[str, Query(alias="id", min_length=1, max_length=200)],
    ) -> Explanation:
        """Where an answer, feedback or row went, or which rule put it aside."""
        from feedback.explain import explain

        return explain(store, settings, id_)

    @router.post("/import")
    def import_rows(body: ImportRequest) -> ImportCounts:
        """Read training rows from a file of the exchange folder."""
        from feedback.erasing import while_reading
        from feedback.formats import Exchange, import_file

        exchange = Exchange.of(settings)
        with while_reading(settings):
            counts = ImportCounts(
                **import_file(
                    store, exchange, body.path, body.format, body.map, is_dry_run=body.dry_run
                )
            )
        _log.info("import: %s", counts.message)
        return counts

    @router.post("/export")
    def export_rows(body: ExportRequest) -> ExportCounts:
        """Write training rows to a new file of the exchange folder."""
        from feedback.formats import Exchange, export_file

        exchange = Exchange.of(settings)
        counts = ExportCounts(**export_file(store, exchange, body.path, body.format, settings))
        _log.info("export: %s", counts.message)
        return counts

    @router.post("/generate")
    async def generate_answers(body: GenerateRequest) -> GeneratedAnswers:
        """The base's greedy answers, for replay; they are not recorded."""
        prompts = [[message.model_dump() for message in prompt] for prompt in body.prompts]
        answers: Any = await generate(ready(engine), prompts, body.max_tokens, admission)
        return GeneratedAnswers(answers=answers)

    return router


def ready(engine: AnyEngine | None) -> AnyEngine:
    """The engine. Raises PawlError: there is none, or it is not ready."""
    if engine is None:
        raise engine_off()
    if not engine.is_ready:
        raise engine.unavailable()
    return engine


def several(engine: AnyEngine | None) -> Replicas:
    """The replicas. Raises PawlError: there is no engine, or only one."""
    if engine is None:
        raise engine_off()
    if len(engine.replicas) == 1:
        raise PawlError(
            "the one engine can't be taken out",
            "the server has no other",
            "Set engine.replicas, or stop the server",
            code="last_replica",
        )
    return cast("Replicas", engine)


def _told(of: Key | Account) -> dict[str, Any]:
    """What may be said of a key or an account."""
    secret = ("secret_hash", "password_hash")
    return {name: value for name, value in of.as_json().items() if name not in secret}
