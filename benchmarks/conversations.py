"""5,000 conversations searched, one of 200 turns opened in a browser, and its next answer begun.

    python -m benchmarks.conversations [--model smollm2-135m]

The pages, and the server's own part of a first token (reading, checking, recording), by ``pawl
up``'s application before the tests' small engine; then first tokens by ``pawl up`` with the real
model: of 200 turns that were not read before, of one prompt of as many tokens, and of the next
question to those 200 turns, each round with texts of its own.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import milliseconds, percentile
from benchmarks.measurements import finish
from pawl.schemas import Completion, Message, utc_now
from pawl.settings import Settings

SEARCH_SECONDS, OPEN_SECONDS, TOKEN_RATIO = 0.3, 1.0, 1.2  # the bars
N_TURNS, N_ROUNDS = 200, 20
# Each a token or two of the real model's: its 8,192 hold 200 turns of ``REAL_LENGTHS``.
PLAIN = "time people way water day man thing woman life child world school state family".split()
TEMPLATE_TOKENS = 5.56  # of the real model's chat template, for each message
REAL_LENGTHS, N_REAL_ROUNDS, N_REAL_TURNS = (7, 10), 3, 200
WORDS = [f"{a}{b}" for a in "ka lo mi nu pe ra so ti vu wa".split() for b in "ber dan gel".split()]


def talk(draw: random.Random, n_turns: int, like: Completion, name: str) -> list[Completion]:
    """A conversation's answers, each with the history before it."""

    def text(n: int) -> str:
        return " ".join(draw.choices(WORDS, k=n))

    messages: list[Message] = []
    rows = []
    for turn in range(n_turns):
        messages.append({"role": "user", "content": text(12)})
        rows.append(replace(
            like, completion_id=f"chatcmpl-{name}-{turn}", conversation_id=name,
            created_at=utc_now(), messages=list(messages), completion=text(50),
        ))  # fmt: skip
        messages.append({"role": "assistant", "content": rows[-1].completion})
    return rows


def fill(server: Any, like: Completion, n_conversations: int) -> str:
    """``n_conversations`` of three turns, and one of ``N_TURNS`` as the newest; its id."""
    draw = random.Random(0)
    futures = []
    for number in range(n_conversations):
        for row in talk(draw, 3, like, f"chat-{number:032x}"):
            futures.append(server.store.append_completion(row))
    long = f"chat-{10**9:032x}"
    futures += [server.store.append_completion(row) for row in talk(draw, N_TURNS, like, long)]
    for future in futures:
        future.result()
    return long


def as_one(messages: list[Message]) -> list[Message]:
    """One prompt of the same text."""
    return [{"role": "user", "content": "\n".join(str(one["content"]) for one in messages)}]


def first_token(client: httpx.Client, messages: list[Message], conversation_id: str) -> float:
    """Seconds until the first bytes of a streamed answer."""
    body = {"model": "pawl", "messages": messages, "stream": True, "max_tokens": 8}
    named = {"X-Pawl-Conversation": conversation_id}
    began = time.monotonic()
    with client.stream("POST", "/v1/chat/completions", json=body, headers=named) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if "content" in line and '"content":""' not in line.replace(" ", ""):
                return time.monotonic() - began
    raise RuntimeError("an answer without a word")


def real_first_tokens(model: str) -> dict[str, list[float]]:
    """Seconds to the first token of the real model, by what was asked."""
    from pawl.server import api_key_of, serving
    from pawl.settings import load_settings

    draw = random.Random(2)

    def text(n: int) -> str:
        return " ".join(draw.choices(PLAIN, k=n))

    def turns() -> list[Message]:
        asked, said = REAL_LENGTHS
        found: list[Message] = []
        for _ in range(N_REAL_TURNS - 1):
            found.append({"role": "user", "content": text(asked)})
            found.append({"role": "assistant", "content": text(said)})
        return [*found, {"role": "user", "content": text(asked)}]

    seconds: dict[str, list[float]] = {"200 turns": [], "one prompt": [], "the next of 200": []}
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings({"state_dir": Path(folder), "model": model})
        with (
            serving(settings, say=print) as server,
            httpx.Client(
                base_url=server.url, timeout=300,
                headers={"Authorization": f"Bearer {api_key_of(settings)}"},
            ) as client,
        ):  # fmt: skip
            first_token(client, [{"role": "user", "content": "Hello"}], "warm-up")
            for number in range(N_REAL_ROUNDS):
                long = turns()
                seconds["200 turns"].append(first_token(client, long, f"long-{number}"))
                n_words = sum(len(str(one["content"]).split()) for one in long)
                whole = text(n_words + round(TEMPLATE_TOKENS * len(long)))
                fresh: list[Message] = [{"role": "user", "content": whole}]
                seconds["one prompt"].append(first_token(client, fresh, f"fresh-{number}"))
                more: list[Message] = [
                    {"role": "assistant", "content": text(REAL_LENGTHS[1])},
                    {"role": "user", "content": text(REAL_LENGTHS[0])},
                ]
                asked = first_token(client, [*long, *more], f"long-{number}")
                seconds["the next of 200"].append(asked)
    return seconds


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--conversations", type=int, default=5000)
    parser.add_argument("--model", default="smollm2-135m", help="of the first tokens")
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args(argv)
    from playwright.sync_api import expect, sync_playwright

    from tests.serve.pages.composed import composed
    from tests.serve.pages.tab import Tab

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is not installed: nothing was measured")
    with (
        tempfile.TemporaryDirectory() as folder,
        composed(Settings(state_dir=Path(folder) / "state")) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = Tab(browser.new_page())
        tab.open(server.url)
        tab.ask("hello")
        [like] = server.store.completions()
        long = fill(server, like, args.conversations)
        headers = {"X-Pawl-Rater": like.rater_id}
        client = httpx.Client(base_url=server.url, headers=headers, timeout=60)

        def search(words: str) -> int:
            answer = client.get("/v1/conversations", params={"search": words})
            return int(answer.raise_for_status().json()["n_found"])

        draw = random.Random(1)
        words = [" ".join(draw.choices(WORDS, k=1 + n % 2)) for n in range(N_ROUNDS)]
        searches = [timed(lambda one=one: search(one)) for one in words]  # type: ignore[misc]
        n_found = search("")
        nothing = [timed(lambda: search("not in there")) for _ in range(N_ROUNDS)]

        users = tab.page.locator("#pawl-chat [data-testid=user]")
        opened, loaded = [], []
        tab.reload()
        for _ in range(5):
            tab.page.locator("#pawl-new").click()
            expect(users).to_have_count(0)
            row = tab.page.locator(f"#pawl-list li[data-id='{long}'] a")
            expect(row).to_be_visible()
            began = time.monotonic()
            row.click()
            expect(users).to_have_count(N_TURNS)
            opened.append(time.monotonic() - began)
            tab.page.reload()
            expect(tab.box).to_be_visible()
            began = time.monotonic()
            expect(users).to_have_count(N_TURNS)
            loaded.append(time.monotonic() - began)
        box = tab.page.get_by_label("Search your conversations")
        typed = []
        for _ in range(5):
            began = time.monotonic()
            box.fill("not in there")
            expect(tab.page.locator("#pawl-list")).to_contain_text("Nothing was found")
            typed.append(time.monotonic() - began)
            box.fill("")
            expect(tab.page.locator("#pawl-list li[data-id]").first).to_be_visible()
        browser.close()

        [row] = server.store.completions(completion_ids=[f"chatcmpl-{long}-{N_TURNS - 1}"])
        long_tokens, fresh_tokens = [], []
        for number in range(N_ROUNDS):
            long_tokens.append(first_token(client, row.messages, long))
            fresh_tokens.append(first_token(client, as_one(row.messages), f"fresh-{number}"))
        client.close()
    own = statistics.median(long_tokens) / statistics.median(fresh_tokens)
    real = real_first_tokens(args.model)
    fresh = statistics.median(real["one prompt"])
    ratios = {name: statistics.median(each) / fresh for name, each in real.items()}
    slowest = max(percentile(searches, 0.95), percentile(nothing, 0.95))
    missed = []
    if slowest > SEARCH_SECONDS:
        missed.append(f"a search took {1e3 * slowest:.0f} ms")
    for name, seconds in (("from the list", opened), ("after a reload", loaded)):
        if statistics.median(seconds) > OPEN_SECONDS:
            missed.append(f"{name} it took {statistics.median(seconds):.2f} s")
    for name, ratio in ratios.items():
        if ratio > TOKEN_RATIO:
            missed.append(f"{name}: the first token took {ratio:.2f} times a fresh conversation's")
    finish(
        "conversations",
        "Many conversations, and a long one",
        {
            f"search in {n_found:,} conversations, for words in them": milliseconds(searches),
            "for words in none (bar: 300 ms at the 95th percentile)": milliseconds(nothing),
            "typed into the page's box until the list is drawn": milliseconds(typed),
            f"a conversation of {N_TURNS} turns, from the press in the list until all is drawn "
            "(bar: 1 s)": f"median {statistics.median(opened):.2f} s",
            "after a reload, from the page on (bar: 1 s)":
                f"median {statistics.median(loaded):.2f} s",
            f"the server's own part of a first token after {N_TURNS} turns, against one prompt of "
            "the same text": f"{own:.2f} times ({milliseconds(long_tokens)}; "
            f"{milliseconds(fresh_tokens)})",
            **{
                f"first token of {args.model}, {name}": f"{statistics.median(each):.2f} s "
                f"({min(each):.2f} to {max(each):.2f}), {ratios[name]:.2f} times"
                for name, each in real.items()
            },
        },
        missed=missed,
        note=f"Bar of the first token: {TOKEN_RATIO} times one prompt of as many tokens.",
        keep=not args.no_record,
    )  # fmt: skip


if __name__ == "__main__":
    main()
