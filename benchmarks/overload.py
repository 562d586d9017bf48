"""Many clients ask for more than the engine can do, and one of them for most of it.

    python -m benchmarks.overload [--seconds 40] [--times 3 10] [--no-record]

The server stands before the tests' small engine, which generates 16 answers at once, a token of
each in 20 ms and 2.5 ms more for each answer beside it (so 267 tokens/s at most); clients and
server are processes of their own. 50 clients, told apart by their keys, send whole requests of 8
tokens at fixed rates, whether or not they are answered; one of them sends half of all requests.
They don't wait as ``Retry-After`` says, so all of the overload arrives.

- goodput: tokens of whole answers a second, against the peak (16 requests at a time, no overload);
- share: tokens that each of the 49 got, against a fiftieth of the goodput;
- beside a greedy neighbour, who keeps 200 streams of 400 tokens waiting: seconds of a request of
  four tokens, against those without the neighbour.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.fake_server import fake_server
from benchmarks.figures import milliseconds, percentile
from benchmarks.measurements import finish

CHAT = "/v1/chat/completions"
N_CLIENTS = 50
N_PLACES = 16
STEP_SECONDS, SECONDS_PER_ANSWER = 0.02, 0.0025
N_TOKENS = 8
N_GREEDY_STREAMS = 200
N_SMALL = 60  # requests of four tokens, each time
GREEDY = 0  # number of that client
FAIR, GOOD, SLOWED = 0.9, 0.9, 2.0  # bars
ALLOWED = {200, 429, 503}
WARM_UP_SECONDS = 8.0  # from an empty queue to a full one


@dataclass
class Answers:
    """What came back: statuses, and when how many tokens came for whom."""

    statuses: Counter[int] = field(default_factory=Counter)
    whole: list[tuple[float, int, int]] = field(default_factory=list)  # seconds, client, tokens

    def tokens(self, begin: float, end: float) -> Counter[int]:
        """Tokens of each client's answers that ended in this time."""
        found: Counter[int] = Counter()
        for at, client, n_tokens in self.whole:
            if begin <= at < end:
                found[client] += n_tokens
        return found


async def ask(
    session: aiohttp.ClientSession, url: str, client: int, n_tokens: int, answers: Answers,
    stream: bool = False,
) -> None:  # fmt: skip
    body: dict[str, Any] = {"model": "pawl", "max_tokens": n_tokens, "stream": stream,
            "messages": [{"role": "user", "content": f"count {n_tokens}"}]}  # fmt: skip
    headers = {"Authorization": f"Bearer client-{client}"}
    try:
        async with session.post(url + CHAT, json=body, headers=headers) as answer:
            raw = await answer.read()
            answers.statuses[answer.status] += 1
            if answer.status == 200 and (not stream or raw.endswith(b"data: [DONE]\n\n")):
                answers.whole.append((time.monotonic(), client, n_tokens))
    except aiohttp.ClientError:
        answers.statuses[0] += 1


async def peak(session: aiohttp.ClientSession, url: str, seconds: float) -> float:
    """Tokens a second with as many requests at a time as the engine has places."""
    answers, began = Answers(), time.monotonic()

    async def one_after_the_other(client: int) -> None:
        while time.monotonic() < began + seconds:
            await ask(session, url, client, N_TOKENS, answers)

    await asyncio.gather(*(one_after_the_other(100 + n) for n in range(N_PLACES)))
    return sum(answers.tokens(began + 1, began + seconds).values()) / (seconds - 1)


async def overload(
    session: aiohttp.ClientSession, url: str, times: float, capacity: float, seconds: float
) -> tuple[Counter[int], Counter[int]]:
    """Offer ``times`` the capacity (tokens/s); tokens by client, statuses."""
    answers, tasks = Answers(), set()
    began = time.monotonic()
    end = began + WARM_UP_SECONDS + seconds

    async def send_on(client: int) -> None:
        rate = times * capacity / N_TOKENS / 2
        if client != GREEDY:
            rate /= N_CLIENTS - 1
        n_sent = 0
        while True:
            due = began + (n_sent + client / N_CLIENTS) / rate
            if due > end:
                return
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            tasks.add(asyncio.create_task(ask(session, url, client, N_TOKENS, answers)))
            n_sent += 1

    await asyncio.gather(*(send_on(client) for client in range(N_CLIENTS)))
    await asyncio.gather(*tasks)
    return answers.tokens(began + WARM_UP_SECONDS, end), answers.statuses


async def small_requests(session: aiohttp.ClientSession, url: str) -> list[float]:
    """Seconds of requests of four tokens, one after the other."""
    taken, answers = [], Answers()
    for _ in range(N_SMALL):
        began = time.perf_counter()
        await ask(session, url, 1, 4, answers, stream=True)
        taken.append(time.perf_counter() - began)
    if set(answers.statuses) != {200}:
        raise RuntimeError(f"small requests were answered {answers.statuses}")
    return taken


async def beside_a_greedy_one(session: aiohttp.ClientSession, url: str) -> list[float]:
    """The same, while another client keeps ``N_GREEDY_STREAMS`` streams under way or waiting."""
    answers = Answers()

    async def stream_on() -> None:
        while True:
            await ask(session, url, GREEDY, 400, answers, stream=True)

    greedy = [asyncio.create_task(stream_on()) for _ in range(N_GREEDY_STREAMS)]
    try:
        await asyncio.sleep(3)
        return await small_requests(session, url)
    finally:
        for task in greedy:
            task.cancel()
        await asyncio.gather(*greedy, return_exceptions=True)


async def measure(url: str, times: list[float], seconds: float) -> tuple[dict[str, str], list[str]]:
    figures, missed = {}, []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        alone = await small_requests(session, url)
        beside = await beside_a_greedy_one(session, url)
        slowed = statistics.median(beside) / statistics.median(alone)
        figures["four tokens, alone"] = milliseconds(alone)
        figures[f"four tokens beside a client with {N_GREEDY_STREAMS} streams"] = (
            f"{milliseconds(beside)}; the median {slowed:.2f} times (bar {SLOWED:.0f})"
        )
        if slowed > SLOWED:
            missed.append(f"a greedy neighbour slows four tokens {slowed:.2f} times")
        capacity = await peak(session, url, seconds / 2)
        figures["peak"] = f"{capacity:.0f} tokens/s"
        for factor in times:
            tokens, statuses = await overload(session, url, factor, capacity, seconds)
            goodput = sum(tokens.values()) / seconds
            fair = sum(tokens.values()) / N_CLIENTS
            shares = [tokens[client] / fair for client in range(N_CLIENTS) if client != GREEDY]
            told = ", ".join(f"{n:,} times {status}" for status, n in sorted(statuses.items()))
            figures[f"{factor:g} times the peak: goodput"] = (
                f"{goodput:.0f} tokens/s, {goodput / capacity:.2f} of the peak (bar {GOOD})"
            )
            figures[f"{factor:g} times the peak: shares of the 49"] = (
                f"least {min(shares):.2f}, 10th percentile {percentile(shares, 0.1):.2f}, median "
                f"{statistics.median(shares):.2f} (bar {FAIR}); the greedy one's "
                f"{tokens[GREEDY] / fair:.2f}"
            )
            figures[f"{factor:g} times the peak: answers"] = told
            if goodput < GOOD * capacity:
                missed.append(f"goodput {goodput / capacity:.2f} at {factor:g} times the peak")
            if min(shares) < FAIR:
                missed.append(f"a share of {min(shares):.2f} at {factor:g} times the peak")
            if set(statuses) - ALLOWED:
                missed.append(f"answers {told} at {factor:g} times the peak")
    return figures, missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=40, help="of each overload")
    parser.add_argument("--times", type=float, nargs="*", default=[3, 10])
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    speed = ["--speed", str(N_PLACES + 3), str(STEP_SECONDS), str(SECONDS_PER_ANSWER)]
    settings = {"engine.max_concurrent_requests": N_PLACES}
    with (
        tempfile.TemporaryDirectory(prefix="pawl-overload-") as folder,
        fake_server(Path(folder), speed, settings) as url,
    ):
        figures, missed = asyncio.run(measure(url, args.times, args.seconds))
    finish(
        "overload", "Overload, and a greedy neighbour", figures, missed=missed,
        note=f"Small engine with {N_PLACES} places; {N_CLIENTS} clients, one of whom sends half of "
        f"all requests. Over {args.seconds:.0f} s a client has "
        "few answers, so a share is known to about one answer.",
        keep=not args.no_record,
    )  # fmt: skip


if __name__ == "__main__":
    main()
