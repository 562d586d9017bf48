"""Odd requests by the thousand: nothing breaks, nobody waits for ever, memory stays.

    python -m benchmarks.fuzz [--cases 10000] [--requests 100000] [--real-requests 10000] [--seed 0]

Three parts, any of which 0 leaves out. Schemathesis makes cases of ``/openapi.json``, half of them
with names and ids that exist, and holds each answer to it. Our own generator
(``benchmarks/fuzz_requests.py``) sends raw requests to every route under every role, to a server
before the tests' small engine, and a smaller number of them to one before vLLM with a tiny model.

Missed: a 5xx but 503, an answer that ``/openapi.json`` does not declare, no answer within 30 s, a
gateway that holds over 10 % more memory after than before (after the first tenth, in which it
fills its caches), an engine that was started again.

Over 400 lines: the three parts share their servers, their counts and what is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks import environments
from benchmarks.fake_server import REPOSITORY, fake_server
from benchmarks.fuzz_requests import HELLO, MORE_ROUTES, Requests, Sent
from benchmarks.measurements import MISSED, finish
from pawl.files import read_json

PINS = Path(__file__).parent / "schemathesis.txt"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance,unsupported_method,ignored_auth"
)
API_KEY = "fuzz-administrator"
HANG_SECONDS = 30.0
GROWTH = 0.10
N_AT_ONCE = 32
PATIENCE_SECONDS = 3.0  # with a server that may rightly wait for the rest of a request
N_SHOWN = 5  # of each kind of failure


# -- schemathesis


def run_schemathesis(url: str, n_cases: int, seed: int, folder: Path) -> tuple[int, list[str]]:
    """Let it make ``n_cases`` or more; how many there were, and what failed, in its words."""
    do = "Let pip reach a registry, or run with --cases 0"
    environment_dir = REPOSITORY / ".venv-schemathesis"
    command = environments.install("Schemathesis", PINS, environment_dir, do) / "schemathesis"
    plain = httpx.get(url + "/openapi.json").json()
    n_operations = sum(len(methods) for methods in plain["paths"].values())
    n_done, failed = 0, []
    while n_done < n_cases:
        # In turn as it is served, and with what exists here, so that cases get behind the ids.
        schema = plain if n_done == 0 else with_known_names(plain, url)
        left = (n_cases / 2 if n_done == 0 else n_cases - n_done) / n_operations
        phases = "examples,coverage,fuzzing,stateful" if left > 100 else "fuzzing"
        path, report = folder / "openapi.json", folder / "report.json"
        path.write_text(json.dumps(schema), "utf-8")
        done = subprocess.run(
            [str(command), "run", str(path), "--url", url, "--checks", CHECKS, "--phases", phases,
             "--max-examples", str(max(1, round(left))), "--seed", str(seed + n_done),
             "--continue-on-failure", "--no-shrink", "--report", "json", "--report-json-path",
             str(report), "--request-timeout", str(HANG_SECONDS), "--warnings", "off",
             "--header", f"Authorization: Bearer {API_KEY}"],
            cwd=folder, capture_output=True, encoding="utf-8", check=False,
            env={**os.environ, "PYTHONPATH": "", "NO_COLOR": "1"},
        )  # fmt: skip
        if done.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(f"schemathesis ended with {done.returncode}: {done.stderr[-2000:]}")
        result = read_json(report)
        n_done += result["test_cases"]["generated"]
        # The check sends wrong keys by the hundred; 429 is what the documents say of that.
        got = set(re.findall(r"Expected 401 or 403, got `(\d+)", done.stdout))
        throttled = {"Unexpected response to invalid authentication"} if got == {"429"} else set()
        failed += [
            f"{one['title']} at {', '.join(one['operations'])}"
            for one in result["failures"]
            if one["title"] not in throttled
        ]
        failed += [str(one) for one in result["errors"]]
        if result["failures"] or result["errors"]:
            print(done.stdout[-20_000:], file=sys.stderr)
    return n_done, sorted(set(failed))


def with_known_names(schema: dict[str, Any], url: str) -> dict[str, Any]:
    """The schema with names of models and the id of an answer in the places of any text."""
    names = {"model": ["pawl", "base"], "completion_id": [new_answer(url)], "run_id": ["r"],
             "conversation_id": ["c"], "name": ["pawl", "nobody"]}  # fmt: skip
    schema = json.loads(json.dumps(schema))
    for body in schema["components"]["schemas"].values():
        if not str(body.get("title", "")).endswith("Request"):
            continue
        for name, values in names.items():
            if name in body.get("properties", {}) and name != "name":
                body["properties"][name] = {"type": "string", "enum": values}
    for methods in schema["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in names:
                    parameter["schema"] = {"type": "string", "enum": names[parameter["name"]]}
    return dict(schema)


def new_answer(url: str) -> str:
    """The id of an answer that is recorded now."""
    body = {"model": "pawl", "messages": HELLO, "max_tokens": 2}
    headers = {"Authorization": f"Bearer {API_KEY}"}
    answer = httpx.post(url + "/v1/chat/completions", json=body, headers=headers, timeout=60)
    return str(answer.raise_for_status().json()["id"])


# -- our own requests


@dataclass
class Found:
    """What came back."""

    n: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    failures: dict[str, list[Sent]] = field(default_factory=lambda: defaultdict(list))
    n_failures: Counter[str] = field(default_factory=Counter)
    before: tuple[int, int] = (0, 0)  # bytes of the gateway, and of these the store's
    after: tuple[int, int] = (0, 0)

    def fail(self, kind: str, sent: Sent) -> None:
        self.n_failures[kind] += 1
        if len(self.failures[kind]) < N_SHOWN:
            self.failures[kind].append(sent)


@dataclass(slots=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes


async def read_response(
    reader: asyncio.StreamReader, is_head: bool, is_pages: bool = False
) -> Response:
    """Without the body of a stream of the pages, which have no end. Raises EOFError or ValueError:
    what came is no whole HTTP response."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ")[1])
        if status >= 200:
            break
    headers = {
        name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
    }
    body = b""
    is_endless = "transfer-encoding" in headers and is_pages
    if is_head or is_endless or status in (204, 304):
        return Response(status, headers, body)
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    else:
        body = await reader.read()
    return Response(status, headers, body)


class Client:
    """Sends requests one after the other, on one connection while it lasts."""

    def __init__(self, url: str, declared: dict[str, Any], found: Found) -> None:
        self._port, self._declared, self._found = int(url.rpartition(":")[2]), declared, found
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._before = ""  # the request before on this connection

    async def send(self, sent: Sent) -> None:
        if self._streams is None or not sent.is_framed:
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**20)
        reader, writer = self._streams
        began, response = time.monotonic(), None
        is_pages = b"/gradio_api/" in sent.raw.partition(b"\r\n")[0]
        try:
            async with asyncio.timeout(HANG_SECONDS if sent.is_framed else PATIENCE_SECONDS):
                writer.write(sent.raw)
                await writer.drain()
                response = await read_response(reader, sent.is_head, is_pages)
        except TimeoutError:
            if sent.is_framed:
                self._found.fail("no answer within 30 s", sent)
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            if sent.is_framed:
                sent.changes.append(f"after {self._before or 'nothing'}")
                self._found.fail(f"no whole answer: {type(error).__name__}", sent)
        seconds = time.monotonic() - began
        self._found.n += 1
        if response is None:
            self._found.statuses["cut"] += 1
        else:
            self._found.slowest = max(self._found.slowest, seconds)
            self._found.statuses[str(response.status)] += 1
            for problem in problems_of(sent, response, self._declared):
                self._found.fail(problem, sent)
        if (
            response is None or not sent.is_framed or is_pages
            or response.headers.get("connection") == "close"
        ):  # fmt: skip
            self.close()
        else:
            self._before = f"{sent.changes} {sent.raw[:300]!r} {response.status}"

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams, self._before = None, ""


def problems_of(sent: Sent, response: Response, declared: dict[str, Any]) -> Iterator[str]:
    status, path = response.status, sent.raw.split(b" ", 2)[1]
    if status >= 500 and status != 503:
        yield f"{status}"
    kind = response.headers.get("content-type", "").partition(";")[0]
    if sent.route in declared and sent.is_framed:
        content = declared[sent.route].get(str(status), {}).get("content")
        if content is None:
            yield f"{status} is not declared"
        elif kind not in content and not sent.is_head:
            yield f"{status} with {kind} is not declared"
    if (
        status >= 400
        and sent.is_framed
        and path.startswith((b"/v1", b"/admin"))
        and not sent.is_head
    ):
        try:
            ok = isinstance(json.loads(response.body)["error"]["message"], str)
        except (ValueError, KeyError, TypeError):
            ok = False
        if not ok:
            yield f"{status} without the shape of an error"


async def fuzz(
    url: str, pid: int, requests: Requests, declared: dict[str, Any], n: int, found: Found
) -> None:
    """Send ``n`` requests, ``N_AT_ONCE`` at a time."""
    n_begun = 0
    n_warm = n // 10

    async def work() -> None:
        nonlocal n_begun
        client = Client(url, declared, found)
        while n_begun < n:
            n_begun += 1
            if n_begun == n_warm:
                found.before = await asyncio.to_thread(memory_of, pid, url)
            if n_begun % 5_000 == 0:
                all_, store = await asyncio.to_thread(memory_of, pid, url)
                print(f"{n_begun:,} of {n:,}; {all_ / 2**20:.0f} MiB, {store / 2**20:.0f} of them "
                      "the store's", flush=True)  # fmt: skip
            await client.send(requests.make())
        client.close()

    await asyncio.gather(*(work() for _ in range(N_AT_ONCE)))
    await asyncio.sleep(5)
    found.after = await asyncio.to_thread(memory_of, pid, url)


def memory_of(pid: int, url: str) -> tuple[int, int]:
    """Resident bytes, and the bytes of the store's file that are among them."""
    import psutil

    headers = {"Authorization": f"Bearer {API_KEY}"}
    text = httpx.get(url + "/metrics", headers=headers, timeout=60).raise_for_status().text
    [store] = re.findall(r"^pawl_store_memory_bytes (\S+)$", text, re.MULTILINE)
    return int(psutil.Process(pid).memory_info().rss), int(float(store))


def fuzz_server(url: str, state_dir: Path, n: int, seed: int) -> tuple[dict[str, str], list[str]]:
    """Fuzz a running server; figures, and what fell short."""
    from tests.serve.live import eventually

    administrator = httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=60
    )
    with administrator as http:
        schema = http.get("/openapi.json").json()
        keys: dict[str, str | None] = {"none": None, "wrong": "sk-wrong", "api_key": API_KEY}
        for role in ("user", "reviewer", "administrator"):
            body = {"name": f"fuzz-{role}", "role": role, "may_name_raters": role == "user"}
            keys[role] = http.post("/admin/keys", json=body).raise_for_status().json()["key"]
        eventually(lambda: http.get("/config").status_code != 503, "the page is built", 120)
        n_restarts = http.get("/health").json()["engine"]["n_restarts"]
        declared = {
            f"{method.upper()} {path}": operation["responses"]
            for path, methods in schema["paths"].items() for method, operation in methods.items()
        }  # fmt: skip
        requests = Requests(
            seed, [*declared, *MORE_ROUTES], keys, [new_answer(url) for _ in range(3)]
        )
        pid, found, began = (
            int(read_json(state_dir / "server.json")["pid"]),
            Found(),
            time.monotonic(),
        )
        asyncio.run(fuzz(url, pid, requests, declared, n, found))
        seconds = time.monotonic() - began
        new_answer(url)
        health = http.get("/health").json()["engine"]
    (before, store_before), (after, store_after) = found.before, found.after
    # The store's grows with what is recorded, as it should, up to a limit: the rest must not.
    growth = (after - store_after) / (before - store_before) - 1 if before else 0.0
    told = ", ".join(
        f"{count:,} times {status}" for status, count in sorted(found.statuses.items())
    )
    figures = {
        "requests": f"{found.n:,} in {seconds / 60:.1f} min: {told}",
        "slowest answer": f"{found.slowest:.1f} s (bar {HANG_SECONDS:.0f})",
        "memory of the gateway": f"{before / 2**20:.0f} MiB after the first tenth, of them "
        f"{store_before / 2**20:.0f} of the store's file; {after / 2**20:.0f} and "
        f"{store_after / 2**20:.0f} at the end ({growth:+.1%} without the file; bar {GROWTH:+.0%})",
        "engine": f"{health['state']}, started again {health['n_restarts'] - n_restarts} times",
    }
    missed = [f"{count:,} times {kind}" for kind, count in found.n_failures.items()]
    for kind, sent in found.failures.items():
        for one in sent:
            print(f"{kind}: {one.caller} {one.changes} {one.raw[:600]!r}", file=sys.stderr)
    if growth > GROWTH:
        missed.append(f"memory grew by {growth:.0%}")
    if health["state"] != "ready" or health["n_restarts"] != n_restarts:
        missed.append(f"the engine is {health['state']}, {health['n_restarts']} restarts")
    return figures, missed


@contextmanager
def real_server(folder: Path) -> Iterator[str]:
    """``pawl up`` before vLLM with a tiny model; its state is in ``folder/state``."""
    from pawl.server import start_server, stop_server, wait_ready
    from pawl.settings import load_settings
    from tests.serve.tiny_llama import make_tiny_llama

    model_dir = make_tiny_llama(folder / "model")
    settings = load_settings({"state_dir": folder / "state", "model": str(model_dir),
                              "engine": {"kv_cache_gib": 0.25}})  # fmt: skip
    child = start_server(settings, ("--set", "engine.kv_cache_gib=0.25"))
    try:
        yield wait_ready(settings, child).url
    finally:
        stop_server(child)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--cases", type=int, default=10_000, help="of schemathesis")
    parser.add_argument("--requests", type=int, default=100_000, help="of our own generator")
    parser.add_argument("--real-requests", type=int, default=10_000, help="of these, to vLLM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    os.environ["PAWL_API_KEY"] = API_KEY
    fell_short = False

    def tell(key: str, title: str, figures: dict[str, str], missed: list[str], note: str) -> None:
        """Each part has a section of its own, written when it is done."""
        nonlocal fell_short
        try:
            finish(key, title, figures, missed=missed, note=note, keep=not args.no_record)
        except SystemExit:
            fell_short = True

    if args.cases:
        with (
            tempfile.TemporaryDirectory(prefix="pawl-fuzz-") as folder,
            fake_server(Path(folder)) as url,
        ):
            began = time.monotonic()
            n_cases, failed = run_schemathesis(url, args.cases, args.seed, Path(folder))
            minutes = (time.monotonic() - began) / 60
        figures = {"cases": f"{n_cases:,} in {minutes:.0f} min",
                   "kinds of failure": f"{len(failed)} (bar 0)"}  # fmt: skip
        tell("fuzz-cases", "Schemathesis over /openapi.json", figures, failed,
             f"Checks: {CHECKS.replace(',', ', ')}.")  # fmt: skip
    for key, kind, server, n in (
        ("fuzz-requests", "the small engine", fake_server, args.requests),
        ("fuzz-vllm", "vLLM", real_server, args.real_requests),
    ):
        if not n:
            continue
        with (
            tempfile.TemporaryDirectory(prefix="pawl-fuzz-") as folder,
            server(Path(folder)) as url,
        ):
            figures, missed = fuzz_server(url, Path(folder) / "state", n, args.seed)
        tell(key, f"Odd requests to a server before {kind}", figures, missed,
             "Cut: the client hung up, or sent what is no HTTP request.")  # fmt: skip
    if fell_short:
        raise SystemExit(MISSED)


if __name__ == "__main__":
    main()
