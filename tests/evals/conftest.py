"""Small working models, adapters and question sets for the tests of this room."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from evals.reasons import GateRules
from evals.suites import Suite, load
from pawl.models import BaseModel
from pawl.schemas import ItemScore, TrainingRow

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SUBJECTS = ("plurals", "sums", "capitals")
SUITE = """
name: tiny
margin: 0.03
margin_anchor: 0.06
benchmarks:
  - {name: arc, task: arc_easy, data: arc.jsonl}
  - {name: hellaswag, task: hellaswag, data: hellaswag.jsonl, metric: acc_norm}
  - {name: subjects, yaml: subjects.yaml, data: subjects, cluster: subject}
  - {name: mc1, task: truthfulqa_mc1, data: truthfulqa.jsonl}
  - {name: mc2, task: truthfulqa_mc2, data: truthfulqa.jsonl}
"""
SUBJECTS_TASK = """
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""
FINGERPRINT = "sha256:tiny"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    """A random Llama with a context of 2,048 tokens."""
    folder = make_model(tmp_path_factory.mktemp("model"), max_length_tokens=2048)
    return BaseModel("tiny", folder, None, FINGERPRINT, "LlamaForCausalLM", 2048)


@pytest.fixture(scope="session")
def adapter_dir(tmp_path_factory: pytest.TempPathFactory, model: BaseModel) -> Path:
    """A random adapter strong enough to change answers."""
    return make_adapter(tmp_path_factory.mktemp("adapter"), model.model_dir)


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """A small suite with data of its own, and one task file of its own."""
    return load(make_suite(tmp_path_factory.mktemp("suite")))


@pytest.fixture(scope="session")
def snapshot_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot with six regression rows in three conversations."""
    return make_snapshot(tmp_path_factory.mktemp("snapshots"))


@pytest.fixture
def rules() -> GateRules:
    """Margins of 3 points a night and 6 below the anchor."""
    return GateRules(margin=0.03, margin_anchor=0.06, alpha=0.05)


def bits(benchmark: str, scores: list[float | None], *, per_cluster: int = 1) -> list[ItemScore]:
    """Item scores with ids 0, 1, 2... and a cluster for every ``per_cluster`` neighbours."""
    return [
        ItemScore(
            benchmark,
            str(i),
            score,
            f"c{i // per_cluster}",
            None if score is not None else "it broke",
        )
        for i, score in enumerate(scores)
    ]


def placebos_of(items: list[ItemScore], n: int = 8) -> list[ItemScore]:
    """Random changes of a champion: every other one gets one flagged prompt right."""
    people = [item for item in items if item.benchmark in ("holdout", "holdout__controls")]
    made = []
    for number in range(1, n + 1):
        wrong = [item for item in people if item.score == 0.0]
        fixed = wrong[number % len(wrong)].item_id if wrong and number % 2 else ""
        made += [
            replace(
                item,
                benchmark=f"holdout__placebo{number}",
                score=1.0 if item.item_id == fixed else item.score,
            )
            for item in people
        ]
    return made


def make_model(model_dir: Path, *, seed: int = 0, max_length_tokens: int = 512) -> Path:
    """A random Llama of 2 layers with a byte-level tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    vocab = {token: index for index, token in enumerate(specials + alphabet)}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|end|>", bos_token="<|end|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocab),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=max_length_tokens,
            initializer_range=0.3,
            tie_word_embeddings=False,
            bos_token_id=0,
            eos_token_id=0,
        )
    )
    model.save_pretrained(model_dir)
    fast.save_pretrained(model_dir)
    return model_dir


def make_adapter(
    adapter_dir: Path,
    model_dir: Path,
    *,
    seed: int = 1,
    strength: float = 0.3,
) -> Path:
    """A random LoRA on all linear layers, finished with probe and manifest; NaN if asked."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM

    from pawl.adapters import ProbePosition, write_manifest, write_probe

    torch.manual_seed(seed)
    peft = get_peft_model(
        LlamaForCausalLM.from_pretrained(model_dir),
        LoraConfig(
            r=4,
            lora_alpha=8,
            task_type="CAUSAL_LM",
            target_modules=[
                "q_proj",
                "k_proj",
                "v_proj",
                "o_proj",
                "gate_proj",
                "up_proj",
                "down_proj",
            ],
        ),
    )
    for name, value in peft.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value, std=1.0)
            value.data *= strength
    peft.save_pretrained(adapter_dir)
    write_probe(adapter_dir, [ProbePosition([1], {2: -1.0}, {2: -1.5})])
    write_manifest(adapter_dir, base_model="tiny", base_fingerprint=FINGERPRINT, recipe={})
    return adapter_dir


def make_suite(folder: Path, *, n_items: int = 24, seed: int = 0) -> Path:
    """A suite of four sets in the schemas of ARC, HellaSwag, MMLU and TruthfulQA."""
    (folder / "suite.yaml").write_text(SUITE)
    (folder / "subjects.yaml").write_text(SUBJECTS_TASK)
    rng = random.Random(seed)
    words = ["cat", "stone", "river", "lamp", "seven", "blue", "Paris", "never", "goose", "tea"]

    def some(n: int) -> list[str]:
        return [" ".join(rng.sample(words, rng.randint(1, 3))) for _ in range(n)]

    arc, hella, truth = [], [], []
    for i in range(n_items):
        arc.append(
            {
                "id": f"a{i}",
                "question": f"Which one is number {i}?",
                "answerKey": "B",
                "choices": {"text": some(4), "label": ["A", "B", "C", "D"]},
            }
        )
        hella.append(
            {
                "ind": i,
                "activity_label": "Tea",
                "ctx_a": f"She boils {i} cups.",
                "ctx_b": "she",
                "ctx": f"She boils {i} cups. she",
                "endings": some(4),
                "source_id": f"s{i}",
                "split": "val",
                "split_type": "indomain",
                "label": str(rng.randrange(4)),
            }
        )
        right, wrong = some(2), some(3)
        truth.append(
            {
                "question": f"Is it true about {i}?",
                "mc1_targets": {"choices": [right[0], *wrong], "labels": [1, 0, 0, 0]},
                "mc2_targets": {"choices": [*right, *wrong], "labels": [1, 1, 0, 0, 0]},
            }
        )
    _write(folder / "arc.jsonl", arc)
    _write(folder / "hellaswag.jsonl", hella)
    _write(folder / "truthfulqa.jsonl", truth)
    for n, subject in enumerate(SUBJECTS):
        _write(
            folder / "subjects" / f"{subject}.jsonl",
            [
                {
                    "question": f"What of {subject} {i}?",
                    "subject": subject,
                    "choices": some(4),
                    "answer": rng.randrange(4),
                }
                for i in range(n_items // 2 + n)
            ],
        )
    return folder


def make_hub(data_dir: Path, suite_folder: Path) -> Path:
    """A folder laid out as the hub with ARC-Easy and MMLU, of a suite's few items."""
    from evals.tasks import _members

    arc = (suite_folder / "arc.jsonl").read_text()
    _make_data_set(data_dir / "allenai" / "ai2_arc", {"ARC-Easy": arc})
    rows = (suite_folder / "subjects" / "sums.jsonl").read_text()
    subjects = [name.removeprefix("mmlu_") for name in _members("mmlu")]
    _make_data_set(
        data_dir / "cais" / "mmlu", {name: rows.replace('"sums"', f'"{name}"') for name in subjects}
    )
    return data_dir


def make_audits(data_dir: Path, n_pairs: int = 30) -> Path:
    """A folder laid out as the hub with a few made-up items in the columns of CrowS-Pairs and BBQ;
    half of BBQ's say in their context who it was."""
    sentences = [
        {
            "id": i,
            "sent_more": f"Old people forget {i} names.",
            "sent_less": f"Young people forget {i} names.",
            "stereo_antistereo": "stereo",
            "bias_type": "age",
        }
        for i in range(n_pairs)
    ]
    questions = [
        {
            "example_id": i,
            "question_index": str(i // 4),
            "question_polarity": ("neg", "nonneg")[i // 2 % 2],
            "context_condition": ("ambig", "disambig")[i % 2],
            "category": "Age",
            "answer_info": {
                "ans0": ["grandfather", "old"],
                "ans1": ["grandson", "nonOld"],
                "ans2": ["Unknown", "unknown"],
            },
            "additional_metadata": {
                "subcategory": "None",
                "stereotyped_groups": ["old"],
                "version": "a",
                "source": "",
            },
            "context": f"A grandfather and his grandson came to shop {i}.",
            "question": ("Who forgot the way?", "Who knew the way?")[i // 2 % 2],
            "ans0": "The grandfather",
            "ans1": "The grandson",
            "ans2": "Unknown",
            "label": 2 if i % 2 == 0 else 1,
        }
        for i in range(2 * n_pairs)
    ]
    for name, config, rows in (
        ("jannalu/crows_pairs_multilingual", "english", sentences),
        ("oskarvanderwal/bbq", "All", questions),
    ):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        _make_data_set(data_dir / name, {config: text})
    return data_dir


def _make_data_set(folder: Path, configs: dict[str, str]) -> None:
    card = ["---", "configs:"]
    for name, rows in configs.items():
        card += [f"- config_name: {name}", "  data_files:"]
        for split in ("train", "validation", "dev", "test"):
            card += [f"  - split: {split}", f"    path: {name}/rows.jsonl"]
        (folder / name).mkdir(parents=True)
        (folder / name / "rows.jsonl").write_text(rows)
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))


def make_snapshot(snapshots_dir: Path, n_rows: int = 6) -> Path:
    """A frozen snapshot with ``n_rows`` regression rows, two in each conversation."""
    from feedback.curation import Curated
    from feedback.snapshots import freeze

    rows = [
        TrainingRow(
            row_id=f"h{i}",
            kind="regression",
            group_id=f"g{i // 2}",
            split="holdout",
            prompt=[{"role": "user", "content": f"What is {i}?"}],
            chosen=f"It is {i}.",
            rejected="It is a goose, is it not?",
            categories=["incorrect"],
        )
        for i in range(n_rows)
    ]
    return Path(freeze(Curated(rows, []), snapshots_dir)["dir"])


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
