"""The file under its readers: opened again although people never stop reading."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import duckdb
import pytest

from feedback.database import Database
from feedback.store import Store
from tests.feedback.examples import answered


def test_opening_again_waits_for_old_reads_and_new_reads_wait_for_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "pawl.duckdb")
    before = database._root
    seen: list[bool] = []

    def read() -> None:
        with database.reading() as cursor:
            cursor.execute("SELECT 1").fetchone()
            seen.append(database._root is not before)

    with database.reading() as cursor:
        opener = threading.Thread(target=database.reopen, daemon=True)
        opener.start()
        deadline = time.monotonic() + 30
        while not database._stopping_reads:
            assert time.monotonic() < deadline, "nobody asked the readers to stop"
            time.sleep(0.001)
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        reader.join(timeout=0.3)
        assert reader.is_alive()  # else steady reads could keep the store shut for ever
        assert cursor.execute("SELECT 2").fetchone() == (2,)  # the one under way goes on
    opener.join(timeout=30)
    reader.join(timeout=30)
    assert seen == [True]
    database.close()


@pytest.mark.slow
def test_a_file_that_duckdb_made_shorter_itself_opens(tmp_path: Path) -> None:
    """After a checkpoint DuckDB cuts free blocks off the file's end, which its header still counts:
    such a file was once called cut short, and nothing could open it."""
    path = tmp_path / "store.duckdb"
    was_shorter = 0
    for n in range(32):
        database = Database(path)
        connection = database.writing()
        connection.execute("CREATE TABLE IF NOT EXISTS t (i BIGINT, s VARCHAR)")
        rows = f"SELECT range, md5(range::VARCHAR || '{n}') FROM range({200 + n * 37})"
        connection.execute(f"INSERT INTO t {rows}")
        database.checkpoint()
        database.close()
        with duckdb.connect(str(path), read_only=True) as plain:
            row = plain.execute(
                "SELECT block_size * total_blocks FROM pragma_database_size()"
            ).fetchone()
        assert row is not None
        was_shorter += path.stat().st_size < row[0]
    assert was_shorter, "DuckDB no longer does it: see feedback/database.py"


def test_what_a_night_reads_needs_little_memory(tmp_path: Path) -> None:
    """50 MB of conversations are read under a limit of 60: no query holds what it chooses from."""
    path = tmp_path / "pawl.duckdb"
    with Store.open(path) as store:
        first = answered(store)
    with duckdb.connect(str(path)) as plain:
        plain.execute(
            "INSERT INTO completions SELECT completions.* REPLACE (seq + n AS seq,"
            " 'c' || n AS completion_id, 'v' || n AS conversation_id,"
            """ '[{"role":"user","content":"' || repeat(md5(n::VARCHAR), 300) || '"}]'"""
            " AS messages_json) FROM completions, range(1, 5001) numbers(n)"
        )
    with Store.open(path) as store:
        store.read("SET memory_limit = '60MB'")
        n_flagged, n_others, answers = store.traffic("seed", 50)
        assert (n_flagged, n_others, len(answers)) == (0, 5001, 50)
        prompts = store.newest_prompts(50)
        assert [one.completion_id for one in prompts] == [f"c{5000 - n}" for n in range(50)]
        newest = store.completions(newest_bytes=100_000)
        assert [one.completion_id for one in newest] == [f"c{n}" for n in range(4991, 5001)]
        assert store.conversations.of(first.rater_id, limit=1)[1] == 5001
