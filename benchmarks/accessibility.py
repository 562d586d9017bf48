"""The pages by axe-core, in the states in which people meet them.

    python -m benchmarks.accessibility [--pictures FOLDER] [--no-record]

At 1,280 and 390 pixels, light and dark: the chat empty with its suggestions, with Markdown and
formulas, with variants, the feedback form and its difference, a file attached and sent, the dialog
of settings, a full conversation, an answer that is waited for; two answers to choose from, one
chosen, a flag that is said back, a message that waits for the engine; a flagged answer, its editor,
the reasons of a rejection, the model's alternatives, what a search finds, one's own decisions; the
dashboard with its tables closed and open; the people page, and as it asks whether to do something;
a night with its curves and log, the question before a rollback, the suspects of a rejected one;
versions, two of them compared; the page that asks for a key, the account, the page of the API. In
German: the chat empty, an answer, the feedback form, the settings, the page that asks for a key.
Missed by a finding that is moderate or worse. axe-core (MPL-2.0) is the file in the wheel of
``axe-playwright-python``, fetched on first use; a browser is needed. The pictures are for a person
to look at.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, expect, sync_playwright

from benchmarks import environments
from benchmarks.chat_states import ANSWER, CHAT_STATES, Compared, States, compared, wait_until_built
from benchmarks.fake_server import fake_server
from benchmarks.measurements import finish
from feedback.reviews import decide
from pawl.errors import PawlError
from pawl.schemas import ReviewRequest
from pawl.server import ADMIN_KEY_FILE, api_key_of
from pawl.settings import Settings
from tests.feedback.examples import make_completion, make_feedback, wait_all
from tests.serve.console import Console
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.nights import flagged_night, rejected_night
from tests.serve.pages.tab import LEAVING, Tab

PINS = Path(__file__).parent / "axe.txt"
IMPACTS = ("critical", "serious", "moderate")


def axe_source() -> str:
    """axe-core's script. Raises PawlError: it could not be fetched."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(cache) / "pawl" / "axe"
    environments.install("axe-core", PINS, folder, "Let pip reach a registry")
    [script] = folder.glob("lib/python*/site-packages/axe_playwright_python/axe.min.js")
    return script.read_text("utf-8")


def _pressed(key: str, opens: str) -> Callable[[Tab], None]:
    def press(tab: Tab) -> None:
        tab.page.keyboard.press("Escape")
        expect(tab.page.locator(".review-item")).to_be_focused()
        tab.page.keyboard.press(key)
        expect(tab.page.get_by_role("button", name=opens)).to_be_visible()

    return press


def _found(tab: Tab) -> None:
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator(".review-item")).to_be_focused()
    tab.page.keyboard.press("f")
    expect(tab.page.get_by_label("Words, or an id")).to_be_focused()
    tab.page.keyboard.type("title")
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(".review-counts")).to_contain_text("1 found")


def _decided(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Show all").click()
    expect(tab.page.locator(".review-counts")).not_to_contain_text("found")
    tab.page.get_by_role("button", name="What you decided").click()
    tab.page.locator("#review-decisions label").first.click()
    expect(tab.page.get_by_role("region", name="Your decision")).to_be_visible()


REVIEW_STATES: States = {
    "review": lambda tab: expect(tab.page.locator(".review-answer")).to_be_visible(),
    "correcting": _pressed("c", "Save correction"),
    "rejecting": _pressed("r", "Nobody meant it"),
    "suggesting": _pressed("g", "Take 1"),
    "found": _found,
    "decided": _decided,
}


def _open_tables(tab: Tab) -> None:
    for summary in tab.page.locator(".board-panel summary").all():
        summary.click()
    expect(tab.page.locator(".board-csv").first).to_be_visible()


def _asked(tab: Tab) -> None:
    tab.page.get_by_label("Name of a new account").fill("zoe")
    tab.page.get_by_role("button", name="Add account").click()
    expect(tab.page.get_by_role("button", name="No, leave it")).to_be_focused()


# By path: what is there once the page is drawn, and its states.
BOARDS: dict[str, tuple[str, States]] = {
    "dashboard": ("#panel-whole-answer", {"dashboard": lambda tab: None, "tables": _open_tables}),
    "people": ("#people-accounts", {"people": lambda tab: None, "asked": _asked}),
}


def _parts(tab: Tab) -> None:
    for part in ("Training curves", "Log"):
        tab.page.get_by_role("button", name=part).click()
    expect(tab.page.locator(".runs-log").first).to_be_visible()
    tab.page.get_by_text("Table: SFT, loss").click()


def _asked_back(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Roll back").click()
    expect(tab.page.locator(".op-asked")).to_be_focused()


def _suspected(tab: Tab) -> None:
    tab.page.keyboard.press("Escape")
    tab.page.get_by_label(re.compile("rejected")).check()
    expect(tab.page.get_by_role("heading", name="Rows under suspicion")).to_be_visible()
    tab.page.get_by_text("2 more").click()


def _compared(tab: Tab) -> None:
    tab.page.get_by_label(re.compile("Prompts, up to 20")).fill("first\n---\nsecond")
    tab.page.get_by_role("button", name="Compare").click()
    expect(tab.page.get_by_role("article", name="Prompt 2")).to_be_visible()


RUNS_STATES: States = {
    "runs": lambda tab: expect(tab.page.locator(".runs-frame")).to_be_visible(),
    "parts": _parts, "asked-back": _asked_back, "suspected": _suspected,
}  # fmt: skip
VERSIONS_STATES: States = {
    "versions": lambda tab: expect(tab.page.locator(".versions-flag").first).to_be_visible(),
    "compared": _compared,
}


def _is_there(tab: Tab) -> None:
    expect(tab.page.get_by_role("heading").first).to_be_visible()


def _answered_in_german(tab: Tab) -> None:
    tab.page.locator("#pawl-question textarea").fill(ANSWER)
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator("#pawl-chat .pawl-under")).to_be_visible()


def _flagged_in_german(tab: Tab) -> None:
    tab.page.get_by_role("button", name="Gefällt mir nicht", exact=True).click()
    expect(tab.page.locator("#pawl-correction")).to_be_visible()


def _settings_in_german(tab: Tab) -> None:
    tab.page.locator("#pawl-settings").click()
    expect(tab.page.get_by_role("dialog")).to_be_visible()


GERMAN_STATES: States = {
    "german": lambda tab: expect(tab.page.locator("#pawl-question textarea")).to_be_visible(),
    "german-answer": _answered_in_german, "german-flagged": _flagged_in_german,
    "german-settings": _settings_in_german,
}  # fmt: skip


def look_in_german(
    context: BrowserContext, url: str, axe: str, name: str, pictures: Path | None
) -> tuple[set[str], list[str]]:
    """The same of the chat and of the page that asks for a key, in a German browser."""
    tab = Tab(context.new_page())
    tab.watch()
    found: set[str] = set()
    signing_in: States = {"german-sign-in": _is_there}
    for place, states in (("", GERMAN_STATES), ("dashboard/", signing_in)):
        tab.page.goto(f"{url}/{place}")
        expect(tab.page.locator("html")).to_have_attribute("lang", "de")
        found |= _look_at(tab, states, axe, name, pictures)
    return found, [text for text in tab.complaints if not LEAVING.search(text)]


SMALL_PAGES = ("account", "docs")  # and where a key is asked for
PLACES = {"runs": RUNS_STATES, "versions": VERSIONS_STATES, "review": REVIEW_STATES}


def look_at_operators(
    context: BrowserContext, url: str, key: str, axe: str, name: str, pictures: Path | None
) -> tuple[set[str], list[str]]:
    """The same of the pages of operators and reviewers."""
    tab = Tab(context.new_page())
    tab.watch()
    found: set[str] = set()
    for place, states in PLACES.items():
        tab.page.goto(f"{url}/{place}/")
        if place == "runs":
            found |= _look_at(tab, {"sign-in": _is_there}, axe, name, pictures)
            tab.page.get_by_label("Password").fill(key)
            tab.page.get_by_role("button", name="Sign in").click()
            # The first page that is built; Gradio imports for long when busy.
            expect(tab.page.locator(".runs-frame")).to_be_visible(timeout=240_000)
        found |= _look_at(tab, states, axe, name, pictures)
    for place in SMALL_PAGES:
        tab.page.goto(f"{url}/{place}")
        found |= _look_at(tab, {place: _is_there}, axe, name, pictures)
    # A page that is left in the middle of a request complains about it.
    return found, [text for text in tab.complaints if not LEAVING.search(text)]


def _flag(server: Composed) -> None:
    answers = [
        make_completion(messages=[{"role": "user", "content": f"Which {name}?"}], completion=text)
        for name, text in (("title", ANSWER.partition("</think>")[2]), ("lamp", "No **lamp**."))
    ]
    wait_all([server.store.append_completion(one) for one in answers])
    wait_all([
        server.store.append_feedback(
            make_feedback(one, rater_id=rater, thumb="down", categories=["incorrect"],
                          correction=one.completion.replace("bold", "bolder"), comment="So.")
        )
        for one in answers for rater in ("ann", "bob")
    ])  # fmt: skip
    body = {"answers": [{"completion_id": answers[1].completion_id}], "decision": "correct",
            "correction": "A **lamp**."}  # fmt: skip
    decide(server.store, ReviewRequest.model_validate(body), "admin.key")


@contextmanager
def operated(folder: Path) -> Iterator[Console]:
    """A server on which a night was rejected and two were promoted, an answer waits for review, and
    one was decided."""
    with composed(Settings(state_dir=folder / "operated")) as server:
        wait_until_built(server)
        _flag(server)
        console = Console(server)
        said = server.store.feedback_history()[0]
        reasons = ["People's prompts got worse.", "3 of 4 broke."]
        rejected_night(console, "run-0", reasons, [said.feedback_id, *[None] * 6])
        flagged_night(console, "run-1", "base", ["cup"], {"lamp": "fixed"})
        console.promote("run-1")
        flagged_night(console, "run-2", "pawl@1", ["cup", "lamp"], {"oven": "broken"})
        console.promote("run-2")
        yield console
        console.http.close()


def look(
    context: BrowserContext, url: str, key: str, other: Compared, axe: str, name: str,
    pictures: Path | None,
) -> tuple[set[str], list[str]]:  # fmt: skip
    """What axe finds in each state, in words, and what the browser complained about."""
    found: set[str] = set()
    complaints: list[str] = []
    for place, chat_states in ((url, CHAT_STATES), (other.url, other.states)):
        chat = Tab(context.new_page())
        chat.watch()
        chat.open(place)
        found |= _look_at(chat, chat_states, axe, name, pictures)
        complaints += chat.complaints
        chat.page.close()
    other.open_gate()
    for path, (drawn, states) in BOARDS.items():
        board = Tab(context.new_page())
        board.watch()
        board.page.goto(f"{url}/{path}/")
        if path == "dashboard":  # the first that takes a key
            board.page.get_by_label("Password").fill(key)
            board.page.get_by_role("button", name="Sign in").click()
        expect(board.page.locator(drawn)).to_be_visible()
        found |= _look_at(board, states, axe, name, pictures)
        complaints += board.complaints
    return found, complaints


def _look_at(tab: Tab, states: States, axe: str, name: str, pictures: Path | None) -> set[str]:
    found: set[str] = set()
    for state, reach in states.items():
        reach(tab)
        tab.page.evaluate(axe)
        tab.page.wait_for_timeout(400)  # colours fade
        if pictures is not None:
            tab.page.screenshot(path=pictures / f"{name}-{state}.png")
        result: Any = tab.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        for violation in result["violations"]:
            for node in violation["nodes"]:
                if violation["impact"] in IMPACTS:
                    print(name, state, violation["impact"], violation["id"], node["html"][:200],
                          node["failureSummary"][:300].replace("\n", " "))  # fmt: skip
                    found.add(f"{violation['impact']} {violation['id']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--no-record", action="store_true")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise PawlError("chromium is not installed", do="apt-get install chromium")
    axe = axe_source()
    if args.pictures is not None:
        args.pictures.mkdir(parents=True, exist_ok=True)
    figures, missed = {}, []
    with (
        tempfile.TemporaryDirectory() as folder,
        fake_server(Path(folder)) as url,
        operated(Path(folder)) as console,
        compared(Path(folder)) as other,
        sync_playwright() as playwright,
    ):
        key = (Path(folder) / "state" / ADMIN_KEY_FILE).read_text("ascii").strip()
        operators_key = api_key_of(console.server.settings)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, height in ((1280, 900), (390, 844)):
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": height}, has_touch=width < 500,
                    color_scheme="dark" if scheme == "dark" else "light",
                )  # fmt: skip
                name = f"{width}-{scheme}"
                found, complaints = look(context, url, key, other, axe, name, args.pictures)
                context.close()
                context = browser.new_context(
                    viewport={"width": width, "height": height}, has_touch=width < 500,
                    color_scheme="dark" if scheme == "dark" else "light",
                )  # fmt: skip
                more, others = look_at_operators(
                    context, console.server.url, str(operators_key), axe, name, args.pictures
                )
                found, complaints = found | more, complaints + others
                context.close()
                context = browser.new_context(
                    viewport={"width": width, "height": height}, has_touch=width < 500,
                    color_scheme="dark" if scheme == "dark" else "light", locale="de-DE",
                )  # fmt: skip
                more, others = look_in_german(context, url, axe, name, args.pictures)
                found, complaints = found | more, complaints + others
                context.close()
                figures[f"{width} pixels, {scheme}"] = ", ".join(sorted(found)) or "nothing"
                missed += [f"{name}: {text}" for text in (*sorted(found), *complaints)]
        browser.close()
    every = (
        CHAT_STATES,
        other.states,
        *(states for _, states in BOARDS.values()),
        *PLACES.values(),
        GERMAN_STATES,
    )
    n_states = sum(map(len, every)) + len(SMALL_PAGES) + 2
    finish("accessibility", "The pages by axe-core", figures, missed=missed,
           note=f"{n_states} states; critical, serious and moderate findings.",
           keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
