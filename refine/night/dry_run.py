"""What a night would do and could show, without training: ``pawl nightly --dry-run``."""

from __future__ import annotations

from pathlib import Path

from feedback.snapshots import read_rows
from pawl import plugins
from pawl.client import Client
from pawl.models import resolve_model
from pawl.settings import Settings
from refine.night import evidence
from refine.night.asked import asked_of
from refine.night.recheck import known_mended
from refine.night.steps import Say
from refine.planner import choose, hidden_size_of


def dry_run(client: Client, settings: Settings, *, say: Say = lambda line: None) -> list[str]:
    """Lines for a person: rows, method, what tests it, and the power of that test.

    The feedback is frozen as at a night's beginning; the same rows make the same snapshot again, so
    nothing is decided by it.

    Raises:
        PawlError: as the first steps of a night.
    """
    plugins.check(settings, plugins.OF_NIGHTS)
    base = resolve_model(
        settings.model, settings.model_revision, cache_dir=settings.state_dir, tell=say
    )
    status = client.get("/admin/status")
    champion = status["champion"]
    asked = asked_of(client, champion)
    mended = known_mended(settings, base, asked.system_prompt)
    manifest = client.post("/admin/snapshots", {"mended": mended})
    found, _ = evidence.collect(
        client, settings, manifest, seed="dry-run", champion=champion,
        base_fingerprint=base.fingerprint,
    )  # fmt: skip
    rows = read_rows(Path(manifest["dir"]))
    plan = choose(rows, settings, hidden_size=hidden_size_of(base.model_dir))
    counts = [
        f"{n:,} {kind} {split}"
        for split, kinds in manifest["counts"].items()
        for kind, n in kinds.items()
        if n
    ]
    return [
        f"snapshot {manifest['snapshot_id']}: {', '.join(counts) or 'no rows'}",
        f"method: {plan.method} ({plan.reason})",
        f"beside the held-out prompts: {found.n_controls} answers that nobody flagged "
        f"({found.controls_per_flag:.3g} unflagged conversations for each flagged one), "
        f"{found.n_kept} prompts that were fixed once; {found.n_decided_before} prompts were "
        "evidence in an earlier night",
        found.power,
        *(
            [f"the challenger keeps the system prompt and sampling of {champion}"]
            if asked.fingerprint
            else []
        ),
        *(["no night trains while a canary runs ('pawl status')"] if status.get("canary") else []),
    ]
