"""A reviewer clears 100 flags with keys in a browser; a second one decides the same; they agree.

    python -m benchmarks.review [--flags 100]

``pawl up``'s application runs before the tests' small engine. Keys alone: accept, correct, reject
with each reason, skip and undo. What is missed: a decision that the store does not have, or an
agreement that is not scikit-learn's.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.figures import percentile
from benchmarks.measurements import finish
from feedback.agreement import label_of
from feedback.reviews import decide
from pawl.settings import ReviewSettings, Settings

SEED = 11
REASONS = {"fine": "1", "unclear": "2", "not_meant": "3", "private": "4"}
PATIENCE_MS = 60_000.0


def measure(folder: Path, n_flags: int) -> tuple[dict[str, object], list[str]]:
    """The figures, and what is missed."""
    from playwright.sync_api import expect, sync_playwright
    from sklearn.metrics import cohen_kappa_score

    from pawl.schemas import Account, ReviewRequest, Role, utc_now
    from serve.api.passwords import Passwords
    from tests.feedback.examples import make_completion, make_feedback, wait_all
    from tests.serve.pages.composed import composed

    draw = random.Random(SEED)
    words = _words(draw, 6 * n_flags)
    settings = Settings(state_dir=folder / "state", review=ReviewSettings(reviewers=2))
    with composed(settings) as server, sync_playwright() as playwright:
        store, password = server.store, "four words in a row"
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(password), utc_now()
        for name in ("rita", "sam"):
            store.access.accounts.add(Account(name, Role.REVIEWER, hashed, False, None, now, now))
        for n in range(n_flags):
            own = words[6 * n : 6 * n + 6]
            answer = make_completion(
                rater_id="ann", messages=[{"role": "user", "content": " ".join(own[:3]) + "?"}],
                completion=" ".join(own[3:]) + ".",
            )  # fmt: skip
            wait_all([store.append_completion(answer), store.append_feedback(
                make_feedback(answer, rater_id="ann", thumb="down"))])  # fmt: skip
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        page.goto(f"{server.url}/review/")
        page.get_by_label("Name").fill("rita")
        page.get_by_label("Password").fill(password)
        page.keyboard.press("Enter")
        keys, item = page.keyboard, page.locator(".review-item")
        counts = page.locator(".review-counts")
        expect(counts).to_contain_text(f"{n_flags} waiting", timeout=PATIENCE_MS * 4)
        seconds: list[float] = []
        wanted: dict[str, str] = {}
        for left in range(n_flags - 1, -1, -1):
            shown = str(item.get_attribute("data-item"))
            wanted[shown] = choice = draw.choice(["accept", "accept", "correct", *REASONS])
            began = time.perf_counter()
            if choice == "accept":
                keys.press("a")
            elif choice == "correct":
                keys.press("c")
                expect(page.get_by_label("What it should have said")).to_be_focused()
                keys.press("Control+a")
                keys.type(f"right {left}")
                keys.press("Control+Enter")
            else:
                keys.press("r")
                expect(page.locator("#review-reasons")).to_be_visible()
                keys.press(REASONS[choice])
            expect(counts).to_contain_text(f"{left} waiting")
            seconds.append(time.perf_counter() - began)
            if left % 10 == 5:  # a slip, and back
                keys.press("u")
                expect(counts).to_contain_text(f"{left + 1} waiting")
                keys.press("s")
                expect(counts).to_contain_text("1 skipped")
                keys.press("u")
                expect(counts).to_contain_text("0 skipped")
                wanted[shown] = "accept"
                keys.press("a")
                expect(counts).to_contain_text(f"{left} waiting")
        found = {
            f"{one.completion_id}:{one.choice_index}": one.reason or one.decision
            for one in store.reviews.current(reviewer="rita")
        }
        missed = [] if found == wanted else ["the store has other decisions than were made"]
        own_labels, other_labels = [], []
        for one in store.reviews.current(reviewer="rita"):
            body: dict[str, Any] = {
                "answers": [{"completion_id": one.completion_id}], "decision": "accept",
            }  # fmt: skip
            if draw.random() < 0.3:
                body |= {"decision": "reject", "reason": "fine"}
            elif one.decision == "reject":
                body |= {"decision": "reject", "reason": one.reason}
            [other] = decide(store, ReviewRequest.model_validate(body), "sam")
            own_labels.append(label_of(one))
            other_labels.append(label_of(other))
        page.reload()
        expected = float(cohen_kappa_score(own_labels, other_labels))
        expect(counts.get_by_text("Agreement")).to_be_visible()
        cookies = page.context.cookies()
        token = next(one["value"] for one in cookies if "session" in one["name"])
        told = httpx.get(f"{server.url}/admin/reviews/agreement",
                         headers={"Authorization": f"Bearer {token}"}).json()  # fmt: skip
        browser.close()
    [pair] = told["pairs"]
    if abs(pair["kappa"] - expected) > 1e-9:
        missed.append(f"kappa is {pair['kappa']}, scikit-learn's {expected}")
    return {
        f"{n_flags} flags cleared by keys": f"{sum(seconds):.0f} s",
        "a decision, from the key to the next item": f"median {statistics.median(seconds):.2f} s, "
        f"95th percentile {percentile(seconds, 0.95):.2f} s",
        "kappa of two reviewers": f"{pair['kappa']:.6f}; scikit-learn's {expected:.6f}",
        "alpha of them": f"{told['alpha']:.6f}",
    }, missed


def _words(draw: random.Random, n: int) -> list[str]:
    """Made-up words, no two nearly the same."""
    return ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=9)) for _ in range(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--flags", type=int, default=100)
    parser.add_argument("--no-record", action="store_true", help="print only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-review-") as folder:
        figures, missed = measure(Path(folder), args.flags)
    finish(
        "review", "A reviewer at work", figures, missed=missed,
        note="The page in Chromium before the small engine; typing and looking take no time here.",
        keep=not args.no_record,
    )  # fmt: skip


if __name__ == "__main__":
    main()
