"""The scoring child on a tiny model, by lm-eval's own task code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from evals.gate import decide
from evals.reasons import GateRules
from evals.runner import Scores, read_scores, score
from evals.suites import Suite, draw, load
from pawl.adapters import write_manifest
from pawl.base_checks import check_base
from pawl.errors import PawlError
from pawl.models import BaseModel
from tests.evals.conftest import CHAT_TEMPLATE, make_hub

pytestmark = pytest.mark.slow

N_ITEMS = 20


@pytest.fixture(scope="module")
def scores_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def arguments(suite: Suite, scores_dir: Path) -> dict[str, Any]:
    return {"suite": suite, "scores_dir": scores_dir, "n_threads": 1}


@pytest.fixture(scope="module")
def champion(model: BaseModel, arguments: dict[str, Any], snapshot_dir: Path) -> Scores:
    return score(model, None, n_items=N_ITEMS, snapshot_dir=snapshot_dir, **arguments)


@pytest.fixture(scope="module")
def challenger(
    model: BaseModel, adapter_dir: Path, arguments: dict[str, Any], snapshot_dir: Path
) -> Scores:
    return score(
        model,
        adapter_dir,
        n_items=N_ITEMS,
        snapshot_dir=snapshot_dir,
        beside_engine=True,
        **arguments,
    )


def test_items_are_lm_evals_to_the_last_one(
    challenger: Scores, model: BaseModel, adapter_dir: Path, suite: Suite, tmp_path: Path
) -> None:
    """The same items by lm-eval's own ``hf`` model, adapter not merged, one sequence a row."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM

    from evals.tasks import load_tasks

    loaded = load_tasks(suite, work_dir=tmp_path)
    samples: dict[str, list[int]] = {}
    for benchmark in suite.benchmarks:
        samples |= draw(loaded.of(benchmark), N_ITEMS, 0)
    plain = HFLM(
        pretrained=str(model.model_dir),
        peft=str(adapter_dir),
        dtype="float32",
        device="cpu",
        batch_size=8,
    )
    results = lm_eval.evaluate(
        lm=plain,
        task_dict={"tasks": {name: loaded.tasks[name] for name in samples}},
        samples=samples,
        bootstrap_iters=0,
        log_samples=True,
    )
    ours = {(item.benchmark, item.item_id): item for item in challenger.items}
    n_compared = 0
    for task in samples:
        benchmark = loaded.benchmarks[task]
        scores = []
        for sample in results["samples"][task]:
            item = ours[benchmark.name, f"{sample['doc_id']}-{sample['doc_hash'][:8]}"]
            theirs = [float(response[0]) for response in sample["filtered_resps"]]
            assert item.detail["logprobs"] == pytest.approx(theirs, abs=2e-3)
            assert item.score == pytest.approx(float(sample[benchmark.metric]), abs=1e-4)
            assert item.cluster == sample["doc"].get("subject", item.item_id)
            scores.append(item.score)
            n_compared += 1
        aggregate = results["results"][task][f"{benchmark.metric},none"]
        assert sum(scores) / len(scores) == pytest.approx(float(aggregate), abs=1e-4)
    assert n_compared == 5 * N_ITEMS


def test_the_adapter_is_applied_and_both_see_the_same_items(
    champion: Scores, challenger: Scores
) -> None:
    assert challenger.manifest["parts"]["benchmarks"]["n_lora_modules"] == 14
    assert champion.manifest["parts"]["benchmarks"]["n_lora_modules"] == 0
    assert challenger.manifest["parts"]["benchmarks"]["method"] == "prefix tree"
    for a, b in zip(champion.items, challenger.items, strict=True):
        assert (a.benchmark, a.item_id, a.cluster) == (b.benchmark, b.item_id, b.cluster)
        key = "logprobs" if "logprobs" in a.detail else "correction_logprob"
        assert a.detail[key] != b.detail[key]
    assert {item.benchmark for item in champion.items} == {
        "arc",
        "hellaswag",
        "subjects",
        "mc1",
        "mc2",
        "holdout",
    }


def test_finished_scores_are_reused_and_only_the_new_holdout_is_scored(
    champion: Scores,
    model: BaseModel,
    arguments: dict[str, Any],
    snapshot_dir: Path,
    tmp_path: Path,
) -> None:
    stages: list[str] = []
    again = score(
        model,
        None,
        n_items=N_ITEMS,
        snapshot_dir=snapshot_dir,
        **arguments,
        out_dir=tmp_path / "champion",
        on_event=lambda event: stages.append(event["stage"]),
    )
    assert stages == []
    assert again.items == champion.items
    assert again.manifest["reused"] == ["benchmarks", "holdout"]
    assert again.manifest["seconds"] == 0
    assert read_scores(tmp_path / "champion").items == champion.items
    alone = score(model, None, n_items=N_ITEMS, **arguments)
    assert alone.manifest["reused"] == ["benchmarks"]
    assert len(alone.items) == 5 * N_ITEMS


def test_people_s_prompts_are_asked_with_the_night_s_date(
    model: BaseModel, arguments: dict[str, Any], snapshot_dir: Path, tmp_path: Path
) -> None:
    dated = tmp_path / "dated"
    shutil.copytree(model.model_dir, dated)
    template = "{{ strftime_now('%d %b') }}" + CHAT_TEMPLATE
    (dated / "chat_template.jinja").write_text(template)
    base = replace(model, model_dir=dated, check=check_base(dated), fingerprint="sha256:dated")
    what = arguments | {"benchmarks": False, "snapshot_dir": snapshot_dir}
    leap, later, again = (
        score(base, None, today=day, **what) for day in ("2024-02-29", "2024-03-01", "2024-02-29")
    )
    said = [[item.detail["correction_logprob"] for item in one.items] for one in (leap, later)]
    assert all(a != b for a, b in zip(*said, strict=True))
    assert (leap.manifest["reused"], later.manifest["reused"]) == ([], [])
    assert again.manifest["reused"] == ["holdout"]


def test_weights_of_nan_give_errors_and_no_verdict(
    champion: Scores,
    model: BaseModel,
    adapter_dir: Path,
    arguments: dict[str, Any],
    snapshot_dir: Path,
    tmp_path: Path,
) -> None:
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "nan"
    shutil.copytree(adapter_dir, broken)
    weights = load_file(broken / "adapter_model.safetensors")
    save_file(
        {k: v * float("nan") for k, v in weights.items()}, broken / "adapter_model.safetensors"
    )
    write_manifest(broken, base_model="tiny", base_fingerprint=model.fingerprint, recipe={})
    scores = score(model, broken, n_items=N_ITEMS, snapshot_dir=snapshot_dir, **arguments)
    assert all(item.score is None and item.error for item in scores.items)
    verdict = decide(champion.items, scores.items, GateRules(0.03, 0.06), None)
    assert verdict.outcome == "no_verdict"
    assert "not a finite number" in verdict.reasons[0]


def test_a_killed_child_leaves_nothing_and_says_how_it_ended(
    model: BaseModel, arguments: dict[str, Any], tmp_path: Path
) -> None:
    ours = arguments | {"scores_dir": tmp_path / "scores"}

    def kill(event: dict[str, Any]) -> None:
        if event.get("stage") == "loading":
            children = psutil.Process().children()
            (child,) = [one for one in children if "evals.score" in one.cmdline()]
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(PawlError, match="scoring ended with signal 9"):
        score(model, None, n_items=N_ITEMS, on_event=kill, **ours)
    assert not list((tmp_path / "scores").glob("*/manifest.json"))
    assert not list((tmp_path / "scores").glob("scoring-*/"))


def test_bad_data_name_the_task_and_the_cause(
    model: BaseModel, suite: Suite, arguments: dict[str, Any], tmp_path: Path
) -> None:
    broken = tmp_path / "suite"
    shutil.copytree(suite.folder, broken)
    rows = [json.loads(line) for line in (broken / "arc.jsonl").read_text().splitlines()]
    (broken / "arc.jsonl").write_text(
        "".join(
            json.dumps({k: v for k, v in row.items() if k != "answerKey"}) + "\n" for row in rows
        )
    )
    with pytest.raises(PawlError, match="arc can't be loaded") as caught:
        score(
            model,
            None,
            n_items=N_ITEMS,
            **(arguments | {"suite": load(broken), "scores_dir": tmp_path / "scores"}),
        )

    assert not caught.value.retryable  # it would fail again
    assert (tmp_path / "scores" / "scoring.log").exists()


def test_a_hub_that_can_not_be_reached_is_worth_another_try(
    model: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:  # bound and not listening: every connection is refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
        for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(PawlError, match="can't be fetched from the hub") as caught:
            score(model, None, suite=load("official"), scores_dir=tmp_path / "scores", n_items=20)
    assert (caught.value.retryable, caught.value.code) == (True, "hub_unreachable")


@pytest.mark.parametrize("method", ["prefix tree", "one sequence a row"])
def test_the_holdout_is_scored_the_way_that_was_checked(
    model: BaseModel, suite: Suite, snapshot_dir: Path, tmp_path: Path, method: str
) -> None:
    """A model that looks back eight tokens only sees other things in a tree."""
    import torch
    from transformers import AutoTokenizer, MistralConfig, MistralForCausalLM

    folder = tmp_path / "window"
    shutil.copytree(model.model_dir, folder)
    (folder / "model.safetensors").unlink()
    torch.manual_seed(0)
    narrow = MistralForCausalLM(
        MistralConfig(
            vocab_size=260,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.3,
            max_position_embeddings=2048,
            sliding_window=8 if method == "one sequence a row" else None,
        )
    ).eval()
    narrow.save_pretrained(folder)
    scores = score(
        BaseModel("window", folder, None, f"sha256:{method}", "MistralForCausalLM", 2048),
        None,
        suite=suite,
        scores_dir=tmp_path / "scores",
        snapshot_dir=snapshot_dir,
        benchmarks=False,
        n_threads=1,
    )
    assert scores.manifest["parts"]["holdout"]["method"] == method
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for item in scores.items:
        prompt = f"<|user|>{item.detail['prompt'][0]['content']}<|end|><|assistant|>"
        before = tokenizer.encode(prompt)
        after = tokenizer.encode(f"{item.detail['correction']}<|end|>")
        with torch.no_grad():
            logprobs = narrow(torch.tensor([before + after])).logits[0].log_softmax(-1)
        expected = sum(float(logprobs[len(before) - 1 + i, t]) for i, t in enumerate(after))
        assert item.detail["correction_logprob"] == pytest.approx(expected, abs=1e-2)


def test_what_one_child_counted_is_not_counted_twice(
    model: BaseModel, suite: Suite, snapshot_dir: Path, tmp_path: Path
) -> None:
    """A context of 30 tokens cuts every prompt of the benchmarks and holds no holdout row."""
    short = tmp_path / "short"
    shutil.copytree(model.model_dir, short)
    config = json.loads((short / "config.json").read_text()) | {"max_position_embeddings": 30}
    (short / "config.json").write_text(json.dumps(config))
    base = BaseModel("short", short, None, "sha256:30", "LlamaForCausalLM", 30)
    scores = score(
        base,
        None,
        suite=suite,
        scores_dir=tmp_path / "scores",
        snapshot_dir=snapshot_dir,
        n_items=4,
        n_threads=1,
    )
    assert scores.manifest["n_holdout_left_out"] == {"too_long": 6, "refused": 0}
    n_truncated = scores.manifest["n_truncated"]
    assert n_truncated == scores.manifest["parts"]["benchmarks"]["n_truncated"] > 0


def test_a_prompt_longer_than_the_context_is_counted(
    model: BaseModel, suite: Suite, tmp_path: Path
) -> None:
    """TruthfulQA's preamble alone is longer than 300 byte tokens."""
    short = tmp_path / "short"
    shutil.copytree(model.model_dir, short)
    config = json.loads((short / "config.json").read_text()) | {"max_position_embeddings": 300}
    (short / "config.json").write_text(json.dumps(config))
    scores = score(
        BaseModel("short", short, None, "sha256:short", "LlamaForCausalLM", 300),
        None,
        suite=suite,
        scores_dir=tmp_path / "scores",
        n_items=4,
        n_threads=1,
    )
    assert scores.manifest["n_truncated"] == 4 * 4 + 4 * 5  # the choices of mc1 and of mc2
    assert all(item.error is None for item in scores.items)


@pytest.mark.slow
def test_hub_data_are_read_from_a_folder_laid_out_as_the_hub(
    model: BaseModel, suite: Suite, tmp_path: Path
) -> None:
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "suite.yaml").write_text(
        "{name: two, margin: 0.1, margin_anchor: 0.1, benchmarks: ["
        "{name: easy, task: arc_easy, hub: allenai/ai2_arc},"
        "{name: mmlu, task: mmlu, hub: cais/mmlu, cluster: subject}]}"
    )
    scores = score(
        model,
        None,
        suite=load(tmp_path / "suite"),
        data_dir=make_hub(tmp_path / "hub", suite.folder),
        scores_dir=tmp_path / "scores",
        n_items=60,
        n_threads=1,
    )
    by_benchmark = {
        name: [item for item in scores.items if item.benchmark == name] for name in ("easy", "mmlu")
    }
    assert [len(items) for items in by_benchmark.values()] == [24, 60]
    assert scores.manifest["parts"]["benchmarks"]["n_errors"] == 0
    assert len({item.cluster for item in by_benchmark["mmlu"]}) == 57
    for item in by_benchmark["mmlu"]:
        assert item.item_id.startswith(f"mmlu_{item.cluster}/")
