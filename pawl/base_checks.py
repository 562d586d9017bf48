"""Checks of a base model that take a second, before anything that takes minutes.

They read configuration, tokenizer, chat template and the headers of the weights; torch,
transformers and vLLM are not imported. Each check gives one line. What they find out is used by
serving, training and scoring alike, so that all three end an answer with the same token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pawl.chat_template import (
    THOUGHTS_OFF,
    TURN,
    ChatTemplate,
    first_mark,
    read_special_tokens,
    read_template,
    settle,
)
from pawl.engine_support import CPU_HEAD_SIZES, runs_on_cpu, serves_lora
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.tool_support import ToolSupport, find_tool_support
from pawl.weights import read_weights

Purpose = Literal["serve", "train", "score"]
VERBS = {"serve": "served", "train": "trained", "score": "scored"}
ALL: tuple[Purpose, ...] = ("serve", "train", "score")
BOTH: tuple[Purpose, ...] = ("serve", "train")

# The linear layers that LoRA trains: of Llama's kin, and fused as Phi-3's. Never lm_head, which
# the engine would not serve.
LORA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
               "qkv_proj", "gate_up_proj")  # fmt: skip
# What loads and trains weights that are quantised so, beside transformers and PEFT.
TRAINING_PACKAGES = {
    "awq": "gptqmodel", "gptq": "gptqmodel", "bitsandbytes": "bitsandbytes", "hqq": "hqq",
    "aqlm": "aqlm", "quanto": "optimum-quanto", "torchao": "torchao", "fp8": "a GPU",
    "compressed-tensors": "compressed-tensors", "mxfp4": "kernels and a GPU",
}  # fmt: skip
CPU_QUANTIZATION = ("awq", "gptq", "compressed-tensors")  # has kernels for a CPU in vLLM 0.32
THOUGHTS = ("think", "thinking", "thought", "reasoning")
# Parts of a configuration that a model has which takes more than text.
OTHER_INPUTS = {"vision_config": "pictures", "audio_config": "sounds"}
CHOOSE = "Choose a base of Llama's kin (Llama, Qwen, Mistral, SmolLM)"
ASKS, ANSWERS = TURN[0]["content"], TURN[1]["content"]
ASKS_AGAIN, INSTRUCTS = "Coburg", "Dresden"


@dataclass(frozen=True, slots=True)
class BaseFinding:
    """One line about a base. ``stops`` are the purposes that it can't be used for."""

    name: str
    line: str
    level: Literal["ok", "warning", "refused"] = "ok"
    stops: tuple[Purpose, ...] = ()
    do: str = ""


@dataclass(slots=True)
class BaseCheck:
    """What is known about a base.

    ``end_of_turn`` is the token after an assistant's answer by the chat template, None when it
    writes none. ``stop_ids`` are all tokens that end an answer when it is served; ``adds_stop``
    says that the model's own settings lack ``end_of_turn_id`` among them. ``template`` is the one
    that is used, see ``pawl.chat_template.settle``. ``lora_layers`` and ``untrained_layers`` are
    last parts of names of linear layers.
    """

    end_of_turn: str | None = None
    end_of_turn_id: int | None = None
    stop_ids: tuple[int, ...] = ()
    adds_stop: bool = False
    supports_system: bool = True
    alternates: bool = False
    opens_thought: bool = False
    template: str = ""
    quantization: str | None = None
    lora_layers: tuple[str, ...] = ()
    untrained_layers: tuple[str, ...] = ()
    tools: ToolSupport = field(default_factory=ToolSupport)
    findings: list[BaseFinding] = field(default_factory=list)

    def refuse(self, purpose: Purpose, name: str) -> None:
        """Raises PawlError: the base called ``name`` can't be used for ``purpose``."""
        for finding in self.findings:
            if purpose in finding.stops:
                raise PawlError(
                    f"model {name!r} can't be {VERBS[purpose]}",
                    f"{finding.name}: {finding.line}",
                    finding.do or "Choose another base",
                    code="base_refused",
                )

    def warnings(self) -> list[str]:
        """What is limited or can't be done with this base."""
        return [f"{each.name}: {each.line}" for each in self.findings if each.level != "ok"]

    def lines(self, name: str) -> list[str]:
        """What a person should read at every start: one line in all, then one a warning."""
        layers = ", ".join(self.lora_layers) or "nothing"
        what = f"a turn ends with {self.end_of_turn or 'no token'}, LoRA trains {layers}"
        return [f"Base {name}: {what}.", *(f"Base {name}: {line}." for line in self.warnings())]


def check_base(model_dir: Path) -> BaseCheck:
    """Check a model folder. Raises PawlError: its config.json can't be read."""
    config = read_json(model_dir / "config.json")
    check = BaseCheck()
    check.findings += _check_weights(model_dir, config, check)
    check.findings += _check_inputs(config)
    check.findings += _check_template(model_dir, config, check)
    check.findings += _check_engine(config)
    return check


# -- weights


def _check_weights(
    model_dir: Path, config: dict[str, Any], check: BaseCheck
) -> Iterator[BaseFinding]:
    weights = read_weights(model_dir)
    if weights.missing:
        more = f" and {len(weights.missing) - 1} more" if len(weights.missing) > 1 else ""
        yield BaseFinding(
            "weights", f"{weights.missing[0]}{more} is missing", "refused", ALL,
            "Fetch the model again",
        )  # fmt: skip
    for name, why in weights.broken.items():
        yield BaseFinding("weights", f"{name}: {why}", "refused", ALL, "Fetch the model again")
    if weights.missing or weights.broken:
        return
    n_numbers = sum(math.prod(shape) for shape in weights.shapes.values())
    yield BaseFinding("weights", f"whole, {n_numbers / 1e6:,.1f} million numbers")
    quantization = config.get("quantization_config") or config.get("compression_config")
    if quantization:
        check.quantization = str(quantization.get("quant_method", "an unknown method"))
        yield _check_quantization(check.quantization)
        return
    names = _linear_layers(weights.shapes)
    check.lora_layers = tuple(name for name in LORA_LAYERS if name in names)
    check.untrained_layers = tuple(sorted(names - set(LORA_LAYERS)))
    if not check.lora_layers:
        found = ", ".join(sorted(names)) or "none"
        yield BaseFinding(
            "layers", f"LoRA trains {', '.join(LORA_LAYERS)}; its linear layers are: {found}",
            "refused", ("train",), CHOOSE,
        )  # fmt: skip
        return
    yield BaseFinding("layers", f"LoRA trains {', '.join(check.lora_layers)}")
    if check.untrained_layers:
        yield BaseFinding(
            "layers", f"left untrained: {', '.join(check.untrained_layers)}", "warning"
        )


def _check_inputs(config: dict[str, Any]) -> Iterator[BaseFinding]:
    """LoRA would change the towers that read pictures and sounds, too (Gemma 3: the last parts of
    their layers' names are the same), or transformers trains a class for text alone, whose names
    for the layers vLLM does not find (Qwen3.5)."""
    others = [what for key, what in OTHER_INPUTS.items() if config.get(key)]
    if others:
        yield BaseFinding(
            "inputs",
            f"it takes {' and '.join(others)} beside text: served, but never trained, since Pawl "
            "trains models of text alone",
            "refused", ("train",), "Choose a base that takes text alone",
        )  # fmt: skip


def _check_quantization(method: str) -> BaseFinding:
    package = TRAINING_PACKAGES.get(method, "a package of its own")
    reason = f"{method} weights are trained with {package}, which Pawl does not use"
    if runs_on_cpu() and method not in CPU_QUANTIZATION:
        return BaseFinding(
            "quantization", f"{method} has no kernels for a CPU in the engine; {reason}", "refused",
            BOTH, "Take the model as it was before, or its GGUF file",
        )  # fmt: skip
    return BaseFinding(
        "quantization", f"served, but never trained: {reason}", "refused", ("train",),
        "Take the model as it was before, or its GGUF file, which Pawl unpacks",
    )  # fmt: skip


def _linear_layers(shapes: dict[str, tuple[int, ...]]) -> set[str]:
    """The last parts of the names of linear layers; those of experts with ``experts.`` before."""
    found = set()
    for name, shape in shapes.items():
        parts = name.removesuffix(".weight").split(".")
        aside = any(word in name for word in ("embed", "lm_head", "wte", "wpe", "norm"))
        if "experts" in parts:
            found.add(f"experts.{parts[-1]}")
        elif name.endswith(".weight") and len(shape) == 2 and not aside:
            found.add(parts[-1])
    return found


# -- chat template and tokenizer


def _check_template(
    model_dir: Path, config: dict[str, Any], check: BaseCheck
) -> Iterator[BaseFinding]:
    text = read_template(model_dir) or ""
    special_tokens = read_special_tokens(model_dir)
    try:
        check.template = settle(text, special_tokens)
        template = ChatTemplate(check.template, special_tokens)
        asked = template.render(TURN[:1], ask=True)
        whole = template.render(TURN)
    except Exception as err:  # a template may raise anything
        yield BaseFinding(
            "chat template", f"it refuses a question and its answer ({_first_line(err)})",
            "refused", BOTH, "Mend the chat template",
        )  # fmt: skip
        return
    if ASKS not in asked or ANSWERS not in whole:
        yield BaseFinding(
            "chat template", "it leaves out what was said", "refused", BOTH,
            "Mend the chat template",
        )  # fmt: skip
        return
    yield BaseFinding("chat template", f"{len(text):,} characters")
    try:
        tokenizer = read_tokenizer(model_dir)
    except Exception as err:  # tokenizers raises a bare Exception, transformers many kinds
        yield BaseFinding(
            "tokenizer", f"it can't be read ({_first_line(err)})", "refused", ALL,
            "Fetch the tokenizer's files (tokenizer.json, tokenizer_config.json)",
        )  # fmt: skip
        return
    yield from _check_end(whole, tokenizer, special_tokens, _named_ends(model_dir, config), check)
    yield _check_roles(template, check)
    yield _check_tools(template, tokenizer, check)
    yield from _check_beginning(asked, whole, check)


def _check_end(
    whole: str,
    tokenizer: Any,
    special_tokens: dict[str, str],
    named_ids: set[int],
    check: BaseCheck,
) -> Iterator[BaseFinding]:
    tail = whole.rpartition(ANSWERS)[2]
    check.end_of_turn_id = first_mark(tokenizer, tail)
    eos = special_tokens.get("eos_token")
    eos_id = tokenizer.token_to_id(eos) if eos else None
    own = named_ids | ({eos_id} if eos_id is not None else set())
    if check.end_of_turn_id is None:
        check.stop_ids = tuple(sorted(own))
        written = repr(tail.strip())
        what = f"writes {written}, which is no token" if tail.strip() else "writes nothing"
        yield BaseFinding(
            "end of turn",
            f"after an answer the chat template {what}, so no training could teach where to stop",
            "refused", ("train",), "Let the chat template end the assistant's turn with a token",
        )  # fmt: skip
        return
    check.end_of_turn = str(tokenizer.id_to_token(check.end_of_turn_id))
    check.stop_ids = tuple(sorted(own | {check.end_of_turn_id}))
    check.adds_stop = check.end_of_turn_id not in own
    line = f"{check.end_of_turn} ({check.end_of_turn_id}), in serving, training and scoring"
    if check.end_of_turn_id != eos_id and eos is not None:
        line += f"; the tokenizer's own end is {eos}"
    yield BaseFinding("end of turn", line)


def _named_ends(model_dir: Path, config: dict[str, Any]) -> set[int]:
    """The ends of an answer by generation_config.json, else by config.json."""
    path = model_dir / "generation_config.json"
    ends = read_json(path).get("eos_token_id") if path.exists() else None
    if ends is None:
        ends = config.get("eos_token_id") or _text_config(config).get("eos_token_id")
    found = ends if isinstance(ends, list) else [ends]
    return {int(end) for end in found if end is not None}


def _check_roles(template: ChatTemplate, check: BaseCheck) -> BaseFinding:
    instructed = [_says("system", INSTRUCTS), _says("user", ASKS)]
    check.supports_system = INSTRUCTS in (_try(template, instructed) or "")
    twice = [_says("user", ASKS), _says("user", ASKS_AGAIN)]
    check.alternates = _try(template, twice) is None
    missing = []
    if not check.supports_system:
        missing.append("no system role")
    if check.alternates:
        missing.append("users and assistants must take turns")
    if missing:
        line = f"{' and '.join(missing)}: a request with others is refused"
        return BaseFinding("roles", line, "warning")
    return BaseFinding("roles", "system, user, assistant, in any order")


def _check_tools(template: ChatTemplate, tokenizer: Any, check: BaseCheck) -> BaseFinding:
    check.tools = find_tool_support(
        template, lambda token: tokenizer.token_to_id(token) is not None
    )
    if check.tools.parser is not None:
        return BaseFinding("tools", f"calls are read by the engine's parser {check.tools.parser}")
    return BaseFinding("tools", check.tools.why.format(model="it"))


def _check_beginning(asked: str, whole: str, check: BaseCheck) -> Iterator[BaseFinding]:
    """Does an answer begin in the same place when it is asked for and when it was given?"""
    before = whole.partition(ANSWERS)[0]
    if check.template.startswith(THOUGHTS_OFF):
        line = "switched off (enable_thinking), in serving, training and scoring"
        yield BaseFinding("thoughts", line, "warning")
    thoughts = [tag for tag in THOUGHTS if asked.rfind(f"<{tag}>") > asked.rfind(f"</{tag}>")]
    if thoughts:
        check.opens_thought = True
        yield BaseFinding(
            "thoughts",
            f"every answer begins inside a thought (<{thoughts[0]}>), and what people correct "
            "holds none: served, but never trained",
            "refused", ("train",), "Choose a base that answers at once",
        )  # fmt: skip
    elif asked.rstrip() != before.rstrip():
        yield BaseFinding(
            "chat template",
            f"it asks for an answer after {asked[-20:]!r}, but a given one stands after "
            f"{before[-20:]!r}",
            "refused", ("train",), "Mend the chat template",
        )  # fmt: skip


def _try(template: ChatTemplate, messages: list[dict[str, str]]) -> str | None:
    try:
        return template.render(messages)
    except Exception:  # a template may raise anything
        return None


def _says(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def read_tokenizer(model_dir: Path) -> Any:
    """A ``tokenizers.Tokenizer``; older models without tokenizer.json through transformers."""
    path = model_dir / "tokenizer.json"
    if path.exists():
        from tokenizers import Tokenizer

        return Tokenizer.from_file(str(path))
    if not any((model_dir / name).exists() for name in ("tokenizer.model", "vocab.json")):
        raise FileNotFoundError(f"{model_dir} holds no tokenizer.json")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(model_dir)).backend_tokenizer


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]


# -- engine


def _check_engine(config: dict[str, Any]) -> Iterator[BaseFinding]:
    architecture = (config.get("architectures") or ["none"])[0]
    if serves_lora(architecture) is False:
        yield BaseFinding(
            "engine", f"vLLM serves {architecture} without LoRA only", "refused", BOTH,
            CHOOSE,
        )  # fmt: skip
    text = _text_config(config)
    size = text.get("head_dim")
    if not size and text.get("hidden_size") and text.get("num_attention_heads"):
        size = text["hidden_size"] // text["num_attention_heads"]
    if not size or text.get("kv_lora_rank") or not runs_on_cpu():
        return
    if size in CPU_HEAD_SIZES:
        yield BaseFinding("attention", f"heads of {size} numbers")
    else:
        allowed = ", ".join(map(str, CPU_HEAD_SIZES))
        yield BaseFinding(
            "attention", f"heads of {size} numbers; the CPU engine takes {allowed}", "refused",
            ("serve",), "Choose another base, or serve it on a GPU",
        )  # fmt: skip


def _text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a configuration that has several."""
    return config.get("text_config") or config
