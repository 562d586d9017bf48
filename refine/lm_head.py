"""The last layer of a training on a CPU: log-probabilities of labels, and their gradient at once.

TRL's own (``trl.kernels.ChunkedLogProbFunction``) is written for GPUs: on the way back it makes the
logits again and multiplies their gradient in float32, a third of a small model's step on a CPU.
Where the layer's own weights don't learn, the gradient of a token's log-probability by its hidden
state is known as soon as its logits are:

    d log p(t) / d h = W[t] - sum_v p(v) W[v]

So the way there keeps that row, [hidden size], and the way back scales it. Derived by hand; Liger's
fused cross entropy (Hsu et al. 2024, section 3.2) does likewise for the loss as a whole.
"""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer import utils

TOKENS = 128  # whose logits there are at once: 25 MB in float32 for a vocabulary of 49,152
OF_TRL = utils._ChunkedLogProbFunction


class LogProbs(torch.autograd.Function):
    """``apply`` takes and gives what TRL's does: of hidden states [n, hidden size] and targets [n]
    their log-probabilities in nats, and entropy, mean logit and whether the target is the first of
    the likeliest as asked for, all [n]. Only the log-probabilities have a gradient.

    Raises:
        NotImplementedError: on the way back, where a loss holds the entropy.
    """

    @classmethod
    def apply(cls, hidden: Any, weight: Any, bias: Any, targets: Any, temperature: float,
              chunk_size: int, softcap: float | None = None, scale: float = 1.0,
              outputs: tuple[str, ...] = ()) -> Any:  # fmt: skip
        learns = any(one is not None and one.requires_grad for one in (weight, bias))
        is_plain = (temperature, softcap, scale) == (1.0, None, 1.0)
        if hidden.device.type != "cpu" or learns or not is_plain or "log_sum_sq_probs" in outputs:
            return OF_TRL.apply(
                hidden, weight, bias, targets, temperature, chunk_size, softcap, scale, outputs
            )
        return super().apply(hidden, weight, bias, targets, outputs)

    @staticmethod
    def forward(
        ctx: Any, hidden: Any, weight: Any, bias: Any, targets: Any, outputs: tuple[str, ...]
    ) -> Any:
        is_autocast = torch.is_autocast_enabled("cpu")
        dtype = torch.get_autocast_dtype("cpu") if is_autocast else hidden.dtype
        weight = weight.to(dtype)
        asked: dict[str, list[Any]] = {name: [] for name in outputs if name != "log_probs"}
        log_probs, slopes = [], []
        for states, labels in zip(hidden.split(TOKENS), targets.split(TOKENS), strict=True):
            logits = states.to(dtype) @ weight.T
            if bias is not None:
                logits += bias.to(dtype)
            label = labels[:, None]
            if "is_top1" in asked:
                is_top1 = logits.gather(1, label)[:, 0] == logits.amax(-1)
                is_top1[is_top1.clone()] = logits[is_top1].argmax(-1) == labels[is_top1]
                asked["is_top1"].append(is_top1)
            if "mean_logits" in asked:
                asked["mean_logits"].append(logits.mean(-1, dtype=torch.float32))
            of_all = logits.log_softmax(-1, dtype=torch.float32)
            log_probs.append(of_all.gather(1, label)[:, 0])
            if "entropy" not in asked and not ctx.needs_input_grad[0]:
                continue
            probs = of_all.exp()
            if "entropy" in asked:
                asked["entropy"].append(-of_all.mul_(probs).sum(-1))
            if ctx.needs_input_grad[0]:
                probs.scatter_add_(1, label, torch.full(label.shape, -1.0))
                slopes.append((probs.to(dtype) @ weight).float().neg_())
        ctx.dtype = hidden.dtype
        ctx.save_for_backward(torch.cat(slopes) if slopes else None)
        ctx.set_materialize_grads(False)
        found = {name: torch.cat(values) for name, values in asked.items()}
        ctx.mark_non_differentiable(*(found[name] for name in found if name != "entropy"))
        names = ("entropy", "log_sum_sq_probs", "mean_logits", "is_top1")  # in TRL's order
        return torch.cat(log_probs), *(found.get(name) for name in names)

    @staticmethod
    def backward(ctx: Any, of_log_probs: Any, of_entropy: Any, *_: Any) -> Any:
        if of_entropy is not None:
            raise NotImplementedError("the entropy has no gradient here: ask for it detached")
        (slopes,) = ctx.saved_tensors
        return (slopes * of_log_probs[:, None]).to(ctx.dtype), None, None, None, None


class Divergence(torch.autograd.Function):
    """KL(base || model) in nats, summed over tokens, of both's logits [n, vocabulary]; only the
    model's have a gradient, which is the model's probabilities less the base's."""

    @staticmethod
    def forward(ctx: Any, of_base: Any, of_model: Any) -> Any:
        nats = torch.zeros((), dtype=torch.float32, device=of_model.device)
        slopes = torch.empty_like(of_model) if ctx.needs_input_grad[1] else None
        for at in range(0, len(of_model), TOKENS):
            some = slice(at, at + TOKENS)
            base = of_base[some].log_softmax(-1, dtype=torch.float32)
            model = of_model[some].log_softmax(-1, dtype=torch.float32)
            by_base = base.exp()
            nats += base.sub_(model).mul_(by_base).sum()
            if slopes is not None:
                slopes[some] = model.exp_().sub_(by_base)
        ctx.save_for_backward(slopes)
        return nats

    @staticmethod
    def backward(ctx: Any, of_nats: Any) -> Any:
        (slopes,) = ctx.saved_tensors
        return None, slopes * of_nats


def make_logits_where_labels_are() -> None:
    """Let TRL's trainers make logits where there is a label, and by ``LogProbs`` on a CPU.

    TRL 1.16 does the first on GPUs; elsewhere it scores every position of a padded batch, which on
    a CPU takes as long as the rest of a small model, and gigabytes (``trl.trainer.utils``,
    ``add_fused_lm_head``: ``compact``, for the sake of compilers that fix shapes).
    """
    assert callable(utils._use_triton), "TRL changed: look for 'compact' in add_fused_lm_head"
    utils._use_triton = lambda device: True
    utils._ChunkedLogProbFunction = LogProbs
