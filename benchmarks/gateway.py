"""What the gateway adds to a request, against no proxy, a bare aiohttp pass-through and LiteLLM.

    python -m benchmarks.gateway [--rounds 8] [--requests 150] [--words 32] [--no-litellm]

All arms stand before the same fake engine, which answers at once. Upstream, each arm and the
client are processes of their own; the rounds take every arm in turn, in another order each time,
so that a busy machine slows all of them alike. Figures of an arm: the latency of one request
after the other, and latency and throughput with 32 at a time; each for whole answers and for
streams. LiteLLM is installed apart on first use (``benchmarks/litellm_proxy.py``).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import litellm_proxy
from benchmarks.figures import added, milliseconds, ratio_in_words
from benchmarks.measurements import finish
from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.engine.child import free_port

if TYPE_CHECKING:
    import aiohttp

REPOSITORY = Path(__file__).resolve().parent.parent
CHAT = "/v1/chat/completions"
CONCURRENCY = 32
N_WARM_UP = 64
START_SECONDS = 180
RATIOS = (("pawl", "pass-through"), ("pawl", "LiteLLM"), ("pawl", "pawl, not recording"))


OWN_ARMS = ("pass-through", "pawl", "pawl, not recording")  # served by this file


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
    n_serving: int = 1
    start_seconds: float | None = None
    loaded: frozenset[str] = frozenset()
    activity: Any = None
    _session: Any = None

    @property
    def session(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False
            )
        return self._session

    @property
    def replicas(self) -> tuple[Upstream]:
        return (self,)

    @contextlib.contextmanager
    def routed(self, *_: Any, **__: Any) -> Iterator[Upstream]:
        yield self

    def unavailable(self) -> PawlError:
        return PawlError("never")


def serve_pawl(port: int, upstream: str, recording: bool) -> None:
    """Pawl's own gateway and store."""
    from feedback.store import Store
    from serve.api.app import make_app
    from serve.api.completions import Gateway
    from serve.api.in_flight import InFlight
    from serve.api.metrics import Metrics
    from serve.engine.watchdog import Activity
    from serve.up import (
        Server,
        freeze_heap,
        listen,
        stop_on_signals,
    )

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(state_dir=Path(folder))
        store = Store.open(settings.database_path)
        base = BaseModel("fake", Path(folder), None, "sha256:fake", "FakeForCausalLM", 512)
        engine: Any = Upstream(upstream)
        gateway = Gateway(store, engine, base, InFlight(), Metrics(), lambda: (),
                          settings.engine.max_request_bytes, record=recording)  # fmt: skip
        engine.activity = Activity()

        async def serve() -> None:
            server = Server(make_app(settings, gateway), settings)
            stop_on_signals(server)
            freeze_heap()
            with listen("127.0.0.1", port) as listener:
                await server.serve(sockets=[listener])
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


async def at_once(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], n: int
) -> tuple[float, list[float]]:
    """Requests a second with ``CONCURRENCY`` under way at a time, and the seconds of each."""
    waiting = iter(range(n))
    taken: list[float] = []

    async def worker() -> None:
        for _ in waiting:
            taken.extend(await latencies(session, url, body, 1))

    began = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    return n / (time.perf_counter() - began), taken


@dataclass
class Measured:
    """What the rounds gave, by arm and by whether the answers were streamed."""

    alone: dict[tuple[str, bool], list[float]]  # seconds of each request
    together: dict[tuple[str, bool], list[float]]
    rates: dict[tuple[str, bool], list[float]]  # requests a second, one a round


async def measure(urls: dict[str, str], rounds: int, n: int, n_words: int) -> Measured:
    """Take every arm in every round, after one round that is not counted."""
    import aiohttp

    found = Measured(defaultdict(list), defaultdict(list), defaultdict(list))
    order = list(urls)
    message = {"role": "user", "content": f"count {n_words}"}
    # An arm idles while the others are measured, and uvicorn hangs up after 5 s: we do so first.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=2)
    async with aiohttp.ClientSession(connector=connector) as session:
        for round_index in range(rounds + 1):
            random.Random(round_index).shuffle(order)
            for name in order:
                for stream in (False, True):
                    body = {"model": "base", "messages": [message], "stream": stream}
                    if round_index == 0:  # caches, connections, imports
                        await at_once(session, urls[name], body, N_WARM_UP)
                        continue
                    arm = name, stream
                    found.alone[arm] += await latencies(session, urls[name], body, n)
                    rate, taken = await at_once(session, urls[name], body, n * 2)
                    found.together[arm] += taken
                    found.rates[arm].append(rate)
            print(f"round {round_index} of {rounds}", file=sys.stderr)
    return found


def figures_of(found: Measured, names: Sequence[str], n_words: int) -> dict[str, str]:
    """All figures, in words."""
    figures = {}
    for stream in (False, True):
        what = f"stream of {n_words} tokens" if stream else "whole answer"
        for name in names:
            arm, direct = (name, stream), ("direct", stream)
            rate = statistics.median(found.rates[arm])
            text = (
                f"{CONCURRENCY} at a time: {milliseconds(found.together[arm])}, "
                f"{rate:,.0f} requests/s; one at a time: {milliseconds(found.alone[arm])}"
            )
            if name != "direct":
                text += f", {added(found.alone[arm], found.alone[direct])}"
            figures[f"{what}: {name}"] = text
        for upper, lower in RATIOS:
            if upper in names and lower in names:
                figures[f"{what}: throughput of {upper} / {lower}"] = ratio_in_words(
                    found.rates[upper, stream], found.rates[lower, stream]
                )
    return figures


def start(
    command: list[str],
    port: int,
    children: list[subprocess.Popen[bytes]],
    more_environment: Mapping[str, str] | None = None,
) -> str:
    """Start a server and wait until it takes connections; its address."""
    import socket

    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **(more_environment or {})}
    child = subprocess.Popen(command, cwd=REPOSITORY, env=environment)
    children.append(child)
    deadline = time.monotonic() + START_SECONDS
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
    parser.add_argument("--no-litellm", action="store_true", help="leave its arm out")
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
    missing = "left out with --no-litellm" if options.no_litellm else ""
    litellm = None
    if not options.no_litellm:
        try:
            litellm = litellm_proxy.install()
        except PawlError as error:
            missing = str(error)
            print(f"LITELLM IS NOT MEASURED: {error}", file=sys.stderr)
    found, names = run_arms(options.rounds, options.requests, options.words, litellm)
    figures = figures_of(found, names, options.words)
    if missing:
        figures["LiteLLM"] = f"not measured: {' '.join(missing.split())}"
    finish(
        "gateway", "The gateway against a bare pass-through and LiteLLM", figures,
        missed=["LiteLLM was not measured"] if litellm is None and not options.no_litellm else [],
        note="Fake upstream that answers at once; client, upstream and each arm are processes of "
        f"their own. LiteLLM {litellm_proxy.version()}: its proxy with one worker, no database.",
        keep=not options.no_record,
    )  # fmt: skip


def run_arms(
    rounds: int, n_requests: int, n_words: int, litellm: Path | None
) -> tuple[Measured, list[str]]:
    """Start the upstream and every arm, measure, stop them; the arms' names too."""
    children: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="pawl-proxies-") as folder:
        try:
            port = free_port()
            fake = str(REPOSITORY / "tests/serve/fake_vllm.py")
            urls = {"direct": start([sys.executable, fake, str(port)], port, children)}
            for name in OWN_ARMS:
                port = free_port()
                command = [sys.executable, "-m", "benchmarks.gateway", "--serve", name]
                urls[name] = start([*command, str(port), urls["direct"]], port, children)
            if litellm is not None:
                port = free_port()
                proxy = litellm_proxy.proxy_command(litellm, Path(folder), port, urls["direct"])
                urls["LiteLLM"] = start(proxy, port, children, litellm_proxy.ENVIRONMENT)
            return asyncio.run(measure(urls, rounds, n_requests, n_words)), list(urls)
        finally:
            for child in children:
                child.terminate()
            for child in children:
                child.wait(20)


if __name__ == "__main__":
    main()
