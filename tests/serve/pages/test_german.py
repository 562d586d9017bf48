"""The chat page in German: every word that it shows, in a browser that asks for it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from serve.pages import texts
from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import LEAVING, Tab

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("PICTURES")  # a folder to keep pictures of the page in, for people
GERMAN = {key: re.sub(r"[*]|\s+", lambda one: one[0].strip("*") and " ", text)
          for key, text in texts._TEXTS["de"].items()}  # fmt: skip
ALL = "\n".join(GERMAN.values())
WITH_VALUES = [
    re.compile(re.sub(r"\\\{\w+\\\}", ".+", re.escape(text)))
    for text in GERMAN.values()
    if "{" in text
]
# What is no word of the page's: names, and signs.
NAMES = re.compile(r"Pawl|pawl(@\d+)?|base|English|Deutsch|[^A-Za-z]*")
OWN = re.compile(r"Ein Rad mit Sperrklinke|a\.png ist ein Bild")  # with what a person wrote
# All that is seen or read aloud, but for what people and the model wrote.
WORDS = """() => {
  const found = [], foreign = "[data-testid=bot] > :not(:has(.pawl-under)), .pawl-own, " +
    "#pawl-list a, q, del, ins, .pawl-difference, option, script, style, noscript, #pawl-version";
  const { SHOW_ELEMENT, SHOW_TEXT } = NodeFilter;
  const seen = { visibilityProperty: true, opacityProperty: true };
  const all = document.createTreeWalker(document.body, SHOW_ELEMENT | SHOW_TEXT);
  for (let node = all.nextNode(); node; node = all.nextNode()) {
    const place = node.nodeType === Node.TEXT_NODE ? node.parentElement : node;
    if (!place.checkVisibility(seen) || place.closest(foreign)) continue;
    const words = node.nodeType === Node.TEXT_NODE ? [node.data]
      : ["aria-label", "title", "placeholder", "alt"].map((name) => node.getAttribute(name) ?? "");
    found.push(...words.map((one) => one.replace(/\\s+/g, " ").trim()).filter(Boolean));
  }
  return found;
}"""
# Buttons whose words don't fit, or that stand beyond the window.
SPILT = """() => [...document.querySelectorAll(
  "button, #pawl-below label, .pawl-languages a")].filter((one) => {
  if (!one.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
  const { left, right, width } = one.getBoundingClientRect();
  const isWorded = one.innerText.trim() && !one.closest(".pawl-suggestions");  // those scroll
  return width && isWorded && (one.scrollWidth > one.clientWidth + 1
    || left < -1 || right > innerWidth + 1);
}).map((one) => one.innerText || one.ariaLabel || one.outerHTML.slice(0, 80))"""


def without_end(word: str) -> str:
    """A text without the sign that a template puts after it."""
    return word if word in ALL else word.removesuffix(":").removesuffix(").").strip(" (")


class GermanTab:
    """An open page whose words are German."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.faults: list[tuple[str, int, str]] = []  # of all that was looked at

    def check(self, name: str, widths: tuple[int, ...] = (1280, 390)) -> None:
        """Every word is German, and no button spills."""
        for width in widths:
            self.page.set_viewport_size({"width": width, "height": 800})
            self.page.wait_for_timeout(400)  # Gradio's buttons fade
            if PICTURES:
                self.page.screenshot(path=Path(PICTURES) / f"{name}-{width}.png")
            others = {
                word
                for word in map(without_end, self.page.evaluate(WORDS))
                if word not in ALL
                and not NAMES.fullmatch(word)
                and not OWN.search(word)
                and not any(pattern.fullmatch(word) for pattern in WITH_VALUES)
            }
            self.faults += [(name, width, word) for word in others]
            self.faults += [(name, width, f"spilt: {one}") for one in self.page.evaluate(SPILT)]

    def button(self, key: str) -> Any:
        return self.page.get_by_role("button", name=GERMAN[key], exact=True)

    def sees(self, key: str, **values: object) -> None:
        text = GERMAN[key].format(**values) if values else GERMAN[key]
        expect(self.page.get_by_text(text).first).to_be_visible()


@pytest.fixture
def german(browser: Browser, server: Composed) -> Iterator[GermanTab]:
    context = browser.new_context(locale="de-DE", reduced_motion="reduce")
    tab = Tab(context.new_page())
    tab.watch()
    tab.page.goto(server.url)
    expect(tab.page.locator("#pawl-question textarea")).to_be_visible(timeout=240_000)
    expect(tab.page.locator("#pawl-version input")).to_have_value(re.compile("jetzt"))
    opened = GermanTab(tab.page)
    yield opened
    context.close()
    assert not opened.faults, "\n".join(map(str, opened.faults))
    # A page that is left in the middle of a request complains about it.
    assert [one for one in tab.complaints if not LEAVING.search(one)] == []


def test_everything_on_the_page_is_german(german: GermanTab) -> None:
    page = german.page
    expect(page.locator("html")).to_have_attribute("lang", "de")
    german.sees("page.about")
    german.check("empty")
    box = page.locator("#pawl-question textarea")
    expect(box).to_have_attribute("placeholder", GERMAN["page.message"])
    box.fill("Was ist eine Ratsche?")
    box.press("Enter")
    expect(page.locator(".pawl-under")).to_have_count(1)
    expect(german.button("page.send")).to_be_visible()
    german.check("answered")
    expect(page.locator("#pawl-chat button[data-own=Clear]")).to_be_hidden()

    page.locator("#pawl-chat button[data-own=Dislike]:visible").first.click()
    german.sees("form.about_bad")
    expect(page.locator("#pawl-form [class*=pawl-about-]")).to_be_focused()
    page.get_by_text(GERMAN["form.meanings"]).click()
    german.check("form")
    page.get_by_label(GERMAN["categories.off_topic.name"]).check()
    page.locator("#pawl-correction textarea").fill("Ein Rad mit Sperrklinke.")
    german.sees("form.changed")
    german.button("form.save").click()
    german.sees("answer.marked_bad")
    german.sees("categories.off_topic.name")
    german.check("saved")

    page.set_viewport_size({"width": 1280, "height": 800})
    menu = page.locator("#pawl-list li[data-id] summary").first
    expect(page.locator("#pawl-list .pawl-day")).to_have_text(GERMAN["scripts.today"])
    menu.click()
    german.check("menu", widths=(1280,))
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator("#pawl-chats").click()
    menu.click()
    german.check("drawer", widths=(390,))
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 1280, "height": 800})
    menu.click()
    page.get_by_role("button", name=GERMAN["list.rename"], exact=True).click()
    title = page.get_by_label(GERMAN["scripts.title"])
    title.fill("Ratschen")
    title.press("Enter")
    expect(page.locator("#pawl-list li[data-id] a")).to_have_text("Ratschen")
    menu.click()
    page.get_by_role("button", name=GERMAN["list.delete"], exact=True).click()
    german.sees("scripts.delete_this", title="Ratschen")
    german.check("delete")
    page.get_by_role("button", name=GERMAN["scripts.cancel"], exact=True).click()

    page.locator("#pawl-settings").click()
    dialog = page.get_by_role("dialog", name=GERMAN["scripts.settings_title"])
    dialog.get_by_label(GERMAN["scripts.system_prompt"]).fill("Kurz.")
    page.keyboard.press("Escape")
    german.sees("scripts.not_used_yet")
    german.check("settings")
    dialog.get_by_role("button", name=GERMAN["scripts.use"], exact=True).click()
    expect(page.locator("#pawl-settings")).to_have_text("Einstellungen: Systemprompt")

    page.set_input_files(
        "#pawl-attach input",
        {"name": "a.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n"},
    )
    page.get_by_text("a.png ist ein Bild").wait_for()
    german.check("warning")


def test_a_chosen_language_is_remembered_and_the_conversation_stays(
    german: GermanTab, server: Composed
) -> None:
    page = german.page
    box = page.locator("#pawl-question textarea")
    box.fill("Wer bist du?")
    box.press("Enter")
    expect(page.locator(".pawl-under")).to_have_count(1)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#pawl-chat [data-testid=user]")).to_have_text("Wer bist du?")
    box.fill("Noch nicht gesendet")
    page.get_by_role("link", name="English").click()
    expect(page.get_by_label("Your message")).to_have_value("Noch nicht gesendet")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert "lang=" not in page.url
    expect(page.locator("#pawl-chat [data-testid=user]")).to_have_text("Wer bist du?")
    expect(page.locator("#pawl-list .pawl-day")).to_have_text("Today")
    other.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # looked at again
    expect(other.get_by_label("Your message")).to_be_visible()
    page.goto(server.url)
    expect(page.get_by_role("button", name="New chat")).to_be_visible()
    expect(page.get_by_text("Ask something.")).to_be_visible()
    manifest = page.context.request.get(f"{server.url}/manifest.json").json()
    assert manifest["description"].startswith("A chat")
