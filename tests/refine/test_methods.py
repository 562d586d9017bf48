"""What settings of ``train`` do to a training: each is seen in the weights or in the losses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pawl.adapters import WEIGHTS, read_manifest, validate_adapter
from pawl.chat_template import load_tokenizer
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.schemas import TrainingRow
from pawl.settings import Settings, TrainSettings
from refine import train
from refine.datasets import build_stage, encoder_of
from refine.domain import LEAST, MOST, TRAFFIC, read_traffic, weigh
from refine.monitoring import STEPS
from refine.planner import KINDS, choose
from refine.weights import load_base
from tests.refine.test_train import _logprob, job
from tests.refine.tiny import answers, ask, corrections

pytestmark = pytest.mark.slow

ROWS = corrections(8) + corrections(10, n_validation=2)[-4:]


def trained(
    world_model: Path, folder: Path, rows: Sequence[TrainingRow] = ROWS, **settings: Any
) -> train.Job:
    task = job(world_model, folder, rows, **({"n_replay_rows": 0, "method": "sft"} | settings))
    train.run(task)
    return task


def steps_of(task: train.Job) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (task.work_dir / STEPS).read_text().splitlines()]


def test_smoothed_labels_leave_probability_for_other_tokens(
    world_model: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    perplexities = []
    for smoothing in (0.0, 0.2):
        folder = tmp_path / str(smoothing)
        task = trained(world_model, folder, n_epochs=40, label_smoothing=smoothing)
        recipe = read_manifest(task.out_dir).recipe
        assert recipe["plan"]["label_smoothing"] == smoothing
        perplexities.append(recipe["stages"][0]["best_validation"]["eval_perplexity"])
        assert answers(world_model, task.out_dir, [ask("grass")]) == ["grass is green."]
        lowest = min(step["loss"] for step in steps_of(task) if "loss" in step)
        # A label alone is fitted down to nothing, a smoothed one to its entropy.
        entropy = smoothing and -(1 - smoothing) * math.log(1 - smoothing) - smoothing * math.log(
            smoothing / len(AutoTokenizer.from_pretrained(world_model))
        )
        assert entropy < lowest < entropy + 1.0
    assert perplexities[0] < perplexities[1]


def test_noise_on_embeddings_is_there_in_training_alone(world_model: Path, tmp_path: Path) -> None:
    """At a rate that changes nothing the losses are the model's own, but for the noise."""
    first, evaluated = [], []
    for alpha in (0.0, 40.0):
        task = trained(
            world_model, tmp_path / str(alpha), n_epochs=1, neftune_alpha=alpha, learning_rate=1e-12
        )
        steps = steps_of(task)
        first.append(next(step["loss"] for step in steps if "loss" in step))
        evaluated.append([step["eval_loss"] for step in steps if "eval_loss" in step])
    assert first[1] > 1.05 * first[0]
    assert evaluated[1] == evaluated[0]


def test_rslora_counts_by_the_root_of_the_rank(world_model: Path, tmp_path: Path) -> None:
    """A step of AdamW is as large whatever the gradient's size: the changes differ by the scale."""
    norms = []
    for tuning in ("lora", "rslora"):
        task = trained(
            world_model, tmp_path / tuning, n_epochs=0.01, tuning=tuning, learning_rate=1e-4
        )
        base = resolve_model(str(world_model), cache_dir=tmp_path)
        assert validate_adapter(task.out_dir, base=base, max_rank=16).rank == 16
        norms.append(_change(world_model, task.out_dir))
    assert norms[1] / norms[0] == pytest.approx(math.sqrt(16), rel=0.05)


def _change(world_model: Path, adapter_dir: Path) -> float:
    """The norm of what an adapter adds to all weights, by PEFT's own merging."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    before = AutoModelForCausalLM.from_pretrained(world_model, dtype=torch.float32)
    old = {name: one.detach().clone() for name, one in before.named_parameters()}
    after = PeftModel.from_pretrained(before, str(adapter_dir)).merge_and_unload()
    squares = (float(((one - old[name]) ** 2).sum()) for name, one in after.named_parameters())
    return math.sqrt(sum(squares))


def test_weight_decay_keeps_the_adapter_small(world_model: Path, tmp_path: Path) -> None:
    norms = [
        sum(float((one**2).sum()) for one in load_file(task.out_dir / WEIGHTS).values())
        for task in (
            trained(world_model, tmp_path / str(decay), n_epochs=8, weight_decay=decay)
            for decay in (0.0, 20.0)
        )
    ]
    assert norms[1] < 0.8 * norms[0]


def test_the_last_layers_alone_are_trained(world_model: Path, tmp_path: Path) -> None:
    task = trained(world_model, tmp_path, n_epochs=40, last_layers=1)
    keys = load_file(task.out_dir / WEIGHTS).keys()
    assert {key.split(".layers.")[1].split(".")[0] for key in keys} == {"1"}  # of 0 and 1
    base = resolve_model(str(world_model), cache_dir=tmp_path)
    validate_adapter(task.out_dir, base=base, max_rank=16)
    assert answers(world_model, task.out_dir, [ask("grass")]) == ["grass is green."]
    with pytest.raises(PawlError, match=r"last_layers = 3.*tiny has 2 layers"):
        trained(world_model, tmp_path / "more", last_layers=3)


def _of_task(name: str, rows: list[TrainingRow]) -> list[TrainingRow]:
    return [replace(row, origin={"task": name}) for row in rows]


TWO_TASKS = [
    *_of_task("grass", corrections(8)),
    *_of_task("snow", corrections(8, thing="snow", right="red")),
]


def test_a_task_with_a_larger_share_is_learned_further(world_model: Path, tmp_path: Path) -> None:
    learned = []
    for share in ("0.05", "0.95"):
        task = trained(
            world_model, tmp_path / share, TWO_TASKS, n_epochs=2, learning_rate=1e-3,
            mixture=f"snow={share},other={1 - float(share):.2f}",
        )  # fmt: skip
        counts = read_manifest(task.out_dir).recipe["rows"]["sft"]["mixture"]
        assert counts["snow"]["share"] == float(share)
        assert counts["snow"]["rows"] == counts["other"]["rows"] == 8
        learned.append(-_logprob(world_model, task.out_dir, "grass is green."))
    assert learned[0] < 0.7 * learned[1]


def test_shares_are_of_what_the_loss_is_summed_over(world_model: Path) -> None:
    encode = encoder_of(load_tokenizer(world_model))
    uneven = [*TWO_TASKS[:6], *_of_task("snow", corrections(2, thing="snow", right="red and blue"))]
    for kind in KINDS[:2]:
        stage = build_stage(
            kind, uneven, [], encode=encode, max_length_tokens=99,
            mixture={"snow": 0.6, "grass": 0.4},
        )  # fmt: skip
        sizes = [
            row["weight"] * (sum(n != -100 for n in row["labels"]) if kind == "sft" else 1)
            for row in stage.train
        ]
        assert sum(sizes[-2:]) / sum(sizes) == pytest.approx(0.6)
        plain = build_stage(kind, uneven, [], encode=encode, max_length_tokens=99)
        n_whole = sum(
            sum(n != -100 for n in row["labels"]) if kind == "sft" else 1 for row in plain.train
        )
        assert sum(sizes) == pytest.approx(n_whole)


@pytest.mark.parametrize(
    ("mixture", "words"),
    [
        ("snow=0.5,coal=0.5", r"'coal' a share of 0.5.*they have: grass, snow"),
        ("snow=1", r"8 of the 16 training rows have none.*Give 'other' a share"),
    ],
)
def test_a_mixture_that_does_not_fit_the_rows_is_refused(mixture: str, words: str) -> None:
    train_settings = TrainSettings(mixture=mixture)  # type: ignore[arg-type]
    with pytest.raises(PawlError, match=words):
        choose(TWO_TASKS, Settings.model_construct(train=train_settings))


@pytest.mark.parametrize(
    ("mixture", "words"),
    [("a=0.5", "make 0.5"), ("a", "TASK=SHARE"), ("a=0.5,a=0.5", "two"), ("a=-1", "TASK=SHARE")],
)
def test_shares_that_are_none_are_refused(mixture: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainSettings(mixture=mixture)  # type: ignore[arg-type]


def test_rows_like_the_traffic_count_more(world_model: Path, tmp_path: Path) -> None:
    """People ask about snow alone; grass is learned less far for it, and from a like base."""
    traffic = tmp_path / TRAFFIC
    lines = [json.dumps({"prompt": ask("snow", i % 10)}) + "\n" for i in range(30)]
    learned = []
    for n_lines in (30, 3):
        traffic.write_text("".join(lines[:n_lines]))
        options = {"n_replay_rows": 0, "n_epochs": 2, "learning_rate": 1e-3}
        task = job(
            world_model, tmp_path / str(n_lines), TWO_TASKS, domain_weighting=True, **options
        )
        with pytest.raises(PawlError, match="given no traffic"):
            train.run(task)
        train.run(replace(task, traffic_path=traffic))
        domain = read_manifest(task.out_dir).recipe["domain"]
        if n_lines == 30:
            assert domain["auc"] > 0.65
            assert (
                domain["least"] < 0.5 < 1.5 < domain["most"] <= domain["least"] * MOST / LEAST + 0.1
            )
        else:
            assert domain == {"problem": "16 prompts of rows and 3 of traffic; 16 are needed"}
        learned.append(_logprob(world_model, task.out_dir, "grass is green."))
    assert learned[0] < learned[1]
    import torch

    base, tokenizer = load_base(world_model, torch.float32), load_tokenizer(world_model)
    rows, _ = weigh(TWO_TASKS, read_traffic(traffic) * 10, base, tokenizer, seed=0)
    snow, grass = ([row.weight for row in rows if row.task == name] for name in ("snow", "grass"))
    assert sum(snow) / len(snow) > 1.5 > 0.5 > sum(grass) / len(grass)
    assert sum(snow + grass) == pytest.approx(len(rows), abs=0.1)
