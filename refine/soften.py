"""As much of the adapter as the corrections need, and no more.

An adapter that is weakened a little keeps more of the base and still mends (weights between the
fine-tuned and the original ones: Wortsman et al., 2022, WiSE-FT). So after training the smallest
strength is taken at which the corrections, its own and those held back for validation, are still
answered as at full strength; and one step of margin is added, since people will ask in words that
no flag used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

STRENGTHS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
MARGIN_STEPS = 1
MAX_ROWS = 256
TOLERANCE = 0.01  # of the rows answered at full strength


def weaken(model: Any, encoded: Sequence[tuple[list[int], int]]) -> float:
    """Multiply the adapter "default" of a PeftModel by the strength it needs; returns it.

    Args:
        encoded: (token ids of prompt and correction, number of prompt tokens) of each row.
    """
    layers = [layer for layer in model.modules() if "default" in getattr(layer, "lora_B", {})]
    full = [layer.scaling["default"] for layer in layers]
    rows = list(encoded)[:: max(1, len(encoded) // MAX_ROWS)][:MAX_ROWS]
    wanted, chosen = None, 0
    model.eval()
    for i, strength in enumerate(STRENGTHS):
        for layer, scaling in zip(layers, full, strict=True):
            layer.scaling["default"] = scaling * strength
        n_right = sum(_is_likeliest(model, ids, n_prompt) for ids, n_prompt in rows)
        wanted = n_right if wanted is None else wanted
        if n_right < (1 - TOLERANCE) * wanted:
            break
        chosen = i
    strength = STRENGTHS[max(0, chosen - MARGIN_STEPS)]
    import torch

    with torch.no_grad():
        for layer, scaling in zip(layers, full, strict=True):
            layer.scaling["default"] = scaling
            layer.lora_B["default"].weight.mul_(strength)
    return strength


def _is_likeliest(model: Any, ids: list[int], n_prompt: int) -> bool:
    """Is every token of the correction the likeliest one where it stands?"""
    import torch

    inputs = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        best = model(input_ids=inputs).logits[0, n_prompt - 1 : -1].argmax(-1)
    return bool((best == inputs[0, n_prompt:]).all())
