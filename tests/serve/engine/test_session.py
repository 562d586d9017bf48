"""Which processes are an engine's, and that none outlives it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pawl.files import write_json
from pawl.settings import Settings
from serve.engine import session as processes
from serve.engine.child import Child, Start, start_local
from serve.engine.session import reap_left_over
from serve.engine.supervisor import Engine
from tests.serve.engine.test_supervisor import run, session_of, until
from tests.serve.live import FAKE_BASE, eventually, fake_command

pytestmark = pytest.mark.slow


def test_a_name_cut_inside_a_letter_is_nothing_to_stop_at(tmp_path: Path) -> None:
    """Linux cuts it after 15 bytes."""
    name = tmp_path / "программа-учёта"
    shutil.copy(shutil.which("sleep") or "", name)
    with subprocess.Popen([name, "60"], start_new_session=True) as other:
        try:
            stat = Path(f"/proc/{other.pid}/stat")
            eventually(lambda: b"python" not in stat.read_bytes(), "it is the other program")
            with pytest.raises(UnicodeDecodeError):
                stat.read_text("utf-8")
            assert processes.members(other.pid) == [other.pid]
        finally:
            other.kill()


def test_a_supervision_that_breaks_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    async def cannot_wait() -> int:
        raise RuntimeError("can't start new thread")

    async def start(what: Start, say: Callable[[str], None]) -> Child:
        child = await start_local(what, say)
        child.wait = cannot_wait
        return child

    async def scenario() -> None:
        engine = Engine(Settings(state_dir=tmp_path), FAKE_BASE, command=fake_command(),
                        start=start)  # fmt: skip
        await engine.start()
        await until(lambda: engine.state == "failed", "it is broken")
        session = session_of(tmp_path)
        assert processes.members(session)
        await engine.stop()
        assert processes.members(session) == []

    run(scenario())


def test_a_process_that_only_shares_the_number_is_left_alone(tmp_path: Path) -> None:
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    mine = processes.read_stat(os.getpid())
    assert mine is not None
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"],
                          start_new_session=True) as other:  # fmt: skip
        try:
            write_json(
                tmp_path / "engine.json", {"pid": other.pid, "boot_id": boot_id, "start_ticks": 1}
            )
            assert reap_left_over(tmp_path / "engine.json") == 0
            assert other.poll() is None
        finally:
            other.kill()
