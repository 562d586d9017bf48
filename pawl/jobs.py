"""What a long-running child does about itself: end with its parent, and leave others the processor.

Only standard library, and only of use in the child: nothing here starts or ends another process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h


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
            group.write_text(str(niceness))
