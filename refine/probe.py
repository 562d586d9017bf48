"""The probe record: fixed token ids and what this adapter says after them.

A probe must tell this adapter from the base (and, if given, from today's champion) by a few
next-token distributions. So the positions are those, among the answers that training taught and
some that it should have left alone, where the distributions differ most: by the mean absolute
difference of log-probability over the 20 tokens that the adapter finds likeliest.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pawl.adapters import ProbePosition, write_probe
from pawl.schemas import Message, TrainingRow
from refine.datasets import Encode, Tools
from refine.held_out import only_last
from refine.replay import ReplayRow
from refine.weights import load, load_base

N_ROWS, N_REPLAYED = 32, 8
N_POSITIONS = 16
N_TOP = 20
MAX_PER_ROW = 2
MAX_PREFIX_TOKENS = 512


def some_of(
    encode: Encode, rows: Sequence[TrainingRow], replayed: Sequence[ReplayRow]
) -> list[tuple[list[int], int]]:
    """Some of the rows that were trained on and some of replay: token ids of prompt and answer, and
    how many are the prompt's."""
    taught: list[tuple[list[Message], str, Tools]] = []
    for row in rows:
        answer = row.chosen if row.kind == "pair" else row.completion
        if row.split == "train" and answer:
            taught.append((row.prompt, answer, row.tools))
    step = max(1, len(taught) // N_ROWS)
    candidates = taught[::step][:N_ROWS]
    candidates += [(one.prompt, one.completion, one.tools) for one in replayed[:N_REPLAYED]]
    return [encode(*candidate) for candidate in candidates]


def record(
    model_dir: Path,
    adapter_dir: Path,
    encoded: Sequence[tuple[list[int], int]],
    champion_dir: Path | None = None,
    *,
    on_cpu: bool = False,
) -> None:
    """Write an adapter's probe record, from a fresh load of what was saved: it is of the files, not
    of memory.

    Args:
        encoded: as of ``some_of``.
        champion_dir: an adapter to tell this one apart from, too.
        on_cpu: of a base that the GPU may not hold in float32.
    """
    import torch

    model = load(load_base(model_dir, torch.float32, on_cpu=on_cpu), adapter_dir).eval()
    champion = None
    if champion_dir is not None:
        model.load_adapter(str(champion_dir), adapter_name="champion")
        model.set_adapter("default")
        champion = "champion"
    write_probe(adapter_dir, probe_positions(model, encoded, champion=champion))


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
        ours = _logprobs(model, inputs, n_prompt)
        with model.disable_adapter():
            base = _logprobs(model, inputs, n_prompt)
        others = [base]
        if champion is not None:
            model.set_adapter(champion)
            others.append(_logprobs(model, inputs, n_prompt))
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


def _logprobs(model: Any, inputs: Any, n_prompt: int) -> Any:
    """Log-probabilities of each token after the prompt: [n_tokens - n_prompt, n_vocabulary]."""
    import torch

    n_kept = inputs.shape[1] - n_prompt + 1
    with torch.no_grad():
        logits = model(input_ids=inputs, **only_last(model, n_kept)).logits[0, -n_kept:-1]
        return torch.log_softmax(logits.float(), dim=-1).cpu()
