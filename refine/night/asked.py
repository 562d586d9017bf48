"""How a night asks the versions that it compares: whose weights, which system prompt and sampling.

A challenger that a night trains keeps the champion's system prompt and sampling: it is trained with
the prompt before its rows, scored with it, and served with it. A challenger of a gate run without
training (``pawl nightly --challenger pawl@4``) was made of such a prompt. People's prompts are
asked as each version is served; benchmarks without system prompts, as leaderboards ask them.

``challenger.json`` in the run's folder says it, where one of the two has a prompt or sampling; the
server reads it there when it brings the challenger in.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from evals import placebo
from evals.regression import Asking
from feedback.champion import BASE_VERSION
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import read_json, sha256_json, write_json

ASKED = "challenger.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """How one version is asked. ``weights``: "base", or the version whose adapter answers; None of
    an adapter that is being made."""

    version: str | None
    weights: str | None
    system_prompt: str | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    fingerprint: str | None = None


def asked_of(client: Client, version: str) -> Asked:
    """How a version is asked, by the server."""
    row = _rows(client).get(version, {})
    return Asked(
        version, row.get("on") or version, row.get("system_prompt"), row.get("sampling") or {},
        row.get("fingerprint"),
    )  # fmt: skip


def begin(client: Client, run_dir: Path, champion: str, challenger: str | None) -> None:
    """Write ``challenger.json``, where there is something to say.

    Args:
        challenger: a version to be tested without training; None: one is trained.
    """
    ours = asked_of(client, champion)
    if challenger is not None:
        theirs, inherits = asked_of(client, challenger), None
    else:
        theirs = Asked(None, None, ours.system_prompt, ours.sampling)
        inherits = champion if ours.fingerprint else None
    if ours.fingerprint or theirs.fingerprint:
        about = {"champion": asdict(ours), "challenger": asdict(theirs)}
        write_json(
            run_dir / ASKED, {"version": challenger, "settings_of": inherits, "asked": about}
        )


def read(run_dir: Path, champion: str) -> tuple[Asked, Asked]:
    """Champion and challenger of a run. Raises PawlError: the file is damaged."""
    path = run_dir / ASKED
    if not path.exists():
        return Asked(champion, champion), Asked(None, None)
    try:
        about = read_json(path)["asked"]
        return Asked(**about["champion"]), Asked(**about["challenger"])
    except (LookupError, TypeError) as err:
        raise PawlError(
            f"{path} does not say how champion and challenger are asked",
            f"{type(err).__name__} {err}",
            "Restore it from a backup, or begin anew with 'pawl nightly --fresh'",
        ) from err


def is_prompt_only(champion: Asked, challenger: Asked) -> bool:
    return challenger.weights is not None and challenger.weights == champion.weights


def asking(
    own: Asked, champion: Asked, challenger: Asked, others: list[Asked], n_placebos: int
) -> Asking:
    """With which prompts one of them is asked, and which rows fit into all contexts.

    Args:
        own: the one that is scored.
        others: the anchors.
    """
    changed = champion.system_prompt != challenger.system_prompt
    text = challenger.system_prompt or champion.system_prompt or ""
    placebos: list[str] = []
    if changed:
        placebos = placebo.prompts(text, n_placebos, sha256_json([text, challenger.fingerprint]))
    prompts = {one.system_prompt for one in (champion, challenger, *others)}
    return Asking(
        own.system_prompt,
        tuple(sorted({one for one in prompts if one is not None} | set(placebos))),
        tuple(placebos) if own is champion else (),
    )


def check_challenger(client: Client, version: str, status: dict[str, Any]) -> None:
    """Make sure that a version can be tested against the champion.

    Raises:
        PawlError: it has no settings of its own, is the champion, or differs in nothing that the
            gate sees; or a canary runs.
    """
    rows, champion = _rows(client), status["champion"]
    if not rows.get(version, {}).get("fingerprint"):
        raise PawlError(
            f"{version} is no version of a system prompt or sampling",
            "an adapter is tested by the night that trains it",
            "'pawl versions' lists them; 'pawl promote --system-prompt FILE' makes one",
            code="unknown_version",
        )
    if version == champion:
        raise PawlError(f"{version} is the champion", "it would be compared with itself")
    if status.get("canary"):
        raise PawlError(
            f"{status['canary']['version']} is on its canary",
            "another challenger could not be let in",
            "Wait until it is over, or end it with 'pawl reject'",
            code="canary_runs",
        )
    ours, theirs = asked_of(client, champion), asked_of(client, version)
    if (ours.weights, ours.system_prompt) == (theirs.weights, theirs.system_prompt):
        raise PawlError(
            f"{version} differs from {champion} by its sampling alone",
            "the gate asks greedily and can't see it",
            f"Compare them by hand; 'pawl promote {version} --force' promotes it",
        )


def _rows(client: Client) -> dict[str, dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get("/admin/versions")
    return {BASE_VERSION: {}} | {row["version"]: row for row in rows}
