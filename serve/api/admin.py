"""The /admin routes: what an operator, the command line and the nightly run ask of a server.

Thin: each handler reads the request, calls what decides, and answers JSON. The key is checked
before, for all routes alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import ItemScore
from pawl.server import running_server
from pawl.settings import Settings
from serve.api.generate import generate
from serve.api.http import read_request
from serve.api.requests import KINDS_IN_WORDS, parse_json
from serve.promotion import Promoter

if TYPE_CHECKING:
    from feedback.store import Store
    from serve.engine.client import Engine

_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
ROLES = ("champion", "challenger", "anchor")
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Admin:
    """What the admin routes work on."""

    settings: Settings
    base: BaseModel
    store: Store
    engine: Engine | None
    promoter: Promoter

    def routes(self) -> list[Route]:
        """Every /admin route."""
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/admin/status", self.status),
            ("GET", "/admin/history", self.history),
            ("POST", "/admin/promotions", self.promote),
            ("POST", "/admin/rollback", self.roll_back),
            ("GET", "/admin/runs", self.list_runs),
            ("POST", "/admin/runs", self.add_run),
            ("GET", "/admin/runs/{run_id}", self.show_run),
            ("POST", "/admin/runs/{run_id}/scores", self.add_scores),
            ("POST", "/admin/runs/{run_id}/verdict", self.add_verdict),
            ("POST", "/admin/snapshots", self.snapshot),
            ("POST", "/admin/generate", self.generate),
            ("POST", "/admin/import", self.import_rows),
            ("POST", "/admin/export", self.export_rows),
        ]
        return [Route(path, handler, methods=[verb]) for verb, path, handler in table]

    # ---- the champion ----

    async def status(self, request: Request) -> Response:
        """Which version answers, how the engine is, what is in the store."""
        import pawl

        engine, server = self.engine, None
        if engine is not None:  # else a file that is there was left by a server that was killed
            with contextlib.suppress(PawlError):
                server = running_server(self.settings)
        return JSONResponse(
            {
                "version": pawl.__version__,
                "base": {
                    "name": self.base.name,
                    "fingerprint": self.base.fingerprint,
                    "dir": str(self.base.model_dir),
                },
                "champion": self.store.champion(),
                "engine": {
                    "state": engine.state if engine else "off",
                    "detail": engine.detail if engine else "no server runs",
                    "progress_fraction": engine.progress_fraction if engine else 0.0,
                    "pid": engine.pid if engine else None,
                    "command": engine.command if engine else [],
                    "n_restarts": engine.n_restarts if engine else 0,
                },
                "adapters": sorted(self.promoter.offered),
                "counts": await asyncio.to_thread(self.store.counts),
                "url": server.url if server else None,
            }
        )

    async def history(self, request: Request) -> Response:
        """Every promotion and rollback, oldest first, each as it stands now."""
        return JSONResponse([one.as_json() for one in self.promoter.history()])

    async def promote(self, request: Request) -> Response:
        """``{"run_dir"|"adapter_dir", "run_id"?, "force"?}`` -> what became of it."""
        return JSONResponse((await self.promoter.promote(await self._body(request))).as_json())

    async def roll_back(self, request: Request) -> Response:
        """``{"to"?}`` -> what became of it."""
        body = await self._body(request, {"to": str})
        return JSONResponse((await self.promoter.rollback(body.get("to"))).as_json())

    # ---- nightly runs ----

    async def list_runs(self, request: Request) -> Response:
        """Latest state of every run, newest first."""
        return JSONResponse(await asyncio.to_thread(self.store.runs))

    async def show_run(self, request: Request) -> Response:
        """Latest state of one run, with its verdict."""
        run_id = request.path_params["run_id"]
        run = await asyncio.to_thread(self.store.run, run_id)
        if run is None:
            raise PawlError(
                f"run {run_id!r} is not known",
                "no night of that name was recorded",
                do="List the runs with 'pawl runs'",
                code="unknown_run",
                param="run_id",
            )
        return JSONResponse(run)

    async def add_run(self, request: Request) -> Response:
        """``{"run_id", "status", "at"?, "detail"?}``: a state that a run came to."""
        body = await self._body(
            request, {"run_id": str, "status": str, "at": str, "detail": dict}, ("run_id", "status")
        )
        if not _RUN_ID.fullmatch(body["run_id"]):
            raise PawlError(
                f"run_id {body['run_id']!r}",
                "it names a folder under runs/",
                "Use letters, digits, dots, dashes and underscores",
                param="run_id",
            )
        await asyncio.wrap_future(self.store.append_run(body))
        return JSONResponse(body)

    async def add_scores(self, request: Request) -> Response:
        """``{"role", "dir"}``: the finished folder of scores that a run left."""
        body = await self._body(request, {"role": str, "dir": str}, ("role", "dir"))
        if body["role"] not in ROLES:
            raise PawlError(
                f"role {body['role']!r}",
                f"it is one of {', '.join(ROLES)}",
                "Name whose scores they are",
                param="role",
            )
        scores_dir = _absolute(body["dir"], "dir")
        scores = await asyncio.to_thread(read_scores, scores_dir, self.settings)
        run_id = request.path_params["run_id"]
        await asyncio.wrap_future(self.store.append_scores(run_id, body["role"], scores))
        return JSONResponse({"run_id": run_id, "role": body["role"], "n_items": len(scores)})

    async def add_verdict(self, request: Request) -> Response:
        """The gate's verdict, as ``verdict.json`` has it."""
        body = await self._body(request)
        if not isinstance(body.get("outcome"), str):
            raise PawlError(
                "a verdict without outcome",
                "it must say what was decided",
                "Send verdict.json as it is",
                param="outcome",
            )
        await asyncio.wrap_future(self.store.append_verdict(request.path_params["run_id"], body))
        return JSONResponse({"run_id": request.path_params["run_id"], "outcome": body["outcome"]})

    # ---- rows ----

    async def snapshot(self, request: Request) -> Response:
        """Curate what was said so far and freeze it; answers the snapshot's manifest."""
        await self._body(request, {})
        return JSONResponse(await asyncio.to_thread(self._make_snapshot))

    def _make_snapshot(self) -> dict[str, Any]:
        from feedback.service import take_snapshot

        return take_snapshot(self.store, self.settings)

    async def generate(self, request: Request) -> Response:
        """``{"prompts", "max_tokens"}`` -> the base's greedy answers, which are not recorded."""
        kinds = {"prompts": list, "max_tokens": int}
        body = await self._body(request, kinds, ("prompts", "max_tokens"))
        if self.engine is None:
            raise PawlError(
                "no engine runs here",
                "answers come from a running server",
                "Start one with 'pawl up'",
                retryable=True,
                code="engine_off",
            )
        answers = await generate(self.engine, body["prompts"], body["max_tokens"])
        return JSONResponse({"answers": answers})

    async def import_rows(self, request: Request) -> Response:
        """``{"path", "format"}`` -> counts. The path is one of the server's machine."""
        from feedback.formats import import_file

        body = await self._body(request, {"path": str, "format": str}, ("path",))
        path = _absolute(body["path"])
        counts = await asyncio.to_thread(import_file, self.store, path, body.get("format", "auto"))
        return JSONResponse(counts)

    async def export_rows(self, request: Request) -> Response:
        """``{"path", "format"}`` -> counts. The path is one of the server's machine."""
        from feedback.formats import export_file

        body = await self._body(request, {"path": str, "format": str}, ("path", "format"))
        path = _absolute(body["path"])
        counts = await asyncio.to_thread(
            export_file, self.store, path, body["format"], self.settings
        )
        return JSONResponse(counts)

    async def _body(
        self,
        request: Request,
        kinds: dict[str, type] | None = None,
        needed: tuple[str, ...] = (),
    ) -> dict[str, Any]:
        """The JSON object of a request; nothing sent is an empty one. Fields that are null are
        left out. With ``kinds``, other fields than those are refused."""
        raw = await read_request(
            request.receive, request.headers, self.settings.engine.max_prompt_bytes
        )
        body = parse_json(raw or b"{}")
        body = {key: value for key, value in body.items() if value is not None}
        for key, value in body.items():
            if kinds is not None and key not in kinds:
                raise PawlError(
                    f"unknown field {key!r}",
                    f"this call takes {', '.join(kinds) or 'no fields'}",
                    "Leave it out",
                    param=key,
                )
            if kinds is not None and not isinstance(value, kinds[key]):
                raise PawlError(
                    f"{key} is {value!r}",
                    f"{KINDS_IN_WORDS[kinds[key]]} is expected",
                    "Send that",
                    param=key,
                )
        for key in needed:
            if key not in body:
                raise PawlError(f"{key} is missing", do=f"Send {', '.join(needed)}", param=key)
        return body


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
    if not (folder / "manifest.json").exists():
        raise PawlError(
            f"scores folder {scores_dir} has no manifest.json",
            "it is written last, so the scoring never finished",
            "Score again",
            code="not_found",
            param="dir",
        )
    if not (folder / "items.jsonl").is_file():
        raise PawlError(
            f"scores folder {scores_dir} has no items.jsonl",
            "that file holds the scores",
            "Score again",
            code="not_found",
            param="dir",
        )
    scores = []
    with (folder / "items.jsonl").open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                scores.append(ItemScore(**json.loads(line)))
            except (ValueError, TypeError) as err:
                raise PawlError(
                    f"{scores_dir}/items.jsonl line {number} is no score",
                    str(err),
                    "Score again",
                    code="bad_scores",
                    param="dir",
                ) from err
    return scores


def _absolute(text: str, param: str = "path") -> Path:
    path = Path(text)
    if "\0" in text:
        raise PawlError(
            f"{param} {text!r} holds a zero byte",
            "no path of a file does",
            "Give the path without it",
            param=param,
        )
    if not path.is_absolute():
        raise PawlError(
            f"{param} {text!r} is relative",
            "the server runs in a folder of its own",
            "Give the absolute path",
            param=param,
        )
    return path
