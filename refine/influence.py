"""Suspect rows: which training rows pull a challenger towards what it broke.

    python -m refine.influence RUN_DIR --model DIR --minutes 5

TracIn (Pruthi et al. 2020, *Estimating Training Data Influence by Tracing Gradient Descent*): a
step of training on row z changes the loss of item t by -rate * <grad L(z), grad L(t)> to first
order, so a row whose gradient points against an item's made the item worse. As LESS (Xia et al.
2024, *Selecting Influential Data for Targeted Instruction Tuning*) does, gradients are those of the
LoRA's parameters, projected at random, and the inner product is a cosine: else short rows would
lead every list. The score of a row, from -1 (it helps) to 1, is the mean of -cosine over the
``N_ITEMS_OF_ROW`` items that it pulls at most: few items are about what one row says.

- *Where*: at the base, from which every night starts, in the LoRA's layers as trained (A as it is,
  B at zero, whose gradients are taken). Of TracIn's checkpoints none is kept, and at the trained
  adapter a row that was learned has hardly a gradient left: in two trials with the tests' model all
  six planted rows of 96 stood first by the base's gradients, by the adapter's two and four did.
- *Losses*: for what is learned as it is written, -log p(answer) per token; for what is preferred
  (DPO's pairs, disliked answers, broken items), the same minus that of the other answer. An item's
  right answer is the correction, or the answer that nobody flagged, or the benchmark's; its wrong
  one is what the challenger says now.
- *Prompts*: with the system prompt that the adapter was trained with, as it is scored and served;
  benchmarks without, as they are scored.
- *Projection*: a count sketch (Charikar, Chen, Farach-Colton 2002) of ``SKETCH_SIZE`` numbers; the
  error of a cosine is about 1 / sqrt(SKETCH_SIZE), 0.004.

The result, ``suspects.json`` in the run's folder::

    {"than": "champion", "slices": {"everyday_arc": 12}, "failed": true, "n_items": 12,
     "n_not_learned": 0, "n_rows": 480, "n_compared": 478, "n_left_out": {"row": 2},
     "seconds": 97.1,
     "rows": [{"rank": 1, "score": 0.31, "row_id": ..., "kind": "sft", "rater_id": "troll",
               "prompt": "...", "answer": "...", "item": {"benchmark", "item_id", "prompt"}}]}

``rows`` are the first ``SHOWN_SHARE`` of those compared, ``MIN_SHOWN`` at least; ``item`` is what
the row pulls at most. With ``{"note": ...}`` alone nothing could be compared, and why.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evals.broken import spread, what_broke
from pawl.adapters import MANIFEST, read_manifest
from pawl.chat_template import load_tokenizer
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.jobs import OnEvent, run_child, run_job
from pawl.models import BaseModel
from pawl.schemas import ItemScore, Message, TrainingRow, asked_with
from refine.datasets import encoder_of
from refine.planner import Plan
from refine.train import trained_rows
from refine.weights import load, load_base

SUSPECTS = "suspects.json"
N_ITEMS_OF_ROW = 3
SKETCH_SIZE = 1 << 16
MAX_ITEMS = 48
ITEMS_SHARE = 1 / 3  # of the time, for the items; the rest for the rows
# Longer texts are cut, a prompt at its beginning: 500 rows fit into minutes, a long one into 2 GB.
MAX_TOKENS, MAX_ANSWER_TOKENS = 384, 192
SHOWN_SHARE, MIN_SHOWN = 0.05, 20
TEXT_CHARACTERS = 400


@dataclass(frozen=True, slots=True)
class Answer:
    """Token ids of a prompt with an answer, how many are the prompt's, and whether the answer
    should become likelier (1.0) or less likely (-1.0)."""

    ids: list[int]
    n_prompt: int
    sign: float


Encode = Callable[[list[Message], str, Any], tuple[list[int], int]]


def find_suspects(
    run_dir: Path,
    base: BaseModel,
    *,
    minutes: float,
    n_threads: int | None = None,
    beside_engine: bool = False,
    on_event: OnEvent | None = None,
) -> dict[str, Any]:
    """Rank a run's training rows in a child process; writes ``suspects.json`` and answers it.

    Args:
        minutes: rows that were not reached by then are not compared, and counted; likewise items
            after ``ITEMS_SHARE`` of them.

    Raises:
        PawlError: the run has no adapter, scores or snapshot (any more), another base, or the child
            failed; ``retryable`` when the same may succeed later.
    """
    for path in ("adapter/" + MANIFEST, "scores/champion/manifest.json",
                 "scores/challenger/manifest.json", "snapshot.json", "plan.json"):  # fmt: skip
        if not (run_dir / path).exists():
            raise PawlError(
                f"run {run_dir.name} can't be explained by its rows",
                f"it has no {path}: it did not come so far as to train and score",
                f"'pawl show {run_dir.name}' says how it ended",
                code="nothing_to_explain",
            )
    if read_manifest(run_dir / "adapter").base_fingerprint != base.fingerprint:
        raise PawlError(
            f"run {run_dir.name} trained another base than {base.name}",
            "gradients are of the model that was trained",
            "Name its base with --set model=...",
            code="wrong_base",
        )
    run_job(
        "refine.influence",
        [str(run_dir), "--model", str(base.model_dir), "--minutes", str(minutes)],
        name="ranking the rows",
        log_path=run_dir / "influence.log",
        n_threads=n_threads,
        beside_engine=beside_engine,
        on_event=on_event,
    )
    return dict(read_json(run_dir / SUSPECTS))


def main(arguments: list[str] | None = None) -> int:
    """Rank, write; 1 after an error that a user can mend."""
    parser = argparse.ArgumentParser(prog="python -m refine.influence")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--minutes", type=float, required=True)

    def work(args: argparse.Namespace, report: OnEvent) -> None:
        os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
        rank(args.run_dir, args.model, minutes=args.minutes, report=report)

    return run_child(parser, work, arguments)


def rank(
    run_dir: Path, model_dir: Path, *, minutes: float, report: OnEvent = lambda event: None
) -> dict[str, Any]:
    """Compare a run's rows with what it broke, write ``suspects.json`` and answer it."""
    started = time.monotonic()
    broken = what_broke(run_dir)
    rows = taught_rows(
        trained_rows(Path(read_json(run_dir / "snapshot.json")["dir"])),
        Plan.from_json(read_json(run_dir / "plan.json")),
    )
    if not broken.items or not rows:
        return _noted(run_dir, "No item got worse." if rows else "No row was learned.")
    import torch

    recipe = read_manifest(run_dir / "adapter").recipe
    tokenizer = load_tokenizer(model_dir, recipe.get("today"))
    encode = _prompted(encoder_of(tokenizer), recipe.get("system_prompt"))
    left_out: Counter[str] = Counter()
    items: list[tuple[ItemScore, list[Answer]]] = []
    for item in spread(broken.items, len(broken.items)):
        answers = _encoded(partial(answers_of_item, item, encode, tokenizer.encode))
        if answers:
            items.append((item, answers))
        else:
            left_out["item"] += 1
        if len(items) == MAX_ITEMS:
            break
    if not items:
        return _noted(run_dir, "The records of the items that got worse don't tell what was asked.")
    random.Random(0).shuffle(rows)  # whatever time allows is a fair sample
    base = load_base(model_dir, torch.float32)
    model = load(base, run_dir / "adapter", trainable=True).eval()
    gradients = Gradients(model, torch)
    of_items: list[Any] = []
    for _, answers in items:
        if of_items and time.monotonic() > started + ITEMS_SHARE * 60 * minutes:
            break
        of_items.append(gradients.of(answers))
    left_out["item"] += len(items) - len(of_items)
    items = items[: len(of_items)]
    cosines: list[tuple[TrainingRow, Any]] = []
    for n_done, row in enumerate(rows):
        if time.monotonic() > started + 60 * minutes:
            break
        answers = _encoded(partial(answers_of_row, row, encode))
        if not answers:
            left_out["row"] += 1
            continue
        own = gradients.of(answers)
        cosines.append((row, [float(own @ of_item) for of_item in of_items]))
        report({"stage": "influence", "fraction": round((n_done + 1) / len(rows), 4)})
    if not cosines:
        return _noted(
            run_dir,
            f"No row was compared in {minutes:.3g} minutes: "
            f"'pawl why {run_dir.name} --minutes {max(1, math.ceil(2 * minutes))}' takes longer.",
        )
    value: dict[str, Any] = {
        "than": broken.than,
        "failed": broken.failed,
        "slices": broken.n_by_slice,
        "n_items": len(items),
        "n_not_learned": broken.n_not_learned,
        "n_rows": len(rows),
        "n_compared": len(cosines),
        "n_left_out": dict(+left_out),
        "seconds": round(time.monotonic() - started, 1),
        "rows": _shown(cosines, [item for item, _ in items]),
    }
    write_json(run_dir / SUSPECTS, value)
    return value


def _prompted(encode: Encode, system_prompt: str | None) -> Encode:
    """``encode`` with the system prompt before prompts that have none."""

    def encode_prompted(prompt: list[Message], answer: str, tools: Any) -> tuple[list[int], int]:
        return encode(asked_with(system_prompt, prompt), answer, tools)

    return encode_prompted


def _noted(run_dir: Path, note: str) -> dict[str, Any]:
    write_json(run_dir / SUSPECTS, {"note": note})
    return {"note": note}


def taught_rows(rows: Sequence[TrainingRow], plan: Plan) -> list[TrainingRow]:
    """The rows of the training split that some stage of the plan learns from."""
    stages = {stage.kind for stage in plan.stages}

    def is_taught(row: TrainingRow) -> bool:
        if row.kind == "unpaired":  # SFT learns liked answers as they are
            return "kto" in stages or ("sft" in stages and bool(row.label))
        return {"sft": "sft", "pair": "dpo"}.get(row.kind) in stages

    return [row for row in rows if row.split == "train" and is_taught(row)]


def answers_of_row(row: TrainingRow, encode: Encode) -> list[Answer]:
    """What training on a row makes likelier, and less likely."""
    if row.kind == "unpaired":
        texts = [(row.completion, 1.0 if row.label else -1.0)]
    else:
        texts = [(row.chosen or row.completion, 1.0), (row.rejected, -1.0)]
    return [_cut(*encode(row.prompt, text, row.tools), sign) for text, sign in texts if text]


def answers_of_item(
    item: ItemScore, encode: Encode, tokens_of: Callable[[str], list[int]]
) -> list[Answer]:
    """The right answer of a broken item, and what the challenger says or finds likelier instead;
    none where the item's record does not tell."""
    detail = item.detail
    if "correction" in detail:
        wrong = detail.get("answer") if not detail.get("matches") else None
        texts = [(detail["correction"], 1.0), (wrong or detail.get("flagged"), -1.0)]
        return [_cut(*encode(detail["prompt"], text, None), sign) for text, sign in texts if text]
    choices, target, logprobs = (detail.get(key) for key in ("choices", "target", "logprobs"))
    if not (choices and logprobs and isinstance(target, int) and 0 <= target < len(choices)):
        return []
    others = [i for i in range(len(choices)) if choices[i] != choices[target]]
    if not others:  # the contexts differ, and only one of them is kept
        return []
    chosen = (choices[target], choices[max(others, key=lambda i: logprobs[i])])
    before = tokens_of(detail["prompt"])
    found = []
    for text, sign in zip(chosen, (1.0, -1.0), strict=True):
        ids = tokens_of(f"{detail['prompt']} {text}")
        n_same = next((i for i, (a, b) in enumerate(zip(before, ids, strict=False)) if a != b),
                      min(len(before), len(ids) - 1))  # fmt: skip
        found.append(_cut(ids, n_same, sign))
    return found


def _cut(ids: list[int], n_prompt: int, sign: float) -> Answer:
    answer = ids[n_prompt:][:MAX_ANSWER_TOKENS]
    prompt = ids[:n_prompt][-(MAX_TOKENS - len(answer)) :]
    return Answer(prompt + answer, len(prompt), sign)


def _encoded(make: Callable[[], list[Answer]]) -> list[Answer]:
    """The answers; none where the base's chat template refuses the conversation, as in training."""
    try:
        answers = make()
    except Exception:  # a chat template may raise anything
        return []
    return answers if all(0 < one.n_prompt < len(one.ids) for one in answers) else []


class Gradients:
    """Gradients of the LoRA's B matrices at the base as unit vectors, projected at random."""

    def __init__(self, model: Any, torch: Any, seed: int = 0) -> None:
        self._model, self._torch = model, torch
        for name, parameter in model.named_parameters():
            parameter.requires_grad_("lora_B" in name)
        self._parameters = [one for one in model.parameters() if one.requires_grad]
        with torch.no_grad():
            for parameter in self._parameters:
                parameter.zero_()
        n = sum(parameter.numel() for parameter in self._parameters)
        generator = torch.Generator().manual_seed(seed)
        signs = torch.randint(0, 2, (n,), generator=generator, dtype=torch.int8) * 2 - 1
        buckets = torch.randint(0, SKETCH_SIZE, (n,), generator=generator, dtype=torch.int32)
        self._signs, self._buckets = signs.to(model.device), buckets.to(model.device)

    def of(self, answers: Sequence[Answer]) -> Any:
        """A vector of ``SKETCH_SIZE`` numbers."""
        torch = self._torch
        for parameter in self._parameters:
            parameter.grad = None
        for one in answers:
            ids = torch.tensor([one.ids], device=self._model.device)
            logits = self._model(input_ids=ids, use_cache=False).logits[0, one.n_prompt - 1 : -1]
            logprobs = logits.float().log_softmax(-1)
            of_answer = logprobs.gather(1, ids[0, one.n_prompt :, None])
            (-one.sign * of_answer.mean()).backward()
        flat = torch.cat([parameter.grad.flatten() for parameter in self._parameters])
        sketch = torch.zeros(SKETCH_SIZE, device=flat.device)
        sketch.index_add_(0, self._buckets, flat * self._signs)
        return sketch / sketch.norm().clamp_min(torch.finfo(torch.float32).tiny)


def _shown(
    cosines: Sequence[tuple[TrainingRow, Sequence[float]]], items: Sequence[ItemScore]
) -> list[dict[str, Any]]:
    """The most suspect rows, the first the worst."""
    ranked = sorted(
        ((-statistics.fmean(sorted(each)[:N_ITEMS_OF_ROW]), row, each) for row, each in cosines),
        key=lambda one: (-one[0], one[1].row_id),
    )
    n_shown = max(MIN_SHOWN, math.ceil(SHOWN_SHARE * len(ranked)))
    shown = []
    for number, (score, row, each) in enumerate(ranked[:n_shown], 1):
        item = items[min(range(len(items)), key=lambda i: each[i])]
        shown.append(
            {
                "rank": number,
                "score": round(score, 4),
                "row_id": row.row_id,
                "kind": row.kind,
                "rater_id": row.origin.get("rater_id"),
                "feedback_id": row.origin.get("feedback_id"),
                "prompt": _last_turn(row.prompt),
                "answer": (row.chosen or row.completion or "")[:TEXT_CHARACTERS],
                "item": {
                    "benchmark": item.benchmark,
                    "item_id": item.item_id,
                    "prompt": _last_turn(item.detail.get("prompt", "")),
                },
            }
        )
    return shown


def _last_turn(prompt: Any) -> str:
    text = prompt if isinstance(prompt, str) else str(prompt[-1].get("content") or "")
    return text[-TEXT_CHARACTERS:]


if __name__ == "__main__":
    sys.exit(main())
