"""The journal: what was acknowledged and DuckDB lacks comes back once, whatever happened to it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from feedback.backup import copy_store, restore, write_backup
from feedback.database import connect
from feedback.erasing import forget
from feedback.journal import _frame_at, apply_frames, find_frames, journal_path, read_frames
from feedback.migrations import MIGRATIONS, Migration
from feedback.salvage import salvage
from feedback.store import Store
from pawl.errors import PawlError
from pawl.schemas import Completion
from pawl.settings import Settings
from tests.feedback.examples import answered, make_completion, make_feedback, said, submit

N_READ, N_UNREAD = 5, 4  # answers that DuckDB has; answers, and then a feedback, that it lacks


@contextmanager
def unread_rows(store: Store, n: int, **changed: Any) -> Iterator[list[Completion]]:
    """So many answers that the journal has and DuckDB lacks, while the block runs."""
    n_frames = 0
    while n_frames != n:  # until the machine is quick enough
        store.flush()
        rows = [answered(store, **changed) for _ in range(n)]
        with store._writer.paused(caught_up=False):
            n_frames = len(list(read_frames(journal_path(store._database.path).read_bytes())))
            if n_frames == n:
                yield rows


def unread(live: Path, left: Path) -> Path:
    """A store as a kill leaves it: some answers in DuckDB, some and a feedback in the journal."""
    with Store.open(live / "pawl.duckdb") as store:
        for _ in range(N_READ):
            answered(store)
        while True:
            store.flush()
            last = [answered(store) for _ in range(N_UNREAD)][-1]
            said(store, last, thumb="up")
            with store._writer.paused(caught_up=False):
                raw = journal_path(live / "pawl.duckdb").read_bytes()
                if len(list(read_frames(raw))) == N_UNREAD + 1:  # the machine was quick enough
                    shutil.copytree(live, left)
                    os.truncate(journal_path(left / "pawl.duckdb"), end_of_frames(raw))
                    return left / "pawl.duckdb"


def end_of_frames(raw: bytes) -> int:
    """Where zeros or older frames begin."""
    place = newest = 0
    while (found := _frame_at(raw, place))[0] is not None and found[0].last > newest:
        newest, place = found[0].last, found[1]
    return place


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return unread(folder / "live", folder / "left")


@pytest.fixture
def killed(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made.parent, tmp_path / "killed")) / made.name


def n_there(path: Path) -> int:
    """Answers and feedback of a store that goes on, each there once."""
    with Store.open(path) as store:
        store.verify()
        ids = [one.completion_id for one in store.completions()]
        feedback = [one.feedback_id for one in store.feedback_history()]
        answered(store)  # it can be written
        assert store.completions()[-1].completion_id not in ids
    assert len({*ids, *feedback}) == len(ids) + len(feedback)
    return len(ids) + len(feedback)


def state(folder: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.suffix != ".lock"}


def test_what_was_unread_at_a_kill_comes_back_once(killed: Path) -> None:
    with Store.open(killed) as store:
        assert journal_path(killed).stat().st_size == 0
        assert store.counts()["completions"] >= N_READ + N_UNREAD
        first = store.feedback_history()[-1]
        assert submit(
            store, {"completion_id": first.completion_id, "thumb": "down",
                    "idempotency_key": first.idempotency_key}, "ann",
        ) == (first, True)  # fmt: skip
    assert not journal_path(killed).exists()  # an orderly end leaves none
    n = n_there(killed)
    assert n_there(killed) == n + 1


@pytest.mark.slow
def test_a_kill_while_it_is_brought_in(killed: Path) -> None:
    expected = n_there(Path(shutil.copytree(killed.parent, killed.parent / "copy")) / killed.name)
    frames = list(read_frames(journal_path(killed).read_bytes()))
    connection = connect(killed)
    apply_frames(connection, frames[:2])
    connection.close()
    assert n_there(killed) == expected


def test_the_next_request_finds_what_was_just_acknowledged(store: Store) -> None:
    for _ in range(20):
        completion = answered(store)
        assert submit(store, {"completion_id": completion.completion_id, "thumb": "up"}, "ann")
        assert store.current_feedback(completion.completion_id)[0].thumb == "up"


def test_a_repeat_of_what_only_the_journal_has_is_told(store: Store) -> None:
    said(store, "c", idempotency_key="k", thumb="up")
    first = said(store, "c", idempotency_key="k2", thumb="up")
    assert said(store, "c", idempotency_key="k2", thumb="down") == first
    rows = [make_feedback("c", idempotency_key="k3") for _ in range(3)]
    futures = [store.append_feedback(row) for row in rows]
    assert {future.result(timeout=60).feedback_id for future in futures} == {rows[0].feedback_id}
    assert len(store.feedback_history()) == 3


def test_a_repeat_after_another_write_is_no_end_of_the_journal(tmp_path: Path) -> None:
    with Store.open(tmp_path / "pawl.duckdb") as store:
        first = said(store, "c", idempotency_key="k", thumb="up")
        store.append_run({"run_id": "run-1", "status": "done"}).result(timeout=60)
        assert said(store, "c", idempotency_key="k", thumb="up") == first
    with Store.open(tmp_path / "pawl.duckdb") as store:
        assert store.feedback_history() == [first]


@pytest.mark.slow
@pytest.mark.parametrize("keep", [1, 3, 4, 8, 11, 12, 13, 200, -1])
def test_a_torn_end_is_what_a_kill_leaves(killed: Path, keep: int) -> None:
    """``keep``: bytes of an append that was never acknowledged."""
    expected = n_there(Path(shutil.copytree(killed.parent, killed.parent / "copy")) / killed.name)
    raw = journal_path(killed).read_bytes()
    with journal_path(killed).open("ab") as file:
        file.write(raw[:keep] if keep > 0 else raw[: raw.find(b"PWJ1", 1) - 1] + bytes(4096))
    assert n_there(killed) == expected


@pytest.mark.slow
def test_older_frames_behind_the_newest_are_no_damage(tmp_path: Path) -> None:
    """A frame is written over those that DuckDB has."""
    path, copy = tmp_path / "live" / "pawl.duckdb", tmp_path / "copy" / "pawl.duckdb"
    with Store.open(path) as store:
        for _ in range(5):
            answered(store, completion="longer than what comes then" * 9)
        with unread_rows(store, 1):
            shutil.copytree(path.parent, copy.parent)
    raw = journal_path(copy).read_bytes()
    end = end_of_frames(raw)
    assert len(list(find_frames(raw))) > len(list(read_frames(raw))) == 1
    torn = raw[:end] + raw[: end // 2] + raw[end + end // 2 :]
    for left in (raw, torn):
        folder = Path(shutil.copytree(copy.parent, tmp_path / f"copy-{left == raw}"))
        journal_path(folder / copy.name).write_bytes(left)
        assert n_there(folder / copy.name) == 6
    for place in (0, end - 1):
        journal_path(copy).write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        with pytest.raises(PawlError, match="pawl salvage"):
            Store.open(copy)


def _change(place: float) -> Callable[[Path], object]:
    def change(journal: Path) -> None:
        raw = bytearray(journal.read_bytes())
        raw[int(place * (len(raw) - 1))] ^= 1
        journal.write_bytes(raw)

    return change


def _cut_out(first: int, last: int) -> Callable[[Path], object]:
    """Without some of the frames."""

    def cut(journal: Path) -> None:
        raw = journal.read_bytes()
        places = [n for n in range(len(raw)) if raw.startswith(b"PWJ1", n)] + [len(raw)]
        journal.write_bytes(raw[: places[first]] + raw[places[last] :])

    return cut


DAMAGE: dict[str, tuple[Callable[[Path], object], int]] = {
    # what happened to it, and how many of its rows are lost
    "gone": (lambda journal: journal.unlink(), N_UNREAD + 1),
    "emptied": (lambda journal: os.truncate(journal, 0), N_UNREAD + 1),
    "without its first frame": (_cut_out(0, 1), 1),
    "without a frame in its midst": (_cut_out(2, 3), 1),
    "without its end": (_cut_out(3, 5), 2),
    "cut by a byte": (lambda journal: os.truncate(journal, journal.stat().st_size - 1), 1),
    "changed at its beginning": (_change(0), 1),
    "changed in its middle": (_change(0.5), 1),
    "changed at its end": (_change(1), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGE)
def test_a_spoilt_journal_is_refused_and_salvaged(killed: Path, name: str) -> None:
    whole = n_there(Path(shutil.copytree(killed.parent, killed.parent / "copy")) / killed.name)
    shutil.rmtree(killed.parent / "copy")
    damage, n_lost = DAMAGE[name]
    damage(journal_path(killed))
    before = state(killed.parent)
    for _ in range(2):
        with pytest.raises(PawlError, match="pawl salvage") as error:
            Store.open(killed)
        assert error.value.code == "store_damaged"
        assert state(killed.parent) == before
    result = salvage(killed)
    assert result.kept is not None
    assert state(result.kept) == before
    assert result.n_lost == n_lost
    assert n_there(killed) == whole - n_lost


@pytest.mark.slow
def test_another_store_s_journal_is_refused(killed: Path, tmp_path: Path) -> None:
    other = unread(tmp_path / "live", tmp_path / "other")
    shutil.copy(journal_path(other), journal_path(killed))
    with pytest.raises(PawlError, match="another store"):
        Store.open(killed)
    assert salvage(killed).n_lost == N_UNREAD + 1


@pytest.mark.slow
def test_a_store_older_than_its_journal_is_refused(killed: Path, tmp_path: Path) -> None:
    """A copy of the database alone, from before, with no mark."""
    old = tmp_path / "old" / "pawl.duckdb"
    with Store.open(Path(shutil.copytree(killed.parent, tmp_path / "new")) / killed.name) as store:
        old.parent.mkdir()
        shutil.copy(killed, old)
        answered(store)
        with unread_rows(store, 1):
            shutil.copy(journal_path(store._database.path), journal_path(old))
    with pytest.raises(PawlError, match=r"are not in its \.journal"):
        Store.open(old)


def test_one_that_is_taken_away_from_an_open_store_costs_no_row(tmp_path: Path) -> None:
    path = tmp_path / "live" / "pawl.duckdb"
    with Store.open(path) as store:
        rows = [answered(store)]
        for _ in range(3):
            journal_path(path).unlink()
            rows += [answered(store), answered(store)]
        with store._writer.paused(caught_up=False):  # whether the last are unread or not
            shutil.copytree(path.parent, tmp_path / "copy")
    for folder in (path.parent, tmp_path / "copy"):
        with Store.open(folder / "pawl.duckdb") as store:
            assert store.completions() == rows


@pytest.mark.slow
def test_rows_of_an_older_schema_come_in_before_a_migration(killed: Path) -> None:
    number = max(one.number for one in MIGRATIONS) + 1
    newer = Migration(number, "more", ("UPDATE completions SET rater_id = 'everyone'",))
    with Store.open(killed, (*MIGRATIONS, newer)) as store:
        assert {one.rater_id for one in store.completions()} == {"everyone"}
        assert len(store.completions()) >= N_READ + N_UNREAD


@pytest.mark.slow
def test_a_second_owner_leaves_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        for _ in range(10):
            answered(store)
            with pytest.raises(PawlError) as error:
                Store.open(path)
            assert error.value.code == "locked"
        assert store.counts()["completions"] == 10


def test_it_stays_small(store: Store) -> None:
    journal, most = journal_path(store._database.path), 0
    for _ in range(60):
        futures = [store.append_completion(make_completion(completion="x" * 200_000))
                   for _ in range(4)]  # fmt: skip
        for future in futures:
            future.result(timeout=60)
        most = max(most, journal.stat().st_size)
    assert 0 < most < 10_000_000
    assert store.counts()["completions"] == 240


def test_a_forgotten_person_is_gone_from_the_journal(store: Store, settings: Settings) -> None:
    secret, other = "a secret about Zürich", "another's words"
    answered(store, rater_id="bob", completion=other)
    with unread_rows(store, 1, rater_id="ann", completion=secret):
        assert secret.encode() in journal_path(settings.database_path).read_bytes()
    forget(store, settings, "ann", "ann")
    store.close()
    files = [path.read_bytes() for path in settings.state_dir.rglob("*") if path.is_file()]
    assert not any(secret.encode() in raw for raw in files)
    assert any(other.encode() in raw for raw in files)


def test_a_backup_has_what_the_journal_had(store: Store, settings: Settings) -> None:
    rows = [answered(store) for _ in range(3)]
    copy = copy_store(store, settings.state_dir)
    answered(store)
    backup = settings.state_dir.with_name("backup.tar")
    write_backup(settings.state_dir, copy, backup)
    again = settings.state_dir.with_name("again")
    restore(backup, again)
    with Store.open(again / "pawl.duckdb") as restored:
        assert restored.completions() == rows


def fill(path: Path) -> None:
    """Take all room that is left."""
    with path.open("wb", buffering=0) as file:
        for size in (100_000, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


def test_a_disk_that_others_fill_while_rows_wait(small_disk: Path, tmp_path: Path) -> None:
    path = small_disk / "state" / "pawl.duckdb"
    store = Store.open(path)
    with unread_rows(store, 3, completion=os.urandom(100_000).hex()) as rows:
        fill(small_disk / "filler")
        shutil.copytree(path.parent, tmp_path / "copy")
    with pytest.raises(PawlError) as error:
        answered(store)
    assert error.value.code == "store_full"
    with pytest.raises(PawlError) as error:  # rather than answers without the newest
        store.completions()
    assert error.value.code == "store_full"
    n_before = len(rows)
    (small_disk / "filler").unlink()
    rows.append(answered(store))
    assert store.completions()[-len(rows) :] == rows
    store.close()
    with Store.open(path) as store:
        assert store.completions()[-len(rows) :] == rows
    with Store.open(tmp_path / "copy" / "pawl.duckdb") as store:  # killed while it was full
        assert store.completions()[-n_before:] == rows[:n_before]
