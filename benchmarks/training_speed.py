"""Training and replay against what one would write: TRL's defaults, and transformers.

    python -m benchmarks.training_speed [--part sft|replay] [--rounds 3] [--epochs 2]

On the real model, with nothing else running; the arms take turns. Two parts, each with a section of
its own in docs/measurements.md:

- ``sft``: the corrections of the demo's organisation, trained by ``refine.train`` and by TRL's
  ``SFTTrainer`` (``benchmarks.trl_stock``), with the same LoRA, rate, epochs and batch, without
  replay. Seconds are those of the steps, without imports and loading. Bars: 2.5 times the tokens a
  second, and a held-out loss that is not above TRL's by more than 1 %. Their orders of rows differ.
- ``replay``: the base's answers to prompts of ``refine/replay_prompts.jsonl``, others in each
  round, by the running engine and by transformers as the training child would. Bar: 8 times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import ratio_in_words, ratios
from benchmarks.measurements import MISSED, finish
from benchmarks.training_defaults import correction_rows, write_snapshot
from pawl.chat_template import load_tokenizer
from pawl.client import Pawl
from pawl.jobs import child_environment
from pawl.models import BaseModel, resolve_model
from pawl.schemas import TrainingRow
from pawl.server import api_key_of, serving
from pawl.settings import DEFAULT_MODEL, load_settings
from refine import replay
from refine.datasets import encoder_of
from refine.demo.organisation import load_organisation
from refine.held_out import encode_answers, loss_of
from refine.planner import choose, hidden_size_of
from refine.train import MAX_LENGTH_TOKENS, Job, train
from refine.trainer import use_bf16
from refine.weights import base_to_train, load, load_base

SPEED_BAR, REPLAY_BAR, MOST_LOSS = 2.5, 8.0, 1.01
N_PHRASINGS = 5
N_PROMPTS = 64  # in a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["sft", "replay"], help="default: both")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=float, default=2.0)
    args = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory(prefix="pawl-training-") as temporary:
        base = resolve_model(args.model, cache_dir=Path(temporary))
        for part, measure in (("sft", sft), ("replay", by_engine)):
            if args.part in (None, part):
                try:
                    measure(base, Path(temporary) / part, args)
                except SystemExit as end:
                    missed |= bool(end.code)
    raise SystemExit(MISSED if missed else 0)


def sft(base: BaseModel, work: Path, args: argparse.Namespace) -> None:
    """Part ``sft``."""
    import torch

    rows = correction_rows(load_organisation(), N_PHRASINGS, 0)
    options = {"method": "sft", "n_epochs": args.epochs, "n_replay_rows": 0, "max_minutes": 120}
    settings = load_settings({"train": options}, only_flags=True)
    plan = choose(rows, settings, hidden_size=hidden_size_of(base.model_dir))
    [stage] = plan.stages
    stock = {
        "n_epochs": stage.n_epochs, "learning_rate": stage.learning_rate,
        "rank": plan.lora_rank, "alpha": plan.lora_alpha, "seed": plan.seed,
    }  # fmt: skip
    assert stage.batch_size == 8  # TRL's default
    snapshot_dir = write_snapshot(work / "snapshot", rows)
    prompts = work / "rows.jsonl"
    prompts.write_text("".join(
        json.dumps({
            "prompt": row.prompt,
            "completion": [{"role": "assistant", "content": row.completion}],
        }) + "\n"
        for row in rows if row.split == "train"
    ), "utf-8")  # fmt: skip
    held_out = [row for row in rows if row.split == "validation"]
    seconds: dict[str, list[float]] = {"pawl": [], "trl": []}
    losses: dict[str, list[float]] = {"pawl": [], "trl": []}
    n_tokens = 0
    for n in range(args.rounds):
        for arm in ("pawl", "trl") if n % 2 == 0 else ("trl", "pawl"):
            run_dir = work / f"{arm}-{n}"
            if arm == "pawl":
                manifest = train(Job.in_run(run_dir, base, snapshot_dir, plan, work / "replay"))
                [done] = manifest.recipe["stages"]
                taken, n_tokens = done["seconds"], done["n_tokens"]
                if done["n_steps"] < done["max_steps"]:
                    sys.exit(f"nothing measured: it ended early ({done['stopped_because']})")
            else:
                taken = by_trl(prompts, base, run_dir / "adapter", stock)
            seconds[arm].append(taken)
            losses[arm].append(held_out_loss(base, run_dir / "adapter", held_out))
            print(f"round {n + 1}: {arm} {taken:.1f} s, {losses[arm][-1]:.4f}", flush=True)
    ratio = statistics.median(ratios(seconds["trl"], seconds["pawl"]))
    loss = {arm: statistics.median(found) for arm, found in losses.items()}
    missed = []
    if ratio < SPEED_BAR:
        missed.append(f"{ratio:.2f} times instead of {SPEED_BAR:g}")
    if loss["pawl"] > MOST_LOSS * loss["trl"]:
        missed.append(f"the loss is {loss['pawl'] / loss['trl'] - 1:.1%} above TRL's, not 1 %")
    figures = {
        "refine.train": f"{n_tokens / statistics.median(seconds['pawl']):.0f} tokens/s, "
        f"{statistics.median(seconds['pawl']):.1f} s",
        "TRL's defaults": f"{n_tokens / statistics.median(seconds['trl']):.0f} tokens/s, "
        f"{statistics.median(seconds['trl']):.1f} s",
        "tokens a second, ours / TRL's": ratio_in_words(seconds["trl"], seconds["pawl"]),
        "held-out loss, nats a token": f"{loss['pawl']:.4f}, TRL's {loss['trl']:.4f}",
    }
    note = (
        f"{plan.counts['sft']} corrections, {n_tokens:,} tokens in {args.epochs:g} epochs, "
        f"{len(held_out)} held out. TRL's arm: SFTTrainer with a LoRA of the same rank, alpha, "
        "layers, rate and seed, all else by default; steps alone, without imports and loading. "
        f"Both in {'bf16' if use_bf16(torch) else 'float32, since this CPU has no bf16'}."
    )
    finish("training-speed", "Training against TRL's defaults", figures, missed=missed, note=note)


def by_trl(prompts: Path, base: BaseModel, out_dir: Path, options: dict[str, float]) -> float:
    """Train by ``benchmarks.trl_stock``; seconds of its steps."""
    command = [sys.executable, "-m", "benchmarks.trl_stock", str(prompts), str(base.model_dir),
               str(out_dir), json.dumps(options)]  # fmt: skip
    done = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True,
                          env={**child_environment(), "HF_HUB_OFFLINE": "1"})  # fmt: skip
    seconds: float = json.loads(done.stdout.splitlines()[-1])["seconds"]
    return seconds


def held_out_loss(base: BaseModel, adapter_dir: Path, rows: Sequence[TrainingRow]) -> float:
    """Nats a token, the mean over rows."""
    import torch

    encode = encoder_of(load_tokenizer(base.model_dir))
    model = load(load_base(base.model_dir, torch.float32), adapter_dir).eval()
    encoded = [encode_answers(row, encode, MAX_LENGTH_TOKENS) for row in rows]
    return statistics.mean(loss_of(model, row, 0.1) for row in encoded if row)


def by_engine(base: BaseModel, work: Path, args: argparse.Namespace) -> None:
    """Part ``replay``."""
    prompts = replay.read_prompts()[: args.rounds * N_PROMPTS]
    settings = load_settings({"state_dir": work / "state"}, only_flags=True)
    seconds: dict[str, list[float]] = {"engine": [], "transformers": []}
    with serving(settings, say=lambda line: print(line, file=sys.stderr)) as server:
        client = Pawl(server.url, api_key_of(settings))
        model = base_to_train(base.model_dir, choose([], settings))
        tokenizer = load_tokenizer(base.model_dir)
        arms = {
            "engine": replay.ask_server(client),
            "transformers": replay.answer_prompts(model, tokenizer, replay.MAX_ANSWER_TOKENS),
        }
        for answer in arms.values():
            answer(prompts[-2:])
        for n in range(args.rounds):
            some = prompts[n * N_PROMPTS : (n + 1) * N_PROMPTS]
            for arm in list(arms) if n % 2 == 0 else list(reversed(arms)):
                began = time.monotonic()
                arms[arm](some)
                seconds[arm].append(time.monotonic() - began)
                print(f"round {n + 1}: {arm} {seconds[arm][-1]:.1f} s", flush=True)
    ratio = statistics.median(ratios(seconds["transformers"], seconds["engine"]))
    figures = {arm: f"{statistics.median(found):.1f} s" for arm, found in seconds.items()}
    figures["transformers / engine"] = ratio_in_words(seconds["transformers"], seconds["engine"])
    missed = [] if ratio >= REPLAY_BAR else [f"{ratio:.2f} times instead of {REPLAY_BAR:g}"]
    note = (
        f"{N_PROMPTS} prompts a round, up to {replay.MAX_ANSWER_TOKENS} tokens each, greedy; the "
        "model is in memory on both sides."
    )
    finish("replay-speed", "Replay by the engine", figures, missed=missed, note=note)


if __name__ == "__main__":
    main()
