"""Snapshots: curated rows frozen under the hash of their content.

snapshots/<id>/rows.jsonl      one TrainingRow a line, sorted by row_id
snapshots/<id>/manifest.json   written last; <id> = first 16 hex digits of rows.jsonl's SHA-256
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from feedback.curation import Curated
from pawl import __version__
from pawl.errors import PawlError
from pawl.files import read_json, sha256_file, sync_dir, write_atomic, write_json
from pawl.schemas import TrainingRow, utc_now

ROWS = "rows.jsonl"
MANIFEST = "manifest.json"
ERASED_SNAPSHOT = "erased.json"  # what stays of one that was erased (feedback.erasing)


def freeze(curated: Curated, snapshots_dir: Path) -> dict[str, Any]:
    """Write the rows as a snapshot, or find the one that holds the same rows already.

    Returns:
        ``{"snapshot_id", "content_sha256", "created_at", "n_rows", "counts": {split: {kind: n}},
        "rejections": {reason: n}, "pawl_version", "dir"}``; of a reused
        snapshot its own manifest, with the rejections of this time.
    """
    snapshots_dir.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(snapshots_dir)
    work_dir = Path(tempfile.mkdtemp(dir=snapshots_dir, prefix=f".part-{os.getpid()}-"))
    try:
        work_dir.chmod(0o755)
        lines = [
            json.dumps(row.as_json(), ensure_ascii=False, sort_keys=True)
            for row in sorted(curated.rows, key=lambda row: row.row_id)
        ]
        write_atomic(work_dir / ROWS, "".join(line + "\n" for line in lines))
        content = sha256_file(work_dir / ROWS)
        final_dir = snapshots_dir / content[:16]
        counts: dict[str, dict[str, int]] = {"train": {}, "validation": {}, "holdout": {}}
        for (split, kind), n in sorted(Counter((r.split, r.kind) for r in curated.rows).items()):
            counts[split][kind] = n
        manifest = {
            "snapshot_id": content[:16],
            "content_sha256": content,
            "created_at": utc_now(),
            "n_rows": len(lines),
            "counts": counts,
            "rejections": curated.rejections,
            "pawl_version": __version__,
        }
        write_json(work_dir / MANIFEST, manifest)
        if not (final_dir / MANIFEST).exists():
            _move_in(work_dir, final_dir)
            sync_dir(snapshots_dir)
    finally:
        shutil.rmtree(work_dir, ignore_errors=True)
    kept = read_manifest(final_dir)
    return {**kept, "rejections": curated.rejections, "dir": str(final_dir.absolute())}


def read_manifest(snapshot_dir: Path) -> dict[str, Any]:
    """A snapshot's manifest, after checking that the rows are those that were frozen.

    Raises:
        PawlError: the folder is no finished snapshot, or its rows were changed, or erased.
    """
    if (snapshot_dir / ERASED_SNAPSHOT).exists() and not (snapshot_dir / MANIFEST).exists():
        raise PawlError(
            f"snapshot {snapshot_dir.name} was erased",
            "somebody's rows were in it, and its name is the hash of its rows",
            "Take a new one: 'pawl nightly --fresh' does",
            code="snapshot_erased",
        )
    manifest = read_json(snapshot_dir / MANIFEST)
    rows_path = snapshot_dir / ROWS
    if not rows_path.exists() or sha256_file(rows_path) != manifest.get("content_sha256"):
        raise PawlError(
            f"snapshot {snapshot_dir.name} was changed after it was frozen",
            "the hash of its rows is not the manifest's",
            "Move the folder away and take a new snapshot",
            code="snapshot_changed",
        )
    return dict(manifest)


def read_rows(snapshot_dir: Path) -> list[TrainingRow]:
    """The rows of a snapshot, checked against its manifest. Errors as ``read_manifest``."""
    read_manifest(snapshot_dir)
    # Not splitlines(): a text may hold U+2028, which is no end of a line in JSON Lines.
    lines = (snapshot_dir / ROWS).read_text(encoding="utf-8").split("\n")
    return [TrainingRow(**json.loads(line)) for line in lines if line]


def _move_in(work_dir: Path, final_dir: Path) -> None:
    """Give a finished folder its name; stay with the one that somebody finished meanwhile."""
    try:
        work_dir.replace(final_dir)
    except OSError:
        if (final_dir / MANIFEST).exists():
            return
        if not final_dir.is_dir():
            raise
        # No snapshot: those come with their manifest. Left there it would stop every night.
        shutil.rmtree(final_dir)
        work_dir.replace(final_dir)


def _remove_leftovers(snapshots_dir: Path) -> None:
    """Folders of processes that died while freezing."""
    for path in snapshots_dir.glob(".part-*"):
        pid = path.name.split("-")[1]
        if not pid.isdigit() or not Path(f"/proc/{pid}").exists():
            shutil.rmtree(path, ignore_errors=True)
