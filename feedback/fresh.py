"""Test, then train: prompts that came after a challenger test the next one, then are learned from.

As long as no look at people's prompts was paid for, the split's holdout is all that tests. From
then on

- a prompt that decided once is evidence no more: it goes to training;
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
from collections.abc import Iterable, Sequence
from dataclasses import replace

from feedback.rows import Lesson
from feedback.splits import prompt_key
from feedback.store import Store
from pawl.schemas import Look, Split, TrainingRow

FRESH_TEST_FRACTION = 0.5
WAITS = "it waits: its prompt tests a challenger before any training sees it"


def with_fresh_tests(
    store: Store, rows: Sequence[TrainingRow], salt: str
) -> tuple[list[TrainingRow], list[tuple[str, dict[str, object]]]]:
    """The curated rows with the side on which each stands tonight, and what waits."""
    looks = store.looks()
    if not looks:
        return list(rows), []
    decided = {key for look in looks for key in look.prompts}
    known = {prompt_key(row.prompt) for row in store.snapshot_rows(looks[-1].snapshot_id)}
    return assign(rows, decided, known, salt)


def assign(
    rows: Sequence[TrainingRow], decided: set[str], known: set[str], salt: str
) -> tuple[list[TrainingRow], list[tuple[str, dict[str, object]]]]:
    """Sides of the rows.

    Args:
        decided: keys of the prompts that decided in a look.
        known: keys of all prompts of the last look's snapshot, which its training could see.
    """
    keys = [prompt_key(row.prompt) for row in rows]
    tested = {
        key
        for key, row in zip(keys, rows, strict=True)
        if row.chosen is not None
        and key not in decided | known
        and _place(row.group_id, salt) < FRESH_TEST_FRACTION
    }
    corrections = {
        (key, row.completion) for key, row in zip(keys, rows, strict=True) if row.kind == "sft"
    }
    sided: dict[str, TrainingRow] = {}
    waiting: list[tuple[str, dict[str, object]]] = []
    for key, row in zip(keys, rows, strict=True):
        if row.split == "holdout" and key in decided:
            found = list(_lessons(row))
        elif key in tested and row.split != "holdout":
            if row.chosen is None:
                waiting.append((WAITS, row.origin))
                continue
            kind = "regression" if (key, row.chosen) in corrections else row.kind
            found = [_as(row, kind, "holdout")]
        else:
            found = [row]
        for one in found:
            sided.setdefault(one.row_id, one)
    return list(sided.values()), waiting


def _lessons(row: TrainingRow) -> Iterable[TrainingRow]:
    """What a row of the holdout teaches once it has decided."""
    if row.kind != "regression":
        yield replace(row, split="train")
        return
    yield _as(replace(row, completion=row.chosen, chosen=None, rejected=None), "sft", "train")
    yield _as(row, "pair", "train")


def _as(row: TrainingRow, kind: str, split: Split) -> TrainingRow:
    """The same content as another kind of row, whose id follows from its content."""
    values = row.as_json() | {"kind": kind}
    del values["split"], values["row_id"]
    return Lesson(**values).in_split(split)


def _place(group_id: str, salt: str) -> float:
    """Uniform in [0, 1), the same for ever for a group."""
    digest = hashlib.sha256(f"fresh\0{salt}\0{group_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def attempt_number(looks: Sequence[Look], champion_run: str | None) -> int:
    """The number of the next look: they count from the one that made the champion, so a promotion
    earns alpha anew and a rollback takes that back. ``champion_run``: None for the base."""
    runs = [look.run_id for look in looks]
    since = len(runs) - runs[::-1].index(champion_run) if champion_run in runs else 0
    return len(runs) - since + 1
