"""How long ``pawl --help`` takes, from the shell's view.

python -m benchmarks.help_seconds [--runs 20]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measurements import MISSED, record

LIMIT_SECONDS = 0.5
HEAVY = ("torch", "trl", "lm_eval", "gradio", "transformers", "vllm", "duckdb")


def help_seconds() -> float:
    """One run of the installed command."""
    pawl = Path(sys.executable).with_name("pawl")
    began = time.perf_counter()
    subprocess.run([str(pawl), "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def loaded_by(statement: str) -> list[str]:
    """Which of the heavy libraries a fresh Python has loaded after ``statement``."""
    program = f"{statement}\nimport sys\nprint(*(n for n in {HEAVY!r} if n in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], check=True, text=True,
                          stdout=subprocess.PIPE)  # fmt: skip
    return done.stdout.split()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--no-record", action="store_true", help="print only")
    said = parser.parse_args()
    help_seconds()  # reads the files from the disk once
    taken = [help_seconds() for _ in range(said.runs)]
    heavy = sorted({*loaded_by("import pawl.cli"), *loaded_by("import serve")})
    figures = {
        "pawl --help": f"median {statistics.median(taken):.3f} s, slowest {max(taken):.3f} s of "
        f"{len(taken)} (bar {LIMIT_SECONDS})",
        "heavy libraries loaded by it or by import serve": ", ".join(heavy) or "none",
    }
    missed = max(taken) > LIMIT_SECONDS or bool(heavy)
    for name, value in figures.items():
        print(f"{name}: {value}")
    if not said.no_record:
        record("help-seconds", "pawl --help", "python -m benchmarks.help_seconds", figures,
               note="Missed." if missed else "")  # fmt: skip
    if missed:
        raise SystemExit(MISSED)


if __name__ == "__main__":
    main()
