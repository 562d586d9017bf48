"""``kill -9`` at random moments: nothing acknowledged is lost, the pointer is always whole.

    python -m benchmarks.kills [--gateway 20] [--engine 5] [--seed 0] [--small-engine]

Gateway and engine are killed while people chat, give feedback and promotions go back and forth.
What a client saw acknowledged (``[DONE]``, or the answer to its feedback) must be in the store
exactly once, and the next start must go on. With the tests' small engine in vLLM's place, which
starts in a second, more kills fit into the same time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.fake_server import REPOSITORY
from benchmarks.measurements import finish
from pawl.adapters import validate_adapter
from pawl.errors import PawlError
from pawl.models import resolve_model
from pawl.server import Server, api_key_of, start_server, stop_server, wait_ready
from pawl.settings import Settings, load_settings

N_CLIENTS = 6
GONE_SECONDS = 20.0
FIRST_ANSWER_SECONDS = 30.0  # a busy machine answers late; a kill before is no test of anything


class FellShort(Exception):
    """What a kill left behind and must not; said in the measurements."""


@dataclass
class Acknowledged:
    """What clients were told is saved."""

    completions: set[str] = field(default_factory=set)
    feedback: set[str] = field(default_factory=set)
    n_failed: int = 0
    n_moves: int = 0


async def chat_on(url: str, n: int, done: Acknowledged, stop: asyncio.Event) -> None:
    """One client: streams an answer, gives feedback on it, again and again."""
    import httpx

    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        while not stop.is_set():
            body = {
                "model": "pawl",
                "stream": True,
                "max_tokens": 24,
                "user": f"client-{n}",
                "messages": [{"role": "user", "content": "What is the capital of France?"}],
            }
            try:
                completion_id, finished = "", False
                async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
                    completion_id = answer.headers.get("X-Pawl-Completion-Id", "")
                    async for line in answer.aiter_lines():
                        finished = finished or line == "data: [DONE]"
                if not finished:
                    done.n_failed += 1
                    await asyncio.sleep(0.1)
                    continue
                done.completions.add(completion_id)
                feedback = {"completion_id": completion_id, "thumb": "down",
                            "categories": ["incorrect"], "user": f"client-{n}",
                            "idempotency_key": f"key-{completion_id}"}  # fmt: skip
                stored = await http.post("/v1/feedback", json=feedback)
                if stored.status_code == 200:
                    done.feedback.add(stored.json()["feedback_id"])
            except httpx.HTTPError:
                done.n_failed += 1
                await asyncio.sleep(0.1)


async def move_on(
    url: str, key: str | None, adapters: list[Path], done: Acknowledged, stop: asyncio.Event
) -> None:
    """Promotions and rollbacks back and forth."""
    import httpx

    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=headers) as http:
        for n in range(1_000_000):
            if stop.is_set():
                return
            try:
                if n % 2:
                    answer = await http.post("/admin/rollback", json={})
                else:
                    answer = await http.post(
                        "/admin/promotions",
                        json={"adapter_dir": str(adapters[n // 2 % len(adapters)]), "force": True},
                    )
                done.n_moves += answer.status_code == 200
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.3)


async def traffic(
    url: str,
    key: str | None,
    adapters: list[Path],
    done: Acknowledged,
    seconds: float,
    kill: Any,
) -> None:
    """Chat and move for ``seconds`` from the first answer, ``kill``, let the clients notice."""
    stop, before = asyncio.Event(), len(done.completions)
    tasks = [asyncio.create_task(chat_on(url, n, done, stop)) for n in range(N_CLIENTS)]
    tasks.append(asyncio.create_task(move_on(url, key, adapters, done, stop)))
    for _ in range(round(FIRST_ANSWER_SECONDS / 0.1)):
        if len(done.completions) > before:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(seconds)
    kill()
    await asyncio.sleep(0.3)
    stop.set()
    await asyncio.gather(*tasks)


def wait_gone(children: list[Any]) -> None:
    """Wait until every one of these processes has ended."""
    import psutil

    _, alive = psutil.wait_procs(children, timeout=GONE_SECONDS)
    if alive:
        raise FellShort(f"still there {GONE_SECONDS:.0f} s after the gateway was killed: {alive}")


def check_pointer(settings: Settings) -> str:
    """The champion named by the store has a whole adapter; returns it."""
    from feedback.store import Store

    with Store.open(settings.database_path) as store:
        champion = store.champion()
    if champion != "base":
        base = resolve_model(settings.model, cache_dir=settings.state_dir)
        try:
            validate_adapter(
                settings.adapters_dir / champion, base=base, max_rank=settings.engine.max_lora_rank
            )
        except PawlError as err:
            raise FellShort(f"the champion {champion} is not whole: {err}") from err
    return champion


def check_once(settings: Settings, done: Acknowledged) -> None:
    """Everything acknowledged is in the store exactly once."""
    from feedback.store import Store

    with Store.open(settings.database_path) as store:
        n_completions = Counter(one.completion_id for one in store.completions())
        n_feedback = Counter(one.feedback_id for one in store.feedback_history())
    lost = [i for i in done.completions if n_completions[i] != 1]
    lost += [i for i in done.feedback if n_feedback[i] != 1]
    if lost:
        raise FellShort(f"{len(lost)} acknowledged rows are not there once: {lost[:5]}")


def kill_servers(
    n_gateway: int, n_engine: int, folder: Path, seed: int, *, is_small: bool
) -> dict[str, object]:
    """Kill the gateway and the engine under load, two adapters in turn; returns figures."""
    import psutil

    from tests import tiny_bases
    from tests.adapters_for_tests import marker_adapter

    draw = random.Random(seed)
    model = str(tiny_bases.plain(folder / "model")) if is_small else None
    settings = load_settings({"state_dir": folder / "server", "model": model})

    def start() -> subprocess.Popen[bytes]:
        if model is None:
            return start_server(settings)
        command = [sys.executable, "-m", "tests.serve.run_up", str(settings.state_dir), model]
        with (folder / "server.log").open("ab") as log:
            return subprocess.Popen([*command, "0"], cwd=REPOSITORY, stdout=log, stderr=log)

    base = resolve_model(settings.model, cache_dir=folder)
    adapters = [folder / name for name in ("one", "two")]
    for adapter_dir, marker in zip(adapters, ("blue", "green"), strict=True):
        marker_adapter(adapter_dir, base, marker)
    done = Acknowledged()
    back: list[float] = []
    child: subprocess.Popen[bytes] | None = None
    try:
        for n in range(n_gateway):
            started = time.monotonic()
            child = start()
            server = wait_ready(settings, child)
            back.append(time.monotonic() - started)
            family = psutil.Process(child.pid).children(recursive=True)
            key = api_key_of(settings)
            seconds = draw.uniform(0.2, 5.0)
            asyncio.run(traffic(server.url, key, adapters, done, seconds, child.kill))
            child.wait()
            wait_gone(family)
            champion = check_pointer(settings)
            check_once(settings, done)
            print(
                f"gateway {n + 1}/{n_gateway}: {len(done.completions)} answers, "
                f"{len(done.feedback)} feedback rows, {done.n_moves} moves, champion "
                f"{champion}",
                flush=True,
            )
        child = start()
        server = wait_ready(settings, child)
        restarts = [_kill_engine(settings, server, adapters, done, draw) for _ in range(n_engine)]
    finally:
        if child is not None:
            stop_server(child)
    check_once(settings, done)
    check_pointer(settings)
    return {
        "kills of the gateway / of the engine": f"{n_gateway} / {n_engine}",
        "acknowledged answers, in the store once each": f"{len(done.completions):,}",
        "acknowledged feedback rows, likewise": f"{len(done.feedback):,}",
        "promotions and rollbacks meanwhile": done.n_moves,
        "ready again after a gateway's death": f"{max(back, default=0):.0f} s at most",
        "ready again after an engine's death": f"{max(restarts, default=0):.0f} s at most",
    }


def _kill_engine(
    settings: Settings,
    server: Server,
    adapters: list[Path],
    done: Acknowledged,
    draw: random.Random,
) -> float:
    """Kill all of the engine's processes; returns seconds until it is ready again."""
    import psutil

    from pawl.client import Pawl

    key = api_key_of(settings)
    engine = Pawl(server.url, key).get("/admin/status")["engine"]
    victims = [psutil.Process(engine["pid"])]
    victims += victims[0].children(recursive=True)

    def kill() -> None:
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):  # ended by itself a moment before
                victim.kill()

    asyncio.run(traffic(server.url, key, adapters, done, draw.uniform(0.2, 5.0), kill))
    started = time.monotonic()
    while time.monotonic() - started < settings.engine.start_timeout_seconds:
        now = Pawl(server.url, key).get("/admin/status")["engine"]
        if now["state"] == "ready" and now["pid"] != engine["pid"]:
            print(f"engine back after {time.monotonic() - started:.0f} s", flush=True)
            return time.monotonic() - started
        time.sleep(0.25)
    raise FellShort("the engine did not come back")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gateway", type=int, default=20)
    parser.add_argument("--engine", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--small-engine", action="store_true", help="of the tests, not vLLM")
    args = parser.parse_args()
    figures: dict[str, object] = {}
    missed = []
    with tempfile.TemporaryDirectory(prefix="pawl-kills-") as folder:
        try:
            figures = kill_servers(
                args.gateway, args.engine, Path(folder), args.seed, is_small=args.small_engine
            )
        except FellShort as err:
            missed.append(str(err))
    title = "kill -9 of gateway and engine at random moments"
    if args.small_engine:
        finish("kills-small", f"{title}, the tests' small engine", figures, missed=missed)
    else:
        finish("kills-servers", title, figures, missed=missed)


if __name__ == "__main__":
    main()
