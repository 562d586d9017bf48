"""What a correction changes, of texts of any length, in bounded memory."""

from __future__ import annotations

import os
import tracemalloc

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


def test_the_boxes_take_no_more_than_feedback_does() -> None:
    from serve.pages.chat import ChatPage
    from serve.pages.review import ReviewPage

    blocks = [*ChatPage().blocks.blocks.values(), *ReviewPage().blocks.blocks.values()]
    taken = {one.elem_id: getattr(one, "max_length", None) for one in blocks}
    assert taken["pawl-correction"] == taken["review-correction"] == MOST_CORRECTION_CHARACTERS
    assert taken["pawl-comment"] == MOST_COMMENT_CHARACTERS
