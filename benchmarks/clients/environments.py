"""The clients' own environments: pinned packages in virtual environments, and a folder for Node.

Clients ask for different versions of the same libraries (of openai alone, three major ones), so
each group that fits together has an environment of its own. They lie in a cache folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pawl.errors import PawlError
from pawl.files import sha256_file, write_atomic

HERE = Path(__file__).resolve().parent
PINS, CHECKS = HERE / "pins", HERE / "checks"
OWN = "pawl"  # the environment that runs this: vLLM and playwright are in it
# No client asks anyone but Pawl and the registries.
QUIET: Mapping[str, str] = {
    "ANONYMIZED_TELEMETRY": "False", "DO_NOT_TRACK": "1", "HF_DATASETS_OFFLINE": "1",
    "HF_HUB_OFFLINE": "1", "LANGSMITH_TRACING": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False", "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "SCARF_NO_ANALYTICS": "true", "VLLM_NO_USAGE_STATS": "1", "NO_PROXY": "*",
    "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore",
}  # fmt: skip
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "XDG_CACHE_HOME", "SSL_CERT_FILE")


def default_cache_dir() -> Path:
    """Where they lie unless told otherwise."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "pawl" / "clients"


def python_of(name: str, cache_dir: Path) -> Path:
    """The interpreter of an environment."""
    return Path(sys.executable) if name == OWN else cache_dir / name / "bin" / "python"


def install(name: str, cache_dir: Path) -> None:
    """Make the environment ``name`` on first use, or when its pins changed.

    Raises:
        PawlError: it could not be made; with the end of what pip or npm said.
    """
    if name == OWN:
        return
    if name == "node":
        _install_node(cache_dir)
        return
    pins, folder = PINS / f"{name}.txt", cache_dir / name
    if _is_current(folder, sha256_file(pins)):
        return
    print(f"Installing {name} into {folder}...", file=sys.stderr)
    python = folder / "bin" / "python"
    shutil.rmtree(folder, ignore_errors=True)
    _do([sys.executable, "-m", "venv", str(folder)])
    # The pins are all that is needed, and some packages name more that the checks do without.
    _do([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "-r",
         str(pins)])  # fmt: skip
    write_atomic(folder / ".installed", sha256_file(pins))


def _install_node(cache_dir: Path) -> None:
    """Node comes with the Python environment ``newest``: any Linux has one version of it so."""
    install("newest", cache_dir)
    folder, pins = cache_dir / "node", PINS / "package-lock.json"
    folder.mkdir(parents=True, exist_ok=True)
    for check in CHECKS.glob("*.mjs"):  # a script's packages are looked for beside it
        shutil.copy(check, folder)
    if _is_current(folder, sha256_file(pins)):
        return
    print(f"Installing Node's packages into {folder}...", file=sys.stderr)
    for file in ("package.json", "package-lock.json"):
        shutil.copy(PINS / file, folder)
    programs = python_of("newest", cache_dir).parent
    _do([str(programs / "npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder,
        {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})  # fmt: skip
    write_atomic(folder / ".installed", sha256_file(pins))


def _is_current(folder: Path, wanted: str) -> bool:
    stamp = folder / ".installed"
    return stamp.exists() and stamp.read_text("utf-8") == wanted


def _do(command: Sequence[str], folder: Path | None = None, more: Mapping[str, str] = {}) -> None:
    done = subprocess.run(command, cwd=folder, env={**os.environ, **more}, capture_output=True,
                          encoding="utf-8", check=False)  # fmt: skip
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise PawlError(f"{Path(command[0]).name} could not install the clients",
                        "\n".join(lines[-5:]), "Let pip and npm reach a registry")  # fmt: skip


def command(name: str, script: str, cache_dir: Path) -> list[str]:
    """What runs a check."""
    if name == "node":
        return [str(python_of("newest", cache_dir).with_name("node")), script]
    return [str(python_of(name, cache_dir)), str(CHECKS / script)]


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """A clean environment: no key, no proxy, no setting of the user's; a home of its own."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **QUIET, "HOME": str(home), **more}
