"""Tiny bases of every kind: what is found out about each, and what each is refused for."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pawl.base_checks import LORA_LAYERS, BaseCheck, check_base
from pawl.chat_template import (
    ChatTemplate,
    end_of_turn_id,
    load_tokenizer,
    prints_date,
    read_special_tokens,
    read_template,
)
from pawl.engine_support import serves_lora
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.settings import Settings
from serve.engine.launch import vllm_command
from tests import tiny_bases
from tests.tiny_bases import KINDS

FOLDERS = sorted(set(KINDS) - {"gguf"})
SERVED_ONLY = {"no_end", "spelled_end", "thought", "empty_thought", "quantised", "sees"}
REFUSED = {"no_template", "missing_shard", "cut_off", "no_lora"}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("bases")
    return {kind: KINDS[kind](root / kind) for kind in FOLDERS}


def _refused(check: BaseCheck) -> set[str]:
    """The purposes that it is refused for, each in one line that says what to do."""
    stopped = {purpose for finding in check.findings for purpose in finding.stops}
    for purpose in ("serve", "train", "score"):
        if purpose not in stopped:
            check.refuse(purpose, "x")  # type: ignore[arg-type]
            continue
        with pytest.raises(PawlError) as caught:
            check.refuse(purpose, "x")  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
        assert caught.value.do
    return stopped


@pytest.mark.parametrize("kind", FOLDERS)
def test_what_each_kind_is_refused_for(bases: dict[str, Path], kind: str) -> None:
    expected = (
        {"serve", "train"} if kind in REFUSED else {"train"} if kind in SERVED_ONLY else set()
    )
    if kind in ("missing_shard", "cut_off"):
        expected |= {"score"}
    if kind == "narrow_heads":
        expected = {"serve"}
    assert _refused(check_base(bases[kind])) == expected


@pytest.mark.parametrize("kind", sorted(set(FOLDERS) - {"no_template"}))
def test_templates_are_rendered_as_transformers_renders_them(
    bases: dict[str, Path], kind: str
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(bases[kind])
    template = ChatTemplate(read_template(bases[kind]) or "", read_special_tokens(bases[kind]))
    turns = [{"role": "user", "content": "Höhe <b>?"}, {"role": "assistant", "content": "{1}"}]
    for messages, ask in ((turns, False), (turns[:1], True), (turns + turns, False)):
        theirs = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=ask
        )  # fmt: skip
        assert template.render(messages, ask=ask) == theirs


@pytest.mark.parametrize("kind", ["plain", "other_end", "no_system", "no_end", "thought"])
def test_training_and_scoring_end_a_turn_as_serving_does(bases: dict[str, Path], kind: str) -> None:
    from transformers import AutoTokenizer

    check = check_base(bases[kind])
    tokenizer = AutoTokenizer.from_pretrained(bases[kind])
    ends = check.end_of_turn_id if check.end_of_turn_id is not None else tokenizer.eos_token_id
    assert end_of_turn_id(tokenizer) == ends
    assert ends in check.stop_ids


def test_a_turn_may_end_with_another_token_than_the_text(bases: dict[str, Path]) -> None:
    check = check_base(bases["other_end"])
    assert (check.end_of_turn, check.end_of_turn_id) == (tiny_bases.END, 6)
    assert check.stop_ids == (2, 6)
    assert check.adds_stop  # generation_config.json names </s> only
    path = bases["other_end"] / "generation_config.json"
    named = path.read_text()
    path.write_text(json.dumps({"eos_token_id": [2, 6]}))
    assert not check_base(bases["other_end"]).adds_stop
    path.write_text(named)


def test_a_template_writes_the_date_that_it_is_given(tmp_path: Path) -> None:
    folder = tiny_bases.plain(tmp_path / "dated")
    text = tiny_bases.PLAIN.replace("{{ bos_token }}", "{{ strftime_now('%d %b %Y') }}.")
    (folder / "chat_template.jinja").write_text(text)
    assert prints_date(check_base(folder).template)
    assert not prints_date(tiny_bases.PLAIN)
    turn = [{"role": "user", "content": "Why?"}]
    for tokenizer in (load_tokenizer(folder, "2024-02-29"),
                      copy.deepcopy(load_tokenizer(folder, "2024-02-29"))):  # fmt: skip
        assert tokenizer.apply_chat_template(turn, tokenize=False).startswith("29 Feb 2024.")
        ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False)
        assert tokenizer.decode(ids).startswith("29 Feb 2024.")
    assert "29 Feb 2024" not in load_tokenizer(folder).apply_chat_template(turn, tokenize=False)


def test_roles(bases: dict[str, Path]) -> None:
    plain, strict = check_base(bases["plain"]), check_base(bases["no_system"])
    assert (plain.supports_system, plain.alternates) == (True, False)
    assert (strict.supports_system, strict.alternates) == (False, True)
    assert any("no system role" in line for line in strict.warnings())
    assert not plain.warnings()


def test_fused_layers_are_trained_and_others_are_named(bases: dict[str, Path]) -> None:
    fused = check_base(bases["fused"])
    assert set(fused.lora_layers) == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
    assert not fused.untrained_layers
    assert set(check_base(bases["plain"]).lora_layers) < set(LORA_LAYERS)


def test_layers_that_are_left_out_are_named(tmp_path: Path) -> None:
    folder = tiny_bases.plain(tmp_path / "hybrid")
    modules = {**tiny_bases.modules_of(), "mamba.in_proj": (8, 8), "mlp.experts.0.up_proj": (8, 8)}
    tiny_bases.write_weights(folder, tiny_bases.tensors_of(modules, 16))
    check = check_base(folder)
    assert check.untrained_layers == ("experts.up_proj", "in_proj")
    assert any("experts.up_proj, in_proj" in line for line in check.warnings())


def test_a_thought_before_each_answer_is_seen(bases: dict[str, Path]) -> None:
    assert check_base(bases["thought"]).opens_thought
    assert not check_base(bases["plain"]).opens_thought


def test_thoughts_are_switched_off_where_there_is_a_switch(bases: dict[str, Path]) -> None:
    check, tokenizer = check_base(bases["switch"]), load_tokenizer(bases["switch"])
    turn = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    asked = tokenizer.apply_chat_template(turn[:1], tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template(turn, tokenize=False)
    assert asked.endswith("</think>\n\n")
    assert whole.startswith(asked + "So.")
    settings = Settings(state_dir=bases["switch"].parent / "state", model=str(bases["switch"]))
    base = resolve_model(settings.model, cache_dir=settings.state_dir)
    command = vllm_command(settings, base, 1)
    served = Path(command[command.index("--chat-template") + 1]).read_text(encoding="utf-8")
    assert served == check.template == tokenizer.chat_template


def test_the_engine_is_told_of_another_end_of_turn(bases: dict[str, Path]) -> None:
    settings = Settings(state_dir=bases["other_end"].parent / "state2", model="x")
    base = resolve_model(str(bases["other_end"]), cache_dir=settings.state_dir)
    command = vllm_command(settings, base, 1)
    folder = Path(command[command.index("--generation-config") + 1])
    told = json.loads((folder / "generation_config.json").read_text())
    assert told["eos_token_id"] == [2, 6]
    assert told["bos_token_id"] == 1  # the rest is the model's
    plain = resolve_model(str(bases["plain"]), cache_dir=settings.state_dir)
    assert "--generation-config" not in vllm_command(settings, plain, 1)


def test_what_vllm_serves_with_lora_is_read_from_its_source() -> None:
    assert serves_lora("LlamaForCausalLM") is True
    assert serves_lora("Phi3ForCausalLM") is True  # inherits it from another module's class
    assert serves_lora("FalconForCausalLM") is False
    assert serves_lora("NobodysForCausalLM") is None


def test_the_default_model_has_nothing_to_say_against_it() -> None:
    from pawl.gguf import convert_gguf, model_cache
    from pawl.models import packaged_gguf

    path = packaged_gguf()
    assert path is not None
    check = check_base(convert_gguf(path, model_cache()))
    assert check.end_of_turn == "<|im_end|>"
    assert len(check.lora_layers) == 7
    assert not check.warnings()


def test_a_check_is_quick_and_imports_nothing_heavy(bases: dict[str, Path]) -> None:
    code = (
        "import sys; from pathlib import Path; from pawl.base_checks import check_base; "
        f"check_base(Path({str(bases['fused'])!r})); "
        "print([name for name in ('torch', 'transformers', 'vllm') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"
