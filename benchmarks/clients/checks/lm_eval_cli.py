"""lm_eval: generative tasks through its two OpenAI models, and a task of log-likelihoods."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from cells import BASE, KEY, MODEL, Refused, feature, need, run

N_ITEMS = 6
TASK = """task: lighthouse{kind}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: {output}
doc_to_text: "{{{{question}}}}"
doc_to_target: "{target}"
{more}
metric_list: [{{metric: {metric}, aggregation: mean, higher_is_better: true}}]
"""


def lm_eval(kind: str, url: str, *arguments: str, task: str = "") -> dict:
    """The samples that it logged.

    Raises:
        RuntimeError: it failed; with the end of what it wrote.
    """
    with tempfile.TemporaryDirectory(prefix="lm-eval-") as name:
        folder = Path(name)
        data = folder / "items.jsonl"
        data.write_text("".join(
            json.dumps({"question": f"What is {n} plus {n}?", "answer": str(2 * n)}) + "\n"
            for n in range(N_ITEMS)
        ), "utf-8")  # fmt: skip
        generate = "generation_kwargs: {max_gen_toks: 16, until: ['\\n\\n'], do_sample: false}"
        (folder / "generate.yaml").write_text(TASK.format(
            kind="", data=data, output="generate_until", target="{{answer}}", more=generate,
            metric="exact_match",
        ), "utf-8")  # fmt: skip
        (folder / "choose.yaml").write_text(TASK.format(
            kind="_choice", data=data, output="multiple_choice", target="{{answer}}",
            more='doc_to_choice: "{{[answer, \'no\']}}"', metric="acc",
        ), "utf-8")  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "lm_eval", "run", "--model", kind, "--tasks",
             f"lighthouse{task}", "--include_path", name, "--output_path", str(folder / "out"),
             "--log_samples", "--model_args",
             ",".join([f"model={MODEL}", f"base_url={url}", "max_retries=1", "num_concurrent=2",
                       *arguments]),
             *(["--apply_chat_template"] if "chat" in kind else [])],
            capture_output=True, encoding="utf-8", timeout=240, check=False,
            env={**os.environ, "OPENAI_API_KEY": KEY},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        [samples] = (folder / "out").rglob("samples_*.jsonl")
        lines = [json.loads(line) for line in samples.read_text("utf-8").splitlines()]
    need(len(lines) == N_ITEMS, f"{len(lines)} of {N_ITEMS} items")
    return lines


@feature("chat")
def chat() -> str:
    rows = lm_eval("local-chat-completions", f"{BASE}/chat/completions")
    need(all(row["resps"][0][0].strip() for row in rows), rows)
    return f"local-chat-completions, {len(rows)} items"


@feature("completions")
def completions() -> str:
    """With the base's own tokenizer it sends token ids, its default."""
    tokenizer = os.environ["PAWL_TOKENIZER"]
    for arguments in ([f"tokenizer={tokenizer}"], ["tokenizer_backend=None"]):
        rows = lm_eval("local-completions", f"{BASE}/completions", *arguments)
        need(all(len(row["resps"][0]) == 1 for row in rows), rows)
    return f"local-completions, token ids and text, {len(rows)} items"


@feature("loglikelihood")
def loglikelihood() -> str | Refused:
    try:
        lm_eval("local-completions", f"{BASE}/completions",
                f"tokenizer={os.environ['PAWL_TOKENIZER']}", task="_choice")  # fmt: skip
    except RuntimeError as error:
        need("echo together with logprobs" in str(error), error)
        return Refused("unsupported_parameter")
    raise AssertionError("prompt log-probabilities were answered")


run("lm_eval")
