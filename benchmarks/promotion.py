"""Does a promotion hold streams up? Many of them on the real engine while the champion moves.

    python -m benchmarks.promotion [--moves 8] [--streams 16] [--seconds 20] [--model smollm2-135m]

``pawl up`` with the real engine, and two adapters of rank 16 that were trained to answer with one
letter each. Streams run without pause. The first adapter is promoted; then, by turns, ``--seconds``
pass without a move and the other adapter is promoted, with its loading, its probe and its answers'
first tokens. A silence is the time between two pieces of one answer. Those that overlap a move
count as its own, all others as steady. Bar: the longest silence of a move, median over the moves,
is 1.3 times the steady 99th percentile at most.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import threading
import time
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import aiohttp
import httpx

from benchmarks.figures import percentile
from benchmarks.measurements import finish
from pawl.engine_support import dtype_for
from pawl.models import resolve_model
from pawl.server import api_key_of, serving
from pawl.settings import DEFAULT_MODEL, Settings, load_settings
from tests.adapters_for_tests import approved_run, marker_adapter

BAR = 1.3
RANK, FEWEST_TOKENS, MOST_TOKENS = 16, 16, 96  # of an answer; drawn, lest all end together
Span = tuple[float, float]  # seconds of time.monotonic


async def stream_on(url: str, number: int, stop: threading.Event, found: list[Span]) -> None:
    """Ask again and again; note each silence within an answer by its begin and end."""
    draw = random.Random(number)
    timeout = aiohttp.ClientTimeout(total=300)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        n = 0
        while not stop.is_set():
            n += 1
            asked = f"stream {number}, question {n}: what is a tide?"
            body = {
                "model": "pawl", "stream": True, "messages": [{"role": "user", "content": asked}],
                "max_tokens": draw.randint(FEWEST_TOKENS, MOST_TOKENS),
            }  # fmt: skip
            pieces_at = []
            async with session.post(url + "/v1/chat/completions", json=body) as answer:
                answer.raise_for_status()
                async for line in answer.content:
                    if line.startswith(b'data: {"error"'):
                        raise RuntimeError(line.decode())
                    if line.startswith(b"data: {"):
                        pieces_at.append(time.monotonic())
            found.extend(pairwise(pieces_at))


def silences(moves: list[Span], spans: list[Span]) -> tuple[list[float], list[list[float]]]:
    """Seconds of those that touch no move, and of those that overlap each."""
    steady = [
        end - begin for begin, end in spans
        if not any(begin < until and end > since for since, until in moves)
    ]  # fmt: skip
    return steady, [
        [end - begin for begin, end in spans if begin < until and end > since]
        for since, until in moves
    ]


def promote(http: httpx.Client, settings: Settings, n: int, adapter_dir: Path) -> Span:
    """As a night does: a run with the gate's verdict beside the adapter."""
    champion = http.get("/admin/status").raise_for_status().json()["champion"]
    approved_run(settings.runs_dir, f"run-{n}", adapter_dir, champion)
    began = time.monotonic()
    moved: dict[str, Any] = http.post("/admin/promotions", json={"run_dir": f"run-{n}"}).json()
    if moved.get("outcome") != "live":
        raise RuntimeError(f"the promotion ended otherwise: {moved}")
    return began, time.monotonic()


def measure(
    url: str, settings: Settings, adapters: list[Path], args: argparse.Namespace
) -> tuple[list[Span], list[Span]]:
    """The moves, and all silences after the first promotion."""
    stop = threading.Event()
    spans: list[Span] = []
    moves: list[Span] = []

    async def load() -> None:
        await asyncio.gather(*(stream_on(url, n, stop, spans) for n in range(args.streams)))

    faults: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(load())
        except BaseException as err:
            faults.append(err)

    headers = {"Authorization": f"Bearer {api_key_of(settings)}"}
    with httpx.Client(base_url=url, headers=headers, timeout=300) as http:
        promote(http, settings, 0, adapters[0])
        loading = threading.Thread(target=run)
        loading.start()
        try:
            time.sleep(args.seconds)  # the first answers' prompts and kernels
            warm_at = time.monotonic()
            for n in range(1, args.moves + 1):
                time.sleep(args.seconds)
                moves.append(promote(http, settings, n, adapters[n % 2]))
                print(f"move {n}: {moves[-1][1] - moves[-1][0]:.2f} s", flush=True)
            time.sleep(args.seconds)
        finally:
            stop.set()
            loading.join(300)
    if faults:
        raise RuntimeError(f"a stream failed: {faults[0]}")
    return moves, [(begin, end) for begin, end in spans if begin > warm_at]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moves", type=int, default=8)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20, help="without a move before each")
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-promotion-") as name:
        folder = Path(name)
        settings = load_settings({"state_dir": folder / "state", "model": args.model})
        base = resolve_model(args.model, cache_dir=settings.state_dir)
        dtype = dtype_for(base.model_dir, settings.engine.dtype)
        adapters = [
            marker_adapter(folder / one, base, one, rank=RANK, probed_in=dtype) for one in "xy"
        ]
        with serving(settings, say=print) as server:
            moves, spans = measure(server.url, settings, adapters, args)
    steady, moved = silences(moves, spans)
    p99 = percentile(steady, 0.99)
    longest = [max(one) for one in moved]
    ratio = statistics.median(longest) / p99
    seconds = [end - begin for begin, end in moves]
    figures = {
        "silences without a move": f"{len(steady):,}: median {1e3 * statistics.median(steady):.0f}"
        f" ms, p99 {1e3 * p99:.0f} ms, longest {1e3 * max(steady):.0f} ms",
        "silences during moves": f"{sum(map(len, moved)):,}: "
        f"median {1e3 * statistics.median(chain.from_iterable(moved)):.0f} ms",
        "the longest of each move": f"median {1e3 * statistics.median(longest):.0f} ms "
        f"({1e3 * min(longest):.0f} to {1e3 * max(longest):.0f} over {len(moves)} moves), "
        f"{ratio:.2f} times the steady p99 (bar {BAR})",
        "a move": f"{statistics.median(seconds):.2f} s (median), {max(seconds):.2f} s (longest)",
    }
    missed = [f"{ratio:.2f} times instead of {BAR}"] if ratio > BAR else []
    finish(
        "promotion", "Streams while a version is promoted", figures, missed=missed,
        keep=not args.no_record,
        note=f"{args.model}, {args.streams} streams of {FEWEST_TOKENS} to {MOST_TOKENS} tokens, "
        f"adapters of rank {RANK}.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
