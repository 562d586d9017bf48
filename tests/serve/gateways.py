"""Other gateways before a server: in this process, or as processes that can be killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pawl.settings import Settings
from tests.serve.live import REPOSITORY


class GatewayProcess:
    """``pawl gateway`` as a child; its state in a folder of its own or the server's.

    Args:
        url: of the server that has the store.
        state_dir: its journals are in ``gateways/`` of it.
        key: a gateway's or an administrator's of the server; None: the one in the folder.
    """

    def __init__(
        self, url: str, state_dir: Path, key: str | None = None, *options: str,
        wrap: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        if key is not None:
            environment["PAWL_API_KEY"] = key
        command = [*wrap, sys.executable, "-m", "pawl.cli", "--state-dir", str(state_dir),
                   "gateway", url, *(options or ("--port", "0"))]  # fmt: skip
        self.child = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if "This gateway is at " not in line:
            self._ended()
            raise RuntimeError(f"pawl gateway ended: {line or 'see stderr'}")
        self.url = line.split()[4].rstrip(",")

    def kill(self) -> None:
        self.child.kill()
        self._ended()

    def stop(self) -> int:
        """As Ctrl-C; its exit code."""
        self.child.terminate()
        return self._ended()

    def _ended(self) -> int:
        code = self.child.wait(60)
        assert self.child.stdout is not None
        self.child.stdout.close()
        return code


@contextmanager
def beside(url: str, settings: Settings, *options: str) -> Iterator[GatewayProcess]:
    """Another gateway on the state folder of a server."""
    one = GatewayProcess(url, settings.state_dir, None, *options)
    try:
        yield one
    finally:
        if one.child.poll() is None:
            one.stop()
