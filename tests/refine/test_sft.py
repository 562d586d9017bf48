"""Batches are split into passes that train the same as the whole; logits only where labels are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refine.sft import EpochSampler, answer_trainer, collator, logits_of_both, split_batch
from refine.workers import ALONE, Workers

pytestmark = pytest.mark.slow


class Share(Workers):
    """One of two workers that does not meet the other: its gradient is that of its rows."""

    size = 2

    def __init__(self, rank: int) -> None:
        self.rank = rank


def batch_of(lengths: list[int]) -> dict[str, Any]:
    rows = [
        {"input_ids": list(range(1, n + 1)), "labels": [-100, *range(2, n + 1)],
         "is_taught": n % 2 == 0, "is_replay": n in (3, 8)}
        for n in lengths
    ]  # fmt: skip
    return collator(0)(rows)


@pytest.mark.parametrize("max_tokens", [1, 8, 20, 1000])
def test_parts_hold_every_row_once_and_are_bounded(max_tokens: int) -> None:
    lengths = [3, 9, 4, 4, 2, 8]
    parts = list(split_batch(batch_of(lengths), max_tokens, max_tokens))
    found = [int(n) for part in parts for n in part["attention_mask"].sum(1)]
    assert sorted(found) == sorted(lengths)
    for part in parts:
        n_rows, width = part["input_ids"].shape
        assert n_rows == 1 or n_rows * width <= max_tokens
        assert width == int(part["attention_mask"].sum(1).max())
        assert len(set(part["is_replay"].tolist())) == 1
        assert part["is_taught"].tolist() == [
            n % 2 == 0 for n in part["attention_mask"].sum(1).tolist()
        ]
        assert (part["labels"][part["attention_mask"] == 0] == -100).all()


def test_an_epoch_takes_all_rows_but_replay_and_the_next_part_of_that() -> None:
    is_replay = [i % 3 == 0 for i in range(30)]
    replay = {i for i in range(30) if is_replay[i]}
    sampler = EpochSampler(is_replay, 4, seed=1)
    epochs = [list(sampler) for _ in range(4)]
    assert all(len(epoch) == len(sampler) == 20 + 3 for epoch in epochs)
    assert all(set(range(30)) - replay <= set(epoch) for epoch in epochs)
    parts = [set(epoch) & replay for epoch in epochs]
    assert set.union(*parts) == replay
    assert not parts[0] & parts[1] | parts[1] & parts[2]
    assert [i for i in epochs[0] if i not in replay] != [i for i in epochs[1] if i not in replay]
    assert list(EpochSampler(is_replay, 4, seed=1)) == epochs[0]
    assert sorted(EpochSampler([False] * 5, 4, seed=1)) == [0, 1, 2, 3, 4]


def test_gradients_of_the_parts_are_those_of_the_batch(
    untrained_model: Path, tmp_path: Path
) -> None:
    import torch

    whole, parts = (_gradients(untrained_model, tmp_path / str(n), n) for n in (1000, 12))
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        assert torch.allclose(gradient, parts[name], rtol=1e-3, atol=1e-6), name
    uncounted = _gradients(untrained_model, tmp_path / "uncounted", 12, is_counted=False)
    for name, gradient in whole.items():
        assert torch.allclose(gradient, uncounted[name], rtol=1e-3, atol=1e-6), name
    shares = [
        _gradients(untrained_model, tmp_path / f"share {n}", 12, workers=Share(n)) for n in range(2)
    ]
    for name, gradient in whole.items():
        difference = gradient - shares[0][name] - shares[1][name]
        assert difference.norm() <= 1e-5 * gradient.norm(), name
        assert not torch.allclose(gradient, shares[0][name]) or not gradient.any(), name
    nothing, double = (
        _gradients(untrained_model, tmp_path / f"weight {n}", 1000, n) for n in (0.0, 2.0)
    )
    for name, gradient in whole.items():
        steps = gradient - nothing[name], double[name] - gradient
        assert torch.allclose(*steps, rtol=1e-3, atol=1e-6), name
        assert "lora_A" in name or steps[0].abs().max() > 0, name


def _gradients(
    model_dir: Path,
    folder: Path,
    pass_tokens: int,
    weight: float = 1.0,
    workers: Workers = ALONE,
    bf16: bool = False,
    *,
    is_counted: bool = True,
) -> dict[str, Any]:
    """Of one step over rows of several lengths, written answers with this weight. ``is_counted``:
    transformers counts the batch's labels, which it does not for every architecture."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig

    from refine.datasets import encode_answer
    from refine.lm_head import make_logits_where_labels_are
    from tests.refine.tiny import ask, says

    make_logits_where_labels_are()
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    if not is_counted:
        base.accepts_loss_kwargs = False  # as Gemma 3n's class has it
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))
    rows = []
    for i, answer in enumerate((says("snow", "white"), "No.", "I do not know this thing.")):
        ids, n = encode_answer(tokenizer, ask("snow", i), answer, tokenizer.eos_token_id)
        is_replay = i == 1
        labels = ids if is_replay else [-100] * n + ids[n:]
        rows.append({"input_ids": ids, "labels": labels, "is_taught": not is_replay,
                     "is_replay": is_replay, "weight": weight})  # fmt: skip
    found: dict[str, Any] = {}

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            found.update({
                name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None
            })  # fmt: skip

    config = SFTConfig(
        output_dir=str(folder), per_device_train_batch_size=3, max_steps=1, max_length=None,
        report_to=[], save_strategy="no", use_cpu=True, bf16=bf16, gradient_checkpointing=False,
        disable_tqdm=True, dataset_kwargs={"skip_prepare_dataset": True}, max_grad_norm=0.0,
        remove_unused_columns=False,
    )  # fmt: skip
    sampler = EpochSampler([False] * len(rows), 1, seed=0)
    trainer = answer_trainer(pass_tokens, pass_tokens, sampler, workers=workers)(
        model=model, args=config, processing_class=tokenizer, callbacks=[Keep()],
        train_dataset=Dataset.from_list(rows), data_collator=collator(tokenizer.pad_token_id),
    )  # fmt: skip
    trainer.train()
    assert trainer.n_taught == (2 if workers.size == 1 else 1)
    assert trainer.n_tokens == sum(len(row["input_ids"]) for row in rows)
    batch = collator(0)(rows[:2])
    both = logits_of_both(
        trainer.model, batch["input_ids"], batch["attention_mask"], batch["labels"]
    )
    assert {one.dtype for one in both} == {torch.bfloat16 if bf16 else torch.float32}
    return found


@pytest.mark.slow
def test_gradients_in_bf16_are_near_those_in_float32(world_model: Path, tmp_path: Path) -> None:
    mixed = _gradients(world_model, tmp_path / "mixed", 1000, bf16=True)
    exact = _gradients(world_model, tmp_path / "exact", 1000)
    assert mixed.keys() == exact.keys()
    n_compared = 0
    for name, gradient in exact.items():
        if gradient.norm() > 0:
            assert (mixed[name] - gradient).norm() < 0.1 * gradient.norm(), name
            n_compared += 1
    assert n_compared


def test_divergence_is_nothing_at_the_base_and_grows_with_the_distance(world_model: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from refine.sft import divergence, on_general_text

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(world_model, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))
    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    labels = ids.masked_fill(mask == 0, -100)

    def moved(by: float) -> Any:
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.constant_(weight, by)
        return divergence(model, ids, mask, labels)

    assert moved(0.0).item() == pytest.approx(0.0, abs=1e-6)
    near, far = moved(0.01), moved(0.05)
    assert 0 < near.item() < far.item()
    # By the definition, one position at a time.
    with torch.no_grad():
        own = model(ids, attention_mask=mask).logits.log_softmax(-1)
        with model.disable_adapter():
            of_base = model(ids, attention_mask=mask).logits.log_softmax(-1)
    by_hand = sum(
        float((of_base[r, t].exp() * (of_base[r, t] - own[r, t])).sum())
        for r, n in ((0, 5), (1, 3))
        for t in range(n - 1)
    )
    assert far.item() == pytest.approx(by_hand, rel=1e-3)
    far.backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0
               for name, weight in model.named_parameters() if "lora_" in name)  # fmt: skip

    # As the watch over everyday text has it, whose passes hold rows of several lengths.
    rows = [[5, 6, 7, 8, 9], [5, 6, 7], list(range(5, 40))]
    n_each = [len(row) - 1 for row in rows]
    together = on_general_text(model, rows)
    with torch.no_grad():
        losses = [model(torch.tensor([row]), labels=torch.tensor([row])).loss for row in rows]
    nats = sum(float(loss) * n for loss, n in zip(losses, n_each, strict=True))
    assert together["general_loss"] == pytest.approx(nats / sum(n_each), rel=1e-4)
    alone = sum(on_general_text(model, [row])["drift"] * (len(row) - 1) for row in rows)
    assert together["drift"] == pytest.approx(alone / sum(n_each), rel=1e-3)
    batch = batch_of([5, 3, 35] * 2)
    batch["is_replay"][:] = False
    assert [len(part["labels"]) for part in split_batch(batch, 40, 40)] == [4, 1, 1]
    parts = split_batch(batch, 1, 1)
    assert [int(part["attention_mask"].sum()) for part in parts] == [3, 3, 5, 5, 35, 35]
    assert 6 * on_general_text(model, rows[:2])["drift"] == pytest.approx(by_hand, rel=1e-3)
    assert on_general_text(model, []) == {}
