"""The file under its readers: opened again although people never stop reading."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import duckdb
import pytest

from feedback.database import Database


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
