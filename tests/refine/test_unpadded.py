"""A model that leaves padding out, against itself with padding."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from refine.monitoring import STEPS
from refine.unpadded import FAMILIES
from tests.refine.interrupted import rows_of
from tests.refine.test_train import job

pytestmark = pytest.mark.slow  # transformers' models

SIZES: dict[str, Any] = {
    "vocab_size": 60, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0,
    "max_position_embeddings": 64, "sliding_window": None, "initializer_range": 0.3,
}  # fmt: skip
LENGTHS = (9, 3, 1, 6)


def model_of(family: str, **more: Any) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SIZES | more)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def batch(side: str) -> dict[str, Any]:
    import torch

    random = torch.Generator().manual_seed(1)
    ids = torch.randint(1, SIZES["vocab_size"], (len(LENGTHS), max(LENGTHS)), generator=random)
    mask = torch.zeros_like(ids)
    for row, length in zip(mask, LENGTHS, strict=True):
        row[slice(length) if side == "right" else slice(-length, None)] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return {"input_ids": ids * mask, "attention_mask": mask, "position_ids": positions}


def said(model: Any, given: dict[str, Any]) -> list[Any]:
    """Logits where there are tokens, and the gradients of what they say of random labels."""
    import torch

    logits = model(**given, use_cache=False).logits[given["attention_mask"].bool()]
    labels = torch.randint(0, logits.shape[-1], (len(logits),), generator=torch.Generator())
    model.zero_grad()
    torch.nn.functional.cross_entropy(logits, labels).backward()
    return [logits.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("most_written_out", [512, 4])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_unpadded_is_padded(
    family: str, most_written_out: int, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from refine import unpadded

    monkeypatch.setattr(unpadded, "WRITTEN_OUT_TOKENS", most_written_out)
    model, given = model_of(family), batch(side)
    padded = said(model, given)
    n_seen = []
    model.base_model.layers[1].mlp.register_forward_hook(
        lambda _module, inputs, _out: n_seen.append(inputs[0].shape[:2])
    )
    assert unpadded.unpad(model)
    positions = given.pop("position_ids")
    for ours, theirs in zip(said(model, given), padded, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)
    assert n_seen == [(1, sum(LENGTHS))]
    # A caller that asks for more is answered as before.
    for ours, theirs in zip(said(model, given | {"position_ids": positions}), padded, strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)
    assert n_seen[1] == (len(LENGTHS), max(LENGTHS))


@pytest.mark.parametrize(
    "call",
    [
        "no row has a token", "no rows", "a mask of another width", "a cache by default",
        "hidden states by default", "arguments by place",
    ],
)  # fmt: skip
def test_what_it_does_not_know_is_answered_with_padding(call: str) -> None:
    import torch

    from refine.unpadded import unpad

    model, given = model_of("llama").eval(), batch("right")
    positions = given.pop("position_ids")
    arguments: tuple[Any, ...] = ()
    given["use_cache"] = False
    match call:
        case "no row has a token":
            given["attention_mask"] = torch.zeros_like(given["attention_mask"])
        case "no rows":
            given |= {name: given[name][:0] for name in ("input_ids", "attention_mask")}
        case "a mask of another width":
            given["attention_mask"] = given["attention_mask"][:, 1:]
        case "a cache by default":
            del given["use_cache"]
        case "hidden states by default":
            model.config.output_hidden_states = True
        case "arguments by place":
            arguments = (given.pop("input_ids"), given.pop("attention_mask"), positions)

    def answer() -> Any:
        try:
            return model.base_model(*arguments, **given)
        except (IndexError, RuntimeError) as error:  # transformers' own answer to some of these
            return str(error)

    padded = answer()
    assert unpad(model)
    ours = answer()
    if isinstance(padded, str):
        assert ours == padded
        return
    assert list(ours) == list(padded)
    if call == "no row has a token":  # what stands there is nobody's answer
        assert ours.last_hidden_state.isfinite().all()
        return
    torch.testing.assert_close(ours.last_hidden_state, padded.last_hidden_state)


def test_a_copy_has_weights_of_its_own() -> None:
    import torch

    from refine.unpadded import unpad

    model, given = model_of("llama"), batch("right")
    del given["position_ids"]
    assert unpad(model)
    before = said(model, given)
    copied = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    for ours, theirs in zip(said(copied, given), before, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    ("family", "more"), [("mistral", {"sliding_window": 4}), ("gemma2", {"head_dim": 4})]
)
def test_other_models_stay_as_they_are(family: str, more: dict[str, Any]) -> None:
    from refine.unpadded import unpad

    model = model_of(family, **more)
    assert not unpad(model)
    assert model.config._attn_implementation == "eager"


def test_gradient_checkpointing() -> None:
    import torch

    from refine.unpadded import unpad

    model, given = model_of("llama"), batch("right")
    del given["position_ids"]
    model.train()
    assert unpad(model)
    kept = said(model, given)
    model.gradient_checkpointing_enable()
    for ours, theirs in zip(said(model, given), kept, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_each_method_trains_without_padding_as_with_it(
    method: str, world_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from refine import train, trainer
    from refine.unpadded import Rows

    taken_apart: list[int] = []  # longest rows of what attention saw
    apart = Rows.apart
    monkeypatch.setattr(
        Rows, "apart", lambda rows, states: taken_apart.append(rows.longest) or apart(rows, states)
    )
    losses: dict[bool, list[float]] = {}
    for leaves_out in (True, False):
        if not leaves_out:
            monkeypatch.setattr(trainer, "unpad", lambda _: False)
        task = job(world_model, tmp_path / str(leaves_out), rows_of(method), method=method,
                   n_epochs=1, n_replay_rows=8, batch_size=8)  # fmt: skip
        train.run(task)
        logged = [json.loads(line) for line in (task.work_dir / STEPS).read_text().splitlines()]
        losses[leaves_out] = [one["loss"] for one in logged if "loss" in one]
        assert bool(taken_apart) == leaves_out
        taken_apart.clear()
    assert losses[True] == pytest.approx(losses[False], rel=2e-2)  # bf16 where the CPU has it
