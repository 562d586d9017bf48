"""Promotions and rollbacks under load: no answer fails or is cut, and each is of one version.

Three adapters are trained to answer with a letter of their own over and over, so every token of an
answer tells who wrote it. While streams run without pause, the champion is moved to and fro through
the admin routes, with the gate's verdicts beside the adapters. What a client read must be whole,
written from its first token to its last by the version in its header, and stored like that.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pawl.models import BaseModel
from pawl.server import api_key_of
from pawl.settings import Settings
from pawl.sse import DONE, EventParser
from tests.adapters_for_tests import approved_run, marker_adapter

MARKERS = "xyz"
MIN_TOKENS, MAX_TOKENS = 16, 96
ROLLBACK_EVERY = 3  # moves: two promotions, one rollback
BASE_EVERY = 10  # moves: and now and then all the way back


@dataclass
class Load:
    """What the streams met. ``answers``: version and text by completion id."""

    answers: dict[str, tuple[str, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    n_across_a_move: int = 0  # answers during which the champion changed
    longest_silence_seconds: float = 0.0  # between two chunks of one answer


@dataclass
class Moves:
    """What the champion did."""

    done: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    markers: dict[str, str] = field(default_factory=dict)  # version -> the letter that it answers


async def stream_on(url: str, seed: int, load: Load, moves: Moves, stop: asyncio.Event) -> None:
    """One client that asks the champion again and again, and checks what it reads."""
    import aiohttp

    rng = random.Random(seed)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        while not stop.is_set():
            n_tokens = rng.randint(MIN_TOKENS, MAX_TOKENS)
            body = {
                "model": "pawl",
                "stream": True,
                "max_tokens": n_tokens,
                "temperature": 0,
                "messages": [{"role": "user", "content": f"Say {rng.randrange(10**6)}?"}],
            }
            n_moves = len(moves.done)
            try:
                await _one_answer(session, url, body, n_tokens, load)
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as err:
                load.faults.append(f"{type(err).__name__}: {err}")
            load.n_across_a_move += len(moves.done) > n_moves


async def _one_answer(
    session: Any, url: str, body: dict[str, Any], n_tokens: int, load: Load
) -> None:
    text, reason, done, last = "", None, False, 0.0
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        if answer.status != 200:
            load.faults.append(f"{answer.status}: {await answer.text()}")
            return
        version = answer.headers["X-Pawl-Version"]
        parser = EventParser()
        async for piece in answer.content.iter_any():
            for data in parser.feed(piece):
                now = time.monotonic()
                load.longest_silence_seconds = max(
                    load.longest_silence_seconds, now - last if last else 0.0
                )
                last = now
                if data == DONE:
                    done = True
                    continue
                chunk = json.loads(data)
                if "error" in chunk:
                    load.faults.append(f"an error in the stream: {chunk['error']['message']}")
                    return
                for choice in chunk["choices"]:
                    text += choice["delta"].get("content") or ""
                    reason = choice["finish_reason"] or reason
    completion_id = answer.headers["X-Pawl-Completion-Id"]
    if not done or (reason == "length" and version != "base" and len(text) != n_tokens):
        load.faults.append(f"{version} was cut: {len(text)} of {n_tokens}, {reason}, done {done}")
    load.answers[completion_id] = (version, text)


async def move_about(
    url: str, settings: Settings, adapters: dict[str, Path], n_moves: int, moves: Moves
) -> None:
    """Promote and roll back through the admin routes, one after the other."""
    import aiohttp

    headers = {"Authorization": f"Bearer {api_key_of(settings)}"}
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:

        async def call(path: str, body: dict[str, Any] | None = None) -> Any:
            verb = "GET" if body is None else "POST"
            async with session.request(verb, url + path, json=body) as answer:
                return await answer.json()

        for n in range(1, n_moves + 1):
            champion = (await call("/admin/status"))["champion"]
            began = time.monotonic()
            if n % BASE_EVERY == 0 and champion != "base":
                moved = await call("/admin/rollback", {"to": "base"})
            elif n % ROLLBACK_EVERY == 0 and champion != "base":
                moved = await call("/admin/rollback", {})
            else:
                others = [one for one in adapters if one != moves.markers.get(champion)]
                marker = others[n % len(others)]
                approved_run(settings.runs_dir, f"run-{n}", adapters[marker], champion)
                moved = await call("/admin/promotions", {"run_dir": f"run-{n}"})
                if "version" in moved:
                    moves.markers[moved["version"]] = marker
            moves.seconds.append(time.monotonic() - began)
            moves.done.append(moved)
            await asyncio.sleep(0.5)  # so that answers begin and end under every champion


def check(load: Load, moves: Moves, settings: Settings) -> list[str]:
    """Everything that was not as it must be: faults of the streams, of the moves, of the store."""
    from feedback.store import Store

    faults = [*load.faults]
    faults += [
        f"a move ended otherwise: {one}" for one in moves.done if one.get("outcome") != "live"
    ]
    with Store.open(settings.database_path) as store:
        for completion_id, (version, text) in load.answers.items():
            letters = set(text)
            if version == "base":
                if len(letters) == 1 and letters <= set(moves.markers.values()):
                    faults.append(f"{completion_id}: the base answered like an adapter")
            elif letters != {moves.markers.get(version)}:
                faults.append(f"{completion_id}: {version} answered {text!r}")
            kept = store.get_completion(completion_id)
            if kept is None or (kept.version, kept.completion) != (version, text):
                faults.append(f"{completion_id}: stored as {kept}")
        if store.champion() != moves.done[-1].get("version"):
            faults.append(f"the store names {store.champion()} as champion")
    return faults


async def drive(
    url: str, settings: Settings, adapters: dict[str, Path], n_moves: int, n_streams: int
) -> tuple[Load, Moves]:
    """Move the champion of a running server under load.

    Args:
        settings: the server's own.
        adapters: a marker adapter's folder by its letter.
    """
    load, moves, stop = Load(), Moves(), asyncio.Event()
    streams = [
        asyncio.create_task(stream_on(url, seed, load, moves, stop)) for seed in range(n_streams)
    ]
    try:
        await move_about(url, settings, adapters, n_moves, moves)
    finally:
        stop.set()
        await asyncio.gather(*streams)
    return load, moves


def make_adapters(folder: Path, base: BaseModel) -> dict[str, Path]:
    """Train one marker adapter a letter, on one thread: beside anything else that computes, more
    threads make it slower."""
    import torch

    torch.set_num_threads(1)
    return {one: marker_adapter(folder / one, base, one) for one in MARKERS}
