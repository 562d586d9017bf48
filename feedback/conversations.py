"""Threads a conversation of the store: its newest answer's messages, each with its record."""

from __future__ import annotations

import hashlib
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
    recorded = {_keys([*row.messages, row.answer])[-1]: row for row in completions}
    found: list[tuple[Message, Completion | None]] = [
        (message, recorded.get(key) if message["role"] == "assistant" else None)
        for message, key in zip(newest.messages, _keys(newest.messages), strict=True)
    ]
    return [*found, (newest.answer, newest)]


def _keys(messages: Sequence[Message]) -> list[bytes]:
    """Of each message, what stands for it and all before it. Takes time in proportion to their
    length, however many there are."""
    keys, whole = [], hashlib.sha256()
    for message in messages:
        text = json.dumps(message, ensure_ascii=False)
        whole.update(f"{len(text)} {text}".encode())
        keys.append(whole.digest())
    return keys
