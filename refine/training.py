"""The night's side of training: what the child of ``refine/train.py`` is started with."""

from __future__ import annotations

from pathlib import Path

from pawl.adapters import MANIFEST, AdapterManifest, read_manifest
from pawl.jobs import OnEvent, run_job
from pawl.models import BaseModel


def train(
    *,
    snapshot_dir: Path,
    plan_path: Path,
    base: BaseModel,
    out_dir: Path,
    work_dir: Path,
    replay_dir: Path,
    champion_dir: Path | None = None,
    n_threads: int | None = None,
    beside_engine: bool = False,
    on_event: OnEvent | None = None,
) -> AdapterManifest:
    """Train in a child process, or read the manifest of an adapter that is finished already.

    Args:
        replay_dir: where answers of bases are kept; what is lacking is generated there.
        champion_dir: an adapter folder that the probe record should tell the new one apart from.
        n_threads: None: 2 beside an engine, else as many as torch takes by itself.
        beside_engine: low priority, so that the server stays quick.
        on_event: called with every event of the child (``refine/train.py`` shows them).

    Raises:
        PawlError: the child failed; ``retryable`` when training again may succeed.
    """
    if (out_dir / MANIFEST).exists():
        return read_manifest(out_dir)
    arguments = [
        "--snapshot", str(snapshot_dir), "--plan", str(plan_path), "--model", str(base.model_dir),
        "--out", str(out_dir), "--work", str(work_dir),
        "--replay", str(replay_dir), "--base-name", base.name,
        "--base-fingerprint", base.fingerprint,
    ]  # fmt: skip
    arguments += ["--base-revision", base.revision] if base.revision else []
    arguments += ["--champion", str(champion_dir)] if champion_dir else []
    run_job(
        "refine.train",
        arguments,
        name="training",
        log_path=work_dir / "train.log",
        n_threads=n_threads,
        beside_engine=beside_engine,
        on_event=on_event,
    )
    return read_manifest(out_dir)
