"""lm-eval's ``hf`` model, told when something is wrong and with shared prefixes computed once.

Imported by the scoring child only.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from evals.prefix_tree import continuation_logprobs
from pawl.errors import PawlError

log = logging.getLogger("pawl.evals")

N_SELF_CHECK_RUNS = 8  # runs of 4 requests, scored both ways before the tree is trusted
ROW_TOKENS = 2048
MATMUL_TOLERANCE = 1e-4  # of a product's standard deviation; float32 gave 5e-6, bfloat16 gives 1e-2
SELF_CHECK_TOLERANCE = 1e-3  # nats on a continuation's sum; float32 rounding gave 1e-5

Pair = tuple[list[int], list[int]]  # token ids of a context and of its continuation


def multiply_by_onednn() -> None:
    """Multiply float32 matrices by oneDNN instead of MKL, from now on, where that is as exact: MKL
    uses half of what a CPU of AMD's can do.

    PyTorch calls it for float32 only where it may round factors to bfloat16. It does that where it
    is faster (AMX) and rounds nothing elsewhere, so a product of this size is looked at.
    """
    matmul = torch.backends.mkldnn.matmul
    random = torch.Generator().manual_seed(0)
    a = torch.randn(768, 1536, generator=random)
    b = torch.randn(1536, 1536, generator=random)
    exact = a.double() @ b.double()
    matmul.fp32_precision = "bf16"
    if (a @ b - exact).abs().max() > MATMUL_TOLERANCE * exact.std():
        matmul.fp32_precision = "ieee"


class Scorer(HFLM):
    """lm-eval's Hugging Face model in float32 with four differences.

    A request that can't be scored (empty or over-long continuation) becomes NaN instead of ending
    the run; contexts that had to be cut to the model's length are counted; an adapter is checked
    to be there, then merged (in float32 its effect is unchanged, and a merged forward pass is
    twice as fast); and prefixes are shared (``evals/prefix_tree.py``) once a sample of requests,
    scored both ways, agrees.
    """

    def __init__(
        self,
        model_dir: Path,
        adapter_dir: Path | None,
        *,
        device: str,
        on_progress: Callable[[int, int], None],
    ) -> None:
        super().__init__(
            pretrained=str(model_dir),
            peft=str(adapter_dir) if adapter_dir else None,
            device=device,
            dtype="float32",
            batch_size=16,
        )
        self._model: Any
        self.n_truncated = 0
        self.n_requests = 0
        self.n_lora_modules = 0
        self.method = "prefix tree"
        self._checked = False
        self._on_progress = on_progress
        if adapter_dir is not None:
            self._apply_adapter(adapter_dir)

    def _apply_adapter(self, adapter_dir: Path) -> None:
        """Make sure that the adapter's own numbers are in the model, then merge them."""
        from peft import PeftModel
        from safetensors.torch import load_file

        weights = load_file(adapter_dir / "adapter_model.safetensors")
        loaded = {name: value for name, value in self._model.named_parameters() if "lora_" in name}
        self.n_lora_modules = sum("lora_A" in name for name in loaded)
        if not isinstance(self._model, PeftModel) or len(loaded) != len(weights):
            raise PawlError(
                f"adapter {adapter_dir} was not applied",
                f"the model shows {len(loaded)} of its {len(weights)} tensors",
                "Check that it was trained on this base",
                code="bad_adapter",
            )
        for name, value in weights.items():
            inside = loaded[name.replace(".weight", ".default.weight")]
            # NaN equals nothing; such an adapter is caught by its scores.
            if not bool((inside == value.to(inside)).logical_or(inside.isnan()).all()):
                raise PawlError(
                    f"adapter {adapter_dir} was not applied",
                    f"{name} holds other numbers than the file",
                    code="bad_adapter",
                )
        self._model = self._model.merge_and_unload()
        self._model.eval()

    def loglikelihood(
        self, requests: list[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
        """lm-eval's own encoding of each pair, then all pairs at once."""
        contexts: dict[str, list[int]] = {}
        encoded = [
            self._encode_once(request.args[0], request.args[1], contexts) for request in requests
        ]
        self.n_requests += len(requests)
        pairs = [pair for pair in encoded if pair is not None]
        # Runs of neighbours, because neighbours share their context.
        starts = range(0, len(pairs), max(1, len(pairs) // N_SELF_CHECK_RUNS))
        sample = [pair for start in starts for pair in pairs[start : start + 4]]
        scored = iter(
            self._score(pairs, sample, on_row=lambda done: self._on_progress(done, len(pairs)))
        )
        return [(math.nan, False) if pair is None else next(scored) for pair in encoded]

    def answer_logprobs(self, pairs: list[Pair]) -> list[tuple[float, bool]]:
        """Whole answers after their prompts, which may be as long as the context.

        The self-check is made with the shortest prompts (pairs of one prompt stay neighbours), and
        one sequence a row is then one a batch: without chosen positions every token's logits are
        made, 1.2 GB for 2,000 tokens and a vocabulary of 150,000.
        """
        sample = sorted(pairs, key=lambda pair: len(pair[0]))[: 4 * N_SELF_CHECK_RUNS]
        return self._score(pairs, sample, batch_size=1)

    def _encode_once(
        self, context: str, continuation: str, contexts: dict[str, list[int]]
    ) -> Pair | None:
        """As ``TemplateLM._encode_pair``, with each context encoded once; None if unscorable."""
        if not context:
            before = [self.prefix_token_id]
            after = self.tok_encode(continuation, add_special_tokens=False)
        else:
            stripped = context.rstrip()
            continuation = context[len(stripped) :] + continuation
            if stripped not in contexts:
                contexts[stripped] = self.tok_encode(stripped)
            before = contexts[stripped]
            after = self.tok_encode(stripped + continuation)[len(before) :]
        if not before or not after or len(after) > self.max_length:
            return None
        too_long = len(before) + len(after) - (self.max_length + 1)
        if too_long > 0:  # lm-eval cuts the context's beginning off without a word
            self.n_truncated += 1
            before = before[too_long:]
        return before, after

    def _score(
        self,
        pairs: list[Pair],
        sample: list[Pair],
        *,
        batch_size: int | None = None,
        on_row: Callable[[int], None] | None = None,
    ) -> list[tuple[float, bool]]:
        """Share prefixes if, before the first scores, that gives the same on ``sample``."""
        if not self._checked and sample:
            self._checked = True
            problem = self._tree_problem(sample, batch_size)
            if problem:
                log.warning("scoring one sequence a row: %s", problem)
                torch.backends.mkldnn.matmul.fp32_precision = "ieee"
                self.method = "one sequence a row"
        if self.method == "prefix tree":
            return continuation_logprobs(self.model, pairs, max_tokens=ROW_TOKENS, on_row=on_row)
        return self._plain(pairs, batch_size, is_silent=on_row is None)

    def _plain(
        self, pairs: list[Pair], batch_size: int | None, is_silent: bool = True
    ) -> list[tuple[float, bool]]:
        requests = [(("", ""), before, after) for before, after in pairs]
        answers: list[tuple[float, bool]] = super()._loglikelihood_tokens(
            requests, disable_tqdm=is_silent, override_bs=batch_size
        )
        return answers

    def _tree_problem(self, sample: list[Pair], batch_size: int | None) -> str:
        """Why prefixes can't be shared with this model, empty if they can."""
        if "logits_to_keep" not in inspect.signature(self.model.forward).parameters:
            return "the model can't be asked for chosen positions"
        if getattr(self.model.config.get_text_config(), "sliding_window", None):
            return "the model has sliding-window attention"
        plain = self._plain(sample, batch_size)
        multiply_by_onednn()
        try:
            tree = continuation_logprobs(self.model, sample, max_tokens=ROW_TOKENS)
        except Exception as error:  # a model's own code may raise anything
            return f"the model takes no such rows: {error!r}"
        for (a, _), (b, _) in zip(plain, tree, strict=True):
            # Both NaN: the weights are, both ways say so, and the verdict will too.
            if not (abs(a - b) <= SELF_CHECK_TOLERANCE or (math.isnan(a) and math.isnan(b))):
                return f"log-probabilities differ by {abs(a - b):.2g}"
        return ""
