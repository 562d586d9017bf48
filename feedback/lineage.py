"""From a flag to the version that fixed it: what versions were trained on, what their gates found.

A flag is an answer that somebody found fault with, as a night took it up: corrected (a row of kind
``sft``, in the holdout ``regression``), or marked bad without a correction (``unpaired``, not
liked).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedback.champion import number_of
from feedback.splits import prompt_key
from feedback.store import Store
from pawl.schemas import (
    Completion,
    DecisionOutcome,
    FlagLineage,
    FlagOutcome,
    FlagPage,
    FlagVerdict,
    Promotion,
    TrainingRow,
    VersionCounts,
)

TEXT_CHARACTERS = 600
# The rows of flags, each under the feedback that it comes from; an imported one under itself.
_FLAGS = (
    "SELECT coalesce(origin_json->>'$.feedback_id', row_id) AS id, seq, snapshot_id, split,"
    " row_json FROM curated WHERE snapshot_id IN (SELECT unnest(?::VARCHAR[])) AND (kind IN"
    " ('sft', 'regression') OR (kind = 'unpaired' AND (row_json->>'$.label') = 'false'))"
)


@dataclass(frozen=True, slots=True)
class Trained:
    """A version with the run that made it and the snapshot that the run took; "" where the run
    trained nothing, but tested a version of a system prompt."""

    version: str
    run_id: str
    snapshot_id: str


@dataclass(frozen=True, slots=True)
class _Flag:
    """``side``: in the newest snapshot that holds it. ``trained``: snapshots in which it stands in
    the training split; ``snapshots``: all that hold it."""

    flag_id: str
    row: TrainingRow
    side: str
    trained: set[str]
    snapshots: set[str]


def brought_in(store: Store) -> list[Promotion]:
    """The move that brought each version in, as it stands now, oldest first: the last that went
    live, else the last."""
    moves = {row.promotion_id: row for row in store.promotions() if row.kind == "promote"}
    ranked = sorted(moves.values(), key=lambda row: row.outcome == "live")  # stable: then by time
    rows = {row.version: row for row in ranked}
    return sorted(rows.values(), key=lambda row: number_of(row.version))


def trained_versions(store: Store) -> list[Trained]:
    """The versions whose night is known, oldest first."""
    details = {run["run_id"]: run["detail"] for run in store.runs()}
    found = []
    for row in brought_in(store):
        detail = details.get(row.run_id or "", {})
        if snapshot_id := str(detail.get("snapshot_id") or ""):
            learned = "" if "challenger" in detail else snapshot_id
            found.append(Trained(row.version, row.run_id or "", learned))
    return found


def outcomes(
    store: Store, decided: Sequence[tuple[str, Sequence[Completion]]]
) -> list[DecisionOutcome]:
    """What nights made of answers: of each (since when, answers that belong together)."""
    ids = [one.completion_id for _, answers in decided for one in answers]
    rows = store.read(
        "SELECT origin_json->>'$.completion_id' AS id, split, snapshot_id, created_at FROM curated"
        " JOIN (SELECT snapshot_id, min(created_at) AS created_at, min(seq) AS first_seq"
        " FROM snapshots GROUP BY ALL) USING (snapshot_id)"
        " WHERE id IN (SELECT unnest(?::VARCHAR[])) ORDER BY first_seq",
        [ids],
    )
    versions, looks = trained_versions(store), store.looks()
    names = {one.run_id: one.version for one in versions}
    found = []
    for since, answers in decided:
        own = {one.completion_id for one in answers}
        keys = {prompt_key(one.messages) for one in answers}
        held = [(split, snapshot) for name, split, snapshot, at in rows
                if name in own and at >= since]  # fmt: skip
        trained = {snapshot for split, snapshot in held if split == "train"}
        found.append(
            DecisionOutcome(
                n_snapshots=len({snapshot for _, snapshot in held}),
                side=held[-1][0] if held else None,
                trained_since=next(
                    (one.version for one in versions if one.snapshot_id in trained), None
                ),
                verdicts=[
                    FlagVerdict(run_id=look.run_id, version=names.get(look.run_id), outcome=word)
                    for look in looks if look.created_at >= since
                    for key, word in look.prompts.items() if key in keys
                ],
            )
        )  # fmt: skip
    return found


def counts_of(store: Store, versions: Sequence[Trained]) -> dict[str, VersionCounts]:
    """By version: how many flags it was trained on, and what its gate found of those that tested
    it."""
    trained: dict[str, int] = dict(
        store.read(
            f"SELECT snapshot_id, count(DISTINCT id) FROM ({_FLAGS}) WHERE split = 'train'"
            " GROUP BY snapshot_id",
            [[one.snapshot_id for one in versions]],
        )
    )
    looks = {look.run_id: list(look.prompts.values()) for look in store.looks()}
    found = {}
    for one in versions:
        words = looks.get(one.run_id, [])
        found[one.version] = VersionCounts(
            n_trained=trained.get(one.snapshot_id, 0),
            n_fixed=words.count("fixed"), n_same=words.count("same"),
            n_broken=words.count("broken"),
        )  # fmt: skip
    return found


def flags(
    store: Store,
    versions: Sequence[Trained],
    *,
    of: Sequence[Trained],
    outcome: FlagOutcome | None,
    search: str = "",
    offset: int = 0,
    limit: int = 50,
) -> FlagPage:
    """Flags with their lineage, the newest first.

    Args:
        versions: all, oldest first.
        of: those whose flags are asked for.
        outcome: ``trained``: what they learned from; ``fixed``, ``same``, ``broken``: what a gate
            found of it; None: all.
        search: words in the question, the correction, or an id.
    """
    names = {one.run_id: one.version for one in versions}
    asked = {one.run_id for one in of}
    verdicts: dict[str, list[FlagVerdict]] = {}
    for look in store.looks():
        for key, word in look.prompts.items():
            verdict = FlagVerdict(run_id=look.run_id, version=names.get(look.run_id), outcome=word)
            verdicts.setdefault(key, []).append(verdict)
    found: list[tuple[_Flag, list[FlagVerdict]]] = []
    for flag in _flags(store, of):
        told = verdicts.get(prompt_key(flag.row.prompt), [])
        if _is_asked_for(flag, told, asked, outcome) and _holds(flag, search):
            found.append((flag, told))
    found.sort(key=lambda one: (str(one[0].row.origin.get("created_at", "")), one[0].flag_id))
    found.reverse()
    shown = found[offset : offset + limit]
    since = _first_trained(store, versions, [flag.flag_id for flag, _ in shown])
    answers = {
        row.completion_id: row
        for row in store.completions(
            completion_ids=[str(flag.row.origin.get("completion_id")) for flag, _ in shown]
        )
    }
    return FlagPage(
        n_found=len(found),
        flags=[
            _lineage(flag, told, since, answers.get(str(flag.row.origin.get("completion_id"))))
            for flag, told in shown
        ],
    )


def _flags(store: Store, of: Sequence[Trained]) -> list[_Flag]:
    rows = store.read(
        "SELECT id, row_json, split, trained, snapshots FROM (SELECT id, max(seq) AS seq,"
        " list(DISTINCT snapshot_id) FILTER (split = 'train') AS trained,"
        f" list(DISTINCT snapshot_id) AS snapshots FROM ({_FLAGS}) GROUP BY id)"
        " JOIN curated USING (seq)",
        [[one.snapshot_id for one in of]],
    )
    return [
        _Flag(name, TrainingRow(**json.loads(text)), side, set(trained or ()), set(snapshots))
        for name, text, side, trained, snapshots in rows
    ]


def _first_trained(store: Store, versions: Sequence[Trained], ids: Sequence[str]) -> dict[str, str]:
    """The first version that was trained on each of these flags."""
    rows = store.read(
        f"SELECT id, list(DISTINCT snapshot_id) FROM ({_FLAGS}) WHERE split = 'train'"
        " AND id IN (SELECT unnest(?::VARCHAR[])) GROUP BY id",
        [[one.snapshot_id for one in versions], list(ids)],
    )
    return {
        name: next(one.version for one in versions if one.snapshot_id in snapshots)
        for name, snapshots in rows
    }


def _is_asked_for(
    flag: _Flag, told: Sequence[FlagVerdict], asked: set[str], outcome: FlagOutcome | None
) -> bool:
    if outcome is None:
        return True
    if outcome == "trained":
        return bool(flag.trained)
    return any(one.outcome == outcome and one.run_id in asked for one in told)


def _holds(flag: _Flag, search: str) -> bool:
    origin = flag.row.origin
    texts = [
        flag.flag_id, origin.get("completion_id"), origin.get("rater_id"), _question(flag.row),
        _correction(flag.row),
    ]  # fmt: skip
    whole = "\n".join(str(text) for text in texts if text).casefold()
    return all(word in whole for word in search.casefold().split())


def _question(row: TrainingRow) -> str:
    return str(row.prompt[-1].get("content") or "") if row.prompt else ""


def _correction(row: TrainingRow) -> str | None:
    return row.chosen if row.chosen is not None else row.completion if row.kind == "sft" else None


def _lineage(
    flag: _Flag, told: Sequence[FlagVerdict], since: Mapping[str, str], answer: Any
) -> FlagLineage:
    row, origin = flag.row, flag.row.origin
    flagged = answer.completion if answer is not None else row.rejected
    correction = _correction(row)
    return FlagLineage(
        flag_id=flag.flag_id,
        completion_id=origin.get("completion_id"),
        rater_id=origin.get("rater_id"),
        created_at=origin.get("created_at"),
        answered_by=answer.version if answer is not None else None,
        question=_question(row)[:TEXT_CHARACTERS],
        flagged=None if flagged is None else flagged[:TEXT_CHARACTERS],
        correction=None if correction is None else correction[:TEXT_CHARACTERS],
        categories=row.categories,
        side=flag.side,
        trained_since=since.get(flag.flag_id),
        verdicts=list(told),
    )
