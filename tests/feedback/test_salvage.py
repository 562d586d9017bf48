"""A WAL that is missing, cut, changed or another's is refused; what is left of it is salvaged."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from feedback.mark import mark_path, read_mark, wal_path
from feedback.salvage import salvage
from feedback.store import Store
from pawl.errors import PawlError
from tests.feedback.examples import answered, make_completion

pytestmark = pytest.mark.slow

N_IN_FILE, N_IN_WAL = 30, 20


def killed(folder: Path) -> Path:
    """A store as a kill leaves it: 30 answers in the file, 20 in the WAL, all acknowledged."""
    live = folder / "live"
    with Store.open(live / "pawl.duckdb") as store:
        for _ in range(N_IN_FILE):
            answered(store)
    left = folder / "left"
    with Store.open(live / "pawl.duckdb") as store:
        for _ in range(N_IN_WAL):
            answered(store)
            store.flush()  # from the journal, a transaction each
        shutil.copytree(live, left)
    return left / "pawl.duckdb"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return killed(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return killed(tmp_path_factory.mktemp("other"))


def n_answers(path: Path) -> int:
    with Store.open(path) as store:
        store.verify()
        ids = [one.completion_id for one in store.completions()]
        answered(store)  # it can be written
    assert len(ids) == len(set(ids))
    return len(ids)


def changed(place: float) -> Callable[[Path, Path], None]:
    def change(path: Path, other: Path) -> None:
        raw = bytearray(wal_path(path).read_bytes())
        at = int(place * len(raw))
        raw[at : at + 8] = bytes(byte ^ 255 for byte in raw[at : at + 8])
        wal_path(path).write_bytes(raw)

    return change


def cut(keep: float) -> Callable[[Path, Path], None]:
    return lambda path, other: os.truncate(
        wal_path(path), int(keep * wal_path(path).stat().st_size)
    )


def beheaded(n_bytes: int) -> Callable[[Path, Path], object]:
    return lambda path, other: wal_path(path).write_bytes(wal_path(path).read_bytes()[n_bytes:])


def hole(path: Path, other: Path) -> None:
    raw = wal_path(path).read_bytes()
    wal_path(path).write_bytes(raw[: len(raw) // 3] + raw[len(raw) // 3 + 1000 :])


def zeros(path: Path, other: Path) -> None:
    raw = bytearray(wal_path(path).read_bytes())
    raw[2000:4000] = bytes(2000)
    wal_path(path).write_bytes(raw)


DAMAGE: dict[str, tuple[Callable[[Path, Path], object], int, int]] = {
    # what happened to the WAL; how many answers are salvaged at least and at most, beside the last
    # one, which is still in the journal
    "deleted": (lambda path, other: wal_path(path).unlink(), 30, 30),
    "emptied": (cut(0), 30, 30),
    "ten bytes left": (lambda path, other: os.truncate(wal_path(path), 10), 30, 30),
    "cut in half": (cut(0.5), 38, 40),
    "one byte short": (cut(0.99999), 49, 49),
    "another database's": (
        lambda path, other: shutil.copy(wal_path(other), wal_path(path)), 30, 30,
    ),
    "beheaded by its version": (beheaded(8), 49, 49),
    "beheaded": (beheaded(200), 49, 49),
    "beheaded within an entry": (beheaded(2001), 46, 48),
    "changed at its beginning": (changed(0.001), 49, 49),
    "changed in its middle": (changed(0.5), 48, 49),
    "changed at its end": (changed(0.998), 49, 49),
    "a hole in it": (hole, 47, 48),
    "zeros in it": (zeros, 45, 48),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_spoilt_wal_is_refused_and_salvaged(
    made: Path, other: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(made.parent, folder)
    path = folder / "pawl.duckdb"
    damage, least, most = DAMAGE[name]
    damage(path, other)
    before = {one.name: one.read_bytes() for one in folder.iterdir() if one.suffix != ".lock"}
    for _ in range(2):  # the second start finds the same
        with pytest.raises(PawlError) as error:
            Store.open(path)
        assert error.value.code == "store_damaged"
        assert "pawl salvage" in str(error.value)
        after = {one.name: one.read_bytes() for one in folder.iterdir() if one.suffix != ".lock"}
        assert after == before
    result = salvage(path)
    assert result.kept is not None
    assert {one.name: one.read_bytes() for one in result.kept.iterdir()} == before
    n = n_answers(path)
    assert least <= n <= most + 1
    assert result.n_lost == 50 - n
    assert salvage(path).kept is None  # whole now


def test_a_whole_store_is_left_alone(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(made.parent, folder)
    assert salvage(folder / "pawl.duckdb").kept is None
    assert n_answers(folder / "pawl.duckdb") == 50


def test_an_old_wal_beside_a_newer_file_adds_nothing_twice(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(made.parent, folder)
    path = folder / "pawl.duckdb"
    Store.open(path).close()  # folds the WAL in
    shutil.copy(wal_path(made), wal_path(path))
    with pytest.raises(PawlError, match="repeats"):
        Store.open(path)
    result = salvage(path)
    assert (result.n_lost, result.wal_left_out) == (0, True)
    assert n_answers(path) == 50


@pytest.mark.parametrize("what", ["gone", "an older one"])
def test_a_main_file_that_is_not_what_was_acknowledged(
    made: Path, tmp_path: Path, what: str
) -> None:
    folder = tmp_path / "store"
    shutil.copytree(made.parent, folder)
    path = folder / "pawl.duckdb"
    with Store.open(path) as store:
        answered(store)
    if what == "gone":
        path.unlink()
    else:
        shutil.copy(made, path)
    with pytest.raises(PawlError) as error:
        Store.open(path)
    assert error.value.code == "store_damaged"
    assert path.exists() == (what != "gone")
    if what == "gone":
        with pytest.raises(PawlError, match="gone"):
            salvage(path)
        shutil.rmtree(folder)  # as the message says, to begin anew
        Store.open(path).close()
    else:
        assert (salvage(path).n_lost or 0) >= 21
        assert n_answers(path) == 30


def test_what_cannot_be_salvaged_stays_as_it_was(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store"
    shutil.copytree(made.parent, folder)
    path = folder / "pawl.duckdb"
    os.truncate(path, path.stat().st_size // 2)
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    with pytest.raises(PawlError, match="put back a copy"):
        salvage(path)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before


def test_a_store_without_a_mark_gets_one(made: Path, tmp_path: Path) -> None:
    """As an earlier Pawl left it, or with a mark that can't be read."""
    folder = tmp_path / "store"
    shutil.copytree(made.parent, folder)
    path = folder / "pawl.duckdb"
    for spoil in (lambda: mark_path(path).unlink(), lambda: mark_path(path).write_bytes(b"x" * 99)):
        spoil()
        Store.open(path).close()
        mark = read_mark(path)
        assert mark is not None
        assert mark.seq > 50


def test_a_wal_that_is_taken_away_from_an_open_store_costs_no_row(tmp_path: Path) -> None:
    path, copy = tmp_path / "live" / "pawl.duckdb", tmp_path / "copy"
    with Store.open(path) as store:
        for _ in range(5):
            answered(store)
        store.flush()
        wal_path(path).unlink()
        for _ in range(5):
            answered(store)
        store.flush()
        shutil.copytree(path.parent, copy)  # as a kill would leave it
    with Store.open(copy / "pawl.duckdb") as store:
        assert store.counts()["completions"] == 10


def test_an_error_after_the_commit_is_not_told_as_unsaved(tmp_path: Path) -> None:
    from feedback.tables import row_of
    from feedback.writer import Write

    def fail() -> None:
        raise RuntimeError("the step after")

    with Store.open(tmp_path / "pawl.duckdb") as store:
        completion = make_completion()
        write = Write({"completions": [row_of(completion)]}, after=fail)
        with pytest.raises(PawlError, match="was saved") as error:
            store._writer.submit(write).result(60)
        assert not error.value.retryable
        assert "not" not in error.value.what
        assert store.get_completion(completion.completion_id) == completion
        answered(store)  # the writer goes on
