"""What a night's gate gets beside the holdout: controls, kept prompts, ledger, best champion.

Made once, with the snapshot, and kept in the run's folder: ``evidence.json`` (figures),
``more_rows.jsonl`` (controls and kept prompts), ``kept.jsonl`` (the latter alone).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evals.evidence import power_in_words
from evals.reasons import GateRules
from evals.regression import KEPT, benchmark_of, scored_rows, write_more_rows
from evals.statistics import alpha_left, alpha_of_attempt
from evals.words import n_words
from feedback.champion import BASE_VERSION
from feedback.near_duplicates import comparable, neighbours
from feedback.snapshots import read_rows
from feedback.splits import prompt_key
from pawl.adapters import MANIFEST, read_manifest
from pawl.client import Client
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.schemas import Look, TrainingRow
from pawl.settings import Settings
from refine.night.state import RUN

log = logging.getLogger("pawl.nightly")

# A longer answer is worded otherwise by any training, which is no harm and can't be told from it.
MAX_CONTROL_WORDS = 40
EVIDENCE, MORE_ROWS, KEPT_ROWS = "evidence.json", "more_rows.jsonl", "kept.jsonl"


@dataclass(frozen=True, slots=True)
class NightEvidence:
    """Figures that the gate needs. ``best``: the best champion so far where that is neither the
    champion nor the anchor; ``power``: what the night could show, in words."""

    snapshot_id: str
    attempt: int
    controls_per_flag: float
    n_flagged_prompts: int
    n_controls: int
    n_kept: int
    n_decided_before: int
    best: str | None
    power: str


def collect(
    client: Client,
    settings: Settings,
    manifest: dict[str, Any],
    *,
    seed: str,
    champion: str,
    base_fingerprint: str,
) -> tuple[NightEvidence, list[TrainingRow]]:
    """Ask the server for traffic and ledger, and choose the rows to score beside the holdout.

    Args:
        manifest: of the night's snapshot.
        seed: of the draw of controls; a run's id, so that each night draws anew.
    """
    gate = settings.gate
    answer = client.get("/admin/traffic", {"seed": seed, "n": 2 * gate.n_controls})
    looks = [Look(**look) for look in answer["looks"]]
    snapshot_dir = Path(manifest["dir"])
    rows = read_rows(snapshot_dir)
    controls = _controls(rows, [TrainingRow(**value) for value in answer["controls"]])
    fixed = {
        key
        for look in looks
        if look.outcome == "promote"
        for key, outcome in look.prompts.items()
        if outcome == "fixed"
    }
    corrections = {(prompt_key(row.prompt), row.completion) for row in rows if row.kind == "sft"}
    kept = [  # a correction is asked for its answer again, of a preference which one is likelier
        replace(row, kind="regression") if (prompt_key(row.prompt), row.chosen) in corrections
        else row
        for row in rows
        if row.kind == "pair" and row.split != "holdout" and prompt_key(row.prompt) in fixed
    ]  # fmt: skip
    more = [*controls[: gate.n_controls], *kept]
    flagged = {prompt_key(row.prompt) for row in scored_rows(snapshot_dir)}
    n_flagged, n_unflagged = answer["n_flagged"], answer["n_unflagged"]
    attempt = int(answer["attempt"])
    level = alpha_of_attempt(attempt, gate.alpha)
    power = (
        f"{power_in_words(len(flagged), level)} It would be look {attempt} since the champion's "
        f"own, at level {level:.2g}; {alpha_left(attempt, gate.alpha):.2g} of {gate.alpha:g} would "
        "be left for later ones."
    )
    evidence = NightEvidence(
        snapshot_id=manifest["snapshot_id"],
        attempt=attempt,
        controls_per_flag=n_unflagged / max(1, n_flagged),
        n_flagged_prompts=len(flagged),
        n_controls=len(more) - len(kept),
        n_kept=len(kept),
        n_decided_before=len({key for look in looks for key in look.prompts}),
        best=best_champion(client, settings, champion, base_fingerprint),
        power=power,
    )
    return evidence, more


def _controls(rows: Sequence[TrainingRow], candidates: Sequence[TrainingRow]) -> list[TrainingRow]:
    """Those whose last question is nearly that of no row and of no other control: what people ask
    who got the flagged answer too and did not flag it must not count as an answer to keep."""
    short = [c for c in candidates if 0 < n_words(c.completion or "") <= MAX_CONTROL_WORDS]
    questions = [comparable(row.prompt[-1]["content"]) for row in (*rows, *short)]
    texts = list(dict.fromkeys(questions))
    places = {text: i for i, text in enumerate(texts)}
    n_known = len({*questions[: len(rows)]})
    near = neighbours(texts, n_known)  # among rows curation has looked already
    found = []
    for control, question in zip(short, questions[len(rows) :], strict=True):
        place = places.pop(question, -1)  # the second of two equal questions finds none
        if place >= n_known and not near[place]:
            found.append(control)
    return found


def write(run_dir: Path, evidence: NightEvidence, more: list[TrainingRow]) -> None:
    """Leave them in the run's folder; ``evidence.json`` last."""
    write_more_rows(run_dir / MORE_ROWS, more)
    write_more_rows(run_dir / KEPT_ROWS, [row for row in more if benchmark_of(row) == KEPT])
    write_json(run_dir / EVIDENCE, asdict(evidence))


def read(run_dir: Path) -> NightEvidence:
    return NightEvidence(**read_json(run_dir / EVIDENCE))


def write_watch(run_dir: Path, rules: GateRules, anchors: list[str]) -> Path:
    """What says when the challenger's benchmarks need no more items (``evals.score.read_watch``):
    champion and ``anchors``, whose scores are in the run's folder by now."""
    margins: dict[str, tuple[float, dict[str, float]]] = {"champion": (rules.margin, rules.margins)}
    margins |= {role: (rules.margin_anchor, {}) for role in anchors}
    references = [
        {
            "items": str((run_dir / "scores" / role / "items.jsonl").absolute()),
            "margin": margin,
            "margins": of_benchmarks,
        }
        for role, (margin, of_benchmarks) in margins.items()
    ]
    path = run_dir / "watch.json"
    write_json(path, {"alpha": rules.alpha, "references": references})
    return path


def best_champion(
    client: Client, settings: Settings, champion: str, base_fingerprint: str
) -> str | None:
    """The version of this base that was live once and did best on the benchmarks, by its mean
    difference from the anchor in its own verdict; None where it is the champion or the anchor,
    which are scored anyway. Compared are those that were measured as the newest of them was:
    against the same anchor, on the same benchmarks."""
    measured: list[tuple[str, list[str], float]] = []  # oldest first
    for move in client.get("/admin/history"):
        path = settings.runs_dir / str(move.get("run_id")) / "verdict.json"
        if (move["outcome"], move["kind"]) != ("live", "promote") or not path.exists():
            continue
        folder = settings.adapters_dir / str(move["version"])
        if not (folder / MANIFEST).exists():
            continue
        try:
            manifest = read_manifest(folder)
        except PawlError as err:  # damaged, or of a version that wrote others: nobody serves it
            log.warning("%s is compared with nothing: %s", move["version"], err)
            continue
        if manifest.base_fingerprint != base_fingerprint:
            continue
        verdict = read_json(path)
        run = read_json(path.with_name(RUN)) if path.with_name(RUN).exists() else {}
        gate = run.get("settings", {}).get("gate", {})
        anchor = str(gate.get("anchor", settings.gate.anchor))  # then
        # At the first promotion the champion was the anchor.
        rows = verdict.get("anchor") or (
            verdict["benchmarks"] if verdict.get("champion_version") == anchor else []
        )
        if rows:
            by = [anchor, str(verdict.get("suite")), *sorted(row["name"] for row in rows)]
            mean = sum(row["difference"] for row in rows) / len(rows)
            measured.append((str(move["version"]), by, mean))
    alike = [one for one in measured if one[1] == measured[-1][1]]
    best, _, most = max(alike, key=lambda one: one[2], default=("", [], 0.0))
    if most <= 0 or best in (champion, settings.gate.anchor, BASE_VERSION):
        return None  # the anchor's own difference is zero
    return best
