"""A server as others see it: is one running on this state folder, and start one as a child."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.files import make_private, read_json, write_atomic
from pawl.jobs import child_environment, module_command
from pawl.settings import Settings

ADMIN_KEY_FILE = "admin.key"  # in the state folder: the key of whoever operates this machine
# Names that callers without an account or named key have: of the setting, and of that file.
SERVER_CALLERS = ("api_key", ADMIN_KEY_FILE)
POLL_SECONDS = 0.25
STOP_SECONDS = 60.0
CLOCK_SLACK_SECONDS = 2.0  # a process's beginning is known to a clock tick, and clocks are set


@dataclass(frozen=True, slots=True)
class Server:
    """Where a running server is. ``child`` is None when somebody else started it."""

    url: str
    pid: int
    child: subprocess.Popen[bytes] | None = None


def running_server(settings: Settings) -> Server | None:
    """The server that runs on this state folder, or None."""
    if not settings.server_file.exists():
        return None
    try:
        server = read_json(settings.server_file)
        url, pid = str(server["url"]), int(server["pid"])
    except (PawlError, KeyError, TypeError, ValueError):
        raise PawlError(
            f"{settings.server_file} does not say where the server is",
            "it is not as 'pawl up' writes it",
            "Delete it, and start 'pawl up' again if it was running",
        ) from None
    return Server(url, pid) if _wrote(pid, settings.server_file) else None


def _wrote(pid: int, path: Path) -> bool:
    """Can the process of this number have written the file? Not if it began later: then a killed
    server left the file, and its number was given to another process."""
    import psutil

    try:
        return psutil.Process(pid).create_time() <= path.stat().st_mtime + CLOCK_SLACK_SECONDS
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def api_key_of(settings: Settings) -> str | None:
    """The key for the server on this state folder: the setting, else the key in the folder; None
    where that can't be read."""
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    try:
        return (settings.state_dir / ADMIN_KEY_FILE).read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def make_admin_key(settings: Settings) -> str:
    """The key in the state folder, which only its owner can read; a new one if there is none, or
    if others could have read or written it. Root finds and leaves the key of the folder's owner,
    who could not read one of root's."""
    path = settings.state_dir / ADMIN_KEY_FILE
    user, folder = os.geteuid(), settings.state_dir.stat()
    owners = (user, folder.st_uid) if user == 0 else (user,)
    try:
        found = path.lstat()
        own = stat.S_ISREG(found.st_mode) and found.st_uid in owners
        if own and not found.st_mode & 0o077 and (key := path.read_text("ascii").strip()):
            return key
    except (FileNotFoundError, UnicodeDecodeError):
        pass  # as a file that is no key: below
    key = f"pawl_admin_{secrets.token_hex(32)}"
    owner = (folder.st_uid, folder.st_gid) if user == 0 else None
    write_atomic(path, key + "\n", mode=0o600, owner=owner)
    return key


def start_server(settings: Settings, arguments: Sequence[str] = ()) -> subprocess.Popen[bytes]:
    """``pawl up`` as a child with its output in ``logs/server.log``; does not wait.

    ``arguments`` are options of the ``pawl`` group: ``("--set", "engine.max_loras=5")``.
    """
    make_private(settings.state_dir)
    settings.logs_dir.mkdir(exist_ok=True)
    command = [*module_command("pawl.cli"), "--state-dir", str(settings.state_dir),
               *arguments, "up", "--port", "0", "--model", settings.model]  # fmt: skip
    with (settings.logs_dir / "server.log").open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=child_environment()
        )


def wait_ready(
    settings: Settings,
    child: subprocess.Popen[bytes] | None,
    *,
    engine: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Server:
    """Wait until the server answers (and, unless ``engine`` is False, its engine is ready).

    Raises:
        PawlError: it ended, its engine failed, or the time is over; with the log's tail.
    """
    deadline = time.monotonic() + settings.engine.start_timeout_seconds
    told = ""
    while time.monotonic() < deadline:
        if child is not None and child.poll() is not None:
            raise PawlError(
                f"the server ended with code {child.returncode}",
                _tail(settings),
                f"Mend that, or look at {settings.logs_dir / 'server.log'}",
            )
        server = running_server(settings)
        if server is None and child is None:
            raise PawlError(
                "the server is gone",
                f"it ran on {settings.state_dir} a moment ago",
                "Start 'pawl up' again",
                retryable=True,
            )
        if server is not None and (child is None or server.pid == child.pid):
            if not engine:
                return Server(server.url, server.pid, child)
            status = Pawl(server.url, api_key_of(settings)).get("/admin/status")["engine"]
            if status["state"] == "ready":
                return Server(server.url, server.pid, child)
            if status["state"] == "failed":
                raise PawlError(
                    "the engine did not start",
                    str(status.get("detail")),
                    f"Look at {settings.logs_dir / 'engine.log'}",
                )
            line = f"engine {status['state']}: {status.get('detail') or ''}"
            if line != told:
                say(line)
                told = line
        time.sleep(POLL_SECONDS)
    raise PawlError(
        "the server was not ready in time",
        f"{settings.engine.start_timeout_seconds:.0f} s are over"
        + (f"; {_tail(settings)}" if child else ""),
        "Give it longer with --set engine.start_timeout_seconds=...",
    )


@contextmanager
def serving(
    settings: Settings,
    arguments: Sequence[str] = (),
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Server]:
    """The running server, ready; starts one for the time of the block if none runs."""
    found = running_server(settings)
    if found is not None:
        yield wait_ready(settings, None, say=say)
        return
    say(f"Starting a server on {settings.state_dir} ...")
    child = start_server(settings, arguments)
    try:
        yield wait_ready(settings, child, say=say)
    finally:
        stop_server(child)


def stop_server(child: subprocess.Popen[bytes]) -> None:
    """Ctrl-C, and a kill if it does not end in a minute."""
    if not interrupt(child, STOP_SECONDS):
        raise PawlError(
            "the server did not stop on Ctrl-C",
            f"{STOP_SECONDS:.0f} s are over",
            "It was killed; the engine ends by itself",
        )


def interrupt(child: subprocess.Popen[bytes], seconds: float) -> bool:
    """Ctrl-C to a child, so that it stops what it started, and wait; False when it had to be
    killed after ``seconds``."""
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
        return False
    return True


def _tail(settings: Settings) -> str:
    path = settings.logs_dir / "server.log"
    return path.read_text("utf-8", errors="replace")[-1000:].strip() if path.exists() else ""
