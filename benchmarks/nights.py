"""Ten nights on the real model: two poisoned ones, a quiet one, one that is killed and carried on.

    python -m benchmarks.nights [--nights N] [--minutes 8] [--items 300] [--state-dir DIR]
    python -m benchmarks.nights --small     # four nights of the tests' tiny model, in 3 minutes

``pawl up`` serves; before each night people (and before a poisoned one trolls) ask over HTTP and
say what was wrong; then ``pawl nightly`` runs in a process of its own. People correct what is
answered wrongly: the 26 facts of the demonstration's organisation in five wordings each, 40
corrections on the first day and 15 to 20 on the others; at last how to answer (lists, one word,
German). Ten trolls "correct" everyday questions that are answered rightly, up to 110 a night, each
with an answer that is right for something else. After a poisoned night the operator, who has read
the suspects, erases the trolls (``POST /admin/erasures``, as ``pawl forget``), else their rows
would be learned from for ever. The killed night gets ``kill -9`` after a tenth of its training or
more, and ``pawl nightly`` is typed again.

Bars: poisoned nights are rejected, and the first 5 % of their suspects are the trolls' rows (as
many of them as fit, since the trolls' rows are more than 5 % of all); the quiet one has no run; the
killed one comes to its end in the same run; at the end 80 % of the facts are right in two of three
wordings that no correction used, and on each benchmark of the suite ``everyday`` (300 fresh items)
a loss below the base of more than ``margin_anchor`` is ruled out.

What is shorter than in a night by the defaults, so that one takes 8 to 14 minutes on 2 cores:

- training 8 minutes at most (``--minutes``), 20 by default;
- the nights' suite is three of the five benchmarks of ``everyday`` (300 items, the usual margins);
  all five are scored at the end;
- 4 random changes in the test of people's prompts, not 8, and 24 controls, not 100; suspects are
  ranked for 3 minutes, not 5;
- the first day's conversations are named so that 28 % of them stand in the holdout, where 10 % do
  (else the first look would take a hundred corrections), and the salt of the split is chosen so
  that each day brings enough prompts that test (``nights_days.SALT``).

``--nights 11`` adds a third poisoned night, with the first one's questions; it is not recorded.
With ``--state-dir`` a run that was interrupted goes on: nights that are done are read from the
folder and from the store.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from benchmarks.nights_days import (
    MOST_OF_A_TROLL,
    SALT,
    Night,
    Plan,
    Turn,
    colour_suite,
    real_plan,
    small_plan,
)
from benchmarks.nights_result import figures_of, in_words, missed_bars, the_end
from feedback.snapshots import read_rows
from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.files import make_private, read_json, write_json
from pawl.jobs import child_environment, module_command
from pawl.schemas import RunWithVerdict
from pawl.server import api_key_of, serving, wait_ready
from pawl.settings import Settings, load_settings
from refine.demo.people import MAX_ANSWER_TOKENS, N_AT_ONCE
from refine.influence import SHOWN_SHARE, SUSPECTS

N_NIGHTS = 10
NIGHT_SUITE = ("everyday_arc", "everyday_mmlu", "everyday_truthfulqa_mc1")
IN_TRAINING = re.compile(r"\s+train: (?:SFT|DPO|KTO): (?!0 )\d+ %")
KNOWN = "nights.json"  # beside the state folder: what is done, and how far the next night came
SMALL = {"train.n_epochs": 6, "train.learning_rate": 3e-3, "train.n_replay_rows": 30,
         "train.n_threads": 1, "gate.margin": 0.3, "gate.margin_anchor": 0.45,
         "gate.n_items_per_benchmark": 40, "gate.n_placebos": 4, "gate.n_controls": 24,
         "split_salt": SALT}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the nights are played: the plan, the folder, the settings, how the server starts."""

    plan: Plan
    folder: Path
    settings: Settings
    options: dict[str, Any]
    is_small: bool

    @property
    def last_suite(self) -> str | Path:
        """On which the last champion is compared with the base."""
        return Path(self.options["gate.suite"]) if self.is_small else "everyday"

    @contextmanager
    def serving(self) -> Iterator[Pawl]:
        """A server on the state folder, for the time of the block."""
        if not self.is_small:
            arguments = [word for key, value in self.options.items()
                         for word in ("--set", f"{key}={value}")]  # fmt: skip
            with serving(self.settings, arguments, say=tell) as server:
                yield Pawl(server.url, api_key_of(self.settings))
            return
        named = {f"PAWL_{key.upper().replace('.', '__')}": str(value)
                 for key, value in self.options.items()}  # fmt: skip
        command = [sys.executable, "-m", "tests.serve.tiny_engine",
                   str(self.settings.state_dir), self.settings.model]  # fmt: skip
        make_private(self.settings.state_dir)
        self.settings.logs_dir.mkdir(exist_ok=True)
        with (self.settings.logs_dir / "server.log").open("ab") as log:
            child = subprocess.Popen(
                command, env=child_environment() | named, stdout=log, stderr=log
            )
        try:
            yield Pawl(wait_ready(self.settings, child).url, api_key_of(self.settings))
        finally:
            child.terminate()
            child.wait(60)


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


# -- a day


def spend_day(pawl: Pawl, night: Night) -> dict[str, int]:
    """Ask everything, then say what somebody finds wrong; how many corrections of whom."""

    def ask(turn: Turn) -> tuple[str, str]:
        answer = pawl.chat(
            turn.ask.text, conversation_id=turn.conversation, rater_id=turn.rater,
            temperature=0, max_tokens=MAX_ANSWER_TOKENS,
        )  # fmt: skip
        return answer.id, answer.text.strip()

    with ThreadPoolExecutor(N_AT_ONCE) as threads:
        answers = list(threads.map(ask, night.turns))
    n_said: Counter[str] = Counter()
    counts: Counter[str] = Counter(asked=len(night.turns))
    for turn, (completion_id, text) in zip(night.turns, answers, strict=True):
        finds_fault = turn.ask.is_right(text) == turn.is_troll
        full = turn.is_troll and n_said[turn.rater] >= MOST_OF_A_TROLL
        if turn.ask.correction is None or not finds_fault or full:
            continue
        pawl.feedback(
            completion_id, thumb="down", categories=[turn.ask.category],
            correction=turn.ask.correction, rater_id=turn.rater,
        )  # fmt: skip
        n_said[turn.rater] += 1
        counts["by trolls" if turn.is_troll else "by people"] += 1
    return dict(counts)


# -- a night


def run_nightly(settings: Settings, *, kill: bool = False) -> bool:
    """``pawl nightly`` in a process of its own, its progress passed on; with ``kill`` it gets
    kill -9 once a tenth of its training is done. Whether it was killed."""
    command = [*module_command("pawl.cli"), "nightly", "--state-dir", str(settings.state_dir)]
    is_killed = False
    with subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", errors="replace",
                          env=child_environment()) as child:  # fmt: skip
        assert child.stderr is not None
        for line in child.stderr:
            tell(f"    {line.rstrip()}")
            if kill and not is_killed and IN_TRAINING.match(line):
                child.kill()
                is_killed = True
    if child.returncode != 0 and not is_killed:
        raise PawlError(
            "the night failed", f"exit code {child.returncode}", "Look above; then type this again"
        )
    return is_killed


def ended_since(pawl: Pawl, n_runs: int) -> RunWithVerdict | None:
    """The run that ended after so many runs were there."""
    runs = pawl.runs()
    if len(runs) <= n_runs or runs[0].status not in ("finished", "failed", "given_up"):
        return None
    return pawl.run(runs[0].run_id)


def suspects_of(stage: Stage, run_id: str) -> dict[str, Any]:
    """Whose rows are the first suspects, against all that were learned."""
    run_dir = stage.settings.runs_dir / run_id
    path = run_dir / SUSPECTS
    found: dict[str, Any] = {"note": "no suspects were ranked"}
    if path.exists():
        found = read_json(path)
    if "note" in found:
        return {"note": found["note"], "first": 0, "n_found": 0}
    learned = [
        row
        for row in read_rows(Path(read_json(run_dir / "snapshot.json")["dir"]))
        if row.split == "train" and row.kind == "sft"
    ]
    n_planted = sum(is_troll(row.origin.get("rater_id")) for row in learned)
    first = math.ceil(SHOWN_SHARE * found["n_compared"])
    whose = [is_troll(row["rater_id"]) for row in found["rows"]]
    return {
        "first": first, "n_found": sum(whose[:first]), "n_planted": n_planted,
        "n_compared": found["n_compared"], "n_shown": len(whose), "n_shown_theirs": sum(whose),
        "best_honest_rank": whose.index(False) + 1 if False in whose else None,
        "slices": found["slices"],
    }  # fmt: skip


def is_troll(rater_id: object) -> bool:
    return str(rater_id).startswith("troll-")


def erase_trolls(pawl: Pawl, night: Night) -> int:
    """What an operator does who has read the suspects; how many trolls there were."""
    trolls = sorted({turn.rater for turn in night.turns if turn.is_troll})
    for name in trolls:
        try:
            pawl.post("/admin/erasures", {"user": name})
        except PawlError as err:
            if err.code != "unknown_user":  # else an interrupted benchmark erased them
                raise
    return len(trolls)


def play(stage: Stage, n_nights: int) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """All nights that are not done yet; then what is asked at the end."""
    path = stage.folder / KNOWN
    known: dict[str, Any] = read_json(path) if path.exists() else {"done": [], "begun": {}}
    with stage.serving() as pawl:
        for number, night in enumerate(stage.plan.nights[:n_nights], 1):
            if number <= len(known["done"]):
                tell(in_words(known["done"][number - 1]))
                continue
            begun = known["begun"]
            if begun.get("night") != number:
                n_runs = len(pawl.runs())
                tell(f"Night {number} ({night.kind}): {len(night.turns)} questions before it ...")
                said = spend_day(pawl, night)
                begun = {"night": number, "n_runs": n_runs, "said": said, "seconds": 0.0}
                known["begun"] = begun
                write_json(path, known)
            run = ended_since(pawl, begun["n_runs"])
            if run is None and night.kind == "killed" and "killed" not in begun:
                started = time.monotonic()
                begun["killed"] = run_nightly(stage.settings, kill=True)
                begun["seconds"] += time.monotonic() - started
                write_json(path, known)
                run = ended_since(pawl, begun["n_runs"])
            if run is None:
                started = time.monotonic()
                run_nightly(stage.settings)
                begun["seconds"] += time.monotonic() - started
                run = ended_since(pawl, begun["n_runs"])
            if run is None:
                raise PawlError(f"night {number} left no run that ended", do="Look above")
            if night.kind == "poisoned" and "suspects" not in begun:
                begun["suspects"] = suspects_of(stage, run.run_id)
                write_json(path, known)
            if night.kind == "poisoned":
                if run.promotion is not None and run.promotion.outcome == "live":
                    tell("The trolls got through: rolled back")
                    pawl.rollback()
                begun["erased"] = erase_trolls(pawl, night)
            known["done"].append(record(number, night, run, begun, pawl))
            known["begun"] = {}
            write_json(path, known)
            tell(in_words(known["done"][-1]))
        if known.get("end", {}).get("after") != n_nights:
            known["end"] = {
                "after": n_nights,
                **the_end(pawl, stage.plan.evening, stage.settings, stage.last_suite),
            }
            write_json(path, known)
    return known["done"][:n_nights], known["end"]


def record(
    number: int, night: Night, run: RunWithVerdict, begun: dict[str, Any], pawl: Pawl
) -> dict[str, Any]:
    """What the store knows of the night, and what only its day does."""
    detail = run.detail
    return {
        "night": number, "kind": night.kind, "run_id": run.run_id, "status": run.status,
        "n_runs": len(pawl.runs()) - begun["n_runs"], "said": begun["said"],
        "rows": detail.get("counts", {}), "outcome": detail.get("outcome", run.status),
        "reason": detail.get("reason", ""), "minutes": begun["seconds"] / 60,
        "steps": {name: step["seconds"] for name, step in detail.get("steps", {}).items()},
        "killed": begun.get("killed"), "suspects": begun.get("suspects"),
        "erased": begun.get("erased", 0), "champion": pawl.status().champion,
        "promotion": run.promotion.outcome if run.promotion else None,
        "verdict": run.verdict,
    }  # fmt: skip


# -- the folders


def night_suite(folder: Path) -> Path:
    """Three benchmarks of the suite everyday, as a suite of its own."""
    import yaml

    from evals.suites import DESCRIPTION, load

    whole = load("everyday")
    if not folder.exists():
        shutil.copytree(whole.folder, folder, ignore=shutil.ignore_patterns("*.md"))
        value = yaml.safe_load((folder / DESCRIPTION).read_text("utf-8"))
        value["name"] = "everyday_short"
        value["benchmarks"] = [one for one in value["benchmarks"] if one["name"] in NIGHT_SUITE]
        (folder / DESCRIPTION).write_text(yaml.safe_dump(value), "utf-8")
    return folder


def real_stage(folder: Path, args: argparse.Namespace) -> Stage:
    options = {
        "split_salt": SALT,
        "train.max_minutes": args.minutes,
        "gate.suite": night_suite(folder / "suite"),
        "gate.n_items_per_benchmark": args.items,
        "gate.n_placebos": 4,
        "gate.n_controls": 24,
        "gate.suspects_minutes": 3,
    }
    settings = load_settings({"state_dir": folder / "state", "model": args.model})
    return Stage(real_plan(), folder, settings, options, is_small=False)


def small_stage(folder: Path) -> Stage:
    """The tests' tiny model, and a suite of what it knows."""
    from tests.refine.tiny import make_world_model

    model = folder / "tiny"
    if not model.exists():
        make_world_model(
            folder / "unfinished", n_heads=2
        )  # fewer than 32 numbers a head can't be served
        (folder / "unfinished").rename(model)
    options = SMALL | {"gate.suite": colour_suite(folder / "suite")}
    settings = load_settings({"state_dir": folder / "state", "model": str(model)})
    return Stage(small_plan(), folder, settings, options, is_small=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nights", type=int, help="the first so many of the plan; default: all")
    parser.add_argument(
        "--minutes", type=float, default=8.0, help="of training in a night, at most"
    )
    parser.add_argument("--items", type=int, default=300, help="of each benchmark of a night")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--state-dir", type=Path, help="left behind, to be carried on")
    parser.add_argument("--small", action="store_true", help="the tests' tiny model; not recorded")
    args = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory(prefix="pawl-nights-") as temporary:
        folder = (args.state_dir or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        stage = small_stage(folder) if args.small else real_stage(folder, args)
        n_nights = min(args.nights or N_NIGHTS, len(stage.plan.nights))
        done, end = play(stage, n_nights)
    title = "Ten nights" if n_nights == N_NIGHTS else f"The first {n_nights} nights"
    keep = not args.small and n_nights == N_NIGHTS
    finish("nights", f"{title}: poisoned, quiet, killed", figures_of(done, end),
           missed=missed_bars(done, end), keep=keep)  # fmt: skip


if __name__ == "__main__":
    main()
