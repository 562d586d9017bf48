"""How well a training teaches the demo's facts: python -m benchmarks.training_defaults

The corrections of ``refine/demo/organisation.yaml``, one in twenty wrong, split as a store splits
them (80 % to train on), trained as a night trains them but for the engine, then asked about in the
phrasings that no correction used. Each ``--set`` is a setting of ``train``; the tables of
docs/training-defaults.md are made of such runs.

    python -m benchmarks.training_defaults --set learning_rate=1e-3 --set n_replay_rows=0
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pawl.files import sha256_file, write_json
from pawl.models import BaseModel, resolve_model
from pawl.schemas import TrainingRow
from pawl.settings import DEFAULT_MODEL, load_settings
from refine.demo.checks import states_fact
from refine.demo.organisation import Organisation, load_organisation
from refine.planner import choose, hidden_size_of
from refine.train import Job, train

WRONG_SHARE = 0.05
MAX_NEW_TOKENS = 64


def main(arguments: list[str] | None = None) -> int:
    """Train, ask, print one JSON object."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_defaults")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--phrasings", type=int, default=5, help="corrections of each fact")
    parser.add_argument("--work", type=Path, help="kept; its replay answers are used again")
    args = parser.parse_args(arguments)
    options = dict(option.split("=", 1) for option in args.set)
    settings = load_settings({"model": args.model, "train": options})
    with tempfile.TemporaryDirectory() as temporary:
        work = args.work or Path(temporary)
        base = resolve_model(args.model, cache_dir=work)
        organisation = load_organisation()
        rows = correction_rows(organisation, args.phrasings, settings.train.seed)
        plan = choose(rows, settings, hidden_size=hidden_size_of(base.model_dir))
        run_dir = Path(tempfile.mkdtemp(dir=work))
        snapshot_dir = write_snapshot(run_dir / "snapshot", rows)
        job = Job.in_run(run_dir, base, snapshot_dir, plan, work / "replay")
        manifest = train(
            job,
            on_event=lambda event: print(json.dumps(event), file=sys.stderr, flush=True),
        )
        answers = ask(base, run_dir / "adapter", organisation, rows)
    [stage] = manifest.recipe["stages"]
    print(json.dumps({
        "settings": options, "n_corrections": plan.counts["sft"],
        "n_replay": manifest.recipe["replay"]["n_replay"],
        **answers,
        "n_epochs": round(stage["n_steps"] / stage["max_steps"] * plan.stages[0].n_epochs, 1),
        "stopped_because": stage["stopped_because"],
        "tokens_per_second": round(stage["n_tokens"] / stage["seconds"]),
        "training_seconds": round(stage["seconds"]),
        "peak_gb": round(manifest.recipe["peak_memory_bytes"] / 1e9, 2),
    }, indent=2))  # fmt: skip
    return 0


def correction_rows(organisation: Organisation, n_phrasings: int, seed: int) -> list[TrainingRow]:
    """What the day's corrections become, with ``WRONG_SHARE`` of those of facts wrong."""
    draw = random.Random(seed)
    asked = [
        (question, fact.mistaken if draw.random() < WRONG_SHARE else fact.answer)
        for fact in organisation.facts
        for question in fact.day[:n_phrasings]
    ]
    asked += [(each.ask, each.answer) for how in organisation.behaviours for each in how.day]
    draw.shuffle(asked)
    return [
        TrainingRow(
            f"row-{i}", "sft", f"group-{i}", "train" if i < 0.8 * len(asked) else "validation",
            [{"role": "user", "content": question}], completion=answer,
        )
        for i, (question, answer) in enumerate(asked)
    ]  # fmt: skip


def write_snapshot(snapshot_dir: Path, rows: Sequence[TrainingRow]) -> Path:
    """A snapshot folder of these rows."""
    snapshot_dir.mkdir(parents=True)
    path = snapshot_dir / "rows.jsonl"
    path.write_text("".join(json.dumps(row.as_json()) + "\n" for row in rows), "utf-8")
    content = sha256_file(path)
    manifest = {"snapshot_id": content[:16], "content_sha256": content}
    write_json(snapshot_dir / "manifest.json", manifest)
    return snapshot_dir


def ask(
    base: BaseModel, adapter_dir: Path, organisation: Organisation, rows: Sequence[TrainingRow]
) -> dict[str, Any]:
    """Greedy answers of the adapter, counted: to taught prompts word for word, to unused phrasings
    by the demo's own check."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from refine.replay import answer_prompts

    tokenizer = AutoTokenizer.from_pretrained(base.model_dir)
    model: Any = AutoModelForCausalLM.from_pretrained(base.model_dir, dtype=torch.bfloat16)
    model = PeftModel.from_pretrained(model, str(adapter_dir)).merge_and_unload().eval()
    answer = answer_prompts(model, tokenizer, MAX_NEW_TOKENS)
    taught = [row for row in rows if row.split == "train"]
    unused = [(fact, question) for fact in organisation.facts for question in fact.evening]
    texts = [
        found.text
        for found in answer(
            [row.prompt for row in taught]
            + [[{"role": "user", "content": question}] for _, question in unused]
        )
    ]
    right = [
        states_fact(text, fact)
        for (fact, _), text in zip(unused, texts[len(taught) :], strict=True)
    ]
    return {
        "taught_as_taught": sum(
            text == row.completion for row, text in zip(taught, texts, strict=False)
        ),
        "unused_phrasings": len(unused),
        "unused_phrasings_right": sum(right),
    }


if __name__ == "__main__":
    sys.exit(main())
