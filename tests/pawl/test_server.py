"""Which server is running: the file it left is believed only as far as its process bears it out."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from pawl.errors import PawlError
from pawl.files import write_json
from pawl.jobs import child_environment, module_command
from pawl.server import Server, api_key_of, make_admin_key, running_server, wait_ready
from pawl.settings import Settings, load_settings


def _settings(folder: Path) -> Settings:
    settings = load_settings(flags={"state_dir": str(folder)})
    write_json(settings.server_file, {"url": "http://127.0.0.1:1", "pid": os.getpid()})
    return settings


def test_a_server_that_lives_is_found(tmp_path: Path) -> None:
    assert running_server(_settings(tmp_path)) == Server("http://127.0.0.1:1", os.getpid())


def test_a_killed_servers_file_is_not_believed_when_its_number_was_given_anew(
    tmp_path: Path,
) -> None:
    settings = _settings(tmp_path)
    day_ago = time.time() - 86_400
    os.utime(settings.server_file, (day_ago, day_ago))  # older than the process of that number
    assert running_server(settings) is None


def test_no_file_and_no_process(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    write_json(settings.server_file, {"url": "http://127.0.0.1:1", "pid": 2**22 + 1})
    assert running_server(settings) is None
    settings.server_file.unlink()
    assert running_server(settings) is None


def test_a_server_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    settings = load_settings(flags={"state_dir": str(tmp_path)})
    with pytest.raises(PawlError, match="gone") as caught:
        wait_ready(settings, None)
    assert caught.value.retryable


def test_the_key_of_the_state_folder_is_its_owners_alone(tmp_path: Path) -> None:
    settings = load_settings(flags={"state_dir": str(tmp_path)})
    assert api_key_of(settings) is None
    key = make_admin_key(settings)
    path = tmp_path / "admin.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert api_key_of(settings) == key == make_admin_key(settings)
    assert api_key_of(load_settings({"state_dir": str(tmp_path), "api_key": "other"})) == "other"
    path.chmod(0o640)  # somebody may have read it
    renewed = make_admin_key(settings)
    assert renewed != key
    assert path.stat().st_mode & 0o777 == 0o600
    for spoil in (b"", b"\xff\xfe"):
        path.write_bytes(spoil)
        assert api_key_of(settings) is None
        assert len(make_admin_key(settings)) > 64
    known = tmp_path / "known"
    known.write_text("known")
    path.unlink()
    path.symlink_to(known)
    assert make_admin_key(settings) != "known"
    assert known.read_text() == "known"
    assert not path.is_symlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="root's look at a state folder was NOT TESTED")
def test_roots_look_leaves_the_servers_user_its_key(tmp_path: Path) -> None:
    settings = load_settings(flags={"state_dir": str(tmp_path)})
    path = tmp_path / "admin.key"
    os.chown(tmp_path, 65534, 65534)
    key = make_admin_key(settings)  # a first one, made by root
    for _ in range(2):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
        assert path.stat().st_mode & 0o777 == 0o600
        assert make_admin_key(settings) == key
    os.chown(path, 12345, -1)  # of neither
    assert make_admin_key(settings) != key
    assert path.stat().st_uid == 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="a root that may give nothing away was NOT TESTED")
def test_a_root_that_may_give_no_file_away_keeps_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:  # as the kernel without CAP_CHOWN
        raise PermissionError(1, "Operation not permitted")

    settings = load_settings(flags={"state_dir": str(tmp_path)})
    os.chown(tmp_path, 65534, 65534)
    monkeypatch.setattr(os, "fchown", refuse)
    key = make_admin_key(settings)
    status = (tmp_path / "admin.key").stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
    assert make_admin_key(settings) == key


@pytest.mark.engine
def test_a_demo_that_is_killed_stops_the_server_that_it_started(tmp_path: Path) -> None:
    settings = load_settings(flags={"state_dir": str(tmp_path)})
    command = [*module_command("pawl.cli"), "demo", "--state-dir", str(settings.state_dir)]
    demo = subprocess.Popen(command, env=child_environment(), stdout=subprocess.DEVNULL)
    while running_server(settings) is None:
        assert demo.poll() is None
        time.sleep(0.1)
    server = running_server(settings)
    assert server is not None
    demo.terminate()
    assert demo.wait(timeout=120) == 130
    assert not psutil.pid_exists(server.pid)
