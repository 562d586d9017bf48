"""A page whose connection was cut, or whose server started anew, finds its conversation again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Route, expect

from feedback.store import Store
from serve.pages.navigation import CHAT
from tests.adapters_for_tests import light_base
from tests.serve.live import eventually
from tests.serve.pages.composed import Cable, Composed, own_process
from tests.serve.pages.tab import Tab, feedback, ids, recorded

pytestmark = pytest.mark.browser
CUT_SECONDS = 5.0
LOST = "Connection to the server was lost"  # Gradio's words


@contextmanager
def offline(context: BrowserContext, cable: Cable) -> Iterator[None]:
    """The browser's network is off: what it asks for fails at once."""
    context.set_offline(True)
    yield
    context.set_offline(False)


@contextmanager
def unplugged(context: BrowserContext, cable: Cable) -> Iterator[None]:
    """Every connection to the server ends, and no new one is taken."""
    cable.cut()
    yield
    cable.mend()


@pytest.mark.parametrize("cut", [offline, unplugged])
def test_after_a_cut_the_page_is_back_and_knows_the_conversation(
    server: Composed, browser: Browser, cut: Callable[..., object]
) -> None:
    before = ids(server)
    cable = Cable(urlsplit(server.url).port or 0)
    context = browser.new_context()
    tab = Tab(context.new_page())
    tab.open(f"http://127.0.0.1:{cable.port}")
    tab.ask("one")
    tab.ask("three")
    tab.thumb("Dislike", 1).click()
    expect(tab.page.locator(".pawl-saved")).to_contain_text("You marked this bad.")
    tab.button("Close").click()
    expect(tab.page.locator("#pawl-form")).to_be_hidden()
    tab.box.fill("typed before the cut")
    with cut(context, cable):  # type: ignore[attr-defined]
        expect(tab.page.get_by_text(LOST)).to_be_visible()
        time.sleep(CUT_SECONDS)  # the cut itself, not a wait for something
    expect(tab.page.get_by_text(LOST)).to_be_hidden()
    expect(tab.box).to_have_value("typed before the cut")
    expect(tab.page.locator("#pawl-form")).to_be_hidden()
    expect(tab.answers).to_have_text(["pawl@1 heard 3 characters.", "pawl@1 heard 5 characters."])
    expect(tab.thumb("Disliked", 1)).to_be_visible()
    expect(tab.thumb("Like", 0)).to_be_visible()
    tab.ask("after")
    first, second, third = recorded(server, 3, *before)
    assert {row.conversation_id for row in (second, third)} == {first.conversation_id}
    assert [message["content"] for message in third.messages] == [
        "one", "pawl@1 heard 3 characters.", "three", "pawl@1 heard 5 characters.", "after",
    ]  # fmt: skip
    tab.thumb("Like", 0).click()
    expect(tab.page.locator(".pawl-saved")).to_have_count(2)
    expect(tab.thumb("Liked", 0)).to_be_visible()
    assert [row["thumb"] for row in feedback(server, first.completion_id)] == ["up"]
    context.close()


def test_a_correction_typed_before_a_cut_is_still_there(server: Composed, browser: Browser) -> None:
    before = ids(server)
    cable = Cable(urlsplit(server.url).port or 0)
    context = browser.new_context()
    tab = Tab(context.new_page())
    tab.open(f"http://127.0.0.1:{cable.port}")
    tab.ask("one")
    tab.ask("three")
    tab.thumb("Dislike", 0).click()
    form = tab.page.locator("#pawl-form")
    # Gradio shows the form before it sets what is in it; nobody types as early as a test.
    expect(form).to_contain_text("pawl@1 heard 3 characters.")
    form.get_by_label("What it should have said").fill("A long\ncorrection.")
    cable.cut()
    expect(tab.page.get_by_text(LOST)).to_be_visible()
    cable.mend()
    expect(tab.page.get_by_text(LOST)).to_be_hidden()
    expect(form).to_contain_text("pawl@1 heard 3 characters.")
    expect(form.get_by_label("What it should have said")).to_have_value("A long\ncorrection.")
    tab.button("Save feedback").click()
    expect(form).to_be_hidden()
    first, second = recorded(server, 2, *before)
    assert [row["correction"] for row in feedback(server, first.completion_id)] == [
        "A long\ncorrection."
    ]
    assert feedback(server, second.completion_id) == []
    context.close()


def test_an_answer_under_way_goes_on_through_a_cut(server: Composed, browser: Browser) -> None:
    before = ids(server)
    cable = Cable(urlsplit(server.url).port or 0)
    context = browser.new_context()
    tab = Tab(context.new_page())
    tab.open(f"http://127.0.0.1:{cable.port}")
    tab.box.fill("hold midway")
    tab.box.press("Enter")
    expect(tab.answers).to_have_text(["pawl@1 heard"])
    cable.cut()
    expect(tab.page.get_by_text(LOST)).to_be_visible()
    cable.mend()
    expect(tab.page.get_by_text(LOST)).to_be_hidden()
    expect(tab.answers).to_have_text(["pawl@1 heard"])
    expect(tab.button("Stop")).to_be_visible()
    assert server.seen()["n_running"] == 1
    tab.button("Stop").click()
    expect(tab.small_print).to_have_text(["pawl@1 · stopped"])
    (row,) = recorded(server, 1, *before)
    assert (row.status, row.completion) == ("cancelled", "pawl@1 heard ")
    context.close()


@pytest.mark.parametrize("how", ["kill", "terminate"])
def test_after_a_restart_the_next_turn_knows_the_conversation(
    browser: Browser, tmp_path: Path, free_port: int, how: str
) -> None:
    state_dir, model_dir = tmp_path / "state", tmp_path / "base"
    light_base(model_dir)
    url = f"http://127.0.0.1:{free_port}"
    context = browser.new_context()
    tab = Tab(context.new_page())
    with own_process(state_dir, model_dir, free_port) as child:
        tab.open(url)
        tab.ask("one")
        tab.ask("three")
        tab.thumb("Dislike", 0).click()
        form = tab.page.locator("#pawl-form")
        form.get_by_label("What it should have said").fill("Better.")
        tab.button("Save feedback").click()
        expect(form).to_be_hidden()
        if how == "kill":
            tab.box.fill("hold midway")
            tab.box.press("Enter")
            expect(tab.answers.last).to_have_text("base heard")
            expect(tab.box).to_have_value("")
        getattr(child, how)()
        child.wait(30)
    expect(tab.page.get_by_text(LOST)).to_be_visible()
    with own_process(state_dir, model_dir, free_port) as child:
        expect(tab.page.get_by_text(LOST)).to_be_hidden()
        expect(tab.answers).to_have_text(["base heard 3 characters.", "base heard 5 characters."])
        expect(tab.thumb("Disliked", 0)).to_be_visible()
        expect(tab.page.locator(".pawl-saved")).to_contain_text("It should have said: Better.")
        expect(tab.page.locator(".pawl-notice")).to_be_hidden()
        expect(tab.box).to_have_value("hold midway" if how == "kill" else "")
        tab.ask("after")
        for at in (1, 0):
            tab.thumb("Like", at).click()
        good = tab.page.locator(".pawl-saved").filter(has_text="You marked this good.")
        expect(good).to_have_count(2)  # saved, not only lit in the browser
        expect(tab.thumb("Liked", 0)).to_be_visible()
        expect(tab.thumb("Liked", 1)).to_be_visible()
        child.terminate()
        child.wait(30)
    context.close()
    with Store.open(state_dir / "pawl.duckdb") as store:
        first, second, third = store.completions()
        assert [message["content"] for message in third.messages] == [
            "one", "base heard 3 characters.", "three", "base heard 5 characters.", "after",
        ]  # fmt: skip
        assert third.conversation_id == first.conversation_id
        counts = {row.completion_id: row for row in store.current_feedback()}
    assert set(counts) == {first.completion_id, second.completion_id}
    assert (counts[first.completion_id].thumb, counts[first.completion_id].correction) == (
        "up",
        "Better.",
    )
    assert counts[second.completion_id].thumb == "up"


def test_a_page_that_was_away_for_long_is_forgotten_and_loads_itself_again(
    server: Composed, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = ids(server)
    cable = Cable(urlsplit(server.url).port or 0)
    context = browser.new_context()
    tab = Tab(context.new_page())
    tab.open(f"http://127.0.0.1:{cable.port}")
    tab.ask("one")
    tab.thumb("Dislike", 0).click()
    correction = tab.page.locator("#pawl-form").get_by_label("What it should have said")
    correction.fill("typed before the cut")
    tab.box.fill("three")
    sessions = server.app.state.pages._built[CHAT.path].blocks.state_holder
    (session,) = [one for one in sessions.session_data if not sessions.session_data[one].is_closed]
    with unplugged(context, cable):
        monkeypatch.setattr("serve.pages.blocks.LEFT_SECONDS", 1.0)
        eventually(lambda: sessions.forgot(session), "the page is forgotten")
        monkeypatch.undo()
    expect(tab.page.get_by_text(LOST)).to_be_hidden()
    expect(tab.answers).to_have_text(["pawl@1 heard 3 characters."])
    expect(correction).to_have_value("typed before the cut")
    expect(tab.box).to_have_value("three")
    assert session not in sessions.session_data
    tab.box.press("Enter")
    expect(tab.answers).to_have_text(["pawl@1 heard 3 characters.", "pawl@1 heard 5 characters."])
    first, second = recorded(server, 2, *before)
    assert first.conversation_id == second.conversation_id
    context.close()


def test_a_page_that_noticed_nothing_of_a_restart_sends_nothing_into_another_conversation(
    server: Composed, browser: Browser
) -> None:
    before = ids(server)
    context = browser.new_context()
    tab = Tab(context.new_page())
    tab.open(server.url)
    tab.ask("one")

    def of_an_earlier_start(route: Route) -> None:
        route.continue_(headers={**route.request.headers, "x-pawl-start": "earlier"})

    tab.page.evaluate("window.isOpen = true")
    tab.page.route("**/queue/join*", of_an_earlier_start)
    tab.box.fill("three")
    with tab.page.expect_event("domcontentloaded"):
        tab.box.press("Enter")
    tab.page.unroute_all()
    expect(tab.answers).to_have_text(["pawl@1 heard 3 characters."])
    assert not tab.page.evaluate("window.isOpen")
    expect(tab.box).to_have_value("three")
    tab.box.press("Enter")
    expect(tab.answers).to_have_text(["pawl@1 heard 3 characters.", "pawl@1 heard 5 characters."])
    first, second = recorded(server, 2, *before)
    assert first.conversation_id == second.conversation_id
    context.close()


def test_a_conversation_is_read_by_its_own_person_only(
    server: Composed, tab: Tab, browser: Browser
) -> None:
    tab.ask("a secret")
    context = browser.new_context()
    stranger = Tab(context.new_page())
    stranger.open(tab.page.url)
    expect(stranger.page.get_by_text("Ask something.")).to_be_visible()
    expect(stranger.answers).to_have_count(0)
    context.close()
