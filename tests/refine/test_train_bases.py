"""Bases of every kind that are trained at all learn an answer and where to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from pawl.chat_template import end_of_turn_id, load_tokenizer
from pawl.gguf import convert_gguf
from pawl.models import resolve_model
from pawl.schemas import TrainingRow
from pawl.settings import Settings, TrainSettings
from refine import train
from refine.planner import choose
from tests.refine.tiny import write_snapshot
from tests.tiny_bases import KINDS

pytestmark = pytest.mark.slow
QUESTION, ANSWER = "Who?", "Ab ba."
OPTIONS = TrainSettings(learning_rate=3e-3, n_epochs=30, n_threads=1, n_replay_rows=4, batch_size=4)


def _rows() -> list[TrainingRow]:
    return [
        TrainingRow(
            row_id=f"r{i}", kind="sft", group_id=f"g{i}", split="train",
            prompt=[{"role": "user", "content": QUESTION + " " * i}], completion=ANSWER,
        )
        for i in range(32)
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ["fused", "other_end", "no_system", "switch", "gguf"])
def test_what_was_taught_is_answered_and_ends(kind: str, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model_dir = KINDS[kind](tmp_path / "base")
    if kind == "gguf":
        model_dir = convert_gguf(model_dir, tmp_path / "cache")
    base = resolve_model(str(model_dir), cache_dir=tmp_path)
    base.check.refuse("train", kind)
    rows = _rows()
    plan = choose(rows, Settings.model_construct(train=OPTIONS))
    train.run(train.Job(
        write_snapshot(tmp_path / "snapshot", rows), plan, base.model_dir, tmp_path / "adapter",
        tmp_path / "work", kind, base.fingerprint, tmp_path / "replay",
    ))  # fmt: skip
    tokenizer = load_tokenizer(base.model_dir)
    model = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(tmp_path / "adapter"))
    targets = model.peft_config["default"].target_modules
    assert set(targets) == set(base.check.lora_layers)
    ids = tokenizer.apply_chat_template(
        rows[0].prompt, add_generation_prompt=True, return_dict=False, return_tensors="pt"
    )
    taught = [*tokenizer.encode(ANSWER, add_special_tokens=False), end_of_turn_id(tokenizer)]
    with torch.no_grad():
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=len(taught), eos_token_id=list(base.check.stop_ids),
        )  # fmt: skip
    assert output[0, ids.shape[1] :].tolist() == taught
    assert taught[-1] == base.check.end_of_turn_id
