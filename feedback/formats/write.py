"""Training rows to the records of other projects' formats."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pawl.files import sha256_json
from pawl.schemas import Message, RowKind, TrainingRow

Write = Callable[[Sequence[TrainingRow]], list[dict[str, Any]]]

KEPT = "kept for testing"
WITH_TOOLS = ("sft", "preference", "unpaired")
_SHAREGPT_NAMES = {"user": "human", "assistant": "gpt", "system": "system"}


def render(
    rows: Iterable[TrainingRow], file_format: str, *, as_array: bool
) -> tuple[str, int, dict[str, int]]:
    """The file's text, the number of its records, and what was left out by reason."""
    kind, write = WRITERS[file_format]
    usable: list[TrainingRow] = []
    skipped: Counter[str] = Counter()
    for row in rows:
        if row.split == "holdout":
            skipped[KEPT] += 1
        elif row.kind != kind:
            skipped[f"{row.kind} rows do not exist in {file_format}"] += 1
        elif row.has_tools and file_format not in WITH_TOOLS:
            skipped[f"tools do not exist in {file_format}"] += 1
        elif file_format == "oasst" and any(one["role"] == "system" for one in row.prompt):
            skipped["oasst has no system messages"] += 1
        else:
            usable.append(row)
    records = write(usable)
    if as_array:
        text = json.dumps(records, ensure_ascii=False, indent=2) + "\n"
    else:
        text = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    return text, len(records), dict(sorted(skipped.items()))


def _assistant(text: str | None) -> list[Message]:
    return [{"role": "assistant", "content": text or ""}]


def _sft(row: TrainingRow) -> dict[str, Any]:
    return {"prompt": row.prompt, "completion": _assistant(row.completion), **_details(row)}


def _details(row: TrainingRow) -> dict[str, Any]:
    """The columns that only rows which have them have."""
    details = {"tools": row.tools, "categories": row.categories, "task": row.task}
    return {name: value for name, value in details.items() if value}


def _preference(row: TrainingRow) -> dict[str, Any]:
    return {
        "prompt": row.prompt,
        "chosen": _assistant(row.chosen),
        "rejected": _assistant(row.rejected),
        **_details(row),
    }  # fmt: skip


def _unpaired(row: TrainingRow) -> dict[str, Any]:
    record = {"prompt": row.prompt, "completion": _assistant(row.completion), "label": row.label}
    return {**record, **_details(row)}


def _sharegpt_dpo(row: TrainingRow) -> dict[str, Any]:
    return {
        "conversations": [
            {"from": _SHAREGPT_NAMES[message["role"]], "value": message["content"]}
            for message in row.prompt
        ],
        "chosen": {"from": "gpt", "value": row.chosen},
        "rejected": {"from": "gpt", "value": row.rejected},
    }


def _sharegpt_kto(row: TrainingRow) -> dict[str, Any]:
    return {"messages": [*row.prompt, *_assistant(row.completion)], "label": row.label}


def _trees(rows: Iterable[TrainingRow]) -> list[dict[str, Any]]:
    """One tree for each prompt and better answer, which is ranked first. Trees whose
    conversations open with the same question share ``message_tree_id``, hence a group."""
    grouped: dict[str, list[TrainingRow]] = {}
    for row in rows:
        grouped.setdefault(sha256_json([row.prompt, row.chosen]), []).append(row)
    trees = []
    for same in grouped.values():
        replies = [same[0].chosen, *(row.rejected for row in same)]
        node: dict[str, Any] = {}
        below = [_node("assistant", text, [], rank=rank) for rank, text in enumerate(replies)]
        for message in reversed(same[0].prompt):
            role = "prompter" if message["role"] == "user" else "assistant"
            node = _node(role, message["content"], below)
            below = [node]
        trees.append(
            {
                "message_tree_id": sha256_json(same[0].prompt[0])[:32],
                "tree_state": "ready_for_export",
                "prompt": node,
            }
        )
    return trees


def _node(
    role: str, text: str | None, replies: list[dict[str, Any]], rank: int | None = None
) -> dict[str, Any]:
    return {
        "message_id": sha256_json([role, text, replies])[:32],
        "text": text,
        "role": role,
        "deleted": False,
        "rank": rank,
        "replies": replies,
    }


def _each(write: Callable[[TrainingRow], dict[str, Any]]) -> Write:
    return lambda rows: [write(row) for row in rows]


WRITERS: dict[str, tuple[RowKind, Write]] = {
    "sft": ("sft", _each(_sft)),
    "preference": ("pair", _each(_preference)),
    "unpaired": ("unpaired", _each(_unpaired)),
    "sharegpt-dpo": ("pair", _each(_sharegpt_dpo)),
    "sharegpt-kto": ("unpaired", _each(_sharegpt_kto)),
    "oasst": ("pair", _trees),
}
