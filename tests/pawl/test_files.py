"""Files are whole or not there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pawl.errors import PawlError
from pawl.files import hold_lock, read_json, sha256_file, sha256_json, write_atomic, write_json


def test_write_replaces_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"b": 1})
    write_json(path, {"b": 2})
    assert read_json(path) == {"b": 2}
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, 1)
    with pytest.raises(TypeError):
        write_json(path, object())
    with pytest.raises(TypeError):
        write_atomic(path, 3)  # type: ignore[arg-type]
    assert read_json(path) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_and_broken_json_are_named(tmp_path: Path) -> None:
    with pytest.raises(PawlError, match="is not there"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(PawlError, match=r"bad\.json is not JSON"):
        read_json(tmp_path / "bad.json")


def test_hashes_name_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a").startswith("ba7816bf")
    assert sha256_json({"a": 1, "b": 2}) == sha256_json({"b": 2, "a": 1})


def test_lock_names_its_holder_and_goes_with_the_process(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    code = (
        "import sys; from pathlib import Path; from pawl.files import hold_lock\n"
        f"with hold_lock(Path({str(path)!r}), 'busy', 'Wait'): print('held', flush=True); "
        "sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    with pytest.raises(PawlError, match=f"process {holder.pid}"), hold_lock(path, "busy", "Wait"):
        pass
    holder.kill()
    holder.communicate()
    with hold_lock(path, "busy", "Wait"):
        assert path.read_text() == str(os.getpid())


def test_a_lock_that_is_shared_keeps_out_whoever_wants_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    alone, shared = hold_lock(path, "busy", ""), hold_lock(path, "busy", "", shared=True)
    with shared, hold_lock(path, "busy", "", shared=True), pytest.raises(PawlError), alone:
        pass
    again = hold_lock(path, "busy", "", shared=True)
    with hold_lock(path, "busy", "", wait_seconds=1.0), pytest.raises(PawlError), again:
        pass
