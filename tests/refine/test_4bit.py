"""QLoRA: an adapter that is trained on the base in 4 bits, and served on the whole one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pawl.adapters import WEIGHTS, read_manifest, validate_adapter
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.settings import Settings, TrainSettings
from refine import train
from refine.planner import choose
from refine.replay import answers_path
from refine.weights import base_to_train, check_4bit
from tests.refine.interrupted import run_until
from tests.refine.test_resume import make_job, outcome
from tests.refine.test_train import job
from tests.refine.tiny import answers, ask, corrections

IN_4BIT: dict[str, Any] = {"load_in_4bit": True}


def test_what_lacks_is_named_with_its_command() -> None:
    if importlib.util.find_spec("bitsandbytes") is not None:
        pytest.skip("bitsandbytes is installed here: the error without it was NOT TESTED")
    with pytest.raises(PawlError, match="bitsandbytes is not installed") as caught:
        check_4bit()
    assert "pip install" in caught.value.do


@pytest.mark.parametrize("tuning", ["dora", "full"])
def test_what_is_no_lora_takes_the_whole_base(tuning: str) -> None:
    with pytest.raises(PawlError, match="load_in_4bit"):
        choose(corrections(8), Settings(train=TrainSettings(tuning=tuning, **IN_4BIT)))


@pytest.mark.extras
def test_linear_layers_are_in_4_bits_and_the_served_adapter_knows_the_answer(
    world_model: Path, tmp_path: Path
) -> None:
    task = job(world_model, tmp_path, corrections(8), method="sft", n_epochs=40, **IN_4BIT)
    base = base_to_train(world_model, task.plan)
    kinds = {type(one).__name__ for name, one in base.named_modules() if name.endswith("_proj")}
    assert kinds == {"Linear4bit"}
    train.run(task)
    whole = resolve_model(str(world_model), cache_dir=tmp_path)
    assert validate_adapter(task.out_dir, base=whole, max_rank=16).rank == 16
    assert read_manifest(task.out_dir).recipe["plan"]["load_in_4bit"] is True
    assert answers(world_model, task.out_dir, [ask("grass")]) == ["grass is green."]
    weights = load_file(task.out_dir / WEIGHTS)
    assert {one.dtype for one in weights.values()} == {torch.float32}
    assert any((one != one.bfloat16().float()).any() for one in weights.values())


@pytest.mark.extras
def test_replay_is_what_the_whole_base_says(world_model: Path, tmp_path: Path) -> None:
    kept = []
    for name, options in (("whole", {}), ("4bit", IN_4BIT)):
        task = job(world_model, tmp_path / name, corrections(8), n_replay_rows=16, n_epochs=1,
                   method="sft", **options)  # fmt: skip
        train.run(task)
        kept.append(answers_path(task.replay_dir, task.base_fingerprint).read_bytes())
    assert kept[0] == kept[1]


@pytest.mark.extras
@pytest.mark.parametrize("method", ["sft", "dpo", "kto", "sft+dpo"])
def test_an_interrupted_training_leaves_the_same_bytes(
    method: str, world_model: Path, tmp_path: Path
) -> None:
    whole = make_job(world_model, tmp_path / "whole", method, **IN_4BIT)
    train.run(whole)
    cut = make_job(world_model, tmp_path / "cut", method, **IN_4BIT)
    run_until(cut, lambda event: event.get("saved_step", 0) >= 3)
    train.run(cut)
    assert read_manifest(cut.out_dir).recipe["stages"][0]["n_resumed"] == 1
    assert outcome(cut) == outcome(whole)
