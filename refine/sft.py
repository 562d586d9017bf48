"""SFT on answers: TRL's trainer, in passes of bounded memory, until the corrections are learned.

The rate is constant after its warm-up. Once ``LEARNED`` of the corrections were answered word for
word while an epoch went over them, it falls to nothing over ``COOL_EPOCHS`` more, and training
ends (warm-up, stable, decay: Hu et al., 2024, MiniCPM); in that last epoch most of the others are
learned too. Corrections that contradict each other are never all learned: once more than half
are, ``PATIENCE_EPOCHS`` without a better share end it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

LEARNED = 0.9
COOL_EPOCHS = 1.0
PATIENCE_EPOCHS = 2


def split_batch(batch: dict[str, Any], max_tokens: int) -> Iterator[dict[str, Any]]:
    """Parts of a batch whose rows are of like length, trimmed to their longest.

    Each has ``max_tokens`` tokens at most, padding included, or one row.
    """
    lengths = batch["attention_mask"].sum(1)
    part: list[int] = []

    def trimmed() -> dict[str, Any]:
        longest = int(lengths[part].max())
        return {key: value[part][:, :longest] if value.dim() > 1 else value[part]
                for key, value in batch.items()}  # fmt: skip

    for i in lengths.argsort(stable=True).tolist():
        if part and (len(part) + 1) * int(lengths[i]) > max_tokens:
            yield trimmed()
            part = []
        part.append(i)
    yield trimmed()


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
        }

    return collate


def answer_trainer(pass_tokens: int) -> Any:
    """The class; a function, since TRL is imported in the training child alone.

    Args:
        pass_tokens: tokens of one forward and backward pass, padding included.
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
            for part in split_batch(inputs, pass_tokens):
                loss += super().training_step(model, part, num_items_in_batch)
                self.n_tokens += int(part["attention_mask"].sum())
            return loss

        def compute_loss(
            self,
            model: Any,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Any = None,
        ) -> Any:
            """Cross-entropy of the labelled tokens of this part, as its share of the batch's."""
            taught = inputs["is_taught"]
            rest = {key: value for key, value in inputs.items() if key != "is_taught"}
            outputs = model(**rest, use_cache=False, fused_lm_head=True)
            if model.training:
                exact = (outputs.is_top1 | ~outputs.label_mask).all(1)
                self.n_taught += int(taught.sum())
                self.n_exact += int((exact & taught).sum())
            n_labels = (
                outputs.label_mask.sum() if num_items_in_batch is None else num_items_in_batch
            )
            loss = -outputs.log_probs.sum() / n_labels
            return (loss, outputs) if return_outputs else loss

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
