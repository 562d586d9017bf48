"""vLLM serves a base with fused layers, with and without an adapter, and ends its turns rightly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pawl.models import BaseModel, resolve_model
from pawl.settings import Settings
from serve.engine.launch import vllm_command
from tests import tiny_bases
from tests.serve.live import Live, live

pytestmark = pytest.mark.engine
MESSAGES = [{"role": "user", "content": "Hello there"}]
N_TOKENS = 6


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Live, BaseModel, Path]]:
    root = tmp_path_factory.mktemp("fused")
    settings = Settings(state_dir=root / "state", model=str(tiny_bases.fused(root / "model")),
                        engine={"kv_cache_gib": 0.25, "dtype": "float32"})  # fmt: skip
    base = resolve_model(settings.model, cache_dir=settings.state_dir)
    base.check.refuse("serve", base.name)
    with live(settings, base=base, command=vllm_command) as one:
        adapter_dir = _adapter(base, root / "adapter")
        one.call(one.engine.load_adapter("pawl@1", adapter_dir))
        yield one, base, adapter_dir


def _adapter(base: BaseModel, adapter_dir: Path) -> Path:
    """A random adapter on all the layers that training takes, large enough to change answers."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=8, lora_alpha=16, init_lora_weights=False,
                        target_modules=list(base.check.lora_layers))  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32)
    get_peft_model(model, config).save_pretrained(adapter_dir)
    return adapter_dir


def _by_transformers(base: BaseModel, adapter_dir: Path | None) -> list[int]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
    model: Any = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.float32)
    if adapter_dir is not None:
        model = PeftModel.from_pretrained(model, str(adapter_dir))
    ids = tokenizer.apply_chat_template(
        MESSAGES, add_generation_prompt=True, return_dict=False, return_tensors="pt"
    )
    with torch.no_grad():
        output = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
            max_new_tokens=N_TOKENS, eos_token_id=list(base.check.stop_ids),
        )  # fmt: skip
    return [int(i) for i in output[0, ids.shape[1] :]]


def _ask(one: Live, **more: Any) -> dict[str, Any]:
    body = {"messages": MESSAGES, "max_tokens": N_TOKENS, "temperature": 0, **more}
    answer = httpx.post(
        one.engine.base_url + "/v1/chat/completions", json={**body, "return_token_ids": True},
        headers=dict(one.engine.session.headers), timeout=60,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def test_an_adapter_on_fused_layers_is_served_as_it_was_made(
    fused: tuple[Live, BaseModel, Path],
) -> None:
    one, base, adapter_dir = fused
    expected = _by_transformers(base, None), _by_transformers(base, adapter_dir)
    assert expected[0] != expected[1]
    found = _ask(one, model="base")["token_ids"], _ask(one, model="pawl@1")["token_ids"]
    assert found == expected


@pytest.mark.parametrize("model", ["base", "pawl@1"])
def test_it_stops_at_the_templates_end_of_turn(
    fused: tuple[Live, BaseModel, Path], model: str
) -> None:
    one, base, _ = fused
    assert base.check.end_of_turn == tiny_bases.END
    assert base.check.adds_stop  # the model's own settings lack it
    ended = _ask(one, model=model, logit_bias={str(base.check.end_of_turn_id): 100})
    assert ended["finish_reason"] == "stop"
    assert ended["token_ids"] == [base.check.end_of_turn_id]
    other = _ask(one, model=model, logit_bias={"20": 100})
    assert other["finish_reason"] == "length"
