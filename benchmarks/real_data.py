"""A night on real feedback, gated on the real benchmarks.

    python -m benchmarks.real_data [--items 200] [--max-length-tokens N] [--epochs N]

Imports the three files of ``../shared/feedback``, runs ``pawl nightly`` on them beside a serving
engine, and gates on the real ARC, HellaSwag, MMLU and TruthfulQA with random items per benchmark
(spread over MMLU's subjects). The verdict may be any; that there is one, and a report, is the bar.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measurements import MISSED, record, typed
from pawl.files import read_json
from pawl.server import serving
from pawl.settings import load_settings

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
NOT_DECIDED: dict[str, Any] = {"outcome": "no_verdict", "reasons": [], "benchmarks": []}
FILES = ("dpo_en_demo.json", "kto_en_demo.json", "oasst_en_100_tree.jsonl")


def pawl(state_dir: Path, *arguments: str) -> str:
    """Run a command of Pawl's; its progress passes through, its output is returned."""
    command = [sys.executable, "-m", "pawl.cli", "--state-dir", str(state_dir), *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--max-length-tokens", type=int, help="longer rows are left out")
    parser.add_argument("--epochs", type=float, help="default: the settings'")
    said = parser.parse_args()
    n_items = said.items
    more: list[str] = []
    for name, value in (("max_length_tokens", said.max_length_tokens), ("n_epochs", said.epochs)):
        more += ["--set", f"train.{name}={value}"] if value is not None else []
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is absent: nothing was measured on real data.")
    with tempfile.TemporaryDirectory(prefix="pawl-real-") as folder:
        settings = load_settings({"state_dir": Path(folder)})
        started = time.monotonic()
        with serving(settings, say=print):
            counts = {
                name: pawl(settings.state_dir, "import", str(SHARED / "feedback" / name))
                for name in FILES
            }
            night_started = time.monotonic()
            words = pawl(
                settings.state_dir,
                "--set",
                "gate.suite=official",
                "--set",
                f"gate.data_dir={SHARED / 'benchmarks' / 'hub'}",
                "--set",
                f"gate.n_items_per_benchmark={n_items}",
                *more,
                "nightly",
            )
            night_seconds = time.monotonic() - night_started
            print(words)
        (run_dir,) = settings.runs_dir.iterdir()
        report, decided = run_dir / "report.html", run_dir / "verdict.json"
        verdict = read_json(decided) if decided.exists() else NOT_DECIDED
        missed = []
        if verdict["outcome"] not in ("promote", "reject", "not_enough_evidence"):
            missed.append("the night ended without a verdict")
        if not report.exists() or report.stat().st_size == 0:
            missed.append("the night left no report")
        figures = {
            f"import of {name}": text.strip().splitlines()[-1].removeprefix("message: ")
            for name, text in counts.items()
        }
        figures["verdict"] = verdict["outcome"].replace("_", " ")
        figures["reasons"] = " ".join(verdict["reasons"])
        for one in verdict["benchmarks"]:
            figures[one["name"]] = (
                f"{one['champion']:.3f} -> {one['challenger']:.3f}, difference "
                f"{one['difference']:+.3f} [{one['lower']:+.3f}, {one['upper']:+.3f}], "
                f"{one['n']} items"
            )
        figures["the night"] = f"{night_seconds:.0f} s"
        figures["all, with the engine's start"] = f"{time.monotonic() - started:.0f} s"
        record(
            "real-data",
            "A night on real feedback, gated on the real benchmarks",
            typed(),
            figures,
            note=f"Missed: {'; '.join(missed)}." if missed else "",
        )
    raise SystemExit(MISSED if missed else 0)


if __name__ == "__main__":
    main()
