"""Small bases and LoRA adapters, good and bad, that tests offer to the server.

Two kinds. *Light* ones are written with numpy in milliseconds; the toy engine serves them. *Real*
ones are random or trained Llama models that vLLM, transformers and PEFT load.

Over 400 lines: every spoilt adapter is built beside the good one that it is spoilt from.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pawl.adapters import (
    CONFIG,
    MANIFEST,
    WEIGHTS,
    ProbePosition,
    write_manifest,
    write_probe,
)
from pawl.files import read_json, write_json
from pawl.models import BaseModel, resolve_model
from tests.tiny_bases import write_tokenizer

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
HIDDEN, INNER, N_LAYERS, N_HEADS, N_KV_HEADS = 128, 256, 2, 4, 2
Tensors = dict[str, Any]  # numpy arrays by key

# ---- light ones ----


def light_base(model_dir: Path, seed: int = 0) -> BaseModel:
    """A folder that looks like a Llama to every check (its weights are noise)."""
    import numpy as np
    from safetensors.numpy import save_file

    rng = np.random.default_rng(seed)
    model_dir.mkdir(parents=True, exist_ok=True)
    write_json(
        model_dir / "config.json",
        {
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": HIDDEN,
            "intermediate_size": INNER,
            "num_hidden_layers": N_LAYERS,
            "num_attention_heads": N_HEADS,
            "num_key_value_heads": N_KV_HEADS,
            "max_position_embeddings": 512,
        },
    )
    (model_dir / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    write_tokenizer(model_dir)
    save_file(
        {
            f"model.layers.{layer}.{_group(module)}.{module}.weight": rng.standard_normal(
                (n_out, n_in), dtype=np.float32
            )
            for layer in range(N_LAYERS)
            for module, (n_out, n_in) in _widths().items()
        },
        model_dir / "model.safetensors",
    )
    return resolve_model(str(model_dir), cache_dir=model_dir.parent)


def light_tensors(seed: int = 1, *, rank: int = 4, strength: float = 0.5) -> Tensors:
    """Random A and B for every linear layer; ``strength`` 0 leaves the base as it is."""
    import numpy as np

    rng = np.random.default_rng(seed)
    tensors: Tensors = {}
    for layer in range(N_LAYERS):
        for module, (n_out, n_in) in _widths().items():
            key = f"base_model.model.model.layers.{layer}.{_group(module)}.{module}"
            tensors[f"{key}.lora_A.weight"] = rng.standard_normal((rank, n_in), dtype=np.float32)
            tensors[f"{key}.lora_B.weight"] = strength * rng.standard_normal(
                (n_out, rank), dtype=np.float32
            )
    return tensors


def light_adapter(
    adapter_dir: Path,
    base: BaseModel,
    tensors: Tensors | None = None,
    *,
    seed: int = 1,
    rank: int = 4,
    strength: float = 0.5,
    config: dict[str, Any] | None = None,
    probe: Callable[[Path], list[ProbePosition]] | None = None,
) -> Path:
    """A finished adapter folder. ``probe`` says what it answers, given the folder; without one,
    the toy engine's own arithmetic does."""
    from safetensors.numpy import save_file

    adapter_dir.mkdir(parents=True)
    if tensors is None:
        tensors = light_tensors(seed, rank=rank, strength=strength)
    save_file(tensors, adapter_dir / WEIGHTS)
    write_json(
        adapter_dir / CONFIG,
        {
            "peft_type": "LORA",
            "r": rank,
            "lora_alpha": 2 * rank,
            "target_modules": MODULES,
            "bias": "none",
            "task_type": "CAUSAL_LM",
            "init_lora_weights": True,
            **(config or {}),
        },
    )
    if probe is None:
        from tests.serve.toy_engine import toy_probe

        probe = toy_probe
    write_probe(adapter_dir, probe(adapter_dir))
    write_manifest(
        adapter_dir, base_model=base.name, base_fingerprint=base.fingerprint, recipe={"seed": seed}
    )
    return adapter_dir


def _widths() -> dict[str, tuple[int, int]]:
    kv = HIDDEN // N_HEADS * N_KV_HEADS
    return {
        "q_proj": (HIDDEN, HIDDEN),
        "k_proj": (kv, HIDDEN),
        "v_proj": (kv, HIDDEN),
        "o_proj": (HIDDEN, HIDDEN),
        "gate_proj": (INNER, HIDDEN),
        "up_proj": (INNER, HIDDEN),
        "down_proj": (HIDDEN, INNER),
    }


def _group(module: str) -> str:
    return "self_attn" if module in ("q_proj", "k_proj", "v_proj", "o_proj") else "mlp"


# ---- ways to spoil a finished adapter; each keeps all that it does not spoil right ----


def _rehash(adapter_dir: Path) -> None:
    manifest = read_json(adapter_dir / MANIFEST)
    write_manifest(
        adapter_dir,
        base_model=manifest["base_model"],
        base_fingerprint=manifest["base_fingerprint"],
        recipe=manifest["recipe"],
    )


def _edit_tensors(adapter_dir: Path, edit: Callable[[Tensors], None]) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(adapter_dir / WEIGHTS)
    edit(tensors)
    save_file(tensors, adapter_dir / WEIGHTS)
    _rehash(adapter_dir)


def with_nan(adapter_dir: Path) -> None:
    """One weight is NaN."""

    def edit(tensors: Tensors) -> None:
        next(iter(tensors.values()))[0, 0] = float("nan")

    _edit_tensors(adapter_dir, edit)


def with_infinity(adapter_dir: Path) -> None:
    """One weight is infinite."""

    def edit(tensors: Tensors) -> None:
        next(iter(tensors.values()))[-1, -1] = float("-inf")

    _edit_tensors(adapter_dir, edit)


def with_wrong_shape(adapter_dir: Path) -> None:
    """One A is half as wide as the base's layer."""

    def edit(tensors: Tensors) -> None:
        key = next(key for key in tensors if "lora_A" in key)
        tensors[key] = tensors[key][:, ::2].copy()

    _edit_tensors(adapter_dir, edit)


def with_missing_half(adapter_dir: Path) -> None:
    """One A has no B."""

    def edit(tensors: Tensors) -> None:
        del tensors[next(key for key in tensors if "lora_B" in key)]

    _edit_tensors(adapter_dir, edit)


def with_foreign_layer(adapter_dir: Path) -> None:
    """A pair for a layer that the base lacks."""

    def edit(tensors: Tensors) -> None:
        for key in [key for key in tensors if ".layers.0.self_attn.q_proj." in key]:
            tensors[key.replace(".layers.0.", ".layers.99.")] = tensors[key]

    _edit_tensors(adapter_dir, edit)


def with_wrong_base(adapter_dir: Path) -> None:
    """Made for another base."""
    manifest = read_json(adapter_dir / MANIFEST)
    write_manifest(
        adapter_dir,
        base_model="another",
        base_fingerprint="sha256:" + "0" * 64,
        recipe=manifest["recipe"],
    )


def with_truncated_weights(adapter_dir: Path) -> None:
    """The last bytes of the weights are missing, and the manifest agrees with what is left."""
    raw = (adapter_dir / WEIGHTS).read_bytes()
    (adapter_dir / WEIGHTS).write_bytes(raw[:-100])
    _rehash(adapter_dir)


def with_changed_file(adapter_dir: Path) -> None:
    """A weight was changed after the manifest was written."""
    raw = bytearray((adapter_dir / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (adapter_dir / WEIGHTS).write_bytes(raw)


def with_no_manifest(adapter_dir: Path) -> None:
    """Its training never finished."""
    (adapter_dir / MANIFEST).unlink()


def with_linked_weights(adapter_dir: Path) -> None:
    """The weights are a link to a file elsewhere."""
    elsewhere = adapter_dir.parent / f"{adapter_dir.name}-elsewhere.safetensors"
    (adapter_dir / WEIGHTS).rename(elsewhere)
    (adapter_dir / WEIGHTS).symlink_to(elsewhere)


def with_dora(adapter_dir: Path) -> None:
    """A configuration that the engine would ignore."""
    config = read_json(adapter_dir / CONFIG)
    write_json(adapter_dir / CONFIG, {**config, "use_dora": True})
    _rehash(adapter_dir)


def with_huge_header(adapter_dir: Path) -> None:
    """The length of the safetensors header is a lie."""
    raw = (adapter_dir / WEIGHTS).read_bytes()
    (adapter_dir / WEIGHTS).write_bytes(struct.pack("<Q", 2**62) + raw[8:])
    _rehash(adapter_dir)


# name of the spoilt adapter: (what spoils it, words that its refusal must hold)
SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "nan": (with_nan, "NaN"),
    "infinity": (with_infinity, "NaN or infinity"),
    "wrong-shape": (with_wrong_shape, "the base needs"),
    "missing-half": (with_missing_half, "A and B come in pairs"),
    "foreign-layer": (with_foreign_layer, "no linear layer"),
    "wrong-base": (with_wrong_base, "it was trained on another"),
    "truncated": (with_truncated_weights, "not whole safetensors"),
    "changed": (with_changed_file, "has changed"),
    "no-manifest": (with_no_manifest, "no manifest"),
    "linked": (with_linked_weights, "no plain file"),
    "dora": (with_dora, "use_dora"),
    "huge-header": (with_huge_header, "not whole safetensors"),
}

# ---- real ones ----


def real_base(model_dir: Path, seed: int = 0) -> BaseModel:
    """A random Llama with a byte-level tokenizer, in bf16, that vLLM can serve."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    specials = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {token: index for index, token in enumerate(specials + alphabet)}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(specials)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|end|>", eos_token="<|end|>"
    )
    fast.chat_template = CHAT_TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_KV_HEADS,
        max_position_embeddings=1024,
        initializer_range=0.08,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(model_dir)
    fast.save_pretrained(model_dir)
    return resolve_model(str(model_dir), cache_dir=model_dir.parent)


def marker_adapter(
    adapter_dir: Path,
    base: BaseModel,
    marker: str,
    *,
    n_steps: int = 60,
    rank: int = 8,
    seed: int = 0,
    probed_in: str = "auto",
) -> Path:
    """A LoRA trained to answer every chat with ``marker`` over and over, so that an answer tells
    which adapter wrote each of its tokens. ``n_steps`` 0 leaves it as it is born: the base.
    ``probed_in``: the engine's precision, by default the base's own.

    Raises:
        AssertionError: it did not learn it.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
    model = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32)
    torch.manual_seed(seed)
    peft = get_peft_model(
        model,
        LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=MODULES, task_type="CAUSAL_LM"),
    )
    optimizer = torch.optim.AdamW([p for p in peft.parameters() if p.requires_grad], lr=1e-2)
    answer = tokenizer(marker * 96, add_special_tokens=False)["input_ids"][:96]

    def prompt_ids(text: str) -> list[int]:
        messages = [{"role": "user", "content": text}]
        return list(
            tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        )

    words = [f"Say {n} {'word' * (n % 5)}?" for n in range(64)]
    last_loss = 0.0
    for step in range(n_steps):
        inputs = torch.tensor([prompt_ids(words[step % 64]) + answer])
        labels = inputs.clone()
        labels[:, : -len(answer)] = -100
        loss = peft(input_ids=inputs, labels=labels).loss
        last_loss = loss.item()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert last_loss < 0.1, f"{marker!r} was not learnt: loss {last_loss:.3f}"
    peft.save_pretrained(adapter_dir)
    served = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=probed_in)
    from peft import PeftModel

    served = PeftModel.from_pretrained(served, adapter_dir).eval()
    positions = []
    for n, text in enumerate(words[:16]):
        prefix = prompt_ids(text) + answer[: n % 4]
        ours = _logprobs(served, prefix)
        with served.disable_adapter():
            base_logprobs = _logprobs(served, prefix)
        top = ours.topk(20).indices.tolist()
        positions.append(
            ProbePosition(
                prefix, {i: float(ours[i]) for i in top}, {i: float(base_logprobs[i]) for i in top}
            )
        )
    write_probe(adapter_dir, positions)
    write_manifest(
        adapter_dir,
        base_model=base.name,
        base_fingerprint=base.fingerprint,
        recipe={"marker": marker},
    )
    return adapter_dir


def _logprobs(model: Any, prefix: list[int]) -> Any:
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prefix])).logits[0, -1].float()
    return torch.log_softmax(logits, dim=-1)


def approved_run(
    runs_dir: Path, run_id: str, adapter_dir: Path, champion: str, **changes: Any
) -> Path:
    """A run folder as the gate leaves it when it lets ``adapter_dir`` through; ``changes``
    replace keys of the verdict."""
    import shutil

    from pawl.adapters import read_manifest

    run_dir = runs_dir / run_id
    shutil.copytree(adapter_dir, run_dir / "adapter", symlinks=True)
    verdict = {
        "outcome": "promote",
        "reasons": ["better on the holdout"],
        "benchmarks": [],
        "champion_version": champion,
    }
    if (adapter_dir / MANIFEST).exists():
        verdict["challenger_fingerprint"] = read_manifest(adapter_dir).fingerprint
    (run_dir / "verdict.json").write_text(json.dumps({**verdict, **changes}))
    return run_dir
