"""Engines on three nodes of a Ray cluster: moves under load, a node killed, a node cut off.

    python -m benchmarks.nodes [--moves 20] [--streams 16] [--seconds 20] [--cuts 10] [--no-record]

Where Ray is installed (``make cluster`` says how), before the engine of ``benchmarks.replicas``;
the three nodes are on this machine.

- moves: as of three replicas on one machine.
- kill: all processes of one node are killed in the midst of streams, and another node joins.
- cut: one node has a network namespace of its own. Its link is taken down and brought back, while
  clients stream answers and send feedback on each, and during each cut the champion is moved. What
  was acknowledged must be in the store once; each letter of an answer is one of the weights that it
  was to come from. Where no namespace may be made, nothing of this is measured, and the command
  says so and fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil

from benchmarks.cut_node import HEAD, HEAD_TOO, CutNode, cut_node, own_network
from benchmarks.measurements import finish
from benchmarks.replicas import (
    CHAT,
    N_REPLICAS,
    NOTE,
    SPEED,
    judged,
    load_parser,
    measure_moves,
    server,
    under_load,
    wait_for,
)
from feedback.store import Store
from pawl.server import api_key_of
from pawl.settings import Settings
from pawl.sse import DONE, EventParser
from tests.adapters_for_tests import light_adapter
from tests.ray_cluster import node
from tests.serve.fake_vllm import letter_of

FEEDBACK, PROMOTE = "/v1/feedback", "/admin/promotions"
CUT_SECONDS = (12, 3, 25, 50)  # by turns
BACK_SECONDS = 240
N_ENGINES = 1  # of a node
ERROR_SECONDS = 30  # bar: from a cut until those that it hit are told
N_LETTERS = 40
MOVING = "moving"


@dataclass
class Asked:
    """An answer, as its client saw it; times are monotonic seconds."""

    began: float
    ended: float = 0.0
    first: float | None = None
    last: float = 0.0
    silence: float = 0.0  # the longest
    end: str = "cut without a word"
    completion_id: str = ""
    version: str = ""
    text: str = ""


@dataclass
class Seen:
    """What the clients were told."""

    answers: list[Asked] = field(default_factory=list)
    feedback: list[str] = field(default_factory=list)
    feedback_ends: Counter[str] = field(default_factory=Counter)
    champion: str = "base"
    letters: dict[str, str] = field(default_factory=lambda: {"base": "-"})
    replaced: list[str] = field(default_factory=list)  # versions that answered after their time


@contextmanager
def three_nodes(hosts: tuple[str, ...]) -> Iterator[Any]:
    """A Ray cluster on this machine until the block ends, its head on the first of the hosts:
    ``ray.cluster_utils.Cluster``."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=node(hosts[0]))
    try:
        for host in hosts[1:]:
            cluster.add_node(**node(host))
        yield cluster
    finally:
        cluster.shutdown()


def measure_kill(
    folder: Path, n_streams: int, seconds: float, cluster: Any
) -> tuple[dict[str, object], list[str]]:
    address = cluster.address
    with server(folder, N_REPLICAS, *SPEED, ray_address=address) as (url, settings, _):

        def kill() -> None:
            cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

        def join() -> None:
            cluster.add_node(**node("127.0.0.5"))

        found = under_load(url, n_streams, seconds, kill, join)
    return judged("one of 3 nodes killed, another one joins", settings, *found)


# -- cut off


async def ask_on(
    http: aiohttp.ClientSession, url: str, name: str, seen: Seen, stop: threading.Event
) -> None:
    """One client: an answer, feedback on it, again and again."""
    n = 0
    while not stop.is_set():
        n += 1
        asked, champion = Asked(time.monotonic()), seen.champion
        body = {"model": "pawl", "stream": True, "max_tokens": N_LETTERS,
                "messages": [{"role": "user", "content": f"{name} {n}?"}]}  # fmt: skip
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.post(url + CHAT, json=body) as answer:
                asked.completion_id = answer.headers.get("X-Pawl-Completion-Id", "")
                asked.version = answer.headers.get("X-Pawl-Version", "")
                if answer.status != 200:
                    asked.end = (await answer.json())["error"]["code"]
                elif champion != MOVING and asked.version != champion == seen.champion:
                    seen.replaced.append(asked.version)
                await read_on(answer, asked)
        asked.ended = time.monotonic()
        seen.answers.append(asked)
        if asked.end != "whole":
            await asyncio.sleep(0.1)
            continue
        feedback, end = {"completion_id": asked.completion_id, "thumb": "down"}, "cut"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.post(url + FEEDBACK, json=feedback) as stored:
                value, end = await stored.json(), str(stored.status)
                if stored.status == 200:
                    seen.feedback.append(value["feedback_id"])
        seen.feedback_ends[end] += 1


async def read_on(answer: aiohttp.ClientResponse, asked: Asked) -> None:
    parser = EventParser()
    async for piece in answer.content.iter_any():
        now = time.monotonic()
        asked.silence = max(asked.silence, now - (asked.last or now))
        asked.first, asked.last = asked.first or now, now
        for data in parser.feed(piece):
            if data == DONE:
                asked.end = "whole"
                continue
            chunk = json.loads(data)
            if "error" in chunk:
                asked.end = chunk["error"]["code"]
                return
            asked.text += "".join(one["delta"].get("content") or "" for one in chunk["choices"])


def move(url: str, settings: Settings, adapter: Path, seen: Seen) -> tuple[str, float]:
    """Promote; the outcome, and how long it took."""
    headers = {"Authorization": f"Bearer {api_key_of(settings)}"}
    began, seen.champion = time.monotonic(), MOVING
    body = {"adapter_dir": str(adapter), "force": True}
    answer = httpx.post(url + PROMOTE, json=body, headers=headers, timeout=BACK_SECONDS)
    seconds, moved = time.monotonic() - began, answer.json()
    if "version" in moved:
        seen.letters[moved["version"]] = letter_of(adapter)
    status = httpx.get(url + "/admin/status", headers=headers, timeout=60).json()
    seen.champion = status["champion"]
    return str(moved.get("outcome") or moved["error"]["code"]), seconds


@dataclass
class Cut:
    """One of them."""

    at: float
    seconds: float
    outcome: str  # of the move during it
    move_seconds: float
    back_seconds: float  # after it, until three answer
    n_engines: int  # on the node then


def cut_once(
    url: str, settings: Settings, cable: CutNode, seconds: float, adapter: Path, seen: Seen
) -> Cut:
    with ThreadPoolExecutor(1) as pool:
        at = time.monotonic()
        cable.cut()
        time.sleep(1)
        moving = pool.submit(move, url, settings, adapter, seen)
        time.sleep(seconds - 1)
        cable.mend()
        mended = time.monotonic()
        outcome, move_seconds = moving.result()
        wait_for(url, N_REPLICAS, BACK_SECONDS)
        back_seconds = time.monotonic() - mended
        return Cut(at, seconds, outcome, move_seconds, back_seconds, n_engines(cable))


def n_engines(cable: CutNode) -> int:
    """How many engines run on the node, once those that were given up have had time to end."""
    deadline = time.monotonic() + 30
    while True:
        found = 0
        for one in cable.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = one.cmdline()
                found += len(words) > 1 and words[1].endswith("fake_vllm.py")
        if found == N_ENGINES or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def measure_cuts(folder: Path, n_cuts: int, n_streams: int) -> tuple[dict[str, object], list[str]]:
    seen, stop, cuts = Seen(), threading.Event(), []

    async def clients(url: str) -> None:
        timeout = aiohttp.ClientTimeout(total=BACK_SECONDS)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
            await asyncio.gather(
                *(ask_on(http, url, f"s{n}", seen, stop) for n in range(n_streams))
            )

    with cut_node(folder) as cable, three_nodes((HEAD, HEAD_TOO)) as cluster:
        cable.join(cluster.address)
        options = ("--letters", *SPEED)
        with server(folder, N_REPLICAS, *options, ray_address=cluster.address) as (
            url, settings, base,
        ):  # fmt: skip
            adapters = [light_adapter(folder / f"a{n}", base, seed=n) for n in (1, 2)]
            with ThreadPoolExecutor(1) as pool:
                load = pool.submit(lambda: asyncio.run(clients(url)))
                try:
                    for n in range(n_cuts):
                        time.sleep(5)
                        seconds = CUT_SECONDS[n % len(CUT_SECONDS)]
                        cuts.append(cut_once(url, settings, cable, seconds, adapters[n % 2], seen))
                        ends = dict(Counter(one.end for one in seen.answers))
                        print(f"cut {n + 1}/{n_cuts}: {cuts[-1]}, {ends}", flush=True)
                    time.sleep(5)
                finally:
                    stop.set()
                load.result()
        n_restarts = cable.n_starts - 1
    return judged_cuts(settings, seen, cuts, n_restarts)


def judged_cuts(
    settings: Settings, seen: Seen, cuts: list[Cut], n_restarts: int
) -> tuple[dict[str, object], list[str]]:
    whole = [one for one in seen.answers if one.end == "whole"]
    ends = Counter(one.end for one in seen.answers)
    with Store.open(settings.database_path) as store:
        stored = {one.completion_id: one for one in store.completions()}
        n_rows = Counter(one.completion_id for one in store.completions())
        n_feedback = Counter(one.feedback_id for one in store.feedback_history())
    lost = sum(not n_rows[one.completion_id] for one in whole)
    lost += sum(not n_feedback[one] for one in seen.feedback)
    twice = sum(n > 1 for n in (n_rows + n_feedback).values())
    wrong = [one for one in whole if one.text != seen.letters.get(one.version, "?") * N_LETTERS]
    wrong += [
        one for one in whole
        if (kept := stored.get(one.completion_id))
        and (kept.version, kept.completion) != (one.version, one.text)
    ]  # fmt: skip
    for one in wrong[:5]:
        print(f"fault: {one}")
    told, elsewhere, slowest = 0.0, 0, 0.0
    for cut in cuts:
        hit = [
            one for one in seen.answers if cut.at < one.ended and one.began < cut.at + cut.seconds
        ]
        told = max(
            [told, *(one.ended - max(cut.at, one.began) for one in hit if one.end != "whole")]
        )
        later = [one for one in hit if cut.at + 2 < one.began < one.ended < cut.at + cut.seconds]
        elsewhere += sum(one.end == "whole" for one in later)
        begun = [one for one in hit if cut.at + 3 < one.began]
        slowest = max([slowest, *((one.first or one.ended) - one.began for one in begun)])
    back = [one.back_seconds for one in cuts]
    lengths = ", ".join(f"{one:.0f}" for one in sorted({one.seconds for one in cuts}))
    moves = Counter(one.outcome for one in cuts)
    figures: dict[str, object] = {
        "the link of one of 3 nodes taken down": f"{len(cuts)} times, for {lengths} s by turns",
        "answers": ", ".join(f"{n} {end}" for end, n in sorted(ends.items())),
        "acknowledged answers and feedback": f"{len(whole)} and {len(seen.feedback)}",
        "of them lost, twice": f"{lost}, {twice}",
        "answers of other weights than their version's": len(wrong),
        "answers of a version that was replaced before they were asked": len(seen.replaced),
        "longest from the cut until an answer that failed was told so": f"{told:.1f} s",
        "asked 2 s after a cut or later, and whole before its end": elsewhere,
        "of what was asked 3 s after a cut or later, longest until the first token": (
            f"{slowest:.1f} s"
        ),
        "moves during cuts": ", ".join(f"{n} {end}" for end, n in sorted(moves.items()))
        + f", {max(one.move_seconds for one in cuts):.1f} s (longest)",
        "all three answer again after a cut's end": f"{statistics.median(back):.1f} s (median), "
        f"{max(back):.1f} s (longest)",
        "the node's Ray was started again": n_restarts,
    }
    missed = [f"{lost} lost, {twice} twice"] if lost or twice else []
    missed += [f"{n} answers cut without a word"] if (n := ends["cut without a word"]) else []
    missed += [f"{n} answers of a wrong version"] if (n := len(wrong) + len(seen.replaced)) else []
    missed += [f"an answer failed after {told:.0f} s alone"] if told > ERROR_SECONDS else []
    if other := {end: n for end, n in seen.feedback_ends.items() if end != "200"}:
        missed.append(f"feedback that ended otherwise: {other}")
    if left := [one.n_engines for one in cuts if one.n_engines != N_ENGINES]:
        missed.append(f"engines on the node afterwards: {left}")
    return figures, missed


def main() -> None:
    parser = load_parser(__doc__)
    parser.add_argument("--cuts", type=int, default=10)
    args = parser.parse_args()
    cuts = own_network()
    figures: dict[str, object] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ |= {"HOME": str(folder / "home"), "RAY_USAGE_STATS_ENABLED": "0"}
        for part in ("moves", "kill", "cut"):
            (folder / part).mkdir()
        parts = []
        if args.moves:
            with three_nodes(("127.0.0.2", "127.0.0.3", "127.0.0.4")) as cluster:
                parts.append(
                    measure_moves(folder / "moves", args.moves, args.streams, cluster.address)
                )
                parts.append(measure_kill(folder / "kill", args.streams, args.seconds, cluster))
        if cuts and args.cuts:
            parts.append(measure_cuts(folder / "cut", args.cuts, args.streams))
    for found, short in parts:
        figures |= found
        missed += short
    if not cuts:
        missed.append("NOT MEASURED: a node that is cut off; no network namespace may be made here")
    finish("nodes", "Engines on three nodes: moves, one killed, one cut off", figures,
           missed=missed, note=NOTE, keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
