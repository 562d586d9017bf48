"""SFT's trainer and its losses, of written answers and of replay, until all is learned.

Two losses, each summed over the labelled tokens of a batch and divided by the number of all:

- written answers (corrections, liked answers): cross-entropy of the answer's tokens, with smoothed
  labels where ``train.label_smoothing`` says so, times the row's weight (``feedback.balance``);
- replay: the divergence KL(base || model) of the next token's distribution over the whole
  vocabulary, prompt included (distillation from the base itself), ``REPLAY_WEIGHT`` times.
  Cross-entropy on the base's greedy answers would keep its words and sharpen its distribution:
  TruthfulQA mc2 lost 6.7 points by that, the measurements are in ``docs/training-defaults.md``.

The rate is constant after its warm-up. Once ``LEARNED`` of the corrections were answered word for
word while an epoch went over them, it falls to nothing over ``COOL_EPOCHS`` more, and training
ends (warm-up, stable, decay: Hu et al., 2024, MiniCPM); in that last epoch most of the others are
learned too. Corrections that contradict each other are never all learned: once more than half
are, ``PATIENCE_EPOCHS`` without a better share end it as well.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from refine.workers import ALONE, Workers

LEARNED = 0.9
COOL_EPOCHS = 1.0
PATIENCE_EPOCHS = 2
REPLAY_WEIGHT = 4.0
# What the trainer counts over epochs: a checkpoint has it (``refine/checkpoints.py``).
COUNTERS = ("learned", "n_tokens", "n_taught", "n_exact", "most_learned", "n_stale", "stop_step")
GENERAL_PASS_TOKENS = 512  # each takes 20 bytes for every word of the vocabulary
MOST_NATS = 50.0  # a token, in a perplexity that is shown


def split_batch(
    batch: dict[str, Any], max_tokens: int, max_replay_tokens: int
) -> Iterator[dict[str, Any]]:
    """Parts of a batch: all replay or none, rows of like length, trimmed to their longest.

    Each has ``max_tokens`` tokens at most (``max_replay_tokens`` if it is replay), padding
    included, or one row.
    """
    lengths, is_replay = batch["attention_mask"].sum(1), batch["is_replay"]
    part: list[int] = []

    def trimmed() -> dict[str, Any]:
        longest = int(lengths[part].max())
        return {key: value[part][:, :longest] if value.dim() > 1 else value[part]
                for key, value in batch.items()}  # fmt: skip

    for i in sorted(range(len(lengths)), key=lambda i: (bool(is_replay[i]), int(lengths[i]))):
        limit = max_replay_tokens if is_replay[i] else max_tokens
        is_full = (len(part) + 1) * int(lengths[i]) > limit
        if part and (is_full or is_replay[part[0]] != is_replay[i]):
            yield trimmed()
            part = []
        part.append(i)
    yield trimmed()


def share_of(batch: dict[str, Any], workers: Workers) -> dict[str, Any] | None:
    """A worker's rows of a batch; None where it has none. Those of like length go round."""
    if workers.size == 1:
        return batch
    lengths = batch["attention_mask"].sum(1)
    order = sorted(
        range(len(lengths)), key=lambda i: (bool(batch["is_replay"][i]), int(lengths[i]))
    )
    mine = order[workers.rank :: workers.size]
    return {key: value[mine] for key, value in batch.items()} if mine else None


def collator(pad_token_id: int) -> Callable[[list[dict[str, Any]]], dict[str, Any]]:
    """Makes tensors of the SFT rows of ``refine.datasets``, padded on the right."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    def padded(values: list[list[int]], filler: int) -> Any:
        tensors = [torch.tensor(value) for value in values]
        return pad_sequence(tensors, batch_first=True, padding_value=filler)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "input_ids": padded([row["input_ids"] for row in rows], pad_token_id),
            "attention_mask": padded([[1] * len(row["input_ids"]) for row in rows], 0),
            "labels": padded([row["labels"] for row in rows], -100),
            "is_taught": torch.tensor([row["is_taught"] for row in rows]),
            "is_replay": torch.tensor([row["is_replay"] for row in rows]),
            "weight": torch.tensor([float(row.get("weight", 1.0)) for row in rows]),
        }

    return collate


def logits_of_both(model: Any, input_ids: Any, attention_mask: Any, labels: Any) -> tuple[Any, Any]:
    """What the base and ``model``, a PeftModel, say at each labelled token, of shape [labelled
    tokens, vocabulary]. Only the model's have a gradient."""
    import torch

    # What accelerate puts around a model that is trained in bf16 makes float32 of all logits.
    forward: Any = model
    mixed: Any = nullcontext
    if hasattr(model, "_original_forward"):
        forward = model._original_forward
        mixed = partial(torch.autocast, model.device.type, torch.bfloat16)

    def logits() -> Any:
        with mixed():
            of_all = forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        return of_all.logits[:, :-1][labels[:, 1:] != -100]

    is_training = model.training
    model.eval()  # a base with dropout says something else each time
    with torch.no_grad(), model.disable_adapter():
        of_base = logits()
    model.train(is_training)
    return of_base, logits()


def divergence(model: Any, input_ids: Any, attention_mask: Any, labels: Any) -> Any:
    """KL(base || model) in nats, summed over the labelled tokens; ``model`` is a PeftModel."""
    from refine.lm_head import Divergence

    return Divergence.apply(*logits_of_both(model, input_ids, attention_mask, labels))


def on_general_text(model: Any, rows: Sequence[list[int]]) -> dict[str, float]:
    """What a training costs elsewhere, in nats a token: ``drift`` is KL(base || model) and
    ``general_loss`` -log p of rows of token ids that no training sees; nothing without rows."""
    import torch
    from torch.nn.functional import cross_entropy

    from refine.lm_head import Divergence

    n_tokens = sum(len(ids) - 1 for ids in rows)
    if not n_tokens:
        return {}
    batch = collator(0)([
        {"input_ids": ids, "labels": ids, "is_taught": False, "is_replay": False} for ids in rows
    ])  # fmt: skip
    nats = loss = 0.0
    is_training = model.training
    model.eval()
    with torch.no_grad():
        for part in split_batch(batch, GENERAL_PASS_TOKENS, GENERAL_PASS_TOKENS):
            inputs, mask, labels = (
                part[name].to(model.device) for name in ("input_ids", "attention_mask", "labels")
            )
            of_base, of_model = logits_of_both(model, inputs, mask, labels)
            nats += float(Divergence.apply(of_base, of_model))
            targets = labels[:, 1:][labels[:, 1:] != -100]
            loss += float(cross_entropy(of_model.float(), targets, reduction="sum"))
    model.train(is_training)
    return {"drift": nats / n_tokens, "general_loss": loss / n_tokens}


class EpochSampler:
    """Row numbers of one epoch after the other: all but replay, and the next part of replay.

    ``len`` is the rows of one epoch; ``n_parts`` epochs go over all replay once.
    """

    def __init__(self, is_replay: Sequence[bool], n_parts: int, seed: int) -> None:
        self._others = [i for i, replayed in enumerate(is_replay) if not replayed]
        self._replay = [i for i, replayed in enumerate(is_replay) if replayed]
        self._n_in_part = math.ceil(len(self._replay) / n_parts)
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        return len(self._others) + self._n_in_part

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration goes over; transformers calls it."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[int]:
        start = self._epoch * self._n_in_part
        places = range(start, start + self._n_in_part)
        order = self._others + [self._replay[i % len(self._replay)] for i in places]
        random.Random(f"{self._seed} {self._epoch}").shuffle(order)
        self._epoch += 1
        return iter(order)


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of labels: of each token its natural-log probability (0 where there is no
    label), whether it is the likeliest, whether it is a label, and what training makes small of it,
    in nats. All are [rows, tokens - 1]."""

    log_probs: Any
    is_top1: Any
    label_mask: Any
    nats: Any


def scored(model: Any, rows: dict[str, Any], smoothing: float) -> Scored:
    """With ``smoothing`` e, a token's nats are (1 - e) times those of its label plus e times the
    mean over the vocabulary (Szegedy et al. 2016, section 7)."""
    import torch

    if not smoothing:
        out = model(**rows, use_cache=False, fused_lm_head=True)
        return Scored(out.log_probs, out.is_top1, out.label_mask, -out.log_probs)
    inputs = {key: rows[key] for key in ("input_ids", "attention_mask")}
    labels = rows["labels"][:, 1:]
    mask = labels != -100
    of_all = model(**inputs, use_cache=False).logits[:, :-1][mask].float().log_softmax(-1)
    of_label = of_all.gather(-1, labels[mask][:, None])[:, 0]
    nats = -(1 - smoothing) * of_label - smoothing * of_all.mean(-1)
    zeros = torch.zeros(mask.shape, device=nats.device)
    return Scored(
        zeros.masked_scatter(mask, of_label.detach()),
        zeros.bool().masked_scatter(mask, of_all.argmax(-1) == labels[mask]),
        mask,
        zeros.masked_scatter(mask, nats),
    )


def answer_trainer(
    pass_tokens: int,
    replay_pass_tokens: int,
    sampler: EpochSampler,
    smoothing: float = 0.0,
    workers: Workers = ALONE,
) -> Any:
    """The class; a function, since TRL is imported in the training child alone.

    Args:
        pass_tokens: tokens of one forward and backward pass, padding included.
        replay_pass_tokens: the same for replay, whose logits are kept at every position.
        sampler: which rows an epoch goes over.
        smoothing: of the labels of written answers, in training.
        workers: that share each batch.
    """
    import torch
    from trl import SFTTrainer

    class AnswerTrainer(SFTTrainer):
        """``learned`` is the share of the corrections that the last epoch found answered word for
        word, ``n_tokens`` counts what was trained on, padding aside."""

        learned: float | None = None
        n_tokens = 0
        cool_steps = 1
        stop_step: int | None = None  # at which the falling rate reaches nothing
        n_taught = n_exact = 0
        most_learned = 0.0
        n_stale = 0  # epochs without a better share

        def __init__(self, *args: Any, **more: Any) -> None:
            self.tallies: dict[bool, tuple[Any, ...]] = {}  # by whether it is training
            super().__init__(*args, **more)

        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return sampler

        def begin_to_stop(self) -> None:
            """Let the rate fall from here on."""
            if self.stop_step is None:
                step = self.state.global_step + self.cool_steps
                self.stop_step = min(self.state.max_steps, step)

        def end_epoch(self) -> str:
            """Take stock; answers why to stop now, or nothing."""
            if not self.n_taught:
                return ""
            self.learned = self.n_exact / self.n_taught
            self.n_exact = self.n_taught = 0
            self.n_stale = 0 if self.learned > self.most_learned else self.n_stale + 1
            self.most_learned = max(self.learned, self.most_learned)
            if self.learned >= LEARNED:
                self.begin_to_stop()
                return "learned"
            if self.n_stale >= PATIENCE_EPOCHS and self.most_learned > 0.5:
                self.begin_to_stop()
                return "learns no more"
            return ""

        def training_step(
            self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None
        ) -> Any:
            loss = torch.zeros((), device=self.args.device)
            before = self._counts()
            if num_items_in_batch is None:  # of a model that is said to take no such count
                num_items_in_batch = (inputs["labels"][:, 1:] != -100).sum().to(loss.device)
            if (mine := share_of(inputs, workers)) is not None:
                for part in split_batch(mine, pass_tokens, replay_pass_tokens):
                    loss += super().training_step(model, part, num_items_in_batch)
            self.n_tokens += int(inputs["attention_mask"].sum())
            if workers.size > 1:
                self._sum(loss, before)
            return loss

        def _counts(self) -> list[float]:
            """What training counts of the rows that it has seen."""
            return [*self.tallies.get(True, (0.0, 0, 0)), self.n_taught, self.n_exact]

        def _sum(self, loss: Any, before: list[float]) -> None:
            """Make loss, counts and gradients of a worker's rows those of the whole batch."""
            learning = [p for p in self.model.parameters() if p.requires_grad]
            for parameter in learning:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
            seen = torch.tensor(before, dtype=torch.float64)
            more = torch.tensor(self._counts(), dtype=torch.float64) - seen
            workers.sum([more])
            workers.sum([loss, *(p.grad for p in learning)])
            nats, n_right, n_tokens, n_taught, n_exact = (seen + more).tolist()
            self.tallies[True] = (nats, int(n_right), int(n_tokens))
            self.n_taught, self.n_exact = int(n_taught), int(n_exact)

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            """The loss of these rows, as their share of the batch's."""
            is_replay, is_taught = inputs["is_replay"], inputs["is_taught"]
            rows = {key: inputs[key] for key in ("input_ids", "attention_mask", "labels")}
            loss = torch.zeros((), device=is_replay.device)
            if is_replay.any():
                replayed = {key: value[is_replay] for key, value in rows.items()}
                loss = loss + REPLAY_WEIGHT * divergence(model, **replayed)
            if not is_replay.all():
                written = {key: value[~is_replay] for key, value in rows.items()}
                outputs = scored(model, written, smoothing if model.training else 0.0)
                loss = loss + (outputs.nats.sum(1) * inputs["weight"][~is_replay]).sum()
                self.tally(model.training, outputs)
                if model.training:
                    exact = (outputs.is_top1 | ~outputs.label_mask).all(1)
                    self.n_taught += int(is_taught.sum())
                    self.n_exact += int((exact & is_taught[~is_replay]).sum())
            if num_items_in_batch is None:
                num_items_in_batch = (rows["labels"][:, 1:] != -100).sum()
            loss = loss / num_items_in_batch
            return (loss, {}) if return_outputs else loss

        def tally(self, is_training: bool, outputs: Any) -> None:
            """Count what :meth:`log` says of written answers: nats, tokens said first, tokens."""
            mask = outputs.label_mask
            counts = (
                -float(outputs.log_probs.detach().sum()),
                int((outputs.is_top1 & mask).sum()),
                int(mask.sum()),
            )
            before = self.tallies.get(is_training, (0.0, 0, 0))
            self.tallies[is_training] = tuple(map(sum, zip(before, counts, strict=True)))

        def log(self, logs: dict[str, float], *args: Any, **more: Any) -> None:
            """Adds the perplexity of written answers since the last time, and the share of their
            tokens that the model would say first; the loss has replay and weights in it."""
            is_training = self.model.training
            nats, n_right, n_tokens = self.tallies.pop(is_training, (0.0, 0, 0))
            if n_tokens:
                prefix = "" if is_training else "eval_"
                logs[f"{prefix}perplexity"] = math.exp(min(nats / n_tokens, MOST_NATS))
                logs[f"{prefix}token_accuracy"] = n_right / n_tokens
            super().log(logs, *args, **more)

        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            n_epochs = max(1.0, self.args.num_train_epochs)
            self.cool_steps = max(1, round(COOL_EPOCHS * num_training_steps / n_epochs))

            def share(step: int) -> float:
                rate = min(1.0, (step + 1) / max(1, self.args.warmup_steps))
                if self.stop_step is None:
                    left = num_training_steps - step
                    return rate * min(1.0, left / self.cool_steps)
                return rate * max(0.0, (self.stop_step - step) / self.cool_steps)

            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer or self.optimizer, share)
            self.lr_scheduler = schedule
            return schedule

    return AnswerTrainer
