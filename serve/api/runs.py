"""The /admin/runs routes: what nights came to, where one is now, and the files that they left."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from pydantic import TypeAdapter, ValidationError

from feedback.moves import moves_about, moves_of
from pawl.curves import read_curves
from pawl.errors import PawlError
from pawl.files import is_locked, open_regular, read_regular
from pawl.runs import ENDED, PROGRESS, seconds_since
from pawl.schedule import NIGHTS_LOCK
from pawl.schemas import (
    CurveOfRun,
    ItemScore,
    LogOfRun,
    NoFields,
    Promotion,
    Run,
    RunProgress,
    RunState,
    RunWithVerdict,
    ScoresRequest,
    StoredScores,
    StoredVerdict,
    SuspectsOfRun,
    Verdict,
)
from pawl.settings import Settings
from serve.api.bodies import JsonRoute
from serve.promotion import Promoter

if TYPE_CHECKING:
    from feedback.store import Store

MOST_SCORES_BYTES = 1_000_000_000  # of one folder's items; an item takes some 200
MOST_REPORT_BYTES = 20_000_000  # one is some 200 kB
MOST_SUSPECTS_BYTES = 10_000_000  # a twentieth of a night's rows, at most 2 kB each
MOST_LOG_BYTES = 100_000  # that are shown of a log
NIGHTLY_LOG = "nightly.log"  # of all nights; a line names its run
LOGS = ("train/train.log", "influence.log")  # in a run's folder
# The report is a page of its own: nothing runs in it, nothing is loaded, nothing is sent.
REPORT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_log = logging.getLogger("pawl.admin")


def run_routes(settings: Settings, store: Store, promoter: Promoter) -> APIRouter:
    """The routes."""
    router = APIRouter(prefix="/admin/runs", route_class=JsonRoute, tags=["admin"])

    def known(run_id: str) -> dict[str, Any]:
        """Latest state of a run. Raises PawlError: there is none of this name."""
        run = store.run(run_id)
        if run is None:
            raise PawlError(
                f"run {run_id!r} is not known",
                "no night of that name was recorded",
                do="List the runs with 'pawl runs'",
                code="unknown_run",
                param="run_id",
            )
        return run

    def folder_of(run_id: str) -> Path:
        """A recorded run's folder, which is in ``runs/`` and nowhere else."""
        known(run_id)
        folder = settings.runs_dir / run_id
        if folder.is_symlink() or folder.resolve().parent != settings.runs_dir.resolve():
            raise _no_file(run_id)
        return folder

    @router.get("")
    def list_runs(limit: Annotated[int | None, Query(ge=1, le=100_000)] = None) -> list[Run]:
        """Latest state of every run, or of the newest `limit`, newest first."""
        moves = {row.run_id: row for row in promoter.history()}
        return [
            Run(**run, promotion=moves.get(run["run_id"]), progress=progress_of(settings, run))
            for run in store.runs(limit)
        ]

    @router.get("/{run_id}")
    def show_run(run_id: str) -> RunWithVerdict:
        """Latest state of one run, with its verdict, and what moved the versions that came of
        it."""
        run = known(run_id)
        promotions = [row for row in promoter.history() if row.run_id == run_id]
        return RunWithVerdict(
            **run,
            promotion=promotions[-1] if promotions else None,
            progress=progress_of(settings, run),
            moves=moves_about(moves_of(store), {row.version for row in promotions}),
        )

    @router.get("/{run_id}/report", response_class=HTMLResponse)
    def show_report(run_id: str) -> HTMLResponse:
        """A run's report: a page that loads nothing and runs nothing."""
        try:
            page = read_regular(folder_of(run_id) / "report.html", MOST_REPORT_BYTES)
        except OSError:
            raise _no_file(run_id) from None
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})

    @router.get("/{run_id}/curves")
    def show_curves(run_id: str) -> list[CurveOfRun]:
        """How a run's training goes, or went: a curve for each stage and metric."""
        curves = read_curves(folder_of(run_id) / "train" / "steps.jsonl")
        return [CurveOfRun(**curve) for curve in curves]

    @router.get("/{run_id}/logs")
    def show_logs(run_id: str) -> list[LogOfRun]:
        """The newest lines of what a run wrote: of the nights' log those that name it, of its
        training, of the ranking of suspect rows."""
        folder = folder_of(run_id)
        found = [_tail(settings.logs_dir / NIGHTLY_LOG, f"logs/{NIGHTLY_LOG}", run_id)]
        found += [_tail(folder / name, f"runs/{run_id}/{name}") for name in LOGS]
        return [one for one in found if one is not None and one.text]

    @router.get("/{run_id}/suspects")
    def show_suspects(run_id: str) -> SuspectsOfRun:
        """The rows that a night which promoted nothing suspects, each with the answer that it comes
        from; none where they were not ranked."""
        try:
            raw = read_regular(folder_of(run_id) / "suspects.json", MOST_SUSPECTS_BYTES)
            found = SuspectsOfRun.model_validate_json(raw)
        except (OSError, ValidationError):
            return SuspectsOfRun()
        rows = {row.row_id: (row.model_extra or {}).get("feedback_id") for row in found.rows}
        answers = {
            feedback_id: f"{completion_id}:{choice_index}"
            for feedback_id, completion_id, choice_index in store.read(
                "SELECT feedback_id, completion_id, choice_index FROM feedback"
                " WHERE feedback_id IN (SELECT unnest(?::VARCHAR[]))",
                [[one for one in rows.values() if isinstance(one, str)]],
            )
        }
        told = [
            row.model_copy(update={"answer_id": answers.get(rows[row.row_id])})
            for row in found.rows
        ]
        return found.model_copy(update={"rows": told})

    @router.post("", response_model_exclude_unset=True)
    def add_run(body: RunState) -> RunState:
        """Record a state that a run came to."""
        store.append_run(body.model_dump(exclude_unset=True)).result()
        _log.info("run %s: %s", body.run_id, body.status)
        return body

    @router.post("/{run_id}/scores")
    def add_scores(run_id: str, body: ScoresRequest) -> StoredScores:
        """Take in the finished folder of scores that a run left."""
        scores = read_scores(Path(body.dir), settings)
        store.append_scores(run_id, body.role, scores).result()
        return StoredScores(run_id=run_id, role=body.role, n_items=len(scores))

    @router.post("/{run_id}/verdict")
    def add_verdict(run_id: str, body: Verdict) -> StoredVerdict:
        """Record the gate's verdict, as `verdict.json` has it."""
        store.append_verdict(run_id, body.model_dump(exclude_unset=True)).result()
        return StoredVerdict(run_id=run_id, outcome=body.outcome)

    @router.post("/{run_id}/approve")
    async def approve_run(run_id: str, body: NoFields) -> Promotion:
        """Let the challenger of a run in that waits for a person, or is on its canary; the answer
        says what became of it."""
        return await promoter.approve(run_id)

    @router.post("/{run_id}/reject")
    async def reject_run(run_id: str, body: NoFields) -> Promotion:
        """Refuse the challenger of a run that waits for a person, or end its canary."""
        return await promoter.reject(run_id)

    return router


def running_night(settings: Settings, store: Store) -> Run | None:
    """The night that runs now. The newest run is looked at: a night carries on no other."""
    for run in store.runs(1):
        progress = progress_of(settings, run)
        return Run(**run, progress=progress) if progress is not None else None
    return None


def progress_of(settings: Settings, run: Mapping[str, Any]) -> RunProgress | None:
    """Where a run is, while its night works on it: its process holds the nights' lock."""
    lock = settings.state_dir / NIGHTS_LOCK
    if run["status"] in ENDED:
        return None
    try:
        raw = read_regular(settings.runs_dir / run["run_id"] / PROGRESS, 10_000)
        progress = RunProgress.model_validate_json(raw)
        holder = read_regular(lock, 100).strip()
    except (OSError, ValidationError):  # a run of somewhere else, or of an older version
        return None
    if holder != str(progress.pid).encode() or not is_locked(lock):
        return None
    if progress.seconds_left is not None:
        left = max(0.0, progress.seconds_left - seconds_since(progress.at))
        progress = progress.model_copy(update={"seconds_left": left})
    return progress


def _no_file(run_id: str) -> PawlError:
    return PawlError(
        f"run {run_id!r} has no report",
        "it has not come that far, or its folder was deleted",
        code="not_found",
        param="run_id",
    )


def _tail(path: Path, name: str, only: str = "") -> LogOfRun | None:
    """The end of a log, or of its lines that hold ``only``; None where there is none."""
    read = MOST_LOG_BYTES * (20 if only else 1)
    try:
        with open_regular(path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - read))
            text = file.read(read).decode("utf-8", "replace")
    except OSError:
        return None
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    is_cut = size > read
    lines = [line for line in lines[is_cut:] if only in line and line.strip()]
    kept = "\n".join(lines)
    if len(kept) > MOST_LOG_BYTES:
        kept, is_cut = kept[-MOST_LOG_BYTES:].partition("\n")[2], True
    return LogOfRun(name=name, text=kept, is_cut=is_cut)


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
