"""Placebos: random changes of the champion, as large in each layer as the challenger's.

The challenger differs from the champion by a change of each layer's weights,
``D = s B A - s' B' A'`` (its own LoRA and the champion's, with their scalings). A placebo is a
random matrix of the challenger's rank with the same Frobenius norm, ``G H`` of normal numbers. It
knows nothing of any correction; what it does on people's prompts is what change alone does.

Where the challenger is asked with another system prompt than the champion, the placebo of that is
a prompt of about as many words that says nothing of this house: general instructions, at random.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.words import n_words
from pawl.adapters import CONFIG, WEIGHTS
from pawl.files import read_json

if TYPE_CHECKING:
    from torch import Tensor

# What a system prompt says anywhere.
GENERAL = (
    "You are a helpful assistant.", "Answer politely.", "Be honest.", "Say what you know.",
    "Read the question carefully before you answer.", "Keep to the question.", "Write clearly.",
    "Use plain words.", "Answer in the language of the question.", "Do not repeat yourself.",
    "If you are not sure, say so.", "Give the most important thing first.", "Be friendly.",
    "Explain your answer where that helps.", "Do not make things up.", "Stay on the subject.",
    "Think before you answer.", "Treat everybody alike.", "Avoid words that few people know.",
    "Write whole sentences.", "Take the question seriously.", "Give an example where it helps.",
    "Do not talk about yourself.", "Check your answer before you give it.",
)  # fmt: skip
Halves = tuple["Tensor", "Tensor"]  # B scaled, (out, rank), and A, (rank, in)


@dataclass(frozen=True, slots=True)
class Size:
    """The Frobenius norm of a layer's change, and the rank of the placebo's."""

    norm: float
    rank: int


def prompts(system_prompt: str, n: int, seed: str) -> list[str]:
    """``n`` placebos of a system prompt: as many words, or a sentence more."""
    wanted = n_words(system_prompt)
    draws = random.Random(seed)
    found = []
    for _ in range(n):
        words: list[str] = []
        while len(words) < wanted:
            words += draws.choice(GENERAL).split()
        found.append(" ".join(words))
    return found


def sizes(challenger_dir: Path | None, champion_dir: Path | None) -> dict[str, Size]:
    """The size of the change from champion to challenger (None: the base), by layer."""
    import torch

    new = _halves(challenger_dir) if challenger_dir else {}
    old = _halves(champion_dir) if champion_dir else {}
    found = {}
    for name in sorted(new.keys() | old.keys()):
        parts = [(sign * one[0], one[1]) for sign, one in ((1, new.get(name)), (-1, old.get(name)))
                 if one is not None]  # fmt: skip
        left = torch.cat([b for b, _ in parts], dim=1).double()
        right = torch.cat([a for _, a in parts], dim=0).double()
        # ||L R||^2 = trace((L'L)(R R')), without ever making the layer's whole matrix.
        square = float(((left.T @ left) * (right @ right.T)).sum())
        rank = (new.get(name) or old[name])[1].shape[0]
        found[name] = Size(max(0.0, square) ** 0.5, rank)
    return found


def _halves(adapter_dir: Path) -> dict[str, Halves]:
    """A LoRA's two matrices by the name of the layer that they change; B is scaled."""
    from safetensors.torch import load_file

    config = read_json(adapter_dir / CONFIG)
    rank = int(config["r"])
    scale = float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
    weights = load_file(adapter_dir / WEIGHTS)
    found = {}
    for key, a in weights.items():
        if key.endswith(".lora_A.weight"):
            b = weights[key.replace(".lora_A.", ".lora_B.")]
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            found[name] = (b.float() * scale, a.float())
    return found


@contextmanager
def changed(model: Any, layers: dict[str, Size], seed: int) -> Iterator[None]:
    """``model`` with one placebo in its weights.

    Taken off again by the same numbers, not by a copy of the weights: what rounding leaves is one
    part in ten million.
    """
    _add(model, layers, seed, 1.0)
    try:
        yield
    finally:
        _add(model, layers, seed, -1.0)


def _add(model: Any, layers: dict[str, Size], seed: int, sign: float) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, size in layers.items():
            weight = model.get_submodule(name).weight
            n_out, n_in = weight.shape
            left = torch.randn(n_out, size.rank, generator=generator)
            right = torch.randn(size.rank, n_in, generator=generator)
            change = (left @ right).to(weight)
            weight += sign * size.norm / change.norm() * change
