"""Planted bad rows among the suspects: is what broke a night found in the first 5 % of its rows?

    python -m benchmarks.influence [--rows 200] [--planted 6] [--minutes 6]

The real model is trained on right answers to questions of the demonstration's organisation and of
the everyday suite, and on a few planted bad ones, of two kinds in turn: wrong answers to questions
that the base answers rightly in other words, and refusals. Then other wordings of questions are
scored before and after, as a night scores held-out prompts, and the rows are ranked by their
influence on those that got worse. A planted row is among the first if it broke something: a wrong
answer whose question, in other words, is answered as rightly as before is no suspect.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from evals.broken import what_broke
from evals.regression import write_more_rows
from evals.runner import score
from evals.suites import load
from feedback.curation import Curated
from feedback.rows import Lesson
from feedback.snapshots import freeze
from pawl.files import write_json
from pawl.models import BaseModel, resolve_model
from pawl.schemas import Split, TrainingRow
from pawl.settings import Settings, load_settings
from refine.demo.organisation import load_organisation
from refine.influence import SHOWN_SHARE, SUSPECTS, find_suspects
from refine.planner import choose, hidden_size_of
from refine.train import Job, train

REFUSAL = "I can't help with that."
N_ASKED = 180  # facts of which one wording is scored
TROLL = "troll"
LIMIT_BYTES = 5e9


@dataclass(frozen=True, slots=True)
class Asked:
    """One wording of a fact, with its right and a wrong answer."""

    question: str
    right: str
    wrong: str


def everyday_facts() -> list[list[Asked]]:
    """The wordings of each fact of the everyday suite's ARC, in a random order."""
    facts: dict[str, list[Asked]] = defaultdict(list)
    with (load("everyday").folder / "arc.jsonl").open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            place = row["choices"]["label"].index(row["answerKey"])
            texts = row["choices"]["text"]
            wrong = texts[(place + 1) % len(texts)]
            facts[row["fact"]].append(Asked(row["question"], texts[place], wrong))
    found = [wordings for _, wordings in sorted(facts.items())]
    random.Random(0).shuffle(found)
    return found


def row_of(question: str, answer: str, rater: str) -> TrainingRow:
    prompt = [{"role": "user", "content": question}]
    return Lesson(
        "sft", question, prompt, completion=answer, origin={"rater_id": rater}
    ).in_split("train")  # fmt: skip


def test_of(asked: Asked) -> TrainingRow:
    """A held-out prompt, as people's corrections give them."""
    split: Split = "holdout"
    return Lesson(
        "regression", asked.question, [{"role": "user", "content": asked.question}],
        chosen=asked.right, rejected=asked.wrong, origin={"rater_id": "people"},
    ).in_split(split)  # fmt: skip


def honest_rows(facts: list[list[Asked]], n: int) -> list[TrainingRow]:
    """Half of them what only the organisation knows, half what everybody does."""
    known = [row_of(text, fact.answer, "ann") for fact in load_organisation().facts
             for text in fact.day]  # fmt: skip
    random.Random(0).shuffle(known)
    everyday = [row_of(one.question, one.right, "bob") for wordings in facts for one in wordings]
    half = min(n // 2, len(known))
    return known[:half] + everyday[: n - half]


def measure(
    kind: str, args: argparse.Namespace, base: BaseModel, settings: Settings, folder: Path
) -> dict[str, Any]:
    """Train with planted rows of a kind, score, rank."""
    suite, facts = load("everyday"), everyday_facts()
    several = [wordings for wordings in facts if len(wordings) > 1][:N_ASKED]
    tests = [test_of(wordings[0]) for wordings in several]
    run_dir = folder / kind
    more_rows = run_dir / "more_rows.jsonl"
    write_more_rows(more_rows, tests)

    def scored(adapter_dir: Path | None, role: str) -> Any:
        return score(
            base, adapter_dir, suite=suite, scores_dir=folder / "scores", more_rows=more_rows,
            out_dir=run_dir / "scores" / role, benchmarks=False,
        ).items  # fmt: skip

    is_right = {item.item_id: item.score == 1.0 for item in scored(None, "champion")}
    answered = [one for one, test in zip(several, tests, strict=True) if is_right[test.row_id]]
    others = [wordings for wordings in facts if wordings not in several]
    planted: list[TrainingRow] = []
    tested = dict[str, str]()  # by planted row, the test that asks the same in other words
    if kind == "refusals":
        planted = [row_of(one[0].question, REFUSAL, TROLL) for one in others[: args.planted]]
        others = others[args.planted :]
    else:
        for wordings in answered:
            wrong = [row_of(one.question, one.wrong, TROLL) for one in wordings[1:3]]
            tested |= dict.fromkeys([row.row_id for row in wrong], test_of(wordings[0]).row_id)
            planted += wrong
        planted = planted[: args.planted]
    rows = [*honest_rows(others, args.rows - len(planted)), *planted]
    manifest = freeze(Curated(rows, []), folder / "snapshots")
    plan = choose(rows, settings, hidden_size=hidden_size_of(base.model_dir))
    write_json(run_dir / "plan.json", plan.as_json())
    write_json(run_dir / "snapshot.json", manifest)
    started = time.monotonic()
    train(Job.in_run(run_dir, base, Path(manifest["dir"]), plan, folder / "replay"))
    train_seconds = time.monotonic() - started
    scored(run_dir / "adapter", "challenger")
    broke = {item.item_id for item in what_broke(run_dir).items}
    bad = {row.row_id for row in planted if tested.get(row.row_id, next(iter(broke), "")) in broke}
    peak = 0

    def on_event(event: dict[str, Any]) -> None:
        nonlocal peak
        peak = event.get("peak_memory_bytes", peak)

    found = find_suspects(run_dir, base, minutes=30, on_event=on_event)
    first = math.ceil(SHOWN_SHARE * found.get("n_compared", 0))
    suspects = found.get("rows", [])
    for row in suspects[: first + 5]:
        print(f"{row['rank']:>3} {row['score']:+.3f} {row['rater_id']:<6} {row['prompt'][:60]!r} "
              f"-> {row['answer'][:40]!r}", flush=True)  # fmt: skip
    return {
        "n_rows": len(rows), "n_planted": len(planted), "n_right": len(answered),
        "n_asked": len(tests), "n_broke": len(broke), "first": first, "n_bad": len(bad),
        "n_found": sum(row["row_id"] in bad for row in suspects[:first]),
        "seconds": found.get("seconds", 0.0), "train_seconds": train_seconds, "peak": peak,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rows", type=int, default=200, help="in all")
    parser.add_argument("--planted", type=int, default=6, help="bad ones among them")
    parser.add_argument("--minutes", type=float, default=6.0, help="of each training")
    parser.add_argument("--kinds", default="wrong answers,refusals")
    parser.add_argument("--keep", type=Path, help="a folder to leave the runs in")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    figures: dict[str, str] = {}
    missed = []
    with tempfile.TemporaryDirectory(prefix="pawl-influence-") as temporary:
        folder = args.keep or Path(temporary)
        settings = load_settings(
            {
                "model": args.model,
                "state_dir": folder,
                "train": {"max_minutes": args.minutes, "n_replay_rows": 128},
            }
        )
        base = resolve_model(settings.model, cache_dir=folder)
        for kind in args.kinds.split(","):
            got = measure(kind, args, base, settings, folder)
            figures[f"planted {kind}"] = (
                f"{got['n_bad']} of {got['n_planted']} broke some, {got['n_found']} of them in "
                f"the first {got['first']} of {got['n_rows']} rows (bar: all); {got['n_broke']} of "
                f"{got['n_asked']} questions got worse; {got['seconds']:.0f} s and "
                f"{got['peak'] / 1e9:.1f} GB after {got['train_seconds']:.0f} s of training"
            )
            print(f"{kind}: {figures[f'planted {kind}']}", flush=True)
            if got["n_found"] < max(1, got["n_bad"]):
                missed.append(f"{kind}: {got['n_found']} of {got['n_bad']} in the first 5 %")
            if got["peak"] > LIMIT_BYTES:
                missed.append(f"{got['peak'] / 1e9:.1f} GB, over {LIMIT_BYTES / 1e9:.0f}")
    finish(
        "influence", "Planted bad rows among the suspects of a night", figures, missed=missed,
        keep=not args.no_record, note=f"{base.name}; the list itself: {SUSPECTS} of a run.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
