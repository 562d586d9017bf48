"""The /admin routes: what an operator, the command line and the nightly run ask of a server."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from pydantic import TypeAdapter, ValidationError

import pawl
from pawl.errors import PawlError
from pawl.files import read_regular
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
    ItemScore,
    Key,
    KeyInfo,
    KeyRequest,
    NewKey,
    NoFields,
    Promotion,
    PromotionRequest,
    RollbackRequest,
    Run,
    RunState,
    RunWithVerdict,
    ScoresRequest,
    Shadow,
    ShadowRequest,
    SnapshotManifest,
    SnapshotRequest,
    Status,
    StoredScores,
    StoredVerdict,
    Traffic,
    Verdict,
)
from pawl.server import running_server
from pawl.settings import Settings, shared_settings
from serve.api.accounts import change_account, new_account
from serve.api.accounts import remove_account as remove_account_of
from serve.api.bodies import JsonRoute
from serve.api.errors import engine_off
from serve.api.generate import generate
from serve.api.keys import new_key
from serve.api.shadow import shadow
from serve.canary import Canary
from serve.drill import drill
from serve.promotion import Promoter

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.api.admission import Admission
    from serve.engine.supervisor import Engine

MOST_SCORES_BYTES = 1_000_000_000  # of one folder's items; an item takes some 200
_log = logging.getLogger("pawl.admin")


def admin_routes(
    settings: Settings,
    base: BaseModel,
    store: Store,
    engine: Engine | None,
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
    async def promote(body: PromotionRequest) -> Promotion:
        """Bring an adapter in; the answer says what became of it."""
        return await promoter.promote(body)

    @router.post("/rollback")
    async def roll_back(body: RollbackRequest) -> Promotion:
        """Make an earlier champion the champion again."""
        return await promoter.rollback(body.to)

    @router.post("/drill")
    async def rehearse(body: NoFields) -> Drill:
        """Rehearse a rollback and the way back in the engine; the champion stays."""
        ready(engine)
        return await drill(promoter, store)

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

    # ---- nightly runs ----

    @router.get("/runs")
    def list_runs() -> list[Run]:
        """Latest state of every run, newest first."""
        moves = {row.run_id: row for row in promoter.history()}
        return [Run(**run, promotion=moves.get(run["run_id"])) for run in store.runs()]

    @router.get("/runs/{run_id}")
    def show_run(run_id: str) -> RunWithVerdict:
        """Latest state of one run, with its verdict."""
        run = store.run(run_id)
        if run is None:
            raise PawlError(
                f"run {run_id!r} is not known",
                "no night of that name was recorded",
                do="List the runs with 'pawl runs'",
                code="unknown_run",
                param="run_id",
            )
        moves = {row.run_id: row for row in promoter.history()}
        return RunWithVerdict(**run, promotion=moves.get(run_id))

    @router.post("/runs", response_model_exclude_unset=True)
    def add_run(body: RunState) -> RunState:
        """Record a state that a run came to."""
        store.append_run(body.model_dump(exclude_unset=True)).result()
        _log.info("run %s: %s", body.run_id, body.status)
        return body

    @router.post("/runs/{run_id}/scores")
    def add_scores(run_id: str, body: ScoresRequest) -> StoredScores:
        """Take in the finished folder of scores that a run left."""
        scores = read_scores(Path(body.dir), settings)
        store.append_scores(run_id, body.role, scores).result()
        return StoredScores(run_id=run_id, role=body.role, n_items=len(scores))

    @router.post("/runs/{run_id}/verdict")
    def add_verdict(run_id: str, body: Verdict) -> StoredVerdict:
        """Record the gate's verdict, as `verdict.json` has it."""
        store.append_verdict(run_id, body.model_dump(exclude_unset=True)).result()
        return StoredVerdict(run_id=run_id, outcome=body.outcome)

    @router.post("/runs/{run_id}/approve")
    async def approve_run(run_id: str, body: NoFields) -> Promotion:
        """Let the challenger of a run in that waits for a person, or is on its canary; the answer
        says what became of it."""
        return await promoter.approve(run_id)

    @router.post("/runs/{run_id}/reject")
    async def reject_run(run_id: str, body: NoFields) -> Promotion:
        """Refuse the challenger of a run that waits for a person, or end its canary."""
        return await promoter.reject(run_id)

    @router.get("/traffic")
    def show_traffic(
        seed: Annotated[str, Query(max_length=200)] = "",
        n: Annotated[int, Query(ge=0, le=10_000)] = 0,
    ) -> Traffic:
        """The ledger of the gate, how often answers are flagged, and up to `n` answers that nobody
        flagged, drawn by `seed`."""
        from feedback.service import traffic_of

        return traffic_of(store, seed, n, base.fingerprint)

    # ---- rows ----

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


def ready(engine: Engine | None) -> Engine:
    """The engine. Raises PawlError: there is none, or it is not ready."""
    if engine is None:
        raise engine_off()
    if not engine.is_ready:
        raise engine.unavailable()
    return engine


def _told(of: Key | Account) -> dict[str, Any]:
    """What may be said of a key or an account."""
    secret = ("secret_hash", "password_hash")
    return {name: value for name, value in of.as_json().items() if name not in secret}


def read_scores(scores_dir: Path, settings: Settings) -> list[ItemScore]:
    """Read ``items.jsonl`` of a finished folder under ``runs/`` or ``scores/``.

    Raises:
        PawlError: the folder lies elsewhere, was never finished, or holds other lines.
    """
    folder = scores_dir.resolve()
    homes = [settings.runs_dir.resolve(), settings.scores_dir.resolve()]
    if not any(folder.is_relative_to(home) for home in homes):
        raise PawlError(
            f"scores folder {scores_dir} is not in {settings.state_dir}",
            "scores are taken from runs/ and scores/ only",
            param="dir",
        )
    if not all((folder / name).is_file() for name in ("manifest.json", "items.jsonl")):
        raise PawlError(
            f"scores folder {scores_dir} is not finished",
            "items.jsonl holds the scores, and manifest.json is written last",
            "Score again",
            code="not_found",
            param="dir",
        )
    adapter = TypeAdapter(ItemScore)
    scores: list[ItemScore] = []
    try:
        for line in read_regular(folder / "items.jsonl", MOST_SCORES_BYTES).splitlines():
            scores.append(adapter.validate_json(line))
    except ValidationError as err:
        raise PawlError(
            f"{scores_dir}/items.jsonl line {len(scores) + 1} is no score",
            str(err.errors()[0]["msg"]),
            "Score again",
            code="bad_scores",
            param="dir",
        ) from err
    return scores
