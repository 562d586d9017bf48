"""Greedy answers of a transformers model: to held-out prompts, and for replay without an engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pawl.chat_template import stop_ids


def greedy_answers(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    max_new_tokens: int,
    *,
    batch_size: int = 64,
) -> list[tuple[str, bool]]:
    """What ``model`` answers to each prompt (token ids), and whether the answer came to its end."""
    import torch
    from transformers import GenerationConfig

    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # equal lengths pad less
    end_ids = set(stop_ids(model, tokenizer))
    pad_id = tokenizer.pad_token_id
    pad_id = tokenizer.eos_token_id if pad_id is None else pad_id
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(end_ids),
        pad_token_id=pad_id,
    )
    answers: dict[int, tuple[str, bool]] = {}
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        width = len(prompts[batch[-1]])
        gaps = [width - len(prompts[i]) for i in batch]
        rows = [[pad_id] * gap + prompts[i] for i, gap in zip(batch, gaps, strict=True)]
        mask = [[0] * gap + [1] * (width - gap) for gap in gaps]
        with torch.no_grad(), _no_defaults(model):
            output = model.generate(
                input_ids=torch.tensor(rows, device=model.device),
                attention_mask=torch.tensor(mask, device=model.device),
                generation_config=greedy,
            )
        for i, ids in zip(batch, output[:, width:].tolist(), strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True).strip()
            answers[i] = (text, bool(end_ids & set(ids)))
    return [answers[i] for i in range(len(prompts))]


@contextmanager
def _no_defaults(model: Any) -> Iterator[None]:
    """Without the model's own settings, which fill whatever a configuration leaves open: Qwen's
    ask for a penalty on repetition, others for sampling."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own
