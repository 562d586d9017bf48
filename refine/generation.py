"""Greedy answers of a transformers model, for replay where no engine runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pawl.chat_template import stop_ids
from pawl.schemas import Message
from refine.replay import Answer, AnswerPrompts


def answer_prompts(
    model: Any, tokenizer: Any, max_new_tokens: int, *, batch_size: int = 64
) -> AnswerPrompts:
    """Answers of ``model``, in the order of the prompts it is given."""

    def answer(prompts: Sequence[list[Message]]) -> list[Answer]:
        import torch
        from transformers import GenerationConfig

        texts = [
            tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            for prompt in prompts
        ]
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # equal lengths pad less
        end_ids = set(stop_ids(model, tokenizer))
        greedy = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(end_ids),
            pad_token_id=tokenizer.pad_token_id,
        )
        answers: dict[int, Answer] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            inputs = tokenizer(
                [texts[i] for i in batch],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
            ).to(model.device)
            with torch.no_grad(), _no_defaults(model):
                output = model.generate(
                    input_ids=inputs["input_ids"],
                    attention_mask=inputs["attention_mask"],
                    generation_config=greedy,
                )
            written = output[:, inputs["input_ids"].shape[1] :].tolist()
            for i, ids in zip(batch, written, strict=True):
                text = tokenizer.decode(ids, skip_special_tokens=True).strip()
                answers[i] = Answer(text, bool(end_ids & set(ids)))
        return [answers[i] for i in range(len(prompts))]

    return answer


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
