"""What handlers answer to Gradio: updates of the components, in ``Layout``'s order."""

from __future__ import annotations

from typing import Any

import gradio as gr

from serve.pages import rendering
from serve.pages.conversation import OpenPage

KEEP_FORM = [gr.skip()] * 7
KEEP = [gr.skip()] * 9


def drawn(page: OpenPage) -> list[dict[str, Any]]:
    """The conversation, and the input with its button: Send, or Stop while an answer comes."""
    busy = page.conversation.busy
    return [
        gr.update(
            value=rendering.messages(page.turns), feedback_value=rendering.thumbs(page.turns)
        ),
        gr.update(submit_btn=False if busy else "Send", stop_btn="Stop" if busy else False),
    ]


def form(page: OpenPage) -> list[Any]:
    """The feedback form: closed, or open on ``page.form_turn`` with what was saved last."""
    turn = page.form_turn
    if turn is None or turn.feedback is None:
        return [gr.update(visible=False), *[gr.skip()] * 6]
    shown = turn.marked_bad or rendering.has_reasons(turn)
    return [
        gr.update(visible=True),
        rendering.about(turn),
        gr.update(visible=shown),
        turn.feedback["categories"],
        turn.feedback["correction"] or "",
        turn.feedback["comment"] or "",
        gr.update(visible=shown),
    ]


def drawn_and_form(page: OpenPage) -> list[Any]:
    """All of it."""
    return [*drawn(page), *form(page)]
