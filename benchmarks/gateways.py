"""Two gateways before one store, each side killed, the connection cut: what is acknowledged stays.

    python -m benchmarks.gateways [--rounds 10] [--seed 0] [--no-record]

A server (the tests' small engine, a token every 20 ms) and two ``pawl gateway`` beside it.
Clients stream answers through the gateways by turns, and send feedback on each through a gateway
that is drawn anew. Meanwhile, so many rounds each:

- ``kill -9`` of a gateway, which is started again on its folder;
- ``kill -9`` of the server that owns the store, which is started again at its address;
- a cut between the server and both gateways, for 2 to 14 s, without a word to either side: all
  of it runs in a network namespace of its own, where the server's address is routed nowhere. Where
  none may be made, a small proxy between them closes its connections instead, and the note says so.

Then what was acknowledged, by ``[DONE]`` or by the answer to feedback, must be in the store exactly
once, and every promotion that was acknowledged must hold for what was asked after it.

The server's own CPU time for an answer is measured, too: asked itself, and through a gateway.

Over 400 lines because all faults meet one scene and one count of what was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import psutil

from benchmarks.cut_node import own_network
from benchmarks.fake_server import REPOSITORY, START_SECONDS
from benchmarks.measurements import finish
from feedback.store import Store
from pawl.schemas import Promotion, utc_now
from pawl.server import api_key_of
from pawl.settings import Settings
from tests.adapters_for_tests import light_adapter, light_base
from tests.serve.gateways import GatewayProcess
from tests.serve.pages.composed import Cable

CHAT, FEEDBACK = "/v1/chat/completions", "/v1/feedback"
SERVER_HOST = "127.0.0.2"  # loopback, but an address of its own
N_CLIENTS = 8
SPEED = ("--speed", "64", "0.02", "0")
CPU_SPEED = ("--speed", "64", "0.005", "0")
MOVING = "moving"
N_TOKENS = (10, 120)
BACK_SECONDS = 60.0
CPU_ROUNDS, CPU_ANSWERS, CPU_TOKENS = 3, 64, (32, 256)


@dataclass
class Seen:
    """What clients were told. ``ends``: how requests ended; ``whole_at``: when answers did."""

    answers: set[str] = field(default_factory=set)
    feedback: set[str] = field(default_factory=set)
    ends: Counter[str] = field(default_factory=Counter)
    whole_at: list[float] = field(default_factory=list)
    champion: str = "base"  # by the last move that was acknowledged
    move_id: str = ""  # of that
    n_moves: int = 0
    # Answers of another version than that: it, the move, and when the answer began.
    odd: list[tuple[str, str, str]] = field(default_factory=list)

    def faults(self, moves: list[Promotion]) -> list[str]:
        """Those that no later move explains: what was under way when the server was killed is
        carried on by its start, and acknowledged to nobody.

        Args:
            moves: of the store, as they were recorded.
        """
        live = [one for one in moves if one.outcome == "live"]
        found = []
        for version, move_id, at in self.odd:
            [since] = [n for n, one in enumerate(live) if one.promotion_id == move_id]
            later = live[since + 1 :]
            if not any(one.version == version and one.created_at <= at for one in later):
                found.append(f"{version} answered after the move to {live[since].version}")
        return found


class House:
    """A server and two gateways, each a process with a folder of its own."""

    def __init__(self, folder: Path, *, cuts: bool, speed: tuple[str, ...] = SPEED) -> None:
        self.folder, self._speed = folder, speed
        self.base = light_base(folder / "model")
        self.settings = Settings(state_dir=folder / "server", model=str(self.base.model_dir))
        with socket.create_server((SERVER_HOST, 0)) as one:
            self.port = one.getsockname()[1]
        self.url = f"http://{SERVER_HOST}:{self.port}"
        self.server = self.start_server()
        # A proxy closes connections; a namespace loses packets.
        self.cable = None if cuts else Cable(self.port, SERVER_HOST)
        way = self.url if self.cable is None else f"http://127.0.0.1:{self.cable.port}"
        self._way, self._ports = way, [_free_port() for _ in range(2)]
        self.gateways = [self.start_gateway(n) for n in range(2)]

    def start_server(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.serve.run_up", str(self.settings.state_dir),
                   str(self.base.model_dir), str(self.port), *self._speed]  # fmt: skip
        with (self.folder / "server.log").open("ab") as log:
            child = subprocess.Popen(
                command, cwd=REPOSITORY, env={**os.environ, "PAWL_HOST": SERVER_HOST},
                stdout=log, stderr=log,
            )  # fmt: skip
        self.server = child
        wait_for(lambda: _health(self.url).get("engine", {}).get("state") == "ready",
                 "the server is ready", START_SECONDS)  # fmt: skip
        return child

    def start_gateway(self, n: int) -> GatewayProcess:
        key = api_key_of(self.settings)
        return GatewayProcess(
            self._way, self.folder / f"gateway{n}", key, "--port", str(self._ports[n])
        )

    def all_sent(self) -> bool:
        found = [_health(one.url) for one in self.gateways]
        return all(one.get("status") == "ok" and one.get("n_unsent") == 0 for one in found)

    def cut(self) -> None:
        if self.cable is not None:
            self.cable.cut()
        else:
            route("add")

    def mend(self) -> None:
        if self.cable is not None:
            self.cable.mend()
        else:
            route("del")

    def stop(self) -> list[str]:
        """End all; the journals that are left."""
        for one in self.gateways:
            one.stop()
        self.server.terminate()
        self.server.wait(60)
        return [
            path.name
            for n in range(2)
            for path in (self.folder / f"gateway{n}" / "gateways").iterdir()
        ]


def route(verb: str) -> None:
    """Route the server's address nowhere, or as before."""
    command = f"ip route {verb} blackhole {SERVER_HOST}/32 table local"
    subprocess.run(command.split(), check=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def _health(url: str) -> dict[str, Any]:
    try:
        return dict(httpx.get(url + "/health", timeout=5).json())
    except (httpx.HTTPError, ValueError):
        return {}


def wait_for(holds: Callable[[], bool], what: str, seconds: float = BACK_SECONDS) -> float:
    """Seconds until it holds."""
    began = time.monotonic()
    while not holds():
        if time.monotonic() - began > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - began


async def chat_on(
    http: aiohttp.ClientSession, house: House, draw: random.Random, seen: Seen, stop: asyncio.Event
) -> None:
    """One client: an answer, feedback on it, again and again."""
    while not stop.is_set():
        url = draw.choice(house.gateways).url
        body = {"model": "pawl", "stream": True, "messages": [
            {"role": "user", "content": f"count {draw.randint(*N_TOKENS)}"}]}  # fmt: skip
        end, completion_id, champion = "cut", "", seen.champion
        try:
            async with http.post(url + CHAT, json=body) as answer:
                completion_id = answer.headers.get("X-Pawl-Completion-Id", "")
                if answer.status != 200:
                    end = (await answer.json())["error"]["code"]
                version = answer.headers.get("X-Pawl-Version", champion)
                if champion != MOVING and version != champion == seen.champion:
                    seen.odd.append((version, seen.move_id, utc_now()))
                async for line in answer.content:
                    if line.startswith(b'data: {"error"'):
                        end = json.loads(line[6:])["error"]["code"]
                    elif line.startswith(b"data: [DONE]"):
                        end = "whole"
        except (aiohttp.ClientError, TimeoutError, ValueError):
            pass
        seen.ends[end] += 1
        if end != "whole":
            await asyncio.sleep(0.1)
            continue
        seen.answers.add(completion_id)
        seen.whole_at.append(time.monotonic())
        feedback = {"completion_id": completion_id, "thumb": "down",
                    "idempotency_key": f"key-{completion_id}"}  # fmt: skip
        url, end = draw.choice(house.gateways).url, "feedback cut"
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with http.post(url + FEEDBACK, json=feedback) as stored:
                value = await stored.json()
                if stored.status == 200:
                    end = "feedback"
                    seen.feedback.add(value["feedback_id"])
                else:
                    end = f"feedback {value['error']['code']}"
        seen.ends[end] += 1


async def move_on(
    http: aiohttp.ClientSession, house: House, adapters: list[Path], seen: Seen, stop: asyncio.Event
) -> None:
    """Promote, roll back, through a gateway."""
    headers = {"Authorization": f"Bearer {api_key_of(house.settings)}"}
    n = 0
    while not stop.is_set():
        n += 1
        url = house.gateways[n % 2].url
        path, body = "/admin/rollback", {}
        if n % 2:
            adapter = adapters[n // 2 % len(adapters)]
            path, body = "/admin/promotions", {"adapter_dir": str(adapter), "force": True}
        seen.champion = MOVING
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError):
            async with http.post(url + path, json=body, headers=headers) as answer:
                moved = await answer.json()
                if answer.status == 200 and moved["outcome"] == "live":
                    seen.champion, seen.n_moves = moved["version"], seen.n_moves + 1
                    seen.move_id = moved["promotion_id"]
        for _ in range(10):
            if not stop.is_set():
                await asyncio.sleep(0.1)


def kill_gateway(house: House, draw: random.Random) -> float:
    n = draw.randrange(2)
    house.gateways[n].kill()
    began = time.monotonic()
    house.gateways[n] = house.start_gateway(n)
    wait_for(house.all_sent, "a killed gateway's answers are sent")
    return time.monotonic() - began


def kill_server(house: House, draw: random.Random) -> float:
    house.server.kill()
    house.server.wait()
    began = time.monotonic()
    house.start_server()
    wait_for(house.all_sent, "the gateways are back")
    return time.monotonic() - began


def cut_off(house: House, draw: random.Random) -> float:
    house.cut()
    time.sleep(draw.uniform(2, 14))
    house.mend()
    return wait_for(house.all_sent, "what was recorded during the cut is sent")


FAULTS = {"a gateway": kill_gateway, "the server": kill_server, "the connection": cut_off}


def rounds(
    folder: Path, what: str, n_rounds: int, seed: int, *, cuts: bool
) -> tuple[dict[str, object], list[str]]:
    """Let ``what`` fail so many times under load; figures, and what fell short."""
    draw, seen, back, during = random.Random(seed), Seen(), [], 0
    folder.mkdir(parents=True)
    house = House(folder, cuts=cuts)
    adapters = [light_adapter(folder / f"a{n}", house.base, seed=n) for n in (1, 2)]

    async def run() -> None:
        nonlocal during
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for n in range(n_rounds):
                stop = asyncio.Event()
                seen.champion = MOVING
                tasks = [asyncio.create_task(chat_on(http, house, draw, seen, stop))
                         for _ in range(N_CLIENTS)]  # fmt: skip
                tasks.append(asyncio.create_task(move_on(http, house, adapters, seen, stop)))
                await asyncio.sleep(draw.uniform(1, 4))
                began = time.monotonic()
                back.append(await asyncio.to_thread(FAULTS[what], house, draw))
                during += sum(began + 0.5 < at < began + 2 for at in seen.whole_at)
                await asyncio.sleep(1)
                stop.set()
                await asyncio.gather(*tasks)
                await asyncio.to_thread(wait_for, house.all_sent, "all is sent")
                print(f"{what} {n + 1}/{n_rounds}: {len(seen.answers)} answers, "
                      f"{len(seen.feedback)} feedback, {seen.n_moves} moves, {dict(seen.ends)}",
                      flush=True)  # fmt: skip

    try:
        asyncio.run(run())
    finally:
        left = house.stop()
    with Store.open(house.settings.database_path) as store:
        n_answers = Counter(one.completion_id for one in store.completions())
        n_feedback = Counter(one.feedback_id for one in store.feedback_history())
        faults = seen.faults(store.promotions())
    lost = [one for one in seen.answers if not n_answers[one]]
    lost += [one for one in seen.feedback if not n_feedback[one]]
    twice = [one for one, n in (n_answers + n_feedback).items() if n > 1]
    n_unknown = seen.ends["feedback completion_not_found"]
    missed = [f"{what}: {len(lost)} lost"] if lost else []
    missed += [f"{what}: {len(twice)} twice"] if twice else []
    missed += [f"{what}: {len(faults)} of a version that was replaced"] if faults else []
    missed += [f"{what}: journals left {left}"] if left else []
    key = f"{what}, {n_rounds} times"
    figures: dict[str, object] = {
        f"{key}: acknowledged answers, feedback": f"{len(seen.answers):,}, {len(seen.feedback):,}",
        f"{key}: lost, twice": f"{len(lost)}, {len(twice)}",
        f"{key}: moves of the champion, answers of a version replaced before they were asked": (
            f"{seen.n_moves}, {len(faults)}"
        ),
        f"{key}: feedback on an acknowledged answer that was told it is unknown": n_unknown,
        f"{key}: all is well again after": f"{statistics.median(back):.1f} s (median), "
        f"{max(back):.1f} s (longest)",
    }
    if what == "the connection":
        figures[f"{key}: answers that ended well 0.5 to 2 s after the cut"] = during
    for fault in faults[:5]:
        print(f"fault: {fault}")
    return figures, missed


def measure_cpu(folder: Path, *, cuts: bool) -> dict[str, object]:
    """CPU time of the server's process for a streamed answer: asked itself, and by gateways."""
    folder.mkdir(parents=True)
    house = House(folder, cuts=cuts, speed=CPU_SPEED)
    process = psutil.Process(house.server.pid)
    seconds: dict[tuple[int, str], list[float]] = {}

    async def ask(urls: list[str], n_tokens: int) -> None:
        body = {"model": "pawl", "stream": True,
                "messages": [{"role": "user", "content": f"count {n_tokens}"}]}  # fmt: skip
        left = iter(range(CPU_ANSWERS))
        async with aiohttp.ClientSession() as http:

            async def one() -> None:
                for n in left:
                    async with http.post(urls[n % len(urls)] + CHAT, json=body) as answer:
                        raw = await answer.read()
                        assert raw.endswith(b"data: [DONE]\n\n"), raw[-300:]

            await asyncio.gather(*(one() for _ in range(N_CLIENTS)))

    try:
        ways = {"itself": [house.url], "gateways": [one.url for one in house.gateways]}
        for n_tokens in CPU_TOKENS:
            for _ in range(CPU_ROUNDS):
                for name, urls in ways.items():
                    before = sum(process.cpu_times()[:2])
                    asyncio.run(ask(urls, n_tokens))
                    wait_for(house.all_sent, "all is sent")
                    spent = sum(process.cpu_times()[:2]) - before
                    seconds.setdefault((n_tokens, name), []).append(spent / CPU_ANSWERS)
    finally:
        house.stop()
    figures: dict[str, object] = {}
    for n_tokens in CPU_TOKENS:
        itself, shared = (statistics.median(seconds[n_tokens, name]) * 1000 for name in ways)
        figures[f"CPU of the server, an answer of {n_tokens} tokens: asked itself, by gateways"] = (
            f"{itself:.1f} ms, {shared:.1f} ms ({itself / shared:.1f} times less)"
        )
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true")
    args = parser.parse_args()
    cuts = own_network()
    figures: dict[str, object] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pawl-gateways-") as name:
        folder = Path(name)
        for what in FAULTS:
            found, short = rounds(
                folder / what.split()[-1], what, args.rounds, args.seed, cuts=cuts
            )
            figures |= found
            missed += short
        figures |= measure_cpu(folder / "cpu", cuts=cuts)
    how = (
        "The cut: in a network namespace the server's address is routed nowhere, for 2 to 14 s, "
        "so that packets are lost without a word."
        if cuts
        else "The cut: no network namespace may be made here, so a proxy between server and "
        "gateways closes its connections, for 2 to 14 s."
    )
    finish("gateways", "Two gateways before one store: killed, cut off", figures, missed=missed,
           note=f"{N_CLIENTS} clients; the tests' small engine, 20 ms a token (5 where CPU is "
           f"measured). {how}", keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
