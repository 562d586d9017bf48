"""What the page's handlers do when they are called, without a browser before them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from serve.pages.conversation import Talk, Turn

AWAY = {"health": {"engine": {"state": "restarting", "detail": "the engine ended"}}}


@pytest.mark.parametrize("how", ["_regenerate", "_resend", "_send"])
def test_while_the_engine_is_away_nothing_of_the_talk_is_lost(how: str) -> None:
    turns = [Turn("one", "first", "c-1", "base", "complete"), Turn("two", "second")]
    talk = Talk("chat-1", list(turns))

    async def call() -> list[Any]:
        import gradio as gr  # in a running loop: else it opens loops that it never closes

        from serve.pages.chat import ChatPage

        where = {"index": 0, "value": "uno", "previous_value": "one"}
        said: dict[str, list[Any]] = {
            "_regenerate": [talk, "pawl", "page-1", AWAY, gr.RetryData(None, where)],
            "_resend": [talk, "pawl", "page-1", AWAY, gr.EditData(None, where)],
            "_send": ["three", talk, "pawl", "page-1", AWAY],
        }
        page = ChatPage(None)
        return [one async for one in getattr(page, how)(*said[how], None)]

    with pytest.warns(UserWarning, match=r"can't answer yet \(the engine ended\)"):
        (drawn,) = asyncio.run(call())
    assert talk.turns == turns
    assert not talk.busy
    if how != "_send":  # the page is drawn as it was
        assert [one["content"] for one in drawn[0]["value"] if one["role"] == "user"] == [
            "one", "two",
        ]  # fmt: skip
