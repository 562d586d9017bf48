"""What the page's handlers do when they are called, without a browser before them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from markupsafe import Markup

from pawl.errors import PawlError
from pawl.models import BaseModel
from pawl.settings import Settings
from serve.api.auth import CALLER
from serve.api.keys import ANONYMOUS
from serve.pages.api import Api
from serve.pages.conversation import Conversation, OpenPage, Turn
from tests.serve.live import eventually, fake_command
from tests.serve.pages.composed import Composed, composed

pytestmark = pytest.mark.slow  # Gradio takes seconds to import
AWAY = {"health": {"engine": {"state": "failed", "detail": "the engine ended"}}}
STARTS = {"health": {"engine": {"state": "restarting", "detail": "the engine ended"}}}
DIES = {"role": "user", "content": "die at once"}
RATER = "page-" + "0" * 32


@pytest.mark.parametrize("how", ["retry", "edit"])
def test_while_the_engine_is_away_nothing_of_the_conversation_is_lost(how: str) -> None:
    turns = [Turn("one", "first", "c-1", "base", "complete"), Turn("two", "second")]
    page = OpenPage(Conversation("chat-1", list(turns)), opened=True)

    async def call() -> list[Any]:
        import gradio as gr  # in a running loop: else it opens loops that it never closes

        from serve.pages.chat import ChatPage

        where = {"index": 0, "value": "uno"}
        ask: list[Any] = [page, RATER, "pawl", AWAY]
        arguments: dict[str, list[Any]] = {
            "retry": [*ask, gr.RetryData(None, where)],
            "edit": [*ask, gr.EditData(None, {**where, "previous_value": "one"})],
        }
        handler: Any = ChatPage()._ask_again
        return [parts async for parts in handler(*arguments[how], None)]

    with pytest.warns(UserWarning, match=r"can't answer yet \(the engine ended\)"):
        (drawn,) = asyncio.run(call())
    assert page.turns == turns
    assert not page.conversation.busy
    assert contents(drawn)[::2] == ["one", "two"]  # the page is drawn as it was


def test_stop_gives_the_place_back_to_the_variant_that_stood_there() -> None:
    page = OpenPage(Conversation("chat-1", [Turn("one", "first"), Turn("two", "second")]))

    async def edit_and_stop() -> list[Any]:
        from serve.pages.chat import ChatPage

        nowhere = Api("http://127.0.0.1:1", None, RATER)
        await page.conversation.ask(nowhere, "pawl", "edited", 0, held="it starts")
        assert [turn.question for turn in page.turns] == ["edited"]
        return await ChatPage()._stop("typed meanwhile", page)

    drawn = asyncio.run(edit_and_stop())
    assert contents(drawn)[::2] == ["one", "two"]


def test_a_message_waits_no_longer_for_the_engine_than_it_should(tmp_path: Path) -> None:
    def never(settings: Settings, model: BaseModel, port: int) -> list[str]:
        return ["sleep", "3600"]

    settings = Settings(state_dir=tmp_path / "state")
    with composed(settings, command=never, wait=False, pages=False) as server:
        conversation = Conversation(held_seconds=0.8)

        async def ask() -> None:
            turn = await conversation.ask(Api(server.url, None, RATER), "pawl", "one", 0)
            waits = [turn.state async for _ in conversation.frames("session")]
            assert waits[0] == "waiting"

        began = time.monotonic()
        asyncio.run(ask())
        assert time.monotonic() - began < 20
    (turn,) = conversation.turns
    assert (turn.state, turn.error_code) == ("failed", "engine_not_ready")
    assert conversation.is_held  # it was never asked: the box keeps it
    assert Conversation().held_seconds == 600


def test_a_message_whose_engine_ends_before_the_first_word_is_asked_once_more(
    tmp_path: Path,
) -> None:
    ports: list[int] = []

    def holds_at_first(settings: Settings, model: BaseModel, port: int) -> list[str]:
        ports.append(port)
        return fake_command(*["--hold-none"][: len(ports) - 1])(settings, model, port)

    settings = Settings(state_dir=tmp_path / "state")
    with composed(settings, command=holds_at_first, pages=False) as server:
        conversation, shown = Conversation(), []

        async def ask(text: str) -> None:
            turn = await conversation.ask(Api(server.url, None, RATER), "pawl", text, 0)
            async for _ in conversation.frames("session"):
                shown.append(turn.held)

        async def ask_while_another_ends_it() -> None:
            other = Api(server.url, None, "other")
            asked = asyncio.create_task(ask("hold first"))
            await asyncio.to_thread(eventually, lambda: server.seen()["n_running"], "it is asked")
            with suppress(PawlError):
                async for _ in other.stream_chat("pawl", [DIES], "other"):
                    pass
            await asked

        asyncio.run(ask_while_another_ends_it())
        (turn,) = conversation.turns
        assert (turn.state, turn.answer) == ("complete", "base heard 10 characters.")
        assert any(shown)
        n_before = len(ports)
        asyncio.run(ask("die at once"))
        (turn,) = conversation.turns
        eventually(lambda: len(ports) == n_before + 2, "it ended two engines")
        server.call(server.engine.wait_ready())
        assert len(ports) == n_before + 2  # and no third
        assert (turn.state, turn.error_code) == ("failed", "engine_lost")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("server") / "state")
    with composed(settings, pages=False) as running:  # the tests build a page beside it
        yield running


class Behind:
    """The handlers of a server that started anew behind a page that is still open: its session
    holds nothing, and the page's address names a conversation of one answer."""

    def __init__(self, server: Composed, n: int) -> None:
        self.server, self.chat_id = server, f"chat-{n:032x}"
        answer = httpx.post(
            f"{server.url}/v1/chat/completions",
            json={"model": "pawl", "messages": [{"role": "user", "content": "one"}]},
            headers={"X-Pawl-Rater": RATER, "X-Pawl-Conversation": self.chat_id},
        )
        self.completion_id = answer.headers["X-Pawl-Completion-Id"]
        self.page = OpenPage()

    def handle(self, name: str, *arguments: Any) -> list[Any]:
        """All that the handler answers to an event of the page."""

        async def call() -> list[Any]:
            import gradio as gr
            from starlette.requests import Request

            from serve.pages.chat import ChatPage

            url = urlsplit(self.server.url)
            scope = {
                "type": "http",
                "headers": [],
                "server": (url.hostname, url.port),
                "query_string": f"chat={self.chat_id}".encode(),
                CALLER: ANONYMOUS,
            }
            events = {
                "_thumb": [gr.LikeData(None, {"index": 1, "value": "", "liked": False})],
                "_ask_again": [gr.RetryData(None, {"index": 1, "value": ""})],
            }
            request = gr.Request(Request(scope), session_hash="session")
            handler = attrgetter(name)(ChatPage())
            answer = handler(*arguments, *events.get(name, []), request=request)
            if hasattr(answer, "__aiter__"):
                return [parts async for parts in answer]
            return [await answer]

        return asyncio.run(call())


def test_an_answer_that_nobody_watches_is_given_up(server: Composed) -> None:
    conversation = Conversation(left_seconds=0.05)

    async def ask_and_leave() -> None:
        api = Api(server.url, None, RATER)
        turn = await conversation.ask(api, "pawl", "hold midway", 0)
        frames = conversation.frames("session")
        async for _ in frames:
            if turn.answer == "base heard ":
                break
        await frames.aclose()  # type: ignore[attr-defined]
        assert conversation.busy
        assert conversation.reader is not None
        await asyncio.wait({conversation.reader}, timeout=60)

    asyncio.run(ask_and_leave())
    assert not conversation.busy
    assert [(turn.state, turn.answer) for turn in conversation.turns] == [
        ("stopped", "base heard ")
    ]


def test_what_a_handler_draws_is_lost_in_no_later_frame_and_not_sent_again_at_its_end() -> None:
    """The browser changes a frame in place by the next one's edits, perhaps before it drew it."""

    async def call() -> None:
        import gradio as gr

        from serve.pages.blocks import PageBlocks

        with PageBlocks(analytics_enabled=False) as blocks:
            boxes = [gr.Textbox(), gr.Textbox()]
        told, skip = gr.update(value="told"), gr.skip()
        frames = [[told, gr.update(value="a")], [skip, gr.update(value="ab")], [skip, skip]]
        event = SimpleNamespace(outputs=boxes)
        sent = [
            blocks.handle_streaming_diffs(event, list(frame), "session", "run", False)
            for frame in frames
        ]
        assert sent[0] == frames[0]
        assert sent[1] == [[["replace", [], skip]], [["append", ["value"], "b"]]]
        assert sent[2] == [[], [["replace", [], skip]]]
        ended = blocks.handle_streaming_diffs(event, [None, None], "session", "run", True)
        assert ended == [skip, skip]

    asyncio.run(call())


def contents(parts: list[Any]) -> list[Any]:
    """The texts of the drawn conversation, without small print."""
    return [Markup(message["content"][0]["text"]).striptags() for message in parts[0]["value"]]


def test_a_page_whose_server_started_anew_is_drawn_by_its_next_tick(server: Composed) -> None:
    behind = Behind(server, 1)
    (parts,) = behind.handle("_catch_up", behind.page, RATER, "")
    assert contents(parts) == ["one", "base heard 3 characters."]
    (again,) = behind.handle("_catch_up", behind.page, RATER, parts[6])
    assert not any("value" in part for part in again)  # the page is left alone


def test_a_message_to_a_server_that_started_anew_goes_on_with_the_conversation(
    server: Composed,
) -> None:
    behind = Behind(server, 2)
    frames = behind.handle("_send", "three", behind.page, RATER, "pawl")
    assert contents(frames[-1])[2:] == ["three", "base heard 5 characters."]
    row = server.store.completions(conversation_id=behind.chat_id)[-1]
    assert [message["content"] for message in row.messages] == [
        "one", "base heard 3 characters.", "three",
    ]  # fmt: skip


def test_a_server_that_started_anew_asks_with_the_conversation_s_settings(
    server: Composed,
) -> None:
    behind = Behind(server, 6)
    own = {"system_prompt": "Be brief.", "temperature": 0.5, "model": "base"}
    url = f"{server.url}/v1/conversations/{behind.chat_id}"
    httpx.post(url, json={"settings": own}, headers={"X-Pawl-Rater": RATER}).raise_for_status()
    behind.handle("_send", "three", behind.page, RATER, "pawl")
    row = server.store.completions(conversation_id=behind.chat_id)[-1]
    assert row.messages[0] == {"role": "system", "content": "Be brief."}
    assert (row.asked_model, row.sampling["temperature"]) == ("base", 0.5)
    (parts,) = behind.handle("_catch_up", OpenPage(), RATER, "")
    assert parts[4]["value"] == "base"
    assert parts[5]["value"] == "Settings: system prompt, temperature 0.5"


def test_a_thumb_before_the_page_caught_up_is_asked_for_again(server: Composed) -> None:
    """Its index is that of what the page shows, which may not be what was recorded."""
    behind = Behind(server, 3)
    with pytest.warns(UserWarning, match="Press again"):
        frames = behind.handle("_thumb", behind.page, RATER)
    assert contents(frames[-1]) == ["one", "base heard 3 characters."]
    assert server.store.current_feedback(behind.completion_id) == []
    behind.handle("_thumb", behind.page, RATER)
    (row,) = server.store.current_feedback(behind.completion_id)
    assert row.thumb == "down"


def test_a_message_goes_to_the_conversation_that_the_address_names(server: Composed) -> None:
    """The page shows another one still, since its choice in the list comes later."""
    one, two = Behind(server, 4), Behind(server, 5)
    one.handle("_catch_up", one.page, RATER, "")
    two.handle("_send", "three", one.page, RATER, "pawl")
    assert one.page.conversation.conversation_id == two.chat_id
    rows = {
        name: server.store.completions(conversation_id=name) for name in (one.chat_id, two.chat_id)
    }
    assert [len(row.messages) for row in rows[two.chat_id]] == [1, 3]
    assert len(rows[one.chat_id]) == 1


def test_asking_again_waits_for_the_engine_and_the_earlier_answer_stays(server: Composed) -> None:
    behind = Behind(server, 7)
    behind.handle("_catch_up", behind.page, RATER, "")
    frames = behind.handle("_ask_again", behind.page, RATER, "pawl", STARTS)
    assert "can't answer yet (the engine ended)" in contents(frames[0])[1].replace("’", "'")
    (turn,) = behind.page.turns
    assert turn.variants[0].completion_id == behind.completion_id
    assert turn.variants[1] is turn
    later, page = Behind(server, 7), OpenPage()  # recorded as the third
    later.handle("_catch_up", page, RATER, "")
    assert [one.answer for one in page.turns[0].variants] == ["base heard 3 characters."] * 3
    later.handle("_show_variant", "0 0 x", page, RATER)
    assert page.turns[0].completion_id == behind.completion_id
    later.handle("_send", "and four", page, RATER, "pawl")
    (drawn,) = later.handle("_show_variant", "0 1 x", page, RATER)
    assert page.turns[0].completion_id == turn.completion_id
    assert len(contents(drawn)) == 2
    for wrong in ("9 0 x", "0 9 x", "not a place"):
        with suppress(UserWarning):
            later.handle("_show_variant", wrong, page, RATER)
        assert page.turns[0].completion_id == turn.completion_id

    export = {"do": "export", "id": behind.chat_id, "format": "json"}
    ((_, reply),) = later.handle("_list.command", json.dumps(export), page, RATER)
    assert turn.completion_id in reply
    assert "and four" not in reply


def test_a_conversation_is_listed_while_its_first_answer_comes_and_not_once_it_was_refused(
    server: Composed,
) -> None:
    async def call() -> None:
        import gradio as gr
        from starlette.requests import Request

        from serve.pages.chat import ChatPage

        chat, url = ChatPage(), urlsplit(server.url)

        def request(n: int, session: str = "session") -> Any:
            scope = {"type": "http", "headers": [], "server": (url.hostname, url.port),
                     "query_string": f"chat=chat-{n:032x}".encode(), CALLER: ANONYMOUS}  # fmt: skip
            return gr.Request(Request(scope), session_hash=session)

        async def listed(n: int, page: OpenPage, session: str = "session") -> bool:
            page.listed = 0
            html = str(await chat._list.draw(page, RATER, request(n, session)))
            assert html.count(f"chat-{n:032x}") in (0, 2)  # an item and its link
            return f"chat-{n:032x}" in html

        page = OpenPage()
        sending = chat._send("hold midway", page, RATER, "pawl", request(71))
        async for _ in sending:
            if page.turns and page.turns[0].answer == "base heard ":
                break
        assert await listed(71, page)
        assert await listed(71, OpenPage())  # as another conversation is shown meanwhile
        assert not await listed(71, OpenPage(search="ships"))
        assert not await listed(71, OpenPage(), "somebody else's")
        await page.conversation.stop()
        async for _ in sending:
            pass
        assert await listed(71, page)  # what came of it is recorded
        page = OpenPage(Conversation(f"chat-{72:032x}", settings={"model": "pawl@99"}), opened=True)
        async for _ in chat._send("one", page, RATER, "pawl@99", request(72)):
            pass
        assert page.turns[0].state == "failed"
        assert not await listed(72, page)

    asyncio.run(call())
