"""The dashboard on a store of 100,000 answers: its figures asked for, and drawn in a browser.

    python -m benchmarks.dashboard [--answers 100000] [--no-record]

``pawl up``'s application before the tests' small engine. All answers are of the last 30 days, which
the page opens with; one in eight has a thumb, one in twenty is flagged. Missed: the figures of 30
days are not drawn within 1 s of the page.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.conversations import WORDS, timed
from benchmarks.measurements import finish
from pawl.schemas import written
from pawl.server import ADMIN_KEY_FILE
from pawl.settings import Settings

OPEN_SECONDS = 1.0  # the bar
N_PEOPLE, N_ROUNDS = 200, 7


def fill(store: Any, n_answers: int) -> None:
    """Answers of the last 30 days, and what people say of some."""
    from tests.feedback.examples import make_completion, make_feedback

    draw = random.Random(0)
    now, like, said = datetime.now(UTC), make_completion(), make_feedback("")
    futures: list[Any] = []
    for n in range(n_answers):
        at = written(now - timedelta(days=29 * (1 - n / n_answers)))
        rater = f"person-{draw.randrange(N_PEOPLE)}"
        turns = [
            {"role": role, "content": " ".join(draw.choices(WORDS, k=12))}
            for role in ("user", "assistant", "user")[-1 if n % 3 else 0 :]
        ]
        answer = replace(
            like, completion_id=f"chatcmpl-{n}", conversation_id=f"chat-{n // 3}", rater_id=rater,
            created_at=at, messages=turns, completion=" ".join(draw.choices(WORDS, k=60)),
            version=f"pawl@{1 + 5 * n // n_answers}", total_seconds=draw.uniform(0.5, 9),
            first_token_seconds=draw.uniform(0.05, 1),
        )  # fmt: skip
        futures.append(store.append_completion(answer))
        if n % 8 == 0:
            names = draw.sample(("incorrect", "verbose", "off_topic", "unsafe"), k=n % 3)
            is_bad = n % 5 < 2
            futures.append(store.append_feedback(replace(
                said, feedback_id=f"fb-{n}", idempotency_key=f"key-{n}", rater_id=rater,
                completion_id=answer.completion_id, created_at=at,
                thumb="down" if is_bad else "up", categories=names if is_bad else [],
            )))  # fmt: skip
    for future in futures:
        future.result()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args(argv)
    import httpx
    from playwright.sync_api import expect, sync_playwright

    from tests.serve.pages.composed import composed

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is not installed: nothing was measured")
    figures: dict[str, object] = {}
    missed = []
    with (
        tempfile.TemporaryDirectory() as folder,
        composed(Settings(state_dir=Path(folder) / "state")) as server,
        sync_playwright() as playwright,
    ):
        fill(server.store, args.answers)
        key = (server.settings.state_dir / ADMIN_KEY_FILE).read_text("ascii").strip()
        client = httpx.Client(
            base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=120
        )

        def ask(days: int) -> dict[str, Any]:
            answer = client.get("/admin/dashboard", params={"days": days}).raise_for_status()
            return dict(answer.json())

        found = ask(30)["total"]
        for days in (1, 30, 366):
            seconds = [timed(partial(ask, days)) for _ in range(N_ROUNDS)]
            figures[f"figures of {days} days asked for"] = (
                f"median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s"
            )
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(240_000)
        page.goto(f"{server.url}/dashboard/")
        page.get_by_label("Password").fill(key)
        page.get_by_role("button", name="Sign in").click()
        title, last = page.locator("#board-title h1"), page.locator("#panel-whole-answer")
        expect(last).to_be_visible(timeout=240_000)
        drawn, whole = [], []
        for _ in range(N_ROUNDS):
            began = time.monotonic()
            page.reload(wait_until="commit")
            expect(title).to_be_visible()
            there = time.monotonic()
            expect(last).to_be_visible()
            drawn.append(time.monotonic() - there)
            whole.append(time.monotonic() - began)
        browser.close()
        client.close()
    name = "drawn, from the page on (bar: 1 s)"
    figures[name] = f"median {statistics.median(drawn):.2f} s, slowest {max(drawn):.2f} s"
    figures["from the reload on"] = f"median {statistics.median(whole):.2f} s"
    if statistics.median(drawn) > OPEN_SECONDS:
        missed.append(f"the figures of 30 days took {statistics.median(drawn):.2f} s")
    finish(
        "dashboard",
        f"The dashboard on {args.answers:,} answers",
        figures,
        missed=missed,
        note=f"{found['n_answers']:,} answers of 30 days, {found['n_flagged']:,} of them flagged, "
        f"{found['n_people']:,} people. Before the tests' small engine.",
        keep=not args.no_record,
    )


if __name__ == "__main__":
    main()
