"""What is in a snapshot, without its texts, as a data card (JSON, HTML); and what two differ in.

Whoever trains on a snapshot, or answers for it, reads the card: how many rows of which kind, from
whom, about what, how long, how they are weighed, and what was left out for which reason.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from feedback.snapshots import read_manifest, read_rows
from feedback.targets import detector_counts
from pawl.schemas import TrainingRow

TEMPLATES = Path(__file__).parent / "templates"
_MOST_NAMES = 20  # of raters, categories and sources; the rest is one line
_MOST_ROWS = 200  # of a difference are listed
_OTHERS = "all others"
_NOBODY = "nobody named"


def build_card(snapshot_dir: Path, detectors: Collection[str] = ()) -> dict[str, Any]:
    """A snapshot's card.

    Args:
        detectors: of installed packages, beside Pawl's own.

    Returns:
        ``{"snapshot_id", "content_sha256", "created_at", "pawl_version", "n_rows", "counts":
        {split: {kind: n}}, "n_prompts", "n_groups", "n_raters", "largest_share", "sources",
        "raters", "categories": {name: n}, "weights": {kind: sum}, "characters": {part: {"median",
        "p95", "most"}}, "rejections": {reason: n}, "n_rejected", "detectors": {name:
        {"n_found", ...}}}`` (``feedback.targets.detector_counts``). ``largest_share``: of the
        rows of which a rater is known, those of the one with the most, in [0, 1].

    Raises:
        PawlError: the folder is no finished snapshot, or its rows were changed.
    """
    manifest, rows = read_manifest(snapshot_dir), read_rows(snapshot_dir)
    raters = Counter(_rater(row) for row in rows)
    named = Counter({name: n for name, n in raters.items() if name != _NOBODY})
    weights: dict[str, float] = defaultdict(float)
    for row in rows:
        weights[row.kind] += getattr(row, "weight", 1.0)
    rejections = manifest.get("rejections") or {}
    return {
        "snapshot_id": manifest["snapshot_id"],
        "content_sha256": manifest["content_sha256"],
        "created_at": manifest["created_at"],
        "pawl_version": manifest.get("pawl_version"),
        "n_rows": len(rows),
        "counts": manifest["counts"],
        "n_prompts": len({str(row.prompt) for row in rows}),
        "n_groups": len({row.group_id for row in rows}),
        "n_raters": len(named),
        "largest_share": max(named.values(), default=0) / max(1, sum(named.values())),
        "sources": _largest(Counter(str(row.origin.get("source")) for row in rows)),
        "raters": _largest(raters),
        "categories": _largest(Counter(name for row in rows for name in row.categories)),
        "weights": {kind: round(weight, 3) for kind, weight in sorted(weights.items())},
        "characters": _lengths(rows),
        "rejections": dict(sorted(rejections.items(), key=lambda item: (-item[1], item[0]))),
        "n_rejected": sum(rejections.values()),
        "detectors": detector_counts(rows, detectors),
    }


def _rater(row: TrainingRow) -> str:
    return str(row.origin.get("rater_id") or _NOBODY)


def _largest(counted: Counter[str]) -> dict[str, int]:
    """The largest counts, the largest first; the rest as one."""
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(n for _, n in ordered[_MOST_NAMES:])
    return dict(ordered[:_MOST_NAMES]) | ({_OTHERS: rest} if rest else {})


def _lengths(rows: Iterable[TrainingRow]) -> dict[str, dict[str, int]]:
    """Characters of the prompts and of each kind of answer."""
    lengths: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        lengths["prompt"].append(sum(len(message["content"]) for message in row.prompt))
        for part in ("completion", "chosen", "rejected"):
            if (text := getattr(row, part)) is not None:
                lengths[part].append(len(text))
    return {part: _spread(sorted(found)) for part, found in lengths.items()}


def _spread(ordered: list[int]) -> dict[str, int]:
    last = len(ordered) - 1
    return {
        "median": ordered[last // 2], "p95": ordered[round(0.95 * last)], "most": ordered[last],
    }  # fmt: skip


def diff_snapshots(before_dir: Path, after_dir: Path) -> dict[str, Any]:
    """What a second snapshot has that a first one has not, and the reverse. A row is the same
    where its content is (``row_id``).

    Returns:
        ``{"before", "after": snapshot ids, "n_same", "n_added", "n_removed", "n_moved",
        "n_changed", "added", "removed": {"kinds", "sources", "raters": {name: n}}, "rows":
        [{"row_id", "change", "kind", "split", "rater_id", "source"}], "rejections": {reason:
        difference}}``. ``moved``: now in another split; ``changed``: other categories, weight or
        origin. ``rows`` names the first ones of each change.

    Raises:
        PawlError: one of the folders is no finished snapshot, or its rows were changed.
    """
    manifests = [read_manifest(folder) for folder in (before_dir, after_dir)]
    before, after = (
        {row.row_id: row for row in read_rows(folder)} for folder in (before_dir, after_dir)
    )
    changes: dict[str, list[TrainingRow]] = {
        "added": [row for row_id, row in after.items() if row_id not in before],
        "removed": [row for row_id, row in before.items() if row_id not in after],
        "moved": [],
        "changed": [],
    }
    for row_id, row in after.items():
        if (old := before.get(row_id)) is not None and old != row:
            changes["changed" if old.split == row.split else "moved"].append(row)
    rejections = Counter(manifests[1].get("rejections") or {})
    rejections.subtract(manifests[0].get("rejections") or {})
    return {
        "before": manifests[0]["snapshot_id"],
        "after": manifests[1]["snapshot_id"],
        "n_same": len(after) - sum(len(changes[name]) for name in ("added", "moved", "changed")),
        **{f"n_{name}": len(rows) for name, rows in changes.items()},
        **{name: _summary(changes[name]) for name in ("added", "removed")},
        "rows": [
            {
                "row_id": row.row_id, "change": name, "kind": row.kind, "split": row.split,
                "rater_id": row.origin.get("rater_id"), "source": row.origin.get("source"),
            }
            for name, rows in changes.items()
            for row in rows[:_MOST_ROWS]
        ],
        "rejections": {reason: n for reason, n in sorted(rejections.items()) if n},
    }  # fmt: skip


def _summary(rows: list[TrainingRow]) -> dict[str, dict[str, int]]:
    return {
        "kinds": _largest(Counter(f"{row.kind} ({row.split})" for row in rows)),
        "sources": _largest(Counter(str(row.origin.get("source")) for row in rows)),
        "raters": _largest(Counter(_rater(row) for row in rows)),
    }


def render_card(card: dict[str, Any]) -> str:
    """The card as one HTML page that needs no other file; every value is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = lambda value: f"{value:,}"
    return environment.get_template("card.html").render(card=card)
