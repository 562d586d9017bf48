"""Test, then train: prompts that came after a challenger test the next one, then are learned from.

As long as no look at people's prompts was paid for, the split's holdout is all that tests. From
then on

- a prompt that decided once is evidence no more: its near-duplicates and it go to training
  (``feedback.curation.curate``, ``released``);
- a prompt of the validation split goes to training as well once a look was made, since it was
  evidence for no gate: else one complaint in ten would never be learned;
- of the corrected and compared prompts that no snapshot of a look held, half (by a salted hash)
  test tonight's challenger before any training sees them. The other half is learned from tonight:
  were all of them kept, a night could learn nothing of what people complain about now, and would
  be tested on that alone.

So each kept prompt is evidence once and a lesson later. What waits for its test in one night is
still waiting in the next until it has decided (``evals.gate``: a look that could show nothing is
not made).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence, Set
from dataclasses import fields, replace

from feedback.champion import standing_runs
from feedback.rows import Lesson
from feedback.splits import prompt_key
from feedback.store import Store
from pawl.schemas import Look, RowKind, Split, TrainingRow

FRESH_TEST_FRACTION = 0.5
WAITS = "it waits: its prompt tests a challenger before any training sees it"


def prompts_of_looks(store: Store) -> tuple[set[str], set[str]]:
    """Keys of prompts that are no fresh evidence (those that decided, what the training of any look
    could see, and all of the last look's snapshot), and of those among them that are learned from:
    the holdout of that snapshot is not, where it did not decide. Both are empty before the first
    look."""
    looks = store.looks()
    if not looks:
        return set(), set()
    seen = store.read(  # each row once: most are in many snapshots
        "SELECT arg_max(row_json, seq) FROM curated WHERE split <> 'holdout'"
        " AND snapshot_id IN (SELECT snapshot_id FROM ledger) GROUP BY row_id"
    )
    learned = {key for look in looks for key in look.prompts} | store.learned_prompts()
    learned |= {prompt_key(json.loads(row)["prompt"]) for (row,) in seen}
    last = store.snapshot_rows(looks[-1].snapshot_id)
    return learned | {prompt_key(row.prompt) for row in last if row.split == "holdout"}, learned


def keep_learned(store: Store, keys: Set[str]) -> None:
    """Write down which of these prompts training saw: an erasing takes the rows that say so, and
    somebody else has the prompt, too."""
    if keys and (seen := keys & prompts_of_looks(store)[1]):
        store.append_learned(seen).result()


def clusters_to_test(rows: Sequence[TrainingRow], known: Collection[str], salt: str) -> set[str]:
    """The clusters of the curated rows that test tonight before any training sees them; none
    before the first look.

    Args:
        known: as ``prompts_of_looks`` gives it first.
    """
    if not known:
        return set()
    seen = {cluster_of(row) for row in rows if prompt_key(row.prompt) in known}
    return {
        cluster
        for row in rows
        if row.chosen is not None
        and (cluster := cluster_of(row)) not in seen
        and _place(cluster, salt) < FRESH_TEST_FRACTION
    }


def is_test(row: TrainingRow, tested: Collection[str]) -> bool:
    """Whether a row stands in the holdout tonight."""
    return row.split == "holdout" or (row.chosen is not None and cluster_of(row) in tested)


def assign(
    rows: Sequence[TrainingRow], tested: Collection[str]
) -> tuple[list[TrainingRow], list[tuple[str, dict[str, object]]]]:
    """The curated rows with the side on which each stands tonight, and what waits. Near-duplicates
    stand together.

    Args:
        tested: as ``clusters_to_test`` gives it.
    """
    if not tested:
        return list(rows), []
    keys = [prompt_key(row.prompt) for row in rows]
    corrections = {
        (key, row.completion) for key, row in zip(keys, rows, strict=True) if row.kind == "sft"
    }
    sided: dict[str, TrainingRow] = {}
    waiting: list[tuple[str, dict[str, object]]] = []
    for key, row in zip(keys, rows, strict=True):
        if row.split != "holdout" and cluster_of(row) in tested:
            if not is_test(row, tested):
                waiting.append((WAITS, {**row.origin, "row_id": row.row_id}))
                continue
            kind: RowKind = "regression" if (key, row.chosen) in corrections else row.kind
            row = _as(row, kind, "holdout")
        sided.setdefault(row.row_id, row)
    return list(sided.values()), waiting


def _as(row: TrainingRow, kind: RowKind, split: Split) -> TrainingRow:
    """The same content as another kind of row, whose id follows from its content."""
    content = {one.name: getattr(row, one.name) for one in fields(Lesson)}
    moved = Lesson(**content | {"kind": kind}).in_split(split)
    return replace(moved, cluster=row.cluster, weight=row.weight)


def cluster_of(row: TrainingRow) -> str:
    """Whose near-duplicates it stands with: its cluster, else its group."""
    return row.cluster or row.group_id


def _place(group_id: str, salt: str) -> float:
    """Uniform in [0, 1), the same for ever for a group."""
    digest = hashlib.sha256(f"fresh\0{salt}\0{group_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def next_attempt(store: Store, base_fingerprint: str) -> int:
    """The number of the next look at people's prompts, from 1: see ``attempt_number``.

    Looks at challengers of another base are left out: its versions can't answer here, so they are
    another series of promotions with an alpha of its own. A look says its base in its run's
    verdict; one whose verdict says none counts.
    """
    bases: dict[str, str | None] = dict(
        store.read(
            "SELECT run_id, arg_max(verdict_json->>'$.base_fingerprint', seq) FROM verdicts"
            " GROUP BY run_id"
        )
    )
    looks = [x for x in store.looks() if bases.get(x.run_id) in (None, base_fingerprint)]
    return attempt_number(looks, standing_runs(store.promotions()))


def attempt_number(looks: Sequence[Look], standing: Collection[str]) -> int:
    """Looks count from the newest that promoted a version which stands still (its run is one of
    ``standing``): a promotion by evidence earns alpha anew, and a rollback below its version takes
    that back. A champion made by hand, whatever its own look said, does neither: between one such
    promotion and the next all looks together spend one alpha."""
    since = 0
    for n, look in enumerate(looks, 1):
        if look.outcome == "promote" and look.run_id in standing:
            since = n
    return len(looks) - since + 1
