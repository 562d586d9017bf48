"""Replicas that are taken out and brought back under load, and replicas by load.

    python -m benchmarks.draining [--streams 16] [--no-record]

Before the engine of ``benchmarks.replicas``. Each of three replicas is taken out and brought back
while streams run without pause; each stream has to end whole. Then ``engine.max_replicas``: from
the first stream on until all three answer, and from the last one until one is left.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from benchmarks.measurements import finish
from benchmarks.replicas import (
    N_REPLICAS,
    N_STREAMS_EACH,
    N_TOKENS,
    SECONDS_PER_ANSWER,
    SPEED,
    STEP_SECONDS,
    load,
    server,
)
from feedback.store import Store
from tests.serve.live import Operator


def replicas_of(url: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = httpx.get(url + "/health", timeout=60).json()["engine"][
        "replicas"
    ]
    return found


def is_state(url: str, index: int, state: str) -> bool:
    return bool(replicas_of(url)[index]["state"] == state)


def until(holds: Callable[[], bool], what: str, seconds: float = 120) -> float:
    """Wait; the seconds that it took."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() > began + seconds:
            raise TimeoutError(what)
        time.sleep(0.05)
    return time.monotonic() - began


def measure_drain(folder: Path, n_streams: int) -> tuple[dict[str, object], list[str]]:
    with server(folder, N_REPLICAS, *SPEED) as (url, settings, _):
        auth, stop = Operator(settings.state_dir), threading.Event()
        drained, back = [], []
        with ThreadPoolExecutor(1) as pool:
            loading = pool.submit(lambda: asyncio.run(load(url, n_streams, 600, stop)))
            time.sleep(3)
            for _ in range(2):
                for n in range(N_REPLICAS):
                    path = f"{url}/admin/replicas/{n + 1}/"
                    httpx.post(path + "drain", json={}, auth=auth, timeout=60).raise_for_status()
                    drained.append(until(partial(is_state, url, n, "off"), "it is drained"))
                    httpx.post(path + "return", json={}, auth=auth, timeout=60).raise_for_status()
                    back.append(until(partial(is_state, url, n, "ready"), "it is back"))
            stop.set()
            streams = loading.result()
    with Store.open(settings.database_path) as store:
        lost = [one for one in streams.whole if store.get_completion(one) is None]
    others = {end: n for end, n in streams.ends.items() if end != "whole"}
    figures: dict[str, object] = {
        f"each of three taken out and back twice, under {n_streams} streams":
            f"{len(streams.whole)} answers whole, {others or 'none otherwise'}",
        "acknowledged answers without a row": len(lost),
        "taken out until it has stopped": f"{statistics.median(drained):.1f} s (median), "
        f"{max(drained):.1f} s (longest); an answer alone takes "
        f"{N_TOKENS * (STEP_SECONDS + SECONDS_PER_ANSWER):.1f} s",
        "brought back until it answers": f"{statistics.median(back):.1f} s (median)",
    }  # fmt: skip
    missed = [f"{sum(others.values())} answers did not end whole"] if others else []
    return figures, missed + ([f"{len(lost)} rows lost"] if lost else [])


def measure_load(folder: Path) -> tuple[dict[str, object], list[str]]:
    bounds = {"engine.max_replicas": N_REPLICAS, "engine.max_concurrent_requests": N_STREAMS_EACH,
              "engine.scale_up_seconds": 2, "engine.scale_down_seconds": 10}  # fmt: skip
    n_streams, stop = N_REPLICAS * N_STREAMS_EACH, threading.Event()
    with server(folder, 1, *SPEED, more=bounds) as (url, *_), ThreadPoolExecutor(1) as pool:
        loading = pool.submit(lambda: asyncio.run(load(url, n_streams, 600, stop)))
        began = time.monotonic()
        up_seconds = until(lambda: len(serving(url)) == N_REPLICAS, "all are there")
        full_at = time.monotonic()
        time.sleep(12)
        stop.set()
        streams, stopped_at = loading.result(), time.monotonic()
        until(lambda: len(serving(url)) == 1, "one is left")
        down_seconds = time.monotonic() - stopped_at
    before = [at for at in streams.tokens_at if began + 1 < at < began + 2]
    with_all = [at for at in streams.tokens_at if full_at + 2 < at < full_at + 12]
    others = {end: n for end, n in streams.ends.items() if end != "whole"}
    figures: dict[str, object] = {
        f"one to three by load, {n_streams} streams from the start":
            f"three answer after {up_seconds:.1f} s; one is left "
            f"{down_seconds:.1f} s after the end",
        "its settings": "an answer waits for 2 s, one fewer would do for 10 s",
        "tokens/s in its second second, and with three": f"{len(before)}, {len(with_all) / 10:.0f}",
        "its answers": f"{len(streams.whole)} whole, {others or 'none otherwise'}",
    }  # fmt: skip
    return figures, [f"{sum(others.values())} answers did not end whole"] if others else []


def serving(url: str) -> list[dict[str, Any]]:
    return [one for one in replicas_of(url) if one["state"] == "ready" and not one["is_out"]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--no-record", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for part in ("drain", "load"):
            (Path(name) / part).mkdir()
        figures, missed = measure_drain(Path(name) / "drain", args.streams)
        by_load, short = measure_load(Path(name) / "load")
    note = (
        "Before the tests' small engine: a token takes 50 ms, and 5 ms more for each answer beside "
        "it, by sleeping. Clients and server share the machine."
    )
    finish("draining", "Replicas taken out, and by load", {**figures, **by_load},
           missed=missed + short, note=note, keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
