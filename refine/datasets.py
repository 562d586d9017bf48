"""Training rows as the columns that TRL's trainers read, with every row left out counted.

    SFT   {"input_ids": [...], "labels": [...], "is_taught": bool, "is_replay": bool, "weight": 1.0}
    DPO   {"prompt": [messages], "chosen": [...], "rejected": [...], "weight": 1.0}
    KTO   {"prompt": [messages], "completion": [...], "label": bool, "weight": 1.0}

SFT rows are encoded here, since TRL's own columns know neither a cut answer nor which rows are
corrections. A label of -100 is not trained: that of a prompt, replay's aside.

TRL cuts a row longer than ``max_length`` without a word; here such a row is left out instead.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pawl.chat_template import end_of_turn_id, renders_tools, with_objects
from pawl.schemas import Message, TrainingRow
from refine.mixture import mix
from refine.planner import ROW_KINDS, StageKind
from refine.replay import ReplayRow

ROLES = ("system", "user", "assistant", "tool")
ANSWERS = ("completion", "chosen", "rejected")
Tools = list[dict[str, Any]]
# The policy and the reference answer each of them before the first step, after each epoch and at
# the end: 75 real pairs and as much replay took 8 minutes of 2 cores each time.
MOST_VALIDATION = 32
Encode = Callable[[list[Message], str, Tools], tuple[list[int], int]]
"""Token ids of a prompt that offers tools with its answer, and how many are the prompt's; raises
when the chat template can't render them, ``ToolsNotRendered`` when it would leave tools out."""


class ToolsNotRendered(ValueError):
    """The base's chat template knows no tools, or not whole."""


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
    mixture: dict[str, dict[str, float]] = field(default_factory=dict)  # see refine.mixture.mix

    def counts(self) -> dict[str, Any]:
        return {
            "train": len(self.train),
            "validation": len(self.validation),
            "replay": len(self.kept_replay),  # of both
            "longest_tokens": self.longest_tokens,
            "left_out": dict(self.left_out),
            **({"mixture": self.mixture} if self.mixture else {}),
            **({"synthetic": n} if (n := sum(row.is_synthetic for row in self.kept)) else {}),
        }


def encode_answer(
    tokenizer: Any,
    prompt: list[Message],
    answer: str,
    end_of_turn_id: int | None,
    tools: Tools | None = None,
) -> tuple[list[int], int]:
    """Token ids of a prompt with its answer up to the end of its turn, and how many of them are
    the prompt's.

    Where the template begins a prompt's answer otherwise than it goes on (an opened thought, say),
    the prompt is what both have in common. What the template writes after the end of the turn (a
    line break, say) is left out: no engine goes on after it.
    """
    prompt, tools = with_objects(prompt), tools or None
    start = tokenizer.apply_chat_template(
        prompt, tools=tools, add_generation_prompt=True, return_dict=False
    )
    whole = [*prompt, {"role": "assistant", "content": answer}]
    ids = list(tokenizer.apply_chat_template(whole, tools=tools, return_dict=False))
    pairs = zip(start, ids, strict=False)
    differ = (i for i, (a, b) in enumerate(pairs) if a != b)
    n_prompt = next(differ, min(len(start), len(ids)))
    if end_of_turn_id in ids[n_prompt:]:
        last = max(i for i, token in enumerate(ids) if token == end_of_turn_id)
        ids = ids[: last + 1]
    return ids, n_prompt


def encoder_of(tokenizer: Any) -> Encode:
    """``encode_answer`` with this tokenizer."""
    end_id = end_of_turn_id(tokenizer)
    knows_tools = renders_tools(tokenizer)

    def encode(prompt: list[Message], answer: str, tools: Tools) -> tuple[list[int], int]:
        if not knows_tools and (tools or any(message.get("tool_calls") for message in prompt)):
            raise ToolsNotRendered
        return encode_answer(tokenizer, prompt, answer, end_id, tools)

    return encode


def build_stage(
    kind: StageKind,
    rows: Sequence[TrainingRow],
    replay: Sequence[ReplayRow],
    *,
    encode: Encode,
    max_length_tokens: int,
    mixture: Mapping[str, float] | None = None,
) -> StageRows:
    """Make the columns of one stage, with the shares of ``mixture`` where it has some.

    The validation set is the snapshot's, plus as many replay rows as it has rows of its own (a
    fifth of the base's own answers at most): its loss then shows both what should change and what
    should stay. They are spread evenly over the base's answers; answers that people liked are all
    trained on. Without validation rows in the snapshot there is no validation set. DPO and KTO take
    ``MOST_VALIDATION`` of the snapshot's at most, spread evenly.
    """
    stage = StageRows()
    wanted = ROW_KINDS[kind]
    for row in rows:
        if row.split not in ("train", "validation"):
            continue
        if row.kind != wanted:
            if not (kind == "sft" and row.kind == "unpaired" and row.label):  # those are replay
                stage.left_out[f"{row.kind} row, not for {kind}"] += 1
            continue
        if row.has_tools and kind != "sft":  # TRL's columns mix the arguments of calls up
            stage.left_out[f"tools, not for {kind}"] += 1
            continue
        columns = _columns(kind, row)
        encoded = _encode(stage, row, columns, encode, max_length_tokens)
        if encoded:
            if kind == "sft":
                columns = _written(*encoded[0], is_taught=True, weight=row.weight)
            (stage.train if row.split == "train" else stage.validation).append(columns)
            stage.kept.append(row)
    if kind != "sft":
        step = math.ceil(len(stage.validation) / MOST_VALIDATION) or 1
        stage.validation = stage.validation[::step]
    if mixture and stage.train:
        trained = [row for row in stage.kept if row.split == "train"]
        stage.mixture = mix(stage.train, trained, mixture)
    stage.n_liked = sum(1 for columns in stage.train if columns.get("label") is True)
    stage.n_disliked = sum(1 for columns in stage.train if columns.get("label") is False)
    corrected = [columns["chosen"] for columns in stage.train] if kind == "dpo" else []
    stride = _stride(len(corrected))
    extra: list[dict[str, Any]] = []
    for i, replayed in enumerate(replay):
        other = corrected[(stride * i) % len(corrected)] if corrected else None
        again = _replay_columns(kind, replayed, other)
        if again is None:
            continue
        if kind == "kto":
            again["weight"] = 1 / kto_weights(stage.n_liked, stage.n_disliked)[0]
        if replayed.has_tools and kind != "sft":
            stage.left_out[f"replay tools, not for {kind}"] += 1
            continue
        encoded = _encode(stage, replayed, again, encode, max_length_tokens, "replay ")
        if encoded:
            if kind == "sft":
                ids, n_prompt = encoded[0]
                ids = ids if replayed.is_finished else ids[:-1]  # its end was cut
                n_given = n_prompt if replayed.is_liked else 0
                again = _written(ids, n_given, is_taught=False, weight=replayed.weight)
                again["is_replay"] = not replayed.is_liked
            extra.append(again)
            stage.kept_replay.append(replayed)
    of_base = [i for i, replayed in enumerate(stage.kept_replay) if not replayed.is_liked]
    n_validation = min(len(stage.validation), len(of_base) // 5)
    held_back = {of_base[k * len(of_base) // n_validation] for k in range(n_validation)}
    stage.validation += [extra[i] for i in sorted(held_back)]
    stage.train += [columns for i, columns in enumerate(extra) if i not in held_back]
    return stage


def kto_weights(n_liked: int, n_disliked: int) -> tuple[float, float]:
    """Weights that make both labels count the same: the rarer one gets n_common / n_rare.

    Ethayarajh et al., 2024 (KTO), section 4: lambda_D * n_D / (lambda_U * n_U) from 1 to 4/3.
    Replay rows don't count: they are there to hold the model still, and would make each disliked
    answer weigh many times what a person meant. So they weigh 1 whatever a liked answer does.
    """
    if not n_liked or not n_disliked:
        return 1.0, 1.0
    return max(1.0, n_disliked / n_liked), max(1.0, n_liked / n_disliked)


def _stride(n: int) -> int:
    """Steps of this size meet all of ``n`` things before any twice, neighbours far apart: 7, or
    the next number that shares no factor with ``n``."""
    return next(step for step in itertools.count(7) if math.gcd(step, n or 1) == 1)


def _columns(kind: StageKind, row: TrainingRow) -> dict[str, Any]:
    if kind == "dpo":
        return {"prompt": row.prompt, "chosen": _says(row.chosen), "rejected": _says(row.rejected),
                "weight": row.weight}  # fmt: skip
    columns = {"prompt": row.prompt, "completion": _says(row.completion), "weight": row.weight}
    return columns if kind == "sft" else {**columns, "label": bool(row.label)}


def _replay_columns(
    kind: StageKind, row: ReplayRow, other: list[Message] | None
) -> dict[str, Any] | None:
    """A replay row; for DPO it is preferred to the correction of some other question, so that a
    correction is learnt for its own question only."""
    if kind == "dpo":
        if other is None or other[0]["content"] == row.completion:
            return None
        return {"prompt": row.prompt, "chosen": _says(row.completion), "rejected": other,
                "weight": row.weight}  # fmt: skip
    columns = {"prompt": row.prompt, "completion": _says(row.completion), "weight": row.weight}
    return columns if kind == "sft" else {**columns, "label": True}


def _says(text: str | None) -> list[Message]:
    return [{"role": "assistant", "content": text or ""}]


def _written(
    ids: list[int], n_prompt: int, *, is_taught: bool, weight: float = 1.0
) -> dict[str, Any]:
    """An answer to be learned as it is written."""
    labels = [-100] * n_prompt + ids[n_prompt:]
    return {"input_ids": ids, "labels": labels, "is_taught": is_taught, "is_replay": False,
            "weight": weight}  # fmt: skip


def _encode(
    stage: StageRows,
    row: TrainingRow | ReplayRow,
    columns: dict[str, Any],
    encode: Encode,
    max_length_tokens: int,
    what: str = "",
) -> list[tuple[list[int], int]]:
    """The row's answers encoded; none, and counted why, when it can't be trained on whole."""
    answers = [columns[key][0]["content"] for key in ANSWERS if key in columns]
    if not row.prompt or any(message["role"] not in ROLES for message in row.prompt):
        stage.left_out[f"{what}prompt is no conversation"] += 1
        return []
    if not all(answer.strip() for answer in answers):
        stage.left_out[f"{what}empty answer"] += 1
        return []
    try:
        encoded = [encode(row.prompt, answer, row.tools) for answer in answers]
    except ToolsNotRendered:
        stage.left_out[f"{what}tools, which the base does not know"] += 1
        return []
    except Exception:  # a chat template may raise anything, jinja2.TemplateError mostly
        stage.left_out[f"{what}chat template refuses the conversation"] += 1
        return []
    length = max(len(ids) for ids, _ in encoded)
    if length > max_length_tokens:
        stage.left_out[f"{what}longer than {max_length_tokens} tokens"] += 1
        return []
    stage.longest_tokens = max(stage.longest_tokens, length)
    return encoded
