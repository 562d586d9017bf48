"""Whether a server with these settings can serve its champion at all."""

from __future__ import annotations

from pathlib import Path

from pawl.adapters import read_manifest
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.schemas import VersionSettings


def check_fits(adapter_dir: Path, *, base: BaseModel, max_rank: int) -> None:
    """Make sure that a champion is one for this base and this engine's rank.

    A server started with other settings than the champion needs must say so, not go back to the
    base: that would take the champion down for the starts after it, too.

    Raises:
        PawlError: it was trained on another base, or its rank is higher. A folder whose manifest
            can't be read passes: that is no matter of settings.
    """
    version = adapter_dir.name
    try:
        manifest = read_manifest(adapter_dir)
    except (PawlError, OSError):
        return
    away = "or go back to the base with 'pawl rollback --to base', or give another --state-dir"
    if manifest.base_fingerprint != base.fingerprint:
        raise PawlError(
            f"the champion {version} was trained on {manifest.base_model}, "
            f"this start would serve {base.name}",
            f"an adapter fits one base only ({manifest.base_fingerprint[:19]} is not "
            f"{base.fingerprint[:19]})",
            f"Start with --model {manifest.base_model}, {away}",
            code="champion_misfit",
        )
    if manifest.rank > max_rank:
        raise PawlError(
            f"the champion {version} has the rank {manifest.rank}",
            f"the engine would take at most {max_rank}",
            f"Start with --set engine.max_lora_rank={manifest.rank}, {away}",
            code="champion_misfit",
        )


def check_made_for(settings: VersionSettings, *, base: BaseModel) -> None:
    """Likewise for a champion with a system prompt or sampling, whose gate or person saw what they
    do with one base. Raises PawlError: it was made for another one."""
    if settings.base_fingerprint != base.fingerprint:
        raise PawlError(
            f"the champion {settings.version} was made for another base than {base.name}",
            f"its system prompt and sampling were tried with {settings.base_fingerprint[:19]}, not "
            f"{base.fingerprint[:19]}",
            "Start with that base, or go back to the base with 'pawl rollback --to base', or give "
            "another --state-dir",
            code="champion_misfit",
        )
