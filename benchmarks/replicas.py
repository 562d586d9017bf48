"""Three engines behind one server: promotions under load, one that is killed, and what three give.

    python -m benchmarks.replicas [--moves 20] [--streams 16] [--seconds 20] [--no-record]

Before the tests' small engine, which takes as long for a token as a model would that generates for
several at once (a sleep: 50 ms, and 5 ms more for each answer beside it), so that the figures are
those of the gateway and not of the cores.

- moves: promotions and rollbacks over three replicas while streams run without pause. Each token of
  an answer is a letter of the weights that were loaded then, so an answer of two versions is seen.
- kill: ``kill -9`` of an engine in the midst of streams. Each stream ends whole or with an error
  event, each whole answer has its row, and the others answer on.
- three: tokens a second of 48 streams on three replicas, against 16 on one. Rounds of both are
  interleaved; the median counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import aiohttp
import httpx

from benchmarks.fake_server import fake_server
from benchmarks.measurements import finish
from feedback.store import Store
from pawl.files import read_json
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine.session import members
from tests.adapters_for_tests import light_adapter, light_base
from tests.serve.fake_vllm import letter_of
from tests.serve.promotions_under_load import check, drive

CHAT = "/v1/chat/completions"
N_REPLICAS = 3
STEP_SECONDS, SECONDS_PER_ANSWER = 0.05, 0.005
N_STREAMS_EACH = 16  # of a replica, when throughput is measured
N_TOKENS = 40
LINEAR = 0.85  # bar: of three times one
SPEED = ("--speed", "64", str(STEP_SECONDS), str(SECONDS_PER_ANSWER))
NOTE = (
    "Before the tests' small engine: a token takes 50 ms, and 5 ms more for each answer beside "
    "it, by sleeping. Clients and server share the machine."
)
MOVE_SPEED = ("--speed", "64", "0.01", "0.0005")  # so that answers begin and end under each version


@dataclass
class Streams:
    """How streams ended. ``whole``: completion ids; ``n_tokens`` of those and when they came."""

    whole: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    tokens_at: list[float] = field(default_factory=list)


@contextmanager
def server(
    folder: Path,
    n_replicas: int,
    *options: str,
    ray_address: str | None = None,
    more: Mapping[str, object] | None = None,
) -> Iterator[tuple[str, Settings, BaseModel]]:
    """A server with all its replicas ready: address, settings, base."""
    base = light_base(folder / "base")
    named: dict[str, object] = {"engine.replicas": n_replicas, **(more or {})}
    named |= {"engine.ray_address": ray_address} if ray_address else {}
    with fake_server(folder, options, named, model_dir=base.model_dir) as url:
        wait_for(url, n_replicas)
        yield url, Settings(state_dir=folder / "state", model=str(base.model_dir)), base


def wait_for(url: str, n_replicas: int, seconds: float = 60) -> None:
    """Return once so many replicas answer."""
    deadline = time.monotonic() + seconds
    while f"replicas_ready {n_replicas}.0" not in httpx.get(url + "/metrics", timeout=60).text:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no {n_replicas} replicas within {seconds:.0f} s")
        time.sleep(0.1)


async def stream_on(
    session: aiohttp.ClientSession, url: str, name: str, until: float, streams: Streams,
    stop: threading.Event,
) -> None:  # fmt: skip
    """One conversation after the other."""
    n = 0
    while time.monotonic() < until and not stop.is_set():
        n += 1
        body = {"model": "pawl", "stream": True, "max_tokens": N_TOKENS,
                "messages": [{"role": "user", "content": f"count {N_TOKENS}"}]}  # fmt: skip
        headers = {"X-Pawl-Conversation": f"{name}-{n}"}
        end = "cut without a word"
        try:
            async with session.post(url + CHAT, json=body, headers=headers) as answer:
                if answer.status != 200:
                    end = (await answer.json())["error"]["code"]
                    await asyncio.sleep(0.1)
                    continue
                async for line in answer.content:
                    if line.startswith(b'data: {"error"'):
                        end = json.loads(line[6:])["error"]["code"]
                    elif line.startswith(b"data: [DONE]"):
                        end = "whole"
                        streams.whole.append(answer.headers["X-Pawl-Completion-Id"])
                    elif line.startswith(b"data: "):
                        streams.tokens_at.append(time.monotonic())
        except aiohttp.ClientError:
            pass
        finally:
            streams.ends[end] += 1


async def load(
    url: str, n_streams: int, seconds: float, stop: threading.Event | None = None
) -> Streams:
    """Streams without pause for so long, or until ``stop`` is set."""
    streams, until, stop = Streams(), time.monotonic() + seconds, stop or threading.Event()
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout
    ) as session:
        await asyncio.gather(
            *(stream_on(session, url, f"s{n}", until, streams, stop) for n in range(n_streams))
        )
    return streams


def measure_moves(
    folder: Path, n_moves: int, n_streams: int, ray_address: str | None = None
) -> tuple[dict[str, object], list[str]]:
    options = ("--letters", *MOVE_SPEED)
    with server(folder, N_REPLICAS, *options, ray_address=ray_address) as (url, settings, base):
        folders = [light_adapter(folder / f"a{n}", base, seed=n) for n in range(3)]
        adapters = {letter_of(one): one for one in folders}
        loaded, moves = asyncio.run(drive(url, settings, adapters, n_moves, n_streams))
    faults = check(loaded, moves, settings)
    for fault in faults[:10]:
        print(f"fault: {fault}")
    kinds = Counter(one.get("kind", "?") for one in moves.done)
    where = "3 nodes" if ray_address else "3 replicas"
    figures: dict[str, object] = {
        f"moves on {where}": ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())),
        "answers under them": f"{len(loaded.answers)} in {n_streams} streams, "
        f"{loaded.n_across_a_move} of them during a move",
        "answers of two versions, cut, or not stored as read": len(faults),
        "a move": f"{statistics.median(moves.seconds):.2f} s (median), "
        f"{max(moves.seconds):.2f} s (longest)",
    }
    return figures, [f"{len(faults)} faults under moves"] if faults else []


def measure_kill(
    folder: Path, n_streams: int, seconds: float
) -> tuple[dict[str, object], list[str]]:
    with server(folder, N_REPLICAS, *SPEED) as (url, settings, _):

        def kill() -> None:
            leader = int(read_json(settings.state_dir / "engine-2.json")["pid"])
            os.kill(members(leader, spare=leader)[0], signal.SIGKILL)

        found = under_load(url, n_streams, seconds, kill)
    return judged("kill -9 of one of 3", settings, *found)


def under_load(
    url: str,
    n_streams: int,
    seconds: float,
    kill: Callable[[], None],
    mend: Callable[[], object] = lambda: None,
) -> tuple[Streams, float, float]:
    """Kill under load; how the streams ended, when that was, and how long until all answer."""
    with ThreadPoolExecutor(1) as pool:  # Ray's nodes are started and ended by the main thread
        loading = pool.submit(lambda: asyncio.run(load(url, n_streams, seconds)))
        time.sleep(seconds / 4)
        killed_at = time.monotonic()
        kill()
        wait_for(url, N_REPLICAS - 1)  # its death is seen
        mend()
        wait_for(url, N_REPLICAS)
        back_seconds = time.monotonic() - killed_at
        return loading.result(), killed_at, back_seconds


def judged(
    what: str, settings: Settings, streams: Streams, killed_at: float, back_seconds: float
) -> tuple[dict[str, object], list[str]]:
    with Store.open(settings.database_path) as store:
        lost = [one for one in streams.whole if store.get_completion(one) is None]
    times = [at for at in streams.tokens_at if killed_at - 1 < at < killed_at + 5]
    silence = max(after - before for before, after in pairwise(times))
    ends = dict(streams.ends)
    figures: dict[str, object] = {
        what: ", ".join(f"{n} {end}" for end, n in sorted(ends.items())),
        "acknowledged answers without a row": len(lost),
        "longest time without a token of anybody": f"{silence:.2f} s",
        "all three answer again after": f"{back_seconds:.1f} s",
    }
    missed = [f"{len(lost)} rows lost"] if lost else []
    if n := ends.get("cut without a word"):
        missed.append(f"{n} answers cut without a word")
    return figures, missed


def measure_three(folder: Path, seconds: float) -> tuple[dict[str, object], list[str]]:
    rates: dict[int, list[float]] = {1: [], N_REPLICAS: []}
    with (
        server(folder / "one", 1, *SPEED) as (one, *_),
        server(folder / "three", N_REPLICAS, *SPEED) as (three, *_),
    ):
        for _ in range(3):
            for n, url in ((1, one), (N_REPLICAS, three)):
                streams = asyncio.run(load(url, n * N_STREAMS_EACH, seconds / 2))
                begin = streams.tokens_at[0] + 1
                inside = [at for at in streams.tokens_at if begin < at < begin + seconds / 2 - 2]
                rates[n].append(len(inside) / (seconds / 2 - 2))
    single, several = (statistics.median(rates[n]) for n in (1, N_REPLICAS))
    share = several / (N_REPLICAS * single)
    figures: dict[str, object] = {
        "tokens/s of one, 16 streams": f"{single:.0f}",
        "tokens/s of three, 48 streams": f"{several:.0f}, {share:.2f} of three times one",
    }
    missed = [f"three give {share:.2f} of linear"] if share < LINEAR else []
    return figures, missed


def load_parser(description: str) -> argparse.ArgumentParser:
    """The options of moves and loads."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--moves", type=int, default=20)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20, help="of a load")
    parser.add_argument("--no-record", action="store_true")
    return parser


def main() -> None:
    args = load_parser(__doc__).parse_args()
    figures: dict[str, object] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("moves", "kill", "throughput/one", "throughput/three"):
            (folder / part).mkdir(parents=True)
        for found, short in (
            measure_moves(folder / "moves", args.moves, args.streams),
            measure_kill(folder / "kill", args.streams, args.seconds),
            measure_three(folder / "throughput", args.seconds),
        ):
            figures |= found
            missed += short
    finish("replicas", "Three engines behind one server", figures, missed=missed, note=NOTE,
           keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
