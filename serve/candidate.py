"""An adapter that somebody asks to promote: found, checked against the gate's verdict, copied."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pawl.adapters import FILES, read_probe, validate_adapter
from pawl.errors import PawlError
from pawl.files import open_regular, read_json, sync_dir
from pawl.models import BaseModel
from pawl.schemas import PromotionRequest
from pawl.settings import Settings

_CHUNK_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """Where the adapter is. With a ``run_dir`` and no ``force`` the gate must have said yes.

    ``version``: in place of an adapter, one that was made of a system prompt and sampling.
    ``settings_of``: the version whose prompt and sampling the adapter was trained and scored with.
    """

    adapter_dir: Path
    run_dir: Path | None
    run_id: str | None
    force: bool
    version: str | None = None
    settings_of: str | None = None


def check_named(request: PromotionRequest) -> None:
    """Make sure that a promotion names one thing, and what nobody scored with ``force``.

    Raises:
        PawlError: it doesn't.
    """
    settings = [name for name in ("system_prompt", "temperature", "top_p", "max_tokens")
                if getattr(request, name) is not None]  # fmt: skip
    run = request.run_dir or (None if request.adapter_dir else request.run_id)
    named = [run, request.adapter_dir, request.version, settings]
    if sum(map(bool, named)) != 1:
        raise PawlError(
            "a promotion takes either run_dir, adapter_dir, version or a prompt and sampling",
            do="Name one of them",
        )
    if request.on is not None and not settings:
        raise PawlError(
            f"on is {request.on} and nothing stands on it",
            "it says whose weights a system prompt or sampling is for",
            "Send system_prompt, temperature, top_p or max_tokens with it",
            param="on",
        )
    for name, what in (("adapter_dir", "a bare adapter"), ("version", "it")):
        if getattr(request, name) and not request.force:
            raise PawlError(
                f"{name} came without force",
                f"no gate has scored {what}",
                "Promote a run that the gate let through, or send force: true",
                param="force",
            )


def find_candidate(request: PromotionRequest, settings: Settings) -> Candidate:
    """The adapter that a request names (``check_named``).

    Raises:
        PawlError: it is not there.
    """
    run = request.run_dir or (None if request.adapter_dir else request.run_id)
    if request.adapter_dir:
        if not Path(request.adapter_dir).is_dir():
            raise PawlError(
                f"adapter folder {request.adapter_dir} is not there",
                do="Check the path",
                code="not_found",
                param="adapter_dir",
            )
        return Candidate(Path(request.adapter_dir), None, request.run_id, True)
    run_dir = settings.runs_dir / str(run)
    if run_dir.is_symlink() or run_dir.resolve().parent != settings.runs_dir.resolve():
        raise PawlError(
            f"run {run!r} is not in {settings.runs_dir}",
            "a verdict counts only where the gate wrote it",
            "Give the run's id, or adapter_dir with force",
            param="run_dir",
        )
    if not run_dir.is_dir():
        raise PawlError(
            f"run {run!r} is not known",
            f"{settings.runs_dir} has no such folder",
            "List the runs with 'pawl runs'",
            code="unknown_run",
            param="run_dir",
        )
    return Candidate(
        run_dir / "adapter", run_dir, request.run_id or run_dir.name, request.force,
        *_challenger(run_dir),
    )  # fmt: skip


def _challenger(run_dir: Path) -> tuple[str | None, str | None]:
    """A run's ``version`` and ``settings_of``, as ``refine/night/asked.py`` wrote them.

    Raises:
        PawlError: the file is damaged.
    """
    path = run_dir / "challenger.json"
    try:
        about, why = read_json(path) if path.exists() else {}, "it names no versions"
    except (PawlError, OSError) as err:
        about, why = None, str(err)
    if isinstance(about, dict):
        version, settings_of = about.get("version"), about.get("settings_of")
        if all(one is None or isinstance(one, str) for one in (version, settings_of)):
            return version, settings_of
    raise PawlError(
        f"nobody knows what run {run_dir.name} tested: {path.name} can't be read",
        why,
        "Restore it from a backup, or let a night test again",
        code="not_let_through",
    )


def check_verdict(run_dir: Path, fingerprint: str, champion: str) -> None:
    """Make sure that the gate let exactly this adapter through, against today's champion.

    Raises:
        PawlError: no verdict, another outcome, another adapter, or another champion.
    """

    def refuse(what: str, why: str, do: str = "Score it again") -> PawlError:
        return PawlError(f"run {run_dir.name}: {what}", why, do, code="not_let_through")

    if not (run_dir / "verdict.json").exists():
        raise refuse("it has no verdict", "the gate has not decided", "Run 'pawl nightly' again")
    verdict = read_json(run_dir / "verdict.json")
    if not isinstance(verdict, dict):
        raise refuse("its verdict can't be read", "it is no JSON object")
    if verdict.get("outcome") != "promote":
        reasons = " ".join(map(str, verdict.get("reasons") or []))
        raise refuse(
            f"its verdict is {verdict.get('outcome')}",
            reasons.rstrip(".") or "it names no reason",
            f"Read it with 'pawl show {run_dir.name}'",
        )
    if verdict.get("challenger_fingerprint") != fingerprint:
        raise refuse(
            "its verdict is about another adapter",
            f"it names {verdict.get('challenger_fingerprint')}, here is {fingerprint}",
        )
    if verdict.get("champion_version") != champion:
        raise refuse(
            f"its verdict compares with {verdict.get('champion_version')}",
            f"the champion is {champion} now",
        )


def install(
    candidate: Candidate, version: str, champion: str, *, base: BaseModel, settings: Settings
) -> Path:
    """Check an adapter and copy it to ``adapters/<version>``, whole or not at all.

    The copy is checked again: what is served is what was checked, whatever happens to the source.

    Raises:
        PawlError: the gate did not let it through, or it is no adapter for this base.
    """
    max_rank = settings.engine.max_lora_rank
    manifest = validate_adapter(candidate.adapter_dir, base=base, max_rank=max_rank)
    if not read_probe(candidate.adapter_dir):
        raise PawlError(
            f"adapter {candidate.adapter_dir.name} has no position in its probe record",
            "without one nothing shows that the engine serves it as it was trained",
            "Train it again",
            code="bad_adapter",
        )
    if candidate.run_dir is not None and not candidate.force:
        check_verdict(candidate.run_dir, manifest.fingerprint, champion)
    final = settings.adapters_dir / version
    copy = settings.adapters_dir / f"{version}.tmp"
    copy.mkdir(parents=True)
    try:
        for name in FILES:
            _copy(candidate.adapter_dir / name, copy / name)
        sync_dir(copy)
        if validate_adapter(copy, base=base, max_rank=max_rank) != manifest:
            raise PawlError(
                f"adapter {candidate.adapter_dir.name} changed while it was copied",
                do="Promote it again",
                code="bad_adapter",
            )
        copy.rename(final)
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise
    sync_dir(settings.adapters_dir)
    return final


def _copy(source: Path, target: Path) -> None:
    """Copy a regular file, durably, and no more of it than it has now."""
    with open_regular(source) as file, target.open("xb") as copy:
        left = os.fstat(file.fileno()).st_size
        while chunk := file.read(min(left, _CHUNK_BYTES)):
            copy.write(chunk)
            left -= len(chunk)
        copy.flush()
        os.fsync(copy.fileno())


def sweep(adapters_dir: Path) -> None:
    """Remove half-made copies that a server left when it died. Called whenever the engine has
    started, while no promotion copies."""
    for path in adapters_dir.glob("pawl@*.tmp"):
        shutil.rmtree(path, ignore_errors=True)
