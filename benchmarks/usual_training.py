"""The training of a night with TRL's defaults: the other arm of ``benchmarks/night.py``.

    python -m benchmarks.usual_training --snapshot DIR --plan plan.json --stages stages.json \
        --model DIR --out DIR

Same rows (replay included), same losses, same rows a step, same number of steps, same precision
as Pawl's training took (``stages.json`` is what its recipe says). All else is TRL's default:
gradient checkpointing on, the reference computed at every step, as many threads as torch takes.
TRL evaluates nothing by default, so this arm has no evaluations to pay for.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pawl.files import read_json
from refine.method import Plan


def train(
    snapshot_dir: Path, plan: Plan, stages: list[dict[str, Any]], model_dir: Path, out_dir: Path
) -> None:
    """Train one stage after the other and leave PEFT's adapter files in ``out_dir``."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer, SFTConfig, SFTTrainer

    from feedback.snapshots import read_rows
    from refine import columns, replay
    from refine.stages import _use_bf16, with_labels
    from refine.train import MAX_LENGTH_TOKENS

    rows = [row for row in read_rows(snapshot_dir) if row.split in ("train", "validation")]
    tokenizer = AutoTokenizer.from_pretrained(str(model_dir))
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(str(model_dir), dtype=torch.float32)
    replayed, texts, _ = replay.make_replay(plan, model, tokenizer, rows)
    trainers: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "sft": (SFTTrainer, SFTConfig, {}),
        "dpo": (DPOTrainer, DPOConfig, {"beta": plan.beta, "loss_type": ["sigmoid", "sft"]}),
        "kto": (KTOTrainer, KTOConfig, {"beta": plan.beta}),
    }
    lora = LoraConfig(r=plan.lora_rank, lora_alpha=plan.lora_alpha, target_modules="all-linear",
                      task_type="CAUSAL_LM")  # fmt: skip
    limit = min(plan.max_length_tokens or MAX_LENGTH_TOKENS, model.config.max_position_embeddings)
    for i, (stage, done) in enumerate(zip(plan.stages, stages, strict=True)):
        made = columns.build_stage(
            stage.kind, rows, replayed, max_length_tokens=limit, texts=texts,
            encode=lambda said: len(tokenizer.apply_chat_template(said, return_dict=False)),
        )  # fmt: skip
        train_rows = with_labels(made.train, tokenizer) if stage.kind == "sft" else made.train
        trainer_class, config_class, more = trainers[stage.kind]
        trainer = trainer_class(
            model=model,
            args=config_class(
                output_dir=str(out_dir.with_name(f"{out_dir.name}-{stage.kind}")),
                max_steps=done["n_steps"],
                per_device_train_batch_size=done["step_rows"],
                gradient_accumulation_steps=max(1, stage.batch_size // done["step_rows"]),
                learning_rate=stage.learning_rate,
                bf16=_use_bf16(torch),
                use_cpu=not torch.cuda.is_available(),
                seed=plan.seed,
                report_to=[],
                **more,
            ),
            processing_class=tokenizer,
            train_dataset=Dataset.from_list(train_rows),
            peft_config=lora if i == 0 else None,
        )
        trainer.train()
        if trainer.state.global_step != done["n_steps"]:
            raise RuntimeError(f"{trainer.state.global_step} steps, not {done['n_steps']}")
        model = trainer.model
    model.save_pretrained(str(out_dir), selected_adapters=["default"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    for name in ("snapshot", "plan", "stages", "model", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    said = parser.parse_args()
    plan = Plan.from_json(read_json(said.plan))
    train(said.snapshot, plan, read_json(said.stages), said.model, said.out)


if __name__ == "__main__":
    main()
