"""A conversation of the store as the page shows it."""

from __future__ import annotations

import asyncio

from serve.pages.api import Api
from serve.pages.conversation import Conversation, Turn
from serve.pages.rendering import messages, thumbs

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": "<b>"}'}}


def test_calls_of_tools_and_their_answers_stand_under_the_answer() -> None:
    found = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "", "tool_calls": [CALL, CALL]},
        {"role": "tool", "content": "four\n", "tool_call_id": "c"},
        {"role": "assistant", "content": "It is four.", "completion_id": "x", "version": "base"},
        {"role": "user", "content": "and now?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL], "completion_id": "y",
         "version": "base", "feedback": {"thumb": "down"}},
    ]  # fmt: skip
    turns = Conversation.restored({"conversation_id": "c", "messages": found}).turns
    assert [turn.answer for turn in turns] == ["It is four.", ""]
    assert turns[0].calls == ['f({"a": "<b>"})'] * 2 + ["→ four\n"]
    first, second = (shown["content"] for shown in messages(turns) if shown["role"] == "assistant")
    assert '<p dir="auto">It is four.</p>' in first[0]["text"]
    assert "f({&#34;a&#34;: &#34;&lt;b&gt;&#34;})" in first[1]["text"]
    assert "→ four" in first[1]["text"]
    assert "f({" in second[0]["text"]
    assert len(thumbs(turns)) == 3


def test_a_question_edited_among_what_was_left_out_is_sent_with_what_stands_before_it() -> None:
    conversation = Conversation(turns=[Turn(str(n), "yes") for n in range(4)], first_sent=2)

    async def edit() -> None:
        await conversation.ask(Api("http://127.0.0.1:1", None, "page"), "pawl", "edited", 1)
        sent = [message["content"] for message in conversation._messages()]
        await conversation.stop()
        assert sent == ["0", "yes", "edited"]

    asyncio.run(edit())


def test_of_two_pages_that_ask_again_while_an_answer_comes_one_reader_is_left() -> None:
    conversation, nowhere = Conversation(), Api("http://127.0.0.1:1", None, "page")
    readers: list[asyncio.Task[None]] = []

    async def ask() -> None:
        turn = await conversation.ask(nowhere, "pawl", "one", 0, held="it starts")
        assert conversation.reader is not None
        assert conversation.turns == [turn]
        readers.append(conversation.reader)

    async def ask_twice() -> None:
        await ask()
        await asyncio.sleep(0)  # it begins to read
        await asyncio.gather(ask(), ask())
        assert [reader.done() for reader in readers] == [True, True, False]
        await conversation.stop()

    asyncio.run(ask_twice())


def test_what_the_newest_prompt_left_out_is_not_sent_again() -> None:
    found = [
        {"role": role, "content": f"{role} {n}"} for n in range(3) for role in ("user", "assistant")
    ]
    named = {"conversation_id": "c", "messages": found, "n_left_out": 2}
    conversation = Conversation.restored(named)
    conversation.turns.append(Turn("next"))
    sent = [message["content"] for message in conversation._messages()]
    assert sent == ["user 1", "assistant 1", "user 2", "assistant 2", "next"]
