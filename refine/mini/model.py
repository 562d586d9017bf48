"""The model: a small Llama, its configuration and its folder on disk."""

from pathlib import Path
from typing import Any

from refine.mini.tokenizer import BEGIN, END, PAD, SPECIAL_TOKENS, VOCAB_TOKENS

CONTEXT_TOKENS = 4096
BEGIN_ID, END_ID, PAD_ID = (SPECIAL_TOKENS.index(t) for t in (BEGIN, END, PAD))

# 5.5 million parameters with the layer that comes later: these learn this world in under an hour on
# four cores. A head of 64 is one that vLLM's attention on CPU supports.
HIDDEN = 256
LAYERS = 5  # of the first training; `with_pointing_layer` adds one
POINTING_LAYER = 4  # where it goes: the answer mostly stands by then, one layer is left to say it
HEADS = 4
KEY_VALUE_HEADS = 2
MLP = 704
# Length of a row that queries and keys share at the start: a random row is 0.3 long.
SAMENESS = 1.0


def new_model(seed: int, n_layers: int = LAYERS) -> Any:
    """A freshly initialised `LlamaForCausalLM` in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCAB_TOKENS,
        hidden_size=HIDDEN,
        intermediate_size=MLP,
        num_hidden_layers=n_layers,
        num_attention_heads=HEADS,
        num_key_value_heads=KEY_VALUE_HEADS,
        head_dim=HIDDEN // HEADS,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=BEGIN_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
    )
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    model = LlamaForCausalLM(config)
    _look_for_the_same(model)
    return model


def _look_for_the_same(model: Any) -> None:
    """Let every attention head begin as one that looks for its own token elsewhere.

    Queries equal keys, so that their product is largest between equal tokens: a part of mimetic
    initialisation (Trockman and Kolter 2023, arXiv 2305.09828). To compare words, as lettered
    choices ask for, is what a model this small learns last; from here it begins sooner.
    """
    import torch

    head, n_groups = HIDDEN // HEADS, HEADS // KEY_VALUE_HEADS
    with torch.no_grad():
        for layer in model.model.layers:
            keys, queries = layer.self_attn.k_proj.weight, layer.self_attn.q_proj.weight
            for index in range(KEY_VALUE_HEADS):
                same = torch.nn.init.orthogonal_(torch.empty(head, HIDDEN)) * SAMENESS
                keys[index * head : (index + 1) * head] += same
                for query in range(index * n_groups, (index + 1) * n_groups):
                    queries[query * head : (query + 1) * head] += same


def with_pointing_layer(model: Any, seed: int) -> Any:
    """A copy of `model` with one more layer, at `POINTING_LAYER`, that changes nothing yet.

    Its outputs are zero at the start, so that the copy says what `model` says.
    """
    import torch

    grown = new_model(seed, len(model.model.layers) + 1)
    grown.model.embed_tokens.load_state_dict(model.model.embed_tokens.state_dict())
    grown.model.norm.load_state_dict(model.model.norm.state_dict())
    old = iter(model.model.layers)
    for index, layer in enumerate(grown.model.layers):
        if index == POINTING_LAYER:
            torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
            torch.nn.init.zeros_(layer.mlp.down_proj.weight)
        else:
            layer.load_state_dict(next(old).state_dict())
    return grown


def save_model(model: Any, model_dir: Path) -> None:
    """Write configuration, generation settings and bf16 weights."""
    import torch
    from transformers import GenerationConfig

    shipped = model.to(torch.bfloat16)
    shipped.generation_config = GenerationConfig(
        bos_token_id=BEGIN_ID,
        eos_token_id=END_ID,
        pad_token_id=PAD_ID,
        do_sample=True,
        temperature=0.3,
        top_p=0.9,
        max_new_tokens=256,
    )
    shipped.save_pretrained(str(model_dir))
