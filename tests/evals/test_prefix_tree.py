"""Shared prefixes give the same numbers as one sequence a row."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from evals import prefix_tree
from evals.harness import multiply_by_onednn
from evals.prefix_tree import continuation_logprobs, pack
from pawl.models import BaseModel

pytestmark = pytest.mark.slow


def test_the_example_of_the_module() -> None:
    (row,) = pack([[5, 6, 7, 8], [5, 6, 9]], max_tokens=100)
    assert row.ids == [5, 6, 7, 8, 9]
    assert row.positions == [0, 1, 2, 3, 2]
    assert row.mask().astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    assert row.paths == {0: [0, 1, 2, 3], 1: [0, 1, 4]}


def random_sequences(seed: int, n: int) -> list[list[int]]:
    """Sequences with many shared beginnings, some a beginning of another, some equal."""
    rng = random.Random(seed)
    sequences: list[list[int]] = []
    for _ in range(n):
        start = list(rng.choice(sequences)) if sequences and rng.random() < 0.7 else []
        cut = rng.randint(0, len(start))
        sequences.append(start[:cut] + [rng.randrange(20) for _ in range(rng.randint(1, 9))])
    return sequences


@pytest.mark.parametrize("max_tokens", [1, 12, 40, 10_000])
@pytest.mark.parametrize("max_read", [1, 20, 10_000])
def test_every_path_spells_its_sequence_and_sees_nothing_else(
    max_tokens: int, max_read: int
) -> None:
    sequences = random_sequences(0, 80)
    n_read = [1 + len(one) // 2 for one in sequences]
    seen = []
    for row in pack(sequences, max_tokens, n_read, max_read):
        assert len(row.ids) <= max(max_tokens, max(map(len, sequences)))
        assert sum(n_read[index] for index in row.paths) <= max_read or len(row.paths) == 1
        mask = row.mask()
        for index, path in row.paths.items():
            seen.append(index)
            assert [row.ids[node] for node in path] == sequences[index]
            assert [row.positions[node] for node in path] == list(range(len(path)))
            for depth, node in enumerate(path):
                assert np.flatnonzero(mask[node]).tolist() == sorted(path[: depth + 1])
    assert sorted(seen) == list(range(len(sequences)))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_log_probabilities_equal_one_forward_pass_each(
    model: BaseModel, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    attend, lengths = prefix_tree.sdpa_attention_forward, []

    def counted(module: Any, query: torch.Tensor, *rest: Any, **options: Any) -> Any:
        lengths.append(query.shape[2])
        return attend(module, query, *rest, **options)

    monkeypatch.setattr(prefix_tree, "sdpa_attention_forward", counted)
    llama = LlamaForCausalLM.from_pretrained(model.model_dir, attn_implementation=attention).eval()
    rng = random.Random(1)
    requests = []
    for _ in range(30):
        context = [rng.randrange(250) for _ in range(rng.randint(1, 30))]
        for _ in range(4):
            requests.append((context, [rng.randrange(250) for _ in range(rng.randint(1, 6))]))
    got = continuation_logprobs(llama, requests, max_tokens=200)
    if attention == "sdpa":
        assert max(lengths) == prefix_tree.BLOCK_TOKENS
        assert len(lengths) % llama.config.num_hidden_layers == 0
    else:
        assert not lengths
    assert llama.config._attn_implementation == attention
    n_greedy = 0
    for (context, continuation), (total, greedy) in zip(requests, got, strict=True):
        ids = torch.tensor([context + continuation])
        with torch.no_grad():
            logprobs = llama(ids).logits[0].log_softmax(-1)[len(context) - 1 : -1]
        expected = logprobs.gather(1, torch.tensor(continuation)[:, None]).sum()
        assert total == pytest.approx(float(expected), abs=1e-3)
        assert greedy == (logprobs.argmax(-1).tolist() == continuation)
        n_greedy += greedy
    follow = [int(llama(torch.tensor([requests[0][0]])).logits[0, -1].argmax())]
    assert continuation_logprobs(llama, [(requests[0][0], follow)], max_tokens=64)[0][1]


def test_a_model_that_asks_for_the_attentions_name_gets_no_other() -> None:
    from transformers import DeepseekV32ForCausalLM, LlamaForCausalLM

    assert prefix_tree._takes_blocks(LlamaForCausalLM)
    assert not prefix_tree._takes_blocks(DeepseekV32ForCausalLM)


def test_float32_products_are_exact_whoever_multiplies() -> None:
    before = torch.backends.mkldnn.matmul.fp32_precision
    try:
        multiply_by_onednn()
        random = torch.Generator().manual_seed(1)
        a = torch.randn(300, 576, generator=random)
        b = torch.randn(576, 1536, generator=random)
        exact = a.double() @ b.double()
        assert float((a @ b - exact).abs().max()) < 1e-4 * float(exact.std())
    finally:
        torch.backends.mkldnn.matmul.fp32_precision = before
