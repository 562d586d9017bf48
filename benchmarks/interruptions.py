"""The chat cut for 5 and for 60 seconds, its server and its engine killed, under several people.

    python -m benchmarks.interruptions [--seconds 5 60] [--rounds 3] [--no-record]

Nine pages stand open through one cable, each of another person but two tabs of one: a message
typed, another typed in a second tab, a question being edited, a correction, a system prompt in the
dialog of settings, two answers to choose from, an answer that comes, a message sent into the cut,
an edited question sent into the cut. Then the cable is cut, or the server killed and started anew,
or the engine killed. Afterwards what was typed is sent or saved. Missed by anything typed, asked or
answered that is not on its page, by a word of another person's on a page, and by anything that the
store does not hold exactly once. A browser is needed; the tests' small engine answers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

from benchmarks.measurements import finish
from feedback.store import Store
from pawl.errors import PawlError
from tests.adapters_for_tests import light_adapter, light_base
from tests.serve.live import Operator, eventually
from tests.serve.pages.composed import Cable, own_process
from tests.serve.pages.tab import Tab

BACK_SECONDS = 240.0  # most that is waited for a page, on a machine that is busy with other work
START_SECONDS = 600.0
COMING = "hold midway"  # of its answer two words come


class Person:
    """Who has a page open, in the state that ``name`` says."""

    def __init__(self, name: str, context: BrowserContext) -> None:
        self.name, self._context = name, context
        self.asked: list[str] = []  # what the store must hold once of each version asked
        self.corrected: list[str] = []

    def open(self, url: str, n_round: int) -> None:
        page = self._context.new_page()
        self.tab, self.page, self._round = Tab(page), page, n_round
        self.chat, self.box = page.locator("#pawl-chat"), page.locator("#pawl-question textarea")
        self.edited = self.chat.locator("textarea.edit-textarea")
        self.questions = self.chat.locator("[data-testid=user]")
        self.correction = page.get_by_label("What it should have said")
        self.prompt = page.get_by_label("System prompt")
        self.choices = page.locator(".pawl-choices")
        self.tab.open(url)
        STATES[self.name].begin(self)
        page.evaluate("window.isOpen = true")

    def said(self, what: str) -> str:
        """Words that are this person's, in this round, only."""
        return f"{what} of {self.name}, {self._round}."

    def ask(self) -> None:
        """A first question, which gets one answer."""
        private = self.page.get_by_label("Don't learn")
        private.click()  # then nothing is compared
        self.page.wait_for_timeout(500)  # until the server knows
        expect(private).to_be_checked()
        self.tab.ask(self.said("first"))
        self.asked.append(self.said("first"))

    def begin_to_edit(self) -> None:
        self.ask()
        self.chat.get_by_role("button", name="Edit").click()
        self.edited.fill(self.said("typed"))

    def compare(self) -> None:
        self.box.fill(self.said("first"))
        self.box.press("Enter")
        expect(self.choices).to_be_visible()
        self.asked.append(self.said("first"))

    def wait_for_words(self) -> None:
        self.ask()
        self.box.fill(COMING)
        self.box.press("Enter")
        expect(self.tab.answers).to_have_count(2)
        expect(self.tab.answers.last).to_contain_text("heard")

    def is_anywhere(self, text: str) -> None:
        def found() -> bool:
            with suppress(Error):  # the page is being loaded anew
                boxes = self.chat.locator("textarea").or_(self.box)
                typed = boxes.evaluate_all("all => all.map((one) => one.value)")
                return text in typed or text in map(str.strip, self.questions.all_text_contents())
            return False

        eventually(found, f"{text!r} stands in a box or was asked", BACK_SECONDS)

    def send(self) -> None:
        """Where it stands in a box still."""
        for box in (self.edited, self.box):
            if box.count() and box.input_value():
                box.press("Enter")
        expect(self.questions.last).to_have_text(self.said("typed"))
        expect(self.tab.button("Send")).to_be_visible()
        self.asked.append(self.said("typed"))

    def save(self) -> None:
        self.tab.button("Save feedback").click()
        expect(self.page.locator("#pawl-form")).to_be_hidden()
        self.corrected.append(self.said("typed"))

    def check(self, others: set[str]) -> None:
        """Raises AssertionError: something is not there, or another's is."""
        if self.name == "choice":
            expect(self.page.locator(".pawl-sides section")).to_contain_text(["heard", "heard"])
        else:
            expect(self.tab.answers.first).to_contain_text("heard")
        STATES[self.name].is_there(self)
        words = self.page.locator("body").inner_text() + self.page.evaluate(
            "[...document.querySelectorAll('textarea')].map((one) => one.value).join('\\n')"
        )
        crossed = [other for other in others if f"of {other}, " in words]
        assert not crossed, f"words of {crossed} are here"


def _correct(one: Person) -> None:
    one.ask()
    one.tab.thumb("Dislike").click()
    expect(one.page.locator("#pawl-form")).to_contain_text("heard")
    one.correction.fill(one.said("typed"))


def _set_prompt(one: Person) -> None:
    one.ask()
    one.page.locator("#pawl-settings").click()
    one.prompt.fill(one.said("typed"))


def _type(one: Person) -> None:
    if one.name == "second tab":
        expect(one.questions).to_have_count(1)
    else:
        one.ask()
    one.box.fill(one.said("typed"))


def _has_come(one: Person) -> None:
    one.is_anywhere(COMING)
    if one.questions.count() == 2:
        expect(one.tab.answers.last).to_contain_text("heard")


def _do_nothing(one: Person) -> None:
    """Leave the page as it is."""


@dataclass(frozen=True)
class State:
    """What a person does when it happens, what must be there after it, what they do then."""

    begin: Callable[[Person], None]
    is_there: Callable[[Person], None]
    end: Callable[[Person], None] = _do_nothing
    in_the_cut: Callable[[Person], None] = _do_nothing


def _holds(box: str) -> Callable[[Person], None]:
    return lambda one: expect(getattr(one, box)).to_have_value(one.said("typed"))


def _is_somewhere(one: Person) -> None:
    one.is_anywhere(one.said("typed"))


STATES = {
    "typed": State(_type, _holds("box"), Person.send),
    "second tab": State(_type, _holds("box"), Person.send),
    "edit": State(Person.begin_to_edit, _holds("edited"), Person.send),
    "correction": State(_correct, _holds("correction"), Person.save),
    "settings": State(_set_prompt, _holds("prompt")),
    "choice": State(Person.compare, lambda one: expect(one.choices).to_be_visible()),
    "answer that comes": State(Person.wait_for_words, _has_come),
    "sent": State(_type, _is_somewhere, Person.send, lambda one: one.box.press("Enter")),
    "sent edit": State(
        Person.begin_to_edit, _is_somewhere, Person.send, lambda one: one.edited.press("Enter")
    ),
}


class Server:
    """``pawl up`` before the tests' small engine in a process of its own, on one port."""

    def __init__(self, folder: Path) -> None:
        self.state_dir, self._base_dir = folder / "state", folder / "base"
        self._base = light_base(self._base_dir)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        self._process = ExitStack()
        self.cable = Cable(self._port)

    def start(self) -> None:
        """Wait until the engine is ready."""
        child = own_process(self.state_dir, self._base_dir, self._port, START_SECONDS)
        self._process.enter_context(child)

    def kill(self) -> None:
        """With SIGKILL."""
        self._process.close()

    def post(self, path: str, body: dict[str, object]) -> httpx.Response:
        url = f"http://127.0.0.1:{self._port}{path}"
        return httpx.post(url, json=body, timeout=120, auth=Operator(self.state_dir))

    def promote(self) -> None:
        folder = light_adapter(self.state_dir / "trained", self._base)
        self.post(
            "/admin/promotions", {"adapter_dir": str(folder), "force": True}
        ).raise_for_status()

    def kill_engine(self) -> None:
        messages = [{"role": "user", "content": "die at once"}]
        self.post("/v1/chat/completions", {"model": "base", "messages": messages})


@dataclass(frozen=True)
class Interruption:
    """How it begins and ends; whether it ends the pages' connections."""

    name: str
    begin: Callable[[], None]
    end: Callable[[], None]
    cuts: bool = True


def interrupt(
    one: Interruption, people: list[Person], url: str, n_round: int
) -> tuple[list[str], float]:
    """What was lost or crossed, in words; seconds from the end until the last page was back."""
    faults: list[str] = []

    def each(step: Callable[[Person], None], when: str) -> None:
        for person in people:
            try:
                step(person)
            except (AssertionError, Error) as err:
                faults.append(f"{person.name}, {when}: {str(err).splitlines()[0]}")
                print(f"  {one.name}: {faults[-1]}", flush=True)

    def is_anew(page: Page) -> bool:
        with suppress(Error):  # it is being loaded
            return not page.evaluate("window.isOpen")
        return False

    def begin(person: Person) -> None:
        person.open(people[0].page.url if person.name == "second tab" else url, n_round)

    def check(person: Person) -> None:
        if one.cuts:  # Gradio loads the page anew
            eventually(lambda: is_anew(person.page), "the page was loaded anew", BACK_SECONDS)
        whose = {person.name, "typed" if person.name == "second tab" else person.name}
        person.check({*STATES} - whose)

    each(begin, "before")
    print(f"{one.name}: the pages are open", flush=True)
    one.begin()
    each(lambda person: STATES[person.name].in_the_cut(person), "meanwhile")
    one.end()
    ended = time.monotonic()
    each(check, "afterwards")
    seconds = time.monotonic() - ended
    each(lambda person: STATES[person.name].end(person), "then")
    for person in people:
        person.page.close()
    return faults, seconds


def not_once(state_dir: Path, people: list[Person]) -> list[str]:
    """What the store, read after everything, does not hold exactly once. An answer that the dying
    engine failed is a row of its own beside the one that the page asked for then."""
    with Store.open(state_dir / "pawl.duckdb") as store:
        found = Counter(
            (str(row.messages[-1]["content"]), row.version)
            for row in store.completions() if row.status == "complete"
        )  # fmt: skip
        corrected = Counter(row.correction for row in store.current_feedback())
    asked = {text: [n for (one, _), n in found.items() if one == text]
             for person in people for text in person.asked}  # fmt: skip
    wrong = [f"{text!r} was recorded {n} times" for text, n in asked.items()
             if n != ([1, 1] if "of choice, " in text else [1])]  # fmt: skip
    texts = [text for person in people for text in person.corrected]
    return wrong + [f"{text!r} was saved {corrected[text]} times"
                    for text in texts if corrected[text] != 1]  # fmt: skip


def interruptions(server: Server, seconds: list[float]) -> list[Interruption]:
    def wait(cut: float) -> None:
        time.sleep(cut)  # the cut itself
        server.cable.mend()

    return [
        *(Interruption(f"cut for {cut:g} s", server.cable.cut, partial(wait, cut))
          for cut in seconds),
        Interruption("server killed, then started anew", server.kill, server.start),
        Interruption("engine killed", server.kill_engine, lambda: None, cuts=False),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, nargs="*", default=[5.0, 60.0], help="of the cuts")
    parser.add_argument("--rounds", type=int, default=3, help="of each interruption")
    parser.add_argument("--no-record", action="store_true")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise PawlError("chromium is not installed", do="apt-get install chromium")
    os.environ |= {"PAWL_PAGE__SIDE_BY_SIDE": "1", "PAWL_PAGE__SIDE_BY_SIDE_WITH": "base"}
    expect.set_options(timeout=BACK_SECONDS * 1000)
    figures: dict[str, object] = {}
    missed: list[str] = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        server.start()
        try:
            server.promote()
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            people = _people(browser)
            url, n = f"http://127.0.0.1:{server.cable.port}", 0
            for one in interruptions(server, args.seconds):
                slowest, n_faults = 0.0, 0
                for _ in range(args.rounds):
                    n += 1
                    faults, seconds = interrupt(one, people, url, n)
                    slowest, n_faults = max(slowest, seconds), n_faults + len(faults)
                    missed += [f"{one.name}: {fault}" for fault in faults]
                    print(f"{one.name}: all looked at after {seconds:.1f} s", flush=True)
                found = f"{n_faults} faults; all back within {slowest:.1f} s"
                figures[f"{one.name}, {args.rounds} times"] = found
            browser.close()
        finally:
            server.kill()
        wrong = not_once(server.state_dir, people)
    n_kept = sum(len(person.asked) + len(person.corrected) for person in people)
    figures["questions and corrections recorded once"] = f"{n_kept - len(wrong)} of {n_kept}"
    finish("interruptions", "The chat, interrupted", figures, missed=missed + wrong,
           note=f"{len(STATES)} pages of {len(STATES) - 1} people at once.",
           keep=not args.no_record)  # fmt: skip


def _people(browser: Browser) -> list[Person]:
    """A browser each, but for the second tab."""
    contexts = {name: browser.new_context() for name in STATES if name != "second tab"}
    return [Person(name, contexts.get(name, contexts["typed"])) for name in STATES]


if __name__ == "__main__":
    main()
