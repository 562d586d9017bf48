"""How far an adapter may be weakened when its corrections are too long to be met word for word."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from refine import scaling as soften

N_TOKENS = 200  # of a correction
Rows = Sequence[tuple[list[int], int]]


def half_learnt() -> tuple[Any, Rows]:
    """An adapter on a small random Llama that made long answers likelier, none of them certain."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    draw = random.Random(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=256,
        initializer_range=0.2,
    )
    model = get_peft_model(
        LlamaForCausalLM(config), LoraConfig(r=4, target_modules=["o_proj", "down_proj"])
    )
    # Some tokens come more often than others: that is all there is to learn.
    rows = [
        ([draw.randrange(64) for _ in range(4)] + draw.choices(range(16), k=N_TOKENS), 4)
        for _ in range(8)
    ]
    ids = torch.tensor([ids for ids, _ in rows])
    labels = ids.clone()
    labels[:, :4] = -100
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(12):
        loss = model(input_ids=ids, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), rows


def likely(model: Any, rows: Rows) -> float:
    return sum(soften.correction_score(model, ids, n)[1] for ids, n in rows) / len(rows)


def test_long_corrections_stay_as_likely_as_training_made_them() -> None:
    model, rows = half_learnt()
    with model.disable_adapter():
        base = likely(model, rows)
    full = likely(model, rows)
    assert full - base > 0.5
    assert not any(soften.correction_score(model, ids, n)[0] for ids, n in rows)
    strength = soften.weaken(model, rows)
    assert strength > soften.STRENGTHS[-1 - soften.MARGIN_STEPS]
    assert likely(model, rows) >= full - soften.GAIN_TOLERANCE * (full - base)


def test_without_corrections_the_adapter_stays_as_it_is() -> None:
    model, _ = half_learnt()
    before = {name: value.clone() for name, value in model.named_parameters()}
    assert soften.weaken(model, []) == 1.0
    assert all((value == before[name]).all() for name, value in model.named_parameters())
