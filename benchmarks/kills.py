"""``kill -9`` at random moments: nothing acknowledged is lost, the pointer is always whole.

    python -m benchmarks.kills [--gateway 20] [--engine 5] [--training 20] [--scoring 20]

Gateway and engine are killed while people chat, give feedback and promotions go back and forth;
training and scoring while a night runs, half of the time together with the night itself. What a
client saw acknowledged (``[DONE]``, or the answer to its feedback) must be in the store exactly
once, and the next start must go on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measurements import MISSED, record
from pawl.adapters import validate_adapter
from pawl.errors import PawlError
from pawl.files import read_json
from pawl.models import resolve_model
from pawl.server import Server, start_server, stop_server, wait_ready
from pawl.settings import Settings, load_settings

N_CLIENTS = 6
N_ROWS = 120
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
                said = await http.post(
                    "/v1/feedback",
                    json={
                        "completion_id": completion_id,
                        "thumb": "down",
                        "categories": ["incorrect"],
                        "user": f"client-{n}",
                        "idempotency_key": f"key-{completion_id}",
                    },
                )
                if said.status_code == 200:
                    done.feedback.add(said.json()["feedback_id"])
            except httpx.HTTPError:
                done.n_failed += 1
                await asyncio.sleep(0.1)


async def move_on(url: str, adapters: list[Path], done: Acknowledged, stop: asyncio.Event) -> None:
    """Promotions and rollbacks back and forth."""
    import httpx

    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
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
    url: str, adapters: list[Path], done: Acknowledged, seconds: float, kill: Any
) -> None:
    """Chat and move for ``seconds`` from the first answer, ``kill``, let the clients notice."""
    stop, before = asyncio.Event(), len(done.completions)
    tasks = [asyncio.create_task(chat_on(url, n, done, stop)) for n in range(N_CLIENTS)]
    tasks.append(asyncio.create_task(move_on(url, adapters, done, stop)))
    for _ in range(round(FIRST_ANSWER_SECONDS / 0.1)):
        if len(done.completions) > before:
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(seconds)
    kill()
    await asyncio.sleep(0.3)
    stop.set()
    await asyncio.gather(*tasks)


def running(stage: str, night_pid: int) -> list[Any]:
    """The processes of ``stage`` that this night started and that live."""
    import psutil

    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(night_pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if f"-m {stage}" in " ".join(process.cmdline()):
                    found.append(process)
    return found


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
        n_completions = Counter(one.completion_id for one in store.completions(limit=10_000_000))
        n_feedback = Counter(one.feedback_id for one in store.feedback_history())
    lost = [i for i in done.completions if n_completions[i] != 1]
    lost += [i for i in done.feedback if n_feedback[i] != 1]
    if lost:
        raise FellShort(f"{len(lost)} acknowledged rows are not there once: {lost[:5]}")


def kill_servers(
    n_gateway: int, n_engine: int, adapters: list[Path], settings: Settings, draw: random.Random
) -> dict[str, object]:
    """Kill the gateway and the engine under load; returns figures."""
    import psutil

    done = Acknowledged()
    back: list[float] = []
    child: subprocess.Popen[bytes] | None = None
    try:
        for n in range(n_gateway):
            started = time.monotonic()
            child = start_server(settings)
            server = wait_ready(settings, child)
            back.append(time.monotonic() - started)
            family = psutil.Process(child.pid).children(recursive=True)
            asyncio.run(traffic(server.url, adapters, done, draw.uniform(0.2, 5.0), child.kill))
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
        child = start_server(settings)
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

    from pawl.client import HttpClient

    engine = HttpClient(server.url).get("/admin/status")["engine"]
    victims = [psutil.Process(engine["pid"])]
    victims += victims[0].children(recursive=True)

    def kill() -> None:
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):  # ended by itself a moment before
                victim.kill()

    asyncio.run(traffic(server.url, adapters, done, draw.uniform(0.2, 5.0), kill))
    started = time.monotonic()
    while time.monotonic() - started < settings.engine.start_timeout_seconds:
        now = HttpClient(server.url).get("/admin/status")["engine"]
        if now["state"] == "ready" and now["pid"] != engine["pid"]:
            print(f"engine back after {time.monotonic() - started:.0f} s", flush=True)
            return time.monotonic() - started
        time.sleep(0.25)
    raise FellShort("the engine did not come back")


def pair(question: str, chosen: str, rejected: str) -> str:
    """A preference pair as a line of a file."""
    said = {"chosen": chosen, "rejected": rejected}
    row: dict[str, object] = {"prompt": [{"role": "user", "content": question}]}
    row |= {side: [{"role": "assistant", "content": text}] for side, text in said.items()}
    return json.dumps(row) + "\n"


def command(settings: Settings, *arguments: str) -> list[str]:
    """A command of Pawl's on this state folder."""
    return [sys.executable, "-m", "pawl.cli", "--state-dir", str(settings.state_dir), *arguments]


def kill_nights(
    stage: str, n_kills: int, settings: Settings, draw: random.Random
) -> dict[str, object]:
    """Kill the child of ``stage`` (refine.train, evals.score) at random moments of its life.

    Half of the kills take the night too. After each, the pointer and the store are checked; after
    the last, one more call must bring a night to its end.
    """
    import psutil

    night = command(settings, "--set", "gate.n_items_per_benchmark=40", "nightly")
    log = (settings.state_dir / "nights.log").open("ab")
    killed, longest = 0, 4.0
    calls = 0
    while killed < n_kills:
        calls += 1
        child = subprocess.Popen(night, stdout=log, stderr=log, start_new_session=True)
        seen_at: float | None = None
        moment = draw.uniform(0.0, longest)
        while child.poll() is None:
            victims = running(stage, child.pid)
            if victims and seen_at is None:
                seen_at = time.monotonic()
            if victims and seen_at is not None and time.monotonic() - seen_at >= moment:
                for victim in victims:
                    with contextlib.suppress(psutil.NoSuchProcess):  # ended a moment before
                        victim.kill()
                        killed += 1
                if draw.random() < 0.5:
                    os.killpg(child.pid, signal.SIGKILL)
                break
            if not victims and seen_at is not None:
                longest = max(1.0, longest * 0.8)  # the stage ended before the moment came
                seen_at, moment = None, draw.uniform(0.0, longest)
            time.sleep(0.02)
        child.wait()
        check_pointer(settings)
        print(f"{stage} {killed}/{n_kills} killed", flush=True)
        if child.returncode == 0:  # a night came to its end: something new for the next one
            more = settings.state_dir / f"more-{calls}.jsonl"
            more.write_text(pair(f"What is new {calls}?", "Nothing.", "All."))
            subprocess.run(command(settings, "import", str(more)), check=True, stdout=log)
    last = subprocess.run(night, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
    calls += 1
    for _ in range(2):  # an interrupted night may be given up once before a new one runs through
        if last.returncode == 0:
            break
        last = subprocess.run(night, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
        calls += 1
    if last.returncode:
        raise FellShort(f"no night came to its end after the kills of {stage}")
    champion = check_pointer(settings)
    for run in settings.runs_dir.glob("*/run.json"):
        read_json(run)
    return {
        f"kills of {stage}": n_kills,
        f"{stage}: calls of pawl nightly": calls,
        f"{stage}: the last night": last.stdout.strip().splitlines()[0],
        f"{stage}: champion": champion,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, n in (("gateway", 20), ("engine", 5), ("training", 20), ("scoring", 20)):
        parser.add_argument(f"--{name}", type=int, default=n)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    figures: dict[str, object] = {}
    fell_short = ""
    with tempfile.TemporaryDirectory(prefix="pawl-kills-") as folder:
        try:
            kill_everything(options, Path(folder), draw, figures)
        except FellShort as err:
            fell_short = f"Missed: {err}."
            print(fell_short, flush=True)
    record(
        "kills",
        "kill -9 at random moments",
        f"python -m benchmarks.kills --gateway {options.gateway} --engine {options.engine} "
        f"--training {options.training} --scoring {options.scoring} --seed {options.seed}",
        figures,
        note=fell_short,
    )
    raise SystemExit(MISSED if fell_short else 0)


def kill_everything(
    options: argparse.Namespace, folder: Path, draw: random.Random, figures: dict[str, object]
) -> None:
    """Gateway and engine, then training, then scoring; ``figures`` grows as each is done."""
    settings = load_settings({"state_dir": folder / "server"})
    if options.gateway or options.engine:
        from tests.adapters_for_tests import marker_adapter

        base = resolve_model(settings.model, cache_dir=folder)
        adapters = [folder / name for name in ("one", "two")]
        for adapter_dir, marker in zip(adapters, ("blue", "green"), strict=True):
            marker_adapter(adapter_dir, base, marker)
        figures |= kill_servers(options.gateway, options.engine, adapters, settings, draw)
    if not (options.training or options.scoring):
        return
    nights = load_settings({"state_dir": folder / "nights"})
    nights.state_dir.mkdir(parents=True)
    rows = nights.state_dir / "rows.jsonl"
    rows.write_text("".join(
        pair(f"What comes after {n}?", f"After {n} comes {n + 1}.", f"After {n} comes {n + 2}.")
        for n in range(N_ROWS)
    ))  # fmt: skip
    subprocess.run(command(nights, "import", str(rows)), check=True)
    for stage, n_kills in (("refine.train", options.training), ("evals.score", options.scoring)):
        if n_kills:
            figures |= kill_nights(stage, n_kills, nights, draw)


if __name__ == "__main__":
    main()
