"""Runs a use case: the base with a prompt, with a few-shot prompt, and trained on the rows.

Training is Pawl's own, as ``pawl train`` does it: a snapshot, ``refine.planner``, ``refine.train``.
All answers are greedy, made by transformers. Answers and adapter are kept in the work folder, so an
interrupted run goes on where it was; a change of the data, the base or a setting begins anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.metrics import Interval
from examples.scoring import Scores, gain, score
from examples.use_case import Row, UseCase
from feedback.snapshots import freeze
from pawl.adapters import MANIFEST, AdapterManifest
from pawl.errors import PawlError
from pawl.files import read_json, sha256_json, write_json
from pawl.jobs import Event
from pawl.models import BaseModel
from pawl.schemas import Message, TrainingRow
from pawl.settings import load_settings
from refine.planner import choose, hidden_size_of
from refine.train import MAX_LENGTH_TOKENS, Job, train

PROMPT, CHOICE, FEW_SHOT, TUNED = (
    "prompt only", "prompt only, the likeliest label", "few-shot prompt", "fine-tuned",
)  # fmt: skip
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a use case. ``scores`` and ``answers`` by arm; ``gains``: of the main figure of
    the fine-tuned one over that of each other arm."""

    case: UseCase
    base: BaseModel
    scores: dict[str, Scores]
    answers: dict[str, list[str]]
    gains: dict[str, Interval]
    manifest: AdapterManifest
    adapter_dir: Path


def run(
    case: UseCase, base: BaseModel, options: Mapping[str, Any], work_dir: Path, say: Say
) -> Result:
    """Ask the base, train, ask again, score.

    Args:
        options: settings of ``train``, before those of the use case.
        work_dir: kept between runs; the base's answers for replay are shared by all use cases.
        say: takes lines about the progress.

    Raises:
        PawlError: an option is none, the base can't be trained, or the training failed.
    """
    settings = load_settings({"train": {**case.description.train, **options}}, only_flags=True)
    for name in ("augment", "domain_weighting", "ray_address"):
        if getattr(settings.train, name):
            raise PawlError(
                f"train.{name} was asked for",
                "a use case is trained here, on its rows alone, beside no server",
                "Take it out",
            )
    base.check.refuse("train", base.name)
    curated = case.curated()
    plan = choose(curated.rows, settings, hidden_size=hidden_size_of(base.model_dir))
    base_dir = work_dir / f"{case.name}-{sha256_json([case.fingerprint(), base.fingerprint])[:12]}"
    decides = plan.as_json() | dict.fromkeys(("counts", "reason", "n_threads"))
    run_dir = base_dir / f"run-{sha256_json(decides)[:12]}"
    ask: dict[str, Callable[[Row], list[Message]]] = {
        PROMPT: case.prompt, FEW_SHOT: case.few_shot_prompt,
    }  # fmt: skip

    answers = _answers(case, base, None, ask, base_dir, say)
    snapshot = freeze(curated, work_dir / "snapshots")
    job = Job.in_run(run_dir, base, Path(snapshot["dir"]), plan, work_dir / "replay")
    if not (job.out_dir / MANIFEST).exists():
        say(f"{case.name}: {plan.method} ({plan.reason}), {plan.n_replay_rows} replay rows, "
            f"{plan.max_minutes:g} minutes at most, in {run_dir}")  # fmt: skip
    manifest = train(job, on_event=_progress(case.name, say))
    answers |= _answers(case, base, job.out_dir, {TUNED: case.prompt}, run_dir, say)

    scores = {arm: score(case, found) for arm, found in answers.items()}
    gains = {
        arm: gain(before, scores[TUNED], len(case.test))
        for arm, before in scores.items()
        if arm != TUNED
    }
    return Result(case, base, scores, answers, gains, manifest, job.out_dir)


def _answers(
    case: UseCase,
    base: BaseModel,
    adapter_dir: Path | None,
    ask: Mapping[str, Callable[[Row], list[Message]]],
    folder: Path,
    say: Say,
) -> dict[str, list[str]]:
    """Greedy answers to the test rows by arm; those that are kept in the folder aren't made again.

    Of labels a base also gives the one that is likeliest as its answer: what a server that allows
    no other answer would say.
    """
    arms = list(ask)
    if case.description.labels and adapter_dir is None:
        arms.insert(1, CHOICE)
    paths = {
        arm: folder / f"answers-{arm.replace(', ', '-').replace(' ', '-')}.json" for arm in arms
    }
    if lacking := [arm for arm in arms if not paths[arm].exists()]:
        model, tokenizer = _load(base, adapter_dir)
        for arm in lacking:
            started = time.monotonic()
            if arm == CHOICE:
                found = _likeliest_labels(case, model, tokenizer)
            else:
                found = _greedy(case, model, tokenizer, [ask[arm](row) for row in case.test])
            write_json(paths[arm], found)
            say(f"{case.name}: {arm}, {len(found)} answers in {time.monotonic() - started:.0f} s")
    return {arm: read_json(paths[arm]) for arm in arms}


def _load(base: BaseModel, adapter_dir: Path | None) -> tuple[Any, Any]:
    """The model in the precision it was trained in, with its tokenizer."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from pawl.chat_template import load_tokenizer
    from refine.trainer import use_bf16

    dtype = torch.bfloat16 if use_bf16(torch) else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(str(base.model_dir), dtype=dtype)
    if adapter_dir is not None:
        model = PeftModel.from_pretrained(model, str(adapter_dir))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.to(device).eval(), load_tokenizer(base.model_dir)


def _greedy(case: UseCase, model: Any, tokenizer: Any, prompts: list[list[Message]]) -> list[str]:
    from refine.replay import answer_prompts

    answer = answer_prompts(model, tokenizer, case.description.max_new_tokens)
    return [found.text for found in answer(prompts)]


def _likeliest_labels(case: UseCase, model: Any, tokenizer: Any) -> list[str]:
    """For each test row the label of the largest log p(label, end of the turn | prompt)."""
    from refine.datasets import encoder_of
    from refine.held_out import encode_answers, loss_of

    encode = encoder_of(tokenizer)

    def log_prob(row: Row, label: str) -> float:
        as_row = TrainingRow("", "sft", "", "train", case.prompt(row), completion=label)
        answers = encode_answers(as_row, encode, MAX_LENGTH_TOKENS)
        assert answers is not None, row.text
        [(ids, n_prompt, _)] = answers.encoded
        return -loss_of(model, answers, beta=1.0) * (len(ids) - n_prompt)

    labels = case.description.labels
    return [max(labels, key=lambda label: log_prob(row, label)) for row in case.test]


def _progress(name: str, say: Say) -> Callable[[Event], None]:
    """Says each tenth of a stage, and how much an epoch found learned."""
    seen: tuple[str, int] | None = None

    def show(event: Event) -> None:
        nonlocal seen
        stage = event.get("stage", "")
        if "note" in event:
            say(f"{name}: {stage} {event['note']}")
        if event.get("learned") is not None:
            say(f"{name}: an epoch found {event['learned']:.0%} answered word for word")
        if "fraction" in event and seen != (stage, tenth := int(10 * event["fraction"])):
            seen = (stage, tenth)
            say(f"{name}: {stage} {10 * tenth} %")

    return show
