"""The file under its readers: opened again although people never stop reading."""

from __future__ import annotations

import threading
import time
from pathlib import Path

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
