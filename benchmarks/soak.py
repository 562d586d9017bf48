"""One hour of mixed load: has a server that has worked for long its memory, files and speed still?

    python -m benchmarks.soak [--minutes 60] [--model smollm2-135m]

``pawl up`` with the real engine. People in threads go on talking for the whole time: each turn is a
stream, every third answer gets a thumb, every ninth a correction. A browser opens the chat, asks,
loads itself anew, and looks at the other pages. At a twelfth of the time a snapshot is taken, which
loads the detectors once; at a third a night trains beside the server, for a few minutes.
Two windows of a sixth of the time are compared, one after the first sixth and the last one; none
holds the night.

- memory: resident bytes of the gateway less what its store holds of the database's file (bounded by
  a setting of its own), and of the engine's processes; medians of the windows. Bar: 5 % more at
  most.
- files: open in the gateway at the end, when everybody has gone, against the same before anybody
  came. Bar: none more than DuckDB and the log keep open.
- latency: the first token's, and of a thumb's post; medians of the windows.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from benchmarks.figures import milliseconds
from benchmarks.measurements import finish
from benchmarks.night import run_night
from pawl.cli.connect import connect
from pawl.client import Pawl
from pawl.errors import PawlError
from pawl.schemas import Message
from pawl.server import api_key_of, serving
from pawl.settings import DEFAULT_MODEL, Settings, load_settings
from refine.demo.organisation import load_organisation
from refine.demo.people import Ask, script_of

MOST_MORE, MOST_SLOWER, SPARE_FILES = 0.05, 1.25, 2  # bars
N_TALKERS, N_TURNS, N_TOKENS, THINK_SECONDS = 4, 6, 24, 2.0
THUMB_EVERY, CORRECT_EVERY = 3, 9
LOOK_SECONDS = 10.0
# A night is load here and its verdict nothing, so it asks for little evidence.
NIGHT = [
    f"--set={one}" for one in (
        "train.max_minutes=3", "gate.n_items_per_benchmark=20", "gate.n_placebos=2",
        "gate.n_controls=20", "gate.suspects_minutes=0",
    )
]  # fmt: skip
PAGES = ("/dashboard/", "/review/", "/runs/", "/versions/", "/people/")


@dataclass
class Found:
    """What was seen, each with the second at which it was; appended to by several threads."""

    first_tokens: list[tuple[float, float]] = field(default_factory=list)
    posts: list[tuple[float, float]] = field(default_factory=list)
    gateway: list[tuple[float, float]] = field(default_factory=list)  # bytes
    engine: list[tuple[float, float]] = field(default_factory=list)
    n_files: list[tuple[float, float]] = field(default_factory=list)
    n_pages: int = 0
    faults: list[str] = field(default_factory=list)


def talk(url: str, number: int, asks: list[Ask], found: Found, stop: threading.Event) -> None:
    """Go on with conversations of a few turns until told to stop."""
    draw, pawl, rater = random.Random(number), Pawl(url), f"person-{number}"
    n_answers = n_talks = 0
    while not stop.is_set():
        n_talks += 1
        messages: list[Message] = []
        for _ in range(N_TURNS):
            ask = draw.choice(asks)
            messages.append({"role": "user", "content": ask.text})
            try:
                began = time.monotonic()
                with pawl.stream(
                    messages, conversation_id=f"soak-{number}-{n_talks}", rater_id=rater,
                    max_tokens=N_TOKENS,
                ) as answer:  # fmt: skip
                    pieces = iter(answer)
                    text = next(pieces, "")
                    found.first_tokens.append((began, time.monotonic() - began))
                    text += "".join(pieces)
                messages.append({"role": "assistant", "content": text})
                n_answers += 1
                if n_answers % THUMB_EVERY == 0:
                    is_wrong = n_answers % CORRECT_EVERY == 0 and bool(ask.correction)
                    began = time.monotonic()
                    pawl.feedback(
                        answer.completion_id, rater_id=rater, thumb="down" if is_wrong else "up",
                        correction=ask.correction if is_wrong else None,
                        categories=["incorrect"] if is_wrong else None,
                    )  # fmt: skip
                    found.posts.append((began, time.monotonic() - began))
            except PawlError as err:
                found.faults.append(str(err))
                break
            if stop.wait(THINK_SECONDS * 2 * draw.random()):
                return


def browse(url: str, key: str | None, found: Found, stop: threading.Event) -> None:
    """One person's browser, until told to stop."""
    from playwright.sync_api import Error, sync_playwright

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        found.faults.append("chromium is not installed: no browser took part")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        operators = browser.new_context(extra_http_headers={"Authorization": f"Bearer {key}"})
        other = operators.new_page()
        n = 0
        while not stop.is_set():
            n += 1
            try:
                page.goto(url)
                box = page.locator("#pawl-question textarea")
                box.fill(f"{n}: name a fruit")
                box.press("Enter")
                page.get_by_text(f"{n}: name a fruit").first.wait_for(timeout=60_000)
                for path in PAGES:
                    answer = other.goto(url + path)
                    if answer is None or not answer.ok:
                        found.faults.append(f"{path} answered {answer and answer.status}")
                    found.n_pages += 1
            except Error as err:
                found.faults.append(f"browser: {str(err).splitlines()[0]}")
            stop.wait(20)
        browser.close()


def look(pid: int, url: str, settings: Settings, began: float, found: Found) -> None:
    """Note memory and files."""
    now, server = time.monotonic() - began, psutil.Process(pid)
    key = api_key_of(settings)
    text = httpx.get(url + "/metrics", headers={"Authorization": f"Bearer {key}"}, timeout=60).text
    store = next(
        float(line.split()[1]) for line in text.splitlines()
        if line.startswith("pawl_store_memory_bytes ")
    )  # fmt: skip
    found.gateway.append((now, server.memory_info().rss - store))
    found.n_files.append((now, server.num_fds()))
    engine = int(Pawl(url, key).get("/admin/status")["engine"]["pid"])
    family = [psutil.Process(engine), *psutil.Process(engine).children(recursive=True)]
    found.engine.append((now, float(sum(one.memory_info().rss for one in family))))


def window(values: list[tuple[float, float]], begin: float, end: float) -> list[float]:
    return [value for at, value in values if begin <= at < end]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--no-record", action="store_true", help="only print")
    args = parser.parse_args()
    script = script_of(load_organisation())
    asks = [*script.day, *script.liked]
    found, stop, seconds = Found(), threading.Event(), 60 * args.minutes
    with tempfile.TemporaryDirectory(prefix="pawl-soak-") as folder:
        settings = load_settings({"state_dir": Path(folder) / "state", "model": args.model})
        with serving(settings, say=print) as server:
            began = time.monotonic()
            look(server.pid, server.url, settings, began, found)
            work: list[Callable[[], None]] = [
                *(lambda n=n: talk(server.url, n, asks, found, stop) for n in range(N_TALKERS)),
                lambda: browse(server.url, api_key_of(settings), found, stop),
            ]
            threads = [threading.Thread(target=one) for one in work]
            for thread in threads:
                thread.start()
            nights: list[tuple[float, float]] = []
            timers = [
                threading.Timer(seconds / 12, lambda: _snapshot(settings, found)),
                threading.Timer(seconds / 3, lambda: _night(settings, began, nights, found)),
            ]
            for timer in timers:
                timer.start()
            try:
                while (now := time.monotonic() - began) < seconds:
                    look(server.pid, server.url, settings, began, found)
                    print(f"{now / 60:.0f} of {args.minutes:g} minutes, {len(found.first_tokens)} "
                          f"answers, gateway {found.gateway[-1][1] / 2**20:.0f} MiB, "
                          f"{found.n_files[-1][1]:.0f} files", flush=True)  # fmt: skip
                    time.sleep(LOOK_SECONDS)
            finally:
                stop.set()
                for timer in timers:
                    timer.cancel()
                for thread in [*threads, *timers]:
                    thread.join(900)
            time.sleep(60)  # what idles is closed
            look(server.pid, server.url, settings, began, found)
    report(args, found, nights, seconds, began)


def _snapshot(settings: Settings, found: Found) -> None:
    before = found.gateway[-1][1]
    try:
        connect(settings).post("/admin/snapshots", {})
    except PawlError as err:
        found.faults.append(str(err))
    print(f"a snapshot was taken, before it {before / 2**20:.0f} MiB", flush=True)


def _night(
    settings: Settings, began: float, nights: list[tuple[float, float]], found: Found
) -> None:
    at = time.monotonic()
    try:
        run_night(settings, NIGHT)
    except PawlError as err:
        found.faults.append(str(err))
    nights.append((at - began, time.monotonic() - began))


def report(
    args: argparse.Namespace, found: Found, nights: list[tuple[float, float]], seconds: float,
    began: float,
) -> None:  # fmt: skip
    first, last = (seconds / 6, seconds / 3), (5 * seconds / 6, seconds)
    missed = []
    if not nights or nights[0][1] > last[0]:
        missed.append("the night did not end before the last window")
    figures: dict[str, object] = {
        "answers / thumbs and corrections / pages":
            f"{len(found.first_tokens):,} / {len(found.posts):,} / {found.n_pages:,}; "
            f"faults: {len(found.faults)}",
        "the night": ", ".join(f"{a / 60:.0f} to {b / 60:.0f} minutes" for a, b in nights),
    }  # fmt: skip
    for name, values in (("gateway", found.gateway), ("engine", found.engine)):
        before, after = (statistics.median(window(values, *one)) for one in (first, last))
        more = after / before - 1
        figures[f"memory of the {name}"] = (
            f"{before / 2**20:,.0f} MiB -> {after / 2**20:,.0f} MiB, {100 * more:+.1f} % "
            f"(bar {100 * MOST_MORE:g} %)"
        )
        if more > MOST_MORE:
            missed.append(f"the {name} grew by {100 * more:.1f} %")
    before, after = found.n_files[0][1], found.n_files[-1][1]
    figures["files open, before anybody came -> after all had gone"] = (
        f"{before:.0f} -> {after:.0f}"
    )
    if after > before + SPARE_FILES:
        missed.append(f"{after - before:.0f} more files are open")
    for name, values in (("first token", found.first_tokens), ("a thumb", found.posts)):
        early, late = (
            window([(at - began, one) for at, one in values], *part) for part in (first, last)
        )
        ratio = statistics.median(late) / statistics.median(early)
        figures[name] = f"{milliseconds(early)} -> {milliseconds(late)}: {ratio:.2f} times"
        if ratio > MOST_SLOWER:
            missed.append(f"{name} takes {ratio:.2f} times as long")
    missed += [f"{len(found.faults)} faults: {found.faults[0]}"] if found.faults else []
    finish(
        "soak", "An hour of mixed load", figures, missed=missed, keep=not args.no_record,
        note=f"{args.model}; {N_TALKERS} people, a browser, a night. Windows: "
        f"{first[0] / 60:.0f} to {first[1] / 60:.0f} and {last[0] / 60:.0f} to "
        f"{last[1] / 60:.0f} minutes; medians.",
    )  # fmt: skip


if __name__ == "__main__":
    main()
