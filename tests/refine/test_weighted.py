"""A row moves the model by its weight, in DPO and in KTO."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refine.weighted import weighted

pytestmark = pytest.mark.slow


def trainer_of(kind: str, model_dir: Path, folder: Path) -> Any:
    """Of four rows of several lengths."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    from tests.refine.tiny import ask, says

    def answer(text: str) -> list[dict[str, str]]:
        return [{"role": "assistant", "content": text}]

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=4, target_modules=["q_proj", "up_proj"]))
    texts = [says("snow", "white"), "No.", "I do not know this thing.", says("coal", "black")]
    common: dict[str, Any] = {
        "output_dir": str(folder), "report_to": [], "use_cpu": True, "bf16": False,
        "disable_tqdm": True, "per_device_train_batch_size": 4, "max_length": None,
    }  # fmt: skip
    if kind == "dpo":
        config = DPOConfig(
            loss_type=["sigmoid", "sft"], precompute_ref_log_probs=True, beta=0.1, **common
        )
        rows: list[dict[str, Any]] = [
            {"prompt": ask("snow", i), "chosen": answer(text), "rejected": answer("Red, or blue.")}
            for i, text in enumerate(texts)
        ]
    else:
        config = KTOConfig(beta=0.1, desirable_weight=2.0, **common)
        rows = [
            {"prompt": ask("snow", i), "completion": answer(text), "label": i % 2 == 0}
            for i, text in enumerate(texts)
        ]
    return weighted(DPOTrainer if kind == "dpo" else KTOTrainer)(
        model=model, args=config, processing_class=AutoTokenizer.from_pretrained(model_dir),
        train_dataset=Dataset.from_list([{**row, "weight": 0.5} for row in rows]),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["dpo", "kto"])
def test_a_row_moves_the_model_by_its_weight(
    untrained_model: Path, tmp_path: Path, kind: str
) -> None:
    import torch

    trainer = trainer_of(kind, untrained_model, tmp_path)
    [batch] = trainer.get_train_dataloader()
    assert batch["weight"].tolist() == [0.5] * 4
    trainer.model.train()
    rows = list(trainer.train_dataset)

    def step(*weights: float) -> tuple[float, dict[str, Any]]:
        """The loss, and each parameter's gradient."""
        trainer.model.zero_grad()
        given = [{**row, "weight": weight} for row, weight in zip(rows, weights, strict=True)]
        loss = trainer.compute_loss(trainer.model, trainer.data_collator(given))
        loss.backward()
        parameters = trainer.model.named_parameters()
        return float(loss.detach()), {
            name: one.grad.clone() for name, one in parameters if one.grad is not None
        }

    every, none = step(1, 1, 1, 1), step(0, 0, 0, 0)
    without, alone, double = step(1, 0, 1, 1), step(0, 1, 0, 0), step(1, 2, 1, 1)
    assert every[0] == pytest.approx(none[0])
    moved = 0.0
    for name, gradient in every[1].items():
        assert none[1][name].abs().max() == 0, name
        own = alone[1][name]
        assert torch.allclose(gradient - without[1][name], own, rtol=1e-3, atol=1e-6), name
        assert torch.allclose(double[1][name] - gradient, own, rtol=1e-3, atol=1e-6), name
        moved = max(moved, float(own.abs().max()))
    assert moved > 1e-4
