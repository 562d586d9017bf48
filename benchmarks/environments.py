"""Programs that are only measured with or against: each in an environment of its own, made on first
use from a file of pins."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pawl.errors import PawlError
from pawl.files import sha256_file, write_atomic


def install(what: str, pins: Path, environment_dir: Path, do: str) -> Path:
    """Make the environment, or make it anew when the pins changed; its folder of commands.

    Args:
        what: the program's name, for people.
        pins: a requirements file that names every package; nothing else is installed.
        do: what to do when pip reaches no registry.

    Raises:
        PawlError: it could not be made; with the end of what pip said.
    """
    stamp, wanted = environment_dir / ".installed", sha256_file(pins)
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return environment_dir / "bin"
    print(f"Installing {what} into {environment_dir} (a minute or two)...", file=sys.stderr)
    python = environment_dir / "bin" / "python"
    steps = [[str(python), "-m", "pip", "install", "--quiet", "--no-deps", "-r", str(pins)]]
    if not python.exists():
        steps.insert(0, [sys.executable, "-m", "venv", str(environment_dir)])
    for step in steps:
        done = subprocess.run(step, capture_output=True, encoding="utf-8", check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise PawlError(f"{what} could not be installed", "\n".join(said[-5:]), do)
    write_atomic(stamp, wanted)
    return environment_dir / "bin"
