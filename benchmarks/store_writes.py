"""Rows a second into the store: the group-committing writer against a commit for each row.

    python -m benchmarks.store_writes [--clients 32] [--seconds 3] [--rounds 3]

Every client waits for the acknowledgement of its row before it sends the next, as the gateway
does. The arms take turns, each on an empty file of its own; the ratio is what counts, since the
rows a second are those of the disk. A third arm queues without waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from concurrent.futures import Future
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from benchmarks.measurements import record, typed
from feedback.migrations import migrate
from feedback.store import Store
from feedback.tables import COMPLETION_COLUMNS, row_of
from pawl.schemas import Completion, utc_now

_PLAIN = Completion(
    completion_id="",
    choice_index=0,
    conversation_id="conversation",
    rater_id="rater",
    created_at=utc_now(),
    asked_model="pawl",
    version="pawl@3",
    base_model="smollm2-135m",
    base_fingerprint="sha256:" + "0" * 64,
    messages=[{"role": "user", "content": "What is the capital of Australia? " * 8}],
    completion="The capital of Australia is Canberra. " * 12,
    finish_reason="stop",
    status="complete",
    sampling={"temperature": 0.7, "max_tokens": 256},
    n_prompt_tokens=64,
    n_completion_tokens=96,
    first_token_seconds=0.05,
    total_seconds=1.0,
    streamed=True,
)


def grouped(path: Path, n_clients: int, seconds: float) -> tuple[float, list[float]]:
    """Rows a second and each row's wait in seconds, through ``Store``."""
    waits: list[float] = []
    numbers = count()

    async def client(store: Store, until: float) -> None:
        while (sent := time.perf_counter()) < until:
            row = replace(_PLAIN, completion_id=f"chatcmpl-{next(numbers)}")
            await asyncio.wrap_future(store.append_completion(row))
            waits.append(time.perf_counter() - sent)

    async def all_clients(store: Store) -> None:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(client(store, until) for _ in range(n_clients)))

    with Store.open(path) as store:
        began = time.perf_counter()
        asyncio.run(all_clients(store))
        rate = len(waits) / (time.perf_counter() - began)
        assert store.counts()["completions"] == len(waits)
    return rate, waits


def autocommitted(path: Path, seconds: float) -> float:
    """Rows a second with one INSERT and one commit a row, on the same table."""
    import duckdb

    with duckdb.connect(str(path), config={"threads": 2}) as connection:
        migrate(connection)
        n_columns = len(COMPLETION_COLUMNS.split(",")) + 1
        insert = f"INSERT INTO completions VALUES ({', '.join('?' * n_columns)})"
        began, n = time.perf_counter(), 0
        while time.perf_counter() < began + seconds:
            row = replace(_PLAIN, completion_id=f"chatcmpl-{n}")
            connection.execute(insert, [n, *row_of(row)])
            n += 1
        return n / (time.perf_counter() - began)


def queued(path: Path, n_rows: int) -> float:
    """Rows a second when nobody waits for a single row."""
    with Store.open(path) as store:
        began = time.perf_counter()
        futures: list[Future[Any]] = [
            store.append_completion(replace(_PLAIN, completion_id=f"chatcmpl-{n}"))
            for n in range(n_rows)
        ]
        for one in futures:
            one.result()
        return n_rows / (time.perf_counter() - began)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--dir", type=Path, default=Path.cwd(), help="on the disk to measure")
    options.add_argument("--no-record", action="store_true", help="print only")
    given = options.parse_args()
    rates: dict[str, list[float]] = {"auto": [], "grouped": [], "queued": []}
    waits: list[float] = []
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory(dir=given.dir, prefix=".store_writes-") as folder:
            rates["auto"].append(autocommitted(Path(folder) / "auto.duckdb", given.seconds))
            rate, waited = grouped(Path(folder) / "group.duckdb", given.clients, given.seconds)
            rates["grouped"].append(rate)
            waits += waited
            rates["queued"].append(queued(Path(folder) / "queued.duckdb", 10_000))
    ratios = [g / a for g, a in zip(rates["grouped"], rates["auto"], strict=True)]
    p50, p99 = statistics.median(waits), statistics.quantiles(waits, n=100)[98]
    figures = {
        "a commit for each row": f"{statistics.median(rates['auto']):,.0f} rows/s",
        f"group commit, {given.clients} clients that wait": (
            f"{statistics.median(rates['grouped']):,.0f} rows/s, "
            f"{statistics.median(ratios):.1f} times as many "
            f"({min(ratios):.1f} to {max(ratios):.1f} over {given.rounds} rounds)"
        ),
        "wait for an acknowledgement": f"median {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms",
        "group commit, nobody waits": f"{statistics.median(rates['queued']):,.0f} rows/s",
    }
    for name, figure in figures.items():
        print(f"{name}: {figure}")
    if given.no_record:
        return
    record(
        "store-writes",
        "Writing to the store",
        typed(),
        figures,
        note=f"Every row is acknowledged after its commit is on disk (fsync), {os.cpu_count()} "
        "logical cores; a row holds about 1 kB.",
    )


if __name__ == "__main__":
    main()
