"""``kill -9`` of training and scoring while a night runs: the next call goes on, nothing is lost.

    python -m benchmarks.night_kills [--training 20] [--scoring 20] [--seed 0] [--model MODEL]

The moments are spread over the whole life of the child, as long as it was in a night that nothing
killed. Half of the kills take the night itself too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import IO, Any

from benchmarks.kills import FellShort, check_pointer, measured
from benchmarks.measurements import MISSED
from pawl.files import read_json
from pawl.jobs import child_environment, module_command
from pawl.settings import Settings, load_settings

STAGES = {"training": "refine.train", "scoring": "evals.score"}
N_ROWS = 60
# Enough for every step of a night to be there.
SHORT_NIGHT = [
    word
    for one in ("gate.n_items_per_benchmark=40", "train.n_replay_rows=60",
                "train.n_epochs=2")
    for word in ("--set", one)
]  # fmt: skip


def running(stage: str, night_pid: int) -> list[Any]:
    """The processes of ``stage`` that this night started and that live."""
    import psutil

    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(night_pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if f"-m {stage}" in " ".join(process.cmdline()):
                    found.append(process)
    return found


def pair(question: str, chosen: str, rejected: str) -> str:
    """A preference pair as a line of a file."""
    texts = {"chosen": chosen, "rejected": rejected}
    row: dict[str, object] = {"prompt": [{"role": "user", "content": question}]}
    row |= {side: [{"role": "assistant", "content": text}] for side, text in texts.items()}
    return json.dumps(row) + "\n"


def command(settings: Settings, *arguments: str) -> list[str]:
    """A command of Pawl's on this state folder."""
    return [*module_command("pawl.cli"), "--state-dir", str(settings.state_dir),
            "--set", f"model={settings.model}", *arguments]  # fmt: skip


def life_of(stage: str, night: list[str], log: IO[bytes]) -> float:
    """Seconds that the child of ``stage`` lives in one whole night; the longest of several."""
    lives: list[float] = []
    child = subprocess.Popen(night, stdout=log, stderr=log)
    began: float | None = None
    while child.poll() is None:
        if running(stage, child.pid):
            began = began or time.monotonic()
            lives.append(time.monotonic() - began)
        else:
            began = None
        time.sleep(0.02)
    if child.returncode or not lives:
        raise FellShort(f"the first night ended with code {child.returncode}, {stage} not seen")
    return max(lives)


def news(settings: Settings, number: int, log: IO[bytes]) -> None:
    """A new row, so that there is something for the next night."""
    more = settings.state_dir / f"more-{number}.jsonl"
    more.write_text(pair(f"What is new {number}?", "Nothing.", "All."))
    subprocess.run(command(settings, "import", str(more)), check=True, stdout=log)


def kill_nights(stage: str, n_kills: int, settings: Settings, seed: int) -> dict[str, object]:
    """Kill the child of ``stage`` (refine.train, evals.score) at random moments of its life.

    Half of the kills take the night too. After each, the pointer and the store are checked; after
    the last, one more call must bring a night to its end. Without a server: the night holds the
    store only for its own calls.
    """
    import psutil

    draw = random.Random(seed)
    settings.state_dir.mkdir(parents=True)
    rows = settings.state_dir / "rows.jsonl"
    rows.write_text("".join(
        pair(f"What comes after {n}?", f"After {n} comes {n + 1}.", f"After {n} comes {n + 2}.")
        for n in range(N_ROWS)
    ))  # fmt: skip
    subprocess.run(command(settings, "import", str(rows)), check=True)
    night = command(settings, *SHORT_NIGHT, "nightly")
    log = (settings.state_dir / "nights.log").open("ab")
    life = life_of(stage, night, log)  # of a night that nothing kills
    print(f"{stage} lives for {life:.0f} s", flush=True)
    killed, calls = 0, 1
    while killed < n_kills:
        news(settings, calls, log)
        calls += 1
        child = subprocess.Popen(night, stdout=log, stderr=log, start_new_session=True)
        seen_at: float | None = None
        moment = draw.uniform(0.0, life)
        while child.poll() is None:
            victims = running(stage, child.pid)
            if victims and seen_at is None:
                seen_at = time.monotonic()
            if victims and seen_at is not None and time.monotonic() - seen_at >= moment:
                for victim in victims:
                    with contextlib.suppress(psutil.NoSuchProcess):  # ended a moment before
                        victim.kill()
                        killed += 1
                if draw.random() < 0.5:
                    os.killpg(child.pid, signal.SIGKILL)
                break
            if not victims and seen_at is not None:  # it ended before the moment came
                seen_at, moment = None, draw.uniform(0.0, life)
            time.sleep(0.02)
        child.wait()
        check_pointer(settings)
        print(f"{stage} {killed}/{n_kills} killed", flush=True)
    last = subprocess.run(night, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
    calls += 1
    for _ in range(2):  # an interrupted night may be given up once before a new one runs through
        if last.returncode == 0:
            break
        last = subprocess.run(night, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
        calls += 1
    if last.returncode:
        raise FellShort(f"no night came to its end after the kills of {stage}")
    champion = check_pointer(settings)
    for run in settings.runs_dir.glob("*/run.json"):
        read_json(run)
    return {
        f"kills of {stage}": n_kills,
        f"{stage}: calls of pawl nightly": calls,
        f"{stage}: the last night": last.stdout.partition(":")[0].strip(),
        f"{stage}: champion": champion,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in STAGES:
        parser.add_argument(f"--{name}", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="another base than the default, for shorter nights")
    args = parser.parse_args()
    os.environ.update(child_environment())
    kept = True
    with tempfile.TemporaryDirectory(prefix="pawl-kills-") as folder:
        for name, stage in STAGES.items():
            n_kills = getattr(args, name)
            if n_kills:
                others = " ".join(f"--{one} 0" for one in STAGES if one != name)
                kept &= measured(
                    name,
                    name,
                    f"python -m benchmarks.night_kills --{name} {n_kills} {others} "
                    f"--seed {args.seed}" + (f" --model {args.model}" if args.model else ""),
                    partial(
                        kill_nights,
                        stage,
                        n_kills,
                        load_settings({"state_dir": Path(folder) / name, "model": args.model}),
                        args.seed,
                    ),
                )
    raise SystemExit(0 if kept else MISSED)


if __name__ == "__main__":
    main()
