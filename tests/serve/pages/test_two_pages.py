"""A conversation on two pages of one person, and events of a page that overtake each other; without
a browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from markupsafe import Markup

from pawl.schemas import Caller, Role
from pawl.settings import Settings
from serve.api.auth import CALLER
from serve.api.keys import ANONYMOUS
from serve.pages.conversation import OpenPage
from tests.serve.pages.composed import Composed, composed

pytestmark = pytest.mark.slow  # Gradio takes seconds to import
RATER = "page-" + "1" * 32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    settings = Settings(state_dir=tmp_path_factory.mktemp("server") / "state")
    with composed(settings, pages=False) as running:  # the tests build a page beside it
        yield running


class Pages:
    """One server's page, opened by several sessions. Used in one running loop."""

    def __init__(self, server: Composed) -> None:
        from serve.pages.chat import ChatPage

        self.server, self.chat = server, ChatPage()

    def request(self, session: str, chat_id: str, caller: Caller = ANONYMOUS) -> Any:
        import gradio as gr
        from starlette.requests import Request

        url = urlsplit(self.server.url)
        scope = {"type": "http", "headers": [], "server": (url.hostname, url.port),
                 "query_string": f"chat={chat_id}".encode(), CALLER: caller}  # fmt: skip
        return gr.Request(Request(scope), session_hash=session)

    async def send(self, text: str, page: OpenPage, request: Any) -> list[list[Any]]:
        return [one async for one in self.chat._send(text, page, RATER, "pawl", request)]

    async def catch_up(self, page: OpenPage, request: Any, n_lost: int = 0) -> list[Any]:
        """One tick; the browser lost the last ``n_lost`` that were drawn."""
        shown = str(page.frames.n_drawn - n_lost)
        return list(await self.chat._catch_up(page, RATER, shown, request))

    async def look(self, page: OpenPage, request: Any, known: Any, n_lost: int = 0) -> list[Any]:
        """One tick of the engine's state and the versions."""
        shown = str(page.settings_frames.n_drawn - n_lost)
        return list(await self.chat._look(RATER, known, page, shown, request))

    async def resume(self, page: OpenPage, request: Any) -> list[list[Any]]:
        return [one async for one in self.chat._resume(page, RATER, request)]

    async def thumb(self, page: OpenPage, index: int, request: Any) -> list[list[Any]]:
        import gradio as gr

        event = gr.LikeData(None, {"index": index, "value": "", "liked": False})
        return [one async for one in self.chat._thumb(page, RATER, event, request)]


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 60))


async def until(holds: Callable[[], object]) -> None:
    while not holds():  # noqa: ASYNC110
        await asyncio.sleep(0.01)


def new_id() -> str:
    return f"chat-{uuid4().hex}"


def shown(parts: list[Any]) -> list[str]:
    """The texts of the drawn conversation, without small print."""
    return [Markup(message["content"][0]["text"]).striptags() for message in parts[0]["value"]]


def test_what_one_page_asks_the_other_draws_by_its_next_tick(server: Composed) -> None:
    async def work() -> None:
        pages, one, two, chat = Pages(server), OpenPage(), OpenPage(), new_id()
        first, second = pages.request("1", chat), pages.request("2", chat)
        await pages.resume(two, second)
        await pages.send("one", one, first)
        drawn = await pages.catch_up(two, second)
        assert shown(drawn) == ["one", "base heard 3 characters."]
        again = await pages.catch_up(two, second)
        assert not any("value" in part for part in again)  # the page is left alone
        asked = asyncio.ensure_future(pages.send("hold midway", one, first))
        await until(lambda: two.turns[-1].answer == "base heard ")
        drawn = await pages.catch_up(two, second)
        assert shown(drawn)[2:] == ["hold midway", "base heard"]
        await pages.chat._stop("", two)
        assert shown((await asked)[-1]) == shown(drawn)

    run(work())


def test_what_the_browser_lost_is_drawn_again_by_the_second_tick(server: Composed) -> None:
    """Of two handlers that end at once, the frame of the earlier one may come last."""

    async def work() -> None:
        pages, page, chat = Pages(server), OpenPage(), new_id()
        request = pages.request("1", chat)
        await pages.send("one", page, request)
        await pages.chat._start_over(page, RATER, pages.request("1", new_id()))
        on_its_way = await pages.catch_up(page, request, n_lost=1)
        assert not any("value" in part for part in on_its_way)
        drawn = await pages.catch_up(page, request, n_lost=1)
        assert shown(drawn) == []
        after = await pages.catch_up(page, request)
        assert not any("value" in part for part in after)

    run(work())


def test_versions_that_the_browser_does_not_show_are_drawn_again(server: Composed) -> None:
    """What a page draws as it is loaded, before the versions are known, may come after them."""

    async def work() -> None:
        pages, page, chat = Pages(server), OpenPage(), new_id()
        request = pages.request("1", chat)
        known, *drawn = await pages.look(page, request, {})
        versions = drawn[1]["choices"]
        assert len(versions) > 1
        for lost in (0, 1):
            nothing = await pages.look(page, request, known, n_lost=lost)
            assert not any("choices" in part for part in nothing)
        again = await pages.look(page, request, known, n_lost=1)
        assert again[2]["choices"] == versions
        assert again[-1] == str(page.settings_frames.n_drawn)
        nothing = await pages.look(page, request, known)
        assert not any("choices" in part for part in nothing)

    run(work())


def test_an_answer_goes_on_while_another_page_looks_at_it(server: Composed) -> None:
    """The page that asked is closed."""

    async def work() -> None:
        pages, one, two, chat = Pages(server), OpenPage(), OpenPage(), new_id()
        first, second = pages.request("1", chat), pages.request("2", chat)
        await pages.resume(two, second)
        conversation = two.conversation
        conversation.left_seconds = 0.5
        asked = pages.chat._send("hold midway", one, RATER, "pawl", first)
        async for _ in asked:
            if two.turns and two.turns[-1].answer == "base heard ":
                break
        await asked.aclose()
        left = time.monotonic()
        while time.monotonic() < left + 1.5:
            await pages.catch_up(two, second)
            assert conversation.busy
            await asyncio.sleep(0.05)
        assert conversation.reader is not None
        await asyncio.wait({conversation.reader})

    run(work())


def test_a_thumb_counts_for_the_answer_that_its_page_shows(server: Composed) -> None:
    """Meanwhile another page asked the question again, so that another answer is in its place."""

    async def work() -> None:
        import gradio as gr

        pages, one, two, chat = Pages(server), OpenPage(), OpenPage(), new_id()
        first, second = pages.request("1", chat), pages.request("2", chat)
        await pages.send("one", one, first)
        await pages.resume(two, second)
        retry = gr.RetryData(None, {"index": 0, "value": ""})
        async for _ in pages.chat._ask_again(one, RATER, "pawl", {}, retry, first):
            pass
        ids = [row.completion_id for row in server.store.completions(conversation_id=chat)]
        with pytest.warns(UserWarning, match="changed on another page"):
            await pages.thumb(two, 1, second)
        assert [server.store.current_feedback(one) for one in ids] == [[], []]
        await pages.thumb(two, 1, second)
        assert [len(server.store.current_feedback(one)) for one in ids] == [0, 1]

    run(work())


def test_nothing_asks_a_deleted_conversation_again(server: Composed) -> None:
    async def work() -> None:
        import gradio as gr

        pages, one, two, chat = Pages(server), OpenPage(), OpenPage(), new_id()
        first, second = pages.request("1", chat), pages.request("2", chat)
        await pages.send("one", one, first)
        await pages.resume(two, second)
        held = asyncio.ensure_future(pages.send("hold midway", one, first))
        await until(lambda: one.conversation.busy)
        command = f'{{"do": "delete", "id": "{chat}"}}'
        await pages.chat._list.command(command, one, RATER, first)
        await held
        assert not two.conversation.busy
        retry = gr.RetryData(None, {"index": 0, "value": ""})
        asked = pages.chat._ask_again(two, RATER, "pawl", {}, retry, second)
        with pytest.warns(UserWarning, match="was deleted"):
            drawn = [parts async for parts in asked]
        assert shown(drawn[-1]) == []
        assert server.store.completions(conversation_id=chat) == []

    run(work())


def test_browsers_of_one_account_share_its_conversations(server: Composed) -> None:
    """Each of them has a rater of its own, which an account may not choose."""

    async def work() -> None:
        pages, one, two, chat = Pages(server), OpenPage(), OpenPage(), new_id()
        account = Caller("ann", Role.USER)
        raters = ("page-" + "2" * 32, "page-" + "3" * 32)
        found = []
        for page, rater, caller in ((one, raters[0], account), (two, raters[1], account),
                                    (OpenPage(), raters[0], ANONYMOUS)):  # fmt: skip
            await pages.chat._open(page, rater, pages.request("s", chat, caller))
            found.append(page.conversation)
        assert found[0] is found[1]
        assert found[0] is not found[2]

    run(work())


def test_the_conversation_chosen_last_is_shown(server: Composed) -> None:
    """The one chosen before it is still being read when the first is gone back to."""

    async def work() -> None:
        pages, page, chats = Pages(server), OpenPage(), [new_id(), new_id()]
        for name in chats:
            await pages.send("in " + name, OpenPage(), pages.request("other", name))
        here, there = (pages.request("1", name) for name in chats)
        await pages.resume(page, here)
        chosen = asyncio.ensure_future(pages.resume(page, there))
        await until(lambda: page.wanted == chats[1])
        await pages.resume(page, here)
        await chosen
        assert page.conversation.conversation_id == chats[0]

    run(work())


def test_what_a_new_chat_is_asked_at_once_stays(server: Composed) -> None:
    """The message, or the choice not to learn, is handled before the click on New chat."""

    async def work() -> None:
        pages, page, chat = Pages(server), OpenPage(), new_id()
        request = pages.request("1", chat)
        await pages.chat._set_learning(True, page, RATER, request)
        await pages.send("one", page, request)
        await pages.chat._start_over(page, RATER, request)
        assert [turn.question for turn in page.turns] == ["one"]
        assert not page.conversation.learn

    run(work())


def test_not_learning_is_noted_of_the_conversation_that_was_shown(server: Composed) -> None:
    async def work() -> None:
        pages, page, chats = Pages(server), OpenPage(), [new_id(), new_id()]
        here, there = (pages.request("1", name) for name in chats)
        await pages.resume(page, here)
        private = page.conversation
        noted = asyncio.ensure_future(pages.chat._set_learning(True, page, RATER, here))
        await asyncio.sleep(0)
        await pages.resume(page, there)
        await noted
        assert server.store.conversations.unlearned() >= {(chats[0], RATER)}
        assert (private.learn, page.conversation.learn) == (False, True)

    run(work())


def test_two_threads_that_build_pages_at_once_do_not_mix_their_components() -> None:
    from serve.pages.chat import ChatPage
    from serve.pages.runs import RunsPage

    def kinds(page: type[ChatPage | RunsPage]) -> list[type]:
        async def build() -> list[type]:  # Gradio leaves loops open where none runs
            return [type(one) for one in page().blocks.blocks.values()]

        return asyncio.run(build())

    alone = [kinds(ChatPage), kinds(RunsPage)]
    with ThreadPoolExecutor(2) as threads:
        assert [*threads.map(kinds, (ChatPage, RunsPage) * 3)] == alone * 3
