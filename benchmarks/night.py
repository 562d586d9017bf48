"""Two nights on the real model beside a running server: time, memory, what was learned, replay.

python -m benchmarks.night [--corrections 100] [--items 300] [--data-dir HUB] [--state-dir DIR]

Corrections of the demonstration's organisation are posted over the API. The first night runs with
the defaults; then every prompt that it was taught is asked again. The second night, with a few
corrections more, shows what replay costs once it was generated; its training and its gate are cut
short, which replay does not depend on.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from feedback.snapshots import read_rows
from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.jobs import child_environment, module_command
from pawl.server import api_key_of, serving
from pawl.settings import Settings, load_settings
from pawl.text import normalise
from refine.demo.organisation import load_organisation
from refine.demo.people import MAX_ANSWER_TOKENS, Ask, People, script_of

LIMIT_SECONDS = 20 * 60
LIMIT_BYTES = 5e9
TAUGHT_FRACTION = 0.95
REPLAY_SECONDS = 5.0  # what a second night's replay may take: looking up what is kept
N_MORE = 8  # corrections between the nights, without which the second would not train
SHORT = ["--set", "train.n_epochs=1", "--set", "gate.n_items_per_benchmark=20"]


def correct(pawl: Pawl, asks: Sequence[Ask], label: str) -> None:
    """Ask each question, and say what should have been answered."""
    for answer in People(pawl, seed=0).ask_all(asks, label):
        pawl.feedback(
            answer.completion_id,
            thumb="down",
            categories=[answer.ask.category],
            correction=answer.ask.correction,
        )


def run_night(settings: Settings, arguments: Sequence[str] = ()) -> float:
    """``pawl nightly`` in a process of its own, with nothing of the server's settings repeated; its
    seconds."""
    command = [*module_command("pawl.cli"), "nightly", "--state-dir", str(settings.state_dir)]
    started = time.monotonic()
    done = subprocess.run([*command, *arguments], check=False, env=child_environment())
    if done.returncode != 0:
        raise PawlError("the night failed", f"exit code {done.returncode}", "Look above")
    return time.monotonic() - started


def taught(pawl: Pawl, settings: Settings, run_id: str) -> tuple[int, int]:
    """How many of the prompts that the run was trained on are answered with the words of their
    correction, and how many there are. A run that the gate did not let through is promoted for it.
    """
    run_dir = settings.runs_dir / run_id
    if pawl.status().champion == "base":
        promotion = pawl.promote(run_id, force=True)
        print(f"promoted without the gate, to be asked: {promotion.outcome}", flush=True)
    rows = [
        row
        for row in read_rows(Path(read_json(run_dir / "snapshot.json")["dir"]))
        if row.kind == "sft" and row.split == "train"
    ]
    n_right = 0
    for row in rows:
        answer = pawl.chat(row.prompt, temperature=0, max_tokens=2 * MAX_ANSWER_TOKENS)
        is_right = normalise(answer.text) == normalise(row.completion or "")
        n_right += is_right
        if not is_right:
            print(f"taught: {row.completion!r}\nsaid:   {answer.text!r}", flush=True)
    return n_right, len(rows)


def two_nights(settings: Settings, arguments: Sequence[str], n_corrections: int) -> dict[str, Any]:
    """Everything that is measured."""
    asks = [ask for ask in script_of(load_organisation()).day if ask.correction]
    random.Random(0).shuffle(asks)
    if len(asks) < n_corrections + N_MORE:
        raise PawlError(f"{n_corrections} corrections", f"{len(asks) - N_MORE} are there at most")
    found: dict[str, Any] = {}
    with serving(settings, arguments, say=lambda line: print(line, file=sys.stderr)) as server:
        pawl = Pawl(server.url, api_key_of(settings))
        correct(pawl, asks[:n_corrections], "first")
        found["seconds"] = run_night(settings)
        first = pawl.run(pawl.runs()[0].run_id)
        found |= {"outcome": first.detail["outcome"], "steps": first.detail["steps"]}
        if "train" not in found["steps"]:
            raise PawlError("the night trained nothing", str(first.detail["reason"]))
        found["n_taught_right"], found["n_taught"] = taught(pawl, settings, first.run_id)
        correct(pawl, asks[n_corrections : n_corrections + N_MORE], "second")
        run_night(settings, SHORT)
        second = pawl.run(pawl.runs()[0].run_id)
        found["second_replay_seconds"] = second.detail["steps"]["replay"]["seconds"]
        found["n_generated"] = [
            read_json(settings.runs_dir / run.run_id / "replay.json")["n_generated"]
            for run in (first, second)
        ]
    return found


def peak_bytes(found: dict[str, Any]) -> float:
    return max(step.get("peak_memory_bytes", 0) for step in found["steps"].values())


def missed_bars(found: dict[str, Any]) -> list[str]:
    """What fell short, in words; empty when every bar was met."""
    missed = []
    if found["seconds"] > LIMIT_SECONDS:
        missed.append(f"{found['seconds']:.0f} s, over {LIMIT_SECONDS}")
    if peak_bytes(found) > LIMIT_BYTES:
        missed.append(f"{peak_bytes(found) / 1e9:.1f} GB, over {LIMIT_BYTES / 1e9:.0f}")
    if found["n_taught_right"] < TAUGHT_FRACTION * found["n_taught"]:
        missed.append(f"{found['n_taught_right']} of {found['n_taught']} taught prompts")
    if found["second_replay_seconds"] > REPLAY_SECONDS:
        missed.append(f"the second night's replay took {found['second_replay_seconds']:.1f} s")
    return missed


def figures_of(found: dict[str, Any]) -> dict[str, str]:
    """What was measured, in words."""
    share = found["n_taught_right"] / found["n_taught"]
    figures = {
        "the night": f"{found['seconds']:.0f} s (bar {LIMIT_SECONDS}), "
        f"outcome {found['outcome'].replace('_', ' ')}",
        "most memory of a child": f"{peak_bytes(found) / 1e9:.1f} GB (bar {LIMIT_BYTES / 1e9:.0f})",
        "taught prompts answered as taught": f"{found['n_taught_right']} of {found['n_taught']}, "
        f"{share:.1%} (bar {TAUGHT_FRACTION:.0%})",
        "replay answers generated": f"{found['n_generated'][0]} in the first night, "
        f"{found['n_generated'][1]} in the second, which took "
        f"{found['second_replay_seconds']:.1f} s",
    }
    for name, step in found["steps"].items():
        peak = step.get("peak_memory_bytes")
        figures[f"step {name}"] = f"{step['seconds']:.1f} s" + (
            f", {peak / 1e9:.1f} GB" if peak else ""
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--corrections", type=int, default=100)
    parser.add_argument("--items", type=int, default=300, help="of each benchmark")
    parser.add_argument("--data-dir", type=Path, help="official benchmarks laid out as the hub")
    parser.add_argument("--state-dir", type=Path, help="left behind; default: a temporary folder")
    args = parser.parse_args()
    arguments = ["--set", f"gate.n_items_per_benchmark={args.items}"]
    if args.data_dir:
        arguments += ["--set", f"gate.data_dir={args.data_dir.resolve()}"]
    with tempfile.TemporaryDirectory(prefix="pawl-night-") as folder:
        settings = load_settings({"state_dir": args.state_dir or Path(folder) / "state"})
        found = two_nights(settings, arguments, args.corrections)
    title = f"A night with {args.corrections} corrections, engine running beside"
    finish("night", title, figures_of(found), missed=missed_bars(found))


if __name__ == "__main__":
    main()
