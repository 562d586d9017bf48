"""A night, against the same work done the usual way.

    python -m benchmarks.night [--items 150] [--corrections 120] [--rounds 2]

Corrections of pawl-mini's planted faults are imported as preference pairs. Then, in turn:

- *Pawl*: ``pawl nightly`` beside a serving engine: snapshot, plan, training, scores, verdict,
  report, promotion into the running engine. The champion's benchmark scores are those of an
  earlier night.
- *usual*: beside a serving engine too: TRL's defaults (``benchmarks/usual_training.py``), lm-eval's
  ``hf`` model for champion and for challenger, and the engine started again with the new adapter.

Same snapshot, same number of optimisation steps, same benchmark items. Starting the servers before
the night is not counted; the restart that deploys is.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import lm_eval_stock
from benchmarks.bare_engine import answers, bare_engine, until
from benchmarks.figures import ratio_in_words
from benchmarks.measurements import record
from evals.mini.checker import fault_shown
from evals.mini.sets import load_questions
from pawl.adapters import read_manifest
from pawl.errors import PawlError
from pawl.files import read_json, write_json
from pawl.models import BaseModel, resolve_model
from pawl.server import serving
from pawl.settings import Settings, load_settings
from serve.engine import free_port
from serve.vllm_child import vllm_command

REPOSITORY = Path(__file__).resolve().parent.parent
STEPS = ("train", "score champion", "score challenger", "deploy")
MIN_CORRECTIONS = 16


@dataclass(frozen=True, slots=True)
class Work:
    """What both arms do: the rows, and what Pawl's first night made of them."""

    snapshot_dir: Path
    plan_path: Path
    stages: list[dict[str, Any]]  # of the recipe: n_steps, step_rows


def write_corrections(path: Path, base: BaseModel, n: int, seed: int) -> int:
    """Ask for the planted faults; each answer that shows one is rejected for the right one.

    Returns:
        How many pairs were written, in TRL's preference format.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from refine.generation import generate

    questions = load_questions("faults")
    questions = random.Random(seed).sample(questions, min(n, len(questions)))
    tokenizer = AutoTokenizer.from_pretrained(str(base.model_dir))
    model: Any = AutoModelForCausalLM.from_pretrained(str(base.model_dir), dtype=torch.float32)
    said = generate(model, tokenizer, [q["messages"] for q in questions], max_new_tokens=120)
    pairs = [
        {"prompt": question["messages"],
         "chosen": [{"role": "assistant", "content": question["right_answer"]}],
         "rejected": [{"role": "assistant", "content": text}]}
        for question, (text, _) in zip(questions, said, strict=True)
        if text and fault_shown(text, question)
    ]  # fmt: skip
    if len(pairs) < MIN_CORRECTIONS:
        raise PawlError(f"only {len(pairs)} of {len(questions)} questions showed their fault",
                        f"a night needs more to learn from ({MIN_CORRECTIONS} here)",
                        "Run with the shipped pawl-mini, or with more --corrections")  # fmt: skip
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return len(pairs)


def pawl(settings: Settings, *arguments: str) -> int:
    """A command of Pawl's; its exit code. What it says passes through."""
    typed = [sys.executable, "-m", "pawl.cli", "--state-dir", str(settings.state_dir),
             "--set", f"model={settings.model}",
             "--set", f"gate.n_items_per_benchmark={settings.gate.n_items_per_benchmark}",
             *arguments]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(typed, env=environment, check=False).returncode


def pawl_night(
    settings: Settings, base: BaseModel, rows_path: Path
) -> tuple[dict[str, float], Work, str]:
    """Seconds of each step and in all, the work that was done, and how the night ended."""
    from evals.scoring import score, suite_of

    score(base, None, suite=suite_of(settings.gate, settings.model),
          scores_dir=settings.scores_dir, n_items=settings.gate.n_items_per_benchmark)  # fmt: skip
    with serving(settings):
        if pawl(settings, "import", str(rows_path)) != 0:
            raise PawlError("the corrections were not imported")
        began = time.monotonic()
        if pawl(settings, "nightly") != 0:
            raise PawlError("the night failed", do="Its messages are above")
        (run_dir,) = settings.runs_dir.iterdir()
        night_seconds = time.monotonic() - began
        state = read_json(run_dir / "run.json")
        seconds = dict(state["detail"]["seconds"])
        outcome = str(state["detail"]["outcome"]).replace("_", " ")
        if state["detail"].get("promotion") is None:  # the gate said no; deploying is timed anyway
            began = time.monotonic()
            moved = pawl(settings, "promote", run_dir.name, "--force")
            seconds["promote"] = time.monotonic() - began
            night_seconds += seconds["promote"]
            outcome += f"; promoted by force to time it (exit code {moved})"
        else:
            outcome += f"; {state['detail']['promotion']}"
    steps = {name: seconds.get("promote" if name == "deploy" else name, 0.0) for name in STEPS}
    steps["in all"] = night_seconds
    stages = read_manifest(run_dir / "adapter").recipe["stages"]
    work = Work(Path(state["detail"]["snapshot_dir"]), run_dir / "plan.json", stages)
    return steps, work, outcome


def usual_night(
    settings: Settings, base: BaseModel, work: Work, tasks: lm_eval_stock.StockTasks, folder: Path
) -> dict[str, float]:
    """Seconds of each step and in all."""
    folder.mkdir(parents=True)
    write_json(folder / "stages.json", work.stages)
    adapter_dir, log_path = folder / "adapter", folder / "engine.log"
    train = [sys.executable, "-m", "benchmarks.usual_training",
             "--snapshot", str(work.snapshot_dir), "--plan", str(work.plan_path),
             "--stages", str(folder / "stages.json"), "--model", str(base.model_dir),
             "--out", str(adapter_dir)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "HF_HUB_OFFLINE": "1"}
    steps: dict[str, float] = {}
    command = vllm_command(settings, base, free_port())
    with bare_engine(command, log_path) as url:
        until(lambda: answers(url, "base"), time.monotonic())
        began = time.monotonic()
        with (folder / "train.log").open("wb") as log:
            done = subprocess.run(train, env=environment, stdout=log, stderr=log, check=False)
        if done.returncode != 0:
            said = (folder / "train.log").read_text(errors="replace")[-2000:]
            raise PawlError("the training with TRL's defaults failed", said)
        steps["train"] = time.monotonic() - began
        for role, adapter in (("champion", None), ("challenger", adapter_dir)):
            step_began = time.monotonic()
            lm_eval_stock.run(tasks, base.model_dir, adapter, folder / role, n_threads=None)
            steps[f"score {role}"] = time.monotonic() - step_began
        deploy_began = time.monotonic()
    command = [*vllm_command(settings, base, free_port()),
               "--lora-modules", f"challenger={adapter_dir}"]  # fmt: skip
    with bare_engine(command, log_path) as url:
        until(lambda: answers(url, "challenger"), deploy_began)
        steps["deploy"] = time.monotonic() - deploy_began
        steps["in all"] = time.monotonic() - began
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--items", type=int, default=150, help="random items per benchmark")
    parser.add_argument("--corrections", type=int, default=120, help="fault questions asked")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--no-record", action="store_true", help="print only")
    said = parser.parse_args()
    taken: dict[str, list[dict[str, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="pawl-night-") as temporary:
        folder = Path(temporary)
        base = resolve_model("pawl-mini", cache_dir=folder)
        n_pairs = write_corrections(folder / "pairs.jsonl", base, said.corrections, seed=0)
        tasks = lm_eval_stock.drawn_tasks("mini", said.items, 0, None, folder / "stock")
        work: Work | None = None
        outcome = ""
        for n in range(said.rounds):
            settings = load_settings({"state_dir": folder / f"state-{n}",
                                      "gate": {"n_items_per_benchmark": said.items}})  # fmt: skip
            # The first round makes the work; after it the arms take turns at being first.
            for arm in ("pawl", "usual") if n % 2 == 0 else ("usual", "pawl"):
                if arm == "pawl":
                    steps, mine, outcome = pawl_night(settings, base, folder / "pairs.jsonl")
                    work = work or mine
                else:
                    assert work is not None
                    steps = usual_night(settings, base, work, tasks, folder / f"usual-{n}")
                taken[arm].append(steps)
                words = ", ".join(f"{name} {value:.1f} s" for name, value in steps.items())
                print(f"round {n + 1}, {arm}: {words}", flush=True)
    assert work is not None
    figures = figures_of(taken["pawl"], taken["usual"])
    figures["the work"] = (
        f"{n_pairs} corrections as preference pairs; "
        + ", ".join(f"{one['kind']} {one['n_steps']} steps" for one in work.stages)
        + f"; {said.items} items of each of 5 benchmarks"
    )
    figures["how Pawl's last night ended"] = outcome
    for name, value in figures.items():
        print(f"{name}: {value}")
    if not said.no_record:
        note = (
            "Both nights run beside a serving engine that nobody asks. The usual arm has no "
            "validation, no holdout, no verdict and no report, which Pawl's time includes; both "
            "train in the same precision. Pawl takes the champion's benchmark scores from an "
            "earlier night; what it scores of the champion is the new holdout."
        )
        typed = f"python -m benchmarks.night --items {said.items} --rounds {said.rounds} " \
                f"--corrections {said.corrections}"  # fmt: skip
        title = "A night against TRL's defaults, lm-eval and an engine restart"
        record("night", title, typed, figures, note=note)


def figures_of(ours: list[dict[str, float]], usual: list[dict[str, float]]) -> dict[str, str]:
    """Seconds and ratio of each step and in all."""
    figures = {}
    for name in (*STEPS, "in all"):
        mine, theirs = [one[name] for one in ours], [one[name] for one in usual]
        text = f"Pawl {statistics.median(mine):.1f} s, usual {statistics.median(theirs):.1f} s"
        if min(mine) > 0:
            text += f"; usual / Pawl {ratio_in_words(theirs, mine)}"
        figures[name] = text
    return figures


if __name__ == "__main__":
    main()
