"""Parts of the engine are frozen or killed while people chat: they are told, nothing is lost.

    python -m benchmarks.frozen [--each 20] [--stuck-seconds 10] [--seed 0] [--no-record]

In turn vLLM's core and its API process are stopped (SIGSTOP) and the core is killed, at random
moments. Every request that is under way then must end (with an answer, or with an error worth
trying again) within 15 s of the watchdog's time, the engine must be ready again by itself, and
what clients saw acknowledged must be in the store exactly once.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.figures import percentile
from benchmarks.kills import Acknowledged, FellShort, check_once
from benchmarks.measurements import finish
from pawl.client import Pawl
from pawl.server import api_key_of, start_server, stop_server, wait_ready
from pawl.settings import Settings, load_settings

N_CLIENTS = 6
TOLD_SECONDS = 15.0  # beyond the watchdog's time
HANG_SECONDS = 120.0  # beyond it, when a client gives up
FAULTS = (
    ("core", "EngineCore", signal.SIGSTOP),
    ("API process", "api_server", signal.SIGSTOP),
    ("core, which runs the model", "EngineCore", signal.SIGKILL),
)


@dataclass
class Told:
    """How requests ended, and how long each took whose end was an error."""

    endings: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)


async def chat_on(
    url: str, stream: bool, limit: float, done: Acknowledged, told: Told, stop: asyncio.Event
) -> None:
    """One client, whose answers are streamed or not, until ``stop``."""
    body = {"model": "pawl", "stream": stream, "max_tokens": 48,
            "messages": [{"role": "user", "content": "Tell me about the sea."}]}  # fmt: skip
    async with httpx.AsyncClient(base_url=url, timeout=limit) as http:
        while not stop.is_set():
            began = time.monotonic()
            try:
                answer = await http.post("/v1/chat/completions", json=body)
            except httpx.HTTPError as error:
                told.endings["none"] += 1
                told.unexpected.append(f"{type(error).__name__} {error}")
                continue
            if answer.status_code == 200 and (
                not stream or answer.text.endswith("data: [DONE]\n\n")
            ):
                done.completions.add(answer.headers["X-Pawl-Completion-Id"])
                told.endings["answer"] += 1
                continue
            told.seconds.append(time.monotonic() - began)
            told.endings[str(answer.status_code) if answer.is_error else "event"] += 1
            if answer.is_error and answer.status_code != 503:
                told.unexpected.append(answer.text[:200])
            await asyncio.sleep(0.5)


def victim(settings: Settings, name: str) -> int:
    """The process of the engine's session whose title or command holds ``name``."""
    import psutil

    from pawl.files import read_json
    from serve.engine.session import members

    leader = int(read_json(settings.state_dir / "engine.json")["pid"])
    for pid in members(leader, spare=leader):
        if name in " ".join(psutil.Process(pid).cmdline()):
            return pid
    raise FellShort(f"the engine has no process {name}")


async def one_fault(
    settings: Settings, url: str, name: str, number: signal.Signals, delay: float,
    done: Acknowledged, told: Told,
) -> float:  # fmt: skip
    """Chat, do it, wait until the engine is ready again; how many seconds that took."""
    stop, api = asyncio.Event(), Pawl(url, api_key_of(settings))
    limit = settings.engine.stuck_seconds + HANG_SECONDS
    before = len(done.completions)
    tasks = [
        asyncio.create_task(chat_on(url, bool(n % 2), limit, done, told, stop))
        for n in range(N_CLIENTS)
    ]
    try:
        for _ in range(600):
            if len(done.completions) > before:
                break
            await asyncio.sleep(0.1)
        await asyncio.sleep(delay)
        status = await asyncio.to_thread(api.get, "/admin/status")
        os.kill(victim(settings, name), number)
        began = time.monotonic()
        while time.monotonic() < began + settings.engine.start_timeout_seconds:
            now = (await asyncio.to_thread(api.get, "/admin/status"))["engine"]
            if now["state"] == "failed":
                raise FellShort(f"the engine was given up: {now['detail']}")
            if now["state"] == "ready" and now["pid"] != status["engine"]["pid"]:
                return time.monotonic() - began
            await asyncio.sleep(0.25)
        raise FellShort("the engine did not come back")
    finally:
        stop.set()
        await asyncio.gather(*tasks)


def measure(settings: Settings, n_each: int, seed: int) -> tuple[dict[str, str], list[str]]:
    draw, done = random.Random(seed), Acknowledged()
    figures: dict[str, str] = {}
    missed: list[str] = []
    options = ("--set", f"engine.stuck_seconds={settings.engine.stuck_seconds}")
    child = start_server(settings, options)
    try:
        url = wait_ready(settings, child).url
        for kind, name, number in FAULTS:
            found, back = Told(), list[float]()
            for n in range(n_each):
                delay = draw.uniform(0.1, 4.0)
                back.append(asyncio.run(one_fault(settings, url, name, number, delay, done, found)))
                print(f"{kind} {n + 1}/{n_each}: back after {back[-1]:.0f} s", flush=True)
            endings = ", ".join(f"{n} {ending}" for ending, n in sorted(found.endings.items()))
            slowest = max(found.seconds, default=0.0)
            figures[f"{kind}, {number.name} {n_each} times"] = (
                f"told after {slowest:.1f} s at most (median "
                f"{percentile(found.seconds or [0.0], 0.5):.1f}); ready again after "
                f"{max(back):.0f} s at most; requests: {endings}"
            )
            if slowest > settings.engine.stuck_seconds + TOLD_SECONDS:
                missed.append(f"{kind}: somebody waited {slowest:.1f} s")
            if found.unexpected:
                missed.append(f"{kind}: {found.unexpected[:3]}")
    finally:
        stop_server(child)
    check_once(settings, done)
    figures["acknowledged answers, in the store once each"] = f"{len(done.completions):,}"
    return figures, missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--each", type=int, default=20, help="times")
    parser.add_argument("--stuck-seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", help="by default the one that comes with Pawl")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    figures: dict[str, str] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pawl-frozen-") as folder:
        engine = {"stuck_seconds": args.stuck_seconds}
        settings = load_settings(
            {"state_dir": Path(folder) / "state", "engine": engine, "model": args.model}
        )
        try:
            figures, missed = measure(settings, args.each, args.seed)
        except FellShort as error:
            missed.append(str(error))
    finish(
        "frozen", "Frozen and killed parts of the engine", figures, missed=missed,
        note=f"The watchdog's time was {args.stuck_seconds:.0f} s.", keep=not args.no_record,
    )  # fmt: skip


if __name__ == "__main__":
    main()
