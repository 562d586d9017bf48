"""The recipe that travels in an adapter's manifest: what it was made of, with what, and how."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pawl import __version__, plugins
from pawl.files import read_json, sha256_file

if TYPE_CHECKING:
    from refine.train import Job


def make_recipe(
    job: Job,
    limit: int,
    replay_counts: dict[str, int],
    stage_counts: dict[str, Any],
    results: list[dict[str, Any]],
    seconds: float,
    torch: Any,
    more: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    return {
        **header(job),
        "max_length_tokens": limit,
        "replay": replay_counts,
        "rows": stage_counts,
        **{name: value for name, value in more.items() if value},
        "stages": results,
        "seconds": round(seconds, 3),
        "peak_memory_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "n_threads": torch.get_num_threads(),
    }


def header(job: Job) -> dict[str, Any]:
    """What is known before a training begins: base, rows, plan, and the code that trains."""
    from importlib.metadata import version

    snapshot = read_json(job.snapshot_dir / "manifest.json")
    trainer = job.plan.trainer
    return {
        "base": {
            "name": job.base_name,
            "revision": job.base_revision,
            "fingerprint": job.base_fingerprint,
        },
        "snapshot": {
            "snapshot_id": snapshot["snapshot_id"],
            "content_sha256": snapshot["content_sha256"],
            "rows_sha256": sha256_file(job.snapshot_dir / "rows.jsonl"),
        },
        **({"system_prompt": job.system_prompt} if job.system_prompt else {}),
        **({"today": job.today} if job.today else {}),
        "plan": job.plan.as_json(),
        "seed": job.plan.seed,
        **({"plugins": {"trainer": str(plugins.load("trainer", trainer))}} if trainer else {}),
        "versions": {
            "pawl": __version__,
            **{
                name: version(name)
                for name in ("torch", "trl", "peft", "transformers", "accelerate")
            },
        },
        "python": sys.version.split()[0],
        "git_commit": _git_commit(),
    }


def _git_commit() -> str | None:
    """The commit of this code, when it runs from a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    answer = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "HEAD"],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=10,
        check=False,
    )
    return answer.stdout.strip() or None if answer.returncode == 0 else None
