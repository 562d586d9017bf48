"""The engine's process on this machine: started in a session of its own, ended with all it started.

``serve.engine.nodes`` starts the same on another machine; the supervisor knows no difference.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine import session
from serve.engine.launch import engine_environment

LOOPBACK = "127.0.0.1"
CommandMaker = Callable[[Settings, BaseModel, int], list[str]]


@dataclass(frozen=True)
class Start:
    """What an engine is started with.

    ``command``: makes its command line for a port. ``key``: it takes no requests without it.
    ``number``: of the replica, from 1 on.
    """

    settings: Settings
    model: BaseModel
    command: CommandMaker
    key: str
    number: int = 1

    @property
    def name(self) -> str:
        """Of its files."""
        return "engine" if self.number == 1 else f"engine-{self.number}"

    @property
    def log_path(self) -> Path:
        return self.settings.logs_dir / f"{self.name}.log"


class Child(Protocol):
    """A running engine, wherever it runs."""

    base_url: str
    command: list[str]
    pid: int

    @property
    def ended(self) -> int | str | None:
        """Its exit code, or what happened to it in words; None while it runs."""

    @property
    def is_away(self) -> bool:
        """Whether its machine can't be reached now."""

    async def wait(self) -> int | str:
        """``ended``, once it has."""

    async def leaving(self) -> None:
        """Return when its machine is about to go."""

    async def end(self) -> None:
        """End it and all that it started; takes a few seconds at most."""

    async def bring(self, adapter_dir: Path, held: Sequence[Path]) -> Path:
        """Where the engine finds an adapter of ours. ``held``: those that it holds, whose files
        stay, since vLLM may read them again."""


# Starts one; the second argument takes a word on what it waits for. Raises PawlError, OSError.
Starter = Callable[[Start, Callable[[str], None]], Awaitable[Child]]


class LocalChild:
    """See ``Child``; made by ``start_local``."""

    is_away = False

    def __init__(
        self, process: asyncio.subprocess.Process, note: Path, base_url: str, command: list[str]
    ) -> None:
        self.base_url, self.command, self.pid = base_url, command, process.pid
        self._process, self._note = process, note

    @property
    def ended(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    async def leaving(self) -> None:
        await asyncio.Event().wait()  # this machine: then nobody is left to act on it

    async def end(self) -> None:
        """Close the pipe to ``session.py``: it ends all that it started, and then itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 3 * session.GRACE_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await asyncio.to_thread(session.end_session, self.pid)
        self._note.unlink(missing_ok=True)

    async def bring(self, adapter_dir: Path, held: Sequence[Path]) -> Path:
        return adapter_dir.absolute()


async def start_local(
    start: Start, say: Callable[[str], None] = lambda text: None, host: str = LOOPBACK
) -> LocalChild:
    """Start it, after what an earlier one left was ended; it is not ready yet.

    Args:
        host: the address that it listens on.
    """
    settings = start.settings
    for left in _left_files(start):
        await asyncio.to_thread(session.reap_left_over, left)
    port = free_port(host)
    command = start.command(settings, start.model, port)
    if host != LOOPBACK and "--host" in command:
        command[command.index("--host") + 1] = host
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", session.__file__, str(start.log_path), *command,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
        env={**os.environ, **engine_environment(settings, start.key, start.number)},
    )  # fmt: skip
    note = settings.state_dir / f"{start.name}.json"
    shown = f"[{host}]" if ":" in host else host
    child = LocalChild(process, note, f"http://{shown}:{port}", command)
    try:
        session.note_process(note, process.pid)
    except BaseException:  # a full disk: nobody else would end it
        await child.end()
        raise
    return child


def _left_files(start: Start) -> list[Path]:
    """The notes on earlier engines that this one looks after: its own, and the first those of
    replicas that there are no more."""
    folder = start.settings.state_dir
    files = [folder / f"{start.name}.json"]
    if start.number == 1:
        present = {f"engine-{n}.json" for n in range(2, start.settings.engine.most_replicas + 1)}
        files += [one for one in folder.glob("engine-*.json") if one.name not in present]
    return files


def free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listened on a moment ago."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
        listener.bind((host, 0))
        return int(listener.getsockname()[1])
