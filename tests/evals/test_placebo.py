"""Placebos are as large in each layer as the challenger's change, random, and leave no trace."""

from __future__ import annotations

from pathlib import Path

import pytest

from evals import placebo
from evals.words import n_words
from pawl.models import BaseModel
from tests.evals.conftest import make_adapter


def test_sizes_are_those_of_the_change_from_the_champion(
    model: BaseModel, adapter_dir: Path, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    other = make_adapter(tmp_path / "other", model.model_dir, seed=5, strength=0.1)

    def merged(folder: Path) -> dict[str, torch.Tensor]:
        base = AutoModelForCausalLM.from_pretrained(model.model_dir)
        return dict(PeftModel.from_pretrained(base, folder).merge_and_unload().state_dict())

    plain = AutoModelForCausalLM.from_pretrained(model.model_dir)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    after, champion = merged(adapter_dir), merged(other)
    for layers, start in (
        (placebo.sizes(adapter_dir, None), before),
        (placebo.sizes(adapter_dir, other), champion),
    ):
        assert len(layers) == 14
        for name, size in layers.items():
            change = after[f"{name}.weight"] - start[f"{name}.weight"]
            assert size.norm == pytest.approx(float(change.norm()), rel=1e-4)

    layers = placebo.sizes(adapter_dir, None)
    seen = []
    for seed in (1, 2):
        with placebo.changed(plain, layers, seed):
            name = next(iter(layers))
            change = plain.state_dict()[f"{name}.weight"] - before[f"{name}.weight"]
            assert float(change.norm()) == pytest.approx(layers[name].norm, rel=1e-4)
            seen.append(change.clone())
    assert float((seen[0] - seen[1]).norm()) > layers[name].norm / 2
    for name, value in plain.state_dict().items():
        assert torch.allclose(value, before[name], atol=1e-5)


def test_a_prompts_placebos_are_as_long_and_follow_from_the_seed() -> None:
    text = "word " * 40
    found = placebo.prompts(text, 8, "one")
    assert found == placebo.prompts(text, 8, "one") != placebo.prompts(text, 8, "two")
    assert len(set(found)) == 8
    assert all(40 <= len(one.split()) < 55 for one in found)
    unspaced = placebo.prompts("请用简短礼貌的语言回答客人的问题" * 10, 2, "one")
    assert all(48 <= len(one.split()) < 65 for one in unspaced)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0), ("Paris.", 1), ("word " * 40, 40), ("请用简短礼貌的语言回答" * 10, 33),
        ("ราคาสามสิบบาท" * 10, 39), ("здравствуйте " * 10, 10), ("नमस्ते " * 10, 10), ("是", 1),
    ],
)  # fmt: skip
def test_words_are_counted_by_blanks_but_where_there_are_none(text: str, expected: int) -> None:
    assert n_words(text) == expected
