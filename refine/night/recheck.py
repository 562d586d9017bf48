"""After a change of the base: which corrections of the old one's answers the new one needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feedback.splits import prompt_key
from pawl import plugins
from pawl.errors import PawlError
from pawl.files import sha256_json, write_atomic
from pawl.models import BaseModel
from pawl.settings import Settings

if TYPE_CHECKING:
    from refine.night.steps import Night

MOST_ROWS = 200  # that one night asks about, the newest first


def mended_by_base(night: Night, manifest: dict[str, Any]) -> list[str]:
    """``row_id`` of the pairs of corrections of another base's answers that this base has no need
    of: its greedy answer says what the correction says (``evals.matching``).

    It is asked in a scoring child, with the champion's system prompt as what is trained tonight
    will be, about ``MOST_ROWS`` at most. What it answered as corrected is kept for later nights in
    the folder of scores, and goes with a person who is erased. Where the child fails, what earlier
    nights know is taken.

    Args:
        manifest: of a snapshot that holds these pairs.
    """
    from evals.regression import Asking, write_more_rows
    from evals.runner import score
    from feedback.snapshots import read_rows

    others = set(night.client.get("/admin/traffic", {"n": 0})["of_other_bases"])
    learned = read_rows(Path(manifest["dir"])) if others else []
    corrections = {(prompt_key(row.prompt), row.completion) for row in learned if row.kind == "sft"}
    rows = [
        replace(row, kind="regression")  # is asked for its answer, as a preference isn't
        for row in learned
        if row.kind == "pair"
        and row.origin.get("completion_id") in others
        and (prompt_key(row.prompt), row.chosen) in corrections
    ]
    if not rows:
        return []
    system_prompt = night.compared[0].system_prompt
    kept = kept_answers(night.settings, night.base, system_prompt)
    known = _read(kept)
    unknown = [row for row in rows if row.row_id not in known]
    unknown.sort(key=lambda row: str(row.origin.get("created_at", "")), reverse=True)
    if asked := unknown[:MOST_ROWS]:
        path = night.path("recheck.jsonl")
        write_more_rows(path, asked)
        try:
            scores = score(
                night.base,
                None,
                suite=night.suite,
                scores_dir=night.settings.scores_dir,
                more_rows=path,
                benchmarks=False,
                matchers=night.settings.gate.matchers,
                asking=Asking(system_prompt),
                today=night.run.state.today,
                beside_engine=night.beside_engine,
                on_event=night.progress("recheck"),
                ray_address=night.settings.gate.ray_address,
            )
        except PawlError as err:
            night.say(f"  {night.base.name} could not be asked about {len(asked)} of them: {err}")
        else:
            known |= {row.row_id: False for row in asked}  # also what can't be scored
            known |= {item.item_id: bool(item.detail.get("matches")) for item in scores.items}
            _write(kept, {row.row_id: known[row.row_id] for row in rows if row.row_id in known})
    mended = [row.row_id for row in rows if known.get(row.row_id)]
    n_open = sum(row.row_id not in known for row in rows)
    night.say(
        f"  {len(mended)} of {len(rows)} corrections of another base's answers are not needed: "
        f"{night.base.name} answers so" + (f"; {n_open} are not known yet" if n_open else "")
    )
    return mended


def known_mended(settings: Settings, base: BaseModel, system_prompt: str | None) -> list[str]:
    """What ``mended_by_base`` answers by earlier nights alone."""
    known = _read(kept_answers(settings, base, system_prompt))
    return [row_id for row_id, matches in known.items() if matches]


def kept_answers(settings: Settings, base: BaseModel, system_prompt: str | None) -> Path:
    """The file of what a base answered with a system prompt, a line a row."""
    from evals.score import FORMAT, ITEMS

    by = [str(one) for one in plugins.load_all("matcher", settings.gate.matchers)]
    asked = [] if system_prompt is None else [{"system_prompt": system_prompt}]
    name = f"recheck-{sha256_json([base.fingerprint, FORMAT, *by, *asked])[:16]}"
    return settings.scores_dir / name / ITEMS


def _read(path: Path) -> dict[str, bool]:
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {row["item_id"]: row["matches"] for row in map(json.loads, lines)}


def _write(path: Path, known: dict[str, bool]) -> None:
    lines = [json.dumps({"item_id": row_id, "matches": known[row_id]}) for row_id in sorted(known)]
    write_atomic(path, "".join(line + "\n" for line in lines))
