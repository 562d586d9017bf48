"""What is deleted while an answer of it comes, or was stopped a moment ago, stays deleted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from feedback.store import Store
from pawl.settings import Settings
from serve.api.auth import CALLER
from serve.api.keys import ANONYMOUS
from serve.pages.conversation import OpenPage
from tests.serve.pages.composed import Composed, composed

pytestmark = pytest.mark.slow  # Gradio takes seconds to import
ONE, ALL = "delete", "erase"


async def _deleted_meanwhile(
    server: Composed, n: int, do: str, *, stopped: bool, other: bool
) -> str:
    """Delete a conversation whose first answer is under way; whose it is.

    Args:
        n: of the person, and of the conversation.
        do: the command.
        stopped: the answer is stopped before.
        other: the person has another conversation.
    """
    import gradio as gr
    from starlette.requests import Request

    from serve.pages.chat import ChatPage

    chat, url, rater = ChatPage(), urlsplit(server.url), f"page-{n:032x}"

    def request(name: str) -> Any:
        scope = {"type": "http", "headers": [], "server": (url.hostname, url.port),
                 "query_string": f"chat={name}".encode(), CALLER: ANONYMOUS}  # fmt: skip
        return gr.Request(Request(scope), session_hash="session")

    name, page = f"chat-{n:032x}", OpenPage()
    if other:
        earlier = request(f"chat-{n + 1000:032x}")
        async for _ in chat._send("one", OpenPage(), rater, "pawl", earlier):
            pass
    sending = chat._send("hold midway", page, rater, "pawl", request(name))
    async for _ in sending:
        if page.turns and page.turns[0].answer == "base heard ":
            break
    html = str(await chat._list.draw(page, rater, request(name)))
    (item,) = (part for part in html.split("<li") if f'data-id="{name}"' in part)
    offered = {what for what in ("rename", "pin", "export", "delete") if f'"{what}"' in item}
    assert offered == {"delete"}  # nothing of it is known yet that could be named
    if stopped:
        await page.conversation.stop()
    command = json.dumps({"do": do, "id": name})
    drawn, reply = await chat._list.command(command, page, rater, request(name))
    assert "&#34;deleted&#34;" in reply
    assert name not in drawn
    async for _ in sending:
        pass
    assert page.turns == []
    return rater


def test_what_is_deleted_while_its_first_answer_comes_is_listed_no_more(tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path / "state")
    ways = [(do, stopped, other) for do in (ONE, ALL) for stopped in (0, 1) for other in (0, 1)]
    with composed(settings, pages=False) as server:

        async def delete() -> list[str]:
            return [
                await _deleted_meanwhile(server, n, do, stopped=bool(stopped), other=bool(other))
                for n, (do, stopped, other) in enumerate(ways, start=1)
            ]

        raters = asyncio.run(delete())
    with Store.open(settings.database_path) as store:  # what came late is recorded by now
        left = [store.conversations.of(rater)[1] for rater in raters]
    assert left == [int(do == ONE and bool(other)) for do, _, other in ways]
