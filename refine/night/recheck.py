"""After a change of the base: which corrections of the old one's answers the new one needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedback.splits import prompt_key

if TYPE_CHECKING:
    from refine.night.steps import Night


def mended_by_base(night: Night, manifest: dict[str, Any]) -> list[str]:
    """``row_id`` of the pairs of corrections of another base's answers that this base has no need
    of: its greedy answer says what the correction says (``evals.matching``).

    It is asked in a scoring child, whose answers are kept for later nights.

    Args:
        manifest: of a snapshot that holds these pairs.
    """
    from evals.regression import write_more_rows
    from evals.runner import score
    from feedback.snapshots import read_rows

    others = set(night.client.get("/admin/traffic", {"n": 0})["of_other_bases"])
    learned = read_rows(Path(manifest["dir"])) if others else []
    corrections = {(prompt_key(row.prompt), row.completion) for row in learned if row.kind == "sft"}
    rows = [
        row
        for row in learned
        if row.kind == "pair"
        and row.origin.get("completion_id") in others
        and (prompt_key(row.prompt), row.chosen) in corrections
    ]
    if not rows:
        return []
    path = night.path("recheck.jsonl")
    write_more_rows(path, rows)
    scores = score(
        night.base,
        None,
        suite=night.suite,
        scores_dir=night.settings.scores_dir,
        more_rows=path,
        benchmarks=False,
        beside_engine=night.beside_engine,
        on_event=night.progress("recheck"),
    )
    mended = [item.item_id for item in scores.items if item.detail.get("matches")]
    night.say(
        f"  {len(mended)} of {len(rows)} corrections of another base's answers are not needed: "
        f"{night.base.name} answers so"
    )
    return mended
