"""Tokens per second of an adapter against its base, in the engine: 1, 8 and 32 streams at once.

    python -m benchmarks.adapter_speed [--rounds 3] [--tokens 64]

vLLM runs with the options that ``pawl up`` gives it, and a random adapter of rank 16 on all linear
layers. In each round base, adapter, and both at once take turns. Also the time to the first token
after a prompt of 1,500.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import ratio_in_words
from benchmarks.first_chat import answers, bare_engine, until
from benchmarks.measurements import finish
from pawl.adapters import CONFIG, WEIGHTS
from pawl.files import write_json
from pawl.models import resolve_model
from pawl.settings import load_settings
from serve.engine.child import free_port
from serve.engine.launch import vllm_command

STREAMS = (1, 8, 32)
BAR = 0.8
RANK = 16
PROMPT_TOKENS = 1500
KINDS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def random_adapter(folder: Path, model_dir: Path) -> Path:
    """An adapter on every linear layer of the model, as large as a night's."""
    import numpy as np
    from safetensors import safe_open
    from safetensors.numpy import save_file

    draw, tensors = np.random.default_rng(0), {}
    for path in model_dir.glob("*.safetensors"):
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118 (no mapping)
                if name.removesuffix(".weight").endswith(KINDS):
                    n_outputs, n_inputs = file.get_slice(name).get_shape()
                    key = "base_model.model." + name.removesuffix(".weight")
                    a, b = (RANK, n_inputs), (n_outputs, RANK)
                    tensors[f"{key}.lora_A.weight"] = draw.normal(0, 0.02, a).astype(np.float32)
                    tensors[f"{key}.lora_B.weight"] = draw.normal(0, 0.002, b).astype(np.float32)
    folder.mkdir()
    save_file(tensors, folder / WEIGHTS)
    write_json(folder / CONFIG, {"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK,
                                 "target_modules": list(KINDS), "bias": "none",
                                 "task_type": "CAUSAL_LM"})  # fmt: skip
    return folder


def tokens_per_second(http: httpx.Client, models: list[str], n_tokens: int) -> float:
    """One stream for each entry of ``models``, all at once."""

    def ask(n: int) -> int:
        body = {"model": models[n], "prompt": f"Tell me about the sea, number {n}.",
                "max_tokens": n_tokens, "ignore_eos": True, "temperature": 0}  # fmt: skip
        answer = http.post("/v1/completions", json=body).raise_for_status().json()
        return int(answer["usage"]["completion_tokens"])

    began = time.monotonic()
    with ThreadPoolExecutor(len(models)) as pool:
        n_all = sum(pool.map(ask, range(len(models))))
    return n_all / (time.monotonic() - began)


def first_token_seconds(http: httpx.Client, model: str, number: int) -> float:
    """After a prompt that nobody has sent before."""
    body = {"model": model, "prompt": f"{number} " + "word " * PROMPT_TOKENS, "max_tokens": 1}
    began = time.monotonic()
    http.post("/v1/completions", json=body).raise_for_status()
    return time.monotonic() - began


def measure(url: str, adapter_dir: Path, n_rounds: int, n_tokens: int) -> dict[str, Any]:
    figures: dict[str, Any] = {"worst": 1.0}
    with httpx.Client(base_url=url, timeout=600) as http:
        body = {"lora_name": "adapter", "lora_path": str(adapter_dir)}
        http.post("/v1/load_lora_adapter", json=body).raise_for_status()
        for n in STREAMS:
            arms = {"base": ["base"], "adapter": ["adapter"], "both": ["base", "adapter"]}
            speeds: dict[str, list[float]] = {name: [] for name in arms}
            for _ in range(n_rounds):
                for name, models in arms.items():
                    streams = [models[i % len(models)] for i in range(n)]
                    speeds[name].append(tokens_per_second(http, streams, n_tokens))
            middle = {name: statistics.median(found) for name, found in speeds.items()}
            figures["worst"] = min(figures["worst"], middle["adapter"] / middle["base"])
            figures[f"{n} at once, tokens/s"] = (
                ", ".join(f"{name} {value:.0f}" for name, value in middle.items())
                + f"; adapter / base {ratio_in_words(speeds['adapter'], speeds['base'])}"
            )
            print(n, figures[f"{n} at once, tokens/s"], flush=True)
        seconds: dict[str, list[float]] = {"base": [], "adapter": []}
        for number in range(n_rounds):
            for name, found in seconds.items():
                found.append(first_token_seconds(http, name, number))
        figures[f"first token after a prompt of {PROMPT_TOKENS:,}"] = (
            f"base {statistics.median(seconds['base']):.2f} s, adapter "
            f"{statistics.median(seconds['adapter']):.2f} s; adapter / base "
            f"{ratio_in_words(seconds['adapter'], seconds['base'])}"
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64, help="of each answer")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-adapter-") as name:
        folder = Path(name)
        settings = load_settings({"state_dir": folder / "state"})
        base = resolve_model(args.model, cache_dir=folder)
        adapter_dir = random_adapter(folder / "adapter", base.model_dir)
        command = vllm_command(settings, base, free_port())
        with bare_engine(command, folder / "engine.log") as url:
            until(lambda: answers(url, "base"), time.monotonic())
            figures = measure(url, adapter_dir, args.rounds, args.tokens)
    worst = figures.pop("worst")
    missed = [f"an adapter has {worst:.2f} of its base's speed"] if worst < BAR else []
    finish("adapter-speed", "An adapter against its base in the engine", figures, missed=missed,
           note=f"Bar: {BAR} or more at each; rank {RANK} on all linear layers.")  # fmt: skip


if __name__ == "__main__":
    main()
