"""A model whose layers see a batch's tokens without their padding; its attention alone sees rows.

Rows of unlike length are padded to the longest, and every layer works on padding as on words. All
but attention looks at one token at a time, so the rows are laid end to end in one, each token at
its position in its own row, and only attention takes them apart again. What comes out, and its
gradient, is what padded rows give, up to rounding. (The idea is Hugging Face's padding-free
training, which needs FlashAttention, so a GPU.)

Padding stands at the end of a row there, so a causal mask alone keeps words from seeing it: none is
made for each row.
"""

from __future__ import annotations

import sys
from types import MethodType
from typing import Any

# All but attention looks at one token at a time, and no layer asks for token ids or for the mask.
# tests/refine/test_unpadded.py compares each with padded rows.
FAMILIES = frozenset({"granite", "llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "smollm3"})
# Up to this many tokens a row, attention written out takes a fifth less time of a CPU than torch's
# fused one; its memory grows with their square.
WRITTEN_OUT_TOKENS = 512
ASKED_BY_CONFIG = ("use_cache", "output_hidden_states")  # where a call doesn't say
NAME = "pawl_unpadded"  # the attention's name among transformers' own


def unpad(model: Any) -> bool:
    """Let a causal language model of transformers leave padding out, from now on.

    Returns:
        Whether it does; a model of another family stays as it is.
    """
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
    from transformers.modeling_utils import AttentionInterface

    config = model.config
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if config.model_type not in FAMILIES or layers != {"full_attention"}:
        return False
    if getattr(config, "sliding_window", None):  # without ``layer_types`` it holds for all layers
        return False
    AttentionInterface.register(NAME, _attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)
    body = model.base_model
    body.forward = MethodType(_forward, body)  # a copy of the model gets its own
    return True


def _forward(
    body: Any, input_ids: Any = None, attention_mask: Any = None, *others: Any, **more: Any
) -> Any:
    """The last hidden states of token ids and a mask of their padding. A call that gives or asks
    for anything else, or has no token at all, is answered by the class's own, with padding."""
    from transformers.modeling_outputs import BaseModelOutputWithPast

    padded_forward = type(body).forward
    asked = {name: getattr(body.config, name, False) for name in ASKED_BY_CONFIG}
    asked |= {name: value for name, value in more.items() if value is not None}
    is_padding_said = (
        input_ids is not None
        and attention_mask is not None
        and attention_mask.shape == input_ids.shape
        and bool(attention_mask.any())
    )
    if not is_padding_said or others or any(value is not False for value in asked.values()):
        return padded_forward(body, input_ids, attention_mask, *others, **more)
    rows = Rows(attention_mask)
    embedded = body.get_input_embeddings()(input_ids)  # padded: NEFTune's noise hangs on shape
    hidden = padded_forward(
        body,
        inputs_embeds=rows.without_padding(embedded),
        attention_mask=rows.causal(embedded.dtype),
        position_ids=rows.positions,
        use_cache=False,
        rows=rows,
    ).last_hidden_state
    return BaseModelOutputWithPast(last_hidden_state=rows.with_padding(hidden))


class Rows:
    """Where the tokens of a batch are. ``positions``: [1, tokens], each in its own row."""

    def __init__(self, attention_mask: Any) -> None:
        """``attention_mask``: [rows, longest with padding], 0 where padding is, on either side."""
        import torch

        is_token = attention_mask.bool()
        lengths = is_token.sum(1)
        self.n_rows, self.longest = len(lengths), int(lengths.max())
        self._shape = is_token.shape
        self._places = is_token.flatten().nonzero()[:, 0]
        self.positions = (is_token.cumsum(1) - 1)[is_token][None]
        row = torch.arange(self.n_rows, device=lengths.device).repeat_interleave(lengths)
        self._trimmed = row * self.longest + self.positions[0]  # padding at the end

    def causal(self, dtype: Any) -> Any:
        """[1, 1, longest, longest]: 0 where a token may look, the least number elsewhere."""
        import torch

        least = torch.finfo(dtype).min
        shape, device = (self.longest, self.longest), self.positions.device
        return torch.full(shape, least, dtype=dtype, device=device).triu(1)[None, None]

    def without_padding(self, states: Any) -> Any:
        """[rows, longest with padding, width] as [1, tokens, width]."""
        return states.flatten(0, 1).index_select(0, self._places)[None]

    def with_padding(self, states: Any) -> Any:
        """The way back; zeros where padding is."""
        n_rows, longest = self._shape
        whole = states.new_zeros(n_rows * longest, states.shape[-1])
        return whole.index_copy(0, self._places, states[0]).unflatten(0, self._shape)

    def apart(self, states: Any) -> Any:
        """[1, heads, tokens, size] as [rows, heads, longest, size]."""
        _, n_heads, _, size = states.shape
        whole = states.new_zeros(self.n_rows * self.longest, n_heads, size)
        whole = whole.index_copy(0, self._trimmed, states[0].transpose(0, 1))
        return whole.unflatten(0, (self.n_rows, self.longest)).transpose(1, 2)

    def together(self, states: Any) -> Any:
        """[rows, longest, heads, size] as [1, tokens, heads, size]."""
        return states.flatten(0, 1).index_select(0, self._trimmed)[None]


def _attend(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, rows: Rows | None = None,
    **options: Any,
) -> tuple[Any, None]:  # fmt: skip
    """As the model's own ``eager`` or transformers' ``sdpa``, of ``rows`` where there are some."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if rows is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    attend = sys.modules[type(module).__module__].eager_attention_forward
    if rows.longest > WRITTEN_OUT_TOKENS:
        attend, attention_mask = sdpa_attention_forward, None  # which is causal by itself
    apart = map(rows.apart, (query, key, value))
    states, _ = attend(module, *apart, attention_mask, **options)
    return rows.together(states), None
