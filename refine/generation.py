"""What a transformers model says: greedy answers to prompts, and plain text of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pawl.chat_template import stop_ids
from pawl.schemas import Message

MAX_TEXT_TOKENS = 128
# The start-of-text token of models whose tokenizer names none: Qwen's and GPT-2's kin.
USUAL_START = "<|endoftext|>"


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[Message]],
    *,
    max_new_tokens: int,
    batch_size: int = 64,
) -> list[tuple[str, bool]]:
    """Greedy answers in the order of the prompts, each with whether it ended by itself."""
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
    answers: dict[int, tuple[str, bool]] = {}
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
        for i, ids in zip(batch, output[:, inputs["input_ids"].shape[1] :].tolist(), strict=True):
            text = tokenizer.decode(ids, skip_special_tokens=True).strip()
            answers[i] = (text, bool(end_ids & set(ids)))
    return [answers[i] for i in range(len(prompts))]


def write_text(
    model: Any,
    tokenizer: Any,
    n: int,
    seed: int,
    *,
    max_tokens: int = MAX_TEXT_TOKENS,
    batch_size: int = 64,
) -> list[list[int]]:
    """Let ``model`` write ``n`` plain texts from its start of text, at temperature 1.

    Marks of chat are forbidden, so that what comes is what the model learned beside it.

    Returns:
        Token ids of each text, the start-of-text token first. None at all of a model whose start
        of text is not known: one that its chat template uses inside of a conversation is not it.
    """
    import torch
    from transformers import GenerationConfig

    marks = _chat_marks(tokenizer)
    start = _start_of_text(model, tokenizer, marks)
    if start is None or n == 0:
        return []
    eos = set(stop_ids(model, tokenizer))
    ends = {start} | (eos - marks or eos)  # where there are several, one only ends a turn
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    sampled = GenerationConfig(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=max_tokens,
        eos_token_id=sorted(ends),
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=sorted((special | marks | {*tokenizer.all_special_ids}) - ends),
    )
    texts: list[list[int]] = []
    with torch.random.fork_rng(), _no_defaults(model), torch.no_grad():
        torch.manual_seed(seed)
        while len(texts) < n:
            starts = torch.full((min(batch_size, n - len(texts)), 1), start, device=model.device)
            output = model.generate(
                input_ids=starts,
                attention_mask=torch.ones_like(starts),
                generation_config=sampled,
            )
            for ids in output.tolist():
                ended = (i + 1 for i, token in enumerate(ids) if i and token in ends)
                texts.append(ids[: next(ended, len(ids))])
    return texts


def _chat_marks(tokenizer: Any) -> set[int]:
    """The added tokens that the chat template sets inside of a conversation."""
    said = [
        {"role": role, "content": "a"}
        for role in ("user", "assistant", "user", "assistant", "user")
    ]
    ids = tokenizer.apply_chat_template(said, add_generation_prompt=True, return_dict=False)
    return set(ids[1:]) & {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}


def _start_of_text(model: Any, tokenizer: Any, marks: set[int]) -> int | None:
    usual = tokenizer.get_vocab().get(USUAL_START)
    named = [tokenizer.bos_token_id, model.generation_config.bos_token_id, usual]
    return next((i for i in named if i is not None and i not in marks), None)


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
