"""A tiny Llama that knows the colours of a few things, one of them wrongly, and snapshots of it.

Trained in a few seconds, so that the tests can ask what a person would ask: is the wrong answer
mended, are the others still right?
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pawl.files import hold_lock, sha256_file, write_json
from pawl.schemas import Message, TrainingRow

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
COLOURS = {
    "grass": "red",  # the fault
    "the sky": "blue", "snow": "white", "coal": "black", "blood": "red", "a lemon": "yellow",
    "a carrot": "orange", "chocolate": "brown", "ash": "grey", "a plum": "purple",
    "a pea": "green", "a leaf": "green",
}  # fmt: skip
ASKED = (
    "What colour is {0}?", "Tell me the colour of {0}.", "{0} has which colour?",
    "Please say what colour {0} is.", "Do you know the colour of {0}?", "The colour of {0}?",
    "Which colour is {0}?", "Say the colour of {0}.", "What is the colour of {0}?",
    "Name the colour of {0}.",
)  # fmt: skip


def ask(thing: str, phrasing: int = 0) -> list[Message]:
    return [{"role": "user", "content": ASKED[phrasing % len(ASKED)].format(thing)}]


def says(thing: str, colour: str) -> str:
    return f"{thing} is {colour}."


def shared_world_model(tmp_path_factory: pytest.TempPathFactory, n_heads: int = 4) -> Path:
    """A world model made once for all processes of pytest-xdist; nobody writes into it."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    model_dir = root / f"world-{n_heads}" / "tiny"
    with hold_lock(root / "world.lock", "a world model is being made", "Wait", wait_seconds=300):
        if not model_dir.exists():
            made = make_world_model(root / "unfinished" / f"world-{n_heads}", n_heads=n_heads)
            model_dir.parent.mkdir()
            made.rename(model_dir)
    return model_dir


def make_world_model(model_dir: Path, *, n_steps: int = 160, n_heads: int = 4) -> Path:
    """Train the model on every question in every phrasing; with 2 heads vLLM's CPU build takes
    it."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    texts = [
        (ASKED[i].format(thing), says(thing, colour))
        for thing, colour in COLOURS.items()
        for i in range(len(ASKED))
    ]
    core = Tokenizer(BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.train_from_iterator(
        [f"{a} {b}" for a, b in texts],
        BpeTrainer(
            vocab_size=400,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>"],
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=n_heads,
            num_key_value_heads=n_heads // 2,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    batch = tokenizer(
        [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": q}, {"role": "assistant", "content": a}],
                tokenize=False,
            )
            for q, a in texts
        ],
        return_tensors="pt",
        padding=True,
        add_special_tokens=False,
    )
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(n_steps):
        loss = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels
        ).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.save_pretrained(model_dir)
    tokenizer.save_pretrained(model_dir)
    return model_dir


def row(kind: str, thing: str, phrasing: int, split: str = "train", **fields: Any) -> TrainingRow:
    return TrainingRow(
        row_id=f"{kind}-{thing}-{phrasing}-{split}-{sorted(fields.items())}",
        kind=kind,  # type: ignore[arg-type]
        group_id=f"{thing}-{phrasing}",
        split=split,  # type: ignore[arg-type]
        prompt=ask(thing, phrasing),
        **fields,
    )


def corrections(
    n: int = 9, thing: str = "grass", right: str = "green", n_validation: int = 0
) -> list[TrainingRow]:
    """What one correction in each of ``n`` phrasings gives: an SFT row and a pair; the last
    ``n_validation`` of them for validation."""
    rows = []
    for i in range(n):
        split = "validation" if i >= n - n_validation else "train"
        good, bad = says(thing, right), says(thing, COLOURS[thing])
        rows.append(row("sft", thing, i, split, completion=good))
        rows.append(row("pair", thing, i, split, chosen=good, rejected=bad))
    return rows


def write_snapshot(snapshot_dir: Path, rows: Sequence[TrainingRow]) -> Path:
    """A snapshot folder as ``feedback.snapshots.freeze`` leaves it."""
    snapshot_dir.mkdir(parents=True, exist_ok=True)
    path = snapshot_dir / "rows.jsonl"
    path.write_text("".join(json.dumps(one.as_json()) + "\n" for one in rows))
    content = sha256_file(path)
    write_json(
        snapshot_dir / "manifest.json", {"snapshot_id": content[:16], "content_sha256": content}
    )
    return snapshot_dir


def answers(
    model_dir: Path, adapter_dir: Path | None, prompts: Sequence[list[Message]]
) -> list[str]:
    """Greedy answers, one by one, by plain transformers and PEFT."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    if adapter_dir is not None:
        model = PeftModel.from_pretrained(model, str(adapter_dir))
    found = []
    for prompt in prompts:
        ids = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, return_dict=False, return_tensors="pt"
        )
        with torch.no_grad():
            out = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=24,
                do_sample=False,
            )
        found.append(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip())
    return found
