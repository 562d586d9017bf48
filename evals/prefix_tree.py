"""Log-probabilities of many continuations in few forward passes, by sharing prefixes.

A multiple-choice item asks for k continuations of one context, TruthfulQA puts the same 200-token
preamble before every question, and MMLU's four letters need one and the same distribution. Scored
one sequence a row (as lm-eval's ``hf`` model does) all that is computed again and again. Here the
sequences, sorted, become the paths of a prefix tree that is laid out in one row; a token attends
to its ancestors alone and stands at its own depth, so each path sees exactly what it would see in
a row of its own. (The idea is tree attention, from speculative decoding: Miao et al. 2024,
SpecInfer, arXiv 2305.09781.) Attention is worked out for some neighbours at a time, over the tokens
that these may see: a row of many short trees costs little more than they would one by one, and a
long beginning is there once.

Example: the sequences ``[5 6 7 8]`` and ``[5 6 9]`` become

    ids        5 6 7 8 9
    positions  0 1 2 3 2
    9 attends to 5, 6 and itself
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

BLOCK_TOKENS = 64  # whose attention is worked out at once
BLOCKWISE = "pawl_blockwise"  # the attention's name among transformers' own
Block = tuple[int, int, torch.Tensor, torch.Tensor]  # see ``blocks_of``
_BY_NAME = re.compile(r"_attn_implementation\s*(?:==|!=|in\b|not in\b)")


@dataclass(slots=True)
class Row:
    """One row: token ids, depths, and the segments that its mask is made from.

    ``segments`` are (start, end, path): tokens start..end follow the node ``path[-1]``, whose
    ancestors (itself included) are ``path``. ``paths`` maps a sequence's index to its nodes.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[tuple[int, int, list[int]]] = field(default_factory=list)
    paths: dict[int, list[int]] = field(default_factory=dict)

    def mask(self) -> np.ndarray:
        """Who attends to whom, bool of shape (tokens, tokens)."""
        mask = np.zeros((len(self.ids), len(self.ids)), dtype=bool)
        for start, end, path in self.segments:
            mask[start:end, path] = True
            mask[start:end, start:end] = np.tri(end - start, dtype=bool)
        return mask


def pack(
    sequences: Sequence[Sequence[int]],
    max_tokens: int,
    n_read: Sequence[int] | None = None,
    max_read: int = 0,
) -> Iterator[Row]:
    """Lay sequences out as prefix trees in rows of at most ``max_tokens`` tokens, of which
    ``max_read`` at most are read if ``n_read`` says how many are of each sequence.

    A sequence longer than that gets a row of its own. Every sequence is in one row.
    """
    order = sorted(range(len(sequences)), key=lambda i: list(sequences[i]))
    row, left = Row(), max_read
    last: list[int] = []
    last_path: list[int] = []
    for index in order:
        sequence = list(sequences[index])
        shared = 0
        for a, b in zip(sequence, last, strict=False):
            if a != b:
                break
            shared += 1
        read = n_read[index] if n_read else 0
        if row.ids and (len(row.ids) + len(sequence) - shared > max_tokens or read > left):
            yield row
            row, last_path, shared, left = Row(), [], 0, max_read
        left -= read
        start = len(row.ids)
        row.ids += sequence[shared:]
        row.positions += range(shared, len(sequence))
        end = len(row.ids)
        path = last_path[:shared] + list(range(start, end))
        if end > start:
            row.segments.append((start, end, path[:shared]))
        row.paths[index] = path
        last, last_path = sequence, path
    if row.ids:
        yield row


def blocks_of(bias: torch.Tensor) -> list[Block]:
    """Runs of neighbours with what they see: (start, end, the tokens that any of start..end sees,
    their part of ``bias``, which is 0 where a token sees another)."""
    blocks = []
    for start in range(0, len(bias), BLOCK_TOKENS):
        rows = bias[start : start + BLOCK_TOKENS]
        seen = (rows == 0).any(0).nonzero()[:, 0]
        blocks.append((start, start + len(rows), seen, rows[:, seen]))
    return blocks


def _attend_blockwise(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    blocks: Sequence[Block] | None = None,
    blocks_are_of: torch.Tensor | None = None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers' ``sdpa``; with ``blocks``, of shape (1, heads, tokens, dimension) each."""
    is_same = (
        attention_mask is not None
        and blocks_are_of is not None
        and attention_mask.data_ptr() == blocks_are_of.data_ptr()
    )
    # A model may not pass them on, or have made another mask for a layer.
    if blocks is None or not is_same:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    parts = [
        sdpa_attention_forward(
            module, query[:, :, start:end], key[:, :, seen], value[:, :, seen], sees, **options
        )[0]
        for start, end, seen, sees in blocks
    ]
    return torch.cat(parts, dim=1), None


AttentionInterface.register(BLOCKWISE, _attend_blockwise)
AttentionMaskInterface.register(BLOCKWISE, sdpa_mask)


def _takes_blocks(kind: Any) -> bool:
    """``kind``: a model's class. Not where it compares the attention's name: DeepSeek V3.2's chosen
    tokens hang on that."""
    kinds = {one.kind for one in inspect.signature(kind.forward).parameters.values()}
    source = inspect.getsource(sys.modules[kind.__module__])
    return inspect.Parameter.VAR_KEYWORD in kinds and not _BY_NAME.search(source)


@contextmanager
def _blockwise(model: Any) -> Iterator[bool]:
    """Attention by blocks, where the model's own is ``sdpa`` and nothing more hangs on that name.
    Yields whether it takes ``blocks``."""
    before = model.config._attn_implementation
    if before != "sdpa" or not _takes_blocks(type(model)):
        yield False
        return
    model.set_attn_implementation(BLOCKWISE)
    try:
        yield model.config._attn_implementation == BLOCKWISE
    finally:
        model.set_attn_implementation(before)


@torch.no_grad()
def continuation_logprobs(
    model: torch.nn.Module,
    requests: Sequence[tuple[list[int], list[int]]],
    *,
    max_tokens: int,
    max_read: int = 512,
    on_row: Callable[[int], None] | None = None,
) -> list[tuple[float, bool]]:
    """Log-probability of each continuation after its context, and whether greedy would write it.

    Args:
        model: a causal language model of transformers; takes 4-dimensional masks.
        requests: pairs of token ids, context and continuation, neither empty.
        max_tokens: tokens of a row; a row's masks take 10 bytes for each pair of them.
        max_read: tokens of a row whose logits are made: 4 bytes each for every word of the
            vocabulary, twice.
        on_row: called with the number of requests done after every row.

    Returns:
        For each request the sum over its tokens (natural logarithm) and the greedy flag.
    """
    device = next(model.parameters()).device
    dtype = next(model.parameters()).dtype
    unique: dict[tuple[int, ...], int] = {}  # the last token is predicted, never read
    which = [unique.setdefault(tuple((c + a)[:-1]), len(unique)) for c, a in requests]
    of_sequence: dict[int, list[int]] = {}
    for request, sequence in enumerate(which):
        of_sequence.setdefault(sequence, []).append(request)
    n_read = [max(len(requests[r][1]) for r in of_sequence[i]) for i in range(len(unique))]
    results: list[tuple[float, bool]] = [(float("nan"), False)] * len(requests)
    done = 0
    with _blockwise(model) as takes:
        for row in pack(list(unique), max_tokens, n_read, max_read):
            nodes: dict[int, int] = {}  # node -> line of the logits
            lines: list[tuple[int, list[int]]] = []
            for sequence, path in row.paths.items():
                for request in of_sequence[sequence]:
                    wanted = path[-len(requests[request][1]) :]
                    lines.append((request, [nodes.setdefault(n, len(nodes)) for n in wanted]))
            mask = torch.from_numpy(row.mask()).to(device)
            bias = torch.zeros(mask.shape, dtype=dtype, device=device)
            bias.masked_fill_(~mask, torch.finfo(dtype).min)
            logits = model(
                input_ids=torch.tensor([row.ids], device=device),
                position_ids=torch.tensor([row.positions], device=device),
                attention_mask=bias[None, None],
                logits_to_keep=torch.tensor(list(nodes), device=device),
                use_cache=False,
                **({"blocks": blocks_of(bias), "blocks_are_of": bias} if takes else {}),
            ).logits[0]
            logprobs = torch.log_softmax(logits.float(), dim=-1)
            greedy = logprobs.argmax(dim=-1)
            where = torch.tensor([n for _, line in lines for n in line], device=device)
            tokens = torch.tensor(
                [t for request, _ in lines for t in requests[request][1]], device=device
            )
            values = logprobs[where, tokens].double().cpu().numpy()
            right = (greedy[where] == tokens).cpu().numpy()
            at = 0
            for request, line in lines:
                part = slice(at, at + len(line))
                results[request] = (float(values[part].sum()), bool(right[part].all()))
                at += len(line)
            done += len(lines)
            if on_row:
                on_row(done)
    return results
