"""What a correction changes, of texts of any length, in bounded memory."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from typing import Any

import pytest

from pawl.schemas import MOST_COMMENT_CHARACTERS, MOST_CORRECTION_CHARACTERS
from serve.pages.rendering import difference


def test_long_corrections_are_compared_and_not_kept() -> None:
    whole = "b" * MOST_CORRECTION_CHARACTERS
    assert "b" in difference("a", whole)
    assert difference("a", whole + "b") == ""  # feedback takes no such one
    assert difference("a", " \n") == ""
    tracemalloc.start()
    try:
        for _ in range(40):
            assert difference("a", os.urandom(45_000).hex())
            difference(os.urandom(45_000).hex(), "b" * 90_000)
        n_kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n_kept_bytes < 1_000_000


@pytest.mark.slow  # Gradio takes seconds to import
def test_the_boxes_take_no_more_than_feedback_does() -> None:
    from serve.pages.chat import ChatPage
    from serve.pages.review import ReviewPage

    async def built() -> list[Any]:  # in a loop: Gradio opens some where none runs
        return [*ChatPage().blocks.blocks.values(), *ReviewPage().blocks.blocks.values()]

    taken = {one.elem_id: getattr(one, "max_length", None) for one in asyncio.run(built())}
    assert taken["pawl-correction"] == taken["review-correction"] == MOST_CORRECTION_CHARACTERS
    assert taken["pawl-comment"] == MOST_COMMENT_CHARACTERS
