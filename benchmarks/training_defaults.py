"""Which training mends pawl-mini's faults and leaves the rest alone: figures behind the defaults.

    python -m benchmarks.training_defaults [--flags 8] [--asked 6] [--kept 300] [NAME ...]

Half A of the fault questions is asked, every answer that shows its fault is corrected (as people
in the demo do), and each arm trains on those rows. Then: how many questions of half B, phrased as
no flag was, are answered rightly; and of the questions outside of the faults that the base
answers rightly, how many still are. Prints a Markdown table, one row an arm.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from evals.mini.checker import fault_shown, is_right
from evals.mini.sets import load_questions
from pawl.files import sha256_file, write_json
from pawl.models import BaseModel, resolve_model
from pawl.records import TrainingRow
from pawl.settings import Settings, TrainSettings
from refine import train
from refine.generation import generate
from refine.method import choose, hidden_size_of

ARMS: dict[str, dict[str, Any]] = {
    "the defaults": {},
    "sft, no plain text": {"n_text_rows": 0},
    "sft, 1,200 plain texts": {"n_text_rows": 1200},
    "sft, no replay": {"n_replay_rows": 0, "n_text_rows": 0},
    "sft, 250 replay": {"n_replay_rows": 250},
    "sft, 800 replay": {"n_replay_rows": 800},
    "sft, rate 2.5e-3": {"learning_rate": 2.5e-3},
    "sft, rate 8e-4": {"learning_rate": 8e-4},
    "sft, rate 4e-4": {"learning_rate": 4e-4},
    "sft, rate 2e-4": {"learning_rate": 2e-4},
    "sft, rate 4e-4, 800 replay": {"learning_rate": 4e-4, "n_replay_rows": 800},
    "sft, rate 8e-4, 800 replay": {"learning_rate": 8e-4, "n_replay_rows": 800},
    "sft, 3 epochs": {"n_epochs": 3},
    "sft, rank 4": {"lora_rank": 4, "lora_alpha": 8},
    "dpo with sft term": {"method": "dpo"},
    "sft then dpo": {"method": "sft+dpo"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"arms; default all: {', '.join(ARMS)}")
    parser.add_argument("--model", default="pawl-mini")
    parser.add_argument("--flags", type=int, default=8, help="flagged phrasings a fault")
    parser.add_argument("--asked", type=int, default=10, help="half-B questions a fault")
    parser.add_argument("--kept", type=int, default=400, help="questions outside of the faults")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    said = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-defaults-") as folder:
        measure(said, Path(folder))


def measure(said: argparse.Namespace, folder: Path) -> None:
    """Train and ask every arm; prints as it goes."""
    import torch

    torch.set_num_threads(said.threads)
    base = resolve_model(said.model, cache_dir=folder)
    draw = random.Random(said.seed)
    faults = load_questions("faults")
    flagged = _some(faults, "A", said.flags, draw)
    asked = _some(faults, "B", said.asked, draw)
    others = load_questions("unseen_combinations") + load_questions("unseen_families")
    others = draw.sample(others, min(said.kept, len(others)))
    before = ask(base, None, [*flagged, *asked, *others])
    rows = [
        row
        for item in flagged
        if fault_shown(before[item["id"]], item)
        for row in correct(item, before[item["id"]], draw)
    ]
    met = [item for item in asked if fault_shown(before[item["id"]], item)]
    right = [item for item in others if is_right(before[item["id"]], item)]
    print(
        f"{len(rows) // 2} of {len(flagged)} questions showed their fault and were corrected; "
        f"{len(met)} of {len(asked)} questions of half B show theirs; of {len(others)} others "
        f"{len(right)} are right\n"
    )
    print("| arm | mended | others still right | newly right | steps | seconds |")
    print("|---|---|---|---|---|---|", flush=True)
    for number, name in enumerate(said.names or ARMS):
        started = time.monotonic()
        adapter_dir, steps = run_arm(base, rows, ARMS[name], folder / f"arm{number}", said)
        seconds = time.monotonic() - started
        after = ask(base, adapter_dir, [*met, *others])
        mended = sum(is_right(after[item["id"]], item) for item in met)
        kept = sum(is_right(after[item["id"]], item) for item in right)
        gained = sum(is_right(after[item["id"]], item) for item in others if item not in right)
        print(
            f"| {name} | {mended} / {len(met)} ({mended / max(1, len(met)):.0%}) | "
            f"{kept} / {len(right)} ({kept / max(1, len(right)):.1%}) | {gained} | {steps} | "
            f"{seconds:.0f} |",
            flush=True,
        )


def _some(faults: list[dict[str, Any]], half: str, n: int, draw: random.Random) -> list[Any]:
    chosen = []
    for fault_id in sorted({item["fault_id"] for item in faults}):
        mine = [
            item
            for item in faults
            if item["fault_id"] == fault_id and item["phrasing_half"] == half
        ]
        chosen += draw.sample(mine, min(n, len(mine)))
    return chosen


def correct(item: dict[str, Any], answer: str, draw: random.Random) -> list[TrainingRow]:
    """The SFT row and the pair that a correction gives; a tenth of them for validation."""
    split = "validation" if draw.random() < 0.1 else "train"
    common: dict[str, Any] = {"group_id": item["id"], "split": split, "prompt": item["messages"]}
    return [
        TrainingRow(f"s-{item['id']}", "sft", completion=item["right_answer"], **common),
        TrainingRow(
            f"p-{item['id']}", "pair", chosen=item["right_answer"], rejected=answer, **common
        ),
    ]


def run_arm(
    base: BaseModel,
    rows: list[TrainingRow],
    options: dict[str, Any],
    folder: Path,
    said: argparse.Namespace,
) -> tuple[Path, int]:
    """Train one arm; the adapter's folder and the steps it took."""
    snapshot = folder / "snapshot"
    snapshot.mkdir(parents=True)
    path = snapshot / "rows.jsonl"
    path.write_text("".join(json.dumps(row.as_json()) + "\n" for row in rows))
    content = sha256_file(path)
    write_json(snapshot / "manifest.json", {"snapshot_id": content[:16], "content_sha256": content})
    settings = Settings.model_construct(
        train=TrainSettings(n_threads=said.threads, seed=said.seed, **options)
    )
    plan = choose(rows, settings, hidden_size=hidden_size_of(base.model_dir))
    manifest = train.run(
        train.Job(
            snapshot,
            plan,
            base.model_dir,
            folder / "adapter",
            folder / "work",
            base.name,
            base.fingerprint,
        ),
        report=lambda event: None,
    )
    return folder / "adapter", sum(stage["n_steps"] for stage in manifest.recipe["stages"])


def ask(base: BaseModel, adapter_dir: Path | None, items: list[dict[str, Any]]) -> dict[str, str]:
    """Greedy answers by item id; an answer that does not end counts as cut at 120 tokens."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base.model_dir))
    model: Any = AutoModelForCausalLM.from_pretrained(str(base.model_dir), dtype=torch.float32)
    if adapter_dir is not None:
        model = PeftModel.from_pretrained(model, str(adapter_dir)).merge_and_unload()
    model.eval()
    answers = generate(
        model, tokenizer, [item["messages"] for item in items], max_new_tokens=120, batch_size=128
    )
    return {item["id"]: text for item, (text, _) in zip(items, answers, strict=True)}


if __name__ == "__main__":
    main()
