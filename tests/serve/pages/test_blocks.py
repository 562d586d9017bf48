"""What a page that was opened leaves in memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from datetime import datetime, timedelta
from typing import Any

import pytest

from serve.pages.blocks import LEFT_SECONDS, Sessions


async def built() -> Any:
    """In a loop: Gradio opens one that it never closes where none runs."""
    from serve.pages.review import ReviewPage

    return ReviewPage()


def test_a_session_keeps_its_state_and_no_copy_of_its_page() -> None:
    page = asyncio.run(built())
    sessions = Sessions()
    sessions.set_blocks(page.blocks)
    assert type(sessions["first"][page.page._id]) is type(page.page.value)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(20):
        assert sessions[f"browser-{number}"]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 20 * 12_000  # 117 kB each, when Gradio kept the page's configuration
    shown = next(key for key, one in page.blocks.blocks.items() if not one.stateful)
    sessions["first"]._update_value_in_config(shown, "what a page showed")
    sessions["first"]._update_config(shown)
    assert sessions["first"].config_values == {}


def test_what_events_changed_alike_is_shared_between_sessions() -> None:
    import gradio as gr

    page = asyncio.run(built())
    sessions = Sessions()
    sessions.set_blocks(page.blocks)
    shown = next(key for key, one in page.blocks.blocks.items() if isinstance(one, gr.Markdown))
    for name, is_visible in ("first", True), ("second", True), ("third", False):
        sessions[name][shown] = gr.Markdown(visible=is_visible, render=False)
    assert sessions["first"][shown] is sessions["second"][shown]
    assert sessions["first"][shown].visible
    assert not sessions["third"][shown].visible
    assert sessions["first"][page.page._id] is not sessions["second"][page.page._id]


def test_the_session_of_a_page_that_left_is_forgotten_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = asyncio.run(built())
    sessions = Sessions()
    sessions.set_blocks(page.blocks)
    waiting = page.blocks._queue.pending_messages_per_session
    for name in ("open", "left", "left and came back"):
        assert sessions[name]
        waiting[name] = asyncio.Queue()
    sessions["left"].is_closed = sessions["left and came back"].is_closed = True
    sessions.delete_all_expired_state()
    assert len(sessions.session_data) == 3  # the page may only have lost its connection
    long_ago = datetime.now() - timedelta(seconds=LEFT_SECONDS + 1)
    for name in ("open", "left"):
        sessions.time_last_used[name] = long_ago
    sessions.delete_all_expired_state()
    assert set(sessions.session_data) == set(waiting) == {"open", "left and came back"}
    assert set(sessions.time_last_used) == set(sessions.session_data)
    assert sessions.forgot("left")
    assert not sessions.forgot("open")
    assert not sessions.forgot("new")
    monkeypatch.setattr("serve.pages.blocks.MOST_FORGOTTEN", 1)
    sessions["open"].is_closed = True
    sessions.time_last_used["open"] = long_ago
    sessions.session_data.move_to_end("open", last=False)
    sessions.delete_all_expired_state()
    assert sessions.forgot("open")
    assert not sessions.forgot("left")
