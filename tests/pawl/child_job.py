"""A child job for the tests of ``pawl/jobs.py``: what it does is its only argument."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import Any

from pawl.errors import PawlError
from pawl.jobs import OnEvent, run_child


def work(args: argparse.Namespace, report: OnEvent) -> None:
    report({"stage": "begun", "fraction": 0.0})
    print("a library prints this", flush=True)
    if args.what == "refuse":
        raise PawlError("the store is in use", retryable=True, code="locked")
    if args.what == "break":
        print("10 %\r20 %\rbefore the end", file=sys.stderr)
        raise ValueError("nobody expected this")
    if args.what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if args.what == "wait":
        signal.pause()
    about: dict[str, Any] = {"niceness": os.nice(0), "parent": os.getppid()}
    for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT"):
        about[name] = os.environ.get(name)
    import evals

    report({"stage": "done", "fraction": 1.0, "evals": evals.__file__, **about})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what")
    sys.exit(run_child(parser, work))
