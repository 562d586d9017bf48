"""What the store acknowledged survives kills, a full disk and a damaged file; nothing is halved."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

from feedback.store import Store
from pawl.errors import PawlError
from tests.conftest import REPOSITORY
from tests.feedback.examples import answered, make_completion, make_feedback, said, wait_all

WRITER = Path(__file__).with_name("acknowledging_writer.py")


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path) -> None:
    path, chance = tmp_path / "pawl.duckdb", random.Random(7)
    acknowledged: list[str] = []
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    for kill in range(8):
        n_wanted = chance.randrange(0, 1500)
        with subprocess.Popen(
            [sys.executable, str(WRITER), str(path), str(kill * 1_000_000)],
            stdout=subprocess.PIPE,
            env=environment,
        ) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(n_wanted)]
            child.kill()
            lines += child.stdout.read().splitlines(keepends=True)
        assert all(line.endswith(b"\n") for line in lines[:n_wanted]), "the child died by itself"
        acknowledged += [line.decode().strip() for line in lines if line.endswith(b"\n")]
    with Store.open(path) as store:
        store.verify()
        there = Counter(f"c {one.completion_id}" for one in store.completions())
        there.update(f"f {one.idempotency_key}" for one in store.feedback_history())
        assert len(acknowledged) > 3000
        assert [one for one in acknowledged if there[one] != 1] == []
        assert max(there.values()) == 1
        key = next(one for one in acknowledged if one.startswith("f "))[2:]
        before = store.counts()["feedback_rows"]
        repeat = make_feedback("chatcmpl-0", idempotency_key=key, thumb="up")
        assert store.append_feedback(repeat).result(timeout=60).feedback_id == f"fb-{key[2:]}"
        assert store.counts()["feedback_rows"] == before


@pytest.mark.slow
def test_a_full_disk_loses_nothing_and_halves_nothing(small_disk: Path) -> None:
    path = small_disk / "pawl.duckdb"
    kept: list[str] = []
    errors: list[PawlError] = []
    store = Store.open(path)
    while len(errors) < 40:
        rows = [make_completion(completion=os.urandom(20_000).hex()) for _ in range(8)]
        for row, future in [(row, store.append_completion(row)) for row in rows]:
            try:
                future.result(timeout=60)
                kept.append(row.completion_id)
            except PawlError as err:
                errors.append(err)
        assert len(kept) < 5000, "the disk never got full"
    assert {err.code for err in errors} == {"store_full"}
    assert {err.code for err in errors} == {"store_full"}
    assert "disk is full" in str(errors[0])
    assert [one.completion_id for one in store.completions()] == kept  # reads go on
    store.close()  # no room to fold the WAL in: it stays
    assert path.with_name("pawl.duckdb.wal").stat().st_size > 0
    store = Store.open(path)
    assert [one.completion_id for one in store.completions()] == kept
    with pytest.raises(PawlError):
        wait_all(
            store.append_completion(make_completion(completion=os.urandom(500_000).hex()))
            for _ in range(20)
        )
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    late = answered(store, completion=os.urandom(500_000).hex())  # the same store, after room
    feedback = said(store, late, thumb="up")
    store.close()
    with Store.open(path) as store:
        store.verify()
        ids = [one.completion_id for one in store.completions()]
        assert ids[: len(kept)] == kept
        assert ids[-1] == late.completion_id
        assert len(ids) == len(set(ids))
        assert store.current_feedback() == [feedback]


@pytest.fixture(scope="module")
def killed_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a kill leaves it: 300 rows in the file, 20 in the WAL."""
    live, copy = tmp_path_factory.mktemp("live"), tmp_path_factory.mktemp("copy")
    with Store.open(live / "pawl.duckdb") as store:
        wait_all(
            store.append_completion(make_completion(completion=os.urandom(4000).hex()))
            for _ in range(300)
        )
    with Store.open(live / "pawl.duckdb") as store:
        wait_all(store.append_completion(make_completion()) for _ in range(20))
        store.flush()  # from the journal
        for name in ("pawl.duckdb", "pawl.duckdb.wal"):
            shutil.copy(live / name, copy / name)
    return copy


def _state(folder: Path) -> dict[str, str]:
    return {
        one.name: hashlib.sha256(one.read_bytes()).hexdigest()
        for one in folder.iterdir()
        if one.suffix != ".lock"
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["empty", "header only", "half", "one byte short", "not a database", "catalog", "wal"]
)
def test_a_damaged_file_is_refused_and_left_as_it_is(
    killed_store: Path, tmp_path: Path, damage: str
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(killed_store, folder)
    path, wal = folder / "pawl.duckdb", folder / "pawl.duckdb.wal"
    size = path.stat().st_size
    if damage == "not a database":
        path.write_bytes(b"hello " * 10_000)
    elif damage in ("catalog", "wal"):
        file_path = path if damage == "catalog" else wal
        raw = bytearray(file_path.read_bytes())
        place = 12_288 + 700 if damage == "catalog" else len(raw) // 2
        raw[place : place + 8] = bytes(byte ^ 255 for byte in raw[place : place + 8])
        file_path.write_bytes(raw)
    else:
        os.truncate(
            path,
            {"empty": 0, "header only": 12_288, "half": size // 2, "one byte short": size - 1}[
                damage
            ],
        )
    before = _state(folder)
    for _ in range(2):  # the second start finds the same
        with pytest.raises(PawlError) as err:
            Store.open(path)
        assert err.value.code == "store_damaged"
        assert str(path) in str(err.value)
        assert _state(folder) == before
    for name in ("pawl.duckdb", "pawl.duckdb.wal"):  # what the message says to do
        shutil.copy(killed_store / name, folder / name)
    with Store.open(path) as store:
        assert store.counts()["completions"] == 320


@pytest.mark.slow
def test_a_damaged_block_is_found_by_verify(killed_store: Path, tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    shutil.copy(killed_store / "pawl.duckdb", path)
    raw = bytearray(path.read_bytes())
    place = 12_288 + (len(raw) - 12_288) // 262_144 // 2 * 262_144 + 100_000  # in a middle block
    raw[place : place + 64] = bytes(byte ^ 255 for byte in raw[place : place + 64])
    path.write_bytes(raw)
    with Store.open(path) as store, pytest.raises(PawlError, match="checksum"):
        store.verify()


@pytest.mark.slow
def test_a_torn_end_of_the_wal_is_what_a_kill_leaves(killed_store: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(killed_store, folder)
    wal = folder / "pawl.duckdb.wal"
    os.truncate(wal, wal.stat().st_size - 10)
    with Store.open(folder / "pawl.duckdb") as store:
        assert 300 <= store.counts()["completions"] < 320
        answered(store)


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        with pytest.raises(PawlError, match=str(os.getpid())) as err:
            Store.open(path)
        assert err.value.code == "locked"
        code = (
            "import sys; from pathlib import Path; from feedback.store import Store\n"
            "Store.open(Path(sys.argv[1]))"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, str(path)],
            capture_output=True,
            text=True,
            cwd=REPOSITORY,
            check=False,
        )
        assert other.returncode == 1
        assert "the store is in use" in other.stderr
        answered(store)  # the first goes on
    Store.open(path).close()  # and lets go


def test_who_may_wait_gets_the_store_when_its_owner_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    first = Store.open(path)
    with pytest.raises(PawlError, match="in use"):
        Store.open(path, wait_seconds=0.1)
    closing = threading.Timer(0.4, first.close)
    closing.start()
    Store.open(path, wait_seconds=30).close()
    closing.join()


def test_a_file_that_another_program_has_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    Store.open(path).close()
    code = (
        "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('open', flush=True);"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(PawlError, match=f"PID {other.pid}") as err:
            Store.open(path)
        assert err.value.code == "locked"
        assert other.stdin is not None
        other.stdin.close()
    Store.open(path).close()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PawlError) as err:
        Store.open(tmp_path / "file" / "pawl.duckdb")
    assert err.value.code == "store_unwritable"
