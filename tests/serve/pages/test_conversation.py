"""A conversation of the store as the page shows it."""

from __future__ import annotations

from serve.pages.conversation import Conversation
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
