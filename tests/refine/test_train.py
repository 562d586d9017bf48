"""Training has effects: what was corrected is mended, the rest stays, and the folder is whole.

Over 400 lines: the trainings are shared by the tests that look at their effects.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pawl.adapters import read_manifest, read_probe, snapshots_of, validate_adapter
from pawl.chat_template import load_tokenizer
from pawl.curves import read_curves
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.schemas import Message, TrainingRow, asked_with
from pawl.settings import Settings, TrainSettings
from refine import train, trainer
from refine.datasets import encoder_of
from refine.monitoring import STEPS
from refine.planner import Stage, choose
from refine.replay import Answer, answers_path, fill_answers, to_replay
from refine.sft import LEARNED
from tests.adapters_for_tests import MODULES
from tests.refine.interrupted import rows_of, run_until
from tests.refine.tiny import COLOURS, answers, ask, corrections, row, says, write_snapshot

pytestmark = pytest.mark.slow

# Learning rates for a model of 64 dimensions and a handful of rows.
SETTINGS: dict[str, Any] = {
    "n_epochs": 8,
    "learning_rate": 3e-3,
    "n_threads": 1,
    "n_replay_rows": 60,
    "batch_size": 8,
}


def job(world_model: Path, folder: Path, rows: Sequence[TrainingRow], **settings: Any) -> train.Job:
    options = TrainSettings(**(SETTINGS | settings))
    plan = choose(rows, Settings.model_construct(train=options))
    base = resolve_model(str(world_model), cache_dir=folder.parent)
    return train.Job(
        write_snapshot(folder / "snapshot", rows),
        plan,
        world_model,
        folder / "adapter",
        folder / "work",
        "tiny",
        base.fingerprint,
        folder / "replay",
    )


@pytest.fixture(scope="module")
def mended(world_model: Path, tmp_path_factory: pytest.TempPathFactory) -> train.Job:
    """Trained on the correction of "grass is red" in 6 phrasings, 2 of them for validation, and
    with liked answers about everything else."""
    liked = [
        row("unpaired", thing, i, completion=says(thing, colour), label=True)
        for thing, colour in COLOURS.items()
        if thing != "grass"
        for i in (0, 4)
    ]
    task = job(
        world_model,
        tmp_path_factory.mktemp("mended"),
        corrections(6, n_validation=2) + corrections(4) + liked,
        n_epochs=12,
    )
    train.run(task)
    return task


def test_the_corrected_answer_is_mended_in_phrasings_never_flagged(
    world_model: Path, mended: train.Job
) -> None:
    prompts = [ask("grass", i) for i in range(10)]
    assert answers(world_model, None, prompts) == ["grass is red."] * 10
    assert answers(world_model, mended.out_dir, prompts) == ["grass is green."] * 10


def test_what_nobody_complained_about_stays(world_model: Path, mended: train.Job) -> None:
    prompts = [ask(thing, 7) for thing in COLOURS if thing != "grass"]
    before = answers(world_model, None, prompts)
    after = answers(world_model, mended.out_dir, prompts)
    assert before == [says(thing, c) for thing, c in COLOURS.items() if thing != "grass"]
    assert sum(a == b for a, b in zip(before, after, strict=True)) >= len(before) - 1


def test_the_folder_is_whole_and_holds_nothing_else(world_model: Path, mended: train.Job) -> None:
    assert sorted(path.name for path in mended.out_dir.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "probe.json",
    ]
    base = resolve_model(str(world_model), cache_dir=mended.work_dir)
    assert validate_adapter(mended.out_dir, base=base, max_rank=16).rank == 16
    config = json.loads((mended.out_dir / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(MODULES)
    assert config["base_model_name_or_path"] == "tiny"
    left = [
        path
        for pattern in ("*.bin", "*.pt", "*.pth", "*.pkl")
        for path in mended.work_dir.rglob(pattern)
    ]
    assert left == []


def test_the_recipe_says_how_it_came_to_be(mended: train.Job) -> None:
    from importlib.metadata import version

    recipe = read_manifest(mended.out_dir).recipe
    manifest = json.loads((mended.snapshot_dir / "manifest.json").read_text())
    assert recipe["snapshot"]["content_sha256"] == manifest["content_sha256"]
    assert recipe["plan"] == json.loads(json.dumps(mended.plan.as_json()))
    assert recipe["versions"]["trl"] == version("trl")
    assert recipe["base"]["fingerprint"] == mended.base_fingerprint
    assert recipe["replay"]["n_replay"] > 22
    assert recipe["rows"]["sft"]["validation"] == 4  # 2 corrections, 2 replay rows
    stage = recipe["stages"][0]
    assert stage["best_validation"]["eval_loss"] < stage["first_validation"]["eval_loss"]
    assert recipe["seconds"] > 0
    assert recipe["peak_memory_bytes"] > 10**8


def test_no_tensorboard_log_is_missing_and_it_has_the_recipe(mended: train.Job) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logs = list(mended.work_dir.rglob("events.out.tfevents.*"))
    assert {log.parent for log in logs} == {mended.work_dir / "tensorboard"}
    events = EventAccumulator(str(mended.work_dir / "tensorboard")).Reload()
    [text] = events.Tensors("recipe/sft/text_summary")
    recipe = read_manifest(mended.out_dir).recipe
    for part in (recipe["snapshot"]["rows_sha256"], recipe["git_commit"] or "null"):
        assert part.encode() in text.tensor_proto.string_val[0]
    assert "train/perplexity" in events.Tags()["scalars"]


def test_each_step_is_kept_with_what_the_model_says_of_the_answers(mended: train.Job) -> None:
    steps = [json.loads(line) for line in (mended.work_dir / STEPS).read_text().splitlines()]
    trained = [step for step in steps if "perplexity" in step]
    n_steps = read_manifest(mended.out_dir).recipe["stages"][0]["n_steps"]
    assert [step["step"] for step in trained] == list(range(1, n_steps + 1))
    assert trained[-1]["perplexity"] < 1.5 < trained[0]["perplexity"]
    assert trained[-1]["token_accuracy"] > 0.9
    validated = [step["eval_token_accuracy"] for step in steps if "eval_perplexity" in step]
    assert len(validated) == 2
    assert validated[0] < validated[1]


def test_each_epoch_says_what_it_costs_elsewhere(mended: train.Job) -> None:
    """On everyday prompts that it does not replay, whose answers its base gave."""
    steps = [json.loads(line) for line in (mended.work_dir / STEPS).read_text().splitlines()]
    drifts = [(step["step"], step["drift"], step["general_loss"]) for step in steps
              if "drift" in step]  # fmt: skip
    [stage] = read_manifest(mended.out_dir).recipe["stages"]
    plan = mended.plan.stages[0]
    n_epochs = math.ceil(stage["n_steps"] / (stage["max_steps"] / plan.n_epochs))
    assert len(drifts) in (n_epochs - 1, n_epochs)
    assert all(0 < drift < 5 and loss > 0 for _, drift, loss in drifts)
    titles = [curve["metric"] for curve in read_curves(mended.work_dir / STEPS)]
    assert titles[-2].startswith("drift from the base")


def test_the_probe_record_is_what_the_files_say(world_model: Path, mended: train.Job) -> None:
    """An independent pass over the saved files gives the recorded values, and the base others."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(world_model, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(mended.out_dir))
    positions = read_probe(mended.out_dir)
    assert len(positions) == 16
    gaps = []
    for position in positions:
        with torch.no_grad():
            ids = torch.tensor([position.prefix_ids])
            ours = torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), -1)
            with model.disable_adapter():
                base = torch.log_softmax(model(input_ids=ids).logits[0, -1].float(), -1)
        assert len(position.logprobs) == 20
        assert position.logprobs.keys() == position.base_logprobs.keys()
        for token_id, value in position.logprobs.items():
            assert math.isclose(float(ours[token_id]), value, abs_tol=1e-4)
            of_base = position.base_logprobs[token_id]
            assert math.isclose(float(base[token_id]), of_base, abs_tol=1e-4)
        gaps.append(
            sum(abs(value - position.base_logprobs[i]) for i, value in position.logprobs.items())
            / 20
        )
    assert min(gaps) > 0.05  # far from the noise of an engine in bf16


def test_the_same_seed_gives_the_same_bytes(world_model: Path, tmp_path: Path) -> None:
    rows = corrections(9, n_validation=1)
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        train.run(job(world_model, tmp_path / name, rows, n_epochs=1, n_replay_rows=8, seed=seed))

    def content(name: str) -> list[bytes]:
        return [
            (tmp_path / name / "adapter" / file).read_bytes()
            for file in ("adapter_model.safetensors", "adapter_config.json", "probe.json")
        ]

    assert content("one") == content("again")
    assert content("one")[0] != content("other")[0]


@pytest.mark.parametrize("share", [trainer.REFERENCE_SHARE, 0.0])
def test_dpo_widens_the_margin_and_keeps_the_chosen_answer_likely(
    world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """With the reference asked before the training, and in each step, as where that takes long."""
    monkeypatch.setattr(trainer, "REFERENCE_SHARE", share)
    task = job(world_model, tmp_path, corrections(10, n_validation=2), method="dpo")
    train.run(task)
    stage = read_manifest(task.out_dir).recipe["stages"][0]
    first, best = stage["first_validation"], stage["best_validation"]
    assert first["eval_rewards/margins"] == pytest.approx(0.0, abs=1e-4)
    assert best["eval_rewards/margins"] > 0.5
    curves = {curve["metric"] for curve in read_curves(task.work_dir / STEPS)}
    assert {"loss", "token accuracy", "preference accuracy", "margin of rewards"} <= curves
    assert best["eval_logps/chosen"] > first["eval_logps/chosen"]
    assert answers(world_model, task.out_dir, [ask("grass", 9)]) == ["grass is green."]


def test_the_reference_s_time_grows_with_rows_and_with_their_length(world_model: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(world_model)
    tokenizer = load_tokenizer(world_model)

    def seconds(n: int, words: int) -> float:
        answer = [{"role": "assistant", "content": "grass " * words}]
        row = {"prompt": ask("grass", 0), "chosen": answer, "rejected": answer}
        return trainer.reference_seconds(model, tokenizer, [row] * n)

    few = min(seconds(10, 10) for _ in range(5))
    assert seconds(1000, 10) > 20 * few
    assert seconds(10, 1000) > 20 * few


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_training_begins_from_the_champion_where_it_has_the_same_shape(
    world_model: Path, mended: train.Job, tmp_path: Path, method: str
) -> None:
    rows = corrections(12, n_validation=2)

    def begun(name: str, **settings: Any) -> tuple[train.Job, list[str]]:
        events: list[Mapping[str, Any]] = []
        task = job(world_model, tmp_path / name, rows, method=method, **settings)
        task = replace(task, champion_dir=mended.out_dir)
        train.run(task, events.append)
        return task, [str(event["note"]) for event in events if event.get("stage") == "start"]

    def first_loss(task: train.Job) -> float:
        """Of the written answers: "loss" is of replay, too, from which a champion has moved."""
        lines = map(json.loads, (task.work_dir / STEPS).read_text("utf-8").splitlines())
        return next(math.log(line["perplexity"]) for line in lines if "perplexity" in line)

    champion = read_manifest(mended.out_dir)
    going_on, notes = begun("on", start="champion")
    recipe = read_manifest(going_on.out_dir).recipe
    assert notes == []
    assert recipe["start"] == {
        "champion": champion.fingerprint,
        "snapshots": [champion.recipe["snapshot"]["snapshot_id"]],
    }
    assert snapshots_of(recipe) == [*recipe["start"]["snapshots"],
                                    recipe["snapshot"]["snapshot_id"]]  # fmt: skip
    assert answers(world_model, going_on.out_dir, [ask("grass", 9)]) == ["grass is green."]
    of_base, _ = begun("base")
    assert "start" not in read_manifest(of_base.out_dir).recipe
    other, notes = begun("other", start="champion", lora_rank=4)
    assert notes == [
        "from the base and not from the champion: r is 16 there, and 4 by the settings"
    ]
    assert "start" not in read_manifest(other.out_dir).recipe
    if method == "sft":  # what the champion has learned costs little
        assert first_loss(going_on) < 0.1 * min(first_loss(of_base), first_loss(other))
    else:  # it is DPO's reference
        first = recipe["stages"][0]["first_validation"]
        assert first["eval_rewards/margins"] == pytest.approx(0.0, abs=1e-4)


def test_sft_then_dpo_starts_dpo_from_what_sft_left(world_model: Path, tmp_path: Path) -> None:
    task = job(world_model, tmp_path, corrections(10, n_validation=2), method="sft+dpo")
    train.run(task)
    sft, dpo = read_manifest(task.out_dir).recipe["stages"]
    assert (sft["kind"], dpo["kind"]) == ("sft", "dpo")
    # DPO's reference is the model after SFT, so its margin starts at zero there ...
    assert dpo["first_validation"]["eval_rewards/margins"] == pytest.approx(0.0, abs=1e-4)
    assert dpo["best_validation"]["eval_rewards/margins"] > 0.1
    # ... and what SFT has learnt is not lost.
    assert answers(world_model, task.out_dir, [ask("grass", 9)]) == ["grass is green."]


def test_a_reference_has_no_dropout_while_the_model_is_trained(untrained_model: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(untrained_model, dtype=torch.float32)
    config = LoraConfig(
        lora_dropout=0.5, target_modules=["q_proj", "up_proj"], init_lora_weights=False
    )
    model = get_peft_model(base, config)
    model.add_adapter("ref", config)
    trainer.without_dropout(model, "ref")
    model.train()
    ids = torch.arange(20)[None]
    for adapter, is_still in (("ref", True), ("default", False)):
        model.set_adapter(adapter)
        one, other = (model(input_ids=ids).logits for _ in range(2))
        assert torch.equal(one, other) == is_still


def test_dpo_after_sft_is_not_taught_to_end_where_replay_was_cut(
    world_model: Path, tmp_path: Path
) -> None:
    task = job(
        world_model, tmp_path, corrections(8), method="sft+dpo", n_epochs=1, n_replay_rows=16
    )

    def base(prompts: Sequence[list[Message]]) -> list[Answer]:
        return [Answer("Ash is grey, and", is_finished=False) for _ in prompts]

    path = answers_path(task.replay_dir, task.base_fingerprint)
    fill_answers(path, to_replay(has_system=True), base)
    train.run(task)
    rows = read_manifest(task.out_dir).recipe["rows"]
    assert rows["sft"]["replay"] > rows["dpo"]["replay"] == 0


def test_kto_makes_liked_answers_likelier_than_disliked_ones(
    world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for i in range(10):
        split = "validation" if i > 7 else "train"
        rows += [
            row("unpaired", "grass", i, split, completion="grass is red.", label=False),
            row("unpaired", "grass", i, split, completion="grass is green.", label=True),
        ]
    task = job(world_model, tmp_path / "before", rows)
    assert task.plan.method == "kto"
    events: list[Mapping[str, Any]] = []
    train.run(task, events.append)
    # The reference is asked before the training; in each step it says the same.
    assert "kto reference" in [event.get("stage") for event in events]
    monkeypatch.setattr(trainer, "REFERENCE_SHARE", 0.0)
    each_step = job(world_model, tmp_path / "each", rows)
    train.run(each_step)
    said, said_each = (
        [
            (line["step"], line[name])
            for line in map(json.loads, (one.work_dir / STEPS).read_text("utf-8").splitlines())
            for name in ("loss", "eval_loss", "kl", "rewards/margins")
            if name in line
        ]
        for one in (task, each_step)
    )
    assert len(said) > 10
    assert said == [(step, pytest.approx(value, abs=1e-3)) for step, value in said_each]
    stage = read_manifest(task.out_dir).recipe["stages"][0]
    best = stage["best_validation"]
    assert best["eval_rewards/chosen"] > best["eval_rewards/rejected"] + 0.1
    assert _logprob(world_model, task.out_dir, "grass is green.") > _logprob(
        world_model, None, "grass is green."
    )
    assert _logprob(world_model, task.out_dir, "grass is red.") < _logprob(
        world_model, None, "grass is red."
    )


def _logprob(model_dir: Path, adapter_dir: Path | None, answer: str) -> float:
    """Log-probability of an answer to "What is the colour of grass?"."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from refine.datasets import encode_answer

    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    if adapter_dir is not None:
        model = PeftModel.from_pretrained(model, str(adapter_dir))
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    ids, n_prompt = encode_answer(tokenizer, ask("grass", 8), answer, tokenizer.eos_token_id)
    with torch.no_grad():
        logs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
    return sum(float(logs[i - 1, ids[i]]) for i in range(n_prompt, len(ids)))


def test_sft_stops_when_its_corrections_are_learned(world_model: Path, tmp_path: Path) -> None:
    task = job(world_model, tmp_path, corrections(9), n_epochs=60, n_replay_rows=8)
    train.run(task)
    stage = read_manifest(task.out_dir).recipe["stages"][0]
    assert stage["stopped_because"] == "learned"
    assert stage["learned"] >= LEARNED
    assert stage["n_steps"] < stage["max_steps"] / 2
    assert (
        answers(world_model, task.out_dir, [ask("grass", i) for i in range(9)])
        == ["grass is green."] * 9
    )


def test_contradictions_do_not_keep_training_going(world_model: Path, tmp_path: Path) -> None:
    """A third of the corrections says otherwise about the same questions."""
    grey = [row("sft", "grass", i, completion="grass is grey.") for i in range(4)]
    task = job(world_model, tmp_path, corrections(9) + grey, n_epochs=500, n_replay_rows=0)
    train.run(task)
    stage = read_manifest(task.out_dir).recipe["stages"][0]
    assert stage["stopped_because"] == "learns no more"
    assert 0.5 < stage["learned"] < LEARNED
    assert stage["n_steps"] < stage["max_steps"] / 2


def test_kto_begins_at_a_champion_that_was_trained_with_dropout(
    world_model: Path, tmp_path: Path
) -> None:
    """Its reference is the champion as it answers, without dropout."""
    options = {"lora_dropout": 0.5, "n_replay_rows": 0}
    champion = job(world_model, tmp_path / "champion", corrections(8), n_epochs=10, **options)
    train.run(champion)
    task = job(world_model, tmp_path / "on", rows_of("kto"), method="kto", start="champion",
               n_epochs=2, **options)  # fmt: skip
    train.run(replace(task, champion_dir=champion.out_dir))
    recipe = read_manifest(task.out_dir).recipe
    assert recipe["start"]["champion"] == read_manifest(champion.out_dir).fingerprint
    first = recipe["stages"][0]["first_validation"]
    assert first["eval_rewards/chosen"] == pytest.approx(0.0, abs=1e-4)
    assert first["eval_rewards/rejected"] == pytest.approx(0.0, abs=1e-4)


def test_training_ends_when_its_time_is_over(world_model: Path, tmp_path: Path) -> None:
    slow = {"learning_rate": 1e-7, "n_epochs": 100_000, "max_minutes": 0.05}
    task = job(world_model, tmp_path, corrections(9), n_replay_rows=0, **slow)
    train.run(task)
    stage = read_manifest(task.out_dir).recipe["stages"][0]
    assert stage["stopped_because"] == "out of time"
    assert stage["n_steps"] < stage["max_steps"] / 2


def test_sft_leaves_half_of_the_time_to_dpo(world_model: Path, tmp_path: Path) -> None:
    slow = {"learning_rate": 1e-7, "n_epochs": 100_000, "max_minutes": 0.3}
    task = job(world_model, tmp_path, corrections(9), n_replay_rows=0, method="sft+dpo", **slow)
    train.run(task)
    sft, dpo = read_manifest(task.out_dir).recipe["stages"]
    assert (sft["stopped_because"], dpo["stopped_because"]) == ("out of time", "out of time")
    assert dpo["n_steps"] > 1
    assert sft["seconds"] < 0.75 * 60 * 0.3


def test_a_machine_that_was_busy_for_a_while_does_not_end_a_training(
    world_model: Path, tmp_path: Path
) -> None:
    """The first two steps say that the rest of an epoch takes too long."""
    options = {"n_epochs": 4, "batch_size": 1, "n_replay_rows": 20, "max_minutes": 0.45}
    task = job(world_model, tmp_path, corrections(9), **options)

    def busy(event: dict[str, Any]) -> None:
        if event.get("step") == 1 and "fraction" in event:
            time.sleep(4.5)

    train.run(task, busy)
    stage = read_manifest(task.out_dir).recipe["stages"][0]
    assert stage["stopped_because"] != "out of time"
    assert stage["n_steps"] > 2 * stage["max_steps"] / 4


def test_rows_that_can_not_be_trained_whole_are_counted_in_the_recipe(
    world_model: Path, tmp_path: Path
) -> None:
    rows = [*corrections(9), row("sft", "snow", 0, completion="white " * 200),
            row("sft", "snow", 1, completion="White.", tools=[{"type": "function"}])]  # fmt: skip
    task = job(world_model, tmp_path, rows, n_epochs=1, n_replay_rows=4, max_length_tokens=64)
    train.run(task)
    counts = read_manifest(task.out_dir).recipe["rows"]["sft"]
    assert counts["left_out"]["longer than 64 tokens"] == 1
    assert counts["left_out"]["tools, which the base does not know"] == 1
    assert counts["longest_tokens"] <= 64


def test_rows_that_can_not_be_encoded_do_not_end_a_training_that_is_done(
    world_model: Path, tmp_path: Path
) -> None:
    """The template refuses two turns of one role in a row, as Mistral's and Gemma's do."""
    model_dir = shutil.copytree(world_model, tmp_path / "model")
    template = model_dir / "chat_template.jinja"
    template.write_text(
        "{% for m in messages %}{% if loop.index0 and m['role'] == messages[loop.index0 - 1]"
        "['role'] %}{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
        + template.read_text()
    )
    refused = row("sft", "snow", 0, completion="snow is white.")
    refused.prompt.append({"role": "user", "content": "Please!"})
    task = job(model_dir, tmp_path, [*corrections(9), refused], n_epochs=1, n_replay_rows=4)
    train.run(task)
    counts = read_manifest(task.out_dir).recipe["rows"]["sft"]
    assert counts["left_out"]["chat template refuses the conversation"] == 1


def test_nothing_left_to_train_on_is_an_error(world_model: Path, tmp_path: Path) -> None:
    task = job(world_model, tmp_path, corrections(9), max_length_tokens=3, n_replay_rows=0)
    with pytest.raises(PawlError, match="longer than 3 tokens"):
        train.run(task)
    assert not task.out_dir.exists()
    long = [replace(one, rejected="no " * 99) if one.kind == "pair" else one
            for one in corrections(9)]  # fmt: skip
    options = {"method": "sft+dpo", "max_length_tokens": 50, "n_replay_rows": 0}
    task = job(world_model, tmp_path / "later", long, **options)
    with pytest.raises(PawlError, match=r"no rows are left for dpo.*longer than 50 tokens': 9"):
        train.run(task)
    assert not (task.work_dir / STEPS).exists()  # said before SFT takes its time


@pytest.mark.filterwarnings("ignore")
def test_a_loss_that_is_no_number_is_an_error(world_model: Path, tmp_path: Path) -> None:
    task = job(world_model, tmp_path, corrections(9), learning_rate=1e30, n_replay_rows=0)
    with pytest.raises(PawlError, match=r"became (nan|inf).*learning_rate"):
        train.run(task)
    assert not task.out_dir.exists()


def test_the_holdout_never_reaches_training(world_model: Path, tmp_path: Path) -> None:
    """With and without holdout rows the same adapter comes out."""
    held = [
        row("regression", "ash", i, "holdout", chosen="ash is blue.", rejected="ash is grey.")
        for i in range(9)
    ]
    short = {"n_epochs": 1, "n_replay_rows": 4}
    train.run(job(world_model, tmp_path / "a", corrections(9), **short))
    train.run(job(world_model, tmp_path / "b", corrections(9) + held, **short))
    one, other = (tmp_path / name / "adapter" / "adapter_model.safetensors" for name in "ab")
    assert one.read_bytes() == other.read_bytes()


def test_a_finished_adapter_is_never_overwritten(mended: train.Job) -> None:
    with pytest.raises(PawlError, match="finished adapter"):
        train.run(mended)


def test_a_killed_training_leaves_nothing_and_can_be_run_again(
    world_model: Path, tmp_path: Path
) -> None:
    task = job(world_model, tmp_path, corrections(10, n_validation=2), n_epochs=200)
    child = subprocess.Popen(
        [sys.executable, "-m", "refine.train", str(train.write_job(task))],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert child.stdout is not None
    for line in child.stdout:  # let it get into the second epoch, where a checkpoint exists
        if line.startswith("{") and json.loads(line).get("fraction", 0) > 0.01:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert not task.out_dir.exists()

    short = job(world_model, tmp_path, corrections(10, n_validation=2), n_epochs=1)
    train.run(short)
    assert read_manifest(short.out_dir).recipe["stages"][0]["n_steps"] > 0
    assert not list(task.work_dir.rglob("checkpoint-*"))


def test_training_ends_with_the_process_that_started_it(world_model: Path, tmp_path: Path) -> None:
    task = job(world_model, tmp_path, corrections(9), n_epochs=500)
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'refine.train', *sys.argv[1:],"
        " '--parent-pid', str(os.getpid())], stderr=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(train.write_job(task))],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    deadline = time.monotonic() + 60
    while not (task.work_dir / "train.lock").exists():
        assert time.monotonic() < deadline, "the training never began"
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    while _alive(pid):
        assert time.monotonic() < deadline, "the training outlived its parent"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8")
        return "Z" not in stat.rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_liked_answers_are_trained_with_the_champions_system_prompt(
    world_model: Path, tmp_path: Path
) -> None:
    system, thing = "You talk about colours alone.", "chocolate"  # the longest of all rows
    liked = [row("unpaired", thing, 3, completion=says(thing, "brown" * 9), label=True)]
    task = job(world_model, tmp_path, corrections(9) + liked, n_replay_rows=0)
    events = run_until(replace(task, system_prompt=system), lambda one: "longest_tokens" in one)
    encode = encoder_of(load_tokenizer(world_model))
    prompt = asked_with(system, liked[0].prompt)
    taught, _ = encode(prompt, str(liked[0].completion), [])
    assert events[-1]["longest_tokens"] == len(taught)


@pytest.mark.parametrize(
    ("batch_size", "longest", "pass_rows"),
    [
        (16, 10, 16),
        (16, 100, 8),
        (16, 900, 4),
        (10, 100, 10),
        (10, 150, 5),
        (6, 300, 6),
        (7, 900, 7),
    ],
)
def test_passes_of_kto_make_the_batch_that_is_set(
    batch_size: int, longest: int, pass_rows: int
) -> None:
    """1,000 tokens fit into a pass, and fewer than 4 rows are none."""
    stage = Stage("kto", 1e-4, 1.0, batch_size)
    assert trainer._pass_rows(stage, longest, 1000) == pass_rows


def test_a_plan_with_too_small_a_batch_for_kto_is_refused() -> None:
    """An earlier version made it 4 without a word."""
    with pytest.raises(PawlError, match="a batch of 3 rows is too small for KTO"):
        trainer._pass_rows(Stage("kto", 1e-4, 1.0, 3), 10, 1000)
