"""The chat page in the states in which people meet it, for the benchmark of accessibility."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
from playwright.sync_api import expect

from pawl.models import BaseModel
from pawl.schemas import ItemScore
from pawl.settings import PageSettings, Settings
from tests.feedback.examples import make_promotion, wait_all
from tests.serve.live import REPOSITORY, eventually
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab

States = dict[str, Callable[[Tab], None]]
ANSWER = (
    "say <think>First *this*.</think># Title\n\n**bold** [a link](https://example.org) `code`\n\n"
    "- [x] done\n- [ ] open\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\n\n"
    '```python\ndef f(x):  # comment\n    return "text" + str(12)\n```\n\n$a\\,b$ '
    "$$\\frac12$$\n\nשלום"
)


def _empty(tab: Tab) -> None:
    expect(tab.page.locator("#pawl-suggestions button").first).to_be_visible()


def _drawn(tab: Tab) -> None:
    tab.ask(ANSWER)
    expect(tab.page.locator(".katex-html")).to_have_count(2)


def _varied(tab: Tab) -> None:
    for n in (2, 3):
        tab.button("Retry").click()
        expect(tab.page.locator(".pawl-variants")).to_contain_text(f"{n} of {n}")
        expect(tab.button("Send")).to_be_visible()
    tab.page.get_by_role("button", name="Earlier variant").click()
    expect(tab.page.locator(".pawl-variants")).to_contain_text("2 of 3")


def _flagged(tab: Tab) -> None:
    tab.thumb("Dislike").click()
    tab.page.locator("#pawl-form").get_by_label("What it should have said").fill("Another title")
    expect(tab.page.locator(".pawl-difference ins").first).to_be_visible()


def _attached(tab: Tab) -> None:
    tab.button("Close").click()
    table = {"name": "prices.csv", "mimeType": "text/csv", "buffer": b"item,price\nnails,3.20\n"}
    tab.page.locator(".pawl-attach input").set_input_files(table)
    expect(tab.page.get_by_text("The file stands in your message.")).to_be_visible()


def _with_file(tab: Tab) -> None:
    tab.box.press("Control+End")
    tab.page.keyboard.type("What do nails cost?")
    tab.box.press("Enter")
    expect(tab.answers).to_have_count(2)
    tab.page.locator(".pawl-file summary").press("Enter")
    expect(tab.page.get_by_text("nails,3.20")).to_be_visible()


def _settings(tab: Tab) -> None:
    tab.page.locator("#pawl-settings").click()
    dialog = tab.page.get_by_role("dialog", name="Settings of this conversation")
    dialog.get_by_label("System prompt").fill("Be brief.")
    dialog.get_by_label("Name of a preset").fill("brief")
    tab.page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_contain_text("is saved.")
    dialog.get_by_role("button", name="Delete preset").click()
    expect(dialog.get_by_role("status")).to_contain_text("Press again to delete")


def _full(tab: Tab) -> None:
    for _ in "discard, close":
        if tab.page.get_by_role("dialog").count():
            tab.page.keyboard.press("Escape")
    for text in ("one", "two", "three"):
        tab.ask(text)
    tab.box.fill("longer talk")
    tab.box.press("Enter")
    expect(tab.page.locator("#pawl-full")).to_be_visible()


def _waiting(tab: Tab) -> None:
    tab.box.fill("hold first")
    tab.box.press("Enter")
    expect(tab.page.get_by_text("Waiting for the answer")).to_be_visible()


CHAT_STATES: States = {
    "empty": _empty, "drawn": _drawn, "varied": _varied, "flagged": _flagged,
    "attached": _attached, "with-file": _with_file, "settings": _settings, "full": _full,
    "waiting": _waiting,
}  # fmt: skip


class Compared:
    """A server that gives two answers to each prompt, and its states.

    Its engine starts only while ``gate`` is there.
    """

    def __init__(self, server: Composed, gate: Path) -> None:
        self.server, self._gate = server, gate
        self.url = server.url
        self.states: States = {
            "sides": self._sides, "chosen": self._chosen, "said-back": self._said_back,
            "held": self._held,
        }  # fmt: skip

    def _sides(self, tab: Tab) -> None:
        tab.box.fill("What does a lamp cost?")
        tab.box.press("Enter")
        expect(tab.page.locator(".pawl-choices")).to_be_visible()
        expect(tab.button("Send")).to_be_visible()

    def _chosen(self, tab: Tab) -> None:
        tab.button("Answer 2 is better").click()
        expect(tab.page.locator(".pawl-facts").last).to_contain_text("is better")

    def _said_back(self, tab: Tab) -> None:
        """This person's flag; a version that stands answered it otherwise at its gate."""
        store = self.server.store
        flagged = max(store.completions(), key=lambda row: row.created_at)
        body = {"completion_id": flagged.completion_id, "thumb": "down", "correction": "Four."}
        headers = {"X-Pawl-Rater": flagged.rater_id}
        httpx.post(f"{self.url}/v1/feedback", json=body, headers=headers).raise_for_status()
        run_id = f"night-{uuid4().hex}"
        for role, answer in (("champion", "Five."), ("challenger", ANSWER.removeprefix("say "))):
            detail = {"prompt": flagged.messages, "answer": answer, "answer_is_whole": True,
                      "correction": "Four.", "matches": False}  # fmt: skip
            score = ItemScore("holdout", flagged.completion_id, 1.0, "c", None, detail)
            store.append_scores(run_id, role, [score]).result()
        promotion = make_promotion("pawl@1", "live", run_id=run_id)
        wait_all([store.append_promotion(promotion)])
        tab.reload()
        tab.page.locator(".pawl-said-back > details > summary").click()
        expect(tab.page.locator("#pawl-said-back details[open] .pawl-drawn").last).to_be_visible()

    def _held(self, tab: Tab) -> None:
        self._gate.unlink()
        messages = [{"role": "user", "content": "die at once"}]
        httpx.post(f"{self.url}/v1/chat/completions", json={"model": "base", "messages": messages},
                   timeout=60)  # fmt: skip
        expect(tab.page.locator(".pawl-notice")).to_be_visible()
        tab.box.fill("Are you there?")
        tab.box.press("Enter")
        expect(tab.page.locator(".pawl-held")).to_be_visible()

    def open_gate(self) -> None:
        """Let the engine start, and wait until it has."""
        self._gate.touch()
        self.server.call(self.server.engine.wait_ready())


def wait_until_built(server: Composed) -> None:
    """Wait for its pages. Gradio builds in one thread of a process at a time."""
    eventually(lambda: httpx.get(f"{server.url}/config").status_code != 503, "built pages", 240)


@contextmanager
def compared(folder: Path) -> Iterator[Compared]:
    """Serve it until the block ends."""
    gate = folder / "gate"
    gate.touch()

    def waits_for_gate(settings: Settings, model: BaseModel, port: int) -> list[str]:
        fake = REPOSITORY / "tests/serve/fake_vllm.py"
        waiting = f"while [ ! -e '{gate}' ]; do sleep 0.05; done"
        return ["sh", "-c", f"{waiting}; exec '{sys.executable}' '{fake}' {port}"]

    page = PageSettings(side_by_side=1, side_by_side_with="base")
    settings = Settings(state_dir=folder / "compared", page=page)
    with composed(settings, command=waits_for_gate) as server:
        wait_until_built(server)
        server.promote()
        eventually(lambda: server.store.champion() == "pawl@1", "the adapter answers")
        yield Compared(server, gate)
