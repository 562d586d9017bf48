"""One stage of training: TRL's trainer and its arguments for SFT, DPO or KTO; warm-up, memory.

SFT stops when its corrections are learned (``refine/sft.py``), DPO and KTO when the loss of
``MIN_VALIDATION_ROWS`` or more validation rows gets no better; all of them in time for the plan's
``max_minutes``. A stage that was interrupted goes on from its checkpoint
(``refine/checkpoints.py``).

References. DPO and KTO pull towards the adapter as it is when the stage begins (TRL copies it
under the name "ref"): for a first stage that is the base, since a new LoRA adds nothing, or the
champion that the training begins from; after SFT it is the model that SFT left. So SFT then DPO is
DPO's usual order, and what SFT has learned is not pulled back to the base.

Memory. A pass keeps its activations for the way back, so it holds a bounded number of tokens; a
row that is longer by itself is trained with gradient checkpointing. Logits are made at labelled
positions only; replay has a label everywhere, so its passes hold fewer tokens.

Over 400 lines because a stage, from its data to its last evaluation, is read in one place.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from refine.checkpoints import COUNTERS, Progress, StageCheckpoints, resumable, saving
from refine.datasets import StageRows, kto_weights
from refine.monitoring import STEPS, Reporting
from refine.planner import MIN_KTO_BATCH, REPLAY_EPOCHS, Plan, Stage, StageKind
from refine.sft import COUNTERS as SFT_COUNTERS
from refine.sft import EpochSampler, answer_trainer, collator, on_general_text
from refine.trainer_plugin import configured
from refine.unpadded import WRITTEN_OUT_TOKENS, unpad
from refine.weighted import weighted
from refine.workers import ALONE, Workers

WARMUP_STEPS = 10
# Of DPO's and KTO's time for what the reference says to all rows, before the first step. A step of
# DPO takes about three times the reference's pass, so beyond it the time ends within the first
# epoch, and of the rows that are not reached the reference's answers would be wasted.
REFERENCE_SHARE = 0.25
TIMED_ROWS, TIMED_TOKENS = 64, 256
OUT_OF_TIME = "out of time"
IN_TIME = 0.8  # share of the time that its end may take, for a training that was to stop to go on
MIN_VALIDATION_ROWS = 16  # of fewer, one or two rows would decide when to stop
# Activations that a pass keeps, with LoRA on all linear layers: 2.2 MB a token of SmolLM2-135M
# (30 layers of width 576) in bf16.
BYTES_PER_TOKEN_LAYER_WIDTH = 128
PASS_BYTES = 1.2e9
# Replay's logits, of the base and the model, and their gradients, in float32 as a GPU's reserve: a
# CPU holds them in bf16. Label smoothing's are of the same order.
BYTES_PER_LOGIT = 32
REPLAY_PASS_BYTES = 1.5e9

TIMINGS = ("_time", "_runtime", "_per_second", "total_flos")

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class StageResult:
    """How a stage went.

    ``learned`` is the share of SFT's corrections that its last epoch found answered word for
    word; None for other stages. ``best_validation`` is of what was kept: DPO's and KTO's best
    checkpoint where there are enough validation rows, else the last step. ``n_tokens`` counts
    SFT's, padding aside. ``n_resumed`` counts how often it went on from a checkpoint, ``seconds``
    are those of the kept steps.
    """

    kind: str
    n_steps: int
    max_steps: int
    stopped_because: str
    learned: float | None
    train_loss: float
    first_validation: dict[str, float]
    best_validation: dict[str, float]
    pass_tokens: int
    n_tokens: int
    n_resumed: int
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
    reporting: Reporting,
    saved: StageCheckpoints,
    interrupted: tuple[Path, Progress] | None = None,
    general: Sequence[list[int]] = (),
    workers: Workers = ALONE,
) -> StageResult:
    """Train ``model`` (a PeftModel) in place, up to the plan's ``max_minutes`` on the clock of
    ``saved``, which it shares with the stages that follow; from ``interrupted`` on, a checkpoint of
    it.

    What the trainer logs at each step is appended to ``work_dir/steps.jsonl``: ``{"stage": "dpo",
    "step": 3, "loss": 0.61, "rewards/margins": 0.2, ...}``, of validation ``{"eval_loss": ...}``,
    after each epoch what the training costs on ``general``, token ids that it does not see
    (``refine.sft.on_general_text``).

    Args:
        workers: that train SFT together; DPO and KTO are trained alone, since what KTO estimates
            and DPO's SFT term hang on which rows a pass has.

    Raises:
        PawlError: the loss became NaN or infinite.
    """
    import torch
    from datasets import Dataset
    from peft.helpers import disable_input_dtype_casting
    from torch.utils.tensorboard import SummaryWriter
    from transformers import EarlyStoppingCallback, PrinterCallback
    from transformers.integrations import TensorBoardCallback

    from refine.lm_head import make_logits_where_labels_are

    make_logits_where_labels_are()
    if not torch.cuda.is_available():
        trained = model.get_base_model()
        if not unpad(trained) and rows.longest_tokens <= WRITTEN_OUT_TOKENS:
            trained.set_attn_implementation("eager")
    is_sft = stage.kind == "sft"
    max_tokens, max_replay_tokens = pass_tokens(model.config.get_text_config())
    pass_rows = _pass_rows(stage, rows.longest_tokens, max_tokens)
    has_validation = bool(rows.validation)
    keeps_best = keeps_best_checkpoint(stage.kind, len(rows.validation))
    train_rows = list(rows.train)
    random.Random(plan.seed).shuffle(train_rows)  # KTO takes them in order, and wants both labels
    sampler = EpochSampler(
        [bool(row.get("is_replay")) for row in train_rows], REPLAY_EPOCHS, plan.seed
    )
    assert is_sft or workers.size == 1
    trainer_class, arguments = _trainer(
        stage, plan, rows, max_tokens, max_replay_tokens, sampler, workers
    )
    if arguments.get("precompute_ref_log_probs"):
        seconds = 60 * plan.max_minutes - saved.clock.seconds
        fits = reference_seconds(model, tokenizer, rows.train) < REFERENCE_SHARE * seconds
        arguments["precompute_ref_log_probs"] = fits
        if fits:
            report({"stage": f"{stage.kind} reference"})
    config_class = arguments.pop("config_class")
    n_steps = math.ceil(len(sampler) / stage.batch_size)  # only SFT's rows say what is replay
    arguments |= {
        "lr_scheduler_type": "cosine",
        "warmup_steps": min(WARMUP_STEPS, n_steps),
        "max_grad_norm": 1.0,
    }
    ours: dict[str, Any] = {
        "output_dir": str(saved.folder),
        "learning_rate": stage.learning_rate,
        "num_train_epochs": stage.n_epochs,
        "per_device_train_batch_size": pass_rows,
        "per_device_eval_batch_size": min(pass_rows, max(1, max_tokens // rows.longest_tokens)),
        "gradient_accumulation_steps": stage.batch_size // pass_rows,
        "weight_decay": plan.weight_decay,
        "max_length": None,  # over-long rows are gone already
        "gradient_checkpointing": _longest_pass(stage, rows.longest_tokens, pass_rows) > max_tokens,
        "bf16": use_bf16(torch),
        "use_cpu": not torch.cuda.is_available(),
        "seed": plan.seed,
        "data_seed": plan.seed,
        "logging_steps": 1,
        "report_to": list(reporting.names),
        "run_name": f"{reporting.run_name} {stage.kind}",
        "disable_tqdm": True,
        "eval_strategy": "epoch" if keeps_best else "no",
        "save_strategy": "epoch" if keeps_best else "no",
        "load_best_model_at_end": keeps_best,
        "metric_for_best_model": "eval_loss" if keeps_best else None,
        "restore_callback_states_from_checkpoint": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    if "beta" in arguments:  # the plan's too
        ours["beta"] = arguments.pop("beta")
    if plan.trainer is None:
        config = config_class(**ours, **arguments)
    else:
        trainer_class, config = configured(
            plan.trainer, stage.kind, trainer_class, config_class, arguments, ours
        )
    trainer_class = resumable(trainer_class)
    log = SummaryWriter(str(work_dir / "tensorboard"))  # else it would go to the current folder
    log.add_text(f"recipe/{stage.kind}", reporting.as_text)
    to_tensorboard = TensorBoardCallback(log)
    begun = interrupted[1] if interrupted else None
    n_left = len(plan.stages) - plan.stages.index(stage)
    watch = _watch(stage, n_left, plan, report, work_dir / STEPS, saved, begun, general, workers)
    callbacks = [watch, to_tensorboard, saving(saved)]
    if keeps_best:
        callbacks.append(EarlyStoppingCallback(early_stopping_patience=plan.patience_evals))
    exact = [(one, one.data) for one in model.parameters() if one.requires_grad]
    trainer = trainer_class(
        model=model,
        args=config,
        processing_class=tokenizer,
        callbacks=callbacks,
        train_dataset=Dataset.from_list(train_rows),
        eval_dataset=Dataset.from_list(rows.validation) if has_validation else None,
        **({"data_collator": collator(tokenizer.pad_token_id)} if is_sft else {}),
    )
    if plan.load_in_4bit:  # of such an adapter TRL made bf16, in which small steps are lost
        for one, data in exact:
            one.data = data
    watch.trainer = trainer
    without_dropout(model, "ref")

    def on_saved(n_bytes: int) -> None:
        log.flush()
        step, seconds = trainer.state.global_step, round(saved.save_seconds, 3)
        report({"stage": stage.kind, "saved_step": step, "seconds": seconds, "bytes": n_bytes})

    trainer.saved, trainer.progress, trainer.on_saved = saved, watch.progress, on_saved
    trainer.remove_callback(PrinterCallback)  # our own reports say it
    # PEFT makes float32 of each input, of which autocast makes bf16 again; DoRA's norms need it.
    is_needless = config.bf16 and plan.tuning != "dora"
    with reporting.of_stage(stage.kind), disable_input_dtype_casting(model, active=is_needless):
        if begun is None and has_validation:
            watch.first_validation = _numbers(trainer.evaluate())
        output = trainer.train(resume_from_checkpoint=str(interrupted[0]) if interrupted else None)
        seconds = saved.clock.seconds - watch.began
        trainer.remove_callback(to_tensorboard)  # it closed its log
        best = _best_evaluation(trainer.state) if keeps_best else None
        if best is None:
            best = trainer.evaluate() if has_validation else {}
    state = trainer.state
    model.set_adapter("default")
    if "ref" in model.peft_config:
        model.delete_adapter("ref")
    return StageResult(
        stage.kind,
        state.global_step,
        state.max_steps,
        watch.stopped_because or ("no better" if state.global_step < state.max_steps else "end"),
        trainer.learned if is_sft else None,
        float(output.training_loss),
        watch.first_validation,
        _numbers(best),
        max_tokens,
        trainer.n_tokens if is_sft else 0,
        watch.n_resumed,
        round(seconds, 3),
    )


def _best_evaluation(state: Any) -> dict[str, Any] | None:
    """What the best checkpoint's evaluation said, whose weights were loaded at the end; None
    where none was."""
    if state.best_model_checkpoint is None:
        return None
    looks = (row for row in state.log_history if row["step"] == state.best_global_step)
    best = next(row for row in looks if "eval_loss" in row)
    return {name: value for name, value in best.items() if name != "step"}


def _trainer(
    stage: Stage,
    plan: Plan,
    rows: StageRows,
    max_tokens: int,
    max_replay_tokens: int,
    sampler: EpochSampler,
    workers: Workers,
) -> tuple[Any, dict[str, Any]]:
    """The trainer's class, and the arguments that only it has."""
    if stage.kind == "sft":
        from trl import SFTConfig

        # Smoothed labels need the logits of all tokens, as replay does.
        most = min(max_tokens, max_replay_tokens) if plan.label_smoothing else max_tokens
        trainer_class = answer_trainer(
            most, max_replay_tokens, sampler, plan.label_smoothing, workers
        )
        return trainer_class, {
            "config_class": SFTConfig,
            "neftune_noise_alpha": plan.neftune_alpha or None,
            "dataset_kwargs": {"skip_prepare_dataset": True},
            "remove_unused_columns": False,
        }
    # Before the trainer is made the reference has its dropout, see ``without_dropout``.
    asks_before = stage.n_epochs >= 2 and not plan.lora_dropout
    if stage.kind == "dpo":
        from trl import DPOConfig, DPOTrainer

        # The SFT term keeps the chosen answer likely while the margin grows (RPO).
        return weighted(DPOTrainer), {
            "config_class": DPOConfig,
            "beta": plan.beta,
            "disable_dropout": not plan.lora_dropout,
            "loss_type": ["sigmoid", "sft"],
            "precompute_ref_log_probs": asks_before,
        }
    from trl import KTOConfig, KTOTrainer

    desirable, undesirable = kto_weights(rows.n_liked, rows.n_disliked)
    return weighted(KTOTrainer), {
        "config_class": KTOConfig,
        "beta": plan.beta,
        "disable_dropout": not plan.lora_dropout,
        "desirable_weight": desirable,
        "undesirable_weight": undesirable,
        "precompute_ref_log_probs": asks_before,
    }


def without_dropout(model: Any, adapter: str) -> None:
    """Let an adapter of a PeftModel answer the same each time, also while the model is trained: a
    reference with dropout would be another one at each step."""
    import torch

    for module in model.modules():
        dropouts = getattr(module, "lora_dropout", {})
        if adapter in dropouts:
            dropouts[adapter] = torch.nn.Identity()


def reference_seconds(model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]]) -> float:
    """About how long the reference takes for these rows: both answers of DPO's; KTO's answer, and
    another row's, as long on average. By a timed forward pass, and the length of some of the rows.
    """
    import torch

    some = rows[:: math.ceil(len(rows) / TIMED_ROWS)]
    texts = [
        "\n".join(str(message.get("content") or "") for message in (*row["prompt"], *row[answer]))
        for row in some
        for answer in (("chosen", "rejected") if "chosen" in row else ("completion", "completion"))
    ]
    n_tokens = sum(map(len, tokenizer(texts, add_special_tokens=False)["input_ids"]))
    ids = torch.full((1, TIMED_TOKENS), tokenizer.eos_token_id or 0, device=model.device)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        model(input_ids=ids)  # the first one is slower
        started = time.monotonic()
        model(input_ids=ids)
        if ids.is_cuda:
            torch.cuda.synchronize()
    seconds_a_token = (time.monotonic() - started) / TIMED_TOKENS
    model.train(was_training)
    return seconds_a_token * n_tokens * len(rows) / len(some)


def keeps_best_checkpoint(kind: StageKind, n_validation: int) -> bool:
    """Whether a stage is evaluated each epoch, stops early, and keeps what was best."""
    return kind != "sft" and n_validation >= MIN_VALIDATION_ROWS


def pass_tokens(config: Any) -> tuple[int, int]:
    """How many tokens of a pass, padding included, keep ``PASS_BYTES`` of activations; and of
    replay, ``REPLAY_PASS_BYTES`` of activations and logits."""
    activations = BYTES_PER_TOKEN_LAYER_WIDTH * config.hidden_size * config.num_hidden_layers
    n_replay = REPLAY_PASS_BYTES / (activations + BYTES_PER_LOGIT * config.vocab_size)
    return max(256, int(PASS_BYTES / activations)), max(128, int(n_replay))


def cut_to_passes(stage: Stage, rows: StageRows, config: Any) -> None:
    """Leave out what KTO can't use of replay (``n_over_a_pass``): the rows are then those that are
    trained on, for the recipe and the probe record too.

    Args:
        config: of the model's text part.
    """
    if stage.kind == "kto":
        pass_rows = _pass_rows(stage, rows.longest_tokens, pass_tokens(config)[0])
        if n_over := n_over_a_pass(rows, pass_rows):
            # Liked answers stand first in replay, and validation takes none of the last four.
            del rows.train[-n_over:]
            del rows.kept_replay[-n_over:]


def n_over_a_pass(rows: StageRows, pass_rows: int) -> int:
    """How many replay rows, which stand last, are left out of KTO's, so that its last pass is not
    of less than ``MIN_KTO_BATCH`` rows. TRL pairs a row that is alone with itself for the KL term:
    the row would never count as learned."""
    n_over = len(rows.train) % pass_rows
    n_replay = sum(not replayed.is_liked for replayed in rows.kept_replay)
    return n_over if n_over < MIN_KTO_BATCH and n_over <= n_replay - len(rows.validation) else 0


def _pass_rows(stage: Stage, longest_tokens: int, max_tokens: int) -> int:
    """Rows that TRL takes at once. An SFT batch comes whole and is split (``refine/sft.py``)."""
    if stage.kind == "sft":
        return stage.batch_size
    fewest = MIN_KTO_BATCH if stage.kind == "kto" else 1
    fits = max_tokens // max(1, _longest_pass(stage, longest_tokens, 1))
    # They divide the batch, since TRL takes whole passes. Where none that may be so small fits, a
    # larger one is trained with gradient checkpointing.
    sizes = [n for n in range(fewest, stage.batch_size + 1) if stage.batch_size % n == 0]
    if not sizes:  # of a plan by an earlier version
        raise PawlError(
            f"a batch of {stage.batch_size} rows is too small for KTO",
            f"it compares answers within a batch, so it takes {fewest} or more",
            "Set train.batch_size, and begin anew: 'pawl nightly --fresh'",
        )
    return max((n for n in sizes if n <= fits), default=sizes[0])


def _longest_pass(stage: Stage, longest_tokens: int, pass_rows: int) -> int:
    """Tokens that a pass may have to keep: DPO's rows are two answers each."""
    return longest_tokens * {"sft": 1, "dpo": 2 * pass_rows, "kto": pass_rows}[stage.kind]


def release_memory(generation: int = 2) -> None:
    """Give what is free back to the system.

    Passes of ever other shapes leave glibc's heap full of holes: a training child grew from 3.3 to
    4.8 GB in eight epochs.

    Args:
        generation: of Python's collector: 2 looks at every object, those of imported modules, too,
            which takes up to a second; 1 at those made since the last look.
    """
    gc.collect(generation)
    with contextlib.suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def use_bf16(torch: Any) -> bool:
    """bf16 on GPUs that have it; on a CPU only with AVX512-BF16 or AMX, where it is faster."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _watch(
    stage: Stage,
    n_left: int,
    plan: Plan,
    report: Report,
    steps_path: Path,
    saved: StageCheckpoints,
    begun: Progress | None,
    general: Sequence[list[int]],
    workers: Workers,
) -> Any:
    """A callback that reports progress and ends training: when the corrections are learned, when
    its share of the time is over (of ``n_left`` stages), at the first loss that is no number. It
    goes on from ``begun``, and says how far it came."""
    from transformers import TrainerCallback

    is_sft = stage.kind == "sft"
    clock = saved.clock
    counters = (*COUNTERS, *(SFT_COUNTERS if is_sft else ()))

    class Watch(TrainerCallback):
        trainer: Any = None
        stopped_because = begun.stopped_because if begun else ""
        first_validation: dict[str, float] = begun.first_validation if begun else {}
        n_resumed = begun.n_resumed + 1 if begun else 0
        began = 0.0
        n_validated = 0  # passes over validation rows

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if begun is None:
                self.began = clock.seconds
                return
            clock.set(begun.seconds)
            self.began = begun.began
            for name, value in begun.counters.items():
                setattr(self.trainer, name, value)
            self.trainer._initial_global_step = 0  # from which the mean of the losses is taken

        def progress(self) -> Progress:
            return Progress(
                clock.seconds,
                self.began,
                steps_path.stat().st_size,
                self.n_resumed,
                self.stopped_because,
                self.first_validation,
                {name: getattr(self.trainer, name) for name in counters},
            )

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            for name in ("loss", "eval_loss", "grad_norm"):
                value = (logs or {}).get(name)
                if value is not None and not math.isfinite(float(value)):
                    raise PawlError(
                        f"{name} became {value} in {stage.kind} at step {state.global_step}",
                        f"the learning rate {stage.learning_rate:g} is too high for these rows, "
                        "or a row holds something broken",
                        "Lower train.learning_rate",
                        code="diverged",
                    )
            if logs:
                event = {"stage": stage.kind, "step": state.global_step, **_numbers(logs)}
                report(event)
                with steps_path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(event) + "\n")

        def on_prediction_step(
            self, args: Any, state: Any, control: Any, eval_dataloader: Any = None, **_: Any
        ) -> None:
            self.n_validated += 1
            n = len(eval_dataloader)
            report(
                {"stage": f"{stage.kind} validation", "fraction": round(self.n_validated / n, 4)}
            )

        def on_evaluate(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.n_validated = 0

        def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if costs := on_general_text(self.trainer.model, general):
                self.trainer.log(costs)
            release_memory(generation=1)
            if is_sft:
                reason = self.trainer.end_epoch()
                self.stopped_because = self.stopped_because or reason
                report({"stage": stage.kind, "learned": self.trainer.learned})

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            max_steps = state.max_steps
            cool_steps = self.trainer.cool_steps if is_sft else 0
            seconds_a_step = (clock.seconds - self.began) / state.global_step
            max_seconds = max(1.0, (60 * plan.max_minutes - self.began) / n_left)
            seconds = (state.global_step + cool_steps) * seconds_a_step  # if it stops after these
            is_late, is_in_time = workers.first(
                [seconds > max_seconds, seconds < IN_TIME * max_seconds]
            )
            if is_late:
                self.stopped_because = self.stopped_because or OUT_OF_TIME
                if is_sft:
                    self.trainer.begin_to_stop()
                else:
                    control.should_training_stop = True
            elif self.stopped_because == OUT_OF_TIME and is_in_time:
                self.stopped_because = ""  # the machine was busy for a while
                self.trainer.stop_step = None
            if is_sft and self.trainer.stop_step is not None:
                max_steps = self.trainer.stop_step
                control.should_training_stop = state.global_step >= max_steps
            report(
                {
                    "stage": stage.kind,
                    "step": state.global_step,
                    "max_steps": max_steps,
                    "fraction": round(state.global_step / max(1, max_steps), 4),
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
