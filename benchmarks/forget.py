"""``pawl forget`` proven by searching every byte that Pawl wrote; kills on the way; a large store.

    python -m benchmarks.forget [--kills 20] [--rows 100000] [--no-night]

A person with a marker in everything that they send (prompts, names, ids, corrections, comments,
arguments of tools) talks to a server beside others, over HTTP; a real night (a tiny model, TRL,
lm-eval) learns from both and promotes; rows are exported; a copy of the store lies in a salvage
folder. Then the person is forgotten while the others chat. Every file is searched before and after:
its bytes, what is packed in it, every value of the database, and token ids as text.

Over 400 lines: what is planted, where it is looked for and what else must stay are one story.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gzip
import json
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.fake_server import REPOSITORY
from benchmarks.measurements import finish
from pawl.files import read_json
from pawl.server import api_key_of
from pawl.settings import Settings, load_settings

N_CONVERSATIONS = 24  # of the person; the others have three times as many
FORGET_SECONDS = 300.0
# How the one marker of a person is told apart by the place where it was planted.
PLACES = ("rater", "conversation", "prompt", "system", "correction", "comment", "idempotency",
          "request", "tool", "argument")  # fmt: skip


@dataclass
class Planted:
    """What the person's markers are, and what is others'."""

    token: str = field(default_factory=lambda: f"zq{secrets.token_hex(6)}")
    others: list[str] = field(default_factory=list)  # completion ids

    def marker(self, place: str) -> str:
        assert place in PLACES
        return f"{place}{self.token}"

    @property
    def person(self) -> str:
        return f"front/{self.marker('rater')}"


# ---- searching, without a line of the product's own search


def search(state_dir: Path, token: str, model_dir: Path) -> dict[str, list[str]]:
    """The files in which the token is, each with the forms that it was found in."""
    found: dict[str, list[str]] = {}
    tokenizer = _tokenizer(model_dir)
    for path in sorted(one for one in state_dir.rglob("*") if one.is_file()):
        forms = sorted(set(_forms_in(path, token, tokenizer)))
        if forms:
            found[str(path.relative_to(state_dir))] = forms
    return found


def _tokenizer(model_dir: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(model_dir / "tokenizer.json"))


def _forms_in(path: Path, token: str, tokenizer: Any) -> Iterator[str]:
    raw = path.read_bytes()
    yield from _forms_of_bytes(raw, token)
    for name, data in _unpacked(path, raw):
        yield from (f"{name}, {form}" for form in _forms_of_bytes(data, token))
    if path.suffix in (".json", ".jsonl"):
        for line in [raw] if path.suffix == ".json" else raw.split(b"\n"):
            with contextlib.suppress(ValueError):
                for ids in _token_lists(json.loads(line)):
                    if token in tokenizer.decode(ids, skip_special_tokens=False):
                        yield "token ids"
    if raw[8:12] == b"DUCK":
        yield from _forms_in_database(path, token)


def _forms_of_bytes(data: bytes, token: str) -> Iterator[str]:
    encoded = token.encode()
    if encoded in data:
        yield "bytes"
    if encoded[::-1] in data:
        yield "reversed"
    if token.encode("utf-16-le") in data or token.encode("utf-16-be") in data:
        yield "UTF-16"
    if encoded.hex().encode() in data:
        yield "hex"
    for shift in range(3):  # the middle of it, whatever stands before
        middle = base64.b64encode(b"x" * shift + encoded)[4:-4]
        if middle in data:
            yield "base64"


def _unpacked(path: Path, raw: bytes) -> Iterator[tuple[str, bytes]]:
    if raw[:2] == b"\x1f\x8b":
        yield "gzip", gzip.decompress(raw)
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (("zip", archive.read(name)) for name in archive.namelist())
    elif raw[:1] == b"\x78":
        with contextlib.suppress(zlib.error):
            yield "zlib", zlib.decompress(raw)


def _token_lists(value: Any) -> Iterator[list[int]]:
    if isinstance(value, list):
        if len(value) > 3 and all(type(one) is int and 0 <= one < 400 for one in value):
            yield value
        else:
            for one in value:
                yield from _token_lists(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from _token_lists(one)


def _forms_in_database(path: Path, token: str) -> Iterator[str]:
    """Every value of every table, of a copy with its WAL."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder:
        for one in path.parent.glob(f"{path.name}*"):
            if one.is_file():
                shutil.copy(one, folder)
        with duckdb.connect(str(Path(folder) / path.name)) as connection:
            for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                [(n,)] = connection.execute(
                    f"SELECT count(*) FROM {table} t WHERE contains(t::VARCHAR, ?)", [token]
                ).fetchall()
                if n:
                    yield f"{n} rows of {table}"


# ---- planting


@contextlib.contextmanager
def server(state_dir: Path, model_dir: Path, log: Path) -> Iterator[str]:
    """``pawl up`` before the tests' small engine, on a state folder that may be there."""
    command = [sys.executable, "-m", "tests.serve.run_up", str(state_dir), str(model_dir), "0"]
    with log.open("ab") as output:
        child = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 120
        while True:
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text("utf-8")[-2000:])
            if (state_dir / "server.json").exists():
                info = read_json(state_dir / "server.json")
                if info["pid"] == child.pid and is_ready(info["url"]):
                    break
            time.sleep(0.1)
        yield str(info["url"])
    finally:
        child.terminate()
        child.wait(60)


def is_ready(url: str) -> bool:
    return bool(httpx.get(f"{url}/health", timeout=60).json()["engine"]["state"] == "ready")


def plant(url: str, key: str, planted: Planted) -> None:
    """Conversations of the person and of others, each with a complaint."""
    from tests.refine.tiny import ASKED, says

    with httpx.Client(base_url=url, timeout=60, headers={"Authorization": f"Bearer {key}"}) as http:
        for n in range(4 * N_CONVERSATIONS):
            is_theirs = n % 4 == 0
            mark = planted.marker if is_theirs else (lambda place: f"plain {place}")
            person = planted.marker("rater") if is_theirs else f"other-{n % 4}"
            headers = {"X-Pawl-Rater": person}
            if is_theirs:
                headers |= {
                    "X-Pawl-Conversation": f"{planted.marker('conversation')}-{n}",
                    "X-Request-Id": f"{planted.marker('request')}-{n}",
                }
            question = ASKED[n % len(ASKED)].format("grass")
            body = {
                "model": "pawl", "max_tokens": 16,
                "messages": [{"role": "system", "content": f"You are kind. {mark('system')}"},
                             {"role": "user", "content": f"{n}. {mark('prompt')} {question}"}],
            }  # fmt: skip
            answer = http.post("/v1/chat/completions", json=body, headers=headers)
            answer.raise_for_status()
            completion_id = answer.json()["id"]
            if is_theirs:
                http.get(f"/v1/conversations/{headers['X-Pawl-Conversation']}", headers=headers)
            else:
                planted.others.append(completion_id)
            for feedback in (
                {"thumb": "down", "categories": ["incorrect"], "comment": mark("comment"),
                 "correction": f"{says('grass', 'green')} {mark('correction')}",
                 "idempotency_key": f"{mark('idempotency')}-{n}"},
            ):  # fmt: skip
                body = {"completion_id": completion_id, **feedback}
                http.post("/v1/feedback", json=body, headers=headers).raise_for_status()


def plant_tools(settings: Settings, planted: Planted) -> None:
    """An answer that calls a tool: the tiny model's template knows none, so into the store."""
    from dataclasses import replace

    from feedback.store import Store

    with Store.open(settings.database_path) as store:
        [row, *_] = store.completions(rater_id=planted.person)
        call = {"id": "call-1", "type": "function", "function": {
            "name": "look_up", "arguments": json.dumps({"who": planted.marker("argument")}),
        }}  # fmt: skip
        heard = {"role": "tool", "content": planted.marker("tool"), "tool_call_id": "call-1"}
        asked = {"role": "assistant", "content": "", "tool_calls": [call]}
        messages = [*row.messages, asked, heard]
        store.append_completion(
            replace(row, completion_id="chatcmpl-tools", messages=messages, tool_calls=[call])
        ).result()


def night(settings: Settings) -> str:
    """A night that learns from both and promotes, without an engine."""
    from pawl.cli.connect import connect
    from refine.night.nightly import run_night

    result = run_night(connect(settings), settings, say=lambda line: print(f"  {line}", flush=True))
    return f"{result.outcome}, {result.promotion or 'no promotion'}"


def night_settings(model_dir: Path, state_dir: Path) -> Settings:
    return load_settings({
        "model": str(model_dir), "state_dir": state_dir,
        "train": {"n_epochs": 6, "learning_rate": 3e-3, "n_replay_rows": 30, "n_threads": 2},
        "gate": {"suite": "everyday", "n_items_per_benchmark": 20, "margin": 0.9, "n_placebos": 2,
                 "margin_anchor": 0.9},
    })  # fmt: skip


# ---- forgetting


async def chat_beside(url: str, key: str, stop: asyncio.Event, planted: Planted) -> list[float]:
    """Others ask meanwhile; how long each took, in seconds."""
    seconds = []
    headers = {"Authorization": f"Bearer {key}", "X-Pawl-Rater": "other-0"}
    body = {"model": "pawl", "messages": [{"role": "user", "content": "count 4"}]}
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=headers) as http:
        while not stop.is_set():
            began = time.monotonic()
            answer = await http.post("/v1/chat/completions", json=body)
            answer.raise_for_status()
            planted.others.append(answer.json()["id"])
            seconds.append(time.monotonic() - began)
    return seconds


async def forget_beside(url: str, key: str, state_dir: Path, planted: Planted) -> list[float]:
    stop = asyncio.Event()
    tasks = [asyncio.create_task(chat_beside(url, key, stop, planted)) for _ in range(4)]
    await asyncio.sleep(1)
    child = await asyncio.create_subprocess_exec(*forget_command(state_dir, planted.person),
                                                 cwd=REPOSITORY)  # fmt: skip
    code = await asyncio.wait_for(child.wait(), FORGET_SECONDS)
    await asyncio.sleep(0.5)
    stop.set()
    seconds = [one for some in await asyncio.gather(*tasks) for one in some]
    if code:
        raise SystemExit(f"pawl forget ended with code {code}")
    return seconds


def forget_command(state_dir: Path, person: str, *more: str) -> list[str]:
    return [sys.executable, "-m", "pawl.cli", "--state-dir", str(state_dir), *more, "forget",
            "--user", person, "--yes"]  # fmt: skip


def others_are_there(settings: Settings, planted: Planted) -> list[str]:
    """What of the others' is missing, in words."""
    from feedback.store import Store

    with Store.open(settings.database_path) as store:
        store.verify()
        there = {row.completion_id for row in store.completions()}
        n_feedback = len(store.feedback_history())
        names = {row.rater_id for row in store.completions()}
    missed = [f"answer {one} of others is gone" for one in planted.others if one not in there]
    if n_feedback != 3 * N_CONVERSATIONS:
        missed.append(f"{n_feedback} rows of feedback are left of {3 * N_CONVERSATIONS}")
    if planted.person in names:
        missed.append("rows stand under the person's name")
    return missed


def kill_rounds(before: Path, model_dir: Path, planted: Planted, n: int) -> list[str]:
    """Forget is killed at random moments, by kill -9, on copies of a state folder; the next call
    finishes it. What is left then, in words."""
    draw, missed = random.Random(0), []
    whole = [0.0]
    for round_ in range(n):
        state_dir = before.with_name(f"round-{round_}")
        shutil.copytree(before, state_dir)
        command = forget_command(state_dir, planted.person, "--set", f"model={model_dir}")
        n_killed = 0
        for _ in range(draw.randrange(1, 3) if round_ else 0):
            child = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)  # fmt: skip
            with contextlib.suppress(subprocess.TimeoutExpired):
                # Most of a call is Python's start; what matters comes in its last part.
                child.wait(draw.uniform(0.3, 1.0) * whole[0])
            n_killed += child.poll() is None
            child.kill()
            child.wait()
        began = time.monotonic()
        child_done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False
        )
        whole[0] = whole[0] or time.monotonic() - began
        done = child_done.returncode == 0 or "nothing is kept under" in child_done.stderr
        left = search(state_dir, planted.token, model_dir)
        left |= {name: ["unfinished"] for name in map(str, state_dir.rglob("*.unfinished.json"))}
        settings = Settings(state_dir=state_dir, model=str(model_dir))
        faults = others_are_there(settings, planted)
        if not done or left or faults:
            missed.append(f"round {round_}: {child_done.stderr[-300:]} {left} {faults[:3]}")
        print(f"  round {round_}: killed {n_killed}, then {left or 'clean'}", flush=True)
        shutil.rmtree(state_dir)
    return missed


def plain_delete(folder: Path, n: int = 2_000) -> int:
    """The control: how often a marker is still in a DuckDB file after DELETE and CHECKPOINT."""
    import duckdb

    path, token = folder / "control.duckdb", f"zq{secrets.token_hex(6)}"
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE t (id BIGINT, text VARCHAR)")
        # Among others' rows, as people's are; blocks of their own at the end would be cut off.
        rows = [f"{(token, 'other')[i % 2]} {secrets.token_hex(300)}" for i in range(2 * n)]
        connection.execute("INSERT INTO t SELECT 1, unnest(?::VARCHAR[])", [rows])
        connection.execute("CHECKPOINT")
        connection.execute("DELETE FROM t WHERE contains(text, ?)", [token])
        connection.execute("CHECKPOINT")
    return path.read_bytes().count(token.encode())


def large_store(folder: Path, n_rows: int) -> dict[str, object]:
    """A person with 1 % of many answers is forgotten while somebody writes row after row."""
    import threading

    from feedback.erasing import forget
    from feedback.store import Store
    from tests.feedback.examples import make_completion, make_feedback

    settings = Settings(state_dir=folder / "large")
    with Store.open(settings.database_path) as store:
        futures: list[Any] = []
        for n in range(n_rows):
            rater = "person-1234" if n % 100 == 0 else f"other-{n % 50}"
            row = make_completion(rater_id=rater, completion=f"{n} " + "word " * 300)
            futures.append(store.append_completion(row))
            if n % 10 == 0:
                futures.append(
                    store.append_feedback(make_feedback(row, rater_id=rater, thumb="up"))
                )
            if len(futures) > 20_000:
                for one in futures:
                    one.result()
                futures.clear()
        for one in futures:
            one.result()
    with Store.open(settings.database_path) as store:
        waits, stop = [0.0], threading.Event()

        def write_on() -> None:
            while not stop.is_set():
                began = time.monotonic()
                store.append_completion(make_completion(rater_id="other-1")).result()
                waits.append(time.monotonic() - began)

        writer = threading.Thread(target=write_on)
        writer.start()
        began = time.monotonic()
        done = forget(store, settings, "person-1234", "benchmark")
        seconds = time.monotonic() - began
        stop.set()
        writer.join()
    n_left = done["store"]["found"] + len(done["searched"]["found"])
    return {
        f"{n_rows:,} answers, {done['store']['n_bytes_before'] / 1e6:,.0f} MB": (
            f"forgotten in {seconds:.1f} s ({done['counts']['answers']:,} answers), "
            f"{n_left} places left; writers waited {max(waits):.2f} s at most"
        )
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--kills", type=int, default=20, help="rounds of kill -9, each of one or two"
    )
    parser.add_argument("--rows", type=int, default=100_000, help="of the large store; 0: none")
    parser.add_argument("--no-night", action="store_true", help="a snapshot in its place: a minute")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    from tests import tiny_bases
    from tests.refine.tiny import make_world_model

    figures: dict[str, object] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="pawl-forget-") as name:
        folder = Path(name)
        model_dir, state_dir, log = folder / "model", folder / "state", folder / "server.log"
        if args.no_night:
            tiny_bases.plain(model_dir)
        else:
            make_world_model(model_dir, n_heads=2)  # which the CPU engine takes
        settings, planted = night_settings(model_dir, state_dir), Planted()
        with server(state_dir, model_dir, log) as url:
            admin = {"Authorization": f"Bearer {api_key_of(settings)}"}
            key = httpx.post(f"{url}/admin/keys", headers=admin, json={
                "name": "front", "role": "user", "may_name_raters": True,
            }).raise_for_status().json()["key"]  # fmt: skip
            plant(url, key, planted)
        plant_tools(settings, planted)
        if args.no_night:
            from pawl.cli.connect import connect

            connect(settings).post("/admin/snapshots", {})
        else:
            figures["the night that learned from it"] = night(settings)
        (state_dir / "salvage-20260101T000000").mkdir()
        shutil.copy(settings.database_path, state_dir / "salvage-20260101T000000")
        with server(state_dir, model_dir, log) as url:
            admin = {"Authorization": f"Bearer {api_key_of(settings)}"}
            for format_ in ("preference", "sharegpt-dpo"):
                httpx.post(f"{url}/admin/export", headers=admin, timeout=60, json={
                    "path": f"{format_}.jsonl", "format": format_,
                }).raise_for_status()  # fmt: skip
        before = search(state_dir, planted.token, model_dir)
        shutil.copytree(state_dir, folder / "before")
        n_others = len(planted.others)
        with server(state_dir, model_dir, log) as url:
            waits = asyncio.run(forget_beside(url, key, state_dir, planted))
            running = search(state_dir, planted.token, model_dir)
        after = search(state_dir, planted.token, model_dir)
        for path, forms in before.items():
            print(f"before: {path}: {', '.join(forms)}")
        missed += [f"{path} holds it still ({', '.join(forms)})"
                   for path, forms in {**running, **after}.items()]  # fmt: skip
        missed += others_are_there(settings, planted)
        kinds = {Path(path).suffix or Path(path).name for path in before}
        figures |= {
            "planted": f"{len(PLACES)} kinds of markers in {N_CONVERSATIONS + 1} answers of the "
                       f"person, beside {n_others} of others",
            "files with a marker before": f"{len(before)} ({', '.join(sorted(kinds))})",
            "files with a marker after, server running / stopped": f"{len(running)} / {len(after)}",
            "answers to others meanwhile": f"{len(waits):,}, the slowest took {max(waits):.2f} s",
            "control: a marker in a DuckDB file after DELETE and CHECKPOINT":
                f"{plain_delete(folder):,} times",
        }  # fmt: skip
        if args.kills:
            faults = kill_rounds(folder / "before", model_dir, Planted(
                planted.token, planted.others[:n_others]), args.kills)  # fmt: skip
            missed += faults
            figures["rounds of kill -9 on the way, then carried on"] = (
                f"{args.kills}, {len(faults)} of them left something or lost something"
            )
        if args.rows:
            figures |= large_store(folder, args.rows)
    finish("forget", "Forgetting a person, proven by searching every byte", figures,
           missed=missed, note="A tiny model; the tests' small engine in vLLM's place.",
           keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
