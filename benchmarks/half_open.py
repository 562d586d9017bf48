"""Thousands of connections that send nothing, or half a request, against a server with few files.

    python -m benchmarks.half_open [--connections 2000] [--files 1024] [--seconds 60] [--no-record]

Half of them send nothing, half the beginning of a request; each that the server closes is opened
again at once. Meanwhile somebody with the right key asks every half second, on a new connection.
Without bounds 1,100 such connections shut the server and wrote 364 MB of log in 95 s.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.fake_server import REPOSITORY, fake_server
from benchmarks.figures import percentile
from benchmarks.measurements import finish

MOST_SECONDS, MOST_LOG_BYTES = 5.0, 1_000_000  # bars
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"


async def hold_open(host: str, port: int, sent: bytes, opened: list[float]) -> None:
    """A connection that is never used, opened again whenever it is closed."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            opened.append(time.monotonic())
            try:
                writer.write(sent)
                await reader.read()
            finally:
                writer.close()
        await asyncio.sleep(0.5)


async def ask_on(url: str, seconds: float) -> tuple[list[float], int]:
    """Seconds of each answer to the right key, and how many were none."""
    taken, n_failed, headers = [], 0, {"Authorization": "Bearer right"}
    body = {"model": "pawl", "messages": [{"role": "user", "content": "hello"}]}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        try:
            async with httpx.AsyncClient(
                timeout=MOST_SECONDS, headers=headers, verify=False, trust_env=False
            ) as http:
                answer = await http.post(url + "/v1/chat/completions", json=body)
            n_failed += answer.status_code != 200
        except httpx.HTTPError:
            n_failed += 1
        taken.append(time.monotonic() - began)
        await asyncio.sleep(0.5)
    return taken, n_failed


async def hold_all(url: str, n: int, seconds: float) -> int:
    """All of them, for a time; how often one was opened."""
    parts, opened = urlsplit(url), list[float]()
    holding = [
        asyncio.create_task(
            hold_open(str(parts.hostname), int(parts.port or 0), HEAD if i % 2 else b"", opened)
        )
        for i in range(n)
    ]
    await asyncio.sleep(seconds)
    for task in holding:
        task.cancel()
    await asyncio.gather(*holding, return_exceptions=True)
    return len(opened)


def measure(url: str, n: int, seconds: float) -> tuple[list[float], int, int]:
    """The connections from a process of their own, so that they don't slow who asks."""
    command = [sys.executable, "-m", "benchmarks.half_open", "--connections", str(n),
               "--seconds", str(seconds), "--hold", url]  # fmt: skip
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as holder:
        taken, n_failed = asyncio.run(ask_on(url, seconds))
        output, _ = holder.communicate(timeout=60)
    return taken, n_failed, int(output)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--files", type=int, default=1024, help="that the server may have open")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--no-record", action="store_true", help="print only")
    parser.add_argument("--hold", metavar="URL", help=argparse.SUPPRESS)
    args = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if args.hold:
        print(asyncio.run(hold_all(args.hold, args.connections, args.seconds)))
        return
    with tempfile.TemporaryDirectory(prefix="pawl-half-open-") as name:
        folder = Path(name)
        with fake_server(folder, (), {"api_key": "right"}, args.files) as url:
            logs = [folder / "server.log", *(folder / "state" / "logs").glob("*")]
            before = sum(path.stat().st_size for path in logs)
            taken, n_failed, n_opened = measure(url, args.connections, args.seconds)
            logs = [folder / "server.log", *(folder / "state" / "logs").glob("*")]
            grown = sum(path.stat().st_size for path in logs) - before
    missed = []
    if n_failed or max(taken) > MOST_SECONDS:
        missed.append(f"{n_failed} requests with the right key were not answered in time")
    if grown > MOST_LOG_BYTES:
        missed.append(f"the logs grew by {grown:,} bytes")
    figures = {
        f"{args.connections:,} half-open connections, {args.files:,} files": f"for "
        f"{args.seconds:.0f} s; opened {n_opened:,} times in all",
        "a right key's requests": f"{len(taken)}, {n_failed} not answered; median "
        f"{percentile(taken, 0.5):.3f} s, longest {max(taken):.3f} s (bar {MOST_SECONDS:.0f} s)",
        "the logs grew by": f"{grown:,} bytes (bar {MOST_LOG_BYTES:,})",
    }
    finish("half-open", "Half-open connections", figures, missed=missed, keep=not args.no_record)


if __name__ == "__main__":
    main()
