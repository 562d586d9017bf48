"""A small working engine for tests: the routes of vLLM that the promotion uses, in half a second.

    python toy_engine.py PORT [--impostor VERSION] [--deaf VERSION] [--suicide VERSION]

Its model is arithmetic: next-token scores follow from the prefix, and an adapter adds what follows
from its weights, as far as they are from zero. So what it serves really depends on the folder that
was loaded. ``--impostor`` answers as the base under that name; ``--deaf`` refuses to load it;
``--suicide`` dies when it is asked to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing it takes as long as all the rest of a start
    from pawl.adapters import ProbePosition

WEIGHTS = "adapter_model.safetensors"
N_VOCABULARY = 64
PREFIXES = [[1, 2, n, n + 1] for n in range(16)]


def toy_logprobs(prefix: list[int], adapter_dir: Path | None) -> Any:
    """Natural-log probabilities of the next token: [N_VOCABULARY]."""
    import numpy as np
    from safetensors.numpy import load_file

    logits = np.random.default_rng(zlib.crc32(bytes(prefix))).standard_normal(N_VOCABULARY)
    if adapter_dir is not None:
        raw = (adapter_dir / WEIGHTS).read_bytes()
        tensors = load_file(adapter_dir / WEIGHTS)
        size = np.mean([np.abs(one).mean() for key, one in tensors.items() if "lora_B" in key])
        seed = zlib.crc32(raw, zlib.crc32(bytes(prefix)))
        logits = logits + size * np.random.default_rng(seed).standard_normal(N_VOCABULARY)
    return logits - np.log(np.exp(logits).sum())


def top_logprobs(prefixes: list[list[int]], adapter_dir: Path | None) -> list[dict[str, Any]]:
    """The choices that vLLM answers to a probe: 20 log-probabilities of each prefix."""
    choices = []
    for index, prefix in enumerate(prefixes):
        values = toy_logprobs(prefix, adapter_dir)
        top = {f"token_id:{i}": float(values[i]) for i in values.argsort()[-20:].tolist()}
        choices.append({"index": index, "logprobs": {"top_logprobs": [top]}})
    return choices


def toy_probe(adapter_dir: Path) -> list[ProbePosition]:
    """What training would have recorded of this adapter."""
    from pawl.adapters import ProbePosition

    positions = []
    for prefix in PREFIXES:
        ours, base = toy_logprobs(prefix, adapter_dir), toy_logprobs(prefix, None)
        top = ours.argsort()[-20:].tolist()
        positions.append(
            ProbePosition(
                prefix, {i: float(ours[i]) for i in top}, {i: float(base[i]) for i in top}
            )
        )
    return positions


def main() -> None:
    from aiohttp import web

    from tests.serve.fake_vllm import ask_for_key

    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--impostor")
    parser.add_argument("--deaf")
    parser.add_argument("--suicide")
    options = parser.parse_args()
    adapters: dict[str, Path | None] = {"base": None}

    async def health(request: web.Request) -> web.Response:
        return web.Response()

    async def load(request: web.Request) -> web.Response:
        body = await request.json()
        name = body["lora_name"]
        if name == options.suicide:
            os._exit(1)
        if name == options.deaf:
            return web.json_response({"error": "no room"}, status=400)
        adapters[name] = Path(body["lora_path"])
        return web.Response()

    async def unload(request: web.Request) -> web.Response:
        adapters.pop((await request.json())["lora_name"], None)
        return web.Response()

    async def complete(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name = body["model"]
        if name not in adapters:
            return web.json_response({"error": f"{name} does not exist"}, status=404)
        if not body.get("stream"):
            folder = None if name == options.impostor else adapters[name]
            return web.json_response({"choices": top_logprobs(body["prompt"], folder)})
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        for n in range(body["max_tokens"]):
            reason = "length" if n + 1 == body["max_tokens"] else None
            choice = {"index": 0, "text": name + " ", "finish_reason": reason}
            chunk = json.dumps({"model": name, "choices": [choice]})
            await answer.write(f"data: {chunk}\n\n".encode())
            await asyncio.sleep(0.01)
        await answer.write(b"data: [DONE]\n\n")
        return answer

    app = web.Application(middlewares=[ask_for_key])
    app.router.add_get("/health", health)
    app.router.add_post("/v1/load_lora_adapter", load)
    app.router.add_post("/v1/unload_lora_adapter", unload)
    app.router.add_post("/v1/completions", complete)
    web.run_app(app, host="127.0.0.1", port=options.port, print=None)


if __name__ == "__main__":
    main()
