"""vLLM's LoRA arithmetic on CPU, mended and made fast, in the engine's process that runs the model.
That imports this module because of ``--worker-extension-cls`` (see ``serve.engine.launch``).

vLLM 0.32 multiplies each token by a copy of its adapter's weights, in every layer, also tokens that
have no adapter, and also by what no adapter changes (the output matrix). Here the tokens of one
adapter are one matrix product; layers of several parts (queries, keys and values) keep their parts
in one matrix. Few tokens are multiplied as float32: that is one call of MKL on one core, where
bfloat16 products of such sizes mostly wait for the other core.

It also marks a token without adapter by the slot -1, which its CPU kernels use as an index: the
*last* slot. Once as many adapters as ``--max-loras`` have been loaded since the engine's start
(unloading over HTTP empties no slot), the base answers with one of them. Measured: the base's
log-probabilities off by 2.3 nats. Kernels for GPUs skip -1.

On processors with AMX, vLLM's attention runs tile instructions without asking the kernel for them.
oneDNN asks at its first large product, so a model of the usual size works, and the worker of a tiny
one dies of SIGILL at its first token. ``torch.cpu._init_amx`` asks first.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch

FEW_TOKENS = 64
# A slot in use by a batch, and its rows of it; None: all.
Groups = list[tuple[int, torch.Tensor | None]]
Slots = list[tuple[torch.Tensor | None, torch.Tensor]]  # each slot's matrices


class WorkerExtension:
    """Adds nothing to the worker: vLLM imports this module to find it."""


def groups_of(slots: torch.Tensor) -> Groups:
    """The rows of each slot that is named; -1 names none."""
    named = slots.unique().tolist()
    if len(named) == 1:
        return [(slot, None) for slot in named if slot >= 0]
    return [(slot, (slots == slot).nonzero().flatten()) for slot in named if slot >= 0]


def add_product(
    y: torch.Tensor, x: torch.Tensor, groups: Groups, slots: Slots, scale: float = 1.0
) -> None:
    """``y[rows] += scale * x[rows] @ a @ b`` with each slot's ``a`` and ``b``, in place.

    Args:
        y, x: of shape (tokens, outputs) and (tokens, inputs).
        slots: a of shape (inputs, rank), None where x is that product already; b of shape
            (rank, outputs).
    """
    for slot, rows in groups:
        a, b = slots[slot]
        part = x if rows is None else x[rows]
        # Rounded as bfloat16 products are, so that an answer does not hang on who else is answered.
        dtype = torch.float32 if part.shape[0] <= FEW_TOKENS else x.dtype
        if a is not None:
            part = torch.mm(part.to(dtype), a.to(dtype)).to(x.dtype)
        change = torch.mm(part.to(dtype), b.to(dtype)).to(y.dtype)
        target = y if change.shape[1] == y.shape[1] else y[:, : change.shape[1]]
        if rows is None:
            target.add_(change, alpha=scale)
        else:
            target.index_add_(0, rows, change, alpha=scale)


def slots_of(a: Any, b: torch.Tensor, n_outputs: int | None = None) -> Slots:
    """What ``add_product`` takes, as views of vLLM's matrices, up to ``n_outputs``.

    Args:
        a: of shape (slots, 1, rank, inputs); None: there is none.
        b: of shape (slots, 1, outputs, rank).
    """
    return [
        (None if a is None else a[slot, 0].T, b[slot, 0, :n_outputs].T)
        for slot in range(b.shape[0])
    ]


def fuse(layer: Any) -> None:
    """Keep the parts of a layer's matrices in one, as float32: A's above each other, B's along a
    diagonal. What vLLM writes its weights into are views of the parts."""
    parts_a, parts_b = layer.lora_a_stacked, layer.lora_b_stacked
    n_slots, _, rank, n_inputs = parts_a[0].shape
    n_outputs = [part.shape[2] for part in parts_b]
    a = torch.zeros(n_slots, 1, rank * len(parts_a), n_inputs)
    b = torch.zeros(n_slots, 1, sum(n_outputs), rank * len(parts_a))
    layer.lora_a_stacked = a.split(rank, dim=2)
    layer.lora_b_stacked = tuple(
        part[..., i * rank : (i + 1) * rank] for i, part in enumerate(b.split(n_outputs, dim=2))
    )
    layer.lora_a_stacked[0].slots = slots_of(a, b)  # made once: views take longer than a product


def _slots(b: torch.Tensor) -> set[int]:
    """Slots whose adapter changes the layer that has this matrix."""
    return b.__dict__.setdefault("slots_with_weights", set())


def speed_up(punica: Any) -> None:
    """Put the products in the place of vLLM's. ``punica``: its class for CPUs."""
    update_metadata = punica.update_metadata

    @wraps(update_metadata)
    def update(self: Any, *args: Any, **kwargs: Any) -> None:
        update_metadata(self, *args, **kwargs)
        self.groups = groups_of(self.token_lora_indices)
        self.sampled = groups_of(self.sampler_indices)

    def add_lora_linear(
        self: Any, y: Any, x: Any, a: Any, b: Any, scale: float, *_: Any, **__: Any
    ) -> None:
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        add_product(y, x, self.groups, a[0].slots, scale)

    def add_lora_embedding(self: Any, y: Any, x: Any, b: Any, **_: Any) -> None:
        groups = [one for one in self.groups if one[0] in _slots(b)]
        if groups:
            add_product(y, x, groups, slots_of(None, b))

    def add_lora_logits(self: Any, y: Any, x: Any, a: Any, b: Any, scale: float, **_: Any) -> None:
        groups = [one for one in self.sampled if one[0] in _slots(b)]
        if groups:
            y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
            add_product(y, x, groups, slots_of(a, b, y.shape[1]), scale)

    punica.update_metadata = update
    punica.groups = punica.sampled = ()
    punica.add_lora_linear = add_lora_linear
    punica.add_lora_embedding = add_lora_embedding
    punica.add_lora_logits = add_lora_logits


def mend() -> None:
    from vllm.lora.layers import base_linear, column_parallel_linear, logits_processor
    from vllm.lora.layers import vocab_parallel_embedding as embedding
    from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

    speed_up(PunicaWrapperCPU)
    for kind in (
        base_linear.BaseLinearLayerWithLoRA,
        column_parallel_linear.MergedColumnParallelLinearWithLoRA,
    ):
        _then(kind, "create_lora_weights", lambda layer, *_: fuse(layer))
    for kind in (
        logits_processor.LogitsProcessorWithLoRA,
        embedding.VocabParallelEmbeddingWithLoRA,
    ):
        _then(kind, "reset_lora", lambda one, slot: _slots(one.lora_b_stacked).discard(slot))
        _then(kind, "set_lora", lambda one, slot, *_: _slots(one.lora_b_stacked).add(slot))


def _then(kind: Any, name: str, do: Any) -> None:
    """Call ``do`` after a method, with its arguments."""
    method = getattr(kind, name)

    @wraps(method)
    def both(self: Any, *args: Any, **kwargs: Any) -> None:
        method(self, *args, **kwargs)
        do(self, *args)

    setattr(kind, name, both)


def ask_for_amx() -> None:
    """Ask the kernel for AMX tiles, where the processor has them."""
    if torch.cpu._is_amx_tile_supported():
        torch.cpu._init_amx()


mend()
ask_for_amx()
