"""What a page that was opened leaves in memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any


async def built() -> Any:
    """In a loop: Gradio opens one that it never closes where none runs."""
    from serve.pages.review import ReviewPage

    return ReviewPage()


def test_a_session_keeps_its_state_and_no_copy_of_its_page() -> None:
    from gradio.state_holder import StateHolder

    page = asyncio.run(built())
    sessions = StateHolder()
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
