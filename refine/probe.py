"""The probe record: fixed token ids and what this adapter says after them.

A probe must tell this adapter from the base (and, if given, from today's champion) by a few
next-token distributions. So the positions are those, among the answers that training taught and
some that it should have left alone, where the distributions differ most: by the mean absolute
difference of log-probability over the 20 tokens that the adapter finds likeliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pawl.adapters import ProbePosition

N_POSITIONS = 16
N_TOP = 20
MAX_PER_ROW = 2
MAX_PREFIX_TOKENS = 512


def probe_positions(
    model: Any, encoded: Sequence[tuple[list[int], int]], *, champion: str | None = None
) -> list[ProbePosition]:
    """Choose positions and record them, in float32.

    Args:
        model: a PeftModel with the adapter "default" active.
        encoded: (token ids of prompt and answer, number of prompt tokens) of each candidate row.
        champion: the name of a second loaded adapter from which to tell this one apart too.

    Returns:
        ``N_POSITIONS`` positions, or fewer when the rows have fewer; at most two of a row.
    """
    import torch

    candidates: list[tuple[float, ProbePosition]] = []
    for ids, n_prompt in encoded:
        if len(ids) > MAX_PREFIX_TOKENS or n_prompt >= len(ids):
            continue
        inputs = torch.tensor([ids], device=model.device)
        ours = _logprobs(model, inputs)[n_prompt - 1 : -1]
        with model.disable_adapter():
            base = _logprobs(model, inputs)[n_prompt - 1 : -1]
        others = [base]
        if champion is not None:
            model.set_adapter(champion)
            others.append(_logprobs(model, inputs)[n_prompt - 1 : -1])
            model.set_adapter("default")
        top = ours.topk(min(N_TOP, ours.shape[-1]), dim=-1)
        apart = [(top.values - other.gather(-1, top.indices)).abs().mean(-1) for other in others]
        gaps = torch.stack(apart).amin(dim=0)
        base_top = base.gather(-1, top.indices)
        for i in gaps.argsort(descending=True, stable=True)[:MAX_PER_ROW].tolist():
            token_ids = top.indices[i].tolist()
            logprobs, base_logprobs = (
                dict(zip(token_ids, values[i].tolist(), strict=True))
                for values in (top.values, base_top)
            )
            position = ProbePosition(ids[: n_prompt + i], logprobs, base_logprobs)
            candidates.append((float(gaps[i]), position))
    candidates.sort(key=lambda one: (-one[0], one[1].prefix_ids))
    return [position for _, position in candidates[:N_POSITIONS]]


def _logprobs(model: Any, inputs: Any) -> Any:
    """Log-probabilities of the next token at every position: [n_tokens, n_vocabulary]."""
    import torch

    with torch.no_grad():
        return torch.log_softmax(model(input_ids=inputs).logits[0].float(), dim=-1).cpu()
