"""What the gateway adds to a request, against no proxy and against a bare aiohttp pass-through.

    python -m benchmarks.gateway [--rounds 8] [--requests 150] [--words 32]

All arms stand before the same fake engine, which answers at once. Upstream, each arm and the
client are processes of their own; the rounds take every arm in turn, in another order each time,
so that a busy machine slows all of them alike. Two figures an arm: the latency of one request
after the other, and the throughput of 32 at a time; each for whole answers and for streams.

A further arm is one more line in ``ARMS``: a name, and the command that serves
``/v1/chat/completions`` on a port before an upstream.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measurements import record
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine import free_port

if TYPE_CHECKING:
    import aiohttp

REPOSITORY = Path(__file__).resolve().parent.parent
CHAT = "/v1/chat/completions"
CONCURRENCY = 32
N_WARM_UP = 30


def own_arm(kind: str) -> Callable[[int, str], list[str]]:
    """The command of an arm that this file serves itself."""

    def command(port: int, upstream: str) -> list[str]:
        return [sys.executable, "-m", "benchmarks.gateway", "--serve", kind, str(port), upstream]

    return command


ARMS: dict[str, Callable[[int, str], list[str]]] = {
    "pass-through": own_arm("pass-through"),
    "pawl": own_arm("pawl"),
    "pawl, not recording": own_arm("pawl, not recording"),
}


# -- the arms


def serve_pass_through(port: int, upstream: str) -> None:
    """The least that a streaming proxy can do."""
    import aiohttp
    from aiohttp import web

    async def handle(request: web.Request) -> web.StreamResponse:
        session: aiohttp.ClientSession = request.app["session"]
        body = await request.read()
        headers = {"Content-Type": "application/json",
                   "X-Request-Id": request.headers.get("X-Request-Id", "none")}  # fmt: skip
        async with session.post(upstream + CHAT, data=body, headers=headers) as answer:
            response = web.StreamResponse(headers={"Content-Type": answer.content_type})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        await response.write_eof()
        return response

    async def make() -> web.Application:
        app = web.Application()
        app["session"] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        app.on_cleanup.append(lambda app: app["session"].close())
        app.router.add_post(CHAT, handle)
        return app

    web.run_app(make(), host="127.0.0.1", port=port, print=None)


@dataclass
class Upstream:
    """An engine that is always ready, at a fixed address."""

    base_url: str
    state: str = "ready"
    _session: Any = None

    @property
    def session(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
            )
        return self._session

    def unavailable(self) -> PawlError:
        return PawlError("never")


def serve_pawl(port: int, upstream: str, recording: bool) -> None:
    """Pawl's own gateway and store."""
    import uvicorn

    from feedback.store import Store
    from serve.app import PublicRoutes, make_app
    from serve.gateway import Gateway
    from serve.in_flight import InFlight
    from serve.metrics import Metrics
    from serve.up import Server, stop_on_signals

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state_dir=Path(folder))
        store = Store.open(settings.database_path)
        base = BaseModel("fake", Path(folder), None, "sha256:fake", "FakeForCausalLM", 512)
        engine = Upstream(upstream)
        gateway = Gateway(store, engine, base, InFlight(), Metrics(), lambda: (),
                          settings.engine.max_prompt_bytes, record=recording)  # fmt: skip
        routes = PublicRoutes(store, None, gateway).routes()
        config = uvicorn.Config(make_app(routes, settings), host="127.0.0.1", port=port,
                                access_log=False, log_level="warning")  # fmt: skip

        async def serve() -> None:
            server = Server(config)
            stop_on_signals(server)
            await server.serve()
            await engine.session.close()

        asyncio.run(serve())
        store.close()


# -- the client


async def one_request(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
    async with session.post(url + CHAT, json=body, headers={"X-Request-Id": "bench"}) as answer:
        raw = await answer.read()
        if answer.status != 200 or (body["stream"] and not raw.endswith(b"data: [DONE]\n\n")):
            raise RuntimeError(f"{url} answered {answer.status}: {raw[-300:]!r}")


async def latencies(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], n: int
) -> list[float]:
    """Seconds of each of ``n`` requests, one after the other."""
    taken = []
    for _ in range(n):
        began = time.perf_counter()
        await one_request(session, url, body)
        taken.append(time.perf_counter() - began)
    return taken


async def throughput(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], n: int
) -> float:
    """Requests a second with ``CONCURRENCY`` under way at a time."""
    waiting = iter(range(n))

    async def worker() -> None:
        for _ in waiting:
            await one_request(session, url, body)

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return n / (time.perf_counter() - began)


async def measure(urls: dict[str, str], rounds: int, n: int, n_words: int) -> dict[str, str]:
    """All figures, in words."""
    import aiohttp

    seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
    rates: dict[tuple[str, bool], list[float]] = defaultdict(list)
    order = list(urls)
    message = {"role": "user", "content": f"count {n_words}"}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        for round_index in range(rounds + 1):
            random.Random(round_index).shuffle(order)
            for name in order:
                for stream in (False, True):
                    body = {"model": "base", "messages": [message], "stream": stream}
                    if round_index == 0:  # caches, connections, imports: not counted
                        await throughput(session, urls[name], body, N_WARM_UP)
                        continue
                    seconds[name, stream] += await latencies(session, urls[name], body, n)
                    rates[name, stream].append(await throughput(session, urls[name], body, n * 2))
            print(f"round {round_index} of {rounds}", file=sys.stderr)
    figures = {}
    for stream in (False, True):
        what = f"stream of {n_words} tokens" if stream else "whole answer"
        direct = sorted(seconds["direct", stream])
        for name in urls:
            taken = sorted(seconds[name, stream])
            rate = statistics.median(rates[name, stream])
            text = f"median {1e3 * middle(taken):.2f} ms, p99 {1e3 * tail(taken):.2f} ms, " \
                   f"{rate:,.0f} requests/s"  # fmt: skip
            if name != "direct":
                text += f"; adds median {1e3 * (middle(taken) - middle(direct)):.2f} ms, " \
                        f"p99 {1e3 * (tail(taken) - tail(direct)):.2f} ms"  # fmt: skip
            figures[f"{what}: {name}"] = text
        plain = statistics.median(rates["pass-through", stream])
        pawl = statistics.median(rates["pawl", stream])
        silent = statistics.median(rates["pawl, not recording", stream])
        figures[f"{what}: ratios"] = (
            f"gateway / pass-through throughput {pawl / plain:.2f}; "
            f"recording on / off {pawl / silent:.2f}"
        )
    return figures


def middle(taken: list[float]) -> float:
    return statistics.median(taken)


def tail(taken: list[float]) -> float:
    return taken[int(0.99 * (len(taken) - 1))]


def start(command: list[str], port: int, children: list[subprocess.Popen[bytes]]) -> str:
    """Start a server and wait until it takes connections; its address."""
    import socket

    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    child = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
    children.append(child)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise RuntimeError(f"{command} ended with {child.returncode}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return f"http://127.0.0.1:{port}"
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{command} did not listen")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--requests", type=int, default=150, help="a round, an arm and a kind")
    parser.add_argument("--words", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--no-record", action="store_true", help="print only")
    parser.add_argument("--serve", nargs=3, metavar=("ARM", "PORT", "UPSTREAM"))
    options = parser.parse_args()
    if options.serve:
        kind, port, upstream = options.serve
        if kind == "pass-through":
            serve_pass_through(int(port), upstream)
        else:
            serve_pawl(int(port), upstream, recording=kind == "pawl")
        return
    children: list[subprocess.Popen[bytes]] = []
    try:
        port = free_port()
        fake = str(REPOSITORY / "tests/serve/fake_vllm.py")
        urls = {"direct": start([sys.executable, fake, str(port)], port, children)}
        for name, command in ARMS.items():
            port = free_port()
            urls[name] = start(command(port, urls["direct"]), port, children)
        figures = asyncio.run(measure(urls, options.rounds, options.requests, options.words))
    finally:
        for child in children:
            child.terminate()
        for child in children:
            child.wait(20)
    for name, text in figures.items():
        print(f"{name:<44} {text}")
    if not options.no_record:
        note = (
            "Fake upstream that answers at once; client, upstream and each arm are processes of "
            f"their own; throughput with {CONCURRENCY} requests at a time."
        )
        title, typed = "The gateway against a bare pass-through", "python -m benchmarks.gateway"
        record("gateway", title, typed, figures, note=note)


if __name__ == "__main__":
    main()
