"""The clients' own environments: pinned packages in virtual environments, and a folder for Node.

Clients ask for different versions of the same libraries (of openai alone, three major ones), so
each group that fits together has an environment of its own. They lie in a cache folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.environments import install as install_python
from pawl.errors import PawlError
from pawl.files import sha256_file, write_atomic

HERE = Path(__file__).resolve().parent
DO = "Let pip and npm reach a registry"
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
    install_python(name, PINS / f"{name}.txt", cache_dir / name, DO)


def _install_node(cache_dir: Path) -> None:
    """Node comes with the Python environment ``newest``: any Linux has one version of it so."""
    install("newest", cache_dir)
    folder, pins = cache_dir / "node", PINS / "package-lock.json"
    folder.mkdir(parents=True, exist_ok=True)
    for check in CHECKS.glob("*.mjs"):  # a script's packages are looked for beside it
        shutil.copy(check, folder)
    stamp, wanted = folder / ".installed", sha256_file(pins)
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return
    print(f"Installing Node's packages into {folder}...", file=sys.stderr)
    for file in ("package.json", "package-lock.json"):
        shutil.copy(PINS / file, folder)
    programs = python_of("newest", cache_dir).parent
    done = subprocess.run(
        [str(programs / "npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=folder,
        env={**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise PawlError("npm could not install the clients", done.stderr[-1000:], DO)
    write_atomic(stamp, wanted)


def command(name: str, script: str, cache_dir: Path) -> list[str]:
    """What runs a check."""
    if name == "node":
        return [str(python_of("newest", cache_dir).with_name("node")), script]
    return [str(python_of(name, cache_dir)), str(CHECKS / script)]


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """A clean environment: no key, no proxy, no setting of the user's; a home of its own."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **QUIET, "HOME": str(home), **more}
