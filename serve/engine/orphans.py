"""Engines that an earlier gateway left running: written down at each start, ended at the next."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from pawl.errors import PawlError
from pawl.files import read_json, write_json
from serve.engine import supervisor


def note_process(process_file: Path, pid: int) -> None:
    """Write down the leader of an engine's session, so that a later process can find it."""
    stat = supervisor.read_stat(pid)
    note = {"pid": pid, "boot_id": _boot_id(), "start_ticks": stat[2] if stat else None}
    write_json(process_file, note)


def reap_left_over(process_file: Path) -> int:
    """End what an engine of an earlier gateway left running; answers how many processes.

    The session's number can't have been taken by another program while one of its processes
    lives; where its leader lives, the leader's start time must be the one written down.
    """
    if not process_file.exists():
        return 0
    n_ended = 0
    with contextlib.suppress(PawlError, KeyError, TypeError):
        noted = read_json(process_file)
        leader = supervisor.read_stat(noted["pid"])
        same = leader is None or leader[0] in "ZX" or leader[2] == noted["start_ticks"]
        if same and noted["boot_id"] == _boot_id() and noted["pid"] != os.getsid(0):
            with contextlib.suppress(ProcessLookupError):
                if leader is not None:
                    os.kill(noted["pid"], signal.SIGKILL)
            n_ended = supervisor.end_session(noted["pid"])
    process_file.unlink(missing_ok=True)
    return n_ended


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
