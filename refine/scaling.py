"""As much of the adapter as the corrections need, and no more.

An adapter that is weakened a little keeps more of the base and still mends (weights between the
fine-tuned and the original ones: Wortsman et al., 2022, WiSE-FT). So after training the smallest
strength is taken at which the corrections, its own and those held back for validation, are still
learnt; and one step of margin is added, since people will ask in words that no flag used.

Learnt means both: what is answered word for word at full strength still is (but for one row in a
hundred), and the corrections are as likely as training made them (but for a fiftieth of what it
added). The first decides for short answers; of long ones hardly any is answered word for word,
and the second does. On a small model it is the first, several steps before the second
(docs/training-defaults.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

STRENGTHS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5)
MARGIN_STEPS = 1
MAX_ROWS = 256
TOLERANCE = 0.01  # of the rows answered at full strength
GAIN_TOLERANCE = 0.02  # of the log-probability that the adapter adds at full strength


def weaken(model: Any, encoded: Sequence[tuple[list[int], int]]) -> float:
    """Multiply the adapter "default" of a PeftModel by the strength it needs; returns it.

    Args:
        encoded: (token ids of prompt and correction, number of prompt tokens) of each row; with
            none the adapter stays as it is.
    """
    import torch

    if not encoded:
        return 1.0
    layers = [layer for layer in model.modules() if "default" in getattr(layer, "lora_B", {})]
    full = [layer.scaling["default"] for layer in layers]
    rows = list(encoded)[:: -(-len(encoded) // MAX_ROWS)]
    model.eval()

    def at(strength: float) -> tuple[int, float]:
        for layer, scaling in zip(layers, full, strict=True):
            layer.scaling["default"] = scaling * strength
        found = [correction_score(model, ids, n_prompt) for ids, n_prompt in rows]
        return sum(right for right, _ in found), sum(mean for _, mean in found) / len(found)

    n_right, likely = at(1.0)
    gain = max(0.0, likely - at(0.0)[1])
    chosen = 0
    for i, strength in enumerate(STRENGTHS[1:], start=1):
        n_still, likely_still = at(strength)
        if n_still < (1 - TOLERANCE) * n_right or likely_still < likely - GAIN_TOLERANCE * gain:
            break
        chosen = i
    strength = STRENGTHS[max(0, chosen - MARGIN_STEPS)]
    with torch.no_grad():
        for layer, scaling in zip(layers, full, strict=True):
            layer.scaling["default"] = scaling
            layer.lora_B["default"].weight.mul_(strength)
    return strength


def correction_score(model: Any, ids: list[int], n_prompt: int) -> tuple[bool, float]:
    """Is every token of the correction the likeliest one where it stands, and how likely are
    they: the mean natural-log probability a token."""
    import torch

    inputs = torch.tensor([ids], device=model.device)
    with torch.no_grad():
        logits = model(input_ids=inputs).logits[0, n_prompt - 1 : -1].float()
    wanted = inputs[0, n_prompt:]
    logprobs = torch.log_softmax(logits, -1).gather(-1, wanted[:, None])
    return bool((logits.argmax(-1) == wanted).all()), float(logprobs.mean())
