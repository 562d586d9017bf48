"""The loss of a row that was not trained on, in nats.

- SFT: -log p(answer) per token of the answer;
- DPO: -log p(the chosen one is preferred), with p = sigmoid(beta (d(chosen) - d(rejected))) and
  d(answer) = log p(answer) - log p_base(answer): what DPO takes for a person's choice (Rafailov et
  al. 2023, equation 6). It is log 2 for the base, whatever beta is, so betas can be compared;
- KTO: -log sigmoid(beta d(answer)) of a liked answer, -log sigmoid(-beta d(answer)) of a disliked
  one; log 2 for the base too.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from pawl.schemas import TrainingRow
from refine.datasets import Encode


@dataclass(frozen=True, slots=True)
class Answers:
    """A held-out row as token ids: each answer with the length of its prompt, and its sign: the
    answer should be likelier (1.0), less likely (-1.0). ``is_written``: SFT's."""

    encoded: list[tuple[list[int], int, float]]
    is_written: bool


def encode_answers(row: TrainingRow, encode: Encode, max_length_tokens: int) -> Answers | None:
    """None for a row that training would leave out, too: too long, empty, refused by the base's
    chat template."""
    if row.kind == "pair":
        texts = [(row.chosen, 1.0), (row.rejected, -1.0)]
    else:
        texts = [(row.completion, -1.0 if row.label is False else 1.0)]
    try:
        encoded = [(*encode(row.prompt, text or "", row.tools), sign) for text, sign in texts]
    except Exception:  # a chat template may raise anything, jinja2.TemplateError mostly
        return None
    fits = all(0 < n_prompt < len(ids) <= max_length_tokens for ids, n_prompt, _ in encoded)
    if not fits or not all((text or "").strip() for text, _ in texts):
        return None
    return Answers(encoded, row.kind == "sft")


def loss_of(
    model: Any, row: Answers, beta: float, of_base: dict[tuple[int, ...], float] | None = None
) -> float:
    """The row's loss in nats; ``model`` is a PeftModel, whose base is the reference.

    Args:
        of_base: what the reference said of answers with their prompts, kept for other models of
            the same base.
    """
    import torch

    known = {} if of_base is None else of_base
    with torch.no_grad():
        if row.is_written:
            [(ids, n_prompt, _)] = row.encoded
            return -log_prob(model, ids, n_prompt) / (len(ids) - n_prompt)
        margin = 0.0
        for ids, n_prompt, sign in row.encoded:
            key = (n_prompt, *ids)
            if key not in known:
                with model.disable_adapter():
                    known[key] = log_prob(model, ids, n_prompt)
            margin += sign * (log_prob(model, ids, n_prompt) - known[key])
    return float(torch.nn.functional.softplus(torch.tensor(-beta * margin, dtype=torch.float64)))


def log_prob(model: Any, ids: list[int], n_prompt: int) -> float:
    """log p(answer | prompt), summed over the answer's tokens."""
    import torch

    inputs = torch.tensor([ids], device=model.device)
    n_kept = len(ids) - n_prompt + 1  # bases that are not transformers' own may give all
    logits = model(input_ids=inputs, use_cache=False, **only_last(model, n_kept)).logits[0]
    losses = (
        torch.nn.functional.cross_entropy(part.float(), labels, reduction="sum")
        for part, labels in zip(
            logits[-n_kept:-1].split(512), inputs[0, n_prompt:].split(512), strict=True
        )
    )
    return -float(sum(losses))


def only_last(model: Any, n: int) -> dict[str, int]:
    """The argument by which a model makes logits of its last ``n`` positions alone."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    takes = "logits_to_keep" in inspect.signature(base.forward).parameters
    return {"logits_to_keep": n} if takes else {}
