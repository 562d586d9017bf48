"""The model that is trained: the base, what learns in it, and what of it the engine serves.

    lora, rslora   PEFT's adapters, served as they are
    dora           PEFT's too, but vLLM 0.32 serves none
    full           every weight of the linear layers that a LoRA would change (``modules_to_save``);
                   embeddings, norms and head stay, since no adapter that vLLM serves changes them

A LoRA may be trained on the base in 4 bits (``train.load_in_4bit``; QLoRA, Dettmers et al. 2023):
its linear layers as NF4 with double quantisation, a quarter of bf16's memory. No engine serves that
base, so the probe record, replay's answers and a search's held-out losses are of the whole one.

What ``dora`` and ``full`` left is served as the LoRA that is nearest to it: of each layer's change
of weights the truncated singular value decomposition, nearest in Frobenius's norm among all of its
rank (Eckart and Young 1936). ``as_lora`` measures what that loses; probe, gate and promotion see
the LoRA alone, so nothing is judged that is not served. docs/design.md says why.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pawl.adapters import CONFIG, WEIGHTS
from pawl.base_checks import LORA_LAYERS
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from refine.planner import Plan

# Columns more than are kept, and power iterations: of the randomised decomposition (Halko,
# Martinsson and Tropp 2011), whose error is then far below what the truncation loses.
OVERSAMPLING, N_POWER = 16, 4
# What an adapter that is trained on must have as it is asked for.
_SHAPE = ("r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "target_modules",
          "layers_to_transform", "modules_to_save")  # fmt: skip
BITSANDBYTES = "bitsandbytes>=0.50,<0.51"
N_COMPARED = 32  # rows on which the served model is compared with the trained one


def load_base(
    model_dir: Path, dtype: Any = None, *, on_cpu: bool = False, in_4bit: bool = False
) -> Any:
    """The base, in bf16 where the machine is fast in it; or in ``dtype``, in which a base in 4 bits
    computes. On a GPU where there is one, unless ``on_cpu``."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    from refine.trainer import use_bf16

    dtype = dtype or (torch.bfloat16 if use_bf16(torch) else torch.float32)
    device = "cuda" if torch.cuda.is_available() and not on_cpu else "cpu"
    if in_4bit:
        check_4bit()
        nf4 = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        # accelerate trains it where it was loaded, and compares the GPU's number.
        where = {"": 0 if device == "cuda" else device}
        model = AutoModelForCausalLM.from_pretrained(
            str(model_dir), dtype=dtype, quantization_config=nf4, device_map=where
        ).eval()
        # On CPUs with AVX512-BF16 the first evaluation would pack the weights anew, with rounded
        # scales: a training that is gone on with would come to others (bitsandbytes 0.50).
        for module in model.modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                module.support_avx512bf16_for_cpu = False
        return model
    model = AutoModelForCausalLM.from_pretrained(str(model_dir), dtype=dtype)
    return model.to(device).eval()


def check_4bit() -> None:
    """Raises PawlError: what a base in 4 bits needs is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise PawlError(
            "train.load_in_4bit is set",
            "the package bitsandbytes is not installed",
            f"Type: {sys.executable} -m pip install '{BITSANDBYTES}' (or set it to false)",
            code="not_installed",
        )


def base_to_train(model_dir: Path, plan: Plan) -> Any:
    """The base as a plan's training has it: in float32 where its own weights learn, since a step is
    less than bf16 can tell apart."""
    import torch

    dtype = torch.float32 if plan.tuning == "full" else None
    return load_base(model_dir, dtype, in_4bit=plan.load_in_4bit)


def begin(base: Any, plan: Plan) -> Any:
    """A PeftModel in which what learns is as the base has it."""
    from peft import get_peft_model

    return _without_biases(get_peft_model(base, _config(base, plan)))


def _without_biases(model: Any) -> Any:
    """Let no bias of a layer that is trained whole learn: no LoRA that is served has one."""
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            parameter.requires_grad_(False)
    return model


def misfit(base: Any, plan: Plan, adapter_dir: Path) -> str:
    """What keeps a training of the plan from beginning from an adapter; empty: nothing."""
    from peft import LoraConfig

    ours, theirs = _config(base, plan), LoraConfig.from_pretrained(str(adapter_dir))
    for name in _SHAPE:
        asked, found = getattr(ours, name), getattr(theirs, name)
        if isinstance(asked, set | list):
            asked, found = sorted(asked), sorted(found or ())
        if asked != found:
            return f"{name} is {found} there, and {asked} by the settings"
    return ""


def _config(base: Any, plan: Plan) -> Any:
    """PEFT's configuration of what learns."""
    from peft import LoraConfig

    if plan.tuning == "full":
        return LoraConfig(
            target_modules="dummy-target-modules",  # PEFT's name for none
            modules_to_save=_layers(base, plan),
            task_type="CAUSAL_LM",
        )
    return LoraConfig(
        r=plan.lora_rank,
        use_rslora=plan.tuning == "rslora",
        use_dora=plan.tuning == "dora",
        lora_alpha=plan.lora_alpha,
        lora_dropout=plan.lora_dropout,
        **_where(base, plan),
    )


def load(base: Any, adapter_dir: Path, *, trainable: bool = False) -> Any:
    """A PeftModel of what lies in a folder."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(base, str(adapter_dir), is_trainable=trainable)
    return _without_biases(model)


def tidy_config(adapter_dir: Path, base_name: str) -> None:
    """Sort what PEFT leaves in the order of a set, and name the base instead of a local path."""
    config = read_json(adapter_dir / CONFIG)
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = base_name
    write_json(adapter_dir / CONFIG, dict(sorted(config.items())))


def as_lora(
    model_dir: Path, trained_dir: Path, out_dir: Path, plan: Plan, rows: Sequence[list[int]]
) -> dict[str, Any]:
    """Write the LoRA of rank ``plan.served_rank`` that is nearest to what was trained.

    Args:
        trained_dir: what PEFT saved of a DoRA or of whole layers.
        rows: token ids of some rows that were trained on.

    Returns:
        ``{"rank", "lost", "nats_to_trained", "nats_from_base"}``: which share of the change's norm
        is lost, and how far the served model is from the trained one, and the trained one from the
        base: KL(trained || other) in nats a token, mean over the rows.
    """
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file

    assert plan.served_rank is not None
    rank = plan.served_rank
    base = load_base(model_dir, torch.float32).requires_grad_(False)
    trained = load(load_base(model_dir, torch.float32), trained_dir).merge_and_unload().eval()
    trained.requires_grad_(False)
    torch.manual_seed(plan.seed)
    parts: dict[str, Any] = {}
    whole = lost = 0.0
    for name in _layers(base, plan):
        change = trained.get_submodule(name).weight - base.get_submodule(name).weight
        n_columns = min(rank + OVERSAMPLING, *change.shape)
        u, s, v = torch.svd_lowrank(change, q=n_columns, niter=N_POWER)
        root = s[:rank].sqrt()
        a, b = (v[:, :rank] * root).T, u[:, :rank] * root
        whole += float((change**2).sum())
        lost += float(((change - b @ a) ** 2).sum())
        n_lacking = rank - len(root)  # a layer narrower than the rank
        key = f"base_model.model.{name}"
        parts[f"{key}.lora_A.weight"] = torch.nn.functional.pad(a, (0, 0, 0, n_lacking)).cpu()
        parts[f"{key}.lora_B.weight"] = torch.nn.functional.pad(b, (0, n_lacking)).cpu()
    LoraConfig(r=rank, lora_alpha=rank, inference_mode=True, **_where(base, plan)).save_pretrained(
        str(out_dir)
    )
    save_file({key: part.contiguous() for key, part in parts.items()}, out_dir / WEIGHTS)
    served = load(base, out_dir).eval()
    with served.disable_adapter():
        from_base = _nats(trained, served, rows)
    return {
        "rank": rank,
        "lost": round(math.sqrt(lost / whole), 4) if whole else 0.0,
        "nats_to_trained": _nats(trained, served, rows),
        "nats_from_base": from_base,
    }


def _where(base: Any, plan: Plan) -> dict[str, Any]:
    """Of a LoRA's configuration, which layers it changes."""
    n_layers = int(base.config.get_text_config().num_hidden_layers)
    first = n_layers - (plan.last_layers or n_layers)
    last = {name.rpartition(".")[2] for name, _ in base.named_modules()}
    return {
        "bias": "none",
        "target_modules": sorted(last & set(LORA_LAYERS)),  # not none: the base was checked
        "layers_to_transform": list(range(first, n_layers)) if first else None,
        "task_type": "CAUSAL_LM",
    }


def _layers(base: Any, plan: Plan) -> list[str]:
    """The whole names of the linear layers that a plan changes."""
    where = _where(base, plan)
    layers = where["layers_to_transform"]
    names = [
        name
        for name, _ in base.named_modules()
        if name.rpartition(".")[2] in where["target_modules"] and ".layers." in f".{name}"
    ]
    if layers is None:
        return names
    return [name for name in names if int(f".{name}".split(".layers.")[1].split(".")[0]) in layers]


def _nats(trained: Any, other: Any, rows: Sequence[list[int]]) -> float:
    """KL(trained || other) a token, mean over all positions of the rows."""
    import torch

    total, n_tokens = 0.0, 0
    with torch.no_grad():
        for ids in rows[:N_COMPARED]:
            inputs = torch.tensor([ids], device=trained.device)
            ours, theirs = (
                model(input_ids=inputs, use_cache=False).logits[0].float().log_softmax(-1)
                for model in (trained, other)
            )
            kl = torch.nn.functional.kl_div(theirs, ours, log_target=True, reduction="sum")
            total, n_tokens = total + float(kl), n_tokens + len(ids)
    return round(total / max(1, n_tokens), 6)
