"""A backup made beside a writer restores to the same rows and files, or not at all."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import pytest

from feedback.backup import BACKUPS, Backup, copy_store, restore, write_backup
from feedback.erasing import forget
from feedback.service import take_snapshot
from feedback.store import Store
from pawl.errors import PawlError
from pawl.files import write_atomic
from pawl.settings import Settings
from tests.feedback.examples import answered, said


def back_up(store: Store, settings: Settings, path: Path) -> Backup:
    return write_backup(settings.state_dir, copy_store(store, settings.state_dir), path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state")


def test_there_and_back_while_people_write(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "state.backup"
    with Store.open(settings.database_path) as store:
        for n in range(30):
            said(store, answered(store, completion=f"answer {n}"), correction=f"right {n}")
        snapshot = take_snapshot(store, settings)
        write_atomic(settings.state_dir / "admin.key", "secret\n", mode=0o600)
        write_atomic(settings.logs_dir / "gateway.log", "no part of it")
        work_dir = settings.runs_dir / "run-1" / "train"
        for name in ("steps.jsonl", "checkpoints/sft/checkpoint-4/optimizer.pt"):
            write_atomic(work_dir / name, "an interrupted training")
        before = store.completions()
        stop = threading.Event()

        def write_on() -> None:
            while not stop.is_set():
                answered(store)

        writer = threading.Thread(target=write_on)
        writer.start()
        try:
            done = back_up(store, settings, path)
        finally:
            stop.set()
            writer.join()
        assert len(store.completions()) > len(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert any(one.startswith("admin.key") for one in done.secrets)
    assert (settings.state_dir / BACKUPS).read_text().count("\n") == 1
    again = Settings(state_dir=tmp_path / "again")
    restored = restore(path, again.state_dir)
    assert (restored.sha256, restored.tables) == (done.sha256, done.tables)
    assert again.state_dir.stat().st_mode & 0o777 == 0o700
    assert (again.state_dir / "admin.key").stat().st_mode & 0o777 == 0o600
    assert not again.logs_dir.exists()
    assert [path.name for path in (again.runs_dir / "run-1" / "train").iterdir()] == ["steps.jsonl"]
    with Store.open(again.database_path) as store:
        store.verify()
        n = store.counts()["completions"]
        assert n == done.tables["completions"]["n_rows"] >= len(before)
        assert store.completions()[: len(before)] == before
        assert take_snapshot(store, again)["content_sha256"] == snapshot["content_sha256"]
        answered(store)
    with pytest.raises(PawlError, match="not empty"):
        restore(path, again.state_dir)


def test_what_links_lead_to_is_in_it_and_it_is_not_in_what_it_copies(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, disk = settings.state_dir, tmp_path / "other disk"
    with Store.open(settings.database_path) as store:
        answered(store)
        write_atomic(disk / "pawl@1" / "weights", "moved there")
        (state / "adapters").symlink_to(disk)
        (disk / "back").symlink_to(state)  # a loop
        with pytest.raises(PawlError, match="would be lost with it"):
            back_up(store, settings, state / "one.backup")
        back_up(store, settings, tmp_path / "one.backup")
    (tmp_path / "again").mkdir()
    monkeypatch.chdir(tmp_path / "again")
    restore(tmp_path / "one.backup", Path())
    restored = tmp_path / "again" / "adapters" / "pawl@1" / "weights"
    assert restored.read_text() == "moved there"
    left = sorted(one.name for one in restored.parents[2].iterdir())
    assert left == ["adapters", "pawl.duckdb"]


def test_a_backup_of_which_no_erasing_would_know_is_not_there(
    settings: Settings, tmp_path: Path
) -> None:
    (settings.state_dir / "backups.jsonl").mkdir(parents=True)  # can't be written
    with Store.open(settings.database_path) as store:
        answered(store)
        with pytest.raises(PawlError, match=r"backups\.jsonl: Is a directory"):
            back_up(store, settings, tmp_path / "one.backup")
    assert [one.name for one in tmp_path.iterdir()] == ["state"]


def test_a_piece_of_a_line_is_named_as_a_backup_too(settings: Settings) -> None:
    with Store.open(settings.database_path) as store:
        answered(store, rater_id="ann-7f3a")
        (settings.state_dir / "backups.jsonl").write_bytes(b'{"path": "/backups/mon\xc3')
        told = forget(store, settings, "ann-7f3a", "the operator")["backups"]
    assert [one["path"] for one in told] == ['{"path": "/backups/mon\ufffd']


def spoil(path: Path, how: str) -> None:
    raw = path.read_bytes()
    if how == "cut":
        path.write_bytes(raw[: len(raw) // 2])
    elif how == "no tar":
        path.write_bytes(b"x" * 5000)
    elif how == "a byte":
        place = raw.index(b"secret")
        path.write_bytes(raw[:place] + b"S" + raw[place + 1 :])
    else:
        with tarfile.open(path, "a") as tar:
            entry = tarfile.TarInfo("../outside" if how == "leads out" else "more")
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"evil"))


@pytest.mark.slow
@pytest.mark.parametrize("how", ["cut", "no tar", "a byte", "one more", "leads out"])
def test_what_is_no_whole_backup_restores_nothing(
    settings: Settings, tmp_path: Path, how: str
) -> None:
    path, empty = tmp_path / "one.backup", tmp_path / "empty"
    with Store.open(settings.database_path) as store:
        answered(store)
        write_atomic(settings.state_dir / "admin.key", "secret\n", mode=0o600)
        back_up(store, settings, path)
        with pytest.raises(PawlError, match="there is one already"):
            back_up(store, settings, path)
    spoil(path, how)
    empty.mkdir()
    with pytest.raises(PawlError) as err:
        restore(path, empty)
    assert err.value.code == "bad_backup"
    assert list(empty.iterdir()) == []
    assert sorted(one.name for one in tmp_path.iterdir()) == ["empty", "one.backup", "state"]


@pytest.mark.slow
def test_a_place_that_can_not_be_taken_is_named(settings: Settings, tmp_path: Path) -> None:
    """The backup is whole: nobody is told to take another copy."""
    path, mounted = tmp_path / "one.backup", tmp_path / "mounted"
    with Store.open(settings.database_path) as store:
        back_up(store, settings, path)
    with pytest.raises(PawlError, match="can't be made") as caught:
        restore(path, path / "state")
    assert "--state-dir" in caught.value.do
    mounted.mkdir()
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs none {mounted}"
    if subprocess.run([*alone, mount], check=False, capture_output=True).returncode:
        pytest.skip("no right to mount: a restore onto a mount point was NOT TESTED")
    typed = f"{sys.executable} -m pawl.cli --state-dir {mounted} restore {path}"
    done = subprocess.run(
        [*alone, f"{mount} && {typed}"], check=False, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"--state-dir {mounted / 'state'}" in done.stderr
