"""What is drawn of messages in a browser: hostile texts, Markdown, formulas; copied and edited."""

from __future__ import annotations

import uuid

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from tests.serve.pages.composed import Composed
from tests.serve.pages.tab import Tab, ids, recorded
from tests.serve.pages.test_markdown import HOSTILE, shown_text

pytestmark = pytest.mark.browser

MESSAGES = "#pawl-chat [data-testid] .md"
# What of the page within an element is not text, allowed Markdown or a control of the page's.
STRANGE = """(root) => {
  const tags = new Set(`A B BLOCKQUOTE BR BUTTON CODE DETAILS DIV EM H2 H3 H4 H5 H6 HR I INPUT
    LABEL LI OL P PATH PRE Q S SECTION SPAN STRONG SUMMARY SVG TABLE TBODY TD TH THEAD TR
    UL`.split(/\\s+/));
  const controls = `.code_wrap > .copy_code_button, .pawl-choices > button, .pawl-variants > button,
    #pawl-said-back section > button[data-do], #pawl-said-back section > details > button[data-do]`;
  const strange = [];
  for (const part of document.querySelectorAll(`:is(${root}) *`)) {
    if (part.closest(".katex, .katex-error")) {
      if (part.closest(".katex a, .katex img, .katex [id]")) strange.push(part.outerHTML);
      continue;
    }
    const own = part.matches(controls) ? ["value", "data-do", "data-id"] : [];
    const names = [...part.attributes].map((each) => each.name).filter((name) => !["class", "dir",
      "title", "tabindex", "hidden", "href", "target", "rel", "type", "disabled", "checked", "role",
      "viewBox", "width", "height", "aria-hidden", "fill", "d", "start", "data-seen", "open",
      ...own].includes(name));
    const link = part.getAttribute("href");
    if (!tags.has(part.tagName.toUpperCase()) || names.length
      || link !== null && !/^(https?:|mailto:)/.test(link)
      || part.tagName === "BUTTON" && !part.matches(controls)
      || part.tagName === "INPUT" && !part.matches("li label > .task-list-item-checkbox[disabled]"))
      strange.push(part.outerHTML.slice(0, 300));
  }
  return strange;
}"""
# The controls that another element covers, or that can't be reached by scrolling.
COVERED = """async () => {
  const controls = document.querySelectorAll(`#pawl-new, #pawl-version input, #pawl-question button,
    #pawl-question textarea, #pawl-chat .message-buttons button, #pawl-chat .copy_code_button,
    .pawl-choices button, .pawl-variants button:enabled, #pawl-said-back :is(summary, button),
    #pawl-suggestions button, .pawl-attach button, #pawl-settings, dialog :is(button, select)`);
  const covered = [];
  for (const control of controls) {
    if (!control.checkVisibility()) continue;
    control.scrollIntoView({block: "center"});
    const found = () => {
      const box = control.getBoundingClientRect();
      return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
    };
    let top = found();
    if (!control.contains(top)) {  // Gradio's button that scrolls to the end goes once it is there
      await new Promise((resolve) => setTimeout(resolve, 300));
      top = found();
    }
    if (!control.contains(top))
      covered.push(`${control.outerHTML.slice(0, 200)} by ${top?.outerHTML.slice(0, 200)}`);
  }
  return [controls.length, covered];
}"""


def test_hostile_texts_are_text(server: Composed, tab: Tab) -> None:
    """Each is asked, answered, commented and corrected with, in one conversation."""
    assert len(HOSTILE) == 60
    before = ids(server)
    tab.ask("say hello")
    (row,) = recorded(server, 1, *before)
    chat = f"chat-{uuid.uuid4().hex}"
    headers = {"X-Pawl-Rater": row.rater_id, "X-Pawl-Conversation": chat}
    messages: list[dict[str, str]] = []
    with httpx.Client(base_url=server.url, headers=headers) as http:
        for text in HOSTILE:
            messages.append({"role": "user", "content": f"say {text}"})
            body = {"model": "pawl", "messages": messages}
            answer = http.post("/v1/chat/completions", json=body).raise_for_status()
            said = answer.json()["choices"][0]["message"]["content"]
            assert said == text
            messages.append({"role": "assistant", "content": said})
            marked = {"completion_id": answer.json()["id"], "thumb": "down", "comment": text,
                      "correction": text}  # fmt: skip
            http.post("/v1/feedback", json=marked).raise_for_status()
    tab.open(f"{server.url}/?chat={chat}")
    expect(tab.small_print).to_have_count(60)
    tab.page.wait_for_function("document.querySelectorAll('#pawl-chat .katex').length > 5")

    shown = tab.page.locator("[data-testid=user] .pawl-own").evaluate_all(
        "all => all.map((one) => one.textContent)"
    )
    assert shown == [f"say {shown_text(text)}" for text in HOSTILE]
    assert tab.page.evaluate(STRANGE, MESSAGES) == []
    n_controls, covered = tab.page.evaluate(COVERED)
    assert n_controls > 60 * 4
    assert covered == []
    assert tab.page.evaluate("[window.hacked, /(^| · )Pawl$/.test(document.title)]") == [None, True]

    for at in (1, 17, 41, 57):  # their beginnings are the form's headings
        tab.thumb("Like", at).click()
        expect(tab.page.locator("#pawl-form q")).to_be_visible()
        tags = tab.page.locator("#pawl-form .prose").first.evaluate(
            "form => [...form.querySelectorAll('*')].map((part) => part.tagName)"
        )
        assert set(tags) <= {"SPAN", "DIV", "B", "Q"}
    assert tab.page.evaluate(STRANGE, MESSAGES) == []


def test_markdown_formulas_and_code_are_drawn(tab: Tab, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    said = (
        "<think>hm</think>**So**: $a\\,b$\n\n$$\\frac12$$\n\n```python\nif a < b:\n\tpass\n```\n\n"
        "- [x] done\n\nשלום"
    )
    tab.ask(f"say {said}")
    answer = tab.answers
    expect(answer.locator(".katex-html")).to_have_count(2)
    assert "\\," in (answer.locator("annotation").first.text_content() or "")
    expect(answer.locator(".pawl-keyword").first).to_have_text("if")
    expect(answer.get_by_role("checkbox")).to_be_checked()
    assert answer.locator("p", has_text="שלום").evaluate(
        "part => getComputedStyle(part).direction"
    ) == "rtl"  # fmt: skip
    thought = answer.locator(".pawl-thought")
    expect(thought.get_by_text("hm")).to_be_hidden()
    thought.get_by_text("Thoughts").click()
    expect(thought.get_by_text("hm")).to_be_visible()

    def copied() -> str:
        return str(tab.page.evaluate("navigator.clipboard.readText()"))

    answer.locator(".copy_code_button").click()
    tab.page.wait_for_function("navigator.clipboard.readText().then((text) => text)")
    assert copied() == "if a < b:\n\tpass"
    tab.page.get_by_role("button", name="Copy message").nth(1).click()
    assert copied() == said
    tab.page.get_by_role("button", name="Copy message").nth(0).click()
    assert copied() == f"say {said}"


def test_html_is_copied_as_it_stands(tab: Tab, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    html = '<details><summary>a</summary><div class="pawl-source" title="b"></div></details>'

    def copied() -> None:
        tab.page.wait_for_function(
            "html => navigator.clipboard.readText().then((text) => text === html)", arg=html
        )
        tab.page.evaluate("navigator.clipboard.writeText('')")

    tab.ask(f"say ```html\n{html}\n```")
    tab.answers.locator(".copy_code_button").click()
    copied()
    tab.box.fill(html)
    tab.box.press("Control+a")
    tab.box.press("Control+c")
    copied()


def test_a_question_is_edited_as_it_was_written(server: Composed, tab: Tab) -> None:
    tab.ask("a<b and\n <i>&amp;</i>")
    before = ids(server)
    chat = tab.page.locator("#pawl-chat")
    chat.get_by_role("button", name="Edit").click()
    box = chat.get_by_label("Edit your message")
    expect(box).to_have_value("a<b and\n <i>&amp;</i>")
    expect(box).to_be_focused()
    box.press("Escape")
    expect(chat.locator(".pawl-own")).to_have_text("a<b and\n <i>&amp;</i>")
    assert ids(server) == before
    chat.get_by_role("button", name="Edit").click()
    box.fill("<img src=x>")
    box.press("Shift+Enter")
    box.type("two")
    box.press("Enter")
    (row,) = recorded(server, 1, *before)
    assert [message["content"] for message in row.messages] == ["<img src=x>\ntwo"]
    expect(tab.answers).to_have_text(["pawl@1 heard 15 characters."])
    expect(chat.locator(".pawl-own")).to_have_text("<img src=x>\ntwo")
