"""Full fine-tuning and DoRA: trained with more freedom than the engine serves, served as a LoRA."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pawl.adapters import WEIGHTS, read_manifest, validate_adapter
from pawl.models import resolve_model
from refine import train
from refine.planner import choose
from refine.weights import begin
from tests.refine.interrupted import run_until
from tests.refine.test_methods import trained
from tests.refine.test_planner import settings
from tests.refine.test_train import job
from tests.refine.tiny import answers, ask, corrections

pytestmark = pytest.mark.slow

RATES = {"full": 1e-3, "dora": 3e-3}


def served(world_model: Path, folder: Path, rank: int, **options: Any) -> train.Job:
    """A training with an engine that serves adapters of this rank."""
    options = {"n_replay_rows": 0, "method": "sft", "n_epochs": 40} | options
    task = job(world_model, folder, corrections(8), **options)
    task = replace(task, plan=replace(task.plan, served_rank=rank))
    train.run(task)
    base = resolve_model(str(world_model), cache_dir=folder)
    assert validate_adapter(task.out_dir, base=base, max_rank=rank).rank == rank
    return task


@pytest.mark.parametrize("tuning", ["full", "dora"])
def test_what_is_served_answers_as_what_was_trained(
    world_model: Path, tmp_path: Path, tuning: str
) -> None:
    lost = []
    for rank in (64, 8):  # the model is 64 wide, so a rank of 64 loses nothing
        task = served(
            world_model, tmp_path / str(rank), rank, tuning=tuning, learning_rate=RATES[tuning]
        )
        said = read_manifest(task.out_dir).recipe["served"]
        lost.append(said["lost"])
        assert said["rank"] == rank
        prompts = [ask("grass", i) for i in range(10)]
        assert answers(world_model, task.out_dir, prompts) == ["grass is green."] * 10
        assert said["nats_to_trained"] < (1e-4 if rank == 64 else 0.1 * said["nats_from_base"])
    assert lost[0] < 1e-3 < lost[1]


def test_the_last_layers_alone_are_trained_in_full(world_model: Path, tmp_path: Path) -> None:
    task = served(world_model, tmp_path, 16, tuning="full", learning_rate=1e-3, last_layers=1)
    keys = load_file(task.out_dir / WEIGHTS).keys()
    assert {key.split(".layers.")[1].split(".")[0] for key in keys} == {"1"}  # of 0 and 1
    assert answers(world_model, task.out_dir, [ask("grass")]) == ["grass is green."]


def test_biases_are_not_trained_since_no_lora_that_is_served_has_any() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 2, "vocab_size": 16}
    base = Qwen2ForCausalLM(Qwen2Config(num_hidden_layers=1, num_key_value_heads=2, **sizes))
    plan = choose(corrections(8), settings(tuning="full"))
    learns = {name for name, one in begin(base, plan).named_parameters() if one.requires_grad}
    assert any("q_proj" in name for name in learns)  # whose layer has a bias
    assert not [name for name in learns if "bias" in name]


def test_preferences_are_learned_in_full(world_model: Path, tmp_path: Path) -> None:
    task = trained(
        world_model, tmp_path, corrections(10, n_validation=2), method="sft+dpo", tuning="full",
        learning_rate=5e-4, n_epochs=6,
    )  # fmt: skip
    _, dpo = read_manifest(task.out_dir).recipe["stages"]
    # The reference is what SFT left, so the margin begins at nothing.
    assert dpo["first_validation"]["eval_rewards/margins"] == pytest.approx(0.0, abs=1e-3)
    assert dpo["best_validation"]["eval_rewards/margins"] > 0.1
    assert answers(world_model, task.out_dir, [ask("grass", 9)]) == ["grass is green."]


def test_a_training_in_full_that_was_killed_goes_on(world_model: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "n_replay_rows": 8, "method": "sft", "n_epochs": 3, "tuning": "full", "learning_rate": 1e-3
    }  # fmt: skip
    whole, killed = (
        replace(job(world_model, tmp_path / name, corrections(8), **options), checkpoint_seconds=0)
        for name in ("whole", "killed")
    )
    train.run(whole)
    run_until(killed, lambda event: event.get("saved_step") == 2)
    train.run(killed)
    assert read_manifest(killed.out_dir).recipe["stages"][0]["n_resumed"] == 1
    one, other = (task.out_dir / WEIGHTS for task in (whole, killed))
    assert one.read_bytes() == other.read_bytes()


def test_whole_weights_take_a_tenth_of_an_adapters_rate() -> None:
    rates = {
        tuning: choose(corrections(9), settings(tuning=tuning)).stages[0].learning_rate
        for tuning in ("lora", "dora", "full")
    }
    assert rates["lora"] == rates["dora"] == pytest.approx(10 * rates["full"])
