"""Threads a conversation of the store: its newest answer's messages, each with its record."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pawl.schemas import Completion, Message


def thread(completions: Sequence[Completion]) -> list[tuple[Message, Completion | None]]:
    """The newest answer's prompt and the answer itself, in order.

    An answer of the prompt comes with the newest completion that gave it to these messages; None
    where it was not recorded here. What was asked again or edited is left out.

    Args:
        completions: those of one conversation, in the order they came.
    """
    if not completions:
        return []
    newest = min(
        (row for row in completions if row.completion_id == completions[-1].completion_id),
        key=lambda row: row.choice_index,
    )
    recorded = {(_key(row.messages), _key([row.answer])): row for row in completions}
    found: list[tuple[Message, Completion | None]] = [
        (
            message,
            recorded.get((_key(newest.messages[:at]), _key([message])))
            if message["role"] == "assistant"
            else None,
        )
        for at, message in enumerate(newest.messages)
    ]
    return [*found, (newest.answer, newest)]


def _key(messages: Sequence[Message]) -> str:
    return json.dumps(messages, ensure_ascii=False)
