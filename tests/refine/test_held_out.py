"""Losses of rows that were not trained on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from refine.held_out import Answers, log_prob, loss_of

PROMPT = [5, 9, 11, 3]
LIKED, DISLIKED = [*PROMPT, 7, 8, 2], [*PROMPT, 4, 2]


@pytest.fixture
def model(untrained_model: Path) -> Any:
    """With an adapter that changes what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(untrained_model, dtype=torch.float32)
    config = LoraConfig(r=4, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    return get_peft_model(base, config).eval()


def by_all_logits(model: Any, ids: list[int]) -> float:
    import torch

    with torch.no_grad():
        logs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
    return sum(float(logs[i - 1, ids[i]]) for i in range(len(PROMPT), len(ids)))


def test_an_answer_is_as_likely_as_by_the_logits_of_all_positions(model: Any) -> None:
    import torch

    with torch.no_grad():
        of_adapter = log_prob(model, LIKED, len(PROMPT))
        of_base = log_prob(model.get_base_model(), LIKED, len(PROMPT))
    assert of_adapter == pytest.approx(by_all_logits(model, LIKED), abs=1e-4)
    assert of_base == pytest.approx(by_all_logits(model.get_base_model(), LIKED), abs=1e-4)


def test_a_base_that_gives_all_logits_is_taken_too(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    base = model.get_base_model()
    whole = base.forward

    def forward(input_ids: Any, use_cache: bool = False) -> Any:
        return whole(input_ids=input_ids, use_cache=use_cache)

    monkeypatch.setattr(base, "forward", forward)
    with torch.no_grad():
        found = log_prob(base, LIKED, len(PROMPT))
    assert found == pytest.approx(by_all_logits(base, LIKED), abs=1e-4)


def test_what_the_base_says_of_an_answer_is_asked_once(model: Any) -> None:
    n = len(PROMPT)
    pair = Answers([(LIKED, n, 1.0), (DISLIKED, n, -1.0)], is_written=False)
    of_base: dict[tuple[int, ...], float] = {}
    alone, first = loss_of(model, pair, 0.1), loss_of(model, pair, 0.1, of_base)
    assert alone == first != pytest.approx(math.log(2), abs=1e-6)
    assert len(of_base) == 2
    asked = []
    model.get_base_model().register_forward_hook(lambda *_: asked.append(1))
    assert loss_of(model, pair, 0.1, of_base) == first
    assert len(asked) == 2
    of_base[(n, *LIKED)] += 1.0
    assert loss_of(model, pair, 0.1, of_base) > first
