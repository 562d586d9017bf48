"""Tiny random base models of every kind that Pawl meets: python -m tests.tiny_bases FOLDER

Written with numpy in well under a second each (``sees`` by transformers); vLLM and transformers
load those that are whole. Byte-level tokens, so any text goes in; what comes out is noise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

HIDDEN, INNER, N_LAYERS, N_HEADS, N_KV_HEADS = 64, 128, 2, 2, 1
HEAD = HIDDEN // N_HEADS
SPECIAL = ("<pad>", "<s>", "</s>", "<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
EOS, END = "</s>", "<|end|>"

# As most bases have it: any roles in any order, each turn ends with eos.
PLAIN = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}{{ eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# As Phi-3's: turns end with a token of their own, the text with eos.
OTHER_END = (
    "{{ bos_token }}{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}"
)
# As Gemma's: no system role, and users and assistants take turns.
NO_SYSTEM = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
# As DeepSeek-R1's distillations: every answer begins inside a thought.
THOUGHT = PLAIN.replace("<|assistant|>{% endif %}", "<|assistant|><think>\n{% endif %}")
# Answers that were given stand after an empty thought, those asked for do not.
EMPTY_THOUGHT = PLAIN.replace(
    "{{ m['content'] }}",
    "{% if m['role'] == 'assistant' and loop.last %}<think>\n\n</think>\n\n{% endif %}"
    "{{ m['content'] }}",
)
# As Qwen3's: so too, but there is a switch.
SWITCH = EMPTY_THOUGHT.replace(
    "<|assistant|>{% endif %}",
    "<|assistant|>{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
# As Qwen2.5's: tools are described first, calls and their answers stand between marks.
CALLS_TOOLS = (
    "{{ bos_token }}{% if tools %}<|system|>You may call functions:{% for tool in tools %}\n"
    "{{ tool | tojson }}{% endfor %}\nA call is <tool_call>\n"
    '{"name": <name>, "arguments": <object>}\n</tool_call>{{ eos_token }}{% endif %}'
    "{% for m in messages %}{% if m['role'] == 'tool' %}<|user|><tool_response>\n"
    "{{ m['content'] }}\n</tool_response>{{ eos_token }}{% else %}<|{{ m['role'] }}|>"
    "{{ m['content'] }}{% for call in m['tool_calls'] or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NO_END = (
    "{% for m in messages %}{% if not loop.first %}\n{% endif %}{{ m['role'] }}: {{ m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}\nassistant: {% endif %}"
)
# ChatML over a vocabulary that lacks its marks, as some fine-tunes have it.
SPELLED_END = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def plain(folder: Path) -> Path:
    return _base(folder)


def fused(folder: Path) -> Path:
    """A Phi-3: one matrix for q, k and v, one for gate and up; its template ends turns its way."""
    return _base(folder, "Phi3ForCausalLM", "phi3", {"original_max_position_embeddings": 512},
                 template=OTHER_END, modules=_fused_modules())  # fmt: skip


def other_end(folder: Path) -> Path:
    return _base(folder, template=OTHER_END)


def no_system(folder: Path) -> Path:
    return _base(folder, template=NO_SYSTEM)


def thought(folder: Path) -> Path:
    return _base(folder, template=THOUGHT)


def empty_thought(folder: Path) -> Path:
    return _base(folder, template=EMPTY_THOUGHT)


def switch(folder: Path) -> Path:
    return _base(folder, template=SWITCH)


def calls_tools(folder: Path) -> Path:
    """Its context is long enough for the descriptions of some tools, a token a byte."""
    return _base(folder, template=CALLS_TOOLS, more={"max_position_embeddings": 4096})


def no_end(folder: Path) -> Path:
    return _base(folder, template=NO_END)


def spelled_end(folder: Path) -> Path:
    return _base(folder, template=SPELLED_END)


def no_template(folder: Path) -> Path:
    _base(folder)
    (folder / "chat_template.jinja").unlink()
    return folder


def narrow_heads(folder: Path) -> Path:
    """Attention heads of 24 numbers, which the engine's CPU kernels don't take."""
    return _base(folder, more={"head_dim": 24}, modules=modules_of(head=24))


def no_lora(folder: Path) -> Path:
    """A Falcon: vLLM serves it, but not with LoRA. (Only its configuration is a Falcon's.)"""
    return _base(folder, "FalconForCausalLM", "falcon")


def sees(folder: Path) -> Path:
    """A Gemma 3 that takes pictures, made by transformers."""
    import torch
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    _base(folder)
    text = {"vocab_size": len(tokens()), "hidden_size": HIDDEN, "intermediate_size": INNER,
            "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS, "head_dim": HEAD,
            "num_key_value_heads": N_KV_HEADS, "max_position_embeddings": 512}  # fmt: skip
    vision = {"hidden_size": HIDDEN, "intermediate_size": INNER, "num_hidden_layers": 1,
              "num_attention_heads": N_HEADS, "image_size": 16, "patch_size": 8}  # fmt: skip
    torch.manual_seed(0)
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    return folder


def missing_shard(folder: Path) -> Path:
    """Weights in three files of which the second is not there."""
    _base(folder, n_shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    return folder


def cut_off(folder: Path) -> Path:
    """A weight file of which a tenth is missing at the end, as after a download that broke off."""
    _base(folder)
    path = folder / "model.safetensors"
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) * 9 // 10])
    return folder


def quantised(folder: Path) -> Path:
    """Weights in 4 bits as AWQ packs them: eight to an integer, a scale for every 32."""
    import numpy as np

    rng = np.random.default_rng(0)

    def pack(tensors: dict[str, Any]) -> dict[str, Any]:
        packed: dict[str, Any] = {}
        for name, tensor in tensors.items():
            if "_proj" not in name:
                packed[name] = tensor.astype(np.float16)
                continue
            n_out, n_in = tensor.shape
            stem = name.removesuffix("weight")
            packed[stem + "qweight"] = _int32(rng, (n_in, n_out // 8))
            packed[stem + "qzeros"] = np.full((n_in // 32, n_out // 8), 0x77777777, np.int32)
            packed[stem + "scales"] = np.full((n_in // 32, n_out), 0.01, np.float16)
        return packed

    config = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm",
              "zero_point": True}  # fmt: skip
    return _base(folder, more={"quantization_config": config, "dtype": "float16"}, change=pack)


def gguf(folder: Path, *, scaling: str | None = None, has_factors: bool = False) -> Path:
    """A Llama as one GGUF file (answers the file); with positions that are scaled, as the file
    says or by factors beside the weights."""
    import numpy as np
    from gguf import GGUFWriter, RopeScalingType, TokenType

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.gguf"
    writer = GGUFWriter(str(path), "llama")
    vocabulary = tokens()
    writer.add_name("tiny")
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(N_LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(N_HEADS)
    writer.add_head_count_kv(N_KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD)
    if scaling is not None:
        writer.add_rope_scaling_type(RopeScalingType(scaling))
    if has_factors:
        writer.add_tensor("rope_freqs.weight", np.ones(HEAD // 2, np.float32))
    writer.add_vocab_size(len(vocabulary))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(vocabulary)
    writer.add_token_types(
        [TokenType.CONTROL if token in SPECIAL else TokenType.NORMAL
         for token in vocabulary]
    )  # fmt: skip
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(SPECIAL.index("<s>"))
    writer.add_eos_token_id(SPECIAL.index(EOS))
    writer.add_pad_token_id(SPECIAL.index("<pad>"))
    writer.add_chat_template(PLAIN)
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
             "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
             "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}  # fmt: skip
    for name, tensor in tensors_of(modules_of(), len(vocabulary)).items():
        parts = name.split(".")
        if parts[1] == "layers":
            name = f"blk.{parts[2]}.{names['.'.join(parts[3:-1])]}.weight"
        else:
            name = {"model.embed_tokens.weight": "token_embd.weight",
                    "model.norm.weight": "output_norm.weight",
                    "lm_head.weight": "output.weight"}[name]  # fmt: skip
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


KINDS: dict[str, Callable[[Path], Path]] = {
    make.__name__: make
    for make in (plain, fused, other_end, no_system, thought, empty_thought, switch,
                 calls_tools, no_end, spelled_end, no_template, narrow_heads, no_lora, sees,
                 missing_shard, cut_off, quantised, gguf)
}  # fmt: skip


def _base(
    folder: Path,
    architecture: str = "LlamaForCausalLM",
    model_type: str = "llama",
    more: dict[str, Any] | None = None,
    *,
    template: str = PLAIN,
    modules: dict[str, tuple[int, int]] | None = None,
    n_shards: int = 1,
    change: Callable[[dict[str, Any]], dict[str, Any]] = lambda tensors: tensors,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = tokens()
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = {
        "architectures": [architecture], "model_type": model_type, "hidden_size": HIDDEN,
        "intermediate_size": INNER, "num_hidden_layers": N_LAYERS, "num_attention_heads": N_HEADS,
        "num_key_value_heads": N_KV_HEADS, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "vocab_size": len(vocabulary), "hidden_act": "silu", "dtype": "float32",
        "tie_word_embeddings": False, **ids, **(more or {}),
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps(ids))
    (folder / "chat_template.jinja").write_text(template)
    write_tokenizer(folder)
    write_weights(folder, change(tensors_of(modules or modules_of(), len(vocabulary))), n_shards)
    return folder


def tokens() -> list[str]:
    from tokenizers import pre_tokenizers

    return [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab"]


def write_tokenizer(folder: Path) -> None:
    """Byte-level tokens and ``SPECIAL``."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    vocabulary = {token: i for i, token in enumerate(tokens())}
    core = Tokenizer(BPE(vocab=vocabulary, merges=[("a", "b")]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    core.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": EOS,
        "pad_token": "<pad>", "model_max_length": 512,
    }))  # fmt: skip


def modules_of(head: int = HEAD) -> dict[str, tuple[int, int]]:
    """Rows and columns of each linear layer."""
    return {
        "self_attn.q_proj": (N_HEADS * head, HIDDEN),
        "self_attn.k_proj": (N_KV_HEADS * head, HIDDEN),
        "self_attn.v_proj": (N_KV_HEADS * head, HIDDEN),
        "self_attn.o_proj": (HIDDEN, N_HEADS * head),
        "mlp.gate_proj": (INNER, HIDDEN), "mlp.up_proj": (INNER, HIDDEN),
        "mlp.down_proj": (HIDDEN, INNER),
    }  # fmt: skip


def _fused_modules() -> dict[str, tuple[int, int]]:
    apart = modules_of()
    return {
        "self_attn.qkv_proj": ((N_HEADS + 2 * N_KV_HEADS) * HEAD, HIDDEN),
        "self_attn.o_proj": apart["self_attn.o_proj"],
        "mlp.gate_up_proj": (2 * INNER, HIDDEN),
        "mlp.down_proj": apart["mlp.down_proj"],
    }


def tensors_of(modules: dict[str, tuple[int, int]], n_tokens: int) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(0)

    def random(shape: tuple[int, int]) -> Any:
        return rng.normal(0, 0.3, shape).astype(np.float32)

    tensors = {
        "model.embed_tokens.weight": random((n_tokens, HIDDEN)),
        "model.norm.weight": np.ones(HIDDEN, np.float32),
        "lm_head.weight": random((n_tokens, HIDDEN)),
    }
    for layer in range(N_LAYERS):
        stem = f"model.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{stem}.{norm}.weight"] = np.ones(HIDDEN, np.float32)
        for name, shape in modules.items():
            tensors[f"{stem}.{name}.weight"] = random(shape)
    return tensors


def write_weights(folder: Path, tensors: dict[str, Any], n_shards: int = 1) -> None:
    from safetensors.numpy import save_file

    if n_shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names = sorted(tensors)
    index: dict[str, str] = {}
    for shard in range(n_shards):
        file = f"model-{shard + 1:05}-of-{n_shards:05}.safetensors"
        mine = names[shard::n_shards]
        save_file({name: tensors[name] for name in mine}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(mine, file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )


def _int32(rng: Any, shape: tuple[int, int]) -> Any:
    import numpy as np

    return rng.integers(0, 2**32, shape, dtype=np.uint32).view(np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(KINDS)}")
    args = parser.parse_args()
    for kind in args.kinds or KINDS:
        print(KINDS[kind](args.folder / kind))


if __name__ == "__main__":
    main()
