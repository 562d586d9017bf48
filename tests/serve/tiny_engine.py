"""``pawl up`` before a small engine that really runs a tiny model and its adapters.

    python -m tests.serve.tiny_engine STATE_DIR MODEL_DIR

Transformers and PEFT behind the routes of ``fake_vllm``, one answer at a time, greedy whatever is
asked: for tests' models of a few layers, to see adapters promoted in seconds. Other settings come
from ``PAWL_*`` in the environment.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from aiohttp import web

MOST_TOKENS = 24


def make_engine(model_dir: str) -> Any:
    """The engine's object, with the model loaded."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.serve.fake_vllm import FakeVllm

    base: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(model_dir)

    class TinyEngine(FakeVllm):
        """``loaded``: the base with each adapter, by the adapter's name."""

        def __init__(self) -> None:
            super().__init__()
            self.loaded: dict[str, Any] = {}

        def model_of(self, name: str) -> Any:
            if name == "base":
                return base
            if name not in self.loaded:
                own: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
                self.loaded[name] = PeftModel.from_pretrained(own, self.adapters[name]).eval()
            return self.loaded[name]

        def words(self, model: str, prompt: str) -> list[str]:  # type: ignore[override]
            ids = tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True,
                return_dict=False, return_tensors="pt",
            )[:, -200:]  # fmt: skip
            with torch.no_grad():
                out = self.model_of(model).generate(
                    input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
                    max_new_tokens=MOST_TOKENS,
                )  # fmt: skip
            return [tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True).strip()]

        def probed(self, model: str, prefixes: list[list[int]]) -> web.Response:
            choices = []
            for index, prefix in enumerate(prefixes):
                with torch.no_grad():
                    logits = self.model_of(model)(input_ids=torch.tensor([prefix])).logits[0, -1]
                values, ids = logits.log_softmax(-1).topk(20)
                top = {
                    f"token_id:{i}": v for i, v in zip(ids.tolist(), values.tolist(), strict=True)
                }
                choices.append({"index": index, "logprobs": {"top_logprobs": [top]}})
            return web.json_response({"choices": choices})

    return TinyEngine()


def main(arguments: list[str]) -> None:
    if arguments[0] == "--engine":
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        print("non-default args: a tiny one", flush=True)
        web.run_app(make_engine(arguments[2]).app(), host="127.0.0.1", port=int(arguments[1]),
                    print=None, handler_cancellation=True, handle_signals=False)  # fmt: skip
        return
    from pawl.errors import PawlError
    from pawl.settings import Settings
    from serve.up import run_server

    state_dir, model_dir = arguments
    settings = Settings(state_dir=Path(state_dir), model=model_dir, port=0)
    try:
        run_server(
            settings,
            lambda line: print(line, flush=True),
            lambda _settings, _base, port: [
                sys.executable,
                __file__,
                "--engine",
                str(port),
                model_dir,
            ],
        )
    except PawlError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
