"""The chat by keys alone: no step of these points at an element or focuses it by a script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.serve.pages.composed import Composed, side_by_side
from tests.serve.pages.tab import Tab, feedback, ids, recorded

pytestmark = [pytest.mark.browser, pytest.mark.slow]
# What a screen reader calls the element that has the focus, roughly.
NAME = """() => {
  const at = document.activeElement;
  return (at.ariaLabel || at.labels?.[0]?.textContent || at.textContent || at.title || "").trim();
}"""
MOST_TABS = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    with side_by_side(tmp_path_factory.mktemp("server") / "state") as running:
        yield running


def reach(tab: Tab, name: str, key: str = "Tab") -> None:
    """Press ``key`` until the focus is on what is called so."""
    passed = [tab.page.evaluate(NAME)]
    while not passed[-1].startswith(name) and len(passed) < MOST_TABS:
        tab.page.keyboard.press(key)
        passed.append(tab.page.evaluate(NAME))
    assert passed[-1].startswith(name), f"{name!r} is not reached by {key}, but {passed}"


def test_two_answers_variants_a_file_and_settings_by_keys_alone(
    server: Composed, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "prices.csv").write_text("item,price\nnails,3.20\n")
    before, context = ids(server), browser.new_context()
    tab = Tab(context.new_page())
    tab.watch()
    tab.open(server.url)
    keys, page = tab.page.keyboard, tab.page
    page.on("filechooser", lambda _: None)  # from now on the browser tells of it
    expect(tab.box).to_be_focused()

    # A suggestion is put into the box, and the focus with it; two answers come.
    reach(tab, "Give me five ideas", "Shift+Tab")
    keys.press("Enter")
    expect(tab.box).to_be_focused()
    expect(tab.box).to_have_value("Give me five ideas for a dinner with what is in season.")
    keys.press("Enter")
    expect(page.locator(".pawl-choices")).to_be_visible()
    expect(tab.button("Send")).to_be_visible()
    sides = page.locator(".pawl-sides section")
    is_second = "base" in sides.nth(1).inner_text()
    reach(tab, f"Answer {1 + is_second} is better", "Shift+Tab")
    keys.press("Enter")
    expect(page.locator(".pawl-facts").last).to_contain_text("is better: answer 1 is")
    expect(tab.box).to_be_focused()
    chosen, lost = sorted(recorded(server, 2, *before), key=lambda row: row.version)
    (said,) = feedback(server, chosen.completion_id)
    assert said["preferred_over"] == lost.completion_id

    # The other one is a variant.
    names = ("Later", "Earlier") if is_second is False else ("Earlier", "Later")
    for name, answer in zip(names, ("pawl@1", "base"), strict=True):
        reach(tab, f"{name} variant", "Shift+Tab" if name == names[0] else "Tab")
        keys.press("Enter")
        expect(tab.answers).to_contain_text([f"{answer} heard"])

    # A file: attached, sent, unfolded.
    reach(tab, "Attach a file")
    with page.expect_file_chooser() as chooser:
        keys.press("Enter")
    chooser.value.set_files(tmp_path / "prices.csv")
    expect(page.get_by_text("The file stands in your message.")).to_be_visible()
    expect(tab.box).to_be_focused()
    keys.type("What do nails cost?")
    keys.press("Enter")
    expect(page.locator(".pawl-choices")).to_be_visible()
    expect(tab.button("Send")).to_be_visible()
    reach(tab, "prices.csv", "Shift+Tab")
    keys.press("Enter")
    expect(page.get_by_text("nails,3.20")).to_be_visible()

    # Settings, and a preset of them.
    reach(tab, "Settings")
    keys.press("Enter")
    dialog = page.get_by_role("dialog", name="Settings of this conversation")
    expect(dialog.get_by_label("System prompt")).to_be_focused()
    keys.type("Be brief.")
    reach(tab, "Name of a preset")
    keys.type("brief")
    keys.press("Enter")
    expect(dialog.get_by_role("status")).to_contain_text("is saved.")
    reach(tab, "Use in this conversation")
    keys.press("Enter")
    expect(dialog).to_have_count(0)
    expect(page.locator("#pawl-settings")).to_be_focused()
    expect(page.locator("#pawl-settings")).to_have_text("Settings: system prompt")
    assert tab.complaints == []
    context.close()
