"""Training rows as the columns that TRL's trainers read, with every row left out counted.

    SFT   {"prompt": [messages], "completion": [assistant message]}, or {"text_ids": [token ids]}
    DPO   {"prompt": [messages], "chosen": [...], "rejected": [...]}
    KTO   {"prompt": [messages], "completion": [...], "label": bool}

TRL cuts a row longer than ``max_length`` without a word; here such a row is left out instead.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pawl.schemas import Message, TrainingRow
from refine.planner import StageKind
from refine.replay import ReplayRow

ROLES = ("system", "user", "assistant")
Encode = Callable[[list[Message]], int]
"""Length in tokens of a whole conversation; raises when the chat template can't render it."""


@dataclass(slots=True)
class StageRows:
    """The rows of one stage, and the counts that the recipe keeps."""

    train: list[dict[str, Any]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    longest_tokens: int = 0
    n_liked: int = 0  # KTO's labels among the training rows, replay aside
    n_disliked: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    kept: list[TrainingRow] = field(default_factory=list)  # of which the columns were made
    kept_replay: list[ReplayRow] = field(default_factory=list)

    def counts(self) -> dict[str, Any]:
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "longest_tokens": self.longest_tokens,
            "left_out": dict(self.left_out),
        }


def build_stage(
    kind: StageKind,
    rows: Sequence[TrainingRow],
    replay: Sequence[ReplayRow],
    *,
    encode: Encode,
    max_length_tokens: int,
    texts: Sequence[list[int]] = (),
) -> StageRows:
    """Make the columns of one stage. ``texts``: plain texts as token ids, for SFT alone.

    The validation set is the snapshot's, plus as many replay rows as it has rows of its own (a
    fifth of the base's own answers at most): early stopping then sees both what should change and
    what should stay. They are spread evenly over the base's answers; answers that people liked are
    all trained on. Without validation rows in the snapshot there is no validation set.
    """
    stage = StageRows()
    wanted = {"sft": "sft", "dpo": "pair", "kto": "unpaired"}[kind]
    for row in rows:
        if row.split not in ("train", "validation"):
            continue
        if row.kind != wanted:
            if not (kind == "sft" and row.kind == "unpaired" and row.label):  # those are replay
                stage.left_out[f"{row.kind} row, not for {kind}"] += 1
            continue
        columns = _columns(kind, row)
        if _fits(stage, row.prompt, columns, encode, max_length_tokens):
            (stage.train if row.split == "train" else stage.validation).append(columns)
            stage.kept.append(row)
    stage.n_liked = sum(1 for one in stage.train if one.get("label") is True)
    stage.n_disliked = sum(1 for one in stage.train if one.get("label") is False)
    corrected = [c["chosen"] for c in stage.train] if kind == "dpo" else []
    stride = _stride(len(corrected))
    extra: list[dict[str, Any]] = []
    for i, one in enumerate(replay):
        other = corrected[(stride * i) % len(corrected)] if corrected else None
        again = _replay_columns(kind, one, other)
        if again and _fits(stage, one.prompt, again, encode, max_length_tokens, "replay "):
            extra.append(again)
            stage.kept_replay.append(one)
    of_base = [i for i, one in enumerate(stage.kept_replay) if not one.is_liked]
    n_validation = min(len(stage.validation), len(of_base) // 5)
    held_back = {of_base[k * len(of_base) // n_validation] for k in range(n_validation)}
    stage.validation += [extra[i] for i in sorted(held_back)]
    stage.train += [one for i, one in enumerate(extra) if i not in held_back]
    if kind == "sft":
        short = [ids for ids in texts if len(ids) <= max_length_tokens]
        if len(short) < len(texts):
            what = f"text longer than {max_length_tokens} tokens"
            stage.left_out[what] += len(texts) - len(short)
        stage.train += [{"text_ids": ids} for ids in short]
        stage.longest_tokens = max([stage.longest_tokens, *map(len, short)])
    return stage


def _stride(n: int) -> int:
    """Steps of this size meet all of ``n`` things before any twice, neighbours far apart: 7, or
    the next number that shares no factor with ``n``."""
    return next(step for step in itertools.count(7) if math.gcd(step, n or 1) == 1)


def _columns(kind: StageKind, row: TrainingRow) -> dict[str, Any]:
    if kind == "dpo":
        return {"prompt": row.prompt, "chosen": _says(row.chosen), "rejected": _says(row.rejected)}
    columns = {"prompt": row.prompt, "completion": _says(row.completion)}
    return columns if kind == "sft" else {**columns, "label": bool(row.label)}


def _replay_columns(
    kind: StageKind, row: ReplayRow, other: list[Message] | None
) -> dict[str, Any] | None:
    """A replay row; for DPO it is preferred to the correction of some other question, so that a
    correction is learnt for its own question only."""
    if kind == "dpo":
        if other is None or other[0]["content"] == row.completion:
            return None
        return {"prompt": row.prompt, "chosen": _says(row.completion), "rejected": other}
    columns = {"prompt": row.prompt, "completion": _says(row.completion)}
    return columns if kind == "sft" else {**columns, "label": True}


def _says(text: str | None) -> list[Message]:
    return [{"role": "assistant", "content": text or ""}]


def _fits(
    stage: StageRows,
    prompt: list[Message],
    columns: dict[str, Any],
    encode: Encode,
    max_length_tokens: int,
    what: str = "",
) -> bool:
    """Can the row be trained on whole? If not, count why."""
    answers = [columns[key] for key in ("completion", "chosen", "rejected") if key in columns]
    if not prompt or any(message["role"] not in ROLES for message in prompt):
        stage.left_out[f"{what}prompt is no conversation"] += 1
        return False
    if not all(answer[0]["content"].strip() for answer in answers):
        stage.left_out[f"{what}empty answer"] += 1
        return False
    try:
        length = max(encode([*prompt, *answer]) for answer in answers)
    except Exception:  # a chat template may raise anything, jinja2.TemplateError mostly
        stage.left_out[f"{what}chat template refuses the conversation"] += 1
        return False
    if length > max_length_tokens:
        stage.left_out[f"{what}longer than {max_length_tokens} tokens"] += 1
        return False
    stage.longest_tokens = max(stage.longest_tokens, length)
    return True
