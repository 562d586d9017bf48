"""60 hostile texts in each place of the chat page where a text of a person or a model is drawn.

    python -m benchmarks.hostile_texts [--texts N] [--no-record]

The texts are those of ``tests/serve/pages/hostile.yaml``; as questions, answers, comments,
corrections and titles they are drawn by the tests beside it. Here: both answers side by side, a
flag that is said back with both answers, variants, names and system prompts of presets, names and
contents of attached files, suggestions. Missed by anything drawn that is not text or allowed
Markdown, by a control that is covered or out of reach at 1,280 and 390 pixels, by a request to
another host, by a script that ran, or by a text that is not there. A browser is needed.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
from playwright.sync_api import expect, sync_playwright

from benchmarks.chat_states import wait_until_built
from benchmarks.measurements import finish
from pawl.errors import PawlError
from pawl.schemas import Completion, ItemScore
from pawl.settings import PageSettings, Settings
from tests.feedback.examples import make_promotion, wait_all
from tests.serve.live import eventually
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab, recorded
from tests.serve.pages.test_markdown import HOSTILE, shown_text
from tests.serve.pages.test_rendering import COVERED, MESSAGES, STRANGE

SUGGESTIONS = [text for text in HOSTILE if "<" in text and len(text) <= 300][:8]  # as many as go
TEXTS_A_CHAT = 15
DROP = """([name, content]) => {
  const files = new DataTransfer();
  files.items.add(new File([content], name));
  document.body.dispatchEvent(
    new DragEvent("drop", { dataTransfer: files, bubbles: true, cancelable: true }));
}"""
SETTLED = """() => new Promise(requestAnimationFrame).then(() => Promise.all(
  document.getAnimations().filter((one) => one.effect.getTiming().iterations !== Infinity)
    .map((one) => one.finished.catch(() => null)))).then(() => null)"""
# What a message of Gradio's own (a toast) holds that is no text.
IN_TOASTS = """() => [...document.querySelectorAll(
  ".toast-wrap :is(img, script, style, a, form, iframe, object, input, textarea, details)"
)].map((part) => part.outerHTML.slice(0, 200))"""


class Drawn:
    """An open page, and what was found on it."""

    def __init__(self, tab: Tab) -> None:
        self.tab, self.page = tab, tab.page
        self.faults: list[str] = []

    def check(self, what: str, root: str = MESSAGES, **texts: Any) -> None:
        """Look at all that is drawn in ``root``, at both widths.

        Args:
            texts: (what is there, what should be) by name.
        """
        strange = [*self.page.evaluate(STRANGE, root), *self.page.evaluate(IN_TOASTS)]
        self.faults += [f"{what}: {part}" for part in strange]
        for width in (390, 1280):
            self.page.set_viewport_size({"width": width, "height": 844})
            self.page.evaluate(SETTLED)
            _, covered = self.page.evaluate(COVERED)
            self.faults += [f"{what}, {width} pixels: covered {one}" for one in covered]
            wide = self.page.evaluate("document.documentElement.scrollWidth")
            if wide > width:
                self.faults.append(f"{what}: {wide} pixels wide of {width}")
        if (ran := self.page.evaluate("[window.hacked, document.title]")) != [None, "Pawl"]:
            self.faults.append(f"{what}: {ran}")
        for name, (found, wanted) in texts.items():
            if found != wanted:
                self.faults.append(f"{what}: {name} {found!r}, not {wanted!r}")

    def own(self) -> Any:
        """What was asked last, as it is drawn."""
        return self.page.locator("[data-testid=user] .pawl-own").last.text_content()

    def ask(self, text: str) -> None:
        self.tab.box.fill(text)
        self.send()

    def send(self) -> None:
        n = self.page.locator("#pawl-chat [data-testid=user]").count()
        self.tab.box.press("Enter")
        expect(self.page.locator("#pawl-chat [data-testid=user]")).to_have_count(n + 1)
        expect(self.tab.button("Send")).to_be_visible()

    def new_chat(self) -> None:
        self.tab.button("New chat").click()
        expect(self.page.locator("#pawl-chat [data-testid=user]")).to_have_count(0)


def in_chats(drawn: Drawn, texts: list[str]) -> Iterator[str]:
    """Each of them, in chats that stay short."""
    for at, text in enumerate(texts):
        if at % TEXTS_A_CHAT == 0:
            drawn.new_chat()
        yield text


def side_by_side(drawn: Drawn, server: Composed, texts: list[str]) -> None:
    """Asked and answered; then chosen."""
    for text in in_chats(drawn, texts):
        drawn.ask(f"sign {text}")
        choices = drawn.page.locator(".pawl-choices")
        expect(choices).to_have_count(1)
        sides = drawn.page.locator(".pawl-sides section").all_inner_texts()
        names = sorted(side.split()[-1] for side in sides)
        drawn.check(repr(text), asked=(drawn.own(), f"sign {shown_text(text)}"))
        drawn.check(repr(text), signed=([name.rpartition("@")[0] or name for name in names],
                                        ["base", "pawl"]))  # fmt: skip
        choices.get_by_role("button", name="Answer 2 is better").click()
        expect(drawn.page.locator(".pawl-facts").last).to_contain_text("is better")


def said_back(drawn: Drawn, server: Composed, texts: list[str]) -> None:
    """Flags of this page's person; a version that stands answered otherwise at its gate."""
    before = [row.completion_id for row in server.store.completions()]
    drawn.new_chat()
    drawn.ask("hello")
    rater = recorded(server, 2, *before)[0].rater_id
    for first in range(0, len(texts), 30):  # of 50 that a page shows
        rows = _flagged(server, rater, texts[first : first + 30])
        run_id = f"night-{uuid4().hex}"
        for role in ("champion", "challenger"):
            scores = [
                ItemScore("holdout", row.completion_id, 1.0, "c", None, {
                    "prompt": row.messages, "answer": f"{row.completion}\n\n{role}",
                    "answer_is_whole": False, "correction": row.completion, "matches": True,
                })
                for row in rows
            ]  # fmt: skip
            server.store.append_scores(run_id, role, scores).result()
        wait_all([server.store.append_promotion(make_promotion("pawl@1", "live", run_id=run_id))])
        drawn.tab.reload()
        folded = drawn.page.locator(".pawl-said-back > details")
        expect(folded).to_have_count(min(len(rows), 3))
        while (more := drawn.page.get_by_role("button", name="Show more (")).count():
            n = folded.count()
            more.click()
            drawn.page.wait_for_function(
                "n => document.querySelectorAll('.pawl-said-back > details').length > n", arg=n
            )
        folded.evaluate_all("all => all.forEach((one) => { one.open = true; })")
        questions = sorted(drawn.page.locator(".pawl-said-back summary q").all_text_contents())
        answers = "all => all.filter((one) => one.textContent.includes('challenger')).length"
        n_new = drawn.page.locator("#pawl-said-back .pawl-drawn").evaluate_all(answers)
        asked = sorted(_on_a_line(str(row.messages[-1]["content"])) for row in rows)
        drawn.check("said back", "#pawl-said-back section", questions=(questions, asked),
                    answers=(n_new, len(rows)))  # fmt: skip
        for row in rows:
            body = {"completion_id": row.completion_id}
            _http(server, rater).post("/v1/answered-differently", json=body).raise_for_status()
    drawn.tab.reload()


def variants(drawn: Drawn, server: Composed, texts: list[str]) -> None:
    """Of one question; each is gone to."""
    chat = f"chat-{uuid4().hex}"
    http = _http(server, _rater(server))
    http.headers["X-Pawl-Conversation"] = chat
    for text in texts:
        asked = {"model": "base", "messages": [{"role": "user", "content": f"sign {text}"}]}
        http.post("/v1/chat/completions", json=asked).raise_for_status()
    drawn.tab.open(f"{server.url}/?chat={chat}")
    for place in range(len(texts), 0, -1):
        place_of = drawn.page.locator(".pawl-variants > span").last
        expect(place_of).to_have_text(f"Variant {place} of {len(texts)}")
        asked_now = (drawn.own(), f"sign {shown_text(texts[place - 1])}")
        drawn.check(f"variant {place}", asked=asked_now)
        if place > 1:
            drawn.page.get_by_role("button", name="Earlier variant").click()


def presets(drawn: Drawn, server: Composed, texts: list[str]) -> None:
    """Named by a text, with it as the system prompt."""
    http = _http(server, _rater(server))
    named = {text[:80].strip(): text for text in texts}
    for name, text in named.items():
        body = {"name": name, "settings": {"system_prompt": text}}
        http.post("/v1/presets", json=body).raise_for_status()
    drawn.new_chat()
    drawn.page.locator("#pawl-settings").click()
    dialog = drawn.page.get_by_role("dialog")
    options = dialog.get_by_label("Preset", exact=True)
    names = options.evaluate("all => [...all.options].map((one) => one.value.slice(1))")
    if sorted(filter(None, names)) != sorted(named):
        drawn.faults.append(f"the presets are {names}, not {sorted(named)}")
    for name, text in named.items():
        options.select_option(value=f"={name}")
        prompt = dialog.get_by_label("System prompt").input_value()
        wanted = text.replace("\r\n", "\n").replace("\r", "\n")
        if prompt != wanted:
            drawn.faults.append(f"preset {name!r}: {prompt!r}")
        dialog.get_by_role("button", name="Delete preset").click()
        status = dialog.get_by_role("status").text_content()
        if status != f"Press again to delete the preset “{name}”.":
            drawn.faults.append(f"preset {name!r}: {status!r}")
    within = dialog.evaluate("all => [...new Set([...all.querySelectorAll('*')].map("
                             "(one) => one.tagName))].sort().join(' ')")  # fmt: skip
    if within != "BUTTON DIV FORM H2 INPUT LABEL OPTION P SELECT TEXTAREA":
        drawn.faults.append(f"the dialog holds {within}")
    for _ in "discard, close":
        drawn.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    drawn.check("presets")


def files(drawn: Drawn, server: Composed, texts: list[str]) -> None:
    """Named by a text, with it as their content; where that is no text, the page says so."""
    status = drawn.page.locator(".pawl-attach [role=status]")
    for text in in_chats(drawn, texts):
        drawn.page.evaluate(DROP, [text[:200], text])
        drawn.page.wait_for_function(
            "() => !document.querySelector('.pawl-attach [role=status]').textContent"
            ".startsWith('Reading ')"
        )
        if not status.text_content():  # it holds control characters, and a message says so
            expect(drawn.page.locator(".toast-wrap")).to_contain_text("is no text")
            drawn.check(repr(text))
            continue
        _, _, content = str(drawn.tab.box.input_value()).partition("\n")
        fence = content[: len(content) - len(content.lstrip("`"))]
        body = content.partition("\n")[2].rpartition(f"\n{fence}\n")[0]
        drawn.send()
        shown = drawn.page.locator(".pawl-file").last
        drawn.check(
            repr(text),
            content=(shown.locator("div").first.text_content(), shown_text(body)),
        )
        shown.locator("summary").click()
        drawn.check(repr(text), taken=(body, text.replace("\r\n", "\n").strip("\n")))


def suggestions(drawn: Drawn, server: Composed, texts: list[str]) -> None:
    """Each is put into the box as it is."""
    drawn.new_chat()
    buttons = drawn.page.locator("#pawl-suggestions button")
    tags = buttons.evaluate_all(
        "all => [...new Set(all.flatMap((one) => [...one.querySelectorAll('*')]"
        ".map((part) => part.tagName)))]"
    )
    if set(tags) - {"BR", "SPAN"}:
        drawn.faults.append(f"a suggestion holds {tags}")
    for at, text in enumerate(SUGGESTIONS):
        drawn.check(text)
        buttons.nth(at).click()
        if (typed := drawn.tab.box.input_value()) != text:
            drawn.faults.append(f"suggested {text!r}, typed {typed!r}")
        drawn.tab.box.fill("")


PLACES: dict[str, Callable[[Drawn, Composed, list[str]], None]] = {
    "suggestions": suggestions,
    "both answers side by side, and chosen": side_by_side,
    "variants": variants,
    "names and system prompts of presets": presets,
    "names and contents of files": files,
    "said back, with both answers": said_back,
}


def _flagged(server: Composed, rater: str, texts: list[str]) -> list[Completion]:
    http, before = _http(server, rater), [row.completion_id for row in server.store.completions()]
    for text in texts:
        body = {"model": "base", "messages": [{"role": "user", "content": f"say {text}"}]}
        answer = http.post("/v1/chat/completions", json=body).raise_for_status().json()
        marked = {"completion_id": answer["id"], "thumb": "down", "correction": "Four."}
        http.post("/v1/feedback", json=marked).raise_for_status()
    return recorded(server, len(texts), *before)


def _http(server: Composed, rater: str) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"X-Pawl-Rater": rater}, timeout=60)


def _rater(server: Composed) -> str:
    """Who used the page last."""
    rows = [row for row in server.store.completions() if row.rater_id.startswith("page-")]
    return max(rows, key=lambda row: row.created_at).rater_id


def _on_a_line(text: str) -> str:
    line = " ".join(text.split())
    return shown_text(line if len(line) <= 120 else f"{line[:119]}…")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=len(HOSTILE), help="only the first N")
    parser.add_argument("--only", help="a place whose name begins so")
    parser.add_argument("--no-record", action="store_true")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise PawlError("chromium is not installed", do="apt-get install chromium")
    texts, figures, missed = HOSTILE[: args.texts], {}, []
    page_settings = PageSettings(
        side_by_side=1, side_by_side_with="base", suggestions=tuple(SUGGESTIONS)
    )
    with (
        tempfile.TemporaryDirectory() as folder,
        composed(Settings(state_dir=Path(folder) / "state", page=page_settings)) as server,
        sync_playwright() as playwright,
    ):
        server.promote()
        eventually(lambda: server.store.champion() == "pawl@1", "the adapter answers")
        wait_until_built(server)
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        tab = Tab(browser.new_context().new_page())
        tab.watch()
        tab.open(server.url)
        Drawn(tab).ask("hello")
        for name, draw in PLACES.items():
            if not name.startswith(args.only or ""):
                continue
            drawn = Drawn(tab)
            draw(drawn, server, texts)
            n = len(SUGGESTIONS) if draw is suggestions else len(texts)
            figures[f"{name}: {n} texts"] = f"{len(drawn.faults)} faults"
            missed += [f"{name}: {fault}" for fault in drawn.faults]
            print(name, *drawn.faults, sep="\n", flush=True)
        hosts = {urlsplit(url).hostname for url in tab.urls if url.startswith("http")}
        figures["hosts asked"] = ", ".join(sorted(filter(None, hosts)))
        if hosts != {"127.0.0.1"}:
            missed.append(f"asked {hosts}")
        missed += tab.complaints
        browser.close()
    finish("hostile-texts", "Hostile texts in the chat's other places", figures,
           missed=missed, keep=not args.no_record)  # fmt: skip


if __name__ == "__main__":
    main()
