"""Mends vLLM's LoRA arithmetic on CPU, inside the engine's worker, which imports this module
because of ``--worker-extension-cls`` (see ``serve.engine.launch``).

vLLM marks a token without adapter by the slot -1. The CPU kernels (``vllm/lora/ops/torch_ops``,
0.32) use it as an index, and -1 is the *last* slot: once as many adapters as ``--max-loras`` have
been loaded since the engine's start (unloading over HTTP empties no slot), the base answers with
one of them. Measured: the base's log-probabilities off by 2.3 nats. Kernels for GPUs skip -1.

On processors with AMX, vLLM's attention runs tile instructions without asking the kernel for them.
oneDNN asks at its first large product, so a model of the usual size works, and the worker of a tiny
one dies of SIGILL at its first token. ``torch.cpu._init_amx`` asks first.
"""

from __future__ import annotations

from typing import Any


class WorkerExtension:
    """Adds nothing to the worker: vLLM imports this module to find it."""


def base_gets_an_adapter() -> bool:
    """Whether the installed kernels take the last slot for tokens without adapter."""
    import torch
    from vllm.lora.ops.torch_ops import lora_ops

    shrunk = torch.zeros(1, 1)
    lora_ops.bgmv_shrink(torch.ones(1, 1), torch.ones(2, 1, 1, 1), shrunk, torch.tensor([-1]))
    return bool(shrunk.any())


def mend() -> None:
    """Let the first half of every adapter's product be zero for tokens without adapter; the second
    half then adds nothing. Changes nothing in a vLLM without the fault."""
    if not base_gets_an_adapter():
        return
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    kernels: Any = lora_ops
    callers: Any = punica_cpu
    shrink = kernels.bgmv_shrink

    def bgmv_shrink(
        inputs: Any, weights: Any, output: Any, slots: Any, scaling: float = 1.0
    ) -> None:
        shrink(inputs, weights, output, slots, scaling)
        output[slots < 0] = 0

    kernels.bgmv_shrink = bgmv_shrink  # sgmv_shrink calls it from there
    callers.bgmv_shrink = bgmv_shrink


def ask_for_amx() -> None:
    """Ask the kernel for AMX tiles, where the processor has them."""
    import torch

    if torch.cpu._is_amx_tile_supported():
        torch.cpu._init_amx()


mend()
ask_for_amx()
