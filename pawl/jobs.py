"""Child jobs (training, scoring): one protocol; their threads and priority beside an engine.

The parent calls ``run_job("refine.train", [...])``, the child's ``main`` calls ``run_child``. The
child's standard output carries events, one JSON object a line; whatever else it or its libraries
print goes to the job's log file.

    {"stage": "sft", "fraction": 0.125, ...}                    progress; fraction of the stage
    {"error": "...", "code": "locked", "retryable": true}       the job failed, and why
    {"peak_memory_bytes": 1234567890}                           last, also after an error

Nothing heavy is imported here: a child sets its environment before it imports torch.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import ctypes
import functools
import gc
import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pawl.errors import PawlError
from pawl.logs import configure_logging

# Thresholds of the garbage collector for a process that imports torch, transformers or Gradio: that
# makes millions of objects and no garbage, and the usual looks at them take a fifth of the time.
IMPORTING = (100_000, 50, 100)
Event = dict[str, Any]
OnEvent = Callable[[Event], None]

# Measured beside a busy engine with 4 cores: 19.6 s with spinning threads on every core, 2.7 s with
# two that sleep and this niceness.
THREADS_BESIDE_ENGINE = 2
NICENESS = 10
LOG_TAIL_LINES = 15
PR_SET_PDEATHSIG = 1  # linux/prctl.h


# ---- the parent ----


def run_job(
    module: str,
    arguments: Sequence[str],
    *,
    name: str,
    log_path: Path,
    n_threads: int | None = None,
    beside_engine: bool = False,
    on_event: OnEvent | None = None,
) -> None:
    """Run ``python -P -m module`` until it ends; it dies with this process.

    Args:
        module: its ``main`` calls :func:`run_child`.
        name: what the job does, for errors: "training", "scoring".
        log_path: written anew; what the child prints beside its events.
        n_threads: OpenMP threads; None: 2 beside an engine, else what torch takes by itself.
        beside_engine: low priority, so that the server stays quick.
        on_event: called with every event that is no error.

    Raises:
        PawlError: the child's own error, or how it died with the end of its log; ``retryable`` when
            the same job may succeed later.
    """
    n_threads = n_threads or (THREADS_BESIDE_ENGINE if beside_engine else None)
    command = [*module_command(module), *arguments, "--parent-pid", str(os.getpid())]
    command += ["--nice", str(NICENESS)] if beside_engine else []
    log_path.parent.mkdir(parents=True, exist_ok=True)
    error: Event | None = None
    with (
        log_path.open("wb") as log,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            encoding="utf-8",
            errors="replace",
            env=child_environment() | thread_environment(n_threads),
        ) as child,
    ):
        try:
            assert child.stdout is not None
            for line in child.stdout:
                event = _event(line)
                if event is None:
                    log.write(line.encode())
                    log.flush()
                elif "error" in event:
                    error = event
                elif on_event:
                    on_event(event)
        except BaseException:  # also Ctrl-C: the child ends with its job
            child.kill()
            child.wait()  # after a Ctrl-C the ``with`` waits for a quarter of a second only
            raise
    if error is not None:
        raise PawlError(
            f"{name} failed",
            str(error["error"]),
            f"The log is {log_path}",
            retryable=bool(error["retryable"]),
            code=str(error["code"]),
        )
    if child.returncode != 0:
        code = child.returncode
        raise PawlError(
            f"{name} ended with " + (f"signal {-code}" if code < 0 else f"exit code {code}"),
            "the end of its log:\n" + "\n".join(_tail(log_path)),
            f"The whole log is {log_path}",
            retryable=True,
            code=f"{name}_died",
        )


def module_command(module: str) -> list[str]:
    """``python -P -m module``; -P: the current folder's packages are not taken for ours."""
    return [sys.executable, "-P", "-m", module]


def child_environment() -> dict[str, str]:
    """This process's environment, in which a child finds the packages that this process runs.

    In an installation Python finds them by itself (and site-packages must not come before the
    standard library, as PYTHONPATH would have it); a checkout goes first in PYTHONPATH.
    """
    root = Path(__file__).resolve().parents[1]
    if root in [Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")]:
        return os.environ | user_environment()
    others = os.environ.get("PYTHONPATH", "")
    path = os.pathsep.join(filter(None, [str(root), others]))
    return os.environ | user_environment() | {"PYTHONPATH": path}


def user_environment() -> dict[str, str]:
    """What a user without a name or a home lacks (a container's arbitrary number): torch asks for a
    name when it is imported (``getpass`` looks here first), and vLLM would make its cache in a
    folder called ``~`` where it was started."""
    values = {}
    try:
        getpass.getuser()
    except (KeyError, OSError):  # OSError: from Python 3.13 on
        values["LOGNAME"] = f"user-{os.getuid()}"
    try:
        Path.home()
    except RuntimeError:
        values["HOME"] = _home()
    return values


@functools.cache
def _home() -> str:
    """A folder of this user's alone, for the time of this process."""
    folder = tempfile.mkdtemp(prefix="pawl-home-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def n_cores() -> int:
    """Cores that this process may run on, two hardware threads of a core as one."""
    import psutil

    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), psutil.cpu_count(logical=False) or sys.maxsize)
    return psutil.cpu_count(logical=False) or 1


def thread_environment(n_threads: int | None) -> dict[str, str]:
    """OpenMP threads that spin for some 50 us before they sleep.

    Measured (2 cores, training, a model of width 576): sleeping at once takes 1.4 times as long on
    a quiet machine, since waking a thread takes longer than most of a small model's operations;
    spinning ten times as long takes 3 times as long beside a busy engine.
    """
    threads = {"OMP_NUM_THREADS": str(n_threads)} if n_threads else {}
    return {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "0"} | threads


def _event(line: str) -> Event | None:
    """The JSON object of an event's line; None for any other line."""
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except json.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _tail(log_path: Path) -> list[str]:
    """The last lines of a log; what progress bars wrote over is a line of its own."""
    lines = log_path.read_text("utf-8", errors="replace").replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip()][-LOG_TAIL_LINES:]


# ---- the child ----


def run_child(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace, OnEvent], object],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse, do the work, report; the exit code: 0, or 1 after an error that a user can mend.

    ``work`` gets the parsed arguments and a function that sends an event. Any other exception keeps
    its traceback, which ends in the log.
    """
    parser.add_argument("--parent-pid", type=int, help="die with this process")
    parser.add_argument("--nice", type=int, default=0, help="added to the process's niceness")
    args = parser.parse_args(arguments)
    gc.set_threshold(*IMPORTING)
    configure_logging()
    if args.parent_pid is not None:
        end_with_parent(args.parent_pid)
    if args.nice:
        step_back(args.nice)
    with os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8") as events:
        os.dup2(2, 1)  # what the libraries print is no event

        def report(event: Event) -> None:
            events.write(json.dumps(event) + "\n")

        try:
            work(args, report)
        except PawlError as err:
            print(f"error: {err}", file=sys.stderr)
            report({"error": str(err), "code": err.code, "retryable": err.retryable})
            return 1
        finally:
            report({"peak_memory_bytes": peak_memory_bytes()})
    return 0


def peak_memory_bytes() -> int:
    """The most memory that this process held at once. Not ``ru_maxrss``: that begins with what the
    parent held when it forked."""
    status = Path("/proc/self/status").read_text("utf-8")
    [kib] = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(kib) * 1024


def end_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent dies; exit if that has happened already.

    A killed night must not leave a training or a scoring that works on for nobody.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit("the process that started this one is gone")


def step_back(niceness: int) -> None:
    """Leave the processor to others, also to those of other sessions.

    Where the kernel groups processes by session (autogroup, the default of most distributions), a
    niceness counts inside of its session only. So this process gets a session of its own, and the
    session's group the same niceness.
    """
    os.nice(niceness)
    group = Path("/proc/self/autogroup")
    if group.exists():
        with contextlib.suppress(OSError):  # a group leader already, or not allowed: nice is left
            os.setsid()
            group.write_text(str(niceness), "ascii")
