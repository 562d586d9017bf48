"""Writes figures into ``docs/measurements.md``: one section a measurement, replaced when run again.

from benchmarks.measurements import finish
finish("gateway", "The gateway against a bare pass-through", {"added median": "0.8 ms"},
       note="fake upstream, 32 streams")
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pawl.files import write_atomic

MISSED = 3  # exit code of a command that measured, and fell short of its bar
MEASUREMENTS = Path(__file__).resolve().parent.parent / "docs" / "measurements.md"


def machine_in_words() -> str:
    """ "4 cores of an AMD EPYC, 23 GiB, no GPU": what a figure was measured on."""
    import psutil

    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"model name\s*:\s*(.+)", cpuinfo.read_text("utf-8"))
        model = found[1].strip() if found else model
    n_cores = len(psutil.Process().cpu_affinity())
    memory = psutil.virtual_memory().total / 2**30
    gpu = "an NVIDIA GPU" if Path("/proc/driver/nvidia/version").exists() else "no GPU"
    return f"{n_cores} cores ({model}), {memory:.0f} GiB, {gpu}"


def typed() -> str:
    """The command as it was typed, ``python -m benchmarks.demo --items 300``; a folder of this
    machine is called DIR."""
    words = ["DIR" if Path(word).is_absolute() else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *words])


def finish(
    key: str,
    title: str,
    figures: Mapping[str, object],
    *,
    missed: Sequence[str] = (),
    note: str = "",
    keep: bool = True,
) -> None:
    """Print the figures and, with ``keep``, :func:`record` them; end the command with the code
    ``MISSED`` when something fell short (``missed``, in words)."""
    for name, value in figures.items():
        print(f"{name}: {value}")
    note = " ".join([note, f"Missed: {'; '.join(missed)}." if missed else ""]).strip()
    print(note)
    if keep:
        record(key, title, typed(), figures, note=note)
    if missed:
        raise SystemExit(MISSED)


def record(
    key: str,
    title: str,
    command: str,
    figures: Mapping[str, object],
    *,
    note: str = "",
    path: Path = MEASUREMENTS,
) -> None:
    """Replace the section ``key`` of the measurements, or append it.

    Args:
        key: stable name of the section, letters and dashes.
        title: heading a reader understands.
        command: what to type to measure again.
        figures: what was measured, in words: value with unit, and against what.
        note: what a reader must know; what fell short.
        path: the file.
    """
    load = os.getloadavg()[0]
    lines = [
        f"<!-- {key} -->",
        f"## {title}",
        "",
        f"`{command}` · {datetime.now(UTC):%Y-%m-%d} · {machine_in_words()} · "
        f"load at the end {load:.1f}",
        "",
        "| what | figure |",
        "| --- | --- |",
    ]
    lines += [f"| {name} | {value} |" for name, value in figures.items()]
    if note:
        lines += ["", note]
    section = "\n".join([*lines, f"<!-- /{key} -->"])
    text = path.read_text("utf-8") if path.exists() else "# Measurements\n"
    pattern = re.compile(rf"<!-- {re.escape(key)} -->.*?<!-- /{re.escape(key)} -->", re.S)
    if pattern.search(text):
        text = pattern.sub(lambda _: section, text)
    else:
        text = text.rstrip() + "\n\n" + section + "\n"
    write_atomic(path, text)
