"""The journal: what an acknowledged row costs, and a start after a kill with many unread rows.

    python -m benchmarks.journal [--rows 100000] [--appends 500]

Rows are answers of 1.5 kB. Appends: one after the other, each waited for, by turns to the journal
(an answer) and to DuckDB (the state of a run, of the same size), and likewise 32 at a time.

Starts: a journal of ``--rows`` answers is written beside an empty store, as a server would leave it
that was killed before DuckDB got any of them, and the opening of the store is timed against one
without. A server that runs keeps 8 MB at most. All rows must be there once.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.figures import milliseconds, ratio_in_words
from benchmarks.measurements import finish
from feedback.journal import Journal, journal_path, read_state
from feedback.store import Store
from feedback.tables import row_of, table_columns
from tests.feedback.examples import make_completion

MOST_SECONDS_MORE = 5.0
AT_ONCE = 32
ROUNDS = 5
TEXT = "The office in Lyon is open from eight to six, on Fridays until four. " * 14


def seconds_of_appends(folder: Path, n: int) -> dict[str, str]:
    """Acknowledged appends, journal and DuckDB by turns."""
    answer = make_completion(completion=TEXT)
    single: dict[str, list[float]] = {"journal": [], "duckdb": []}
    together: dict[str, list[float]] = {"journal": [], "duckdb": []}
    with Store.open(folder / "appends" / "pawl.duckdb") as store:
        numbers = iter(range(1_000_000))
        appends: dict[str, Callable[[], Future[Any]]] = {
            "journal": lambda: store.append_completion(
                replace(answer, completion_id=f"chatcmpl-{next(numbers)}")
            ),
            "duckdb": lambda: store.append_run(
                {"run_id": f"run-{next(numbers)}", "status": "done", "detail": {"text": TEXT}}
            ),
        }
        for _ in range(ROUNDS):
            for arm, append in appends.items():
                store.flush()
                for _ in range(n // ROUNDS):
                    began = time.perf_counter()
                    append().result()
                    single[arm].append(time.perf_counter() - began)
                for _ in range(max(1, n // ROUNDS // AT_ONCE)):
                    began = time.perf_counter()
                    for future in [append() for _ in range(AT_ONCE)]:
                        future.result()
                    together[arm].append(time.perf_counter() - began)
    return {
        f"{name}, {arm}": milliseconds(found[arm])
        for name, found in (("one acknowledged row", single), (f"{AT_ONCE} at a time", together))
        for arm in ("journal", "duckdb")
    } | {
        "one row, journal / DuckDB": ratio_in_words(
            [statistics.median(one) for one in _rounds(single["journal"])],
            [statistics.median(one) for one in _rounds(single["duckdb"])],
        )
    }


def _rounds(seconds: list[float]) -> list[list[float]]:
    size = len(seconds) // ROUNDS
    return [seconds[n : n + size] for n in range(0, size * ROUNDS, size)]


def write_unread(path: Path, n_rows: int) -> None:
    """A store whose journal has ``n_rows`` answers that DuckDB lacks."""
    with Store.open(path) as store:
        with store.rewriter.database.reading() as cursor:
            columns, state = table_columns(cursor), read_state(cursor)
        first = 1 + max(store.newest_seq(), 1_000)  # above every row that opening wrote
    assert state is not None
    answer = make_completion(completion=TEXT)
    journal = Journal(path, *state)
    for begin in range(0, n_rows, AT_ONCE):
        numbers = range(begin, min(begin + AT_ONCE, n_rows))
        rows = [(first + n, *row_of(replace(answer, completion_id=f"chatcmpl-{n}")))
                for n in numbers]  # fmt: skip
        journal.append(columns, {"completions": rows})
    journal.close()


def seconds_of_start(path: Path, n_expected: int) -> float:
    began = time.perf_counter()
    with Store.open(path) as store:
        seconds = time.perf_counter() - began
        [found] = store.read("SELECT count(*), count(DISTINCT completion_id) FROM completions")
        if found != (n_expected, n_expected):
            raise SystemExit(f"{n_expected:,} rows were unread, {found} are there")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--appends", type=int, default=500)
    args = parser.parse_args()
    more = []
    with tempfile.TemporaryDirectory(prefix="pawl-journal-") as name:
        folder = Path(name)
        figures = seconds_of_appends(folder, max(ROUNDS, args.appends))
        for n in range(3):
            plain, full = (folder / f"{kind}-{n}" / "pawl.duckdb" for kind in ("plain", "full"))
            write_unread(plain, 0)
            write_unread(full, args.rows)
            size = journal_path(full).stat().st_size
            more.append(seconds_of_start(full, args.rows) - seconds_of_start(plain, 0))
    figures |= {
        "unread rows": f"{args.rows:,}, {size / 1e6:.0f} MB",
        "the start takes longer by": f"median {statistics.median(more):.2f} s "
        f"({min(more):.2f} to {max(more):.2f}, 3 rounds)",
    }
    missed = [] if statistics.median(more) <= MOST_SECONDS_MORE else ["a start within 5 s more"]
    finish("journal", "The journal of answers and feedback", figures, missed=missed)


if __name__ == "__main__":
    main()
