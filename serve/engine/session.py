"""Runs the engine in a session of its own, and lets no process of it outlive the gateway.

    python serve/engine/session.py LOG_FILE COMMAND...

leads a session, with a pipe from the gateway as its standard input, and starts the command in it.
When the pipe closes (the kernel closes it however the gateway ended), or when the command ends,
every process of the session gets SIGTERM, and SIGKILL after ``GRACE_SECONDS``. vLLM's children
(engine core, worker) stay in the session when their parent was killed. If the leader is killed,
the kernel kills the command, and the next start ends the rest (``reap_left_over``).

Run as a script it uses the standard library only, so it starts in a few milliseconds.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE_SECONDS = 2.0
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def main(arguments: list[str]) -> int:
    """Run the command until it ends or the pipe closes; answers the command's exit code."""
    log_file, command = arguments[0], arguments[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # orphans come to us, so they can be reaped
    me = os.getpid()

    def die_with_leader() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if os.getppid() != me:
            os._exit(1)

    with Path(log_file).open("ab", buffering=0) as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_leader,
        )
    pidfd = os.pidfd_open(child.pid)
    readable, _, _ = select.select([sys.stdin.fileno(), pidfd], [], [])
    code = child.wait() if pidfd in readable else 0
    end_session(me, spare=me)
    return code if code >= 0 else 128 - code


def end_session(session: int, spare: int | None = None) -> int:
    """End every process of a session but ``spare``: SIGTERM, then SIGKILL after the grace.

    Returns:
        how many processes were found alive at first.
    """
    found = members(session, spare)
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE_SECONDS
        while (left := members(session, spare)) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_number)
            if spare is not None:  # its leader; another's children are for others to wait for
                _reap()
            time.sleep(0.02 if signal_number == signal.SIGKILL else 0.1)
    return len(found)


def members(session: int, spare: int | None = None) -> list[int]:
    """Process ids of the session's living members (zombies left out)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != spare:
            stat = read_stat(int(entry.name))
            if stat is not None and stat[1] == session and stat[0] not in "ZX":
                found.append(int(entry.name))
    return found


def read_stat(pid: int) -> tuple[str, int, int] | None:
    """``(state, session, start time in clock ticks since boot)``; None when there is none."""
    try:
        # A name is cut after 15 bytes, perhaps inside a letter.
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text[text.rindex(")") + 2 :].split()  # the name before may hold blanks and brackets
    return fields[0], int(fields[3]), int(fields[19])


def note_process(process_file: Path, pid: int) -> None:
    """Write down the leader of an engine's session, for ``reap_left_over`` of a later process."""
    from pawl.files import write_json

    stat = read_stat(pid)
    note = {"pid": pid, "boot_id": _boot_id(), "start_ticks": stat[2] if stat else None}
    write_json(process_file, note)


def reap_left_over(process_file: Path) -> int:
    """End what an engine of an earlier gateway left running; answers how many processes.

    The session's number can't have been taken by another program while one of its processes
    lives; where its leader lives, the leader's start time must be the one written down.
    """
    from pawl.errors import PawlError
    from pawl.files import read_json

    n_ended = 0
    with contextlib.suppress(PawlError, KeyError, TypeError):
        noted = read_json(process_file)
        leader = read_stat(noted["pid"])
        same = leader is None or leader[0] in "ZX" or leader[2] == noted["start_ticks"]
        if same and noted["boot_id"] == _boot_id() and noted["pid"] != os.getsid(0):
            with contextlib.suppress(ProcessLookupError):
                if leader is not None:
                    os.kill(noted["pid"], signal.SIGKILL)
            n_ended = end_session(noted["pid"])
    process_file.unlink(missing_ok=True)
    return n_ended


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
