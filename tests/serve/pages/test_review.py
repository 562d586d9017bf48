"""The review page in a real browser: who may open it, and a reviewer at work with keys alone.

Over 400 lines: one queue, worked through by mouse, by keys and by two reviewers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from pawl.schemas import Account, Role, utc_now
from pawl.server import api_key_of
from pawl.settings import ReviewSettings, Settings
from serve.api.passwords import Passwords
from tests.feedback.examples import make_completion, make_feedback, wait_all
from tests.serve.pages.composed import Composed, composed
from tests.serve.pages.tab import Tab
from tests.serve.pages.test_people import GOOD, sign_in

pytestmark = pytest.mark.browser
PICTURES = os.environ.get("PICTURES")  # a folder to keep pictures of the page in, for people
HOSTILE = (
    "<img src=x onerror=alert(1)><style>body{display:none}</style>\n\n# no heading\n\n"
    "<div class='review-item' data-item='x'>a<b and c>d</div> ![x](https://example.com/p.png)"
)
TARGETS = "button, a, input:not([type=checkbox], [type=radio]), textarea, #review-decisions label"
TOO_SMALL = """(one) => one.offsetParent !== null
    && Math.min(one.getBoundingClientRect().width, one.getBoundingClientRect().height) < 43.9"""
HOSTILE_NAME = "\n\n[Show](javascript:alert(1))\n\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    settings = Settings(
        state_dir=tmp_path_factory.mktemp("review") / "state",
        review=ReviewSettings(guidelines="Prices **with** VAT."),
    )
    with composed(settings) as running:
        hashed, now = Passwords(memory_kib=8, n_passes=1).hash(GOOD), utc_now()
        for name, role in (("ann", Role.USER), ("rita", Role.REVIEWER), ("sam", Role.REVIEWER)):
            running.store.access.accounts.add(Account(name, role, hashed, False, None, now, now))
        yield running


def flag(server: Composed, n: int, **changed: Any) -> str:
    """A flagged answer to a question of its own; its id."""
    names = ((7, "lantern"), (31, "harbour"), (53, "kettle"))
    words = [f"{word}{n * step % 97}" for step, word in names]
    answer = make_completion(
        rater_id="ann", messages=[{"role": "user", "content": f"Where is the {' '.join(words)}?"}],
        completion=f"Behind door {n * 13} of the {words[1]}.",
    )  # fmt: skip
    answer = replace(answer, **changed)
    wait_all([
        server.store.append_completion(answer),
        server.store.append_feedback(
            make_feedback(answer, rater_id="ann", thumb="down", categories=["incorrect"])
        ),
    ])  # fmt: skip
    return answer.completion_id


def opened(browser: Browser, server: Composed, name: str, **context: Any) -> Tab:
    tab = Tab(browser.new_context(**context).new_page())
    tab.watch()
    tab.page.goto(f"{server.url}/review")
    sign_in(tab.page, name)
    expect(tab.page.locator(".review-item")).to_be_visible(timeout=240_000)
    return tab


def waiting(page: Page, n: int) -> None:
    expect(page.locator(".review-counts")).to_contain_text(f"{n} waiting")


def too_small(page: Page) -> list[str]:
    """What is narrower or lower than a finger wants."""
    small: list[str] = page.evaluate(
        f"[...document.querySelectorAll('{TARGETS}')].filter({TOO_SMALL})"
        ".map((one) => one.innerText || one.name || one.type)"
    )
    return small


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


def test_who_may_open_the_page_and_which_links_are_shown(
    server: Composed, browser: Browser
) -> None:
    page = browser.new_context().new_page()
    page.goto(f"{server.url}/review/")
    sign_in(page, "ann")
    expect(page.get_by_role("alert")).to_contain_text("may not open this page")
    page.get_by_role("link", name="To the chat").click()
    expect(page.get_by_label("Your message")).to_be_visible(timeout=240_000)
    expect(page.get_by_role("navigation", name="Pages")).to_have_count(0)
    assert page.request.get(f"{server.url}/review/config").status == 403
    assert page.request.get(f"{server.url}/config").status == 200
    page.context.close()
    tab = opened(browser, server, "rita")
    links = tab.page.get_by_role("navigation", name="Pages").get_by_role("link")
    expect(links.nth(1)).to_have_text("Review")
    assert "People" not in links.all_inner_texts()  # an administrator's
    links.first.click()
    expect(tab.page.get_by_label("Your message")).to_be_visible()
    expect(tab.page.locator("#pawl-who")).to_contain_text("rita")
    picture(tab.page, "chat-with-links")
    links.nth(1).click()
    expect(tab.page.locator(".review-item")).to_be_visible()
    assert tab.page.url == f"{server.url}/review/"
    tab.page.context.close()


def test_every_action_by_its_key(server: Composed, browser: Browser) -> None:
    ids = [flag(server, n) for n in range(5)]
    tab = opened(browser, server, "rita")
    page, keys = tab.page, tab.page.keyboard
    item = page.locator(".review-item")
    waiting(page, 5)
    picture(page, "review")
    expect(item).to_contain_text("ann flagged it as incorrect")
    expect(item).to_be_focused()

    def shown() -> str:
        return str(item.get_attribute("data-item")).removesuffix(":0")

    first = shown()
    said = page.get_by_role("status").filter(has_text="waiting")
    keys.press("a")
    waiting(page, 4)
    expect(said).to_contain_text(re.compile(r"Accepted: “Where is the .*”\.Undo"))
    [accepted] = server.store.reviews.current(completion_id=first)
    assert (accepted.decision, accepted.reviewer) == ("accept", "rita")
    assert accepted.categories == ["incorrect"]

    second = shown()
    keys.press("c")
    box = page.get_by_label("What it should have said")
    expect(box).to_be_focused()
    expect(page.get_by_label("incorrect")).to_be_checked()
    picture(page, "review-correct")
    keys.press("Control+a")
    keys.type("Line one, and accept nothing\nuntil it is saved.")
    keys.press("Escape")
    expect(box).to_be_hidden()
    expect(item).to_be_focused()
    keys.press("c")
    expect(box).to_be_focused()
    expect(box).to_have_value(re.compile("Line one, and accept nothing"))
    keys.press("Control+a")
    keys.type("Behind the\nblue door.")
    keys.press("Control+Enter")
    waiting(page, 3)
    [corrected] = server.store.reviews.current(completion_id=second)
    assert corrected.correction == "Behind the\nblue door."
    assert corrected.origin == {"how": "written"}

    third = shown()
    keys.press("r")
    expect(page.get_by_role("button", name="It can't be judged")).to_be_visible()
    picture(page, "review-reject")
    keys.press("2")
    waiting(page, 2)
    [rejected] = server.store.reviews.current(completion_id=third)
    assert (rejected.decision, rejected.reason) == ("reject", "unclear")
    expect(said).to_contain_text("Rejected, it can't be judged: “Where is the")

    fourth = shown()
    keys.press("s")
    waiting(page, 1)
    expect(page.locator(".review-counts")).to_contain_text("1 skipped")
    expect(said).to_contain_text("Skipped, left to others: “Where is the")
    keys.press("u")
    waiting(page, 2)
    assert shown() == fourth
    expect(page.locator(".review-counts")).to_contain_text("Undone, it waits again: “Where is")
    keys.press("u")
    waiting(page, 3)
    assert shown() == third
    assert {one.completion_id for one in server.store.reviews.current()} == {first, second}
    for n in (2, 1, 0):
        keys.press("a")
        waiting(page, n)
    expect(item).to_contain_text("Nothing waits for you")
    assert set(server.store.reviews.decided()) == {(one, 0) for one in ids}
    assert tab.complaints == []
    page.context.close()


def test_a_lone_thumb_becomes_a_pair_of_what_the_model_says_again(
    server: Composed, browser: Browser
) -> None:
    flagged = flag(server, 40)
    tab = opened(browser, server, "rita")
    page, keys = tab.page, tab.page.keyboard
    keys.press("g")
    expect(page.get_by_role("button", name="Take 1")).to_be_focused()
    expect(page.locator("#review-offered")).to_contain_text("base heard")
    picture(page, "review-suggest")
    keys.press("1")
    box = page.get_by_label("What it should have said")
    expect(box).to_be_focused()
    expect(box).to_have_value(re.compile("base heard"))
    picked = box.input_value()
    keys.press("Control+Enter")
    waiting(page, 0)
    [done] = server.store.reviews.current(completion_id=flagged)
    assert done.correction == picked
    assert done.origin == {"how": "picked", "version": "base", "temperature": 0.8}
    keys.press("u")
    waiting(page, 1)
    keys.press("g")
    expect(page.get_by_role("button", name="Take 1")).to_be_focused()
    keys.press("1")
    expect(box).to_be_focused()
    keys.type(" And more.")
    keys.press("Control+Enter")
    waiting(page, 0)
    [done] = server.store.reviews.current(completion_id=flagged)
    assert (done.correction, done.origin["how"]) == (f"{picked} And more.", "edited")
    assert tab.complaints == []
    page.context.close()


def test_a_category_is_added_and_changed(server: Composed, browser: Browser) -> None:
    tab = opened(browser, server, "rita")
    page = tab.page
    page.get_by_role("button", name="Categories").click()
    page.get_by_label("Key (small letters").fill("rude")
    page.get_by_label("What it means").fill("Is <b>rude</b> to people.")
    page.get_by_label("An example of a wrong answer").fill("Find it yourself.")
    page.get_by_role("button", name="Save category").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    picture(page, "review-categories")
    [made] = [one for one in server.store.categories() if one.key == "rude"]
    assert (made.definition, made.treatment) == ("Is <b>rude</b> to people.", "train")
    page.get_by_label("Category", exact=True).click()
    page.get_by_role("option", name="unsafe").click()
    expect(page.get_by_label("What it means")).to_have_value(re.compile("puts somebody in danger"))
    page.get_by_label("What it means").fill("Dangerous.")
    page.get_by_role("button", name="Save category").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    [changed] = [one for one in server.store.categories() if one.key == "unsafe"]
    assert (changed.definition, changed.treatment) == ("Dangerous.", "review")
    page.get_by_label("Category", exact=True).click()
    page.get_by_role("option", name="a new one").click()
    page.get_by_label("Key (small letters").fill("Not A Key")
    page.get_by_role("button", name="Save category").click()
    expect(page.get_by_text("Not saved")).to_be_visible()
    page.context.close()


def test_texts_of_people_show_as_text(server: Composed, browser: Browser) -> None:
    answer = flag(server, 50, completion=HOSTILE, messages=[
        {"role": "system", "content": HOSTILE}, {"role": "user", "content": HOSTILE},
    ])  # fmt: skip
    wait_all([server.store.append_feedback(
        make_feedback(answer, rater_id=f"<b>eve</b>{HOSTILE_NAME}", comment=HOSTILE,
                      correction=HOSTILE)
    )])  # fmt: skip
    tab = opened(browser, server, "rita")
    page = tab.page
    expect(page.locator(".review-answer")).to_have_text(re.compile("a<b and c>d"))
    page.get_by_text("1 earlier message").click()
    for text in page.locator(".review-text .pawl-own").all():  # what is no answer
        expect(text).to_contain_text("# no heading")
    expect(page.locator(".review-text .pawl-own")).to_have_count(3)
    expect(page.locator(".review-item li b", has_text="eve")).to_contain_text("[Show](")
    assert page.locator(".review-text :is(img, style, h1, form)").count() == 0
    links = page.locator(".review-item a")
    assert {one.get_attribute("href") for one in links.all()} == {"https://example.com/p.png"}
    expect(page.locator(".review-item")).to_have_count(1)
    assert all(one.startswith((server.url, "data:", "blob:")) for one in tab.urls)
    assert tab.complaints == []
    page.keyboard.press("a")
    waiting(page, 0)
    page.context.close()


def test_texts_are_drawn_as_in_the_chat_and_a_correction_shows_what_it_changes(
    server: Composed, browser: Browser
) -> None:
    written = "The roof is **blue**.\n\n```python\nroof = 1\n```\n\nArea: $a\\,b$"
    answer = flag(server, 55, completion=written,
                  messages=[{"role": "user", "content": "Which **colour**?"}])  # fmt: skip
    better = written.replace("blue", "red")
    wait_all([server.store.append_feedback(
        make_feedback(answer, rater_id="eve", thumb="down", correction=better)
    )])  # fmt: skip
    tab = opened(browser, server, "rita")
    page = tab.page
    expect(page.locator(".review-answer strong")).to_have_text("blue")
    expect(page.locator(".review-answer .pawl-number")).to_have_css("color", "rgb(138, 70, 0)")
    expect(page.locator(".review-answer .katex-html")).to_have_count(1)
    expect(page.locator(".review-prompt")).to_have_text("Which **colour**?")
    expect(page.locator(".review-better strong")).to_have_text("red")
    changed = page.locator(".review-item .pawl-difference")
    expect(changed.locator("del")).to_have_text(["blue"])
    expect(changed.locator("ins")).to_have_text(["red"])
    page.get_by_text("Guidelines").click()
    expect(page.locator(".review-house strong")).to_have_text("with")
    picture(page, "review-drawn")
    page.keyboard.press("c")
    box = page.get_by_label("What it should have said")
    expect(box).to_have_value(better)
    typed = page.locator("#review-difference")
    expect(typed.locator("ins")).to_have_text(["red"])
    box.fill(written.replace("blue", "green"))
    expect(typed.locator("ins")).to_have_text(["green"])
    picture(page, "review-difference")
    page.keyboard.press("Control+Enter")
    waiting(page, 0)
    assert tab.complaints == []
    page.context.close()


def test_search_filters_and_one_s_own_decisions_by_keys(server: Composed, browser: Browser) -> None:
    for n in range(3):
        flag(server, 70 + n)
    flag(server, 73, completion="The **lantern** hangs in the attic.", version="pawl@7")
    tab = opened(browser, server, "rita")
    page, keys = tab.page, tab.page.keyboard
    item, counts = page.locator(".review-item"), page.locator(".review-counts")
    waiting(page, 4)
    keys.press("f")
    search = page.get_by_label("Words, or an id")
    expect(search).to_be_focused()
    keys.type("ATTIC hangs")
    keys.press("Enter")
    expect(counts).to_contain_text("1 found")
    expect(page.locator(".review-answer strong")).to_have_text("lantern")
    picture(page, "review-filters")
    keys.press("Escape")
    expect(item).to_be_focused()
    keys.press("a")
    expect(item).to_contain_text("Nothing that waits is what you look for")
    waiting(page, 3)
    page.get_by_role("button", name="Show all").click()
    expect(page.locator(".review-answer")).to_be_visible()
    expect(search).to_have_value("")
    since = page.get_by_label("Answered from (UTC)")
    since.fill("yesterday")
    since.press("Enter")
    expect(counts).to_contain_text("could not be read")
    expect(page.locator(".review-answer")).to_be_visible()
    since.fill("")
    since.press("Enter")
    expect(counts).not_to_contain_text("could not be read")

    since.press("Escape")
    expect(item).to_be_focused()
    keys.press("d")
    decisions = page.locator("#review-decisions label")
    expect(decisions.first).to_contain_text("accepted: Where is the")
    expect(decisions.first.locator("input")).to_be_focused()
    keys.press("Space")
    decided = page.get_by_role("region", name="Your decision")
    expect(decided.locator(".review-answer strong")).to_have_text("lantern")
    expect(decided).to_contain_text("No night has taken it up yet")
    picture(page, "review-decided")
    keys.press("a")  # decides nothing here
    n_before = decisions.count()
    keys.press("o")
    waiting(page, 4)
    expect(item.locator(".review-answer strong")).to_have_text("lantern")
    expect(counts).to_contain_text("Taken back, it waits again: “Where is the")
    expect(item).to_be_focused()
    expect(decisions).to_have_count(n_before - 1)
    for n in (3, 2, 1, 0):
        keys.press("a")
        waiting(page, n)
    expect(decisions).to_have_count(min(n_before + 3, 20))  # the list follows
    assert tab.complaints == []
    page.context.close()


def test_near_duplicates_on_a_phone_in_the_dark(server: Composed, browser: Browser) -> None:
    same = "Which colour has the roof of the old town hall"
    ids = [
        flag(server, 60 + n, completion="It has a blue roof, they say.",
             messages=[{"role": "user", "content": same + end}])
        for n, end in enumerate(("?", ", please?", "?!"))
    ]  # fmt: skip
    tab = opened(browser, server, "rita", viewport={"width": 390, "height": 844},
                 color_scheme="dark")  # fmt: skip
    page = tab.page
    waiting(page, 1)
    expect(page.get_by_label("Decide all 3 near-duplicates together")).to_be_checked()
    picture(page, "review-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.locator("#review-actions button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] + box["width"] <= 390
    page.keyboard.press("t")
    expect(page.get_by_label("Decide all 3 near-duplicates together")).not_to_be_checked()
    page.keyboard.press("t")
    page.get_by_role("button", name="Reject").click()
    picture(page, "review-phone-reject")
    page.get_by_role("button", name="The answer is fine").click()
    waiting(page, 0)
    made = [one for one in server.store.reviews.current() if one.completion_id in ids]
    assert len(made) == 3
    page.get_by_role("button", name="Search and filters").click()
    page.get_by_role("button", name="What you decided").click()
    page.locator("#review-decisions label").first.click()
    expect(page.get_by_role("region", name="Your decision")).to_contain_text("The answer is fine")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    picture(page, "review-phone-decided")
    assert len({one.batch_id for one in made}) == 1
    page.context.close()


def test_a_phone_keeps_the_decisions_in_sight_and_its_targets_are_wide_enough(
    server: Composed, browser: Browser
) -> None:
    for n in range(90, 94):
        flag(server, n, completion="They say that it is behind the door. " * 60)
    wait_all([server.store.append_feedback(
        make_feedback(flag(server, 94), rater_id="rita", thumb="down")
    )])  # fmt: skip
    tab = opened(browser, server, "rita", viewport={"width": 390, "height": 844}, has_touch=True,
                 is_mobile=True)  # fmt: skip
    page = tab.page
    waiting(page, 5)
    expect(page.locator(".review-first").first).to_contain_text("Your own flag.")  # two flagged it
    expect(page.locator("#review-help")).to_be_hidden()
    accept = page.get_by_role("button", name="Accept", exact=True)
    accept.tap()
    waiting(page, 4)
    page.locator(".review-notice").get_by_role("button", name="Undo", exact=True).tap()
    waiting(page, 5)
    accept.tap()
    waiting(page, 4)
    expect(page.locator(".review-first").first).not_to_contain_text("Your own flag.")
    expect(page.locator("#review-actions")).to_be_in_viewport(ratio=1)
    expect(page.locator(".review-meaning")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Correct", exact=True).tap()
    expect(page.get_by_label("What it should have said")).to_be_in_viewport(ratio=1)
    expect(accept).to_be_hidden()
    page.evaluate("scrollTo(0, 0)")
    expect(page.get_by_role("button", name="Save correction")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Back", exact=True).tap()
    for n in (3, 2, 1, 0):
        accept.tap()
        waiting(page, n)
    expect(page.locator(".review-item")).to_contain_text("Nothing waits for you")
    expect(accept).to_be_hidden()
    for part in ("Search and filters", "What you decided", "Categories"):
        page.get_by_role("button", name=part).tap()
    rows = page.locator("#review-decisions label")
    expect(rows.first).to_be_visible()
    assert too_small(page) == []
    heights = rows.evaluate_all(
        "(all) => all.map((one) => [one, one.querySelector('span')]"
        ".map((part) => part.getBoundingClientRect().height))"
    )
    assert all(text <= row for row, text in heights), heights
    page.goto(f"{server.url}/account")
    expect(page.get_by_role("link", name="Back to the chat")).to_be_visible()
    assert too_small(page) == []
    page.context.close()


def test_without_accounts_the_key_of_the_state_folder_opens_it(
    browser: Browser, tmp_path: Path
) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    with composed(settings) as server:
        context = browser.new_context()
        tab = Tab(context.new_page())
        tab.open(server.url)
        tab.page.get_by_role("navigation", name="Pages").get_by_role("link", name="Review").click()
        expect(tab.page.get_by_text("admin.key")).to_be_visible()
        way_back = tab.page.get_by_role("link", name="To the chat")
        assert (way_back.get_attribute("href") or "").endswith("/")
        assert httpx.get(f"{server.url}/review/config").status_code == 401
        sign_in(tab.page, "", str(api_key_of(settings)))
        expect(tab.page.locator(".review-item")).to_contain_text("Nothing waits for you")
        expect(tab.page.locator("#review-who")).to_contain_text("admin.key")
        flagged = flag(server, 1)
        waiting(tab.page, 1)  # by itself
        tab.page.keyboard.press("a")
        waiting(tab.page, 0)
        [done] = server.store.reviews.current(completion_id=flagged)
        assert done.reviewer == "admin.key"
        tab.open(server.url)  # the chat stays everybody's
        tab.ask("hello")
        expect(tab.answers).to_have_count(1)
        context.close()
