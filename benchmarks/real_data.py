"""A night on real feedback, gated on the real benchmarks.

    python -m benchmarks.real_data [--items 200] [--max-length-tokens N] [--epochs N] [--keep DIR]

Imports the three files of ``../shared/feedback``, runs ``pawl nightly`` on them beside a serving
engine, and gates on the real ARC, HellaSwag, MMLU and TruthfulQA with random items per benchmark
(spread over MMLU's subjects). The verdict may be any; that there is one, and a report, is the bar.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measurements import finish
from pawl.client import Pawl
from pawl.files import read_json
from pawl.jobs import child_environment, module_command
from pawl.server import api_key_of, serving
from pawl.settings import load_settings

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
FILES = ("dpo_en_demo.json", "kto_en_demo.json", "oasst_en_100_tree.jsonl")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--max-length-tokens", type=int, help="longer rows are left out")
    parser.add_argument("--epochs", type=float, help="default: the settings'")
    parser.add_argument("--keep", type=Path, help="a new folder for the report and its figures")
    args = parser.parse_args()
    if args.keep and args.keep.exists():
        sys.exit(f"--keep {args.keep} is there already: name a new folder.")
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is absent: nothing was measured on real data.")
    options = {
        "gate.suite": "official", "gate.data_dir": SHARED / "benchmarks" / "hub",
        "gate.n_items_per_benchmark": args.items,
        "train.max_length_tokens": args.max_length_tokens, "train.n_epochs": args.epochs,
    }  # fmt: skip
    figures = {}
    with tempfile.TemporaryDirectory(prefix="pawl-real-") as folder:
        settings = load_settings({"state_dir": Path(folder)})
        command = [*module_command("pawl.cli"), "--state-dir", folder, "nightly"]
        for key, value in options.items():
            command += ["--set", f"{key}={value}"] if value is not None else []
        started = time.monotonic()
        with serving(settings, say=print) as server:
            for name in FILES:
                shutil.copy(SHARED / "feedback" / name, settings.exchange_dir)
                what = {"path": name, "format": "auto"}
                counts = Pawl(server.url, api_key_of(settings)).post("/admin/import", what)
                figures[f"import of {name}"] = counts["message"]
            night_started = time.monotonic()
            subprocess.run(command, check=True, env=child_environment())
            figures["the night"] = f"{time.monotonic() - night_started:.0f} s"
        figures["all, with the engine's start"] = f"{time.monotonic() - started:.0f} s"
        (run_dir,) = settings.runs_dir.iterdir()
        report, decided = run_dir / "report.html", run_dir / "verdict.json"
        verdict: dict[str, Any] = read_json(decided) if decided.exists() else {}
        missed = []
        if verdict.get("outcome") not in ("promote", "reject", "not_enough_evidence"):
            missed.append("the night ended without a verdict")
        if not report.exists() or report.stat().st_size == 0:
            missed.append("the night left no report")
        if args.keep:
            ignored = shutil.ignore_patterns("adapter", "checkpoints", "placebos")
            shutil.copytree(run_dir, args.keep, ignore=ignored)
    figures["verdict"] = verdict.get("outcome", "none").replace("_", " ")
    figures["reasons"] = " ".join(verdict.get("reasons", []))
    for row in verdict.get("benchmarks", []):
        figures[row["name"]] = (
            f"{row['champion']:.3f} -> {row['challenger']:.3f}, difference "
            f"{row['difference']:+.3f} [{row['lower']:+.3f}, {row['upper']:+.3f}], {row['n']} items"
        )
    title = "A night on real feedback, gated on the real benchmarks"
    finish("real-data", title, figures, missed=missed)


if __name__ == "__main__":
    main()
