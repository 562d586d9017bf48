"""One stage of training: TRL's trainer for SFT, DPO or KTO on a PEFT model, with early stopping.

References. DPO and KTO pull towards the adapter as it is when the stage begins (TRL copies it
under the name "ref"): for a first stage that is the base, since a new LoRA adds nothing; after
SFT it is the model that SFT left. So SFT then DPO is DPO's usual order, and what SFT has learnt
is not pulled back to the base.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from refine.datasets import StageRows
from refine.planner import Plan, Stage
from refine.probe import encode_rows

MIN_KTO_STEP = 4  # KTO estimates its KL term inside each step's batch
MAX_LOGITS = 2**28  # numbers of one step's logits: 1 GiB in float32

TIMINGS = ("_time", "_runtime", "_per_second", "total_flos")

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a stage went. ``best_*`` are of the checkpoint that was kept."""

    kind: str
    n_steps: int
    max_steps: int
    stopped_early: bool
    train_loss: float
    first_validation: dict[str, float]
    best_validation: dict[str, float]
    step_rows: int
    seconds: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def run_stage(
    stage: Stage,
    rows: StageRows,
    plan: Plan,
    model: Any,
    tokenizer: Any,
    work_dir: Path,
    report: Report,
) -> StageResult:
    """Train ``model`` (a PeftModel) in place and leave its best checkpoint in it.

    Raises:
        PawlError: the loss became NaN or infinite, or of the snapshot no row was left to train on.
    """
    import torch
    from datasets import Dataset
    from torch.utils.tensorboard import SummaryWriter
    from transformers import EarlyStoppingCallback, PrinterCallback
    from transformers.integrations import TensorBoardCallback

    if not any(row.split == "train" for row in rows.kept):
        raise PawlError(
            f"no rows are left for {stage.kind}",
            f"left out: {dict(rows.left_out)}",
            "Raise train.max_length_tokens, or gather more feedback",
        )
    step_rows = _step_rows(stage, rows, model.config.get_text_config().vocab_size)
    has_validation = bool(rows.validation)
    trainer_class, arguments = _trainer(stage, plan, rows)
    config_class = arguments.pop("config_class")
    n_steps = math.ceil(len(rows.train) / stage.batch_size)
    config = config_class(
        output_dir=str(work_dir / stage.kind),
        learning_rate=stage.learning_rate,
        num_train_epochs=stage.n_epochs,
        per_device_train_batch_size=step_rows,
        per_device_eval_batch_size=step_rows,
        gradient_accumulation_steps=max(1, stage.batch_size // step_rows),
        lr_scheduler_type="cosine",
        warmup_steps=min(10, n_steps),
        max_grad_norm=1.0,
        max_length=None,  # over-long rows are gone already
        gradient_checkpointing=False,
        bf16=_use_bf16(torch),
        use_cpu=not torch.cuda.is_available(),
        seed=plan.seed,
        data_seed=plan.seed,
        logging_steps=max(1, n_steps // 4),
        report_to=[],
        disable_tqdm=True,
        eval_strategy="epoch" if has_validation else "no",
        save_strategy="epoch" if has_validation else "no",
        load_best_model_at_end=has_validation,
        metric_for_best_model="eval_loss" if has_validation else None,
        save_total_limit=1,
        save_only_model=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        **arguments,
    )
    log = SummaryWriter(str(work_dir / "tensorboard"))  # else it would go to the current folder
    to_tensorboard = TensorBoardCallback(log)
    callbacks = [_watch(stage, report), to_tensorboard]
    if has_validation:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=plan.patience_evals))
    train_rows = list(rows.train)
    random.Random(plan.seed).shuffle(train_rows)  # KTO takes them in order, and wants both labels
    validation_rows = rows.validation
    if stage.kind == "sft":
        train_rows, validation_rows = (
            with_labels(some, tokenizer) for some in (train_rows, validation_rows)
        )
    trainer = trainer_class(
        model=model,
        args=config,
        processing_class=tokenizer,
        callbacks=callbacks,
        train_dataset=Dataset.from_list(train_rows),
        eval_dataset=Dataset.from_list(validation_rows) if has_validation else None,
    )
    trainer.remove_callback(PrinterCallback)  # our own reports say it
    first = trainer.evaluate() if has_validation else {}
    output = trainer.train()
    # It closed its log; the best checkpoint's evaluation stands there already.
    trainer.remove_callback(to_tensorboard)
    best = trainer.evaluate() if has_validation else {}
    state = trainer.state
    model.set_adapter("default")
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
    return StageResult(
        stage.kind,
        state.global_step,
        state.max_steps,
        state.global_step < state.max_steps,
        float(output.training_loss),
        _numbers(first),
        _numbers(best),
        step_rows,
        round(float(output.metrics["train_runtime"]), 3),
    )


def with_labels(rows: list[dict[str, Any]], tokenizer: Any) -> list[dict[str, Any]]:
    """Rows for SFT as ids and labels: TRL's own columns hold either chat or text, never both.

    What is not learned, an answer's prompt and a text's first token, has the label -100.
    """
    found = []
    for row in rows:
        ids, n_read = row.get("text_ids"), 1
        if ids is None:
            ids, n_read = encode_rows(
                tokenizer, [(row["prompt"], row["completion"][0]["content"])]
            )[0]
        found.append({"input_ids": ids, "labels": [-100] * n_read + ids[n_read:]})
    return found


def _trainer(stage: Stage, plan: Plan, rows: StageRows) -> tuple[Any, dict[str, Any]]:
    """The trainer's class, and the arguments that only it has."""
    if stage.kind == "sft":
        from trl import SFTConfig, SFTTrainer

        return SFTTrainer, {"config_class": SFTConfig}
    if stage.kind == "dpo":
        from trl import DPOConfig, DPOTrainer

        # The SFT term keeps the chosen answer likely while the margin grows (RPO).
        return DPOTrainer, {
            "config_class": DPOConfig,
            "beta": plan.beta,
            "loss_type": ["sigmoid", "sft"],
            "precompute_ref_log_probs": stage.n_epochs >= 2,
        }
    from trl import KTOConfig, KTOTrainer

    desirable, undesirable = kto_weights(rows.n_liked, rows.n_disliked)
    return KTOTrainer, {
        "config_class": KTOConfig,
        "beta": plan.beta,
        "desirable_weight": desirable,
        "undesirable_weight": undesirable,
    }


def kto_weights(n_liked: int, n_disliked: int) -> tuple[float, float]:
    """Weights that make both labels count the same: the rarer one gets n_common / n_rare.

    Ethayarajh et al., 2024 (KTO), section 4: lambda_D * n_D / (lambda_U * n_U) from 1 to 4/3.
    Replay rows don't count: they hold the model still, with rewards near zero, and would make
    each disliked answer weigh many times what a person meant.
    """
    if not n_liked or not n_disliked:
        return 1.0, 1.0
    return max(1.0, n_disliked / n_liked), max(1.0, n_liked / n_disliked)


def _step_rows(stage: Stage, rows: StageRows, vocabulary: int) -> int:
    """Rows of one forward pass, so that its logits stay under MAX_LOGITS numbers."""
    fits = MAX_LOGITS // max(1, rows.longest_tokens * vocabulary)
    step = max(MIN_KTO_STEP if stage.kind == "kto" else 1, min(stage.batch_size, fits))
    while stage.batch_size % step and step > 1:
        step -= 1
    return step


def _use_bf16(torch: Any) -> bool:
    """bf16 on GPUs that have it; on a CPU only with AVX512-BF16 or AMX, where it is faster."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _watch(stage: Stage, report: Report) -> Any:
    """A callback that reports progress and stops at the first loss that is no number."""
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            for name in ("loss", "eval_loss", "grad_norm"):
                value = (logs or {}).get(name)
                if value is not None and not math.isfinite(float(value)):
                    raise PawlError(
                        f"{name} became {value} in {stage.kind} at step {state.global_step}",
                        f"the learning rate {stage.learning_rate:g} is too high for these rows, "
                        "or a row holds something broken",
                        "Lower train.learning_rate",
                    )
            if logs:
                report({"stage": stage.kind, "step": state.global_step, **_numbers(logs)})

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            fraction = state.global_step / max(1, state.max_steps)
            report(
                {
                    "stage": stage.kind,
                    "step": state.global_step,
                    "max_steps": state.max_steps,
                    "fraction": round(fraction, 4),
                }
            )

    return Watch()


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """The losses, rewards and rates among what a trainer logs; its own timings say little."""
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and not key.endswith(TIMINGS)
    }
